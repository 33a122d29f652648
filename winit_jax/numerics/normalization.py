"""Normalization: u = (a - mean) / sqrt(var + epsilon), without trainable scale and shift, and its derivative.

Mean and variance are over the samples of a unit (`batch`) or over the units of a sample (`layer`). The derivative
N is symmetric, so that tangents and cotangents go through it alike:
    N t = (t - mean t - u mean(u t)) / spread,   spread = sqrt(var + epsilon).
It is written by hand, and held to `jax.jvp` and `jax.vjp` by the tests: from u and the spread, which are at hand,
rather than from a, of which JAX would take mean and variance again in every pass.
In tiny networks N may remove all of t but for epsilon (`measure.removal`): there it is written as
    N t = (P t + kappa v mean(v t)) / spread,   v = u / sqrt(mean u^2),   kappa = epsilon / (var + epsilon),
with P the projection orthogonal to 1 and v, which gives 0 wherever structure says so.
"""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from winit_jax.numerics.activations import Activation
from winit_jax.numerics.scaled import EXPONENT_LIMIT, Scaled, power_of_two
from winit_jax.numerics.signals import Argument, Preactivation, raised
from winit_jax.registry import Registry

# u below sqrt(epsilon): a clipped from below is near 2^-24 and keeps its exponent at the usual epsilon (near 4^-8);
# any other is up to 2^30, and phi is a power law to 1e-3 of it when that has become 2^-10.
BELOW_CLIPPING, BELOW_EPSILON = -8, 40
NORM_EPSILON = 1e-5  # added to the variance where nothing else is asked for


@dataclass(frozen=True)
class Normalization:
    """What is done to pre-activations before phi.

    name: as a sweep says it. axis: of [samples, units], over which mean and variance are taken; None for none.
    """

    name: str
    axis: int | None

    @property
    def is_none(self) -> bool:
        return self.axis is None

    @property
    def joins_samples(self) -> bool:
        """Whether what becomes of a sample depends on the others."""
        return self.axis == 0

    def removes(self, constant: bool) -> str:
        """The part of a that is removed whatever the scales: `offset`, `product` or neither.

        Batch normalization removes the offset, which all samples share, and layer normalization the product where all
        units share it. constant: whether all entries of a draw are one number.
        """
        if self.joins_samples:
            return "offset"
        return "product" if constant and not self.is_none else ""

    def argument(self, preactivation: Preactivation, activation: Activation, epsilon: Scaled | None = None) -> Argument:
        """phi's argument u, at its own scale as far as float32 holds that; 0 where var + epsilon is 0.

        epsilon: scalars; NORM_EPSILON if None.
        """
        if self.is_none:
            return raised(preactivation, activation)
        if preactivation.distinct is not None:
            preactivation = preactivation.distinct
        a, exponent = preactivation.value, preactivation.exponent
        epsilon = epsilon_of(NORM_EPSILON) if epsilon is None else epsilon
        if self.joins_samples:  # the offset of a unit is in its mean, and cancels
            centered = preactivation.factor * (preactivation.product - preactivation.product_mean)
        else:
            centered = a - jnp.mean(a, axis=1, keepdims=True)
        variance = jnp.mean(centered * centered, axis=self.axis, keepdims=True)
        # At scale 2^e, (a - mean) 2^e / sqrt(var 2^2e + epsilon): above sqrt(epsilon) the scale cancels and epsilon
        # shrinks, below it epsilon dominates and the scale stays in front. The larger of the two is taken out.
        root = jnp.where(epsilon.value == 0, -EXPONENT_LIMIT, (epsilon.exponent + 1) >> 1)
        unit = jnp.maximum(exponent, root)
        added = Scaled(epsilon.value, epsilon.exponent - 2 * unit)
        spread = jnp.sqrt(variance * power_of_two(2 * (exponent - unit)) + added.in_units_of(0))
        shrink = jnp.where(spread > 0, 1 / spread, 0.0)
        # Where u is so small that phi is a power law, it is kept within the range of squares in float32.
        small = jnp.minimum(exponent - root + jnp.where(exponent < 0, BELOW_CLIPPING, BELOW_EPSILON), 0)
        u = centered * (shrink * power_of_two(exponent - unit - small))
        return Argument(u, small, None, Scaled(shrink, -unit), added)

    def through(self, change: jax.Array, argument: Argument | None, removed: jax.Array | None = None) -> Scaled:
        """N t, or N g, which is the same; its exponent is the power of two left out of it.

        argument: may be None without normalization. removed: where P t is 0, boolean, broadcast against t; None where
        nothing is known of that and P t is most of t.
        """
        if self.is_none:
            return Scaled(change, 0)
        assert argument is not None
        assert argument.shrink is not None
        u = argument.value
        if removed is not None:
            return self._through_projection(change, argument, removed)
        along = jnp.mean(u * change, axis=self.axis, keepdims=True) * power_of_two(2 * argument.exponent)
        centered = change - jnp.mean(change, axis=self.axis, keepdims=True)
        return Scaled(argument.shrink.value * (centered - u * along), argument.shrink.exponent)

    def noise(self, change: jax.Array, argument: Argument) -> jax.Array:
        """Expected squares of what float32 rounds in N t, in units of its rounding and of what N t leaves out."""
        assert argument.shrink is not None
        lines = jnp.mean(jnp.square(change), axis=self.axis, keepdims=True)
        return jnp.broadcast_to(lines * jnp.square(argument.shrink.value), change.shape)

    def _through_projection(self, change: jax.Array, argument: Argument, removed: jax.Array) -> Scaled:
        """N t as P t and what epsilon leaves along u, each to full relative accuracy."""
        assert argument.shrink is not None
        assert argument.epsilon is not None

        def mean(x: jax.Array) -> jax.Array:
            return jnp.mean(x, axis=self.axis, keepdims=True)

        largest = jnp.max(jnp.abs(argument.value), axis=self.axis, keepdims=True)
        direction = argument.value / jnp.where(largest > 0, largest, 1.0)
        direction = direction / jnp.sqrt(jnp.maximum(mean(jnp.square(direction)), jnp.finfo(jnp.float32).tiny))
        direction = direction - mean(direction)
        # Where u is 0, there is no v to be removed.
        removed = removed & (largest > 0)
        rest, along = change - mean(change), jnp.zeros_like(argument.shrink.value)
        for _ in range(2):  # once leaves rounding of t, twice that of P t
            part = mean(direction * rest)
            rest, along = rest - direction * part, along + part
            rest = rest - mean(rest)
        kappa = argument.epsilon.value * jnp.square(argument.shrink.value)
        # Where nothing but epsilon's part is left, its power of two is kept apart.
        exponent = jnp.where(jnp.all(removed), argument.epsilon.exponent, 0)
        left = kappa * power_of_two(argument.epsilon.exponent - exponent) * along * direction
        value = argument.shrink.value * (jnp.where(removed, 0.0, rest) + left)
        return Scaled(value, argument.shrink.exponent + exponent)


NONE = Normalization("none", None)
BATCH = Normalization("batch", 0)
LAYER = Normalization("layer", -1)
NORMALIZATIONS = Registry("a normalization", {entry.name: entry for entry in (NONE, BATCH, LAYER)})


def epsilon_of(value: float) -> Scaled:
    """A constant epsilon, as scalars."""
    mantissa, exponent = math.frexp(value)
    return Scaled(jnp.float32(mantissa), jnp.int32(exponent))
