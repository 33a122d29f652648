"""What a recommendation is asked for: a network, and what it is fed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from winit_jax.engine.computing.theories import Similarity
from winit_jax.numerics.activations import Activation, activation
from winit_jax.numerics.blocks import BLOCKS, Block, Layout, mean_field
from winit_jax.numerics.blocks.protocol import ROWS
from winit_jax.numerics.normalization import NORMALIZATIONS
from winit_jax.numerics.theory import Update

# Where layers stand by themselves, `normalized` where something divides by their size before each phi, or beside a
# skip, with or without normalization.
Kind = Literal["plain", "normalized", "skip"]


@dataclass(frozen=True)
class Question:
    """A network to recommend an init for.

    source: of the inputs, in words. start: how alike these are; features: of a row of them. layout: of their rows.
    """

    activation: str
    block: str
    depth: int
    width: int
    bias_std: float
    normalization: str
    source: str
    start: Similarity
    features: int
    layout: Layout = ROWS

    @cached_property
    def phi(self) -> Activation:
        return activation(self.activation)

    @cached_property
    def layer(self) -> Block:
        return BLOCKS.find(self.block)

    @cached_property
    def updates(self) -> Sequence[Update]:
        """Of the stream, at infinite width."""
        return mean_field(self.layer, self.layout)

    @property
    def kind(self) -> Kind:
        if self.layer.skip:
            return "skip"
        return "plain" if self.normalization == "none" else "normalized"

    @property
    def has_phi(self) -> bool:
        """Whether the activation changes anything."""
        return self.layer.responds or any(update.has_phi for update in self.layer.updates)

    @property
    def attends(self) -> bool:
        return any(update.attends for update in self.layer.updates)

    @property
    def is_predicted(self) -> bool:
        """Whether mean field speaks of such networks."""
        return NORMALIZATIONS[self.normalization].is_predicted

    @property
    def square(self) -> float:
        """Mean square of the inputs' entries: q_1 = gain^2 times this + bias_std^2."""
        return self.start.square / self.features

    @property
    def branch_rule(self) -> str:
        """What branch_scale is recommended, as a formula: 1/sqrt of the updates of the whole stream."""
        if self.kind != "skip":
            return "1"
        each = len(self.layer.updates)
        return "1/sqrt(depth)" if each == 1 else f"1/sqrt({each}*depth)"

    @property
    def branch(self) -> float:
        """The same as a number."""
        return 1.0 if self.kind != "skip" else 1 / math.sqrt(len(self.layer.updates) * self.depth)

    def std(self, gain: float, fan_in: int | None = None) -> float:
        """Standard deviation of weights of a gain; of a layer that reads as many units as it has unless it is said."""
        return gain / math.sqrt(self.width if fan_in is None else fan_in)

    def q_1(self, gain: float) -> float:
        """Mean square pre-activation of the first layer."""
        return gain**2 * self.square + self.bias_std**2

    @property
    def log_bias(self) -> float:
        return 2 * math.log(self.bias_std) if self.bias_std else -math.inf


def by_powers(log10: float, digits: int = 3) -> str:
    """A factor in words, from its log10, also where that is no float: 0.41, 12, 10^-21.3."""
    if np.isnan(log10):
        return "an unknown factor"
    if math.isinf(log10):
        return "less than 10^-300" if log10 < 0 else "more than 10^300"
    return f"{10**log10:.{digits}g}" if abs(log10) < 4 else f"10^{log10:.1f}"
