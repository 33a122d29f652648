"""One network as pure functions: a layer's pre-activations, normalisation and response.

a = h W + b, h' = phi(norm(a)), with the scale carried beside the signal as a power of two:
the true pre-activation is a * 2^preact_exponent, the true response psi = response * 2^exponent.
Powers of two are exact, so carrying the scale never rounds.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap

from winit_jax.numerics.activations import Activation

# phi is evaluated at RMS pre-activations of 2^30 (1e9) at most: far enough out that psi follows its degree
# to float32 rounding, and with room for squares and their sums. The lower end is the activation's own.
MAX_EXPONENT = 30
# Further out phi itself is still given u as it is, up to 2^(30 + 60), and psi is divided by what that adds: in a layer
# of few entries those that are small beside the RMS, or on the side where phi is bounded, may be all that goes on.
LIFT = 60
# psi of the side where phi is bounded, divided so, is below this where phi is not given u itself.
BOUNDED = 2.0**-20
# u below sqrt(epsilon): a clipped from below is near 2^-24 and keeps its exponent at the usual epsilon (near 4^-8);
# any other is up to 2^30, and phi is a power law to 1e-3 of it when that has become 2^-10.
BELOW_CLIPPING, BELOW_EPSILON = -8, 40
# Of numbers that are smaller than the largest by more powers of two than this, float32 may hold no squares.
ROOM = 50
# Exponents saturate here rather than overflow: 2^(2^28), far beyond 10^(10^7).
EXPONENT_LIMIT = 2**28
NORMALIZED_AXIS = {"batch": 0, "layer": -1}
NORM_EPSILON = 1e-5  # added to the variance by batch and layer normalisation where nothing else is asked for


class Scale(NamedTuple):
    """mantissa * 2^exponent: a standard deviation that need not fit float32. Scalars."""

    mantissa: jax.Array
    exponent: jax.Array


class Signal(NamedTuple):
    """What one network hands from layer to layer.

    response: psi(h), [samples, fan_in]; the true one is response * 2^exponent.
    unit_mean: mean of response over samples, [fan_in].
    exponent: int32. rms_exponent: int32, log2 of the RMS of response, rounded up.
    """

    response: jax.Array
    unit_mean: jax.Array
    exponent: jax.Array
    rms_exponent: jax.Array


class Layer(NamedTuple):
    """Unit draws of one layer: weights [fan_in, width], their column sums [width], biases [width]."""

    weights: jax.Array
    column_sums: jax.Array
    biases: jax.Array


class Argument(NamedTuple):
    """phi's argument u, [samples, width], and how it came from a; the true u is value * 2^exponent (int32).

    added: int32, how many powers of two larger psi is for u that was raised from the clipped scale; None if never.
    shrink: 1 / sqrt(var + epsilon), [1, width] or [samples, 1], and its power of two; None without normalisation.
    epsilon: what was added to the variance, likewise in units of 4^-shrink_exponent: a mantissa and its exponent.
    """

    value: jax.Array
    exponent: jax.Array
    added: jax.Array | None = None
    shrink: jax.Array | None = None
    shrink_exponent: jax.Array | None = None
    epsilon: Scale | None = None


class Preactivation(NamedTuple):
    """a = factor * product + offset, kept in parts so that statistics can centre before they square.

    product: response @ Z, [samples, width]. product_mean: its mean over samples, [width].
    factor: scalar, mantissa * 2^shift, of which float32 may hold only 0. offset: [width]. exponent: int32; the true a
    is a * 2^exponent. distinct: a without what a normalisation removes wherever that is all or nearly all of it: the
    product that all units share, or the offset that all samples do; None where neither needs to be told apart.
    """

    product: jax.Array
    product_mean: jax.Array
    factor: jax.Array
    offset: jax.Array
    exponent: jax.Array
    mantissa: jax.Array
    shift: jax.Array
    distinct: "Preactivation | None" = None

    @property
    def value(self) -> jax.Array:
        return self.factor * self.product + self.offset

    @property
    def unit_mean(self) -> jax.Array:
        return self.factor * self.product_mean + self.offset


def power_of_two(exponent: jax.Array) -> jax.Array:
    """2^exponent in float32, exactly; 0 below 2^-126, 2^127 above."""
    bits = (jnp.clip(exponent, -126, 127) + 127).astype(jnp.int32) << 23
    return jnp.where(exponent < -126, 0.0, jax.lax.bitcast_convert_type(bits, jnp.float32))


def exponent_of(x: jax.Array) -> jax.Array:
    """The least e with abs(x) < 2^e, as int32; -EXPONENT_LIMIT for 0 and for what is not finite."""
    bits = jax.lax.bitcast_convert_type(jnp.abs(x).astype(jnp.float32), jnp.int32)
    usable = (x != 0) & jnp.isfinite(x)
    return jnp.where(usable, (bits >> 23) - 126, -EXPONENT_LIMIT)


def root_exponent(mean_square: jax.Array) -> jax.Array:
    """log2 of the root of a mean square, rounded up; -EXPONENT_LIMIT for 0."""
    return jnp.where(mean_square > 0, (exponent_of(mean_square) + 1) >> 1, -EXPONENT_LIMIT)


def preactivate(
    signal: Signal,
    layer: Layer,
    weight: Scale,
    bias: Scale,
    activation: Activation,
    *,
    precision: str,
    removes: str = "",
) -> Preactivation:
    """Pre-activations of one hidden layer, at a scale that float32 holds.

    a = std (at_zero 1 + psi) Z + bias_std b, where 1 Z are the column sums of the draw.
    removes: see `removed_part`.
    """
    product = jnp.matmul(signal.response, layer.weights, precision=precision)
    product_mean = jnp.matmul(signal.unit_mean, layer.weights, precision=precision)
    if removes == "product":  # normalisation has made all samples alike, and the draw all units
        product = jnp.broadcast_to(product[:1, :1], product.shape)
        product_mean = product[0]
    return scale_product(product, product_mean, signal, layer, weight, bias, activation, removes=removes)


def removed_part(normalization: str, constant: bool) -> str:
    """The part of a that a normalisation removes whatever the scales: `offset`, `product` or neither.

    Batch normalisation removes the offset, which all samples share, and layer normalisation the product where all
    units share it. constant: whether all entries of a draw are one number.
    """
    if normalization == "batch":
        return "offset"
    return "product" if constant and normalization == "layer" else ""


def scale_product(
    product: jax.Array,
    product_mean: jax.Array,
    signal: Signal,
    layer: Layer,
    weight: Scale,
    bias: Scale,
    activation: Activation,
    *,
    first: bool = False,
    removes: str = "",
) -> Preactivation:
    """The scale bookkeeping of `preactivate`, for a product already at hand.

    first: the signal is the inputs, which are no response and have no at_zero. removes: see `removed_part`.
    """
    fan_in = layer.weights.shape[0]
    at_zero = 0.0 if first else activation.at_zero
    root_fan_in = math.ceil(math.log2(fan_in) / 2)
    bias_exponent = jnp.where(bias.mantissa == 0, -EXPONENT_LIMIT, bias.exponent)
    of_product = jnp.where(
        (signal.rms_exponent == -EXPONENT_LIMIT) | (weight.mantissa == 0),
        -EXPONENT_LIMIT,
        weight.exponent + signal.exponent + signal.rms_exponent + root_fan_in,
    )
    exponent = jnp.maximum(of_product, bias_exponent)
    if at_zero:
        constant = math.ceil(math.log2(abs(at_zero))) + root_fan_in
        exponent = jnp.maximum(exponent, jnp.where(weight.mantissa == 0, -EXPONENT_LIMIT, weight.exponent + constant))
    clipped = _clipped_off(exponent, activation)
    offset = bias.mantissa * power_of_two(bias_exponent - clipped) * layer.biases
    if at_zero:
        offset += at_zero * weight.mantissa * power_of_two(weight.exponent - clipped) * layer.column_sums
    shift = weight.exponent + signal.exponent - clipped
    found = Preactivation(
        product=product,
        product_mean=product_mean,
        factor=weight.mantissa * power_of_two(shift),
        offset=offset,
        exponent=clipped,
        mantissa=weight.mantissa,
        shift=shift,
    )
    if removes == "product":
        nothing = Scale(jnp.zeros_like(weight.mantissa), weight.exponent)
        parts = (jnp.zeros_like(product), jnp.zeros_like(product_mean))
        return found._replace(distinct=scale_product(*parts, signal, layer, nothing, bias, activation, first=first))
    if removes == "offset":  # beside which squares of the product may be no numbers
        own = _clipped_off(jnp.where(of_product < exponent - ROOM, of_product, exponent), activation)
        shift = weight.exponent + signal.exponent - own
        distinct = found._replace(factor=weight.mantissa * power_of_two(shift), exponent=own, shift=shift)
        return found._replace(distinct=distinct)
    return found


def _clipped_off(exponent: jax.Array, activation: Activation) -> jax.Array:
    """What of an exponent is left out of the numbers that phi is given."""
    # Exactly 0 has no scale.
    return jnp.where(exponent <= -EXPONENT_LIMIT // 2, 0, exponent - _clip(exponent, activation))


def _clip(exponent: jax.Array, activation: Activation) -> jax.Array:
    """The exponent at which phi is to be evaluated; a steeper degree gets a narrower range."""
    low, high = activation.degree_at_zero, activation.degree_at_infinity
    if low is not None:
        exponent = jnp.maximum(exponent, activation.min_exponent // max(1, low))
    if high is not None:
        exponent = jnp.minimum(exponent, MAX_EXPONENT // max(1, *high))
    return exponent


def epsilon_of(value: float) -> Scale:
    """A constant epsilon as a Scale of scalars."""
    mantissa, exponent = math.frexp(value)
    return Scale(jnp.float32(mantissa), jnp.int32(exponent))


def argument_of(
    preactivation: Preactivation, activation: Activation, normalization: str, epsilon: Scale | None = None
) -> Argument:
    """phi's argument u, at its own scale as far as float32 holds that.

    u = a, or (a - mean) / sqrt(var + epsilon) with mean and var over the samples of a unit (`batch`) or over the
    units of a sample (`layer`), without trainable scale and shift; 0 where var + epsilon is 0.
    epsilon: scalars; NORM_EPSILON if None.
    """
    if normalization == "none":
        return _raised(preactivation, activation)
    if preactivation.distinct is not None:
        preactivation = preactivation.distinct
    a, exponent = preactivation.value, preactivation.exponent
    epsilon = epsilon_of(NORM_EPSILON) if epsilon is None else epsilon
    axis = NORMALIZED_AXIS[normalization]
    if axis == 0:  # the offset of a unit is in its mean, and cancels
        centred = preactivation.factor * (preactivation.product - preactivation.product_mean)
    else:
        centred = a - jnp.mean(a, axis=1, keepdims=True)
    variance = jnp.mean(centred * centred, axis=axis, keepdims=True)
    # At scale 2^e, (a - mean) 2^e / sqrt(var 2^2e + epsilon): above sqrt(epsilon) the scale cancels and epsilon
    # shrinks, below it epsilon dominates and the scale stays in front. The larger of the two is taken out.
    root = jnp.where(epsilon.mantissa == 0, -EXPONENT_LIMIT, (epsilon.exponent + 1) >> 1)
    unit = jnp.maximum(exponent, root)
    added = Scale(epsilon.mantissa, epsilon.exponent - 2 * unit)
    spread = jnp.sqrt(variance * power_of_two(2 * (exponent - unit)) + added.mantissa * power_of_two(added.exponent))
    shrink = jnp.where(spread > 0, 1 / spread, 0.0)
    # Where u is so small that phi is a power law, it is kept within the range of squares in float32.
    small = jnp.minimum(exponent - root + jnp.where(exponent < 0, BELOW_CLIPPING, BELOW_EPSILON), 0)
    return Argument(centred * (shrink * power_of_two(exponent - unit - small)), small, None, shrink, -unit, added)


def _raised(preactivation: Preactivation, activation: Activation) -> Argument:
    """a as phi's argument: what was clipped from above is put back, unless phi is the same at any scale."""
    exponent, high = preactivation.exponent, activation.degree_at_infinity
    if activation.homogeneous or high is None:
        return Argument(preactivation.value, exponent)
    lift = jnp.clip(exponent, 0, LIFT // max(1, *high))
    factor = preactivation.mantissa * power_of_two(preactivation.shift + lift)
    # Kept, or XLA would make the offset anew for every sample.
    factor, offset = jax.lax.optimization_barrier((factor, power_of_two(lift) * preactivation.offset))
    steepest = max(high)
    added = steepest * lift if steepest > 0 else None
    return Argument(factor * preactivation.product + offset, exponent - lift, added)


def respond(argument: Argument, activation: Activation) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    """(The response psi(u) before it is `lowered`; its exponents after that, on the left and right)."""
    exponent = argument.exponent
    near = exponent * (activation.degree_at_zero or 0)
    left, right = (1, 1) if activation.homogeneous else activation.degree_at_infinity or (0, 0)
    added = 0 if argument.added is None else argument.added
    found = {
        far: jnp.clip(jnp.where(exponent < 0, near, exponent * far + added), -EXPONENT_LIMIT, EXPONENT_LIMIT)
        for far in {left, right}
    }
    return activation.response(argument.value), (found[left], found[right])


def lowered(response: jax.Array, argument: Argument) -> jax.Array:
    """psi(u) at the clipped scale, where squares fit."""
    return response if argument.added is None else _lower(response, argument.added)


@custom_vmap
def _lower(response: jax.Array, added: jax.Array) -> jax.Array:
    return response * power_of_two(-added)


@_lower.def_vmap
def _lower_where_needed(
    size: int, batched: list[bool], responses: jax.Array, added: jax.Array
) -> tuple[jax.Array, bool]:
    """Of many networks: it is rare, and beside the computation of psi a product by 1 would cost up to a fifth of it."""
    assert all(batched)
    lower = jax.vmap(lambda response, added: response * power_of_two(-added))
    return jax.lax.cond(jnp.any(added > 0), lower, lambda responses, _: responses, responses, added), True


def unscaled(response: jax.Array, argument: Argument) -> jax.Array:
    """psi(u) from what was `lowered`, for phi' can be told from it."""
    return response if argument.added is None else response * power_of_two(argument.added)


def common_exponent(exponents: tuple[jax.Array, jax.Array], largest: Callable[[], jax.Array]) -> jax.Array:
    """The exponent of all responses of a layer: of the steeper side, unless only the other is there.

    largest: gives that of abs(response), which is asked for where the sides differ.
    """
    left, right = exponents
    if left is right:
        return left
    return jnp.where(largest() < BOUNDED, jnp.minimum(left, right), jnp.maximum(left, right))
