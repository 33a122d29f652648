"""h W + b at a scale that float32 holds, forth and back: what the stem does to the inputs, and blocks to responses.

`neighbours` are those of each row of [..., rows, width] that the weights of a convolution read with it; None where they
read the row alone.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp

from winit_jax.numerics import narrow
from winit_jax.numerics.activations import Activation
from winit_jax.numerics.blocks.taps import Neighbours
from winit_jax.numerics.changes import Tangent
from winit_jax.numerics.draws import Layer
from winit_jax.numerics.narrow import Limits
from winit_jax.numerics.scaled import EXPONENT_LIMIT, Scaled, exponent_of, power_of_two
from winit_jax.numerics.signals import Preactivation, Signal, clipped_off

# Of numbers that are smaller than the largest by more powers of two than this, float32 may hold no squares.
ROOM = 50
# Products that vary by less of their mean square are taken for one number; float32's rounding leaves some 2^-46 of it.
LEAST_VARIANCE = 2.0**-40
# Of two that float32 holds, in both directions.
POWERS = 126


def linear(h: jax.Array, weights: jax.Array, precision: str, neighbours: Neighbours | None = None) -> jax.Array:
    """h W of [..., rows, width] at their own scale."""
    if neighbours is not None:
        return neighbours.product(h, weights, precision)
    return jnp.matmul(h, weights, precision=precision)


def multiply(
    signal: Signal, weights: jax.Array, precision: str, neighbours: Neighbours | None = None
) -> tuple[jax.Array, jax.Array]:
    """(psi Z, [rows, fan_out]; its mean over rows, which is the product of the mean and so known before)."""
    product = linear(signal.response.value, weights, precision, neighbours)
    mean = signal.unit_mean if neighbours is None else jnp.tile(signal.unit_mean, neighbours.count)
    return product, jnp.matmul(mean, weights, precision=precision)


def unit_factor(product: Scaled, layer: Layer, constant: float = 0.0) -> Scaled:
    """What orthonormal weights are multiplied by so that what they make of a signal has variance 1: a scalar.

    The variance is that of all entries of h W together, over samples, positions and units, without the biases. Where
    they do not vary, as far as float32 tells, the factor is 1.

    product: psi Z, with a scalar exponent. layer: the draw Z, orthonormal times sqrt(max(fan_in, fan_out)). constant:
    what of h is not in psi.
    Source: Mishkin and Matas 2015, arXiv:1511.06422 (LSUV); there every layer takes several passes to come near 1.
    """
    shift = jnp.clip(exponent_of(jnp.max(jnp.abs(product.value))), -POWERS, POWERS)
    whole = Scaled(product.value * power_of_two(-shift), product.exponent + shift)
    if constant:
        whole = whole.plus(Scaled(constant * layer.column_sums, jnp.int32(0)))
    variance = jnp.mean(jnp.square(whole.value - jnp.mean(whole.value)))
    varies = (variance > LEAST_VARIANCE * jnp.mean(jnp.square(whole.value))) & jnp.isfinite(variance)
    root = jnp.sqrt(jnp.where(varies, variance, 1.0))
    value = jnp.where(varies, math.sqrt(max(layer.weights.shape)) / root, 1.0)
    exponent = exponent_of(value)
    return Scaled(value * power_of_two(-exponent), exponent - jnp.where(varies, whole.exponent, 0))


def push_weights(
    change: Tangent, weights: jax.Array, weight: Scaled, precision: str, neighbours: Neighbours | None = None
) -> Tangent:
    """The change of h W from that of h, whose factor is 1: forward mode."""

    def product(h: jax.Array) -> jax.Array:
        return linear(h, weights, precision, neighbours)

    value: Any = jax.jvp(product, (jnp.zeros_like(change.value),), (change.value,))[1]
    return Tangent(value, weight.exponent + change.exponent, weight.value)


def pull_unit_weights(
    gradient: jax.Array, weights: jax.Array, precision: str, neighbours: Neighbours | None = None
) -> jax.Array:
    """The gradient at h from that at h Z, [rows, fan_out], both at unit scale: reverse mode."""
    pulled: jax.Array
    units = weights.shape[0] if neighbours is None else weights.shape[1]  # a convolution keeps the width
    shape = jax.ShapeDtypeStruct((gradient.shape[0], units), gradient.dtype)
    (pulled,) = jax.linear_transpose(lambda h: linear(h, weights, precision, neighbours), shape)(gradient)
    return pulled


def pull_weights(
    gradient: Tangent, weights: jax.Array, weight: Scaled, precision: str, neighbours: Neighbours | None = None
) -> Tangent:
    """The gradient at h from that at h W, whose factor is 1."""
    value = pull_unit_weights(gradient.value, weights, precision, neighbours)
    return Tangent(value, gradient.exponent + weight.exponent, weight.value)


def weight_gradient(
    below: Signal,
    at_zero: float,
    gradient: jax.Array,
    precision: str,
    neighbours: Neighbours | None = None,
    *,
    sums_to_zero: bool = False,
) -> Scaled:
    """dLoss/dW = h^T dLoss/da, [fan_in, fan_out], of h = at_zero + psi, for a gradient [rows, fan_out] at unit scale.

    sums_to_zero: whether the gradient of each unit does over samples, so that what is constant in h must not round in.
    """
    response, constant = below.response.value, at_zero
    if sums_to_zero:
        response, constant = response - below.unit_mean, 0.0
    gathered = response if neighbours is None else neighbours.gather(response)
    product = jnp.matmul(gathered.T, gradient, precision=precision)  # XLA sums JAX's own transposition otherwise
    size = below.response.exponent + below.rms_exponent
    exponent = jnp.maximum(size, exponent_of(jnp.float32(constant)))
    product *= power_of_two(below.response.exponent - exponent)
    if constant:
        total = jnp.sum(gradient, axis=0, keepdims=True)
        product += constant * power_of_two(-exponent) * jnp.broadcast_to(total, product.shape)
    return Scaled(product, exponent)


def weight_square(
    below: Signal,
    at_zero: float,
    gradient: Tangent,
    precision: str,
    neighbours: Neighbours | None = None,
    *,
    sums_to_zero: bool = False,
    to: Limits | None = None,
) -> Scaled:
    """The mean square of dLoss/dW (see `weight_gradient`). to: the format that it is rounded to, if any."""
    sums_to_zero = sums_to_zero and to is None
    found = weight_gradient(below, at_zero, gradient.value, precision, neighbours, sums_to_zero=sums_to_zero)
    found = Scaled(found.value, found.exponent + gradient.exponent)
    value = found.value if to is None else narrow.rounded(found, to)
    return Scaled(jnp.mean(jnp.square(value)), 2 * found.exponent)


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
