"""The random arrays that networks share, as the passes read them; the latest few are kept, on every device."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from winit_jax.numerics.initializers import (
    stream_key,
    unit_biases,
    unit_directions,
    unit_weight_stack,
    unit_weights,
)
from winit_jax.numerics.keeping import latest


class Layer(NamedTuple):
    """Unit draws of one layer: weights [fan_in, width], their column sums [width], biases [width]."""

    weights: jax.Array
    column_sums: jax.Array
    biases: jax.Array


class Place(NamedTuple):
    """Weights [fan_in, fan_out] in a block.

    name: of their stream of random numbers, empty for the only ones of a block. fan_in: what one unit reads, over all
    taps of a convolution. role: what an init may know it by: `stem`, `inner`, `logits` (of queries and keys), `out`,
    which is added to the stream, or `readout`. taps: of a convolution, how many; else 1.
    """

    name: str
    fan_in: int
    fan_out: int
    has_bias: bool = True
    role: str = "out"
    taps: int = 1

    @property
    def fans(self) -> tuple[int, int]:
        """(fan_in, fan_out) as libraries count them: both are k n in a convolution of k taps."""
        return self.fan_in, self.fan_out * self.taps


# Unit draws of one layer, or of many stacked along a leading axis: of each update, of each place in it.
Draws = tuple[tuple[Layer, ...], ...]


@latest(4)
def layer_stack(
    seed: int, shape: str, first: int, count: int, places: tuple[tuple[Place, ...], ...], law: str = "normal"
) -> Draws:
    """Draws of hidden layers first .. first + count - 1, stacked along a leading axis.

    places: of each update. law: of the biases.
    """

    def at(place: Place) -> Layer:
        weights = unit_weight_stack(seed, shape, first, count, place.fan_in, place.fan_out, place.name)
        if place.has_bias:
            biases = unit_biases(seed, place.fan_out, first, count, place.name, law)
        else:
            biases = jnp.zeros((count, place.fan_out))
        return Layer(weights, jnp.sum(weights, axis=1), biases)

    return tuple(tuple(at(place) for place in of_update) for of_update in places)


@latest(4)
def first_layer(seed: int, shape: str, width: int, features: int, law: str = "normal") -> Layer:
    """Draws of the first layer: weights [features, width]. law: of the biases."""
    weights = unit_weights(seed, shape, width, 1, features)
    return Layer(weights, jnp.sum(weights, axis=0), unit_biases(seed, width, 1, 1, law=law)[0])


@latest(4)
def directions(seed: int, stream: str, samples: int, width: int) -> jax.Array:
    """A random direction for each sample, [samples, width]: of `tangents` or `cotangents`."""
    return unit_directions(seed, stream, samples, width)


@latest(4)
def readout(seed: int, width: int, classes: int) -> jax.Array:
    """Weights of a linear readout: [width, classes], normal of variance 1 / width."""
    key = stream_key(seed, "readout", width, classes)
    return jax.random.normal(key, (width, classes)) / math.sqrt(width)
