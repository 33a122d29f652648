"""The points of a sweep: which draw they scale, and how many of them are others rescaled or bound to one depth."""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from winit_jax.columns import SCALES
from winit_jax.spec.parts import Point, holds_depth
from winit_jax.spec.sweep import Scale, Sweep


class Draw(NamedTuple):
    """What is drawn: weights of a shape, and biases as `bias_init` says."""

    shape: str
    biases: str


def points_by_draw(sweep: Sweep, draw_of: Callable[[str], Draw]) -> dict[Draw, list[Point]]:
    """The points of a sweep by what they draw. draw_of: init -> its shape, and how its own biases are drawn."""
    grouped: dict[Draw, list[Point]] = {}
    laws: Sequence[str | None] = sweep.grid.bias_init or [None]
    for (init, scale), law in itertools.product(sweep.init_points(), laws):
        draw = draw_of(init) if law is None else draw_of(init)._replace(biases=law)
        points = grouped.setdefault(draw, [])
        others = itertools.product(*(getattr(sweep.grid, axis) or [None] for axis in SCALES))
        points.extend(Point(init, scale, *values) for values in others)
    return grouped


def families_by_draw(sweep: Sweep, draw_of: Callable[[str], Draw]) -> dict[tuple[Draw, int | None], list[Point]]:
    """The same by draw and depth: None where one pass serves every depth, else each depth by itself."""
    draws: dict[tuple[Draw, int | None], list[Point]] = {}
    for draw, points in points_by_draw(sweep, draw_of).items():
        free = [point for point in points if not point.depends_on_depth]
        bound = [point for point in points if point.depends_on_depth]
        if free:
            draws[draw, None] = free
        if bound:
            draws |= {(draw, depth): bound for depth in sweep.grid.depth}
    return draws


@dataclass(frozen=True)
class Count:
    """Points, how many of them are others rescaled where the activation is positively homogeneous, and how many have
    scales that depend on depth, so that each depth takes a pass."""

    all: int
    shared: int
    bound: int

    @classmethod
    def of(cls, points: Sequence[Point], skip: float) -> "Count":
        """skip: the block's own."""
        bound = sum(point.depends_on_depth for point in points)
        return cls(len(points), sum(can_share(point, skip) for point in points), bound)


def count_by_shape(sweep: Sweep, shape_of: Callable[[str], str], skip: float) -> dict[str, Count]:
    """How many points of each shape `points_by_draw` would list, by multiplication. skip: the block's own."""
    counts: dict[str, Count] = {}
    values = {axis: getattr(sweep.grid, axis) or [None] for axis in SCALES}
    laws = len(sweep.grid.bias_init or [None])
    all_others = laws * math.prod(map(len, values.values()))
    sharing = math.prod(sum(_shares(axis, value, skip) for value in of_axis) for axis, of_axis in values.items())
    sharing *= laws
    free = laws * math.prod(sum(not holds_depth(value) for value in of_axis) for of_axis in values.values())
    for init, of_init in itertools.groupby(sweep.init_points(), key=lambda point: point[0]):
        scales, shape = [scale for _, scale in of_init], shape_of(init)
        formulas = [scale for scale in scales if isinstance(scale, str)]
        shared = sum(_scale_shares(init, scale) for scale in formulas)
        if len(formulas) < len(scales) and _scale_shares(init, 1.0):  # any number but 0
            shared += len(scales) - len(formulas) - scales.count(0)
        count = counts.get(shape, Count(0, 0, 0))
        counts[shape] = Count(
            count.all + all_others * len(scales),
            count.shared + sharing * shared,
            count.bound + all_others * len(scales) - free * (len(scales) - sum(map(holds_depth, formulas))),
        )
    return counts


def can_share(point: Point, skip: float) -> bool:
    """Whether a point of a positively homogeneous activation is another one rescaled. skip: the block's own."""
    return _scale_shares(point.init, point.scale) and all(_shares(axis, getattr(point, axis), skip) for axis in SCALES)


def _scale_shares(init: str, scale: Scale | None) -> bool:
    return init not in ("zeros", "lsuv") and scale != 0 and not holds_depth(scale)


def _shares(axis: str, value: Scale | None, skip: float) -> bool:
    """Whether this value of a scale leaves a network one that others are rescaled to."""
    if axis == "bias_std":  # an init's own biases are taken for some
        return value == 0
    if axis == "skip_scale":
        return (skip if value is None else value) == 0
    return not (axis in ("branch_scale", "stem_scale") and value == 0) and not holds_depth(value)
