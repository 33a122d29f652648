"""Names and formulas of a sweep as the codes that tables hold."""

from collections.abc import Sequence

import numpy as np

from winit_jax.columns import AXES, NAMES
from winit_jax.numerics.blocks import BLOCKS
from winit_jax.spec.sweep import Scale, Sweep


def formulas_of(sweep: Sweep, axis: str) -> list[str]:
    """The formulas of an axis, in order."""
    return [value for value in getattr(sweep.grid, axis) if isinstance(value, str)]


def codes_of(sweep: Sweep, axis: str, values: Sequence[Scale | None]) -> np.ndarray:
    """The codes of values in the column `AXIS_rule`: [values], -1 for numbers."""
    formulas = formulas_of(sweep, axis)
    return np.array([formulas.index(value) if isinstance(value, str) else -1 for value in values])


def sites_of(sweep: Sweep) -> list[str]:
    """The sites of all blocks of a sweep whose layers have several, each once."""
    named = (update.site for name in sweep.grid.block for update in BLOCKS.find(name).updates if update.site)
    return list(dict.fromkeys(named))


def categories(sweep: Sweep) -> dict[str, Sequence[str]]:
    """The names of every column of names, in the order of their codes."""
    names: dict[str, Sequence[str]] = {name: getattr(sweep.grid, name) for name in NAMES}
    names |= {"site": sites_of(sweep), "bias_init": AXES["bias_init"].names}
    return names | {f"{axis}_rule": formulas_of(sweep, axis) for axis in sweep.formula_axes}
