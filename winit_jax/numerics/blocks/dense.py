"""A dense layer: a_{l+1} = phi(u_l) W_{l+1} + b_{l+1}."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from winit_jax.numerics import draws
from winit_jax.numerics.activations import Activation
from winit_jax.numerics.blocks.affine import affine
from winit_jax.numerics.blocks.protocol import MeanField
from winit_jax.numerics.draws import Layer
from winit_jax.numerics.scaled import Scaled, log10_sum
from winit_jax.numerics.signals import Preactivation, Signal


@dataclass(frozen=True)
class Dense:
    """The block of fully connected networks (`protocol.Block` says what each method does)."""

    name: str = "dense"
    skip: float = 0.0
    shares_gains: bool = True

    def draws(self, seed: int, shape: str, width: int, first: int, count: int) -> Layer:
        return draws.layer_stack(seed, shape, width, first, count)

    def linear(self, h: jax.Array, weights: jax.Array, precision: str) -> jax.Array:
        return jnp.matmul(h, weights, precision=precision)

    def weight_gradient(self, h: jax.Array, gradient: jax.Array, precision: str) -> jax.Array:
        return jnp.matmul(h.T, gradient, precision=precision)  # XLA sums JAX's own transposition in another order

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
        product = self.linear(signal.response.value, layer.weights, precision)
        # The mean of a product is the product of the mean: known before the pass over it.
        product_mean = self.linear(signal.unit_mean, layer.weights, precision)
        if removes == "product":  # normalization has made all samples alike, and the draw all units
            product = jnp.broadcast_to(product[:1, :1], product.shape)
            product_mean = product[0]
        parts = (product, product_mean, signal, layer, weight, bias, activation)
        return affine(*parts, at_zero=activation.at_zero, removes=removes)

    def naive(self, h: np.ndarray, weights: np.ndarray, product: Callable[..., np.ndarray]) -> np.ndarray:
        return product(h, weights)

    def mean_field(
        self,
        log10_q: np.ndarray,
        log10_branch: np.ndarray,
        log10_bias: np.ndarray,
        log10_chi: np.ndarray,
        log10_skip: np.ndarray,
    ) -> MeanField:
        # q' = weight_var E[phi^2] + bias_var, Poole et al. 2016, arXiv:1606.05340; with skip^2 q beside it, and
        # chi + skip^2 for the Jacobian, Yang and Schoenholz 2017, arXiv:1712.08969.
        following = log10_sum(log10_branch, log10_bias)
        beside = np.where(log10_skip == -np.inf, -np.inf, log10_skip + log10_q)
        following = log10_sum(following, beside)
        return MeanField(
            following,
            10.0 ** (log10_branch - following),
            10.0 ** (beside - following),
            0.5 * log10_sum(log10_chi, log10_skip),
        )

    def multiplications(self, width: int) -> int:
        return width * width

    def entries(self, width: int) -> int:
        return width * width


DENSE = Dense()
RESIDUAL = Dense("residual", skip=1.0)
