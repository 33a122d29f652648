"""Weight initializations: unit draws.

W = std * Z. The draw Z has entries of variance 1 and depends only on (seed, shape, width, layer,
fan_in, fan_out); the standard deviation comes from the sweep's axis or from a named scheme (`schemes`). All
networks that differ only in scale or activation so share their draws, and comparisons are paired.
"""

import math
import zlib
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from winit_jax.numerics.own_inits import OWN_INITS
from winit_jax.registry import Registry

Draw = Callable[[jax.Array, int, int], jax.Array]

# Standard deviation of a standard normal truncated to [-2, 2].
TRUNCATED_STD = 0.87962566103423978


def _normal(key: jax.Array, fan_in: int, fan_out: int) -> jax.Array:
    return jax.random.normal(key, (fan_in, fan_out))


def _uniform(key: jax.Array, fan_in: int, fan_out: int) -> jax.Array:
    return jax.random.uniform(key, (fan_in, fan_out), minval=-math.sqrt(3), maxval=math.sqrt(3))


def _truncated_normal(key: jax.Array, fan_in: int, fan_out: int) -> jax.Array:
    return jax.random.truncated_normal(key, -2.0, 2.0, (fan_in, fan_out)) / TRUNCATED_STD


def _orthogonal(key: jax.Array, fan_in: int, fan_out: int) -> jax.Array:
    """Haar-distributed orthonormal rows or columns, scaled so that the mean square entry is 1."""
    tall = jax.random.normal(key, (max(fan_in, fan_out), min(fan_in, fan_out)))
    q, r = jnp.linalg.qr(tall)
    q = q * jnp.where(jnp.diagonal(r) < 0, -1.0, 1.0)  # the sign that makes the draw uniform
    return math.sqrt(max(fan_in, fan_out)) * (q if fan_in >= fan_out else q.T)


