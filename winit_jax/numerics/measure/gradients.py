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

from winit_jax.numerics import narrow
from winit_jax.numerics.blocks import Scales, Update
from winit_jax.numerics.blocks.affine import weight_gradient, weight_square
from winit_jax.numerics.blocks.stream import Stream, add_changes, as_stream
from winit_jax.numerics.changes import Tangent, normalized_slope, pull, settled
from winit_jax.numerics.draws import Draws, Layer
from winit_jax.numerics.folding import mean_square
from winit_jax.numerics.measure import loops, removal
from winit_jax.numerics.measure.advance import Advanced, advance, enter_one, is_watched
from winit_jax.numerics.measure.networks import Layered, Networks, Settings
from winit_jax.numerics.measure.statistics import count_histogram
from winit_jax.numerics.measure.watched import Cotangents
from winit_jax.numerics.narrow import Limits, Lost
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
    """Mean squares at each row: of dLoss/da, [rows], and of dLoss/dW at each place, [rows, places], times the samples
    squared, unless they are rounded. The stem is of one place, and 0 at the others.
    """

    preact: Scaled
    weight: Scaled
    lost: Lost | None  # of dLoss/da when it was rounded, int32 [rows]; None for float32
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
    activation, normalization, preactivation = settings.outer, settings.before, advanced.preactivation
    argument = normalization.argument(preactivation, activation, network.epsilon)
    to = network.format
    if to is not None and not normalization.is_none:
        argument = narrow.argument(argument, to)
    response, exponents = respond(argument, activation)
    response = lowered(jax.lax.optimization_barrier(response), argument)
    signal = signal_of(response, exponents) if to is None else narrow.answer(response, exponents, to)
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
    hidden: Draws | None,
    network: Networks,
    settings: Settings,
    layers: jax.Array,
) -> Kept:
    """Every row of a network, stacked along a leading axis: the stem, and every update of the layers behind it.

    network: scalars. layers: how many `hidden` has (see `loops`). `behind` of the first is zeros: nothing stands there.
    """
    entered, _ = enter_one(inputs, first, network, settings)
    samples, width = entered.product.shape
    alike = removal.at_first(samples) if is_watched(network, samples, width, settings) else None
    passing, of_the_stem = keep(Advanced(entered, None, None), alike, network, settings)
    if hidden is None:
        alone: Kept = jax.tree.map(lambda x: x[None], of_the_stem)
        return alone

    def step(passing: Passing, layer: tuple[Draws, Layered | None]) -> tuple[Passing, Kept]:
        draws, layered = layer
        rows, of_layer = [], network.with_layer(layered)
        for update, of_update, scales in zip(settings.block.updates, draws, of_layer.updates, strict=True):
            stream = (passing.signal, None, passing.stream, of_update, scales)
            passing, kept = keep(advance(update, *stream, of_layer, settings), passing.alike, of_layer, settings)
            rows.append(kept)
        return passing, jax.tree.map(lambda *x: jnp.stack(x), *rows)

    _, rest = loops.scan(step, passing, (hidden, network.layered), layers)
    rest = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), rest)
    if rest.behind is not None:
        of_the_stem = of_the_stem._replace(behind=jax.tree.map(lambda x: jnp.zeros_like(x[0]), rest.behind))
    stacked: Kept = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), of_the_stem, rest)
    return stacked


def at_the_end(
    signal: Signal, loss: jax.Array | Readout, at_zero: float, settings: Settings, to: Limits | None
) -> Tangent:
    """samples * dLoss/dh at a last layer; dLoss/dh itself, rounded, where there is a format.

    loss: directions of each sample (RMS 1 a row), or a readout.
    """
    if to is None:
        return _at_the_end(signal, loss, at_zero, settings.precision)
    if isinstance(loss, Readout):
        loss = loss._replace(weights=narrow.rounded(Scaled(loss.weights, jnp.int32(0)), to))
    samples = signal.response.value.shape[0] // settings.layout.positions
    found = _at_the_end(signal, loss, at_zero, settings.precision, to, samples)
    return narrow.tangent(found._replace(factor=found.factor / samples), to)


def _at_the_end(
    signal: Signal,
    loss: jax.Array | Readout,
    at_zero: float,
    precision: str,
    to: Limits | None = None,
    samples: int = 1,
) -> Tangent:
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
    if to is not None:  # dLoss/dlogits is of a mean over samples
        error = samples * narrow.rounded(Scaled(error / samples, jnp.int32(0)), to)
    shift = jnp.maximum(exponent_of(jnp.max(jnp.abs(error))), -126)
    value = jnp.matmul(error * power_of_two(-shift), loss.weights.T, precision=precision)
    return Tangent(value, shift, jnp.float32(1.0))


