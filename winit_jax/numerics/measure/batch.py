"""Many networks at once: the only jit and vmap of the package.

Networks that share their draws and static shape run together: vmap stacks their rows into one tall
matrix product with Z, and a loop walks over blocks of them, so that a block's activations stay in
cache (CPU) or fill the device (accelerators) while it goes through all layers.

On a CPU a network's bits do not depend on what runs beside it: the shape of a block follows from that of one
network, the last block is padded, and every loop stays one however few its turns (see `loops`).
"""

import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from winit_jax.numerics.activations import Activation
from winit_jax.numerics.measure import batches as blocks
from winit_jax.numerics.measure import loops, removal
from winit_jax.numerics.measure.network import (
    EXPONENT_LIMIT,
    Argument,
    Layer,
    Preactivation,
    Scale,
    Signal,
    argument_of,
    lowered,
    power_of_two,
    preactivate,
    removed_part,
    respond,
    scale_product,
)
from winit_jax.numerics.measure.statistics import (
    Growth,
    Sums,
    columns,
    count_histogram,
    count_nonfinite,
    mean_square,
    measure,
)
from winit_jax.numerics.measure.tangents import Tangent, careful_push, noise, push, rescaled, slope


class Inputs(NamedTuple):
    """Data as a signal. samples: [samples, features], RMS near 1. exponent: of the true scale."""

    samples: jax.Array
    mean: jax.Array
    exponent: jax.Array
    rms_exponent: jax.Array

    @property
    def signal(self) -> Signal:
        return Signal(self.samples, self.mean, self.exponent, self.rms_exponent)


class Networks(NamedTuple):
    """Scales of N networks, each field a Scale of [N] NumPy arrays.

    epsilon: added to the variance by normalisation; None is NORM_EPSILON for all.
    """

    first: Scale
    hidden: Scale
    bias: Scale
    epsilon: Scale | None = None


class State(NamedTuple):
    """What a network hands from layer to layer: its signal, the change of it along one direction, and what a
    normalisation will remove of that (None where this need not be watched)."""

    signal: Signal
    change: Tangent | None
    alike: removal.Alike | None


class Measured(NamedTuple):
    """What a pass leaves: Sums and Growth of [layers, N], nonfinite counts [layers, N], histograms.

    tangent and histogram are None where they were not asked for.
    """

    sums: Sums
    tangent: Growth | None
    nonfinite: jax.Array | np.ndarray
    histogram: jax.Array | np.ndarray | None


def as_inputs(x: np.ndarray) -> Inputs:
    """Inputs from finite numbers of any scale, [samples, features]."""
    x = np.asarray(x, dtype=np.float64)
    rms = float(np.sqrt(np.mean(np.square(x / peak)))) * peak if (peak := float(np.max(np.abs(x)))) else 0.0
    exponent = math.frexp(rms)[1] if rms else 0
    # In NumPy, for outside a program JAX would compile every operation by itself.
    scaled, mean = (np.ldexp(part, -exponent).astype(np.float32) for part in (x, x.mean(axis=0)))
    rms_exponent = math.frexp(np.float32(math.ldexp(rms, -exponent)))[1] if rms else -EXPONENT_LIMIT
    return Inputs(*map(jnp.asarray, (scaled, mean, np.int32(exponent), np.int32(rms_exponent))))


def as_scale(values: Sequence[float] | np.ndarray) -> Scale:
    """Standard deviations as mantissas in [0.5, 1) and exponents, so that float64's range survives."""
    mantissas, exponents = np.frexp(np.asarray(values, dtype=np.float64))
    return Scale._make((mantissas.astype(np.float32), exponents.astype(np.int32)))


@dataclass(frozen=True)
class Settings:
    """What a pass is compiled for, beside its shapes. precision: of matrix products, in JAX's words.

    activation: is taken with slopes that float32 can hold against the threshold. constant: whether all entries of a
    draw are one number.
    """

    activation: Activation
    normalization: str = "none"
    saturation_threshold: float = 0.05
    precision: str = "highest"
    constant: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "activation", self.activation.resolving(self.saturation_threshold))

    @property
    def removes(self) -> str:
        """What of a the normalisation removes, see `network.removed_part`."""
        return removed_part(self.normalization, self.constant)