def _delta_orthogonal(key: jax.Array, fan_in: int, fan_out: int) -> jax.Array:
    """Of a convolution: a Haar-distributed orthogonal matrix at its centre tap, which comes first, and 0 at the others.

    Of variance 1 over all taps. Weights of one tap are `orthogonal`. Source: Xiao et al. 2018, arXiv:1806.05393.
    """
    if fan_in <= fan_out or fan_in % fan_out:
        return _orthogonal(key, fan_in, fan_out)
    centre = math.sqrt(fan_in // fan_out) * _orthogonal(key, fan_out, fan_out)
    return jnp.concatenate([centre, jnp.zeros((fan_in - fan_out, fan_out))])


def _constant(key: jax.Array, fan_in: int, fan_out: int) -> jax.Array:
    return jnp.ones((fan_in, fan_out))


def _identity(key: jax.Array, fan_in: int, fan_out: int) -> jax.Array:
    """Ones on the diagonal and 0 elsewhere, scaled so that the mean square entry is 1.

    Of a convolution, whose centre tap comes first, the identity at that tap.
    """
    return math.sqrt(max(fan_in, fan_out)) * jnp.eye(fan_in, fan_out)


class Shape(NamedTuple):
    """An init that `std` or `gain` scales. draw: of variance 1. is_predicted: whether mean field speaks of it.

    stream: the shape whose random numbers it has, where that is another one.
    """

    draw: Draw
    is_predicted: bool = True
    stream: str = ""


_SHAPES = {
    "normal": Shape(_normal),
    "uniform": Shape(_uniform),
    "truncated_normal": Shape(_truncated_normal),
    "orthogonal": Shape(_orthogonal),
    "delta_orthogonal": Shape(_delta_orthogonal),
    "constant": Shape(_constant, is_predicted=False),
}
# Orthogonal weights, each matrix of which is then scaled so that its products have variance 1 on the inputs.
UNIT_VARIANCE = "lsuv"
# What some schemes draw, and `std` and `gain` do not scale.
_OF_SCHEMES = {
    "identity": Shape(_identity, is_predicted=False),
    UNIT_VARIANCE: Shape(_orthogonal, is_predicted=False, stream="orthogonal"),
}


SHAPES: Registry[Shape] = Registry("a shape", _SHAPES)
# How biases are drawn: as weights of such a shape.
BIAS_LAWS = ("normal", "uniform", "constant")


def shape_named(name: str) -> Shape:
    """What is drawn under a name: of a shape, of what some schemes draw, or of an import path.

    Errors: ValueError with one sentence.
    """
    if name in SHAPES:
        return SHAPES[name]
    return _OF_SCHEMES[name] if name in _OF_SCHEMES else Shape(OWN_INITS.find(name).unit, is_predicted=False)


def drawn_as(shape: str) -> str:
    """The shape whose random numbers a shape has: itself, but for those that scale another one's."""
    known = SHAPES.get(shape) or _OF_SCHEMES.get(shape)
    return known.stream or shape if known else shape


def stream_key(seed: int, stream: str, *numbers: int) -> jax.Array:
    """The threefry key of a named stream: the same for the same names, wherever work is cut."""
    key: jax.Array = _key_of(_words(seed, stream, *numbers))
    return key


def _words(seed: int, stream: str, *numbers: int) -> np.ndarray:
    """What a stream's key is made of, on the host: [2 + n], the seed and the name among them."""
    return np.array([seed, zlib.crc32(stream.encode()), *numbers], np.uint32)


def _fold(words: jax.Array) -> jax.Array:
    # The two words that random.key makes of such a seed, without its setting for an offset.
    key = jax.random.wrap_key_data(jnp.stack([jnp.uint32(0), words[0]]), impl="threefry2x32")
    for word in words[1:]:
        key = jax.random.fold_in(key, word)
    made: jax.Array = key
    return made


_key_of = jax.jit(_fold)


def unit_weights(seed: int, shape: str, width: int, layer: int, fan_in: int) -> jax.Array:
    """Z of one layer: [fan_in, width], entries of variance 1 (all 1 for `constant`).

    seed: 0 to 2**32 - 1. layer: 1 for the first. Errors: KeyError for an unknown shape.
    """
    words = _words(seed, f"weights/{drawn_as(shape)}", width, fan_in)
    return _draw(words, shape, _layers(layer, 1), fan_in, width, (fan_in, width))


def unit_weight_stack(
    seed: int, shape: str, first: int, count: int, fan_in: int, fan_out: int, place: str = ""
) -> jax.Array:
    """Z of layers first .. first + count - 1: [count, fan_in, fan_out]. place: in a block, empty for its only ones."""
    words = _words(seed, f"weights/{drawn_as(shape)}{place and f'/{place}'}", fan_out, fan_in)
    return _draw(words, shape, _layers(first, count), fan_in, fan_out, (count, fan_in, fan_out))


def unit_biases(seed: int, width: int, first: int, count: int, place: str = "", law: str = "normal") -> jax.Array:
    """Biases of variance 1 (all 1 for `constant`) of layers first .. first + count - 1: [count, width].

    place: as of `unit_weight_stack`. law: one of `BIAS_LAWS`.
    """
    words = _words(seed, f"{_stream_of(law)}{place and f'/{place}'}", width)
    return _draw(words, law, _layers(first, count), 1, width, (count, width))


def _layers(first: int, count: int) -> np.ndarray:
    """Numbers of layers: on the host, for on a device each way to make them would be a program."""
    return np.arange(first, first + count, dtype=np.int32)


def _stream_of(law: str) -> str:
    return "biases" if law == "normal" else f"{law} biases"


def unit_directions(seed: int, stream: str, samples: int, width: int) -> jax.Array:
    """A uniformly random direction for each sample: [samples, width], entries of mean square 1 in each row.

    stream: `tangents` or `cotangents`.
    """
    rows = jax.random.normal(stream_key(seed, stream, width), (samples, width))
    directions: jax.Array = rows * (math.sqrt(width) / jnp.linalg.norm(rows, axis=1, keepdims=True))
    return directions


def unit_readout(seed: int, shape: str, width: int, classes: int, law: str = "normal") -> tuple[jax.Array, jax.Array]:
    """Z and biases of a readout: [width, classes] and [classes], of variance 1 (all 1 for `constant`).

    law: of the biases.
    """
    drawn: tuple[jax.Array, jax.Array] = _draw_readout(
        stream_key(seed, f"readout/{drawn_as(shape)}", width, classes),
        stream_key(seed, f"readout {_stream_of(law)}", classes),
        shape,
        width,
        classes,
        law,
    )
    return drawn


@partial(jax.jit, static_argnums=(2, 3, 4, 5))
def _draw_readout(
    weights: jax.Array, biases: jax.Array, shape: str, fan_in: int, fan_out: int, law: str
) -> tuple[jax.Array, jax.Array]:
    return shape_named(shape).draw(weights, fan_in, fan_out), shape_named(law).draw(biases, 1, fan_out)[0]


def _draw_layers(
    words: jax.Array, shape: str, layers: jax.Array, fan_in: int, fan_out: int, to: tuple[int, ...]
) -> jax.Array:
    """Draws of layers from the words of their stream, given the shape `to`: one program for all of it."""
    key = _fold(words)
    drawn: jax.Array = jax.lax.map(
        lambda layer: shape_named(shape).draw(jax.random.fold_in(key, layer), fan_in, fan_out), layers
    )
    return drawn.reshape(to)


_draw: Callable[..., jax.Array] = jax.jit(_draw_layers, static_argnums=(1, 3, 4, 5))
