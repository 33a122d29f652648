"""Small changes on their way forward and back: what one layer does to a tangent and to a cotangent.

h = phi(norm(a)). A tangent t = da goes forward as dh = phi'(u) N t and a cotangent g = dLoss/dh back as
dLoss/da = N (phi'(u) g), with u = norm(a) and N the derivative of the normalisation. N is symmetric:
    N t = (t - mean t - u mean(u t)) / spread,   means over samples (batch) or over units (layer),
with spread = sqrt(var + epsilon); without normalisation N = 1. Scales are carried as powers of two.
In tiny networks N may remove all of t but for epsilon (`removal`): there it is written as
    N t = (P t + kappa v mean(v t)) / spread,   v = u / sqrt(mean u^2),   kappa = epsilon / (var + epsilon),
with P the projection orthogonal to 1 and v, which gives 0 wherever structure says so.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from winit_jax.numerics.activations import Activation
from winit_jax.numerics.activations.table import LOG_2
from winit_jax.numerics.measure.network import (
    EXPONENT_LIMIT,
    NORMALIZED_AXIS,
    Argument,
    exponent_of,
    power_of_two,
    root_exponent,
    unscaled,
)
from winit_jax.numerics.measure.statistics import over_samples


class Tangent(NamedTuple):
    """A change of [samples, width]; the true one is factor * value * 2^exponent (float32 and int32 scalars)."""

    value: jax.Array
    exponent: jax.Array
    factor: jax.Array


class Slope(NamedTuple):
    """phi'(u), [samples, width]: value * 2^exponent."""

    value: jax.Array
    exponent: jax.Array


def rescaled(tangent: Tangent, mean_square: jax.Array) -> Tangent:
    """The same change with factor * value of RMS between 1/2 and 1, where mean_square is that of factor * value."""
    shift = jnp.where(mean_square > 0, root_exponent(mean_square), 0)
    return Tangent(tangent.value, tangent.exponent + shift, tangent.factor * power_of_two(-shift))


def settled(tangent: Tangent, mean_square: jax.Array) -> Tangent:
    """`rescaled`, with the factor multiplied in; mean_square is that of value, and factor 1."""
    found = rescaled(tangent, mean_square)
    return Tangent(found.factor * found.value, found.exponent, jnp.float32(1.0))


def push(
    change: Tangent, slope: Slope, argument: Argument, normalization: str, removed: jax.Array | None = None
) -> Tangent:
    """phi'(u) N t: the change of the response. removed: see `through_normalization`."""
    normalized, shift = through_normalization(change.factor * change.value, argument, normalization, removed)
    return Tangent(slope.value * normalized, change.exponent + slope.exponent + shift, jnp.ones_like(change.factor))


def pull(
    change: Tangent, slope: Slope, argument: Argument | None, normalization: str, removed: jax.Array | None = None
) -> Tangent:
    """N (phi'(u) g): the gradient at the pre-activation from that at the response."""
    through = change.factor * change.value * slope.value
    normalized, shift = through_normalization(through, argument, normalization, removed)
    return Tangent(normalized, change.exponent + slope.exponent + shift, jnp.ones_like(change.factor))


def through_normalization(
    change: jax.Array, argument: Argument | None, normalization: str, removed: jax.Array | None = None
) -> tuple[jax.Array, jax.Array | int]:
    """N t (or N g, which is the same), and the power of two left out of it.

    argument: may be None without normalisation. removed: where P t is 0, boolean, broadcast against t; None where
    nothing is known of that and P t is most of t.
    """
    if normalization == "none":
        return change, 0
    assert argument is not None
    assert argument.shrink is not None
    assert argument.shrink_exponent is not None
    axis, u = NORMALIZED_AXIS[normalization], argument.value
    if removed is not None:
        return _through_projection(change, argument, axis, removed)
    along = jnp.mean(u * change, axis=axis, keepdims=True) * power_of_two(2 * argument.exponent)
    centred = change - jnp.mean(change, axis=axis, keepdims=True)
    return argument.shrink * (centred - u * along), argument.shrink_exponent


def noise(change: jax.Array, argument: Argument, normalization: str) -> jax.Array:
    """Expected squares of what float32 rounds in N t, in units of its rounding and of what N t leaves out."""
    assert argument.shrink is not None
    lines = jnp.mean(jnp.square(change), axis=NORMALIZED_AXIS[normalization], keepdims=True)
    return jnp.broadcast_to(lines * jnp.square(argument.shrink), change.shape)


