"""The way back through one network: gradients of a loss at every layer, for every depth.

With g = dLoss/dh_L at the last activations,
    dLoss/da_l = N (phi'(u_l) g_l),    dLoss/dW_l = h_{l-1}^T dLoss/da_l,    g_{l-1} = dLoss/da_l W_l^T.
The loss is a mean over samples, of the cross-entropy of a linear readout, or of <c, h_L> with a random unit
direction c a sample. Gradients are brought back to RMS 1 at each layer and their scale is kept as a power of
two, so that nothing underflows. One pass forward serves every depth; each depth has its own way back.

Where a normalization removes whole changes (`removal`), W_l^T and the few units that respond below let through of
N_l (phi' g) what epsilon leaves along u, and nothing else: that part goes down beside the whole.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from winit_jax.numerics.blocks import DENSE, Block
from winit_jax.numerics.blocks.affine import stem
from winit_jax.numerics.blocks.protocol import pull_linear
from winit_jax.numerics.blocks.stream import Stream, add_changes, as_stream
from winit_jax.numerics.changes import Tangent, normalized_slope, pull, settled
from winit_jax.numerics.draws import Layer
from winit_jax.numerics.folding import mean_square
from winit_jax.numerics.measure import loops, removal
from winit_jax.numerics.measure.advance import Advanced, advance, is_watched
from winit_jax.numerics.measure.networks import Networks, Settings
from winit_jax.numerics.measure.statistics import count_histogram
from winit_jax.numerics.measure.watched import Cotangents
from winit_jax.numerics.scaled import EXPONENT_LIMIT, Scaled, exponent_of, power_of_two
from winit_jax.numerics.signals import Argument, Signal, lowered, respond, signal_of


class Readout(NamedTuple):
    """A linear classifier on the last activations. weights: [width, classes]; labels: int32 [samples]."""

    weights: jax.Array
    labels: jax.Array | np.ndarray


class Kept(NamedTuple):
    """What the way back reads of a layer: h = at_zero + response, phi'(u) and norm's parts.

    watched: what its normalization removes; None where this need not be watched. behind: what a normalization behind
    the block made, None without.
    """

    signal: Signal
    slope: Scaled
    argument: Argument | None
    watched: removal.Watched | None
    behind: Argument | None = None


class Gradients(NamedTuple):
    """Mean squares at each layer: of dLoss/da and dLoss/dW, times the samples squared. Arrays of [layers]."""

    preact: Scaled
    weight: Scaled
    histogram: jax.Array | None  # of dLoss/da in units of its RMS, int32 [layers, bins + 3]


# What goes from layer to layer on the way back: the gradient at a response, beside it, and what is recorded.
Carry = tuple[Tangent | Cotangents, Tangent | None, Gradients]


class Passing(NamedTuple):
    """What the way forth hands from layer to layer: see `layers.State`."""

    signal: Signal
    alike: removal.Alike | None
    stream: Stream | None


def keep(
    advanced: Advanced, alike: removal.Alike | None, network: Networks, settings: Settings
) -> tuple[Passing, Kept]:
    """What a layer hands on, with what the next normalization removes, and what its own way back needs."""
    activation, normalization, preactivation = settings.activation, settings.before, advanced.preactivation
    argument = normalization.argument(preactivation, activation, network.epsilon)
    response, exponents = respond(argument, activation)
    signal = signal_of(lowered(jax.lax.optimization_barrier(response), argument), exponents)
    slope = normalized_slope(argument, activation)
    watched, stream = None, None
    if alike is not None:
        active = removal.responding(response, slope.value)
        rough = removal.roughness(preactivation, argument, normalization)
        watched, alike = removal.watch(alike, active, activation, network.bias, normalization, rough)
    if network.skip is not None:
        stream = as_stream(preactivation, mean_square(preactivation.value), None)
    kept_argument = None if normalization.is_none else argument
    return Passing(signal, alike, stream), Kept(signal, slope, kept_argument, watched, advanced.behind)


def way_forth(
    inputs: Signal,
    first: Layer,
    hidden: Layer | None,
    network: Networks,
    settings: Settings,
    layers: jax.Array,
) -> Kept:
    """Every layer of a network, stacked along a leading axis.

    network: scalars. layers: how many `hidden` has (see `loops`). `behind` of the first is zeros: nothing stands there.
    """
    activation, precision, removes = settings.activation, settings.precision, settings.removes
    product = jnp.matmul(inputs.response.value, first.weights, precision=precision)
    product_mean = jnp.matmul(inputs.unit_mean, first.weights, precision=precision)
    entered = stem(product, product_mean, inputs, first, network.first, network.bias, activation, removes)
    samples, width = product.shape
    alike = removal.at_first(samples) if is_watched(network, samples, width, settings) else None
    passing, of_the_stem = keep(Advanced(entered, None, None), alike, network, settings)
    if hidden is None:
        alone: Kept = jax.tree.map(lambda x: x[None], of_the_stem)
        return alone

    def step(passing: Passing, layer: Layer) -> tuple[Passing, Kept]:
        advanced = advance(passing.signal, None, passing.stream, layer, network, settings)
        return keep(advanced, passing.alike, network, settings)

    _, rest = loops.scan(step, passing, hidden, layers)
    if rest.behind is not None:
        of_the_stem = of_the_stem._replace(behind=jax.tree.map(lambda x: jnp.zeros_like(x[0]), rest.behind))
    stacked: Kept = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), of_the_stem, rest)
    return stacked


def at_the_end(signal: Signal, loss: jax.Array | Readout, at_zero: float, precision: str) -> Tangent:
    """samples * dLoss/dh at a last layer. loss: directions of each sample (RMS 1 a row), or a readout."""
    if not isinstance(loss, Readout):
        width = loss.shape[1]
        return Tangent(loss, jnp.int32(0), jnp.float32(1 / math.sqrt(width)))
    # softmax(2^e z), with the maximum taken off before the scale comes in: no overflow, no cancellation.
    product = jnp.matmul(signal.response.value, loss.weights, precision=precision)
    constant = at_zero * jnp.sum(loss.weights, axis=0)
    logits = Scaled(product, signal.response.exponent).plus(Scaled(constant, jnp.int32(0)))
    centered = logits.value - jnp.max(logits.value, axis=1, keepdims=True)
    shares = jax.nn.softmax(centered * power_of_two(logits.exponent), axis=1)
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
    network: Networks,
    loss: jax.Array | Readout,
    settings: Settings,
    edges: jax.Array | None = None,
) -> Gradients:
    """The gradients at every layer of the network of that depth; layers beyond it are 0.

    edges: of a histogram, in units of the RMS.
    """
    activation, normalization, precision = settings.activation, settings.before, settings.precision
    block, weight, layers = settings.block, network.hidden, kept.signal.response.value.shape[0]

    def layer_of(stack: Any, index: jax.Array | int) -> Any:
        return jax.tree.map(lambda x: jax.lax.dynamic_index_in_dim(x, index, keepdims=False), stack)

    def at_layer(
        gradient: Tangent | Cotangents,
        beside: Tangent | None,
        layer: Kept,
        below: Signal,
        at_zero: float,
        through: Block,
        behind: Argument | None,
    ) -> tuple[Tangent | Cotangents, Scaled, Scaled, jax.Array | None]:
        """(The gradient at what the block and the skip add up to, the mean squares of dLoss/da and dLoss/dW, a
        histogram of dLoss/da).

        gradient: at the response. beside: what the layer above hands down beside its block. below: what came in, less
        at_zero, through the weights of `through`. behind: of the normalization behind it, if any.
        """
        going: Tangent | Cotangents
        if isinstance(gradient, Tangent):
            pulled = pull(gradient, layer.slope, layer.argument, normalization)
            if beside is not None:
                assert network.skip is not None
                pulled = add_changes(beside, network.skip, pulled)
            size_square = mean_square(pulled.value)
            square = Scaled(size_square, 2 * pulled.exponent)
            change = of_weights = going = settled(pulled, size_square)
            if behind is not None:
                passed = settings.behind.through(change.value, behind)
                passed = Scaled(passed.value, passed.exponent + change.exponent)
                of_weights = going = settled(Tangent(*passed, jnp.float32(1.0)), mean_square(passed.value))
        else:
            going = gradient.through_layer(layer.slope, layer.argument, layer.watched, activation, normalization)
            change, of_weights = going.whole.together(), going.of_weights(layer.watched, normalization).together()
            square = Scaled(going.whole.known_square(change), 2 * change.exponent)
        value = change.value
        # Batch normalization makes dLoss/da of a unit sum to 0: what is constant in h must not round in.
        response, constant = below.response.value, at_zero
        sums_to_zero = normalization.joins_samples and beside is None
        if sums_to_zero or (behind is not None and settings.behind.joins_samples):
            response, constant = response - below.unit_mean, 0.0
        product = through.weight_gradient(response, of_weights.value, precision)
        size = below.response.exponent + below.rms_exponent
        exponent = jnp.maximum(size, exponent_of(jnp.float32(constant)))
        unit = power_of_two(below.response.exponent - exponent)
        product *= unit
        if constant:
            ones, total = jnp.ones((1, response.shape[1])), jnp.sum(of_weights.value, axis=0, keepdims=True)
            product += constant * power_of_two(-exponent) * through.weight_gradient(ones, total, precision)
        weight_square = jnp.mean(jnp.square(product))
        if not isinstance(going, Tangent):
            entering = jnp.square(below.response.value * unit) + jnp.square(constant * power_of_two(-exponent))
            source = going.of_weights(layer.watched, normalization)
            weight_square = source.known_weight_square(weight_square, of_weights, entering, product.size)
        of_weights_square = Scaled(weight_square, 2 * (exponent + of_weights.exponent))
        histogram = None
        if edges is not None:
            rms = jnp.sqrt(jnp.maximum(mean_square(value), jnp.finfo(jnp.float32).tiny))
            histogram = count_histogram(value, (jnp.int32(0), jnp.int32(0)), edges * rms)
        return going, square, of_weights_square, histogram

    def record(gradients: Gradients, index: jax.Array | int, *values: Any) -> Gradients:
        recorded: Gradients = jax.tree.map(
            lambda x, y: jax.lax.dynamic_update_index_in_dim(x, y, index, 0), gradients, Gradients(*values)
        )
        return recorded

    def down(step: jax.Array, carry: Carry) -> Carry:
        assert hidden is not None
        gradient, beside, gradients = carry
        index = depth - 1 - step  # of layer l = index + 1, from the last to the second
        below = layer_of(kept.signal, index - 1)
        layer = layer_of(kept, index)
        going, *values = at_layer(gradient, beside, layer, below, activation.at_zero, block, layer.behind)
        draw = jax.lax.dynamic_index_in_dim(hidden.weights, index - 1, keepdims=False)
        if settings.removes == "product":  # dLoss/da of a sample adds up to 0
            draw = jnp.zeros_like(draw)
        if isinstance(going, Tangent):
            value = pull_linear(block, going.value, draw, precision)
            gradient = Tangent(value, going.exponent + weight.exponent, weight.value)
        else:
            watched = layer_of(kept.watched, index - 1)
            gradient = going.through_weights(block, draw, weight, precision, normalization, watched)
        if beside is not None and isinstance(going, Tangent):
            beside = going
        return gradient, beside, record(gradients, index, *values)

    def nothing() -> Scaled:
        return Scaled(jnp.zeros(layers), jnp.zeros(layers, jnp.int32))

    counts = None if edges is None else jnp.zeros((layers, edges.shape[0] + 2), jnp.int32)
    gradients = Gradients(nothing(), nothing(), counts)
    gradient: Tangent | Cotangents
    gradient = at_the_end(layer_of(kept.signal, depth - 1), loss, activation.at_zero, precision)
    if kept.watched is not None:
        gradient = Cotangents.at_first(gradient, normalization)
    beside = None
    if network.skip is not None and isinstance(gradient, Tangent):  # nothing stands above the last layer
        beside = Tangent(jnp.zeros_like(gradient.value), jnp.int32(-EXPONENT_LIMIT), jnp.float32(1.0))
    if hidden is not None:
        gradient, beside, gradients = jax.lax.fori_loop(0, depth - 1, down, (gradient, beside, gradients))
    _, *values = at_layer(gradient, beside, layer_of(kept, 0), inputs, 0.0, DENSE, None)  # the stem
    return record(gradients, 0, *values)
