"""Many networks at once: the only jit and vmap of the package.

Networks that share their draws and static shape run together: vmap stacks their rows into one tall
matrix product with Z, and lax.map walks over blocks of them, so that a block's activations stay in
cache (CPU) or fill the device (accelerators) while it goes through all layers.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from winit_jax import initializers
from winit_jax.activations import Activation
from winit_jax.gradients import Gradients, Kept, Readout, way_back, way_forth
from winit_jax.network import (
    Argument,
    Layer,
    Preactivation,
    Scale,
    Signal,
    argument_of,
    exponent_of,
    preactivate,
    respond,
    scale_product,
)
from winit_jax.spectrum import Spectrum, spectrum, summary
from winit_jax.statistics import (
    Growth,
    Sums,
    columns,
    count_histogram,
    count_nonfinite,
    log10_root,
    mean_square,
    measure,
)
from winit_jax.tangents import Tangent, careful_push, push, rescaled, slope

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
    """Scales of N networks, each field a Scale of [N] NumPy arrays."""

    first: Scale
    hidden: Scale
    bias: Scale


class State(NamedTuple):
    """What a network hands from layer to layer: its signal, and the change of it along one direction."""

    signal: Signal
    change: Tangent


class Measured(NamedTuple):
    """What a pass leaves: Sums and Growth of [layers, N], nonfinite counts [layers, N], histograms or None."""

    sums: Sums
    tangent: Growth
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


@lru_cache(maxsize=4)
def layer_stack(seed: int, shape: str, width: int, first: int, count: int) -> Layer:
    """Draws of hidden layers first .. first + count - 1, stacked along a leading axis."""
    weights = initializers.unit_weight_stack(seed, shape, width, first, count)
    return Layer(weights, jnp.sum(weights, axis=1), initializers.unit_biases(seed, width, first, count))


@lru_cache(maxsize=4)
def first_layer(seed: int, shape: str, width: int, features: int) -> Layer:
    """Draws of the first layer: weights [features, width]."""
    weights = initializers.unit_weights(seed, shape, width, 1, features)
    return Layer(weights, jnp.sum(weights, axis=0), initializers.unit_biases(seed, width, 1, 1)[0])


@lru_cache(maxsize=4)
def directions(seed: int, stream: str, samples: int, width: int) -> jax.Array:
    """A random direction for each sample, [samples, width]: of `tangents` or `cotangents`."""
    return initializers.unit_directions(seed, stream, samples, width)


def block_size(networks: int, samples: int, width: int, budget_mib: float, platform: str) -> int:
    """How many networks go through the layers together.

    A block holds about five arrays of [samples, width] a network at a time, in float32.
    """
    one_mib = samples * width * 4 / 2**20
    fitting = CPU_BLOCK_MIB / one_mib if platform == "cpu" else budget_mib / (5 * one_mib)
    return max(1, min(networks, int(fitting)))


@dataclass(frozen=True)
class Settings:
    """What a pass is compiled for, beside its shapes. precision: of matrix products, in JAX's words."""

    activation: Activation
    normalization: str = "none"
    saturation_threshold: float = 0.05
    precision: str = "highest"


