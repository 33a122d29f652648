"""The way back through one network: gradients of a loss at every layer, for every depth.

With g = dLoss/dh_L at the last activations,
    dLoss/da_l = N (phi'(u_l) g_l),    dLoss/dW_l = h_{l-1}^T dLoss/da_l,    g_{l-1} = dLoss/da_l W_l^T.
The loss is a mean over samples, of the cross-entropy of a linear readout, or of <c, h_L> with a random unit
direction c a sample. Gradients are brought back to RMS 1 at each layer and their scale is kept as a power of
two, so that nothing underflows. One pass forward serves every depth; each depth has its own way back.

Where a normalisation removes whole changes (`removal`), W_l^T and the few units that respond below let through of
N_l (phi' g) what epsilon leaves along u, and nothing else: that part goes down beside the whole.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from winit_jax.numerics.activations import Activation
from winit_jax.numerics.measure import loops, removal
from winit_jax.numerics.measure.network import (
    Argument,
    Layer,
    Preactivation,
    Scale,
    Signal,
    argument_of,
    exponent_of,
    lowered,
    power_of_two,
    preactivate,
    removed_part,
    respond,
    scale_product,
)
from winit_jax.numerics.measure.statistics import Growth, count_histogram, mean_square, signal_of
from winit_jax.numerics.measure.tangents import Slope, Tangent, normalized_slope, pull, settled
from winit_jax.numerics.measure.watched import Cotangents


class Readout(NamedTuple):
    """A linear classifier on the last activations. weights: [width, classes]; labels: int32 [samples]."""

    weights: jax.Array
    labels: jax.Array | np.ndarray


class Kept(NamedTuple):
    """What the way back reads of a layer: h = at_zero + response * 2^exponent, phi'(u) and norm's parts.

    watched: what its normalisation removes; None where this need not be watched.
    """

    signal: Signal
    slope: Slope
    argument: Argument | None
    watched: removal.Watched | None


class Gradients(NamedTuple):
    """Mean squares at each layer: of dLoss/da and dLoss/dW, times the samples squared. Arrays of [layers]."""

    preact: Growth
    weight: Growth
    histogram: jax.Array | None  # of dLoss/da in units of its RMS, int32 [layers, bins + 3]


def keep(
    preactivation: Preactivation,
    alike: removal.Alike | None,
    activation: Activation,
    normalization: str,
    bias: Scale,
    epsilon: Scale | None,
) -> tuple[Signal, removal.Alike | None, Kept]:
    """A layer's signal for the next one, what the next normalisation removes, and what this layer's way back needs."""
    argument = argument_of(preactivation, activation, normalization, epsilon)
    response, exponents = respond(argument, activation)
    signal = signal_of(lowered(jax.lax.optimization_barrier(response), argument), exponents)
    slope = normalized_slope(argument, activation)
    watched = None
    if alike is not None:
        active = removal.responding(response, slope.value)
        rough = removal.roughness(preactivation, argument, normalization)
        watched, alike = removal.watch(alike, active, activation, bias, normalization, rough)
    kept_argument = None if normalization == "none" else argument
    return signal, alike, Kept(signal, slope, kept_argument, watched)


def way_forth(
    inputs: Signal,
    first: Layer,
    hidden: Layer | None,
    first_weight: Scale,
    weight: Scale,
    bias: Scale,
    epsilon: Scale | None,
    activation: Activation,
    normalization: str,
    precision: str,
    constant: bool,
    layers: jax.Array,
) -> Kept:
    """Every layer of a network, stacked along a leading axis.

    constant: whether all entries of a draw are one number. layers: how many `hidden` has (see `loops`).
    """
    removes = removed_part(normalization, constant)
    product = jnp.matmul(inputs.response, first.weights, precision=precision)
    product_mean = jnp.matmul(inputs.unit_mean, first.weights, precision=precision)
    scaled = scale_product(
        product, product_mean, inputs, first, first_weight, bias, activation, first=True, removes=removes
    )
    samples, width = product.shape
    watched = removal.is_watched(normalization, samples, width, constant)
    alike = removal.at_first(samples) if watched else None
    how = (activation, normalization, bias, epsilon)
    signal, alike, kept = keep(scaled, alike, *how)
    kept = jax.tree.map(lambda x: x[None], kept)
    if hidden is None:
        return kept

    def step(state: tuple[Signal, removal.Alike | None], layer: Layer):
        signal, alike = state
        preactivation = preactivate(signal, layer, weight, bias, activation, precision=precision, removes=removes)
        signal, alike, kept = keep(preactivation, alike, *how)
        return (signal, alike), kept

    _, rest = loops.scan(step, (signal, alike), hidden, layers)
    return jax.tree.map(lambda a, b: jnp.concatenate([a, b]), kept, rest)


def at_the_end(signal: Signal, loss: jax.Array | Readout, at_zero: float, precision: str) -> Tangent:
    """samples * dLoss/dh at a last layer. loss: directions of each sample (RMS 1 a row), or a readout."""
    if not isinstance(loss, Readout):
        width = loss.shape[1]
        return Tangent(loss, jnp.int32(0), jnp.float32(1 / math.sqrt(width)))
    # softmax(2^e z), with the maximum taken off before the scale comes in: no overflow, no cancellation.
    large = jnp.maximum(signal.exponent, 0)
    logits = jnp.matmul(signal.response, loss.weights, precision=precision) * power_of_two(signal.exponent - large)
    logits += at_zero * jnp.sum(loss.weights, axis=0) * power_of_two(-large)
    centred = logits - jnp.max(logits, axis=1, keepdims=True)
    shares = jax.nn.softmax(centred * power_of_two(large), axis=1)
    chosen = jax.nn.one_hot(loss.labels, shares.shape[1], dtype=bool)
    others = jnp.where(chosen, 0.0, shares)
    error = jnp.where(chosen, -jnp.sum(others, axis=1, keepdims=True), others)
    shift = jnp.maximum(exponent_of(jnp.max(jnp.abs(error))), -126)
    value = jnp.matmul(error * power_of_two(-shift), loss.weights.T, precision=precision)
    return Tangent(value, shift, jnp.float32(1.0))


def way_back(
    depth: jax.Array,
    kept: Kept,
    inputs: Signal,
    first: Layer,
    hidden: Layer | None,
    weight: Scale,
    loss: jax.Array | Readout,
    activation: Activation,
    normalization: str,
    precision: str,
    constant: bool = False,
    edges: jax.Array | None = None,
) -> Gradients:
    """The gradients at every layer of the network of that depth; layers beyond it are 0.

    constant: whether all entries of a draw are one number. edges: of a histogram, in units of the RMS.
    """
    layers = kept.signal.response.shape[0]

    def layer_of(stack, index):
        return jax.tree.map(lambda x: jax.lax.dynamic_index_in_dim(x, index, keepdims=False), stack)

    def at_layer(gradient: Tangent | Cotangents, own: Kept, below: Signal, at_zero: float):
        """(dLoss/da rescaled, its Growth, that of dLoss/dW, its histogram)."""
        going: Tangent | Cotangents
        if isinstance(gradient, Tangent):
            found = pull(gradient, own.slope, own.argument, normalization)
            square = mean_square(found.value)
            growth = Growth(square, found.exponent)
            change = of_weights = going = settled(found, square)
        else:
            going = gradient.through_layer(own.slope, own.argument, own.watched, activation, normalization)
            change, of_weights = going.whole.together(), going.of_weights(own.watched, normalization).together()
            growth = Growth(going.whole.told(change), change.exponent)
        value = change.value
        # Batch normalisation makes dLoss/da of a unit sum to 0: what is constant in h must not round in.
        response = below.response - below.unit_mean if normalization == "batch" else below.response
        constant = at_zero if normalization != "batch" else 0.0
        weight_gradient = jnp.matmul(response.T, of_weights.value, precision=precision)
        exponent = jnp.maximum(below.exponent + below.rms_exponent, exponent_of(jnp.float32(constant)))
        weight_gradient *= power_of_two(below.exponent - exponent)
        if constant:
            weight_gradient += constant * power_of_two(-exponent) * jnp.sum(of_weights.value, axis=0)
        weight_square = jnp.mean(jnp.square(weight_gradient))
        if not isinstance(going, Tangent):
            unit = power_of_two(below.exponent - exponent)
            entering = jnp.square(below.response * unit) + jnp.square(constant * power_of_two(-exponent))
            source = going.of_weights(own.watched, normalization)
            weight_square = source.told_of_weights(weight_square, of_weights, entering)
        weight_growth = Growth(weight_square, exponent + of_weights.exponent)
        histogram = None
        if edges is not None:
            rms = jnp.sqrt(jnp.maximum(mean_square(value), jnp.finfo(jnp.float32).tiny))
            histogram = count_histogram(value, (jnp.int32(0), jnp.int32(0)), edges * rms)
        return going, growth, weight_growth, histogram

    def record(found: Gradients, index, *values) -> Gradients:
        values = Gradients(*values)
        return jax.tree.map(lambda x, y: jax.lax.dynamic_update_index_in_dim(x, y, index, 0), found, values)

    def down(step, carry):
        assert hidden is not None
        gradient, found = carry
        index = depth - 1 - step  # of layer l = index + 1, from the last to the second
        below = layer_of(kept.signal, index - 1)
        going, *values = at_layer(gradient, layer_of(kept, index), below, activation.at_zero)
        draw = jax.lax.dynamic_index_in_dim(hidden.weights, index - 1, keepdims=False)
        if removed_part(normalization, constant) == "product":  # dLoss/da of a sample adds up to 0
            draw = jnp.zeros_like(draw)
        if isinstance(going, Tangent):
            value = jnp.matmul(going.value, draw.T, precision=precision)
            gradient = Tangent(value, going.exponent + weight.exponent, weight.mantissa)
        else:
            gradient = going.through_weights(draw, weight, precision, normalization, layer_of(kept.watched, index - 1))
        return gradient, record(found, index, *values)

    def nothing() -> Growth:
        return Growth(jnp.zeros(layers), jnp.zeros(layers, jnp.int32))

    counts = None if edges is None else jnp.zeros((layers, edges.shape[0] + 2), jnp.int32)
    found = Gradients(nothing(), nothing(), counts)
    gradient: Tangent | Cotangents
    gradient = at_the_end(layer_of(kept.signal, depth - 1), loss, activation.at_zero, precision)
    if kept.watched is not None:
        gradient = Cotangents.at_first(gradient, normalization)
    if hidden is not None:
        gradient, found = jax.lax.fori_loop(0, depth - 1, down, (gradient, found))
    _, *values = at_layer(gradient, layer_of(kept, 0), inputs, 0.0)
    return record(found, 0, *values)
