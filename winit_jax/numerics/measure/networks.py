"""What a pass is given: data as a signal, the scales of many networks, and what a program is compiled for."""

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from winit_jax.columns.formats import Format
from winit_jax.numerics import meshes, narrow
from winit_jax.numerics.activations import Activation
from winit_jax.numerics.blocks import DENSE, Block, Context, Layout, Scales
from winit_jax.numerics.blocks.protocol import IDENTITY, ROWS
from winit_jax.numerics.naive import cast
from winit_jax.numerics.normalization import NONE, Normalization
from winit_jax.numerics.scaled import EXPONENT_LIMIT, Scaled
from winit_jax.numerics.signals import Signal

# What computes layers that the kernel of `fused` covers: XLA as all others, that kernel, or it interpreted, for tests.
XLA, PALLAS, INTERPRETED = "xla", "pallas", "interpreted"


class Inputs(NamedTuple):
    """Data as a signal. samples: [samples, features], RMS near 1. exponent: of the true scale."""

    samples: jax.Array
    mean: jax.Array
    exponent: jax.Array
    rms_exponent: jax.Array

    @property
    def signal(self) -> Signal:
        return Signal(Scaled(self.samples, self.exponent), self.mean, self.rms_exponent)


class Layered(NamedTuple):
    """What layers behind the stem multiply by where each has scales of its own: as in `Networks`, [N, layers]."""

    updates: tuple[Scales, ...]
    skip: Scaled | None
    epsilon: Scaled | None
    branch: Scaled | None = None


class Networks(NamedTuple):
    """Scales of N networks, each field Scaled by [N] NumPy arrays.

    first, bias: of the stem's weights and biases. updates: of each update of a layer. epsilon: added to the variance by
    normalization; None is NORM_EPSILON for all. skip: what the stream is multiplied by beside an update; None where no
    network has a skip. layered: where layers have scales of their own, those; the rest is then of the stem. branch:
    branch_scale of networks that are rounded to a format, for which it is not in the scales of weights; both None for
    float32.
    """

    first: Scaled
    bias: Scaled
    updates: tuple[Scales, ...]
    epsilon: Scaled | None = None
    skip: Scaled | None = None
    layered: Layered | None = None
    branch: Scaled | None = None
    format: narrow.Limits | None = None

    def with_layer(self, layer: Layered | None) -> "Networks":
        """The same at a layer with scales of its own."""
        if layer is None:
            return self
        own = self._replace(updates=layer.updates, skip=layer.skip, epsilon=layer.epsilon, layered=None)
        return own._replace(branch=layer.branch)

    def at_layer(self, index: Any) -> "Networks":
        """One network at a layer behind the stem, 0 for the first of them. `layered`: [layers]."""
        return self.with_layer(jax.tree.map(lambda x: x[index], self.layered))

    @property
    def size(self) -> int:
        """N."""
        return len(self.first.value)


def as_inputs(x: np.ndarray, to: Format | None = None) -> Inputs:
    """Inputs from finite numbers of any scale, [samples, features]. to: the format that they are rounded to, if any."""
    x = np.asarray(x, dtype=np.float64)
    if to is not None:
        return _in_format(x, to)
    rms = float(np.sqrt(np.mean(np.square(x / peak)))) * peak if (peak := float(np.max(np.abs(x)))) else 0.0
    exponent = math.frexp(rms)[1] if rms else 0
    # In NumPy, for outside a program JAX would compile every operation by itself.
    scaled, mean = (np.ldexp(part, -exponent).astype(np.float32) for part in (x, x.mean(axis=0)))
    rms_exponent = math.frexp(np.float32(math.ldexp(rms, -exponent)))[1] if rms else -EXPONENT_LIMIT
    found = Inputs(*map(jnp.asarray, (scaled, mean, np.int32(exponent), np.int32(rms_exponent))))
    return meshes.put(found, meshes.current())


def _in_format(x: np.ndarray, to: Format) -> Inputs:
    """The same as numbers of a format, of which some may be infinite."""
    near = cast(x, to)
    finite = as_inputs(np.where(np.isfinite(near), near, 0.0))
    beyond = jnp.asarray(np.where(np.isfinite(near), 0.0, near), jnp.float32)
    return finite._replace(samples=finite.samples + beyond, mean=finite.mean + jnp.sum(beyond, axis=0))


@dataclass(frozen=True)
class Settings:
    """What a pass is compiled for, beside its shapes. precision: of matrix products, in JAX's words.

    activation: is taken with slopes that float32 can hold against the threshold. constant: whether all entries of a
    draw are one number. unit_variance: whether each matrix is scaled to products of variance 1. norm_position: `pre`,
    before each update, or `post`, on the stream behind it. layout: of rows. rounds: whether everything is rounded on
    the way to the formats that the networks have. mesh: the devices that networks are dealt over, None for one.
    kernel: what computes dense layers on the way forward, see `XLA`.
    """

    activation: Activation
    normalization: Normalization = NONE
    saturation_threshold: float = 0.05
    precision: str = "highest"
    constant: bool = False
    unit_variance: bool = False
    block: Block = DENSE
    norm_position: str = "pre"
    layout: Layout = ROWS
    rounds: bool = False
    mesh: Mesh | None = field(default_factory=meshes.current)
    kernel: str = XLA

    def __post_init__(self) -> None:
        activation = narrow.whole(self.activation) if self.rounds else self.activation
        object.__setattr__(self, "activation", activation.resolving(self.saturation_threshold))

    @property
    def before(self) -> Normalization:
        """The normalization between a stream and what updates read."""
        return self.normalization if self.norm_position == "pre" else NONE

    @property
    def behind(self) -> Normalization:
        """The normalization of a stream behind each update."""
        return self.normalization if self.norm_position == "post" else NONE

    @property
    def removes(self) -> str:
        """What of a the normalization before phi removes, see `Normalization.removes`."""
        return "" if self.rounds else self.before.removes(self.constant)

    @property
    def outer(self) -> Activation:
        """What a stream is fed to before an update reads it."""
        return self.activation if self.block.responds else IDENTITY

    def context(self, network: Networks) -> Context:
        """What the block's own programs need to know."""
        return Context(self.activation, self.outer, self.precision, self.layout, self.removes, network.format)

    def rows(self, layers: int) -> int:
        """How many rows are measured of so many layers: the stem, and every update of the others."""
        return 1 + len(self.block.updates) * (layers - 1)

    def layer_of(self, rows: int) -> np.ndarray:
        """The layer of each of the rows, 1 for the stem: [rows]."""
        layers: np.ndarray = 1 + -(-np.arange(rows) // len(self.block.updates))
        return layers

    def has_phi(self, rows: int) -> np.ndarray:
        """Which of the rows speak of a phi: boolean [rows]."""
        if self.block.responds:
            return np.ones(rows, bool)
        of_updates = np.resize([update.has_phi for update in self.block.updates], max(rows - 1, 1))
        return np.array([False, *of_updates])[:rows]

    def units_of_phi(self, width: int) -> int:
        """Units that phi is applied to."""
        if self.block.responds:
            return width
        inner = [update.places(width)[0].fan_out for update in self.block.updates if update.has_phi]
        return inner[0] if inner else width