def forward(
    inputs: Inputs,
    networks: Networks,
    first: Layer,
    hidden: Iterable[Layer],
    tangents: jax.Array,
    settings: Settings,
    *,
    block: int,
    edges: np.ndarray | None = None,
) -> Measured:
    """Measure every layer of N networks that share their draws.

    hidden: stacks of layers (leading axis), in order, each drawn when its turn comes; several where one
        would not fit in memory.
    tangents: directions at the first pre-activations, [samples, width].
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


def _enter(inputs: Inputs, networks: Networks, first: Layer, tangents: jax.Array, edges, settings: Settings):
    """The first layer of a block: one product of the inputs serves all its networks."""
    signal = inputs.signal
    product = jnp.matmul(signal.response, first.weights, precision=settings.precision)
    product_mean = jnp.matmul(signal.unit_mean, first.weights, precision=settings.precision)

    def one(weight: Scale, bias: Scale):
        return scale_product(product, product_mean, signal, first, weight, bias, settings.activation, first=True)

    preactivations = jax.vmap(one)(networks.first, networks.bias)
    count = networks.first.mantissa.shape[0]
    everywhere = jnp.broadcast_to(tangents, (count, *tangents.shape))
    return _leave(preactivations, Tangent(everywhere, jnp.zeros(count, jnp.int32), jnp.ones(count)), edges, settings)


def _descend(states: State, networks: Networks, hidden: Layer, edges, settings: Settings):
    """A block through a stack of hidden layers: states out, and what was measured at each."""

    def step(states: State, layer: Layer):
        def one(state: State, weight: Scale, bias: Scale):
            preactivation = preactivate(
                state.signal, layer, weight, bias, settings.activation, precision=settings.precision
            )
            product = jnp.matmul(state.change.value, layer.weights, precision=settings.precision)
            return preactivation, Tangent(product, weight.exponent + state.change.exponent, weight.mantissa)

        preactivations, tangents = jax.vmap(one)(states, networks.hidden, networks.bias)
        return _leave(preactivations, tangents, edges, settings)

    return jax.lax.scan(step, states, hidden)


def _leave(preactivations: Preactivation, tangents: Tangent, edges, settings: Settings) -> tuple[State, Measured]:
    """A block's pre-activations and their changes [B, samples, width] to the next states and what is measured."""
    activation, normalization = settings.activation, settings.normalization

    def one(preactivation: Preactivation, tangent: Tangent):
        argument = argument_of(preactivation, normalization)
        response, exponents = respond(argument, activation)
        # Statistics read the response from memory; without the barrier XLA would compute phi once for each.
        response = jax.lax.optimization_barrier(response)
        signal, sums = measure(preactivation, argument, response, exponents, activation, settings.saturation_threshold)
        square = mean_square(tangent.value) * jnp.square(tangent.factor)
        return signal, sums, Growth(square, tangent.exponent), argument, rescaled(tangent, square)

    signals, sums, growth, arguments, tangents = jax.vmap(one)(preactivations, tangents)
    counted = _count_nonfinite(signals, sums)
    # Without normalisation the argument is cheaper to compute again than to keep.
    sources = preactivations if normalization == "none" else arguments
    changes = _push(sources, tangents, signals.response, sums.saturated, settings)
    histogram = None
    if edges is not None:
        exponents = (sums.left_exponent, sums.exponent)
        histogram = jax.vmap(count_histogram, in_axes=(0, 0, None))(signals.response, exponents, edges)
    return State(signals, changes), Measured(sums, growth, counted, histogram)


