"""phi(u W' + b') W + b, with W' of [n, r n]: the two-layer perceptron of a residual stream."""

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import numpy as np

from winit_jax.numerics import naive as plainly
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
from winit_jax.numerics.blocks.protocol import IDENTITY, Branch, Context, Layout, Scales, Streamed, at_least_one
from winit_jax.numerics.changes import Tangent, settled
from winit_jax.numerics.draws import Layer, Place
from winit_jax.numerics.folding import mean_square
from winit_jax.numerics.naive import Naive, NaiveBranch, NaiveSignal
from winit_jax.numerics.scaled import Scaled
from winit_jax.numerics.signals import Preactivation, Signal
from winit_jax.numerics.theory import updates as theory


@dataclass(frozen=True)
class Mlp:
    """The update of `mlp(r)`. ratio: inner units over outer ones."""

    ratio: int
    site: str = ""
    has_phi: bool = True
    attends: bool = False

    def places(self, width: int) -> tuple[Place, ...]:
        return Place("up", width, self.ratio * width, role="inner"), Place("down", self.ratio * width, width)

    def _enter(self, signal: Signal, draws: Sequence[Layer], scales: Scales, context: Context) -> Preactivation:
        up, weight, bias = draws[0], scales.weights[0], scales.biases[0]
        parts = (*multiply(signal, up.weights, context.precision), signal, up, weight, bias, context.activation)
        return affine(*parts, at_zero=0.0)

    def forward(
        self, signal: Signal, change: Tangent | None, draws: Sequence[Layer], scales: Scales, context: Context
    ) -> Branch:
        activation, precision = context.activation, context.precision
        (up, down), weights = draws, scales.weights
        inner = answer(self._enter(signal, draws, scales, context), activation, context.format)
        parts = (*multiply(inner.signal, down.weights, precision), inner.signal, down, weights[1], scales.biases[1])
        preactivation = affine(*parts, IDENTITY, at_zero=activation.at_zero)
        if change is not None:
            change = context.near(push_weights(change, up.weights, weights[0], precision))
            change = context.near(push_answer(change, inner, activation))
            change = push_weights(change, down.weights, weights[1], precision)
        return Branch(preactivation, change, inner)

    def unit_variance(
        self, signal: Signal, draws: Sequence[Layer], scales: Scales, context: Context
    ) -> tuple[Scaled, ...]:
        (up, down), precision = draws, context.precision
        of_up = unit_factor(Scaled(multiply(signal, up.weights, precision)[0], signal.response.exponent), up)
        inner = answer(self._enter(signal, draws, scales.times((of_up,)), context), context.activation).signal
        product = Scaled(multiply(inner, down.weights, precision)[0], inner.response.exponent)
        return of_up, unit_factor(product, down, context.activation.at_zero)

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
        activation, precision = context.activation, context.precision
        (up, down), weights = draws, scales.weights
        inner = answer(self._enter(signal, draws, scales, context), activation, context.format)
        given, to = (inner.signal, activation.at_zero, gradient, precision), context.format
        of_down = weight_square(*given, sums_to_zero=sums_to_zero, to=to)
        gradient = context.near(pull_weights(gradient, down.weights, weights[1], precision))
        gradient = pull_answer(gradient, inner, activation)
        gradient = context.near(settled(gradient, mean_square(gradient.value)))
        of_up = weight_square(signal, 0.0, gradient, precision, to=to)
        return pull_weights(gradient, up.weights, weights[0], precision), (of_up, of_down)

    def learn(
        self,
        h: jax.Array,
        weights: Sequence[jax.Array],
        biases: Sequence[jax.Array | None],
        phi: Function,
        sharpness: jax.Array | None,
        context: Context,
    ) -> jax.Array:
        for place, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
            h = linear(phi(h) if place else h, weight, context.precision)
            h = h if bias is None else h + bias[:, None]
        return h

    def naive(self, signal: NaiveSignal, draws: Sequence[tuple[np.ndarray, np.ndarray]], naive: Naive) -> NaiveBranch:
        entered = naive.near(plainly.affine(signal, *draws[0], naive))
        inner = plainly.answer(entered, naive)
        change = None if entered.change is None else naive.cast(inner.slopes * entered.change)
        branch = plainly.affine(NaiveSignal(inner.psi, naive.functions.activation.at_zero, change), *draws[1], naive)
        lost = entered.lost or branch.lost or plainly.flattens(inner, entered.change)
        return branch._replace(inner=inner, lost=lost, factors=entered.factors + branch.factors)

    def mean_field(self, layout: Layout) -> theory.Mlp:
        return theory.Mlp(self.ratio)

    def multiplications(self, width: int, positions: int) -> int:
        return 2 * self.ratio * width * width


def mlp(ratio: float) -> Streamed:
    """The block `mlp(r)`. Errors: ValueError for what is no ratio."""
    whole = at_least_one(ratio, "mlp(r)")
    return Streamed(f"mlp({whole})", (Mlp(whole),))
