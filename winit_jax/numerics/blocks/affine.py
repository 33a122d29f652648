"""h W + b at a scale that float32 holds: what the stem does to the inputs, and blocks to responses."""

import math

import jax
import jax.numpy as jnp

from winit_jax.numerics.activations import Activation
from winit_jax.numerics.draws import Layer
from winit_jax.numerics.scaled import EXPONENT_LIMIT, Scaled
from winit_jax.numerics.signals import Preactivation, Signal, clipped_off

# Of numbers that are smaller than the largest by more powers of two than this, float32 may hold no squares.
ROOM = 50


def affine(
    product: jax.Array,
    product_mean: jax.Array,
    signal: Signal,
    layer: Layer,
    weight: Scaled,
    bias: Scaled,
    activation: Activation,
    *,
    at_zero: float,
    removes: str = "",
) -> Preactivation:
    """Pre-activations of a product with unit draws that is already at hand.

    a = weight (at_zero 1 + psi) Z + bias b, where 1 Z are the column sums of the draw.

    product: psi Z, [samples, width], and its mean over samples, [width]; signal: psi. weight, bias: standard
    deviations, scalars. activation: what the pre-activations are fed to, which decides the scale. at_zero: phi(0), what
    psi leaves out of its signal; 0 for inputs. removes: see `Normalization.removes`.
    """
    root_fan_in = math.ceil(math.log2(layer.weights.shape[0]) / 2)
    of_product = jnp.where(
        (signal.rms_exponent == -EXPONENT_LIMIT) | (weight.value == 0),
        -EXPONENT_LIMIT,
        weight.exponent + signal.response.exponent + signal.rms_exponent + root_fan_in,
    )
    exponent = jnp.maximum(of_product, bias.size_exponent())
    if at_zero:
        constant = math.ceil(math.log2(abs(at_zero))) + root_fan_in
        exponent = jnp.maximum(exponent, jnp.where(weight.value == 0, -EXPONENT_LIMIT, weight.exponent + constant))
    clipped = clipped_off(exponent, activation)
    offset = Scaled(bias.value, bias.size_exponent()).in_units_of(clipped) * layer.biases
    if at_zero:
        offset += at_zero * weight.in_units_of(clipped) * layer.column_sums
    scale = Scaled(weight.value, weight.exponent + signal.response.exponent - clipped)
    whole = Preactivation(product, product_mean, scale, offset, clipped, size_exponent=exponent)
    if removes == "product":
        nothing = Scaled(jnp.zeros_like(weight.value), weight.exponent)
        parts = (jnp.zeros_like(product), jnp.zeros_like(product_mean))
        distinct = affine(*parts, signal, layer, nothing, bias, activation, at_zero=at_zero)
        return whole._replace(distinct=distinct)
    if removes == "offset":  # beside which squares of the product may be no numbers
        of_distinct = clipped_off(jnp.where(of_product < exponent - ROOM, of_product, exponent), activation)
        scale = Scaled(weight.value, weight.exponent + signal.response.exponent - of_distinct)
        return whole._replace(distinct=whole._replace(scale=scale, exponent=of_distinct))
    return whole


def stem(
    product: jax.Array,
    product_mean: jax.Array,
    inputs: Signal,
    layer: Layer,
    weight: Scaled,
    bias: Scaled,
    activation: Activation,
    removes: str,
) -> Preactivation:
    """a_1 = x W_1 + b_1, of a product with the inputs that many networks share. As in `affine`."""
    return affine(product, product_mean, inputs, layer, weight, bias, activation, at_zero=0.0, removes=removes)
