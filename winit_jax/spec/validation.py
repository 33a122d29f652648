"""Tables of a sweep file against their models: what pydantic finds, as sentences."""

import re
from typing import Any

from pydantic import ValidationError

from winit_jax.spec.problems import Problem, briefly, did_you_mean, shortened, unknown
from winit_jax.spec.sources import CUTS, MAX_POSITIONS
from winit_jax.spec.sweep import TABLES, Histogram


def read_table(name: str, raw: Any, problems: list[Problem]) -> Any:
    """A validated table, or its defaults where it has problems."""
    model = TABLES[name]
    if not isinstance(raw, dict):
        problems.append(Problem(name, f"{briefly(raw)} is not a table."))
        return model()
    raw = _whole_floats(raw)
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        for item in error.errors():
            place = ".".join([name, *(str(part) for part in item["loc"])])
            if item["type"] == "extra_forbidden":
                owner = Histogram if len(item["loc"]) > 1 else model
                unknown(place, "not a key of this table.", item["loc"][-1], owner.model_fields, problems)
            else:
                problems.append(Problem(shortened(place), _sentence(item)))
        return model()


def _whole_floats(raw: dict[str, Any]) -> dict[str, Any]:
    """Whole numbers where floats are wanted are floats: strict mode otherwise refuses `low = 0`."""
    raw = dict(raw)
    if isinstance(raw.get("histogram"), dict):
        raw["histogram"] = {
            key: float(value) if key in ("low", "high") and type(value) is int else value
            for key, value in raw["histogram"].items()
        }
    return raw


def _sentence(item: Any) -> str:
    value, kind, context = item["input"], item["type"], item.get("ctx", {})
    bounds = {
        "greater_than_equal": ("ge", "is less than"),
        "less_than_equal": ("le", "is more than"),
        "greater_than": ("gt", "is not greater than"),
        "less_than": ("lt", "is not less than"),
    }
    if kind in bounds:
        key, words = bounds[kind]
        return f"{briefly(value)} {words} {context[key]:,}."
    if kind == "literal_error":
        allowed = re.findall(r"'([^']+)'", context["expected"])
        return f"{briefly(value)} is not allowed.{did_you_mean(str(value), allowed)}"
    if kind == "positions":
        what = f"neither a number of positions (from 1 to {MAX_POSITIONS:,}) nor a way to cut images into them"
        return f"{briefly(value)} is {what}.{did_you_mean(str(value), CUTS)}"
    wanted = {
        "int_type": "a whole number",
        "float_type": "a number",
        "bool_type": "true or false",
        "string_type": "a text",
        "finite_number": "a finite number",
        "model_type": "a table",
        "model_attributes_type": "a table",
    }.get(kind)
    return f"{briefly(value)} is not {wanted}." if wanted else f"{briefly(value)}: {item['msg']}."
