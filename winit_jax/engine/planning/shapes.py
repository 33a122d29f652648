"""Shapes of data before they are read: what the sweep says, and for data by name what they usually have."""

import math
from typing import NamedTuple

from winit_jax.spec.sources import BYTES, TEXT_POSITIONS, TEXT_WINDOWS
from winit_jax.spec.sweep import Inputs, Train

# (Features, samples) and classes of data sets, for estimates alone.
USUAL_DATA = {"digits": (64, 1797), "mnist5k": (784, 5000), "mnist": (784, 70_000), "fashion_mnist": (784, 70_000)}
USUAL_CLASSES = 10


class Shape(NamedTuple):
    """Of data: samples, positions of each (1 where there are none), features of each position."""

    samples: int
    positions: int
    features: int

    @property
    def rows(self) -> int:
        return self.samples * self.positions


def of_inputs(inputs: Inputs, width: int) -> Shape:
    """Of the inputs of networks of a width."""
    features = width if inputs.follows_width else inputs.features
    return _shape(inputs, inputs.samples, features)


def of_training(train: Train) -> Shape:
    """Of all samples, those to learn from and those to test on."""
    samples = _usual(train.source)[1]
    if train.is_text:
        samples = sum(
            asked or most for asked, most in zip((train.train_samples, train.test_samples), TEXT_WINDOWS, strict=True)
        )
    return _shape(train, samples, train.features)


def classes(train: Train) -> int:
    return BYTES if train.is_text else USUAL_CLASSES


def _shape(data: Inputs | Train, samples: int, features: int | None) -> Shape:
    if isinstance(data.positions, int) or data.is_text:
        return Shape(samples, data.positions if isinstance(data.positions, int) else TEXT_POSITIONS, features or BYTES)
    values = features or _usual(data.source)[0]
    if data.positions is None:
        return Shape(samples, 1, values)
    return Shape(samples, *((math.isqrt(values),) * 2 if data.positions == "rows" else (values, 1)))


def _usual(source: str) -> tuple[int, int]:
    return USUAL_DATA.get(source, USUAL_DATA["mnist5k"])
