"""The scales of a network as numbers, from its point in the grid and the formulas there."""

from dataclasses import dataclass

import numpy as np

from winit_jax.numerics import schemes
from winit_jax.numerics.blocks import BLOCKS
from winit_jax.numerics.draws import Place
from winit_jax.spec.exact import gain_of, std_of
from winit_jax.spec.formulas import value_of
from winit_jax.spec.parts import Job, Point
from winit_jax.user_code import is_import_path


@dataclass(frozen=True)
class Sizes:
    """What formulas may hold of the networks of a job. depth: None where one pass serves every depth.

    layer: that the value is for, the last one unless it is given.
    """

    width: int
    depth: int | None
    features: int
    layer: int | None = None

    @classmethod
    def of(cls, job: Job, features: int) -> "Sizes":
        return cls(job.width, job.depth, features)

    def value(self, scale: float | str, **fans: int) -> float:
        """A number as it is, a formula at these sizes. Errors: `formulas.FormulaError`."""
        if not isinstance(scale, str):
            return scale
        layer = self.depth if self.layer is None else self.layer
        known = {"width": self.width, "depth": self.depth, "layer": layer, "features": self.features, **fans}
        return value_of(scale, **{name: size for name, size in known.items() if size is not None})

    def values(self, job: Job, axis: str) -> np.ndarray:
        """A scale of a job's points that the sweep gives, 1 where it gives none: [points]."""
        given = [getattr(point, axis) for point in job.points]
        return np.array([1.0 if value is None else self.value(value) for value in given])

    def skips(self, job: Job) -> np.ndarray:
        """skip_scale of a job's points, that of the block itself where the sweep does not say: [points]."""
        own = BLOCKS.find(job.block).skip
        return np.array([own if point.skip_scale is None else self.value(point.skip_scale) for point in job.points])

    def bias_std(self, point: Point, place: Place) -> float:
        """Standard deviation of the biases at a place, those of the init's own where the sweep does not say."""
        if point.bias_std is None:
            return schemes.own_bias_std(point.init, *_fans(point.init, place))
        return self.value(point.bias_std)

    def _at(self, scale: float | str, place: Place) -> float:
        """A value of the std or gain axis at a place."""
        fan_in, fan_out = place.fans
        return self.value(scale, fan_in=fan_in, fan_out=fan_out)

    def standard_deviation(self, point: Point, scale_axis: str | None, place: Place) -> float:
        """Standard deviation of the weights at a place.

        A scheme fixes it by its own rule; else it is the value of the std axis, or gain / sqrt(fan_in). Of the stem and
        of the readout stem_scale and readout_scale multiply it.
        """
        factor = {"stem": point.stem_scale, "readout": point.readout_scale}.get(place.role)
        times = 1.0 if factor is None else self.value(factor)
        if point.scale is None:
            return times * schemes.scheme_std(point.init, *_fans(point.init, place), place.role, self.depth)
        scale = self._at(point.scale, place)
        return times * (scale if scale_axis == "std" else std_of(scale, place.fan_in))

    def gain(self, point: Point, scale_axis: str | None, place: Place) -> float:
        """std * sqrt(fan_in) of the weights at a place; the value asked for, to the digit."""
        if point.scale is None:
            return schemes.scheme_gain(point.init, *_fans(point.init, place), place.role, self.depth)
        scale = self._at(point.scale, place)
        return scale if scale_axis == "gain" else gain_of(scale, place.fan_in)


def _fans(init: str, place: Place) -> tuple[int, int]:
    """Those that a scheme speaks of; of a function by import path the shape that it is asked for."""
    return (place.fan_in, place.fan_out) if is_import_path(init) else place.fans


def stem(features: int, width: int) -> Place:
    """Where the weights of the first layer stand."""
    return Place("", features, width, role="stem")


def places_of(block: str, width: int) -> list[Place]:
    """Where the weights of a layer stand, of all its updates in order."""
    return [place for update in BLOCKS.find(block).updates for place in update.places(width)]
