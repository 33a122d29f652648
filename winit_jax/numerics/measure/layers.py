"""One layer of a block of networks: from pre-activations and their changes to what is measured and what goes on."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from winit_jax.numerics import narrow
from winit_jax.numerics.blocks import Update
from winit_jax.numerics.blocks.affine import stem, unit_factor
from winit_jax.numerics.blocks.protocol import Inner
from winit_jax.numerics.blocks.stream import as_stream
from winit_jax.numerics.changes import Tangent, careful_push, push, rescaled, slope
from winit_jax.numerics.draws import Draws, Layer
from winit_jax.numerics.folding import mean_square
from winit_jax.numerics.measure import fused, loops, removal
from winit_jax.numerics.measure.advance import (
    Advanced,
    advance,
    enter_one,
    is_watched,
    scaled_to_unit_variance,
    side_by_side,
)
from winit_jax.numerics.measure.networks import Inputs, Layered, Networks, Settings
from winit_jax.numerics.measure.states import Measured, State
from winit_jax.numerics.measure.statistics import (
    OfResponse,
    Sums,
    count_histogram,
    count_nonfinite,
    measure_response,
    measure_stream,
    no_response,
    preactivation_mean_square,
)
from winit_jax.numerics.scaled import Scaled, power_of_two
from winit_jax.numerics.signals import Argument, Preactivation, Signal, lowered, respond, signal_of


def enter(
    inputs: Inputs,
    networks: Networks,
    first: Layer,
    tangents: jax.Array | None,
    edges: jax.Array | None,
    settings: Settings,
) -> tuple[State, Measured]:
    """The first layer of a block: one product of the inputs serves all its networks."""
    entered = _at_stem(inputs.signal, first, networks, settings)
    changes = None
    if tangents is not None:
        count = networks.first.value.shape[0]
        everywhere = jnp.broadcast_to(tangents, (count, *tangents.shape))
        if networks.format is not None:
            everywhere = jax.vmap(partial(narrow.rounded, Scaled(tangents, jnp.int32(0))))(networks.format)
        changes = Tangent(everywhere, jnp.zeros(count, jnp.int32), jnp.ones(count))
    samples, width = entered.preactivation.product.shape[1:]
    alike = None
    if tangents is not None and is_watched(networks, samples, width, settings):
        count = networks.first.value.shape[0]
        alike = jax.tree.map(lambda x: jnp.broadcast_to(x, (count, *x.shape)), removal.at_first(samples))
    return _leave(entered._replace(change=changes), alike, networks, edges, settings)


def _at_stem(signal: Signal, first: Layer, networks: Networks, settings: Settings) -> Advanced:
    """a_1 of many networks, [B, rows, width], without its change: one product serves all that are not rounded."""
    if settings.rounds:
        preactivations, lost = jax.vmap(lambda each: enter_one(signal, first, each, settings))(networks)
        return Advanced(preactivations, None, None, lost=lost)
    product = jnp.matmul(signal.response.value, first.weights, precision=settings.precision)
    product_mean = jnp.matmul(signal.unit_mean, first.weights, precision=settings.precision)

    def of_network(weight: Scaled, bias: Scaled) -> tuple[Preactivation, Scaled | None]:
        factors = None
        if settings.unit_variance:
            factor = unit_factor(Scaled(product, signal.response.exponent), first)
            weight, factors = weight.times(factor), side_by_side((factor,), settings)
        return stem(product, product_mean, signal, first, weight, bias, settings.outer, settings.removes), factors

    preactivations, factors = jax.vmap(of_network)(networks.first, networks.bias)
    return Advanced(preactivations, None, None, factors=factors)


def descend(
    states: State, networks: Networks, hidden: Draws, edges: jax.Array | None, settings: Settings, layers: jax.Array
) -> tuple[State, Measured]:
    """Networks through a stack of hidden layers: states out, and what was measured of each layer, [layers, updates]."""
    updates = settings.block.updates
    through = fused.by_kernel(_update) if fused.is_asked(networks, settings) else _update

    def step(states: State, layer: tuple[Draws, Layered | None]) -> tuple[State, Measured]:
        draws, layered = layer
        rows = []
        for at, update in enumerate(updates):
            states, row = through(at, update, states, draws[at], networks.with_layer(layered), edges, settings)
            rows.append(row)
        return states, jax.tree.map(lambda *x: jnp.stack(x), *rows)

    layered = jax.tree.map(lambda x: jnp.moveaxis(x, 1, 0), networks.layered)
    return loops.scan(step, states, (hidden, layered), layers)


def _update(
    at: int,
    update: Update,
    states: State,
    draws: tuple[Layer, ...],
    networks: Networks,
    edges: jax.Array | None,
    settings: Settings,
) -> tuple[State, Measured]:
    """Networks through one update of a layer, which is the block's so many-th."""

    def of_network(state: State, network: Networks) -> Advanced:
        scales, factors = scaled_to_unit_variance(update, state.signal, draws, network.updates[at], network, settings)
        advanced = advance(update, state.signal, state.change, state.stream, draws, scales, network, settings)
        return advanced._replace(behind=None, factors=factors)

    advanced = jax.vmap(of_network)(states, networks)
    return _leave(advanced, states.alike, networks, edges, settings)


