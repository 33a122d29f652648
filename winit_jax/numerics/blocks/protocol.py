"""What a block has to say of itself.

A block makes one layer of the stream from the one below, in one or more updates,

    a <- post(skip_scale a + branch_scale update(h)),

where h is phi(pre(a)) for updates that respond themselves to the stream, and pre(a) for those with their phi inside or
without one. The stem, normalization, what is measured and what is learnt are the same for all; every pass of
`measure`, `training` and `theory` is written over these methods. Draws have unit variance and are shared by all
networks of a family; standard deviations come as `Scales`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import jax
import numpy as np

from winit_jax.numerics import narrow
from winit_jax.numerics.activations import ACTIVATIONS, Activation
from winit_jax.numerics.activations.record import Function
from winit_jax.numerics.changes import Tangent
from winit_jax.numerics.draws import Layer, Place
from winit_jax.numerics.naive import Naive, NaiveBranch, NaiveSignal
from winit_jax.numerics.narrow import Limits
from winit_jax.numerics.scaled import Scaled
from winit_jax.numerics.signals import Argument, Preactivation, Signal
from winit_jax.numerics.theory.updates import Update as OfTheory

IDENTITY = ACTIVATIONS["identity"]
# Of taps, heads and ratios.
MOST = 64


@dataclass(frozen=True)
class Layout:
    """How the rows of a signal, [samples x positions, units], lie: sample by sample. grid: (height, width) of them."""

    positions: int = 1
    grid: tuple[int, int] | None = None


ROWS = Layout()


@dataclass(frozen=True)
class Context:
    """What the programs of a block are compiled for beside its shapes.

    activation: phi. outer: what the stream is fed to before a block, phi or the identity. precision: of matrix
    products, in JAX's words. removes: see `Normalization.removes`. format: the one that a block rounds to on the
    way, None for float32; its draws and the signal are numbers of it, and what it gives is not yet.
    """

    activation: Activation
    outer: Activation
    precision: str = "highest"
    layout: Layout = ROWS
    removes: str = ""
    format: Limits | None = None

    def near(self, change: Tangent) -> Tangent:
        """A change rounded to the format, if there is one."""
        return change if self.format is None else narrow.tangent(change, self.format)


class Scales(NamedTuple):
    """The scales of one update of a network, scalars.

    weights, biases: standard deviations at each place; those of the last place are multiplied by branch_scale, but in
    networks that are rounded (`networks.Networks.branch`).
    sharpness: attention_gain, None where there is no attention.
    """

    weights: tuple[Scaled, ...]
    biases: tuple[Scaled, ...]
    sharpness: Scaled | None = None

    def times(self, factors: Sequence[Scaled]) -> "Scales":
        """The same with the weights of the first places multiplied by a factor each."""
        scaled = [weight.times(factor) for weight, factor in zip(self.weights, factors, strict=False)]
        return self._replace(weights=(*scaled, *self.weights[len(scaled) :]))


class Inner(NamedTuple):
    """phi inside a block: its argument u, and psi(u) at the clipped scale with its exponents and as a signal."""

    argument: Argument
    exponents: tuple[jax.Array, jax.Array]
    signal: Signal


class Branch(NamedTuple):
    """What an update adds to the stream.

    preactivation: with its `size_exponent`. change: of it, None where none is carried. inner: None where phi is not
    inside. entropy: of attention, between 0 and 1; None without.
    """

    preactivation: Preactivation
    change: Tangent | None = None
    inner: Inner | None = None
    entropy: jax.Array | None = None


class Update(Protocol):
    """One addition to the stream.

    site: what rows of it are called where a layer has several, else empty. has_phi: whether phi is inside.
    attends: whether it has attention weights.
    """

    @property
    def site(self) -> str: ...

    @property
    def has_phi(self) -> bool: ...

    @property
    def attends(self) -> bool: ...

    def places(self, width: int) -> tuple[Place, ...]:
        """Where its weights stand, in order; the last one's output is what is added."""
        ...

    def forward(
        self, signal: Signal, change: Tangent | None, draws: Sequence[Layer], scales: Scales, context: Context
    ) -> Branch:
        """The branch of a signal and of its change, at a scale that float32 holds."""
        ...

    def unit_variance(
        self, signal: Signal, draws: Sequence[Layer], scales: Scales, context: Context
    ) -> tuple[Scaled, ...]:
        """What orthonormal weights are multiplied by at each place, for products of variance 1 (`affine.unit_factor`).

        scales: the other scales of the update; the weights in it are orthonormal.
        """
        ...

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
        """(dLoss/dh at the signal, the mean squares of dLoss/dW at each place) from dLoss at the branch.

        gradient: of RMS near 1 and factor 1. sums_to_zero: over the samples of each unit, by normalization.
        """
        ...

    def learn(
        self,
        h: jax.Array,
        weights: Sequence[jax.Array],
        biases: Sequence[jax.Array | None],
        phi: Function,
        sharpness: jax.Array | None,
        context: Context,
    ) -> jax.Array:
        """The branch of N networks at their own scale, for automatic differentiation.

        h: [N, rows, width]. weights: [N, fan_in, fan_out] at each place; biases: [N, fan_out] or None. sharpness: [N].
        """
        ...

    def naive(self, signal: NaiveSignal, draws: Sequence[tuple[np.ndarray, np.ndarray]], naive: Naive) -> NaiveBranch:
        """The branch in float64 NumPy, as its definition reads. draws: weights and biases at each place."""
        ...

    def mean_field(self, layout: Layout) -> OfTheory:
        """The update at infinite width."""
        ...

    def multiplications(self, width: int, positions: int) -> int:
        """Of one row in one layer: what it costs."""
        ...


