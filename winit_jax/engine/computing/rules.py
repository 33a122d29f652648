"""Names and formulas of a sweep as the codes that tables hold."""

from collections.abc import Sequence

import numpy as np

from winit_jax.columns import NAMES
from winit_jax.spec.sweep import Scale, Sweep


def formulas_of(sweep: Sweep, axis: str) -> list[str]:
    """The formulas of an axis, in order."""
    return [value for value in getattr(sweep.grid, axis) if isinstance(value, str)]


def codes_of(sweep: Sweep, axis: str, values: Sequence[Scale | None]) -> np.ndarray:
    """The codes of values in the column `AXIS_rule`: [values], -1 for numbers."""
    formulas = formulas_of(sweep, axis)
    return np.array([formulas.index(value) if isinstance(value, str) else -1 for value in values])


def categories(sweep: Sweep) -> dict[str, Sequence[str]]:
    """The names of every column of names, in the order of their codes."""
    names = {name: getattr(sweep.grid, name) for name in NAMES}
    return names | {f"{axis}_rule": formulas_of(sweep, axis) for axis in sweep.formula_axes}
