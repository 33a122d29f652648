"""The way back through layers whose normalization may remove whole changes: see `removal`.

W_l^T, and the few units that respond below, let through of N_l (phi' g) what epsilon leaves along u and nothing else:
float32 would leave rounding of the rest. So that part goes down beside the whole, and takes its place where nothing
else passes. Every sample has a scale of its own, for those that pass such a layer are many decades below the others.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from winit_jax.numerics.activations import Activation
from winit_jax.numerics.blocks.affine import pull_unit_weights
from winit_jax.numerics.changes import Tangent, settled
from winit_jax.numerics.measure import removal
from winit_jax.numerics.measure.removal import Watched
from winit_jax.numerics.normalization import Normalization
from winit_jax.numerics.scaled import EXPONENT_LIMIT, Scaled, exponent_of, power_of_two
from winit_jax.numerics.signals import Argument


class Cotangent(NamedTuple):
    """A gradient [samples, width] with an exponent for each sample, [samples, 1], and what is known of its digits.

    expected: mean square that it would have by chance, [samples, 1], at its own scale. doubts: [samples, 1], see
    `removal.doubt`.
    """

    change: Tangent
    expected: jax.Array
    doubts: jax.Array

    def through_layer(
        self, slope: Scaled, argument: Argument, normalization: Normalization, removed: jax.Array, rough: jax.Array
    ) -> "Cotangent":
        """From dLoss/dh to dLoss/da. removed: see `Normalization.through`; rough: `removal.roughness`."""
        assert argument.shrink is not None
        masked = self.change.factor * self.change.value * slope.value
        exponent, expected = self.change.exponent, self.expected * jnp.square(slope.value)
        if normalization.joins_samples:  # samples meet at the scale of the largest that goes on
            reached = jnp.any(masked != 0, axis=1, keepdims=True)
            common = jnp.max(jnp.where(reached | ~jnp.any(reached), exponent, -EXPONENT_LIMIT))
            unit = power_of_two(exponent - common)
            masked, expected, exponent = masked * unit, expected * jnp.square(unit), common
        normalized = normalization.through(masked, argument, removed)
        kept = jnp.square(normalized.in_units_of(argument.shrink.exponent))
        lost = jnp.where(removed, kept * rough, normalization.noise(masked, argument))
        doubts = removal.doubt(expected, jnp.square(masked), normalization)
        doubts += removal.doubt(lost, kept, normalization)
        after = Tangent(normalized.value, exponent + slope.exponent + normalized.exponent, jnp.float32(1.0))
        change = _by_sample(after, normalization)
        return Cotangent(change, jnp.ones_like(self.expected), self.doubts + doubts[:, None])

    def through_weights(
        self, draw: jax.Array, weight: Scaled, precision: str, normalization: Normalization
    ) -> "Cotangent":
        """From dLoss/da of a layer to dLoss/dh of the one below."""
        value = pull_unit_weights(self.change.value, draw, precision)
        squares = jnp.sum(jnp.square(self.change.value), axis=1, keepdims=True)
        if normalization.joins_samples:  # rounding of the others reaches every sample
            squares = jnp.broadcast_to(jnp.mean(squares), squares.shape)
        expected = squares * jnp.mean(jnp.square(draw)) * jnp.square(weight.value)
        return Cotangent(Tangent(value, self.change.exponent + weight.exponent, weight.value), expected, self.doubts)

    def together(self) -> Tangent:
        """The same change with one exponent and of RMS near 1."""
        value, exponents = self.change.value, self.change.exponent
        nonzero = jnp.any(value != 0, axis=1, keepdims=True)
        exponent = jnp.max(jnp.where(nonzero, exponents, -EXPONENT_LIMIT))
        exponent = jnp.where(exponent == -EXPONENT_LIMIT, 0, exponent)
        value = value * power_of_two(exponents - exponent)
        return settled(Tangent(value, exponent, jnp.float32(1.0)), jnp.mean(jnp.square(value)))

    def known_square(self, together: Tangent) -> jax.Array:
        """The mean square of the change, NaN where too few of its digits are known."""
        square = jnp.mean(jnp.square(together.value))
        return removal.unless_doubtful(square, together.value, self.doubts[:, 0])

    def known_weight_square(self, square: jax.Array, together: Tangent, entering: jax.Array, entries: int) -> jax.Array:
        """Likewise the mean square of dLoss/dW, of so many entries. entering: squares of h, [samples, fan_in]."""
        sizes = jnp.sum(entering, axis=1) * jnp.sum(jnp.square(together.value), axis=1)
        lost = jnp.sum(sizes * jnp.where(sizes > 0, self.doubts[:, 0] + removal.ROUNDING, 0.0))
        return jnp.where(lost / entries > removal.MOST_DOUBT * square, jnp.nan, square)


class Cotangents(NamedTuple):
    """The whole of a gradient on its way back, and what epsilon alone has left of it."""

    whole: Cotangent
    left: Cotangent

    @classmethod
    def at_first(cls, gradient: Tangent, normalization: Normalization) -> "Cotangents":
        """At the last response."""
        change = _by_sample(gradient, normalization)
        cotangent = Cotangent(
            change,
            jnp.mean(jnp.square(change.value), axis=1, keepdims=True),
            jnp.zeros_like(change.exponent, jnp.float32),
        )
        return cls(cotangent, cotangent)

    def through_layer(
        self,
        slope: Scaled,
        argument: Argument | None,
        watched: Watched | None,
        activation: Activation,
        normalization: Normalization,
    ) -> "Cotangents":
        """From dLoss/dh to dLoss/da of a layer."""
        assert argument is not None
        assert watched is not None
        nothing_left = removal.nothing_left(normalization, *slope.value.shape)
        whole = self.whole.through_layer(slope, argument, normalization, nothing_left, watched.rough)
        source = self.left if removal.persists(activation, normalization) else self.whole
        everywhere = jnp.ones_like(nothing_left)
        return Cotangents(whole, source.through_layer(slope, argument, normalization, everywhere, watched.rough))

    def of_weights(self, watched: Watched | None, normalization: Normalization) -> Cotangent:
        """What dLoss/dW is of: where all samples below are of two kinds, the rest sums to 0 over each kind."""
        if not normalization.joins_samples:
            return self.whole
        assert watched is not None
        parts: Cotangent = jax.tree.map(
            lambda x, y: jnp.where(watched.removed, x, y) if x.ndim else x, self.left, self.whole
        )
        return parts

    def through_weights(
        self,
        draw: jax.Array,
        weight: Scaled,
        precision: str,
        normalization: Normalization,
        below: Watched,
    ) -> "Cotangents":
        """From dLoss/da of a layer to dLoss/dh of the one below."""
        whole, left = (part.through_weights(draw, weight, precision, normalization) for part in self)
        whole = jax.tree.map(lambda x, y: jnp.where(below.aligns, x, y) if x.ndim else x, left, whole)
        return Cotangents(whole, left)


def _by_sample(tangent: Tangent, normalization: Normalization) -> Tangent:
    """A change with an exponent for each sample, its own unless batch normalization joins the samples."""
    value = tangent.factor * tangent.value
    largest = jnp.max(jnp.abs(value), axis=None if normalization.joins_samples else 1, keepdims=True)
    shift = jnp.where(largest > 0, jnp.maximum(exponent_of(largest), -126), 0)
    exponent = jnp.broadcast_to(tangent.exponent + shift, (value.shape[0], 1))
    return Tangent(value * power_of_two(-shift), exponent, jnp.float32(1.0))
