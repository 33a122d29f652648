"""What goes from layer to layer: signals, pre-activations and phi's argument, with their scale beside them.

A response psi = phi - phi(0) is carried instead of phi, and of everything a value that float32 holds beside a power of
two: the true one is value * 2^exponent (see `scaled`).
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap

from winit_jax.numerics.activations import Activation
from winit_jax.numerics.folding import mean_square, over_samples
from winit_jax.numerics.scaled import EXPONENT_LIMIT, Scaled, power_of_two, root_exponent

# phi is evaluated at RMS pre-activations of 2^30 (1e9) at most: far enough out that psi follows its degree
# to float32 rounding, and with room for squares and their sums. The lower end is the activation's own.
MAX_EXPONENT = 30
# Further out phi itself is still given u as it is, up to 2^(30 + 60), and psi is divided by what that adds: in a layer
# of few entries those that are small beside the RMS, or on the side where phi is bounded, may be all that goes on.
LIFT = 60
# psi of the side where phi is bounded, divided so, is below this where phi is not given u itself.
BOUNDED = 2.0**-20


class Signal(NamedTuple):
    """What one network hands from layer to layer.

    response: psi(h), [samples, fan_in], with one exponent. unit_mean: mean of its value over samples, [fan_in].
    rms_exponent: int32, log2 of the RMS of its value, rounded up.
    """

    response: Scaled
    unit_mean: jax.Array
    rms_exponent: jax.Array

    @property
    def size_exponent(self) -> jax.Array:
        """log2 of the RMS of the response, rounded up; -EXPONENT_LIMIT for 0."""
        size = self.response.exponent + self.rms_exponent
        return jnp.where(self.rms_exponent == -EXPONENT_LIMIT, -EXPONENT_LIMIT, size)


class Preactivation(NamedTuple):
    """a = factor * product + offset, kept in parts so that statistics can center before they square.

    product: response @ Z, [samples, width]. product_mean: its mean over samples, [width].
    scale: scalar, of the product; float32 may hold only 0 of it, as `factor`. offset: [width]. exponent: int32; the
    true a is a * 2^exponent. distinct: a without what a normalization removes wherever that is all or nearly all of
    it: the product that all units share, or the offset that all samples do; None where neither needs to be told apart.
    size_exponent: int32, log2 of what the RMS of the true a is at most, about; None where it is not asked for.
    """

    product: jax.Array
    product_mean: jax.Array
    scale: Scaled
    offset: jax.Array
    exponent: jax.Array
    distinct: "Preactivation | None" = None
    size_exponent: jax.Array | None = None

    @property
    def factor(self) -> jax.Array:
        return self.scale.in_units_of(0)

    @property
    def value(self) -> jax.Array:
        return self.factor * self.product + self.offset

    @property
    def unit_mean(self) -> jax.Array:
        return self.factor * self.product_mean + self.offset


class Argument(NamedTuple):
    """phi's argument u, [samples, width], and how it came from a; the true u is value * 2^exponent (int32).

    added: int32, how many powers of two larger psi is for u that was raised from the clipped scale; None if never.
    shrink: 1 / sqrt(var + epsilon), [1, width] or [samples, 1]; None without normalization.
    epsilon: what was added to the variance, likewise in units of 4^-shrink.exponent.
    """

    value: jax.Array
    exponent: jax.Array
    added: jax.Array | None = None
    shrink: Scaled | None = None
    epsilon: Scaled | None = None


def clipped_off(exponent: jax.Array, activation: Activation) -> jax.Array:
    """What of an exponent of pre-activations is left out of the numbers that phi is given.

    phi is evaluated between scales at which it is a power law; a steeper degree gets a narrower range.
    """
    clipped, low, high = exponent, activation.degree_at_zero, activation.degree_at_infinity
    if low is not None:
        clipped = jnp.maximum(clipped, activation.min_exponent // max(1, low))
    if high is not None:
        clipped = jnp.minimum(clipped, MAX_EXPONENT // max(1, *high))
    # Exactly 0 has no scale.
    return jnp.where(exponent <= -EXPONENT_LIMIT // 2, 0, exponent - clipped)


class Raising(NamedTuple):
    """How phi's argument comes of a product: u = factor * product + offset, [width], at 2^exponent. added: see
    `Argument`."""

    factor: jax.Array
    offset: jax.Array
    exponent: jax.Array
    added: jax.Array | None = None


def raising(preactivation: Preactivation, activation: Activation) -> Raising:
    """What was clipped from above is put back, unless phi is the same at any scale."""
    exponent, high = preactivation.exponent, activation.degree_at_infinity
    if activation.homogeneous or high is None:
        return Raising(preactivation.factor, preactivation.offset, exponent)
    lift = jnp.clip(exponent, 0, LIFT // max(1, *high))
    factor = preactivation.scale.in_units_of(-lift)
    # Kept, or XLA would make the offset anew for every sample.
    factor, offset = jax.lax.optimization_barrier((factor, power_of_two(lift) * preactivation.offset))
    steepest = max(high)
    added = steepest * lift if steepest > 0 else None
    return Raising(factor, offset, exponent - lift, added)


def raised(preactivation: Preactivation, activation: Activation) -> Argument:
    """a as phi's argument."""
    by = raising(preactivation, activation)
    return Argument(by.factor * preactivation.product + by.offset, by.exponent, by.added)


def response_exponents(
    exponent: jax.Array, added: jax.Array | None, activation: Activation
) -> tuple[jax.Array, jax.Array]:
    """The exponents of psi(u) once it is `lowered`, on the left and right. exponent, added: of u, see `Argument`."""
    near = exponent * (activation.degree_at_zero or 0)
    left, right = (1, 1) if activation.homogeneous else activation.degree_at_infinity or (0, 0)
    more = 0 if added is None else added
    of_degree = {
        far: jnp.clip(jnp.where(exponent < 0, near, exponent * far + more), -EXPONENT_LIMIT, EXPONENT_LIMIT)
        for far in {left, right}
    }
    return of_degree[left], of_degree[right]


def respond(argument: Argument, activation: Activation) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    """(The response psi(u) before it is `lowered`; its exponents after that, on the left and right)."""
    exponents = response_exponents(argument.exponent, argument.added, activation)
    return activation.response(argument.value), exponents


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


def signal_of(response: jax.Array, exponents: tuple[jax.Array, jax.Array]) -> Signal:
    """The signal alone, of a response at the exponents (left, right)."""
    means = jnp.sum(over_samples(response), axis=0) / response.shape[0]
    rms_exponent = root_exponent(mean_square(response))
    exponent = common_exponent(exponents, lambda: jnp.max(over_samples(jnp.abs(response), jnp.maximum)))
    return Signal(Scaled(response, exponent), means, rms_exponent)
