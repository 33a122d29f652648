"""A dense layer of many networks by the kernel: the same step as that of `layers`, with the same results.

What is of a network or of a unit, as scales, offsets and means, is worked out before, and the sums of tiles are put
together behind, both by the functions that XLA's step is made of.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from winit_jax.numerics.blocks import Update
from winit_jax.numerics.blocks.affine import affine
from winit_jax.numerics.blocks.dense import Affine
from winit_jax.numerics.changes import Tangent, rescaled, slope_exponent
from winit_jax.numerics.draws import Layer
from winit_jax.numerics.measure.kernel import OfTiles, Scalars, through_layer, tile_of
from winit_jax.numerics.measure.networks import INTERPRETED, XLA, Networks, Settings
from winit_jax.numerics.measure.states import Measured, State
from winit_jax.numerics.measure.statistics import Moments, Sums, count_histogram, stream_of, summed_up
from winit_jax.numerics.scaled import Scaled, power_of_two
from winit_jax.numerics.signals import (
    Argument,
    Preactivation,
    Raising,
    Signal,
    raising,
    response_exponents,
)

# One update of a layer, as `layers.descend` takes it.
Step = Callable[..., tuple[State, Measured]]


def covers(settings: Settings) -> bool:
    """Whether the kernel computes such layers: dense, of float32, without normalization, of rows without positions."""
    is_dense = settings.block.updates == (Affine(),) and settings.block.responds and not settings.block.skip
    plain = settings.normalization.is_none and not (settings.rounds or settings.unit_variance)
    return is_dense and plain and settings.layout.positions == 1


def is_asked(networks: Networks, settings: Settings) -> bool:
    """Whether these networks go through their layers by the kernel."""
    return settings.kernel != XLA and networks.skip is None and covers(settings)


def by_kernel(by_xla: Step) -> Step:
    """The step of `is_asked` networks. by_xla: the one of all others, which gives the change of a layer that is
    saturated throughout, whose slopes are nothing to float32."""
    return partial(_step, by_xla)


def _step(
    by_xla: Step,
    at: int,
    update: Update,
    states: State,
    draws: tuple[Layer, ...],
    networks: Networks,
    edges: jax.Array | None,
    settings: Settings,
) -> tuple[State, Measured]:
    (layer,), change = draws, states.change
    before: Any = jax.vmap(partial(_before, layer=layer, settings=settings))
    preactivations, raisings, weights = before(states.signal, networks.updates[at])
    added = jnp.zeros_like(raisings.exponent) if raisings.added is None else raisings.added
    of_change = weights.value if change is None else change.factor * weights.value
    tiles = through_layer(
        states.signal.response.value,
        None if change is None else change.value,
        layer.weights,
        Scalars(raisings.factor, power_of_two(-added), power_of_two(added), of_change),
        preactivations.product_mean,
        raisings.offset,
        settings.outer,
        settings.saturation_threshold,
        settings.precision,
        interpret=settings.kernel == INTERPRETED,
    )
    signals, sums = jax.vmap(partial(_behind, settings=settings))(preactivations, raisings, tiles)
    squares, changes = None, None
    if change is not None:
        squares, changes = jax.vmap(partial(_changed, settings=settings))(change, raisings, weights, tiles)
        everywhere = sums.response.saturated == tiles.response[0].size

        def carefully(plain: Tangent) -> Tangent:
            # Whose products are of changes without a factor.
            whole = change._replace(value=change.factor[:, None, None] * change.value)
            whole = whole._replace(factor=jnp.ones_like(change.factor))
            exact = by_xla(at, update, states._replace(change=whole), draws, networks, None, settings)[0].change
            choose: Any = jax.vmap(lambda careful, *both: jax.tree.map(partial(jnp.where, careful), *both))
            chosen: Tangent = choose(everywhere, exact, plain)
            return chosen

        changes = jax.lax.cond(jnp.any(everywhere), carefully, lambda plain: plain, changes)
    histogram = None
    if edges is not None:
        exponents = (sums.response.left_exponent, sums.response.exponent)
        histogram = jax.vmap(count_histogram, in_axes=(0, 0, None))(tiles.response, exponents, edges)
    nonfinite = jnp.sum(tiles.nonfinite, axis=(1, 2))
    return State(signals, changes, None), Measured(sums, squares, nonfinite, histogram)


def _before(signal: Signal, scales: Any, layer: Layer, settings: Settings) -> tuple[Preactivation, Raising, Scaled]:
    """(a without its product, how phi's argument comes of that, the weight) of one network."""
    (weight,), (bias,) = scales.weights, scales.biases
    product_mean = jnp.matmul(signal.unit_mean, layer.weights, precision=settings.precision)
    nothing = jnp.zeros((1, layer.weights.shape[1]))
    at_zero = settings.activation.at_zero
    without = affine(nothing, product_mean, signal, layer, weight, bias, settings.outer, at_zero=at_zero)
    return without, raising(without, settings.outer), weight


def _behind(preactivation: Preactivation, by: Raising, tiles: OfTiles, settings: Settings) -> tuple[Signal, Sums]:
    """(The response as a signal, its sums) of one network."""
    rows, width = tiles.response.shape
    means = jnp.sum(tiles.sums, axis=0) / rows
    # sum (x - mean)^2 over tiles: of each about its own mean, and of that about the mean of all.
    height = tile_of(rows, width).rows
    heights = jnp.minimum(height, rows - height * jnp.arange(len(tiles.sums)))[:, None].astype(jnp.float32)
    apart = heights * jnp.square(tiles.sums / heights - means)
    found = Moments(
        means=means,
        within=jnp.sum(tiles.within) + jnp.sum(apart),
        rows=jnp.sum(tiles.rows, axis=0),
        least=jnp.min(tiles.least),
        most=jnp.max(tiles.most),
        least_argument=None if settings.activation.lower is None else jnp.min(tiles.least_argument),
        saturated=jnp.sum(tiles.saturated, axis=0),
        zero=jnp.sum(tiles.zero),
    )
    exponents = response_exponents(by.exponent, by.added, settings.outer)
    signal, of_response = summed_up(found, tiles.response, by.exponent, exponents)
    return signal, Sums(stream_of(preactivation, jnp.sum(tiles.stream_within)), of_response)


def _changed(
    change: Tangent, by: Raising, weight: Scaled, tiles: OfTiles, settings: Settings
) -> tuple[Scaled, Tangent]:
    """(Mean square of the change of a, the change of psi) of one network."""
    assert tiles.change is not None
    assert tiles.change_square is not None
    square = jnp.sum(tiles.change_square) / tiles.response.size
    arrived = Tangent(tiles.change, weight.exponent + change.exponent, jnp.float32(1.0))
    left = rescaled(arrived, square)
    of_slope = slope_exponent(Argument(tiles.response, by.exponent), settings.outer)
    return Scaled(square, 2 * arrived.exponent), left._replace(exponent=left.exponent + of_slope)
