"""Axes and tables as Python values over a sweep file: what words say on the command line.

A key is an axis (`gain`), a table of a sweep file (`inputs`, with a dict), or a key of one (`inputs.samples`); None
takes it away. A value is what a sweep file may hold, or its like in Python: tuples, ranges, NumPy numbers and arrays,
paths.
"""

import os
import re
from collections.abc import Mapping
from typing import Any

from winit_jax.columns import AXES
from winit_jax.spec.aliases import resolve
from winit_jax.spec.problems import Problem, briefly, unknown
from winit_jax.spec.sweep import TABLES
from winit_jax.spec.words import OPTIONS, known_keys

SCALES = ("std", "gain")


def plain(value: Any) -> Any:
    """A Python value as a sweep file holds it; what has no such form is left, to be named where it stands.

    A range in steps upwards becomes the expression `int:START:STOP:STEP`, whatever its length.
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, range) and value.step > 0 and len(value) > 1:
        return f"int:{value[0]}:{value[-1]}" + (f":{value.step}" if value.step > 1 else "")
    if isinstance(value, list | tuple | range):
        return [plain(item) for item in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    # NumPy's numbers and arrays, pandas' columns and JAX's arrays, none of which is imported for this.
    return value.tolist() if hasattr(value, "tolist") and not isinstance(value, str) else value


def set_given(data: dict[str, Any], mapping: Mapping[str, Any], problems: list[Problem]) -> None:
    """Put a request's keys and values into the contents of a sweep file, in place; problems join `problems`.

    A table is put over the file's table key by key, and so is the grid, in which std and gain take each other's place.
    """
    axes: dict[str, Any] = {}
    for name, value in mapping.items():
        key, value = str(name), plain(value)
        axis = resolve("axis", key.removeprefix("grid."), AXES)
        if key == "grid" and isinstance(value, dict):
            for inner, expression in value.items():
                _set_axis(axes, resolve("axis", inner, AXES), expression, problems)
        elif axis in AXES:
            _set_axis(axes, axis, value, problems)
        elif (
            key in ("grid", "title", *TABLES) or key in known_keys() or re.fullmatch(rf"{re.escape(OPTIONS)}\.\w+", key)
        ):
            *tables, last = key.split(".")
            _set(_table(data, tables), last, value)
        else:
            unknown(key, "not an axis or a key.", key, [*known_keys(), *TABLES, "grid"], problems, "axis")
    if axes:
        _set_axes(data, axes, problems)


def _set_axis(axes: dict[str, Any], axis: str, expression: Any, problems: list[Problem]) -> None:
    if axis in axes:
        problems.append(Problem(f"grid.{axis}", "given twice, under two of its names."))
    axes[axis] = expression


def _set_axes(data: dict[str, Any], axes: dict[str, Any], problems: list[Problem]) -> None:
    grid = data.setdefault("grid", {})
    if not isinstance(grid, dict):
        return  # said when the table is read
    if any(axes.get(scale) is not None for scale in SCALES):
        for scale in SCALES:  # both scale the weights: what is given replaces what the file says
            grid.pop(scale, None)
    for axis, expression in axes.items():
        if isinstance(expression, dict):
            problems.append(Problem(f"grid.{axis}", f"{briefly(expression)} is not an axis."))
            continue
        _set(grid, axis, expression)


def _table(data: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """The table that a dotted key lies in, made where there is none or something else stands in its place."""
    for name in names:
        if not isinstance(data.get(name), dict):
            data[name] = {}
        data = data[name]
    return data


def _set(table: dict[str, Any], key: str, value: Any) -> None:
    if value is None:
        table.pop(key, None)
    elif isinstance(value, dict):
        for inner, item in value.items():
            _set(_table(table, [key]), inner, item)
        table.setdefault(key, {})
    else:
        table[key] = value
