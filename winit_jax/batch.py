"""Many networks at once: the only jit and vmap of the package.

Networks that share their draws and static shape run together: vmap stacks their rows into one tall
matrix product with Z, and lax.map walks over blocks of them, so that a block's activations stay in
cache (CPU) or fill the device (accelerators) while it goes through all layers.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from winit_jax import removal
from winit_jax.activations import Activation
from winit_jax.network import (
    Argument,
    Layer,
    Preactivation,
    Scale,
    Signal,
    argument_of,
    exponent_of,
    power_of_two,
    preactivate,
    respond,
    scale_product,
)
from winit_jax.statistics import (
    Growth,
    Sums,
    columns,
    count_histogram,
    count_nonfinite,
    mean_square,
    measure,
)
from winit_jax.tangents import Tangent, careful_push, noise, push, rescaled, slope

# Activations of one block on CPU, in MiB: they are read by every statistic, so they should stay in cache.
CPU_BLOCK_MIB = 1.0


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
    scaled = jnp.asarray(np.ldexp(x, -exponent), jnp.float32)
    return Inputs(
        samples=scaled,
        mean=jnp.asarray(np.ldexp(x.mean(axis=0), -exponent), jnp.float32),
        exponent=jnp.int32(exponent),
        rms_exponent=exponent_of(jnp.float32(math.ldexp(rms, -exponent))),
    )


def as_scale(values: Sequence[float] | np.ndarray) -> Scale:
    """Standard deviations as mantissas in [0.5, 1) and exponents, so that float64's range survives."""
    mantissas, exponents = np.frexp(np.asarray(values, dtype=np.float64))
    return Scale._make((mantissas.astype(np.float32), exponents.astype(np.int32)))


def block_size(networks: int, samples: int, width: int, budget_mib: float, platform: str) -> int:
    """How many networks go through the layers together.

    A block holds about five arrays of [samples, width] a network at a time, in float32.
    """
    one_mib = samples * width * 4 / 2**20
    fitting = CPU_BLOCK_MIB / one_mib if platform == "cpu" else budget_mib / (5 * one_mib)
    return max(1, min(networks, int(fitting)))


