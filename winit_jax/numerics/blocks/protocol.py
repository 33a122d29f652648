"""What a block has to say of itself, and what follows from that for its derivatives."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from winit_jax.numerics.activations import Activation
from winit_jax.numerics.changes import Tangent
from winit_jax.numerics.draws import Layer
from winit_jax.numerics.scaled import Scaled
from winit_jax.numerics.signals import Preactivation, Signal


class MeanField(NamedTuple):
    """Signals of infinitely wide networks one layer on, float64 [N] each.

    log10_q: of the mean square pre-activation. share: of it, what comes through weights that tell inputs apart.
    kept: of it, what a skip hands on as it is. log10_jacobian: what the layer adds to the logarithm of the Jacobian's
    RMS singular value.
    """

    log10_q: np.ndarray
    share: np.ndarray
    kept: np.ndarray
    log10_jacobian: np.ndarray


class Block(Protocol):
    """From the response of one layer to the stream of pre-activations of the next, a_{l+1} = block(phi(u_l)).

    The stem, phi, normalization, what is measured and what is learnt are the same for all blocks, and every pass of
    `measure`, `training` and `theory` is written over these methods. Draws have unit variance and are shared by all
    networks of a family; a block's standard deviations come as `weight` and `bias`.

    name: as a sweep says it. skip: what the stream beside it is multiplied by unless a sweep says skip_scale.
    shares_gains: whether networks of a positively homogeneous phi without biases and skip are one network rescaled.
    """

    @property
    def name(self) -> str: ...

    @property
    def skip(self) -> float: ...

    @property
    def shares_gains(self) -> bool: ...

    def draws(self, seed: int, shape: str, width: int, first: int, count: int) -> Layer:
        """Unit draws of layers first .. first + count - 1, stacked along a leading axis."""
        ...

    def linear(self, h: jax.Array, weights: jax.Array, precision: str) -> jax.Array:
        """The part that is linear in h [..., samples, width] and in the weights of one layer, at their own scale."""
        ...

    def weight_gradient(self, h: jax.Array, gradient: jax.Array, precision: str) -> jax.Array:
        """The gradient at the weights of one layer, from the response below and the gradient above, at unit scale."""
        ...

    def forward(
        self,
        signal: Signal,
        layer: Layer,
        weight: Scaled,
        bias: Scaled,
        activation: Activation,
        *,
        precision: str,
        removes: str,
    ) -> Preactivation:
        """The stream one layer on, at a scale that float32 holds. removes: see `Normalization.removes`."""
        ...

    def naive(self, h: np.ndarray, weights: np.ndarray, product: Callable[..., np.ndarray]) -> np.ndarray:
        """`linear` in float64 NumPy, as its definition reads. product: multiplies matrices, and may add rounding."""
        ...

    def mean_field(
        self,
        log10_q: np.ndarray,
        log10_branch: np.ndarray,
        log10_bias: np.ndarray,
        log10_chi: np.ndarray,
        log10_skip: np.ndarray,
    ) -> MeanField:
        """One layer at infinite width.

        log10_branch: of the weights' variance times E[phi(u)^2]. log10_chi: of the same times E[phi'(u)^2].
        log10_skip: of the square of what the stream is multiplied by beside the block; -inf for none.
        """
        ...

    def multiplications(self, width: int) -> int:
        """Of one sample in one layer: what it costs."""
        ...

    def entries(self, width: int) -> int:
        """Numbers in the draws of one layer's weights: what it holds."""
        ...


def push_linear(block: Block, change: Tangent, layer: Layer, weight: Scaled, precision: str) -> Tangent:
    """The change of the next stream from that of a response, whose factor is 1: forward mode."""

    def linear(h: jax.Array) -> jax.Array:
        return block.linear(h, layer.weights, precision)

    value: Any = jax.jvp(linear, (jnp.zeros_like(change.value),), (change.value,))[1]
    return Tangent(value, weight.exponent + change.exponent, weight.value)


def pull_linear(block: Block, gradient: jax.Array, weights: jax.Array, precision: str) -> jax.Array:
    """The gradient at a response from that at the next stream, [samples, width], both at unit scale: reverse mode."""
    pulled: jax.Array
    (pulled,) = jax.linear_transpose(lambda h: block.linear(h, weights, precision), gradient)(gradient)
    return pulled