def _leave(
    advanced: Advanced, alike: removal.Alike | None, networks: Networks, edges: jax.Array | None, settings: Settings
) -> tuple[State, Measured]:
    """Pre-activations of many networks and their changes, [B, rows, width], to the next states and what is measured."""
    activation, normalization, preactivations, tangents = (
        settings.outer, settings.before, advanced.preactivation, advanced.change
    )  # fmt: skip
    to = networks.format

    def answer(
        preactivation: Preactivation, epsilon: Scaled | None, to: narrow.Limits | None
    ) -> tuple[Argument, jax.Array, Any]:
        argument = normalization.argument(preactivation, activation, epsilon)
        if to is not None and not normalization.is_none:
            argument = narrow.argument(argument, to)
        return argument, *respond(argument, activation)

    def sum_up(
        preactivation: Preactivation, argument: Argument, response: jax.Array, exponents: tuple[jax.Array, jax.Array]
    ) -> tuple[Signal, Sums]:
        of_stream = measure_stream(preactivation, settings.removes, settings.layout.positions)
        if not settings.block.responds:
            return signal_of(response, exponents), Sums(of_stream, no_response())
        signal, of_response = measure_response(argument, response, exponents, activation, settings.saturation_threshold)
        return signal, Sums(of_stream, of_response)

    def size(tangent: Tangent, alike: removal.Alike | None) -> tuple[Scaled, Tangent]:
        square = mean_square(tangent.value) * jnp.square(tangent.factor)
        reported = square if alike is None else removal.unless_doubtful(square, tangent.value, alike.doubts)
        scaled = Scaled(reported, 2 * tangent.exponent)
        return scaled, rescaled(tangent, square) if to is None else tangent  # which is rescaled as it is rounded

    arguments, responses, exponents = jax.vmap(answer)(preactivations, networks.epsilon, to)
    # Statistics read the response from memory; without the barrier XLA would compute phi once for each.
    responses = jax.vmap(lowered)(jax.lax.optimization_barrier(responses), arguments)
    if to is not None:
        near = jax.vmap(narrow.answer)(responses, exponents, to)
        responses = jax.lax.optimization_barrier(near.response.value)
    signals, sums = jax.vmap(sum_up)(preactivations, arguments, responses, exponents)
    signals = signals if to is None else near
    spoken_of, inside = signals, advanced.inner
    if inside is not None:
        sums = sums._replace(response=jax.vmap(partial(_inside, settings=settings))(inside))
        spoken_of, exponents = inside.signal, inside.exponents
    counted = _count_nonfinite(spoken_of, sums, settings)
    squares, changes = None, None
    if tangents is not None:
        squares, tangents = jax.vmap(size)(tangents, alike)
        # Without normalization the argument is cheaper to compute again than to keep.
        sources = preactivations if normalization.is_none else arguments
        watched, removed = None, None
        if alike is not None:
            watched, alike = jax.vmap(partial(_watch, settings=settings))(
                alike, preactivations, arguments, signals.response.value, networks.bias
            )
            removed = watched.removed
        if settings.removes == "product":  # what all units share passes no layer normalization
            tangents = tangents._replace(value=tangents.value - tangents.value[:, :, :1])
        saturated = sums.response.saturated if settings.block.responds else jnp.zeros_like(counted)
        changes = _push(sources, tangents, signals.response.value, saturated, removed, settings)
        changes = changes if to is None else jax.vmap(narrow.tangent)(changes, to)
        if alike is not None and watched is not None:
            alike = jax.vmap(partial(_doubt, settings=settings))(
                alike, watched, tangents, changes, arguments, signals.response.value
            )
        if alike is not None and settings.removes == "product":
            add_up = jax.vmap(partial(_add_up, settings=settings))
            changes, alike = add_up(changes, alike, arguments, signals.response.value)
    histogram = None
    if edges is not None:
        exponents = (sums.response.left_exponent, sums.response.exponent)
        histogram = jax.vmap(count_histogram, in_axes=(0, 0, None))(spoken_of.response.value, exponents, edges)
        if inside is None and not settings.block.responds:
            histogram = jnp.zeros_like(histogram)
    streams = None
    if networks.skip is not None:
        mean_squares = jax.vmap(
            lambda of_one: preactivation_mean_square(of_one, responses.shape[1], responses.shape[2])
        )(sums.stream)
        streams = jax.vmap(as_stream)(preactivations, mean_squares, tangents)
    entropy = None
    if any(update.attends for update in settings.block.updates):
        entropy = jnp.full(counted.shape, jnp.nan) if advanced.entropy is None else advanced.entropy
    measured = Measured(sums, squares, counted, histogram, entropy, advanced.factors, advanced.lost)
    return State(signals, changes, alike, streams), measured


