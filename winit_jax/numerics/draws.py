"""The random arrays that networks share, as the passes read them; the latest few are kept."""

import math
from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp

from winit_jax.numerics.initializers import (
    stream_key,
    unit_biases,
    unit_directions,
    unit_readout,
    unit_weight_stack,
    unit_weights,
)


class Layer(NamedTuple):
    """Unit draws of one layer: weights [fan_in, width], their column sums [width], biases [width]."""

    weights: jax.Array
    column_sums: jax.Array
    biases: jax.Array


@lru_cache(maxsize=4)
def layer_stack(seed: int, shape: str, width: int, first: int, count: int) -> Layer:
    """Draws of hidden layers first .. first + count - 1, stacked along a leading axis."""
    weights = unit_weight_stack(seed, shape, width, first, count)
    return Layer(weights, jnp.sum(weights, axis=1), unit_biases(seed, width, first, count))


@lru_cache(maxsize=4)
def first_layer(seed: int, shape: str, width: int, features: int) -> Layer:
    """Draws of the first layer: weights [features, width]."""
    weights = unit_weights(seed, shape, width, 1, features)
    return Layer(weights, jnp.sum(weights, axis=0), unit_biases(seed, width, 1, 1)[0])


@lru_cache(maxsize=4)
def directions(seed: int, stream: str, samples: int, width: int) -> jax.Array:
    """A random direction for each sample, [samples, width]: of `tangents` or `cotangents`."""
    return unit_directions(seed, stream, samples, width)


@lru_cache(maxsize=4)
def readout(seed: int, width: int, classes: int) -> jax.Array:
    """Weights of a linear readout: [width, classes], normal of variance 1 / width."""
    key = stream_key(seed, "readout", width, classes)
    return jax.random.normal(key, (width, classes)) / math.sqrt(width)


def classifier(
    seed: int, shape: str, width: int, features: int, classes: int, hidden: Layer | None
) -> dict[str, jax.Array]:
    """The unit draws of a network and its readout, as the parameters of `training`, of one network.

    hidden: of its hidden layers, stacked; None at depth 1.
    """
    first = first_layer(seed, shape, width, features)
    readout_weights, readout_bias = unit_readout(seed, shape, width, classes)
    parameters = {"first": first.weights, "readout": readout_weights, "readout_bias": readout_bias}
    if hidden is None:
        return parameters | {"bias": first.biases[None]}
    return parameters | {"hidden": hidden.weights, "bias": jnp.concatenate([first.biases[None], hidden.biases])}
