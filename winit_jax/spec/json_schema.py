"""The JSON Schema of sweep files, for editors that complete and check as one types."""

import math
from typing import Any

from winit_jax.columns import AXES, Axis
from winit_jax.spec.sweep import TABLES, Vocabulary

RANGES = {"type": "string", "pattern": r"^(lin|log):[^:]+:[^:]+:\d+$|^int:-?\d+:-?\d+(:\d+)?$|^[^:]+$"}


def json_schema(vocabulary: Vocabulary) -> dict[str, Any]:
    """The JSON Schema of a sweep file, for editors."""
    names = {
        "activation": {"anyOf": [{"enum": list(vocabulary.activations)}, {"type": "string"}]},
        "init": {"anyOf": [{"enum": list(vocabulary.inits)}, {"type": "string"}]},
        "block": {"anyOf": [{"enum": list(vocabulary.blocks)}, {"type": "string"}]},
    }
    axes = {}
    for name, axis in AXES.items():
        item = names.get(name) or ({"enum": list(axis.names)} if axis.holds is str else _numbers(axis))
        default = {} if axis.default is None else {"default": axis.default}
        axes[name] = {
            "description": axis.definition,
            "anyOf": [item, {"type": "array", "items": item, "minItems": 1}],
            **default,
        }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "winit sweep",
        "type": "object",
        "additionalProperties": False,
        "required": ["grid"],
        "properties": {
            "title": {"type": "string"},
            "grid": {
                "type": "object",
                "additionalProperties": False,
                "required": ["activation"],
                "properties": axes,
            },
            **{name: {"$ref": f"#/$defs/{name}"} for name in TABLES},
        },
        "$defs": _definitions(vocabulary),
    }


def _numbers(axis: Axis) -> dict[str, Any]:
    """A number within the bounds of the axis, a range, or words of both."""
    number: dict[str, Any] = {"type": "integer" if axis.holds is int else "number", "minimum": axis.low}
    if math.isfinite(axis.high):
        number["maximum"] = axis.high
    return {"anyOf": [number, RANGES, *([{"const": "inf"}] if axis.infinite else [])]}


def _definitions(vocabulary: Vocabulary) -> dict[str, Any]:
    definitions: dict[str, Any] = {}
    for name, model in TABLES.items():
        schema = model.model_json_schema(ref_template="#/$defs/{model}")
        definitions.update(schema.pop("$defs", {}))
        definitions[name] = schema
    definitions["train"]["properties"]["optimizer"]["enum"] = list(vocabulary.optimizers)
    return definitions
