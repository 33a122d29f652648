"""How large the weights of a network are, from its point in the grid."""

import numpy as np

from winit_jax.numerics import initializers
from winit_jax.numerics.blocks import BLOCKS
from winit_jax.spec.exact import gain_of, std_of
from winit_jax.spec.parts import Job, Point


def standard_deviation(point: Point, scale_axis: str | None, fan_in: int, fan_out: int) -> float:
    """Standard deviation of the weights of one layer, [fan_in, fan_out].

    A scheme fixes it by its own rule; else it is the value of the std axis, or gain / sqrt(fan_in).
    """
    if point.scale is None:
        return initializers.scheme_std(point.init, fan_in, fan_out)
    return point.scale if scale_axis == "std" else std_of(point.scale, fan_in)


def hidden_gain(point: Point, scale_axis: str | None, width: int) -> float:
    """std * sqrt(width) of the hidden layers' weights; the value asked for, to the digit."""
    if point.scale is None:
        return initializers.scheme_gain(point.init, width)
    return point.scale if scale_axis == "gain" else gain_of(point.scale, width)


def skips(job: Job) -> np.ndarray:
    """skip_scale of a job's points, that of the block itself where the sweep does not say: [points]."""
    own = BLOCKS.find(job.block).skip
    return np.array([own if point.skip_scale is None else point.skip_scale for point in job.points])
