"""Weight initializations: unit draws and the rules that scale them.

W = std * Z. The draw Z has entries of variance 1 and depends only on (seed, shape, width, layer,
fan_in, fan_out); the standard deviation comes from the sweep's axis or from a named scheme. All
networks that differ only in scale or activation so share their draws, and comparisons are paired.
"""

import math
import zlib
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

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


Fan = int | Fraction


class Shape(NamedTuple):
    """An init that `std` or `gain` scales. draw: of variance 1. is_predicted: whether mean field speaks of it."""

    draw: Draw
    is_predicted: bool = True


class Scheme(NamedTuple):
    """An init that fixes its own scale. shape: what it draws. variance: of the entries, from fan_in and fan_out.

    factor: what the standard deviation is multiplied by at a place, from its role (`draws.Place`) and the depth of the
    network; None where it is 1 everywhere.
    """

    shape: str
    variance: Callable[[Fan, Fan], float | Fraction]
    factor: Callable[[str, int], float] | None = None


def _gpt2(role: str, depth: int) -> float:
    """What is added to the stream is 1 / sqrt(2 depth) as large: two updates a layer."""
    return 1 / math.sqrt(2 * depth) if role == "out" else 1.0


def _fixup(role: str, depth: int) -> float:
    """The last weights of a branch begin as 0, and those before, one in a row, are 1 / sqrt(depth) as large."""
    return {"out": 0.0, "readout": 0.0, "stem": 1.0}.get(role, 1 / math.sqrt(depth))


def _deepnorm(role: str, depth: int) -> float:
    """Values, outputs and perceptrons are (8 depth)^(-1/4) as large, queries and keys are not."""
    return math.sqrt(1 / math.sqrt(8 * depth)) if role in ("inner", "out") else 1.0


_SHAPES = {
    "normal": Shape(_normal),
    "uniform": Shape(_uniform),
    "truncated_normal": Shape(_truncated_normal),
    "orthogonal": Shape(_orthogonal),
    "delta_orthogonal": Shape(_delta_orthogonal),
    "constant": Shape(_constant, is_predicted=False),
}
_SCHEMES = {
    "zeros": Scheme("constant", lambda fan_in, fan_out: 0.0),
    "lecun_normal": Scheme("normal", lambda fan_in, fan_out: 1 / fan_in),
    "lecun_uniform": Scheme("uniform", lambda fan_in, fan_out: 1 / fan_in),
    "xavier_normal": Scheme("normal", lambda fan_in, fan_out: 2 / (fan_in + fan_out)),
    "xavier_uniform": Scheme("uniform", lambda fan_in, fan_out: 2 / (fan_in + fan_out)),
    "he_normal": Scheme("normal", lambda fan_in, fan_out: 2 / fan_in),
    "he_uniform": Scheme("uniform", lambda fan_in, fan_out: 2 / fan_in),
    "gpt2": Scheme("normal", lambda fan_in, fan_out: 0.02**2, _gpt2),
    "fixup": Scheme("normal", lambda fan_in, fan_out: 2 / fan_in, _fixup),
    "deepnorm": Scheme("normal", lambda fan_in, fan_out: 2 / (fan_in + fan_out), _deepnorm),
}


SHAPES: Registry[Shape] = Registry("a shape", _SHAPES)
SCHEMES: Registry[Scheme] = Registry("a scheme", _SCHEMES)


def shape_of(init: str) -> str:
    """The shape that an init draws from: its own name, or its scheme's."""
    return SCHEMES[init].shape if init in SCHEMES else init


def scheme_std(init: str, fan_in: int, fan_out: int, role: str = "out", depth: int | None = None) -> float:
    """Standard deviation of the weights under a scheme. role: of their place; depth: of the network, if it matters.

    Source: LeCun et al. 1998; Glorot and Bengio 2010; He et al. 2015 (arXiv:1502.01852); Radford et al. 2019 (gpt2);
    Zhang et al. 2019 (fixup, arXiv:1901.09321); Wang et al. 2022 (deepnorm, arXiv:2203.00555).
    Errors: KeyError for a shape, which has no standard deviation of its own.
    """
    return math.sqrt(SCHEMES[init].variance(fan_in, fan_out)) * _factor(init, role, depth)