class Block(Protocol):
    """One layer. name: as a sweep says it. skip: what the stream is multiplied by unless a sweep says skip_scale.

    updates: what is added to the stream, in order. responds: whether phi of the stream is what the updates read.
    needs_positions: how many dimensions of positions inputs must have: 0, 1 or 2. shares_gains: whether networks of
    a positively homogeneous phi without biases and skip are one network rescaled.
    """

    @property
    def name(self) -> str: ...

    @property
    def skip(self) -> float: ...

    @property
    def updates(self) -> tuple[Update, ...]: ...

    @property
    def responds(self) -> bool: ...

    @property
    def needs_positions(self) -> int: ...

    @property
    def shares_gains(self) -> bool: ...


def mean_field(block: Block, layout: Layout) -> tuple[OfTheory, ...]:
    """The updates of one layer at infinite width."""
    return tuple(update.mean_field(layout) for update in block.updates)


def entries(block: Block, width: int) -> int:
    """Numbers in the draws of one layer's weights: what it holds."""
    return sum(place.fan_in * place.fan_out for update in block.updates for place in update.places(width))


def multiplications(block: Block, width: int, positions: int = 1) -> int:
    """Of one row in one layer: what it costs."""
    return sum(update.multiplications(width, positions) for update in block.updates)


def measured_units(block: Block, width: int) -> int:
    """Numbers of one row in one layer that statistics read: the stream after each update, and phi inside of it."""
    inner = sum(update.places(width)[0].fan_out for update in block.updates if update.has_phi)
    return len(block.updates) * width + inner


@dataclass(frozen=True)
class Streamed:
    """A block of updates that read the stream itself, beside a skip of 1."""

    name: str
    updates: tuple[Update, ...]
    needs_positions: int = 0
    skip: float = 1.0
    responds: bool = False
    shares_gains: bool = False


def at_least_one(number: float, of: str) -> int:
    """A whole number in a block's name, from 1 to 64. of: as its name is written. Errors: ValueError."""
    if number != int(number) or not 1 <= number <= MOST:
        raise ValueError(f"{of} takes whole numbers from 1 to {MOST}, not {number:g}.")
    return int(number)