def _through_projection(
    change: jax.Array, argument: Argument, axis: int, removed: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """N t as P t and what epsilon leaves along u, each to full relative accuracy."""
    assert argument.shrink is not None
    assert argument.shrink_exponent is not None
    assert argument.epsilon is not None

    def mean(x: jax.Array) -> jax.Array:
        return jnp.mean(x, axis=axis, keepdims=True)

    largest = jnp.max(jnp.abs(argument.value), axis=axis, keepdims=True)
    direction = argument.value / jnp.where(largest > 0, largest, 1.0)
    direction = direction / jnp.sqrt(jnp.maximum(mean(jnp.square(direction)), jnp.finfo(jnp.float32).tiny))
    direction = direction - mean(direction)
    # Where u is 0, there is no v to be removed.
    removed = removed & (largest > 0)
    rest, along = change - mean(change), jnp.zeros_like(argument.shrink)
    for _ in range(2):  # once leaves rounding of t, twice that of P t
        found = mean(direction * rest)
        rest, along = rest - direction * found, along + found
        rest = rest - mean(rest)
    kappa = argument.epsilon.mantissa * jnp.square(argument.shrink)
    # Where nothing but epsilon's part is left, its power of two is kept apart.
    exponent = jnp.where(jnp.all(removed), argument.epsilon.exponent, 0)
    part = kappa * power_of_two(argument.epsilon.exponent - exponent) * along * direction
    return argument.shrink * (jnp.where(removed, 0.0, rest) + part), argument.shrink_exponent + exponent


def slope_exponent(argument: Argument, activation: Activation) -> jax.Array:
    """What phi'(u) at the clipped scale lacks, as a power of two: phi' is of one degree less than psi."""
    near = max(0, (activation.degree_at_zero or 1) - 1)
    far = max(0, max(activation.degree_at_infinity or (1, 1)) - 1)
    return jnp.where(argument.exponent < 0, near, far) * argument.exponent


def slope(argument: Argument, response: jax.Array, activation: Activation) -> Slope:
    """phi'(u), from the response where that is cheaper; good to 1e-7 of the maximal slope."""
    of_response = activation.slope_of_response
    value = of_response(unscaled(response, argument)) if of_response else activation.slope(argument.value)
    return Slope(value, slope_exponent(argument, activation))


def log2_slope(argument: Argument, activation: Activation) -> tuple[jax.Array, jax.Array]:
    """(log2 |phi'(u)| less slope_exponent, its sign), to full accuracy however small phi' is."""
    if activation.log_slope is None:
        slopes = activation.slope(argument.value)
        return jnp.log2(jnp.abs(slopes)), jnp.sign(slopes)
    # At the true scale of u, which float32 holds or else phi' is nothing.
    u = argument.value * power_of_two(argument.exponent)
    return activation.log_slope(u) / LOG_2, jnp.ones_like(u)


def from_log2(sizes: jax.Array, signs: jax.Array) -> Slope:
    """signs * 2^sizes with the largest entry between 1 and 2."""
    largest = jnp.floor(jnp.max(over_samples(sizes, jnp.maximum)))
    usable = largest > -EXPONENT_LIMIT
    value = jnp.where(usable, signs * jnp.exp2(sizes - largest), 0.0)
    return Slope(value, jnp.where(usable, largest, 0.0).astype(jnp.int32))


def normalized_slope(argument: Argument, activation: Activation) -> Slope:
    """phi'(u) with its largest entry near 1, so that no layer's slopes underflow."""
    if activation.log_slope is not None:
        slopes = from_log2(*log2_slope(argument, activation))
    else:
        value = activation.slope(argument.value)
        exponent = jnp.maximum(exponent_of(jnp.max(over_samples(jnp.abs(value), jnp.maximum))), -126)
        slopes = Slope(value * power_of_two(-exponent), exponent)
    return Slope(slopes.value, slopes.exponent + slope_exponent(argument, activation))


def careful_push(
    change: Tangent,
    argument: Argument,
    activation: Activation,
    normalization: str,
    removed: jax.Array | None = None,
) -> Tangent:
    """`push` for a layer that is saturated throughout, where slopes underflow or are mostly rounding.

    Slopes and changes are multiplied as logarithms, and the largest product becomes the exponent.
    """
    normalized, shift = through_normalization(change.factor * change.value, argument, normalization, removed)
    sizes, signs = log2_slope(argument, activation)
    pushed = from_log2(sizes + jnp.log2(jnp.abs(normalized)), signs * jnp.sign(normalized))
    exponent = change.exponent + pushed.exponent + slope_exponent(argument, activation) + shift
    return Tangent(pushed.value, exponent, jnp.ones_like(change.factor))