def way_back(
    depth: jax.Array,
    kept: Kept,
    inputs: Signal,
    first: Layer,
    hidden: Draws | None,
    network: Networks,
    loss: jax.Array | Readout,
    settings: Settings,
    edges: jax.Array | None = None,
) -> Gradients:
    """The gradients at every row of the network of that depth; rows beyond it are 0.

    edges: of a histogram, in units of the RMS.
    """
    normalization, precision, at_zero = settings.before, settings.precision, settings.outer.at_zero
    updates, rows, to = settings.block.updates, kept.signal.response.value.shape[0], network.format
    places = max(len(scales.weights) for scales in network.updates)

    def row_of(stack: Any, index: jax.Array | int) -> Any:
        return jax.tree.map(lambda x: jax.lax.dynamic_index_in_dim(x, index, keepdims=False), stack)

    def skip_of(layer: jax.Array | int) -> Scaled:
        """Of a layer of `hidden`."""
        if network.layered is None:
            assert network.skip is not None
            return network.skip
        skip: Scaled = row_of(network.layered.skip, layer)
        return skip

    def at_stream(
        gradient: Tangent | Cotangents,
        beside: Tangent | None,
        row: Kept,
        behind: Argument | None,
        above: jax.Array | int,
    ) -> tuple[Tangent | Cotangents, Scaled, Lost | None, jax.Array | None]:
        """(The gradient at what the update and the skip add up to, the mean square of dLoss/da, what rounding it lost,
        a histogram of it).

        gradient: at the response. beside: what the row above hands down beside its update, which is of the layer
        `above` of `hidden`. behind: of the normalization behind the row, if any.
        """
        going: Tangent | Cotangents
        lost = None
        if isinstance(gradient, Tangent):
            pulled = pull(gradient, row.slope, row.argument, normalization)
            exact = pulled
            if to is not None:
                pulled, lost = narrow.tangent_and_lost(pulled, to)
            if beside is not None:
                pulled = add_changes(beside, skip_of(above), pulled)
            if beside is not None and to is not None:  # what is counted is the sum as it were without steps between
                pulled = narrow.tangent(pulled, to)
                lost = narrow.tangent_and_lost(add_changes(beside, skip_of(above), exact), to)[1]
            size_square = mean_square(pulled.value)
            square = Scaled(size_square, 2 * pulled.exponent)
            change = going = settled(pulled, size_square) if to is None else pulled
            if behind is not None:
                passed = settings.behind.through(change.value, behind)
                passed = Scaled(passed.value, passed.exponent + change.exponent)
                going = settled(Tangent(*passed, jnp.float32(1.0)), mean_square(passed.value))
                going = settings.context(network).near(going)
        else:
            going = gradient.through_layer(row.slope, row.argument, row.watched, settings.outer, normalization)
            change = going.whole.together()
            square = Scaled(going.whole.known_square(change), 2 * change.exponent)
        histogram = None
        if edges is not None:
            rms = jnp.sqrt(jnp.maximum(mean_square(change.value), jnp.finfo(jnp.float32).tiny))
            histogram = count_histogram(change.value, (jnp.int32(0), jnp.int32(0)), edges * rms)
        return going, square, lost, histogram

    def at_weights(going: Tangent | Cotangents, row: Kept, below: Signal, at_zero: float, sums_to_zero: bool) -> Scaled:
        """The mean square of dLoss/dW of weights that read a row by itself: of the stem, and beside watched layers."""
        gradient = going if isinstance(going, Tangent) else going.of_weights(row.watched, normalization).together()
        sums_to_zero = sums_to_zero and normalization.joins_samples
        if to is not None:
            return weight_square(below, at_zero, gradient, precision, to=to)
        found = weight_gradient(below, at_zero, gradient.value, precision, sums_to_zero=sums_to_zero)
        square = jnp.mean(jnp.square(found.value))
        if not isinstance(going, Tangent):
            constant = 0.0 if sums_to_zero else at_zero
            unit = power_of_two(below.response.exponent - found.exponent)
            entering = jnp.square(below.response.value * unit) + jnp.square(constant * power_of_two(-found.exponent))
            source = going.of_weights(row.watched, normalization)
            square = source.known_weight_square(square, gradient, entering, found.value.size)
        return Scaled(square, 2 * (found.exponent + gradient.exponent))

    def record(gradients: Gradients, index: jax.Array | int, *values: Any) -> Gradients:
        recorded: Gradients = jax.tree.map(
            lambda x, y: jax.lax.dynamic_update_index_in_dim(x, y, index, 0), gradients, Gradients(*values)
        )
        return recorded

    def through_update(
        update: Update,
        scales: Scales,
        draws: tuple[Layer, ...],
        of_layer: Networks,
        index: jax.Array | int,
        going: Tangent | Cotangents,
        sums_to_zero: bool,
    ) -> tuple[Tangent | Cotangents, tuple[Scaled, ...]]:
        """(The gradient at the response below, the mean squares of dLoss/dW), of the row's own update."""
        below = row_of(kept.signal, index - 1)
        if isinstance(going, Tangent) and to is not None:
            return backward_rounded(update, going, below, draws, scales, of_layer, settings, to)
        if isinstance(going, Tangent):
            if settings.removes == "product":  # dLoss/da of a sample adds up to 0
                draws = tuple(layer._replace(weights=jnp.zeros_like(layer.weights)) for layer in draws)
            return update.backward(going, below, draws, scales, settings.context(network), sums_to_zero=sums_to_zero)
        (layer,), (weight,) = draws, scales.weights
        of_weights = at_weights(going, row_of(kept, index), below, at_zero, True)
        draw = jnp.zeros_like(layer.weights) if settings.removes == "product" else layer.weights
        watched = row_of(kept.watched, index - 1)
        return going.through_weights(draw, weight, precision, normalization, watched), (of_weights,)

    def down(step: jax.Array, carry: Carry) -> Carry:
        assert hidden is not None
        gradient, beside, gradients = carry
        layer = depth - 2 - step  # of `hidden`, from the last to the first
        of_layer = network if network.layered is None else network.with_layer(row_of(network.layered, layer))
        for place in reversed(range(len(updates))):
            # Nothing stands above the last layer: its index is that of another, whose skip multiplies nothing.
            above = layer + 1 if place == len(updates) - 1 else layer
            index = 1 + layer * len(updates) + place
            row = row_of(kept, index)
            going, square, lost, histogram = at_stream(gradient, beside, row, row.behind, above)
            sums_to_zero = (normalization.joins_samples and beside is None) or settings.behind.joins_samples
            of_update = (updates[place], of_layer.updates[place], row_of(hidden[place], layer), of_layer)
            gradient, of_weights = through_update(*of_update, index, going, sums_to_zero)
            if isinstance(gradient, Tangent):
                gradient = Tangent(gradient.value, gradient.exponent, jnp.asarray(gradient.factor, jnp.float32))
            if beside is not None and isinstance(going, Tangent):
                beside = going
            gradients = record(gradients, index, square, _side_by_side(of_weights, places), lost, histogram)
        return gradient, beside, gradients

    def nothing(*shape: int) -> Scaled:
        return Scaled(jnp.zeros(shape), jnp.zeros(shape, jnp.int32))

    counts = None if edges is None else jnp.zeros((rows, edges.shape[0] + 2), jnp.int32)
    lost = None if to is None else Lost(*[jnp.zeros(rows, jnp.int32)] * len(Lost._fields))
    gradients = Gradients(nothing(rows), nothing(rows, places), lost, counts)
    gradient: Tangent | Cotangents
    last = (depth - 1) * len(updates)
    gradient = at_the_end(row_of(kept.signal, last), loss, at_zero, settings, to)
    if kept.watched is not None:
        gradient = Cotangents.at_first(gradient, normalization)
    beside = None
    if network.skip is not None and isinstance(gradient, Tangent):  # nothing stands above the last row
        beside = Tangent(jnp.zeros_like(gradient.value), jnp.int32(-EXPONENT_LIMIT), jnp.float32(1.0))
    if hidden is not None:
        gradient, beside, gradients = jax.lax.fori_loop(0, depth - 1, down, (gradient, beside, gradients))
    of_stem = row_of(kept, 0)
    going, square, lost, histogram = at_stream(gradient, beside, of_stem, None, 0)
    of_weights = at_weights(going, of_stem, inputs, 0.0, beside is None)
    return record(gradients, 0, square, _side_by_side((of_weights,), places), lost, histogram)


def backward_rounded(
    update: Update,
    gradient: Tangent,
    below: Signal,
    draws: tuple[Layer, ...],
    scales: Scales,
    network: Networks,
    settings: Settings,
    to: Limits,
) -> tuple[Tangent, tuple[Scaled, ...]]:
    """`Update.backward` of a network that is rounded: of its own weights, behind branch_scale."""
    assert network.branch is not None
    scaled = gradient._replace(
        exponent=gradient.exponent + network.branch.exponent, factor=gradient.factor * network.branch.value
    )
    draws, stds, bias_stds = narrow.weights(draws, scales.weights, scales.biases, to)
    scales = scales._replace(weights=stds, biases=bias_stds)
    found, of_weights = update.backward(narrow.tangent(scaled, to), below, draws, scales, settings.context(network))
    return narrow.tangent(found, to), of_weights


def _side_by_side(squares: tuple[Scaled, ...], places: int) -> Scaled:
    """Scalars as one array of so many places, 0 where there are fewer."""
    missing = (Scaled(jnp.float32(0), jnp.int32(0)),) * (places - len(squares))
    stacked: Scaled = jax.tree.map(lambda *x: jnp.stack(x), *squares, *missing)
    return stacked
