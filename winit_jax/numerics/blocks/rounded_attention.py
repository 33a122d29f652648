"""Attention whose every step is rounded to a format: queries, keys, values, logits, weights and what they mix.

    Q, K, V = near(u W_q), near(u W_k), near(u W_v)     Z = near(s Q K^T),  s = attention_gain / sqrt(n / h)
    P = softmax(Z),  A = near(P)                        M = near(A V),  which goes through O

where near is to the format and all else, softmax with its sums too, is float32. The derivative of softmax is taken at
the rounded logits, J v = P (v - sum_k P_k v_k): changes are near(J near(s (dQ K^T + Q dK^T))), and on the way back
g_S = near(s J near(g_M V^T)) is what Q and K are told.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from winit_jax.numerics import narrow
from winit_jax.numerics.blocks.affine import affine, linear, multiply, pull_weights, push_weights, weight_square
from winit_jax.numerics.blocks.attending import Heads, attention_weights, off_the_largest
from winit_jax.numerics.blocks.protocol import IDENTITY, Branch, Context, Scales
from winit_jax.numerics.changes import Tangent
from winit_jax.numerics.draws import Layer
from winit_jax.numerics.narrow import Limits
from winit_jax.numerics.scaled import Scaled, power_of_two
from winit_jax.numerics.signals import Signal


class Weights(NamedTuple):
    """Of one sample, [heads, positions, positions]. exact: softmax of the rounded logits, in float32; near: as numbers
    of the format. at_largest: where the first largest logit of each row is. entropy: of the exact ones.
    """

    exact: jax.Array
    near: Scaled
    at_largest: jax.Array
    entropy: jax.Array


class Rounded(NamedTuple):
    """Of one network. queries, keys, values: rounded, [rows, width]. sharpness: what Q K^T is multiplied by."""

    queries: Scaled
    keys: Scaled
    values: Scaled
    sharpness: Scaled
    heads: Heads
    to: Limits
    precision: str

    def near(self, x: Scaled) -> Scaled:
        return Scaled(narrow.rounded(x, self.to), x.exponent)

    def product(self, left: Scaled, right: Scaled) -> Scaled:
        """left @ right, not yet rounded."""
        value = jnp.matmul(left.value, right.value, precision=self.precision)
        return Scaled(value, left.exponent + right.exponent)

    def weights(self, queries: Scaled, keys: Scaled) -> Weights:
        """Of one sample. A row with a logit of inf is NaN, as softmax makes it of inf - inf."""
        logits = self.near(self.product(queries, _turned(keys)).times(self.sharpness))
        largest, at_largest = self.heads.largest(logits.value)
        exact, entropy = attention_weights(logits.value, power_of_two(logits.exponent), self.heads)
        exact = jnp.where(jnp.isfinite(largest), exact, jnp.nan)
        entropy = jnp.where(jnp.all(jnp.isfinite(largest)), entropy, jnp.nan)
        return Weights(exact, self.near(Scaled(exact, jnp.int32(0))), at_largest, entropy)

    def through_softmax(self, change: Scaled, weights: Weights) -> Scaled:
        """P (v - sum_k P_k v_k), not yet rounded: the same forth and back."""
        moved = jnp.where(self.heads.within, off_the_largest(change.value, weights.at_largest), 0.0)
        mean = jnp.sum(weights.exact * moved, axis=-1, keepdims=True)
        return Scaled(weights.exact * (moved - mean), change.exponent)

    def of_samples(self, function: Callable[..., tuple[Any, ...]], *rows: Scaled) -> tuple[Any, ...]:
        """function(Q, K, V, and other rows, of the heads of one sample), of all samples.

        It returns Scaled [heads, positions, units], which come back as rows, and scalars, which come back as a mean.
        """
        given = (self.queries, self.keys, self.values, *rows)
        split = tuple(self.heads.split(x.value) for x in given)

        def of_sample(values: tuple[jax.Array, ...]) -> tuple[Any, ...]:
            return function(*(Scaled(value, x.exponent) for value, x in zip(values, given, strict=True)))

        found = jax.lax.map(of_sample, split, batch_size=self.heads.together(len(split[0])))
        # Exponents are the same of every sample.
        return tuple(
            Scaled(self.heads.join(x.value), x.exponent[0]) if isinstance(x, Scaled) else jnp.mean(x) for x in found
        )


def forward(
    signal: Signal, change: Tangent | None, draws: Sequence[Layer], scales: Scales, context: Context, heads: Heads
) -> Branch:
    """`Update.forward` of attention. context: with a format."""
    rounded = _enter(signal, draws, scales, context, heads)
    near, product, out, weight = rounded.near, rounded.product, draws[3], scales.weights[3]

    def mix(queries: Scaled, keys: Scaled, values: Scaled) -> tuple[Scaled, jax.Array]:
        weights = rounded.weights(queries, keys)
        return product(weights.near, values), weights.entropy

    def mix_changes(
        queries: Scaled, keys: Scaled, values: Scaled, of_queries: Scaled, of_keys: Scaled, of_values: Scaled
    ) -> tuple[Scaled, jax.Array, Scaled]:
        weights = rounded.weights(queries, keys)
        of_logits = product(of_queries, _turned(keys)).plus(product(queries, _turned(of_keys)))
        of_weights = near(rounded.through_softmax(near(of_logits.times(rounded.sharpness)), weights))
        changed = product(of_weights, values).plus(product(weights.near, of_values))
        return product(weights.near, values), weights.entropy, changed

    if change is None:
        mixed, entropy = rounded.of_samples(mix)
    else:
        places = zip(draws[:3], scales.weights[:3], strict=True)
        pushed = (push_weights(change, layer.weights, of_place, context.precision) for layer, of_place in places)
        entered = tuple(_as_scaled(context.near(each)) for each in pushed)
        mixed, entropy, changed = rounded.of_samples(mix_changes, *entered)
        change = push_weights(_as_tangent(narrow.settled(changed, rounded.to)), out.weights, weight, context.precision)
    mixed_signal = narrow.signal(narrow.settled(mixed, rounded.to))
    parts = (*multiply(mixed_signal, out.weights, context.precision), mixed_signal, out, weight, scales.biases[3])
    return Branch(affine(*parts, IDENTITY, at_zero=0.0), change, None, entropy)


def backward(
    gradient: Tangent, signal: Signal, draws: Sequence[Layer], scales: Scales, context: Context, heads: Heads
) -> tuple[Tangent, tuple[Scaled, ...]]:
    """`Update.backward` of attention. context: with a format."""
    rounded = _enter(signal, draws, scales, context, heads)
    near, product, to, precision = rounded.near, rounded.product, rounded.to, context.precision

    def pull(queries: Scaled, keys: Scaled, values: Scaled, above: Scaled) -> tuple[Scaled, ...]:
        weights = rounded.weights(queries, keys)
        of_weights = near(product(above, _turned(values)))
        of_product = near(rounded.through_softmax(of_weights, weights).times(rounded.sharpness))
        of_inner = (
            product(of_product, keys),
            product(_turned(of_product), queries),
            product(_turned(weights.near), above),
        )
        return product(weights.near, values), *of_inner

    pulled = pull_weights(gradient, draws[3].weights, scales.weights[3], precision)
    mixed, *of_inner = rounded.of_samples(pull, _as_scaled(context.near(pulled)))
    through = narrow.signal(narrow.settled(mixed, to))
    of_out = weight_square(through, 0.0, gradient, precision, to=to)
    squares, below = [], []
    for exact, layer, weight in zip(of_inner, draws[:3], scales.weights[:3], strict=True):
        of_place = _as_tangent(narrow.settled(exact, to))
        squares.append(weight_square(signal, 0.0, of_place, precision, to=to))
        below.append(_as_scaled(context.near(pull_weights(of_place, layer.weights, weight, precision))))
    return _as_tangent(below[0].plus(below[1]).plus(below[2])), (*squares, of_out)


def _enter(signal: Signal, draws: Sequence[Layer], scales: Scales, context: Context, heads: Heads) -> Rounded:
    to, h = context.format, signal.response
    assert to is not None
    assert scales.sharpness is not None

    def of_place(layer: Layer, weight: Scaled) -> Scaled:
        product = linear(h.value, layer.weights, context.precision) * weight.value
        return narrow.settled(Scaled(product, h.exponent + weight.exponent), to)

    queries, keys, values = map(of_place, draws[:3], scales.weights[:3])
    units = h.value.shape[1] // heads.count
    sharpness = Scaled(scales.sharpness.value * (1 / math.sqrt(units)), scales.sharpness.exponent)
    return Rounded(queries, keys, values, sharpness, heads, to, context.precision)


def _turned(x: Scaled) -> Scaled:
    """The last two axes of the value exchanged."""
    return Scaled(jnp.swapaxes(x.value, -1, -2), x.exponent)


def _as_scaled(change: Tangent) -> Scaled:
    return Scaled(change.factor * change.value, change.exponent)


def _as_tangent(change: Scaled) -> Tangent:
    return Tangent(*change, jnp.float32(1.0))