@dataclass(frozen=True)
class Settings:
    """What a pass is compiled for, beside its shapes. precision: of matrix products, in JAX's words.

    activation: is taken with slopes that float32 can hold against the threshold.
    """

    activation: Activation
    normalization: str = "none"
    saturation_threshold: float = 0.05
    precision: str = "highest"

    def __post_init__(self) -> None:
        object.__setattr__(self, "activation", self.activation.resolving(self.saturation_threshold))


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
) -> Measured:
    """Measure every layer of N networks that share their draws.

    hidden: stacks of layers (leading axis), in order, each drawn when its turn comes; several where one
        would not fit in memory.
    tangents: directions at the first pre-activations, [samples, width]; None measures no Jacobian.
    block: networks at a time; N is padded to a multiple of it. edges: histogram edges of phi, or None.
    Out: NumPy arrays of [layers, N]; the layers are 1 + those of `hidden`.
    """
    count = networks.hidden.mantissa.shape[0]
    blocks = -(-count // block)
    chosen = np.minimum(np.arange(blocks * block), count - 1).reshape(blocks, block)
    stacked = jax.tree.map(lambda x: x[chosen], networks)
    at_zero = settings.activation.at_zero
    shifted = None if edges is None else jnp.asarray(np.asarray(edges) - at_zero, jnp.float32)
    stacks = iter(hidden)
    stack, following = next(stacks, None), next(stacks, None)
    if following is None:
        parts = [_all_layers(inputs, stacked, first, stack, tangents, shifted, settings)]
    else:
        states, part = _first_layer(inputs, stacked, first, tangents, shifted, settings)
        parts = [part]
        while stack is not None:
            states, part = _next_layers(states, stacked, stack, shifted, settings)
            parts.append(part)
            stack, following = following, next(stacks, None)

    def join(*arrays: jax.Array) -> np.ndarray:  # [blocks, layers, block, ...] -> [layers, N, ...]
        x = np.moveaxis(np.concatenate(jax.device_get(arrays), axis=1), 0, 1)
        return x.reshape(x.shape[0], blocks * block, *x.shape[3:])[:, :count]

    return jax.tree.map(join, *parts)


@partial(jax.jit, static_argnames="settings")
def _all_layers(inputs, stacked, first, hidden, tangents, edges, settings: Settings):
    def one_block(networks):
        states, measured = _enter(inputs, networks, first, tangents, edges, settings)
        measured = jax.tree.map(lambda x: x[None], measured)
        if hidden is None:
            return measured
        _, rest = _descend(states, networks, hidden, edges, settings)
        return jax.tree.map(lambda a, b: jnp.concatenate([a, b]), measured, rest)

    return jax.lax.map(one_block, stacked)


@partial(jax.jit, static_argnames="settings")
def _first_layer(inputs, stacked, first, tangents, edges, settings: Settings):
    def one_block(networks):
        states, measured = _enter(inputs, networks, first, tangents, edges, settings)
        return states, jax.tree.map(lambda x: x[None], measured)

    return jax.lax.map(one_block, stacked)


@partial(jax.jit, static_argnames="settings")
def _next_layers(states, stacked, hidden, edges, settings: Settings):
    def one_block(block):
        return _descend(block[0], block[1], hidden, edges, settings)

    return jax.lax.map(one_block, (states, stacked))


def _enter(inputs: Inputs, networks: Networks, first: Layer, tangents: jax.Array | None, edges, settings: Settings):
    """The first layer of a block: one product of the inputs serves all its networks."""
    signal = inputs.signal
    product = jnp.matmul(signal.response, first.weights, precision=settings.precision)
    product_mean = jnp.matmul(signal.unit_mean, first.weights, precision=settings.precision)

    def one(weight: Scale, bias: Scale):
        return scale_product(product, product_mean, signal, first, weight, bias, settings.activation, first=True)

    preactivations = jax.vmap(one)(networks.first, networks.bias)
    changes = None
    if tangents is not None:
        count = networks.first.mantissa.shape[0]
        everywhere = jnp.broadcast_to(tangents, (count, *tangents.shape))
        changes = Tangent(everywhere, jnp.zeros(count, jnp.int32), jnp.ones(count))
    samples, width = product.shape
    alike = None
    if tangents is not None and removal.is_watched(settings.normalization, samples, width):
        count = networks.first.mantissa.shape[0]
        alike = jax.tree.map(lambda x: jnp.broadcast_to(x, (count, *x.shape)), removal.at_first(samples))
    return _leave(preactivations, changes, alike, networks, edges, settings)


def _descend(states: State, networks: Networks, hidden: Layer, edges, settings: Settings):
    """A block through a stack of hidden layers: states out, and what was measured at each."""

    def step(states: State, layer: Layer):
        def one(state: State, weight: Scale, bias: Scale):
            preactivation = preactivate(
                state.signal, layer, weight, bias, settings.activation, precision=settings.precision
            )
            if state.change is None:
                return preactivation, None
            product = jnp.matmul(state.change.value, layer.weights, precision=settings.precision)
            return preactivation, Tangent(product, weight.exponent + state.change.exponent, weight.mantissa)

        preactivations, tangents = jax.vmap(one)(states, networks.hidden, networks.bias)
        return _leave(preactivations, tangents, states.alike, networks, edges, settings)

    return jax.lax.scan(step, states, hidden)


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

    def one(preactivation: Preactivation, epsilon: Scale | None):
        argument = argument_of(preactivation, normalization, epsilon)
        response, exponents = respond(argument, activation)
        # Statistics read the response from memory; without the barrier XLA would compute phi once for each.
        response = jax.lax.optimization_barrier(response)
        signal, sums = measure(preactivation, argument, response, exponents, activation, settings.saturation_threshold)
        return signal, sums, argument

    def size(tangent: Tangent, alike: removal.Alike | None) -> tuple[Growth, Tangent]:
        square = mean_square(tangent.value) * jnp.square(tangent.factor)
        told = square if alike is None else removal.unless_doubtful(square, tangent.value, alike.doubts)
        return Growth(told, tangent.exponent), rescaled(tangent, square)

    signals, sums, arguments = jax.vmap(one)(preactivations, networks.epsilon)
    counted = _count_nonfinite(signals, sums)
    growth, changes = None, None
    if tangents is not None:
        growth, tangents = jax.vmap(size)(tangents, alike)
        # Without normalisation the argument is cheaper to compute again than to keep.
        sources = preactivations if normalization == "none" else arguments
        removed = None
        if alike is not None:
            removed, alike = jax.vmap(partial(_watch, settings=settings))(
                alike, arguments, signals.response, networks.bias
            )
        changes = _push(sources, tangents, signals.response, sums.saturated, removed, settings)
        if alike is not None and removed is not None:
            alike = jax.vmap(partial(_doubt, settings=settings))(
                alike, removed, tangents, changes, arguments, signals.response
            )
    histogram = None
    if edges is not None:
        exponents = (sums.left_exponent, sums.exponent)
        histogram = jax.vmap(count_histogram, in_axes=(0, 0, None))(signals.response, exponents, edges)
    return State(signals, changes, alike), Measured(sums, growth, counted, histogram)


def _watch(
    alike: removal.Alike, argument: Argument, response: jax.Array, bias: Scale, settings: Settings
) -> tuple[jax.Array, removal.Alike]:
    """(What this layer's normalisation removes, what is known before the next one's)."""
    active = removal.responding(response, slope(argument, response, settings.activation).value)
    watched, following = removal.watch(alike, active, settings.activation, bias, settings.normalization)
    return watched.removed, following


def _doubt(
    alike: removal.Alike,
    removed: jax.Array,
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
    found = removal.doubt(
        jnp.where(removed, 0.0, expected), jnp.square(after.value * power_of_two(shift)), settings.normalization
    )
    return alike._replace(doubts=alike.doubts + found)


def _push(
    sources: Preactivation | Argument, tangents: Tangent, responses, saturated, removed, settings: Settings
) -> Tangent:
    """Tangents at a block's pre-activations to those of its responses.

    Where every activation of a network is saturated its slopes are computed anew, however small.
    """
    activation, normalization = settings.activation, settings.normalization
    everywhere = saturated == math.prod(responses.shape[1:])

    def one(source: Preactivation | Argument, tangent: Tangent, response: jax.Array, removed) -> Tangent:
        argument = source if isinstance(source, Argument) else argument_of(source, normalization)
        return push(tangent, slope(argument, response, activation), argument, normalization, removed)

    def one_carefully(
        source: Preactivation | Argument, tangent: Tangent, response, removed, careful: jax.Array
    ) -> Tangent:
        argument = source if isinstance(source, Argument) else argument_of(source, normalization)
        exact = careful_push(tangent, argument, activation, normalization, removed)
        return jax.tree.map(partial(jnp.where, careful), exact, one(source, tangent, response, removed))

    return jax.lax.cond(
        jnp.any(everywhere),
        jax.vmap(one_carefully),
        lambda sources, tangents, responses, removed, _: jax.vmap(one)(sources, tangents, responses, removed),
        sources,
        tangents,
        responses,
        removed,
        everywhere,
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
