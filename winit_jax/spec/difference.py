"""What forbids running a sweep into the folder of another one."""

from collections.abc import Sequence
from typing import Any

from winit_jax.columns import AXES, WEIGHT_SCALES
from winit_jax.spec.sweep import FREE, TABLES, Scale, Sweep


def difference(old: Sweep, new: Sweep) -> list[str]:
    """What forbids running `new` into the folder of `old`: anything but added points, as sentences."""
    differences = []
    if old.scale_axis != new.scale_axis and old.scale_axis and new.scale_axis:
        differences.append(f"grid: {old.scale_axis} in the folder, {new.scale_axis} in the new sweep")
    else:
        for axis in AXES:
            if axis == "bias_init" and None in (old.grid.bias_init, new.grid.bias_init):
                continue  # as bias_std, which says so
            if axis == "bias_std" and (old.grid.bias_std is None) != (new.grid.bias_std is None):
                differences.append(_of_biases(old.grid.bias_std, new.grid.bias_std))
                continue
            none: list[Any] = [] if axis in WEIGHT_SCALES else [None]
            old_values, new_values = (getattr(sweep.grid, axis) or none for sweep in (old, new))
            there = set(new_values)
            gone = [value for value in old_values if value not in there]
            if gone:
                shown = ", ".join("unset" if value is None else str(value) for value in gone[:5]) + (
                    ", ..." if len(gone) > 5 else ""
                )
                differences.append(
                    f"grid.{axis}: {len(gone)} of {len(old_values)} values of the folder are not in the new sweep: "
                    f"{shown}"
                )
    for name in TABLES:
        if getattr(old, name) is None or getattr(new, name) is None:
            if (gone := getattr(old, name)) is not getattr(new, name):
                place = "the folder" if gone else "the new sweep"
                differences.append(f"{name}: only {place} has this table")
            continue
        old_values, new_values = getattr(old, name).model_dump(), getattr(new, name).model_dump()
        for key, value in old_values.items():
            if (name, key) not in FREE and value != new_values[key]:
                differences.append(f"{name}.{key}: {value} in the folder, {new_values[key]} in the new sweep")
    return differences


def _of_biases(old: Sequence[Scale] | None, new: Sequence[Scale] | None) -> str:
    """A sentence for two sweeps of which one alone gives bias_std, so that their biases are others."""

    def words(values: Sequence[Scale] | None) -> str:
        return "each init's own" if values is None else ", ".join(map(str, values[:5])) + ", ..." * (len(values) > 5)

    how = "" if old is None else f"; give bias_std = {words(old)} to add networks with such biases"
    return f"grid.bias_std: {words(old)} in the folder, {words(new)} in the new sweep{how}"
