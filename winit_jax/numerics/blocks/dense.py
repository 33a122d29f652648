"""phi(u) W + b: fully connected layers, and convolutions along positions, which read neighbours with it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
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
from winit_jax.numerics.blocks.protocol import Branch, Context, Layout, Scales
from winit_jax.numerics.blocks.taps import Neighbours, Taps
from winit_jax.numerics.changes import Tangent
from winit_jax.numerics.draws import Layer, Place
from winit_jax.numerics.naive import Naive, NaiveBranch, NaiveSignal
from winit_jax.numerics.scaled import Scaled
from winit_jax.numerics.signals import Signal
from winit_jax.numerics.theory import updates as theory


@dataclass(frozen=True)
class Affine:
    """The update phi(u) W + b. taps: of a convolution, None for a row by itself."""

    taps: Taps | None = None
    site: str = ""
    has_phi: bool = False
    attends: bool = False

    def places(self, width: int) -> tuple[Place, ...]:
        if self.taps is None:
            return (Place("", width, width),)
        return (Place("conv", self.taps.count * width, width, taps=self.taps.count),)

    def _neighbours(self, context: Context) -> Neighbours | None:
        return None if self.taps is None else Neighbours(self.taps, context.layout)

    def forward(
        self, signal: Signal, change: Tangent | None, draws: Sequence[Layer], scales: Scales, context: Context
    ) -> Branch:
        (layer,), (weight,), (bias,) = draws, scales.weights, scales.biases
        neighbours, precision, removes = self._neighbours(context), context.precision, context.removes
        product, product_mean = multiply(signal, layer.weights, precision, neighbours)
        if removes == "product":  # normalization has made all samples alike, and the draw all units
            product = jnp.broadcast_to(product[:1, :1], product.shape)
            product_mean = product[0]
        parts = (product, product_mean, signal, layer, weight, bias, context.outer)
        preactivation = affine(*parts, at_zero=context.activation.at_zero, removes=removes)
        if change is not None:
            change = push_weights(change, layer.weights, weight, precision, neighbours)
            if removes == "product":  # all units share it
                change = change._replace(value=jnp.broadcast_to(change.value[:, :1], change.value.shape))
        return Branch(preactivation, change)

    def unit_variance(
        self, signal: Signal, draws: Sequence[Layer], scales: Scales, context: Context
    ) -> tuple[Scaled, ...]:
        product, _ = multiply(signal, draws[0].weights, context.precision, self._neighbours(context))
        return (unit_factor(Scaled(product, signal.response.exponent), draws[0], context.activation.at_zero),)

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
        (layer,), (weight,) = draws, scales.weights
        neighbours, at_zero = self._neighbours(context), context.activation.at_zero
        given = (signal, at_zero, gradient, context.precision, neighbours)
        of_weights = weight_square(*given, sums_to_zero=sums_to_zero, to=context.format)
        return pull_weights(gradient, layer.weights, weight, context.precision, neighbours), (of_weights,)

    def learn(
        self,
        h: jax.Array,
        weights: Sequence[jax.Array],
        biases: Sequence[jax.Array | None],
        phi: Function,
        sharpness: jax.Array | None,
        context: Context,
    ) -> jax.Array:
        product = linear(h, weights[0], context.precision, self._neighbours(context))
        return product if biases[0] is None else product + biases[0][:, None]

    def naive(self, signal: NaiveSignal, draws: Sequence[tuple[np.ndarray, np.ndarray]], naive: Naive) -> NaiveBranch:
        ((weight, bias),) = draws
        if self.taps is None:
            return plainly.affine(signal, weight, bias, naive)
        gather = partial(self.taps.naive_gather, naive=naive)
        return plainly.affine(signal, weight, bias, naive, gather)

    def mean_field(self, layout: Layout) -> theory.Phi:
        if self.taps is None:
            return theory.Phi()
        sides = (layout.positions,) if self.taps.dimensions == 1 else layout.grid or (1, 1)
        return theory.Conv((self.taps.size,) * self.taps.dimensions, sides)

    def multiplications(self, width: int, positions: int) -> int:
        return self.places(width)[0].fan_in * width


@dataclass(frozen=True)
class Dense:
    """One affine update a layer: `dense`, `residual`, and convolutions with and without a skip."""

    name: str = "dense"
    skip: float = 0.0
    taps: Taps | None = None
    responds: bool = True

    @property
    def updates(self) -> tuple[Affine, ...]:
        return (Affine(self.taps),)

    @property
    def needs_positions(self) -> int:
        return 0 if self.taps is None else self.taps.dimensions

    @property
    def shares_gains(self) -> bool:
        return self.taps is None


DENSE = Dense()
RESIDUAL = Dense("residual", skip=1.0)
