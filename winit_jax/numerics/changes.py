"""Small changes on their way forward and back through phi and normalization.

h = phi(norm(a)). A tangent t = da goes forward as dh = phi'(u) N t and a cotangent g = dLoss/dh back as
dLoss/da = N (phi'(u) g), with u = norm(a) and N the derivative of the normalization (`normalization`). Slopes of
saturated layers are written by hand, since they underflow long before their products with a change matter.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from winit_jax.numerics.activations import Activation
from winit_jax.numerics.activations.table import LOG_2
from winit_jax.numerics.folding import over_samples
from winit_jax.numerics.normalization import Normalization
from winit_jax.numerics.scaled import EXPONENT_LIMIT, Scaled, exponent_of, power_of_two, root_exponent
from winit_jax.numerics.signals import Argument, unscaled

# Slopes below this power of two are written as logarithms; of larger ones what underflows is 2^-62 beside the largest.
LEAST_SLOPE_EXPONENT = -64


class Tangent(NamedTuple):
    """A change of [samples, width]; the true one is factor * value * 2^exponent (float32 and int32 scalars).

    The factor waits until somebody reads the change anyway, and costs no pass of its own.
    """

    value: jax.Array
    exponent: jax.Array
    factor: jax.Array


def rescaled(tangent: Tangent, mean_square: jax.Array) -> Tangent:
    """The same change with factor * value of RMS between 1/2 and 1, where mean_square is that of factor * value."""
    shift = jnp.where(mean_square > 0, root_exponent(mean_square), 0)
    return Tangent(tangent.value, tangent.exponent + shift, tangent.factor * power_of_two(-shift))


def settled(tangent: Tangent, mean_square: jax.Array) -> Tangent:
    """The same change with a value of RMS between 1/2 and 1; mean_square is that of value, and the factor 1."""
    small = Scaled(tangent.value, tangent.exponent).rescaled(mean_square)
    return Tangent(small.value, small.exponent, jnp.float32(1.0))


def push(
    change: Tangent,
    slope: Scaled,
    argument: Argument,
    normalization: Normalization,
    removed: jax.Array | None = None,
) -> Tangent:
    """phi'(u) N t: the change of the response. removed: see `Normalization.through`."""
    pushed = slope.times(normalization.through(change.factor * change.value, argument, removed))
    return Tangent(pushed.value, change.exponent + pushed.exponent, jnp.ones_like(change.factor))


def pull(
    change: Tangent,
    slope: Scaled,
    argument: Argument | None,
    normalization: Normalization,
    removed: jax.Array | None = None,
) -> Tangent:
    """N (phi'(u) g): the gradient at the pre-activation from that at the response."""
    normalized = normalization.through(change.factor * change.value * slope.value, argument, removed)
    exponent = change.exponent + slope.exponent + normalized.exponent
    return Tangent(normalized.value, exponent, jnp.ones_like(change.factor))


def slope_exponent(argument: Argument, activation: Activation) -> jax.Array:
    """What phi'(u) at the clipped scale lacks, as a power of two: phi' is of one degree less than psi."""
    near = max(0, (activation.degree_at_zero or 1) - 1)
    far = max(0, max(activation.degree_at_infinity or (1, 1)) - 1)
    return jnp.where(argument.exponent < 0, near, far) * argument.exponent


def slope(argument: Argument, response: jax.Array, activation: Activation) -> Scaled:
    """phi'(u), from the response where that is cheaper; good to 1e-7 of the maximal slope."""
    of_response = activation.slope_of_response
    value = of_response(unscaled(response, argument)) if of_response else activation.slope(argument.value)
    return Scaled(value, slope_exponent(argument, activation))


def log2_slope(argument: Argument, activation: Activation) -> tuple[jax.Array, jax.Array]:
    """(log2 |phi'(u)| less slope_exponent, its sign), to full accuracy however small phi' is."""
    if activation.log_slope is None:
        slopes = activation.slope(argument.value)
        return jnp.log2(jnp.abs(slopes)), jnp.sign(slopes)
    # At the true scale of u, which float32 holds or else phi' is nothing.
    u = argument.value * power_of_two(argument.exponent)
    return activation.log_slope(u) / LOG_2, jnp.ones_like(u)


def from_log2(sizes: jax.Array, signs: jax.Array) -> Scaled:
    """signs * 2^sizes with the largest entry between 1 and 2."""
    largest = jnp.floor(jnp.max(over_samples(sizes, jnp.maximum)))
    usable = largest > -EXPONENT_LIMIT
    value = jnp.where(usable, signs * jnp.exp2(sizes - largest), 0.0)
    return Scaled(value, jnp.where(usable, largest, 0.0).astype(jnp.int32))


def normalized_slope(argument: Argument, activation: Activation) -> Scaled:
    """phi'(u) with its largest entry near 1, so that no layer's slopes underflow."""
    u = argument.value if activation.log_slope is None else argument.value * power_of_two(argument.exponent)
    value = activation.slope(u)
    exponent = exponent_of(jnp.max(over_samples(jnp.abs(value), jnp.maximum)))

    def as_they_are() -> Scaled:
        least = jnp.maximum(exponent, -126)
        return Scaled(value * power_of_two(-least), least)

    if activation.log_slope is None:
        slopes = as_they_are()
    else:
        # Where the largest of them is small, others underflow that are not nothing beside it.
        slopes = jax.lax.cond(
            exponent > LEAST_SLOPE_EXPONENT, as_they_are, lambda: from_log2(*log2_slope(argument, activation))
        )
    return Scaled(slopes.value, slopes.exponent + slope_exponent(argument, activation))


def careful_push(
    change: Tangent,
    argument: Argument,
    activation: Activation,
    normalization: Normalization,
    removed: jax.Array | None = None,
) -> Tangent:
    """`push` for a layer that is saturated throughout, where slopes underflow or are mostly rounding.

    Slopes and changes are multiplied as logarithms, and the largest product becomes the exponent.
    """
    normalized = normalization.through(change.factor * change.value, argument, removed)
    sizes, signs = log2_slope(argument, activation)
    pushed = from_log2(sizes + jnp.log2(jnp.abs(normalized.value)), signs * jnp.sign(normalized.value))
    exponent = change.exponent + pushed.exponent + slope_exponent(argument, activation) + normalized.exponent
    return Tangent(pushed.value, exponent, jnp.ones_like(change.factor))
