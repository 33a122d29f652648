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
from winit_jax.network import Layer, Preactivation, Scale, Signal, preactivate, respond, scale_product
from winit_jax.statistics import Sums, columns, count_histogram, count_nonfinite, exponent_of, measure

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


class Measured(NamedTuple):
    """What a pass leaves: Sums of [layers, N], nonfinite counts [layers, N], histograms or None."""

    sums: Sums
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
    settings: Settings,
    *,
    block: int,
    edges: np.ndarray | None = None,
) -> Measured:
    """Measure every layer of N networks that share their draws.

    hidden: stacks of layers (leading axis), in order, each drawn when its turn comes; several where one
        would not fit in memory.
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
        parts = [_all_layers(inputs, stacked, first, stack, shifted, settings)]
    else:
        signals, part = _first_layer(inputs, stacked, first, shifted, settings)
        parts = [part]
        while stack is not None:
            signals, part = _next_layers(signals, stacked, stack, shifted, settings)
            parts.append(part)
            stack, following = following, next(stacks, None)

    def join(*arrays: jax.Array) -> np.ndarray:  # [blocks, layers, block, ...] -> [layers, N, ...]
        x = np.moveaxis(np.concatenate(jax.device_get(arrays), axis=1), 0, 1)
        return x.reshape(x.shape[0], blocks * block, *x.shape[3:])[:, :count]

    return jax.tree.map(join, *parts)


@partial(jax.jit, static_argnames="settings")
def _all_layers(inputs, stacked, first, hidden, edges, settings: Settings):
    def one_block(networks):
        signals, measured = _enter(inputs, networks, first, edges, settings)
        measured = jax.tree.map(lambda x: x[None], measured)
        if hidden is None:
            return measured
        _, rest = _descend(signals, networks, hidden, edges, settings)
        return jax.tree.map(lambda a, b: jnp.concatenate([a, b]), measured, rest)

    return jax.lax.map(one_block, stacked)


@partial(jax.jit, static_argnames="settings")
def _first_layer(inputs, stacked, first, edges, settings: Settings):
    def one_block(networks):
        signals, measured = _enter(inputs, networks, first, edges, settings)
        return signals, jax.tree.map(lambda x: x[None], measured)

    return jax.lax.map(one_block, stacked)


@partial(jax.jit, static_argnames="settings")
def _next_layers(signals, stacked, hidden, edges, settings: Settings):
    def one_block(block):
        return _descend(block[0], block[1], hidden, edges, settings)

    return jax.lax.map(one_block, (signals, stacked))


def _enter(inputs: Inputs, networks: Networks, first: Layer, edges, settings: Settings):
    """The first layer of a block: one product of the inputs serves all its networks."""
    signal = inputs.signal
    product = jnp.matmul(signal.response, first.weights, precision=settings.precision)
    product_mean = jnp.matmul(signal.unit_mean, first.weights, precision=settings.precision)

    def one(weight: Scale, bias: Scale):
        scaled = scale_product(product, product_mean, signal, first, weight, bias, settings.activation, first=True)
        return _finish(scaled, settings)

    signals, sums = jax.vmap(one)(networks.first, networks.bias)
    return _with_counts(signals, sums, edges)


def _descend(signals: Signal, networks: Networks, hidden: Layer, edges, settings: Settings):
    """A block through a stack of hidden layers: signals out, and what was measured at each."""

    def step(signals: Signal, layer: Layer):
        def one(signal: Signal, weight: Scale, bias: Scale):
            return _finish(
                preactivate(signal, layer, weight, bias, settings.activation, precision=settings.precision), settings
            )

        signals, sums = jax.vmap(one)(signals, networks.hidden, networks.bias)
        return _with_counts(signals, sums, edges)

    return jax.lax.scan(step, signals, hidden)


def _finish(preactivation: Preactivation, settings: Settings) -> tuple[Signal, Sums]:
    argument, response, exponents = respond(preactivation, settings.activation, settings.normalization)
    # Statistics read the response from memory; without the barrier XLA would compute phi once for each.
    response = jax.lax.optimization_barrier(response)
    return measure(preactivation, argument, response, exponents, settings.activation, settings.saturation_threshold)


def _with_counts(signals: Signal, sums: Sums, edges) -> tuple[Signal, Measured]:
    """Non-finite responses are looked for only where a sum is not finite, which is rare."""
    counted = jax.lax.cond(
        jnp.all(jnp.isfinite(sums.response_within)),
        lambda response: jnp.zeros(response.shape[0], jnp.int32),
        jax.vmap(count_nonfinite),
        signals.response,
    )
    histogram = None
    if edges is not None:
        exponents = (sums.left_exponent, sums.exponent)
        histogram = jax.vmap(count_histogram, in_axes=(0, 0, None))(signals.response, exponents, edges)
    return signals, Measured(sums, counted, histogram)


def to_columns(
    measured: Measured,
    activation: Activation,
    *,
    samples: int,
    width: int,
    log10_scale: np.ndarray | float = 0.0,
) -> dict[str, np.ndarray]:
    """The measured columns of a pass as float64 arrays of [layers, N] (see statistics.columns)."""
    sums = Sums._make(np.asarray(x) for x in measured.sums)
    return columns(
        sums,
        np.asarray(measured.nonfinite),
        samples=samples,
        width=width,
        at_zero=activation.at_zero,
        log10_scale=log10_scale,
    )