def _inside(inner: Inner, settings: Settings) -> OfResponse:
    """What is measured of phi inside of an update."""
    given = (inner.argument, inner.signal.response.value, inner.exponents)
    return measure_response(*given, settings.activation, settings.saturation_threshold)[1]


def _watch(
    alike: removal.Alike,
    preactivation: Preactivation,
    argument: Argument,
    response: jax.Array,
    bias: Scaled,
    settings: Settings,
) -> tuple[removal.Watched, removal.Alike]:
    """(What this layer's normalization removes, what is known before the next one's)."""
    active = removal.responding(response, slope(argument, response, settings.outer).value)
    rough = removal.roughness(preactivation, argument, settings.before)
    return removal.watch(alike, active, settings.activation, bias, settings.before, rough)


def _doubt(
    alike: removal.Alike,
    watched: removal.Watched,
    arriving: Tangent,
    leaving: Tangent,
    argument: Argument,
    response: jax.Array,
    settings: Settings,
) -> removal.Alike:
    """The same with what rounding this layer's change adds to the doubts."""
    slopes = slope(argument, response, settings.outer)
    assert argument.shrink is not None
    shift = leaving.exponent - arriving.exponent - slopes.exponent - argument.shrink.exponent
    noise = settings.before.noise(arriving.factor * arriving.value, argument)
    expected = noise * jnp.square(slopes.value)
    kept = jnp.square(leaving.value * power_of_two(shift))
    added = removal.doubt(jnp.where(watched.removed, kept * watched.rough, expected), kept, settings.before)
    return alike._replace(doubts=alike.doubts + added)


def _add_up(
    change: Tangent, alike: removal.Alike, argument: Argument, response: jax.Array, settings: Settings
) -> tuple[Tangent, removal.Alike]:
    """The same where the next layer adds up all units, with what rounding leaves of their sum among the doubts."""
    slopes = slope(argument, response, settings.outer).value
    value, doubts = removal.through_shared_weights(change.value, argument.value, slopes, settings.activation)
    return change._replace(value=value), alike._replace(doubts=alike.doubts + doubts)


def _push(
    sources: Preactivation | Argument,
    tangents: Tangent,
    responses: jax.Array,
    saturated: jax.Array,
    removed: jax.Array | None,
    settings: Settings,
) -> Tangent:
    """Tangents at a block's pre-activations to those of its responses.

    Where every activation of a network is saturated its slopes are computed anew, however small.
    """
    activation, normalization = settings.outer, settings.before
    everywhere = saturated == math.prod(responses.shape[1:])

    def plainly(
        source: Preactivation | Argument, tangent: Tangent, response: jax.Array, removed: jax.Array | None
    ) -> Tangent:
        argument = source if isinstance(source, Argument) else normalization.argument(source, activation)
        return push(tangent, slope(argument, response, activation), argument, normalization, removed)

    def carefully(
        plain: Tangent,
        sources: Preactivation | Argument,
        tangents: Tangent,
        removed: jax.Array | None,
        careful: jax.Array,
    ) -> Tangent:
        def exact(source: Preactivation | Argument, tangent: Tangent, removed: jax.Array | None) -> Tangent:
            argument = source if isinstance(source, Argument) else normalization.argument(source, activation)
            return careful_push(tangent, argument, activation, normalization, removed)

        choose: Callable[..., Tangent] = jax.vmap(
            lambda careful, *both: jax.tree.map(partial(jnp.where, careful), *both)
        )
        return choose(careful, jax.vmap(exact)(sources, tangents, removed), plain)

    # Before the condition, so that the others of a block are computed alike beside such a network and without one.
    plain = jax.lax.optimization_barrier(jax.vmap(plainly)(sources, tangents, responses, removed))
    pushed: Tangent = jax.lax.cond(
        jnp.any(everywhere), carefully, lambda plain, *_: plain, plain, sources, tangents, removed, everywhere
    )
    return pushed


def _count_nonfinite(signals: Signal, sums: Sums, settings: Settings) -> jax.Array:
    """Non-finite responses are looked for only where a sum is not finite, which is rare."""
    finite = jnp.isfinite(sums.response.within)
    if not settings.block.responds:
        finite &= jnp.isfinite(sums.stream.within)
    counts: jax.Array = jax.lax.cond(
        jnp.all(finite),
        lambda response: jnp.zeros(response.shape[0], jnp.int32),
        jax.vmap(count_nonfinite),
        signals.response.value,
    )
    return counts