def scheme_gain(init: str, fan_in: int, fan_out: int, role: str = "out", depth: int | None = None) -> float:
    """std * sqrt(fan_in) of a scheme; exactly the same at every width for schemes without one. As of `scheme_std`."""
    variance = SCHEMES[init].variance(Fraction(fan_in), Fraction(fan_out))
    return math.sqrt(variance * fan_in) * _factor(init, role, depth)


def _factor(init: str, role: str, depth: int | None) -> float:
    factor = SCHEMES[init].factor
    if factor is None:
        return 1.0
    assert depth is not None
    return factor(role, depth)


def stream_key(seed: int, stream: str, *numbers: int) -> jax.Array:
    """The threefry key of a named stream: the same for the same names, wherever work is cut."""
    # The two words that random.key makes of such a seed, without its setting for an offset.
    key: jax.Array = jax.random.wrap_key_data(jnp.array([0, seed], jnp.uint32), impl="threefry2x32")
    for number in (zlib.crc32(stream.encode()), *numbers):
        key = jax.random.fold_in(key, number)
    return key


def unit_weights(seed: int, shape: str, width: int, layer: int, fan_in: int) -> jax.Array:
    """Z of one layer: [fan_in, width], entries of variance 1 (all 1 for `constant`).

    seed: 0 to 2**32 - 1. layer: 1 for the first. Errors: KeyError for an unknown shape.
    """
    return _draw(stream_key(seed, f"weights/{shape}", width, fan_in), shape, jnp.array([layer]), fan_in, width)[0]


def unit_weight_stack(
    seed: int, shape: str, first: int, count: int, fan_in: int, fan_out: int, place: str = ""
) -> jax.Array:
    """Z of layers first .. first + count - 1: [count, fan_in, fan_out]. place: in a block, empty for its only ones."""
    layers = first + jnp.arange(count)
    key = stream_key(seed, f"weights/{shape}{place and f'/{place}'}", fan_out, fan_in)
    return _draw(key, shape, layers, fan_in, fan_out)


def unit_biases(seed: int, width: int, first: int, count: int, place: str = "") -> jax.Array:
    """Standard normal biases of layers first .. first + count - 1: [count, width]. place: as of `unit_weight_stack`."""
    layers = first + jnp.arange(count)
    return _draw(stream_key(seed, f"biases{place and f'/{place}'}", width), "normal", layers, 1, width)[:, 0]


def unit_directions(seed: int, stream: str, samples: int, width: int) -> jax.Array:
    """A uniformly random direction for each sample: [samples, width], entries of mean square 1 in each row.

    stream: `tangents` or `cotangents`.
    """
    rows = jax.random.normal(stream_key(seed, stream, width), (samples, width))
    directions: jax.Array = rows * (math.sqrt(width) / jnp.linalg.norm(rows, axis=1, keepdims=True))
    return directions


def unit_readout(seed: int, shape: str, width: int, classes: int) -> tuple[jax.Array, jax.Array]:
    """Z and biases of a readout: [width, classes] of variance 1 (all 1 for `constant`), [classes] standard normal."""
    drawn: tuple[jax.Array, jax.Array] = _draw_readout(
        stream_key(seed, f"readout/{shape}", width, classes),
        stream_key(seed, "readout biases", classes),
        shape,
        width,
        classes,
    )
    return drawn


@partial(jax.jit, static_argnums=(2, 3, 4))
def _draw_readout(
    weights: jax.Array, biases: jax.Array, shape: str, fan_in: int, fan_out: int
) -> tuple[jax.Array, jax.Array]:
    return SHAPES[shape].draw(weights, fan_in, fan_out), jax.random.normal(biases, (fan_out,))


def _draw_layers(key: jax.Array, shape: str, layers: jax.Array, fan_in: int, fan_out: int) -> jax.Array:
    drawn: jax.Array = jax.lax.map(
        lambda layer: SHAPES[shape].draw(jax.random.fold_in(key, layer), fan_in, fan_out), layers
    )
    return drawn


_draw: Callable[..., jax.Array] = jax.jit(_draw_layers, static_argnums=(1, 3, 4))