def _push(sources: Preactivation | Argument, tangents: Tangent, responses, saturated, settings: Settings) -> Tangent:
    """Tangents at a block's pre-activations to those of its responses.

    Where every activation of a network is saturated its slopes are computed anew, however small.
    """
    activation, normalization = settings.activation, settings.normalization
    everywhere = saturated == math.prod(responses.shape[1:])

    def one(source: Preactivation | Argument, tangent: Tangent, response: jax.Array) -> Tangent:
        argument = source if isinstance(source, Argument) else argument_of(source, normalization)
        return push(tangent, slope(argument, response, activation), argument, normalization)

    def one_carefully(source: Preactivation | Argument, tangent: Tangent, response, careful: jax.Array) -> Tangent:
        argument = source if isinstance(source, Argument) else argument_of(source, normalization)
        exact = careful_push(tangent, argument, activation, normalization)
        return jax.tree.map(partial(jnp.where, careful), exact, one(source, tangent, response))

    return jax.lax.cond(
        jnp.any(everywhere),
        jax.vmap(one_carefully),
        lambda sources, tangents, responses, _: jax.vmap(one)(sources, tangents, responses),
        sources,
        tangents,
        responses,
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


def gradients(
    inputs: Inputs,
    networks: Networks,
    first: Layer,
    hidden: Layer | None,
    loss: jax.Array | Readout,
    depths: Sequence[int],
    settings: Settings,
    *,
    block: int,
    edges: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """log10 RMS of the gradients of N networks, for every depth: two float64 arrays [N, depths, layers].

    hidden: every hidden layer to the deepest. loss: see `gradients.way_back`. edges: of histograms, in units of
    the RMS, of the deepest network: [N, layers, bins + 3], else None. block: networks at a time.
    dLoss/da first, dLoss/dW second; NaN beyond the depth.
    """
    count = networks.hidden.mantissa.shape[0]
    blocks = -(-count // block)
    chosen = np.minimum(np.arange(blocks * block), count - 1).reshape(blocks, block)
    stacked = jax.tree.map(lambda x: x[chosen], networks)
    shifted = None if edges is None else jnp.asarray(edges, jnp.float32)
    found = _gradients(inputs, stacked, first, hidden, loss, jnp.asarray(depths, jnp.int32), shifted, settings)
    found = jax.tree.map(lambda x: np.asarray(x).reshape(blocks * block, *x.shape[2:])[:count], jax.device_get(found))
    layers = np.arange(1, found.preact.mean_square.shape[2] + 1)
    beyond = layers > np.asarray(depths)[:, None]
    samples = inputs.samples.shape[0]
    preact, weight = (
        np.where(beyond, np.nan, log10_root(growth) - np.log10(samples)) for growth in (found.preact, found.weight)
    )
    return preact, weight, found.histogram


@partial(jax.jit, static_argnames="settings")
def _gradients(inputs, stacked, first, hidden, loss, depths, edges, settings: Settings) -> Gradients:
    fixed = (settings.activation, settings.normalization, settings.precision)

    def one(networks: Networks) -> Gradients:
        kept = way_forth(inputs.signal, first, hidden, networks.first, networks.hidden, networks.bias, *fixed)

        def back(depth: jax.Array, edges: jax.Array | None) -> Gradients:
            return way_back(depth, kept, inputs.signal, first, hidden, networks.hidden, loss, *fixed, edges)

        found = jax.lax.map(lambda depth: back(depth, None), depths)
        if edges is None:
            return found
        return found._replace(histogram=back(jnp.max(depths), edges).histogram)

    return jax.lax.map(jax.vmap(one), stacked)


def singular_values(
    inputs: Inputs,
    networks: Networks,
    first: Layer,
    hidden: Layer | None,
    depths: Sequence[int],
    settings: Settings,
) -> dict[str, np.ndarray]:
    """Singular values of d a_L / d a_1 for the inputs given, summarised (`spectrum.SUMMARY`): arrays [depths, N].

    hidden: every hidden layer to the deepest. Not for batch normalisation, which joins the inputs.
    """
    count = networks.hidden.mantissa.shape[0]
    if hidden is None:
        values = np.ones((count, len(depths), inputs.samples.shape[0], first.weights.shape[1]))
        found = Spectrum(values, np.zeros((count, len(depths)), np.int32))
    else:
        kept = _slopes(inputs, networks, first, hidden, settings)
        with jax.enable_x64(True):
            wanted = jnp.asarray(depths, jnp.int32)
            found = _spectra(kept, hidden.weights, networks.hidden, wanted, settings.normalization)
    return {name: np.moveaxis(x, 0, 1) for name, x in summary(jax.device_get(found)).items()}


@partial(jax.jit, static_argnames="settings")
def _slopes(inputs, networks, first, hidden, settings: Settings) -> Kept:
    fixed = (settings.activation, settings.normalization, settings.precision)

    def one(networks: Networks) -> Kept:
        kept = way_forth(inputs.signal, first, hidden, networks.first, networks.hidden, networks.bias, *fixed)
        return jax.tree.map(lambda x: x[:-1], kept)

    return jax.vmap(one)(networks)


@partial(jax.jit, static_argnames="normalization")
def _spectra(kept, draws, weights, depths, normalization: str) -> Spectrum:
    return jax.lax.map(lambda each: spectrum(each[0], draws, each[1], depths, normalization), (kept, weights))


@lru_cache(maxsize=4)
def readout(seed: int, width: int, classes: int) -> jax.Array:
    """Weights of a linear readout: [width, classes], normal of variance 1 / width."""
    key = initializers.stream_key(seed, "readout", width, classes)
    return jax.random.normal(key, (width, classes)) / math.sqrt(width)


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
    return columns(
        sums,
        np.asarray(measured.nonfinite),
        Growth(measured.tangent.mean_square / measured.tangent.mean_square[:1], measured.tangent.exponent),
        samples=samples,
        width=width,
        at_zero=activation.at_zero,
        log10_scale=log10_scale,
        log10_jacobian_scale=log10_jacobian_scale,
    )
