"""Numbers rounded to a format of fewer bits, with their scale beside them.

Every operand of a product is a number of the format; the sums are float32's; what comes out is rounded once, as is
every elementwise step between two products (docs/definitions.md). Rounding is done in normal float32 numbers whatever
the exponents, so that what hardware flushes does not matter.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from winit_jax.columns.formats import Format
from winit_jax.numerics.activations import Activation
from winit_jax.numerics.changes import Tangent
from winit_jax.numerics.draws import Layer
from winit_jax.numerics.folding import mean_square, over_samples
from winit_jax.numerics.scaled import EXPONENT_LIMIT, Scaled, exponent_of, power_of_two, root_exponent
from winit_jax.numerics.signals import Argument, Preactivation, Signal, common_exponent


class Limits(NamedTuple):
    """A format as numbers, so that one program serves all formats: int32 and float32 arrays of any one shape.

    fraction_bits, least_exponent, has_infinity: see `columns.formats.Format`. Its largest number is fraction *
    2^exponent.
    """

    fraction_bits: Any
    least_exponent: Any
    has_infinity: Any
    fraction: Any
    exponent: Any


def limits(of: Format, count: int) -> Limits:
    """A format for so many networks: NumPy arrays."""
    fraction, exponent = math.frexp(of.largest)
    numbers = (of.fraction_bits, of.least_exponent, of.has_infinity, np.float32(fraction), exponent)
    types = (np.int32, np.int32, np.bool_, np.float32, np.int32)
    return Limits(*(np.full(count, number, of_type) for number, of_type in zip(numbers, types, strict=True)))


class Lost(NamedTuple):
    """What became of the values of an array when they were rounded: int32 counts.

    nonzero: values that were not 0. underflow: those of them that became 0. subnormal: that became subnormal.
    overflow: that lay beyond the largest number, infinite ones among them.
    """

    nonzero: jax.Array
    underflow: jax.Array
    subnormal: jax.Array
    overflow: jax.Array


def rounded(x: Scaled, to: Limits) -> jax.Array:
    """The numbers of a format nearest to x, ties to even, in units of 2^x.exponent as x.value is.

    Beyond the largest number: infinite, or that number where there is no infinity. NaN stays.
    """
    near: jax.Array = jax.lax.optimization_barrier(_within(_nearest(x, to), x.exponent, to))
    return near


def rounded_and_lost(x: Scaled, to: Limits) -> tuple[jax.Array, Lost]:
    """The same of [rows, units], with what became of them."""
    value, became = rounded_and_told(x, to)
    return value, Lost(*map(_count, became))


def rounded_and_told(x: Scaled, to: Limits) -> tuple[jax.Array, Lost]:
    """The same of any shape, and of each value what became of it, in place of counts."""
    # Several read what is rounded; without the barriers XLA would round once for each slice of each sum.
    x = Scaled(jax.lax.optimization_barrier(x.value), x.exponent)
    near = jax.lax.optimization_barrier(_nearest(x, to))
    size, nonzero = jnp.abs(near), x.value != 0
    subnormal = (size > 0) & (size < power_of_two(to.least_exponent - x.exponent))
    became = Lost(nonzero, nonzero & (near == 0), subnormal, size > _largest(x.exponent, to))
    return jax.lax.optimization_barrier(_within(near, x.exponent, to)), became


def _nearest(x: Scaled, to: Limits) -> jax.Array:
    """As if there were no largest number: value' = q round(value / q).

    q is the last place of the format there, 2^(max(e, least_exponent) - fraction_bits) of a value in [2^e, 2^(e + 1)).
    """
    # In units of 2^x.exponent; in two halves, for float32 may not hold the reciprocal of the whole.
    place = jnp.maximum(exponent_of(x.value) - 1, to.least_exponent - x.exponent) - to.fraction_bits
    half = place >> 1
    near = jnp.round(x.value * power_of_two(-half) * power_of_two(half - place))
    near = near * power_of_two(half) * power_of_two(place - half)
    return jnp.where(jnp.isfinite(x.value), near, x.value)


def _within(near: jax.Array, exponent: jax.Array, to: Limits) -> jax.Array:
    largest = _largest(exponent, to)
    beyond = jnp.copysign(jnp.where(to.has_infinity, jnp.inf, largest), near)
    return jnp.where(jnp.abs(near) > largest, beyond, near)


def _largest(exponent: jax.Array, to: Limits) -> jax.Array:
    """The largest number of a format in units of 2^exponent; 0 below float32's least normal number."""
    largest: jax.Array = 2 * to.fraction * power_of_two(to.exponent - 1 - exponent)
    return largest


def _count(mask: jax.Array) -> jax.Array:
    """How many of [rows, units]: float32 counts the rows of a unit, to 2^24, and int32 the units."""
    return jnp.sum(jnp.sum(over_samples(jnp.where(mask, 1.0, 0.0)), axis=0).astype(jnp.int32))


