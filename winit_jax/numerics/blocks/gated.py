"""(phi(u G) * (u U)) D, with G and U of [n, r n]: gated linear units, SwiGLU with silu and GEGLU with gelu.

Source: Shazeer 2020, arXiv:2002.05202.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from winit_jax.numerics import naive as plainly
from winit_jax.numerics import narrow
from winit_jax.numerics.activations import Activation
from winit_jax.numerics.activations.record import Function
from winit_jax.numerics.blocks.affine import (
    affine,
    linear,
    multiply,
    pull_weights,
    push_weights,
    unit_factor,
    weight_square,
)
from winit_jax.numerics.blocks.inner import answer, pull_answer, push_answer
from winit_jax.numerics.blocks.protocol import IDENTITY, Branch, Context, Inner, Layout, Scales, Streamed, at_least_one
from winit_jax.numerics.changes import Tangent, settled
from winit_jax.numerics.draws import Layer, Place
from winit_jax.numerics.folding import mean_square
from winit_jax.numerics.naive import Naive, NaiveBranch, NaiveSignal
from winit_jax.numerics.narrow import Limits
from winit_jax.numerics.scaled import EXPONENT_LIMIT, Scaled, power_of_two, root_exponent
from winit_jax.numerics.signals import Signal
from winit_jax.numerics.theory import updates as theory


class Meeting(NamedTuple):
    """phi(u G) and u U, both of RMS near 1, and their product as a signal. inner: of the gate."""

    gate: Scaled
    value: Scaled
    signal: Signal
    inner: Inner


@dataclass(frozen=True)
class Gated:
    """The update of `gated(r)`. ratio: inner units over outer ones."""

    ratio: int
    site: str = ""
    has_phi: bool = True
    attends: bool = False

    def places(self, width: int) -> tuple[Place, ...]:
        inner = self.ratio * width
        return (
            Place("gate", width, inner, has_bias=False, role="inner"),
            Place("value", width, inner, has_bias=False, role="inner"),
            Place("out", inner, width, has_bias=False),
        )

    def _meet(self, signal: Signal, draws: Sequence[Layer], scales: Scales, context: Context) -> Meeting:
        entered = [
            affine(*multiply(signal, layer.weights, context.precision), signal, layer, weight, bias, phi, at_zero=0.0)
            for layer, weight, bias, phi in zip(
                draws[:2], scales.weights[:2], scales.biases[:2], (context.activation, IDENTITY), strict=True
            )
        ]
        to = context.format
        inner = answer(entered[0], context.activation, to)
        gate = _gate(inner, context.activation, to)
        if to is not None:
            entered[1], _ = narrow.preactivation(entered[1], to)
        assert entered[1].size_exponent is not None
        size = jnp.where(entered[1].size_exponent == -EXPONENT_LIMIT, entered[1].exponent, entered[1].size_exponent)
        value = Scaled(entered[1].value * power_of_two(entered[1].exponent - size), size)
        product = gate.times(value)
        if to is not None:
            near = Scaled(narrow.rounded(product, to), product.exponent)
            return Meeting(gate, value, narrow.signal(near), inner)
        means = jnp.mean(product.value, axis=0)
        return Meeting(gate, value, Signal(product, means, root_exponent(mean_square(product.value))), inner)

    def forward(
        self, signal: Signal, change: Tangent | None, draws: Sequence[Layer], scales: Scales, context: Context
    ) -> Branch:
        gate, value, out = draws
        precision, weights = context.precision, scales.weights
        met = self._meet(signal, draws, scales, context)
        parts = (*multiply(met.signal, out.weights, precision), met.signal, out, weights[2], scales.biases[2])
        preactivation = affine(*parts, IDENTITY, at_zero=0.0)
        if change is not None:
            of_gate = context.near(push_weights(change, gate.weights, weights[0], precision))
            of_gate = push_answer(of_gate, met.inner, context.activation)
            of_value = context.near(push_weights(change, value.weights, weights[1], precision))
            both = _times(of_gate, met.value).plus(_times(of_value, met.gate))
            together = context.near(settled(Tangent(*both, jnp.float32(1.0)), mean_square(both.value)))
            change = push_weights(together, out.weights, weights[2], precision)
        return Branch(preactivation, change, met.inner)

    def unit_variance(
        self, signal: Signal, draws: Sequence[Layer], scales: Scales, context: Context
    ) -> tuple[Scaled, ...]:
        def of(signal: Signal, layer: Layer) -> Scaled:
            product, _ = multiply(signal, layer.weights, context.precision)
            return unit_factor(Scaled(product, signal.response.exponent), layer)

        inner = tuple(of(signal, layer) for layer in draws[:2])
        return *inner, of(self._meet(signal, draws, scales.times(inner), context).signal, draws[2])

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
        precision, weights, to = context.precision, scales.weights, context.format
        met = self._meet(signal, draws, scales, context)
        of_out = weight_square(met.signal, 0.0, gradient, precision, sums_to_zero=sums_to_zero, to=to)
        gradient = context.near(pull_weights(gradient, draws[2].weights, weights[2], precision))
        of_gate, of_value = (Tangent(*_times(gradient, other), jnp.float32(1.0)) for other in (met.value, met.gate))
        of_gate = pull_answer(of_gate, met.inner, context.activation)
        squares, below = [], []
        for of_place, layer, weight in zip((of_gate, of_value), draws, weights, strict=False):
            of_place = context.near(settled(of_place, mean_square(of_place.value)))
            squares.append(weight_square(signal, 0.0, of_place, precision, to=to))
            below.append(context.near(pull_weights(of_place, layer.weights, weight, precision)))
        both = _as_scaled(below[0]).plus(_as_scaled(below[1]))
        return Tangent(*both, jnp.float32(1.0)), (*squares, of_out)

    def learn(
        self,
        h: jax.Array,
        weights: Sequence[jax.Array],
        biases: Sequence[jax.Array | None],
        phi: Function,
        sharpness: jax.Array | None,
        context: Context,
    ) -> jax.Array:
        gate, value = (linear(h, weight, context.precision) for weight in weights[:2])
        return linear(phi(gate) * value, weights[2], context.precision)

    def naive(self, signal: NaiveSignal, draws: Sequence[tuple[np.ndarray, np.ndarray]], naive: Naive) -> NaiveBranch:
        rounding = naive.rounding
        gate, value = (naive.near(plainly.affine(signal, *draw, naive)) for draw in draws[:2])
        inner = plainly.answer(gate, naive)
        phi = naive.functions.activation.at_zero + inner.psi
        beside = value.stream.together(rounding)[0]
        product = naive.cast(rounding.off(phi * beside, np.abs(phi * beside), 2.0))
        change, lost = None, gate.lost or value.lost
        if gate.change is not None and value.change is not None:
            terms = (inner.slopes * gate.change * beside, phi * value.change)
            change = naive.cast(rounding.off(terms[0] + terms[1], np.abs(terms[0]) + np.abs(terms[1]), 2.0))
        branch = plainly.affine(NaiveSignal(product, 0.0, change), *draws[2], naive)
        factors = gate.factors + value.factors + branch.factors
        return branch._replace(inner=inner, lost=lost or branch.lost, factors=factors)

    def mean_field(self, layout: Layout) -> theory.Gated:
        return theory.Gated(self.ratio)

    def multiplications(self, width: int, positions: int) -> int:
        return 3 * self.ratio * width * width


def _gate(inner: Inner, activation: Activation, to: Limits | None) -> Scaled:
    """phi itself, of RMS near 1. to: the format that it is rounded to, if any."""
    gate = Scaled(inner.signal.response.value, inner.signal.response.exponent)
    if activation.at_zero:
        gate = gate.plus(Scaled(jnp.float32(activation.at_zero), jnp.int32(0)))
    return gate.rescaled(mean_square(gate.value) if to is None else narrow.of_finite(gate.value))


def _as_scaled(change: Tangent) -> Scaled:
    return Scaled(change.factor * change.value, change.exponent)


def _times(change: Tangent, other: Scaled) -> Scaled:
    return _as_scaled(change).times(other)


def gated(ratio: float) -> Streamed:
    """The block `gated(r)`. Errors: ValueError for what is no ratio."""
    whole = at_least_one(ratio, "gated(r)")
    return Streamed(f"gated({whole})", (Gated(whole),))
