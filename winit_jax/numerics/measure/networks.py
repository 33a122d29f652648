"""What a pass is given: data as a signal, the scales of many networks, and what a program is compiled for."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from winit_jax.numerics.activations import Activation
from winit_jax.numerics.blocks import DENSE, Block
from winit_jax.numerics.normalization import NONE, Normalization
from winit_jax.numerics.scaled import EXPONENT_LIMIT, Scaled
from winit_jax.numerics.signals import Signal


class Inputs(NamedTuple):
    """Data as a signal. samples: [samples, features], RMS near 1. exponent: of the true scale."""

    samples: jax.Array
    mean: jax.Array
    exponent: jax.Array
    rms_exponent: jax.Array

    @property
    def signal(self) -> Signal:
        return Signal(Scaled(self.samples, self.exponent), self.mean, self.rms_exponent)


class Networks(NamedTuple):
    """Scales of N networks, each field Scaled by [N] NumPy arrays.

    first: of the stem's weights. hidden: of a block's, times its branch_scale. bias: of the biases. epsilon: added to
    the variance by normalization; None is NORM_EPSILON for all. skip: what the stream is multiplied by beside a block;
    None where no network has a skip. branch_bias: of a block's biases times its branch_scale; None where it is `bias`.
    """

    first: Scaled
    hidden: Scaled
    bias: Scaled
    epsilon: Scaled | None = None
    skip: Scaled | None = None
    branch_bias: Scaled | None = None


def as_inputs(x: np.ndarray) -> Inputs:
    """Inputs from finite numbers of any scale, [samples, features]."""
    x = np.asarray(x, dtype=np.float64)
    rms = float(np.sqrt(np.mean(np.square(x / peak)))) * peak if (peak := float(np.max(np.abs(x)))) else 0.0
    exponent = math.frexp(rms)[1] if rms else 0
    # In NumPy, for outside a program JAX would compile every operation by itself.
    scaled, mean = (np.ldexp(part, -exponent).astype(np.float32) for part in (x, x.mean(axis=0)))
    rms_exponent = math.frexp(np.float32(math.ldexp(rms, -exponent)))[1] if rms else -EXPONENT_LIMIT
    return Inputs(*map(jnp.asarray, (scaled, mean, np.int32(exponent), np.int32(rms_exponent))))


@dataclass(frozen=True)
class Settings:
    """What a pass is compiled for, beside its shapes. precision: of matrix products, in JAX's words.

    activation: is taken with slopes that float32 can hold against the threshold. constant: whether all entries of a
    draw are one number. norm_position: `pre`, before phi, or `post`, on the stream behind each block.
    """

    activation: Activation
    normalization: Normalization = NONE
    saturation_threshold: float = 0.05
    precision: str = "highest"
    constant: bool = False
    block: Block = DENSE
    norm_position: str = "pre"

    def __post_init__(self) -> None:
        object.__setattr__(self, "activation", self.activation.resolving(self.saturation_threshold))

    @property
    def before(self) -> Normalization:
        """The normalization between a stream and phi."""
        return self.normalization if self.norm_position == "pre" else NONE

    @property
    def behind(self) -> Normalization:
        """The normalization of a stream behind each block."""
        return self.normalization if self.norm_position == "post" else NONE

    @property
    def removes(self) -> str:
        """What of a the normalization before phi removes, see `Normalization.removes`."""
        return self.before.removes(self.constant)
