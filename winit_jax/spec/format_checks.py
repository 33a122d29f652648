"""Number formats of a grid against what else a sweep asks for: what is computed in float32 alone, in sentences."""

from collections.abc import Iterable, Iterator

from winit_jax.columns.formats import FLOAT32
from winit_jax.spec.problems import Problem
from winit_jax.spec.sweep import Grid, InitKind, Measure, Train


def check_formats(
    grid: Grid,
    inits: Iterable[InitKind],
    measure: Measure,
    train: Train | None,
) -> Iterator[Problem]:
    """What is wrong with the formats of a grid."""
    narrow = [name for name in grid.dtype if name != FLOAT32]
    if not narrow:
        return
    if train is not None:
        yield Problem(
            "grid.dtype", f"networks are trained in float32 alone. Take {narrow[0]} away, or the [train] table."
        )
    if measure.singular_values:
        what = f"singular values are taken in float32 alone. Take them away, or {narrow[0]}."
        yield Problem("measure.singular_values", what)
    scaled = [kind.name for kind in inits if kind.is_scaled_by_inputs]
    if scaled:
        yield Problem("grid.dtype", f"{scaled[0]} is measured in float32 alone. Take it away, or {narrow[0]}.")