def forward(
    inputs: Inputs,
    networks: Networks,
    first: Layer,
    hidden: Iterable[Layer],
    tangents: jax.Array | None,
    settings: Settings,
    *,
    block: int,
    edges: np.ndarray | None = None,
    platform: str = "cpu",
    layers: int | None = None,
) -> Measured:
    """Measure every layer of N networks that share their draws.

    hidden: stacks of layers (leading axis), in order, each drawn when its turn comes; several where one
        would not fit in memory.
    tangents: directions at the first pre-activations, [samples, width]; None measures no Jacobian.
    block: networks at a time; N is padded to a multiple of it. edges: histogram edges of phi, or None.
    layers: of a network; the rest of the last stack is left out. All layers by default.
    Out: NumPy arrays of [layers, N]; the layers are 1 + those of `hidden`.
    """
    count = networks.hidden.mantissa.shape[0]
    needed = -(-count // block)
    samples, width = inputs.samples.shape[0], first.weights.shape[1]
    room = blocks.of_a_call(needed, block, samples, width, platform)
    calls = -(-needed // room)
    chosen = np.minimum(np.arange(calls * room * block), count - 1).reshape(calls, room, block)
    stacked = [jax.tree.map(lambda x, own=own: x[own], networks) for own in chosen]
    turns = [np.int32(min(room, needed - call * room)) for call in range(calls)]
    at_zero = settings.activation.at_zero
    shifted = None if edges is None else jnp.asarray(np.asarray(edges) - at_zero, jnp.float32)
    stacks = iter(hidden)
    stack, following = next(stacks, None), next(stacks, None)
    # Of each stack of layers, what each call found: arrays of [room, layers, block, ...].
    parts: list[list[Measured]] = []
    left = sys.maxsize if layers is None else layers - 1
    if following is None:
        own = np.int32(0 if stack is None else min(left, stack.weights.shape[0]))
        how = (first, stack, tangents, shifted, settings)
        parts.append([_all_layers(inputs, some, *how, turn, own) for some, turn in zip(stacked, turns, strict=True)])
    else:
        entered = [
            _first_layer(inputs, some, first, tangents, shifted, settings, turn)
            for some, turn in zip(stacked, turns, strict=True)
        ]
        while True:
            states = [state for state, _ in entered]
            parts.append([found for _, found in entered])
            if stack is None:
                break
            own = np.int32(min(left, stack.weights.shape[0]))
            left -= int(own)
            entered = [
                _next_layers(state, some, stack, shifted, settings, turn, own)
                for state, some, turn in zip(states, stacked, turns, strict=True)
            ]
            stack, following = following, next(stacks, None)

    def join(*arrays: jax.Array) -> np.ndarray:  # [room, layers, block, ...] of each call -> [layers, N, ...]
        x = np.moveaxis(np.concatenate(arrays), 1, 0)
        return x.reshape(x.shape[0], -1, *x.shape[3:])[:, :count]

    of_stacks = [jax.tree.map(join, *jax.device_get(found)) for found in parts]
    return jax.tree.map(lambda *x: np.concatenate(x)[:layers], *of_stacks)


@partial(jax.jit, static_argnames="settings")
def _all_layers(
    inputs, stacked, first, hidden, tangents, edges, settings: Settings, turns: jax.Array, layers: jax.Array
):
    def one_block(networks):
        states, measured = _enter(inputs, networks, first, tangents, edges, settings)
        measured = jax.tree.map(lambda x: x[None], measured)
        if hidden is None:
            return measured
        _, rest = _descend(jax.lax.optimization_barrier(states), networks, hidden, edges, settings, layers)
        return jax.tree.map(lambda a, b: jnp.concatenate([a, b]), measured, rest)

    return loops.each(one_block, stacked, turns)


@partial(jax.jit, static_argnames="settings")
def _first_layer(inputs, stacked, first, tangents, edges, settings: Settings, turns: jax.Array):
    def one_block(networks):
        states, measured = _enter(inputs, networks, first, tangents, edges, settings)
        return states, jax.tree.map(lambda x: x[None], measured)

    return loops.each(one_block, stacked, turns)


@partial(jax.jit, static_argnames="settings", donate_argnames="states")
def _next_layers(states, stacked, hidden, edges, settings: Settings, turns: jax.Array, layers: jax.Array):
    def one_block(block):
        return _descend(block[0], block[1], hidden, edges, settings, layers)

    return loops.each(one_block, (states, stacked), turns)


def _enter(inputs: Inputs, networks: Networks, first: Layer, tangents: jax.Array | None, edges, settings: Settings):
    """The first layer of a block: one product of the inputs serves all its networks."""
    signal = inputs.signal
    product = jnp.matmul(signal.response, first.weights, precision=settings.precision)
    product_mean = jnp.matmul(signal.unit_mean, first.weights, precision=settings.precision)

    def one(weight: Scale, bias: Scale):
        own = (product, product_mean, signal, first, weight, bias, settings.activation)
        return scale_product(*own, first=True, removes=settings.removes)

    preactivations = jax.vmap(one)(networks.first, networks.bias)
    changes = None
    if tangents is not None:
        count = networks.first.mantissa.shape[0]
        everywhere = jnp.broadcast_to(tangents, (count, *tangents.shape))
        changes = Tangent(everywhere, jnp.zeros(count, jnp.int32), jnp.ones(count))
    samples, width = product.shape
    alike = None
    if tangents is not None and removal.is_watched(settings.normalization, samples, width, settings.constant):
        count = networks.first.mantissa.shape[0]
        alike = jax.tree.map(lambda x: jnp.broadcast_to(x, (count, *x.shape)), removal.at_first(samples))
    return _leave(preactivations, changes, alike, networks, edges, settings)


def _descend(states: State, networks: Networks, hidden: Layer, edges, settings: Settings, layers: jax.Array):
    """A block through a stack of hidden layers: states out, and what was measured at each."""

    def step(states: State, layer: Layer):
        def one(state: State, weight: Scale, bias: Scale):
            own = (state.signal, layer, weight, bias, settings.activation)
            preactivation = preactivate(*own, precision=settings.precision, removes=settings.removes)
            if state.change is None:
                return preactivation, None
            product = jnp.matmul(state.change.value, layer.weights, precision=settings.precision)
            if settings.removes == "product":
                product = jnp.broadcast_to(product[:, :1], product.shape)
            return preactivation, Tangent(product, weight.exponent + state.change.exponent, weight.mantissa)

        preactivations, tangents = jax.vmap(one)(states, networks.hidden, networks.bias)
        return _leave(preactivations, tangents, states.alike, networks, edges, settings)

    return loops.scan(step, states, hidden, layers)


def _leave(
    preactivations: Preactivation,
    tangents: Tangent | None,
    alike: removal.Alike | None,
    networks: Networks,
    edges,
    settings: Settings,
) -> tuple[State, Measured]:
    """A block's pre-activations and their changes [B, samples, width] to the next states and what is measured."""
    activation, normalization = settings.activation, settings.normalization

    def answer(preactivation: Preactivation, epsilon: Scale | None):
        argument = argument_of(preactivation, activation, normalization, epsilon)
        return argument, *respond(argument, activation)

    def sum_up(preactivation: Preactivation, argument: Argument, response: jax.Array, exponents):
        how = (activation, settings.saturation_threshold, settings.removes)
        return measure(preactivation, argument, response, exponents, *how)

    def size(tangent: Tangent, alike: removal.Alike | None) -> tuple[Growth, Tangent]:
        square = mean_square(tangent.value) * jnp.square(tangent.factor)
        told = square if alike is None else removal.unless_doubtful(square, tangent.value, alike.doubts)
        return Growth(told, tangent.exponent), rescaled(tangent, square)

    arguments, responses, exponents = jax.vmap(answer)(preactivations, networks.epsilon)
    # Statistics read the response from memory; without the barrier XLA would compute phi once for each.
    responses = jax.vmap(lowered)(jax.lax.optimization_barrier(responses), arguments)
    signals, sums = jax.vmap(sum_up)(preactivations, arguments, responses, exponents)
    counted = _count_nonfinite(signals, sums)
    growth, changes = None, None
    if tangents is not None:
        growth, tangents = jax.vmap(size)(tangents, alike)
        # Without normalisation the argument is cheaper to compute again than to keep.
        sources = preactivations if normalization == "none" else arguments
        watched, removed = None, None
        if alike is not None:
            watched, alike = jax.vmap(partial(_watch, settings=settings))(
                alike, preactivations, arguments, signals.response, networks.bias
            )
            removed = watched.removed
        if settings.removes == "product":  # what all units share passes no layer normalisation
            tangents = tangents._replace(value=tangents.value - tangents.value[:, :, :1])
        changes = _push(sources, tangents, signals.response, sums.saturated, removed, settings)
        if alike is not None and watched is not None:
            alike = jax.vmap(partial(_doubt, settings=settings))(
                alike, watched, tangents, changes, arguments, signals.response
            )
        if alike is not None and settings.removes == "product":
            changes, alike = jax.vmap(partial(_add_up, settings=settings))(changes, alike, arguments, signals.response)
    histogram = None
    if edges is not None:
        exponents = (sums.left_exponent, sums.exponent)
        histogram = jax.vmap(count_histogram, in_axes=(0, 0, None))(signals.response, exponents, edges)
    return State(signals, changes, alike), Measured(sums, growth, counted, histogram)


def _watch(
    alike: removal.Alike,
    preactivation: Preactivation,
    argument: Argument,
    response: jax.Array,
    bias: Scale,
    settings: Settings,
) -> tuple[removal.Watched, removal.Alike]:
    """(What this layer's normalisation removes, what is known before the next one's)."""
    active = removal.responding(response, slope(argument, response, settings.activation).value)
    rough = removal.roughness(preactivation, argument, settings.normalization)
    return removal.watch(alike, active, settings.activation, bias, settings.normalization, rough)


def _doubt(
    alike: removal.Alike,
    watched: removal.Watched,
    before: Tangent,
    after: Tangent,
    argument: Argument,
    response: jax.Array,
    settings: Settings,
) -> removal.Alike:
    """The same with what rounding this layer's change adds to the doubts."""
    slopes = slope(argument, response, settings.activation)
    assert argument.shrink_exponent is not None
    shift = after.exponent - before.exponent - slopes.exponent - argument.shrink_exponent
    expected = noise(before.factor * before.value, argument, settings.normalization) * jnp.square(slopes.value)
    kept = jnp.square(after.value * power_of_two(shift))
    found = removal.doubt(jnp.where(watched.removed, kept * watched.rough, expected), kept, settings.normalization)
    return alike._replace(doubts=alike.doubts + found)


def _add_up(
    change: Tangent, alike: removal.Alike, argument: Argument, response: jax.Array, settings: Settings
) -> tuple[Tangent, removal.Alike]:
    """The same where the next layer adds up all units, with what rounding leaves of their sum among the doubts."""
    slopes = slope(argument, response, settings.activation).value
    value, doubts = removal.through_shared_weights(change.value, argument.value, slopes, settings.activation)
    return change._replace(value=value), alike._replace(doubts=alike.doubts + doubts)


def _push(
    sources: Preactivation | Argument, tangents: Tangent, responses, saturated, removed, settings: Settings
) -> Tangent:
    """Tangents at a block's pre-activations to those of its responses.

    Where every activation of a network is saturated its slopes are computed anew, however small.
    """
    activation, normalization = settings.activation, settings.normalization
    everywhere = saturated == math.prod(responses.shape[1:])

    def one(source: Preactivation | Argument, tangent: Tangent, response: jax.Array, removed) -> Tangent:
        argument = source if isinstance(source, Argument) else argument_of(source, activation, normalization)
        return push(tangent, slope(argument, response, activation), argument, normalization, removed)

    def carefully(plain: Tangent, sources, tangents: Tangent, removed, careful: jax.Array) -> Tangent:
        def exact(source: Preactivation | Argument, tangent: Tangent, removed) -> Tangent:
            argument = source if isinstance(source, Argument) else argument_of(source, activation, normalization)
            return careful_push(tangent, argument, activation, normalization, removed)

        choose = jax.vmap(lambda careful, *both: jax.tree.map(partial(jnp.where, careful), *both))
        return choose(careful, jax.vmap(exact)(sources, tangents, removed), plain)

    # Before the condition, so that the others of a block are computed alike beside such a network and without one.
    plain = jax.lax.optimization_barrier(jax.vmap(one)(sources, tangents, responses, removed))
    return jax.lax.cond(
        jnp.any(everywhere), carefully, lambda plain, *_: plain, plain, sources, tangents, removed, everywhere
    )


def _count_nonfinite(signals: Signal, sums: Sums) -> jax.Array:
    """Non-finite responses are looked for only where a sum is not finite, which is rare."""
    return jax.lax.cond(
        jnp.all(jnp.isfinite(sums.response_within)),
        lambda response: jnp.zeros(response.shape[0], jnp.int32),
        jax.vmap(count_nonfinite),
        signals.response,
    )


def to_columns(
    measured: Measured,
    activation: Activation,
    *,
    samples: int,
    width: int,
    log10_scale: np.ndarray | float = 0.0,
    log10_jacobian_scale: np.ndarray | float = 0.0,
) -> dict[str, np.ndarray]:
    """The measured columns of a pass as float64 arrays of [layers, N] (see statistics.columns)."""
    sums = Sums._make(np.asarray(x) for x in measured.sums)
    tangent = measured.tangent
    if tangent is not None:  # in units of the directions' own length
        tangent = Growth(tangent.mean_square / tangent.mean_square[:1], tangent.exponent)
    return columns(
        sums,
        np.asarray(measured.nonfinite),
        tangent,
        samples=samples,
        width=width,
        activation=activation,
        log10_scale=log10_scale,
        log10_jacobian_scale=log10_jacobian_scale,
    )