def shares(counts: Lost | None, prefix: str = "") -> dict[str, np.ndarray]:
    """The columns of what was lost, as shares of the values that were not 0; NaN where all were. NumPy arrays."""
    if counts is None:
        return {}
    nonzero, *others = (np.asarray(part, np.float64) for part in counts)
    names = (f"{prefix}{name}" for name in Lost._fields[1:])
    with np.errstate(invalid="ignore"):
        return {name: part / nonzero for name, part in zip(names, others, strict=True)}


def of_finite(x: jax.Array) -> jax.Array:
    """The mean square of the entries that are finite, so that others do not set the scale of all."""
    return mean_square(jnp.where(jnp.isfinite(x), x, 0.0))


def weights(
    layers: Sequence[Layer], stds: Sequence[Scaled], bias_stds: Sequence[Scaled], to: Limits
) -> tuple[tuple[Layer, ...], tuple[Scaled, ...], tuple[Scaled, ...]]:
    """Weights and biases of one network at some places, rounded, in place of draws that all share.

    They come as draws of their own, in units of powers of two: (layers, standard deviations, those of biases).
    """

    def unit(std: Scaled) -> Scaled:
        return Scaled(jnp.where(std.value == 0, 0.0, 1.0), std.exponent)

    def of_place(layer: Layer, std: Scaled, bias_std: Scaled) -> Layer:
        entries = rounded(Scaled(std.value * layer.weights, std.exponent), to)
        biases = rounded(Scaled(bias_std.value * layer.biases, bias_std.exponent), to)
        return Layer(entries, jnp.sum(entries, axis=0), biases)

    found = tuple(of_place(*place) for place in zip(layers, stds, bias_stds, strict=True))
    return found, tuple(map(unit, stds)), tuple(map(unit, bias_stds))


def preactivation(a: Preactivation, to: Limits) -> tuple[Preactivation, Lost]:
    """Pre-activations as numbers of the format, with what became of them in that."""
    value, counts = rounded_and_lost(Scaled(a.value, a.exponent), to)
    nothing = jnp.zeros(value.shape[1:], value.dtype)
    one = Scaled(jnp.ones_like(a.scale.value), jnp.zeros_like(a.scale.exponent))
    near = Preactivation(value, jnp.mean(value, axis=0), one, nothing, a.exponent, size_exponent=a.size_exponent)
    return near, counts


def argument(u: Argument, to: Limits) -> Argument:
    """phi's argument as numbers of the format."""
    return u._replace(value=rounded(Scaled(u.value, u.exponent), to))


def answer(phi: jax.Array, exponents: tuple[jax.Array, jax.Array], to: Limits) -> Signal:
    """Activations as numbers of the format, and as a signal. exponents: (left, right), as of `signals.respond`."""
    exponent = common_exponent(exponents, lambda: jnp.max(over_samples(jnp.abs(phi), jnp.maximum)))
    return signal(Scaled(rounded(Scaled(phi, exponent), to), exponent))


def signal(h: Scaled) -> Signal:
    """A signal of numbers of the format."""
    return Signal(h, jnp.mean(h.value, axis=0), root_exponent(of_finite(h.value)))


def settled(x: Scaled, to: Limits) -> Scaled:
    """The numbers of a format nearest to x, [rows, units], of RMS near 1 beside a power of two, however small x is."""
    size = exponent_of(jnp.max(over_samples(jnp.where(jnp.isfinite(x.value), jnp.abs(x.value), 0.0), jnp.maximum)))
    shift = jnp.where(size == -EXPONENT_LIMIT, 0, jnp.clip(size, -126, 126))  # else squares might underflow
    held = Scaled(x.value * power_of_two(-shift), x.exponent + shift)
    value = rounded(held, to)
    return Scaled(value, held.exponent).rescaled(of_finite(value))


def tangent(change: Tangent, to: Limits) -> Tangent:
    """A change as numbers of the format, of RMS near 1 beside a power of two."""
    return tangent_and_lost(change, to)[0]


def tangent_and_lost(change: Tangent, to: Limits) -> tuple[Tangent, Lost]:
    """The same, with what became of it."""
    value, counts = rounded_and_lost(Scaled(change.factor * change.value, change.exponent), to)
    near = Scaled(value, change.exponent).rescaled(of_finite(value))
    return Tangent(*near, jnp.float32(1.0)), counts


@lru_cache(maxsize=64)  # so that compiled functions are found again
def whole(activation: Activation) -> Activation:
    """phi with phi(0) in its response, whose digits a format would not keep, and slopes that are of phi's argument.

    It is 0 where its response is, and as low and as high as rounding takes it.
    """
    at_zero = activation.at_zero
    return replace(
        activation,
        response=(lambda a: activation.response(a) + at_zero) if at_zero else activation.response,
        at_zero=0.0,
        degree_at_zero=None if at_zero else activation.degree_at_zero,
        slope_of_response=None,
        zero_below=-math.inf,
        lowest=-math.inf,
        highest=math.inf,
        lower=None,
    )
