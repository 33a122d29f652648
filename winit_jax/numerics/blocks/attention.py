"""concat_heads(softmax(attention_gain Q K^T / sqrt(n / h)) V) O, with Q, K, V = u W_q, u W_k, u W_v: self-attention.

Source: Vaswani et al. 2017, arXiv:1706.03762. It has no phi and no biases.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from winit_jax.numerics import naive as plainly
from winit_jax.numerics.activations.record import Function
from winit_jax.numerics.blocks import rounded_attention
from winit_jax.numerics.blocks.affine import (
    affine,
    linear,
    multiply,
    pull_weights,
    push_weights,
    unit_factor,
    weight_square,
)
from winit_jax.numerics.blocks.attending import Heads, attention_weights
from winit_jax.numerics.blocks.protocol import IDENTITY, Branch, Context, Layout, Scales, Streamed, at_least_one
from winit_jax.numerics.changes import Tangent, settled
from winit_jax.numerics.draws import Layer, Place
from winit_jax.numerics.folding import mean_square
from winit_jax.numerics.naive import Naive, NaiveBranch, NaiveSignal
from winit_jax.numerics.scaled import Scaled, power_of_two, root_exponent
from winit_jax.numerics.signals import Signal
from winit_jax.numerics.theory import updates as theory

# Of logits beyond this many powers of two only the largest is told.
SHARPEST = 60


@dataclass(frozen=True)
class Attention:
    """The update of `attention(h)`. causal: whether a position sees itself and those before it alone."""

    heads: int
    causal: bool = False
    site: str = ""
    has_phi: bool = False
    attends: bool = True

    def places(self, width: int) -> tuple[Place, ...]:
        roles = {"query": "logits", "key": "logits", "value": "inner", "out": "out"}
        return tuple(Place(name, width, width, has_bias=False, role=role) for name, role in roles.items())

    def _heads(self, context: Context) -> Heads:
        return Heads(self.heads, context.layout.positions, self.causal)

    def _mix(
        self, u: jax.Array, units: Sequence[jax.Array], sharpness: jax.Array, context: Context
    ) -> tuple[jax.Array, jax.Array]:
        """(What the heads make of rows u, side by side, [rows, n]; the mean entropy of their weights).

        u: of RMS near 1. units: draws of queries, keys and values. sharpness: of the logits of such rows.
        """
        heads, width, precision = self._heads(context), u.shape[1], context.precision

        def of_heads(weights: jax.Array) -> jax.Array:  # -> [samples, heads, positions, head]
            return heads.split(linear(u, weights, precision) * (1 / math.sqrt(width)))

        def of_sample(qkv: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            queries, keys, values = qkv
            products = jnp.matmul(queries, jnp.swapaxes(keys, 1, 2), precision=precision)
            weights, entropy = attention_weights(products, sharpness / math.sqrt(width // self.heads), heads)
            return jnp.matmul(weights, values, precision=precision), entropy

        qkv = tuple(of_heads(weights) for weights in units)
        mixed, entropies = jax.lax.map(of_sample, qkv, batch_size=heads.together(len(qkv[0])))
        return heads.join(mixed), jnp.mean(entropies)

    def _settled(self, signal: Signal, scales: Scales) -> tuple[jax.Array, jax.Array, jax.Array]:
        """(Rows of RMS near 1, the exponent of their true scale, the sharpness of their logits)."""
        shift = jnp.where(signal.rms_exponent < -200, 0, signal.rms_exponent)
        rows = signal.response.value * power_of_two(-shift)
        exponent = signal.response.exponent + shift
        sharp = scales.weights[0].times(scales.weights[1])
        assert scales.sharpness is not None
        sharp = sharp.times(scales.sharpness)
        width = signal.response.value.shape[1]
        power = jnp.minimum(sharp.exponent + 2 * exponent, SHARPEST)
        return rows, exponent, sharp.value * power_of_two(power) * width

    def forward(
        self, signal: Signal, change: Tangent | None, draws: Sequence[Layer], scales: Scales, context: Context
    ) -> Branch:
        if context.format is not None:
            return rounded_attention.forward(signal, change, draws, scales, context, self._heads(context))
        rows, exponent, sharpness = self._settled(signal, scales)
        out, precision = draws[3], context.precision
        units = tuple(layer.weights for layer in draws[:3])

        def mix(rows: jax.Array) -> tuple[jax.Array, jax.Array]:
            return self._mix(rows, units, sharpness, context)

        moved = None
        if change is None:
            mixed, entropy = mix(rows)
        else:
            mixed, moved, entropy = jax.jvp(mix, (rows,), (change.factor * change.value,), has_aux=True)
        mixed_signal, weight = self._mixed(mixed, exponent, scales)
        parts = (*multiply(mixed_signal, out.weights, precision), mixed_signal, out, weight, scales.biases[3])
        preactivation = affine(*parts, IDENTITY, at_zero=0.0)
        if change is not None and moved is not None:
            arriving = Tangent(moved, change.exponent, jnp.ones_like(change.factor))
            change = push_weights(arriving, out.weights, weight, precision)
        return Branch(preactivation, change, None, entropy)

    def unit_variance(
        self, signal: Signal, draws: Sequence[Layer], scales: Scales, context: Context
    ) -> tuple[Scaled, ...]:
        rows, exponent, _ = self._settled(signal, scales)
        inner = tuple(
            unit_factor(Scaled(linear(rows, layer.weights, context.precision), exponent), layer) for layer in draws[:3]
        )
        scales = scales.times(inner)
        mixed, _ = self._mix(rows, tuple(x.weights for x in draws[:3]), self._settled(signal, scales)[2], context)
        of_mixed, of_value = linear(mixed, draws[3].weights, context.precision), scales.weights[2]
        product = Scaled(of_mixed * (of_value.value * math.sqrt(rows.shape[1])), exponent + of_value.exponent)
        return *inner, unit_factor(product, draws[3])

    def _mixed(self, mixed: jax.Array, exponent: jax.Array, scales: Scales) -> tuple[Signal, Scaled]:
        """What goes through the last weights, as a signal, and their scale with that of the values."""
        width = mixed.shape[1]
        signal = Signal(Scaled(mixed, exponent), jnp.mean(mixed, axis=0), root_exponent(mean_square(mixed)))
        weight = scales.weights[3].times(scales.weights[2])
        return signal, Scaled(weight.value * math.sqrt(width), weight.exponent)

    def backward(
        self,
        gradient: Tangent,
        signal: Signal,
        draws: Sequence[Layer],
        scales: Scales,
        context: Context,
        *,
        sums_to_zero: bool = False,
    ) -> tuple[Tangent, tuple[Scaled, ...]]:
        if context.format is not None:
            return rounded_attention.backward(gradient, signal, draws, scales, context, self._heads(context))
        rows, exponent, sharpness = self._settled(signal, scales)
        out, precision = draws[3], context.precision
        units = tuple(layer.weights for layer in draws[:3])
        width = rows.shape[1]

        def mix(rows: jax.Array, *units: jax.Array) -> tuple[jax.Array, jax.Array]:
            return self._mix(rows, units, sharpness, context)

        mixed, pull, _ = jax.vjp(mix, rows, *units, has_aux=True)
        mixed_signal, weight = self._mixed(mixed, exponent, scales)
        of_value = scales.weights[2]
        root = math.sqrt(width)
        through = mixed_signal._replace(
            response=Scaled(mixed * (of_value.value * root), exponent + of_value.exponent),
            unit_mean=mixed_signal.unit_mean * (of_value.value * root),
        )
        of_out = weight_square(through, 0.0, gradient, precision, sums_to_zero=sums_to_zero)
        value = pull_weights(gradient, out.weights, weight, precision)
        below = settled(
            Tangent(value.factor * value.value, value.exponent, jnp.float32(1.0)),
            mean_square(value.factor * value.value),
        )
        of_rows, *of_units = pull(below.value)
        squares = []
        for place, of_unit in enumerate(of_units):
            std = scales.weights[place]
            square = jnp.where(std.value == 0, 0.0, jnp.mean(jnp.square(of_unit / std.value)))
            squares.append(Scaled(square, 2 * (below.exponent + exponent - std.exponent)))
        return Tangent(of_rows, below.exponent, jnp.float32(1.0)), (*squares, of_out)

    def learn(
        self,
        h: jax.Array,
        weights: Sequence[jax.Array],
        biases: Sequence[jax.Array | None],
        phi: Function,
        sharpness: jax.Array | None,
        context: Context,
    ) -> jax.Array:
        width = h.shape[-1]

        def of_network(h: jax.Array, units: Sequence[jax.Array], sharpness: jax.Array) -> jax.Array:
            return math.sqrt(width) * self._mix(h, units, width * sharpness, context)[0]

        assert sharpness is not None
        mixed = jax.vmap(of_network)(h, tuple(weights[:3]), sharpness)
        return linear(mixed, weights[3], context.precision)

    def naive(self, signal: NaiveSignal, draws: Sequence[tuple[np.ndarray, np.ndarray]], naive: Naive) -> NaiveBranch:
        rounding, (positions, width) = naive.rounding, (naive.positions, signal.psi.shape[1])
        head = width // self.heads
        sharpness = naive.sharpness / math.sqrt(head)
        parts = [naive.near(plainly.affine(signal, *draw, naive)) for draw in draws[:3]]
        moved = signal.change is not None
        mixed = np.empty_like(signal.psi)
        change = np.empty_like(signal.psi) if moved else None
        entropies = []
        for start in range(0, len(signal.psi), positions):
            rows = slice(start, start + positions)
            for at in range(0, width, head):
                units = (rows, slice(at, at + head))
                query, key, value = (part.stream.product[units] for part in parts)
                logits = sharpness * query @ key.T
                sizes = abs(sharpness) * np.abs(query) @ np.abs(key).T
                logits = naive.cast(rounding.off(logits, sizes))
                seen = np.tril(np.ones(logits.shape, bool)) if self.causal else np.ones(logits.shape, bool)
                logits = np.where(seen, logits, -np.inf)
                powers = np.exp(logits - logits.max(axis=1, keepdims=True))
                weights = powers / powers.sum(axis=1, keepdims=True)
                near = naive.cast(rounding.off(weights, weights, 4.0))
                mixed[units] = rounding.product(near, value)
                told = seen.sum(axis=1) > 1
                terms = np.where(weights > 0, weights * np.log(np.where(weights > 0, weights, 1.0)), 0.0)
                entropies.append(
                    np.mean(-terms.sum(axis=1)[told] / np.log(seen.sum(axis=1)[told])) if told.any() else np.nan
                )
                if change is not None:
                    dq, dk, dv = (np.asarray(part.change)[units] for part in parts)
                    turned = sharpness * (rounding.product(dq, key.T) + rounding.product(query, dk.T))
                    turned = np.where(seen, naive.cast(turned), 0.0)
                    turned = turned - np.sum(weights * turned, axis=1, keepdims=True)
                    turned = naive.cast(rounding.off(weights * turned, weights * np.abs(turned), 4.0))
                    change[units] = rounding.product(turned, value) + rounding.product(near, dv)
        mixed, change = naive.cast(mixed), None if change is None else naive.cast(change)
        branch = plainly.affine(NaiveSignal(mixed, 0.0, change), *draws[3], naive)
        factors = sum((part.factors for part in parts), ()) + branch.factors
        return branch._replace(entropy=float(np.mean(entropies)), factors=factors)

    def mean_field(self, layout: Layout) -> theory.Attention:
        return theory.Attention(self.heads, self.causal, layout.positions)

    def multiplications(self, width: int, positions: int) -> int:
        return 4 * width * width + 2 * positions * width


def attention(heads: float, causal: bool = False) -> Streamed:
    """The block `attention(h)` or `attention(h, causal)`. Errors: ValueError for what is no number of heads."""
    whole = at_least_one(heads, "attention(h)")
    return Streamed(f"attention({whole}{', causal' * causal})", (Attention(whole, causal),), needs_positions=1)
