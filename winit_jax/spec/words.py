"""Words of the command line over a sweep file: `gain=log:0.1:10:64`, `inputs.samples=500`."""

import re
import tomllib
from collections.abc import Sequence
from typing import Any

from winit_jax.columns import AXES, WEIGHT_SCALES
from winit_jax.spec.aliases import resolve
from winit_jax.spec.axes import split_words
from winit_jax.spec.problems import ALL_PROBLEMS, Problem, briefly, shortened, unknown
from winit_jax.spec.sweep import TABLES, Histogram

HISTOGRAM, OPTIONS = "measure.histogram", "train.optimizer_options"


def key_of(word: str) -> str:
    """The axis or key that a word sets, by its own name."""
    return resolve("axis", word.partition("=")[0].strip().removeprefix("grid."), AXES)


def repeated(words: Sequence[str]) -> list[str]:
    """Sentences about axes and keys that several words set: the last of them holds."""
    by_key: dict[str, list[str]] = {}
    for word in words:
        if "=" in word:
            by_key.setdefault(key_of(word), []).append(word)
    several = [(key, repeats) for key, repeats in by_key.items() if len(repeats) > 1]
    return [
        f"{briefly(repeats[-1])} is the last of {len(repeats)} words for {shortened(key)}, and holds"
        for key, repeats in several[:ALL_PROBLEMS]
    ]


def known_keys() -> list[str]:
    """Every axis, and every key of a sweep file by its dotted name."""
    keys = [f"{name}.{key}" for name, table in TABLES.items() for key in table.model_fields]
    return [*AXES, "title", *keys, *(f"{HISTOGRAM}.{key}" for key in Histogram.model_fields)]


def apply_words(data: dict[str, Any], words: Sequence[str], problems: list[Problem]) -> None:
    """Put words into the contents of a sweep file, in place; what is wrong with them joins `problems`.

    Of several words for an axis or a key the last holds.
    """
    known = known_keys()
    scales: set[str] = set()
    for word in words:
        _, equals, text = word.partition("=")
        key = key_of(word)
        if not equals:
            problems.append(Problem("", f"{briefly(word)} is not AXIS=VALUES. A sweep's name or file comes first."))
        elif key in AXES:
            _set_axis(data, key, text, scales)
        elif key in known or re.fullmatch(rf"{re.escape(OPTIONS)}\.\w+", key):
            _set_key(data, key, text)
        else:
            unknown(key, "not an axis or a key.", key, known, problems, "axis")


def _set_axis(data: dict[str, Any], axis: str, text: str, scales: set[str]) -> None:
    """scales: which of WEIGHT_SCALES words have set before."""
    grid = data.setdefault("grid", {})
    if not isinstance(grid, dict):
        return  # said when the table is read
    if axis in WEIGHT_SCALES and text.strip():
        for other_scale in set(WEIGHT_SCALES) - {axis} - scales:
            grid.pop(other_scale, None)  # both scale the weights: the word replaces what the file says
        scales.add(axis)
    if text.strip():
        values = split_words(text)
        grid[axis] = values if len(values) > 1 else values[0]
    else:
        grid.pop(axis, None)
        scales.discard(axis)


def _set_key(data: dict[str, Any], key: str, text: str) -> None:
    *tables, last = key.split(".")
    for name in tables:
        if not isinstance(data.setdefault(name, {}), dict):
            return
        data = data[name]
    if text.strip():
        data[last] = _value(text.strip(), last)
    else:
        data.pop(last, None)


def _value(text: str, key: str) -> Any:
    """A TOML value where it reads as one, else the text itself."""
    if key in ("title", "source", "matmul_precision"):
        return text
    if text in ("True", "False"):
        return text == "True"
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):  # TOML's own error is a ValueError, as is an integer of 5000 digits
        return text
