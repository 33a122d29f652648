"""Blocks of a grid against everything else that a sweep asks for: what fits and what does not, in sentences."""

import math
from collections.abc import Iterator, Mapping

from winit_jax.spec.problems import Problem
from winit_jax.spec.sweep import BlockKind, Grid, Inputs, Measure, Train

# Rows of a Jacobian, units times positions, that are multiplied out and decomposed where a block mixes positions or
# has several weights.
MOST_JACOBIAN = 512


def with_positions(data: Inputs | Train, blocks: Mapping[str, BlockKind]) -> str | None:
    """How images are cut where a block needs positions and the sweep does not say: `rows`, `pixels`, or None."""
    needed = max((kind.positions for kind in blocks.values()), default=0)
    if not needed or data.positions is not None or data.is_text or data.source == "normal":
        return None
    return "rows" if needed == 1 else "pixels"


def check_blocks(
    grid: Grid, blocks: Mapping[str, BlockKind], inputs: Inputs, measure: Measure, train: Train | None
) -> Iterator[Problem]:
    """What is wrong with the blocks of a grid, beside what they are fed and what is measured of them."""
    yield from _check_positions(blocks, inputs, "inputs")
    if train is not None:
        yield from _check_positions(blocks, train, "train")
    for name, kind in blocks.items():
        if wrong := [width for width in grid.width if kind.heads and width % kind.heads]:
            shown = ", ".join(f"{width:,}" for width in wrong[:3]) + (", ..." if len(wrong) > 3 else "")
            what = f"{name} cuts a layer into {kind.heads} heads, which do not divide {shown}."
            yield Problem("grid.width", what)
        if "delta_orthogonal" in grid.init and not kind.taps:
            what = f"'delta_orthogonal' is for convolutions, and {name} is none; orthogonal is the same for one tap."
            yield Problem("grid.init", what)
        if measure.singular_values and name not in ("dense", "residual"):
            yield from _check_jacobian(name, kind, grid, inputs)


def _check_positions(blocks: Mapping[str, BlockKind], data: Inputs | Train, table: str) -> Iterator[Problem]:
    """A problem where a block needs positions that the data do not have."""
    for name, kind in blocks.items():
        if kind.positions and not data.has_positions:
            how = (
                "say how many, as inputs.positions = 16"
                if data.source == "normal"
                else "cut images into rows or pixels"
            )
            yield Problem(f"{table}.positions", f"{name} needs inputs with positions; {how}.")
        elif kind.positions == 2 and (sentence := _no_grid(data)):
            yield Problem(f"{table}.positions", f"{name} needs positions that lie in a grid; {sentence}")


def _no_grid(data: Inputs | Train) -> str | None:
    """Why positions do not lie in a grid, None where they may."""
    if data.is_text:
        return "those of a text do not."
    if data.positions == "rows":
        return "cut images into pixels."
    if isinstance(data.positions, int) and math.isqrt(data.positions) ** 2 != data.positions:
        return f"{data.positions:,} is not a square number."
    return None


def _check_jacobian(name: str, kind: BlockKind, grid: Grid, inputs: Inputs) -> Iterator[Problem]:
    rows = max(grid.width, default=0) * inputs.positions_known
    if rows > MOST_JACOBIAN:
        yield Problem(
            "measure.singular_values",
            f"the Jacobian of {name} has {rows:,} rows, width times positions; {MOST_JACOBIAN:,} can be decomposed.",
        )
