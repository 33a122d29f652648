"""From one signal to the next stream: an update, what stands beside it, and the normalization behind both.

a <- post(skip a + update(h))
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from winit_jax.numerics import narrow
from winit_jax.numerics.blocks import Scales, Update
from winit_jax.numerics.blocks.affine import stem
from winit_jax.numerics.blocks.protocol import Inner
from winit_jax.numerics.blocks.stream import Stream, add_changes, add_to_stream, normalized_stream
from winit_jax.numerics.changes import Tangent
from winit_jax.numerics.draws import Layer
from winit_jax.numerics.measure import removal
from winit_jax.numerics.measure.networks import Networks, Settings
from winit_jax.numerics.narrow import Limits, Lost
from winit_jax.numerics.scaled import EXPONENT_LIMIT, Scaled
from winit_jax.numerics.signals import Argument, Preactivation, Signal, clipped_off


class Advanced(NamedTuple):
    """The next stream, its change (None where none is carried), what the normalization behind the update made, and
    what the update says of itself (see `blocks.protocol.Branch`).

    lost: what became of the stream when it was rounded, None for float32. factors: of the weights of the update, see
    `scaled_to_unit_variance`.
    """

    preactivation: Preactivation
    change: Tangent | None
    behind: Argument | None
    inner: Inner | None = None
    entropy: jax.Array | None = None
    lost: Lost | None = None
    factors: Scaled | None = None


def enter_one(inputs: Signal, first: Layer, network: Networks, settings: Settings) -> tuple[Preactivation, Lost | None]:
    """(a_1 of one network, what became of it when it was rounded). network: scalars."""
    weight, bias, to = network.first, network.bias, network.format
    if to is not None:
        (first,), (weight,), (bias,) = narrow.weights((first,), (weight,), (bias,), to)
    product = jnp.matmul(inputs.response.value, first.weights, precision=settings.precision)
    product_mean = jnp.matmul(inputs.unit_mean, first.weights, precision=settings.precision)
    entered = stem(product, product_mean, inputs, first, weight, bias, settings.outer, settings.removes)
    return (entered, None) if to is None else narrow.preactivation(entered, to)


def advance(
    update: Update,
    signal: Signal,
    change: Tangent | None,
    stream: Stream | None,
    draws: Sequence[Layer],
    scales: Scales,
    network: Networks,
    settings: Settings,
) -> Advanced:
    """One update on.

    change: of the signal. stream: None without a skip. draws, scales: of the update. network: scalars.
    """
    to = network.format
    if to is not None:
        draws, stds, bias_stds = narrow.weights(draws, scales.weights, scales.biases, to)
        scales = scales._replace(weights=stds, biases=bias_stds)
    branch = update.forward(signal, change, draws, scales, settings.context(network))
    preactivation, change, lost = branch.preactivation, branch.change, None
    if to is not None:
        preactivation, change, lost = _rounded(preactivation, change, stream, network, settings, to)
    elif stream is not None:
        assert network.skip is not None
        preactivation = add_to_stream(stream, network.skip, preactivation, settings.outer)
        if change is not None and stream.change is not None:
            change = add_changes(stream.change, network.skip, change)
    normalization = settings.behind
    if normalization.is_none:
        return Advanced(preactivation, change, None, branch.inner, branch.entropy, lost)
    argument = normalization.argument(preactivation, settings.outer, network.epsilon)
    if change is not None:
        through = normalization.through(change.factor * change.value, argument)
        change = Tangent(through.value, change.exponent + through.exponent, jnp.ones_like(change.factor))
    preactivation = normalized_stream(argument)
    if to is not None:
        preactivation, lost = narrow.preactivation(preactivation, to)
        change = None if change is None else narrow.tangent(change, to)
    return Advanced(preactivation, change, argument, branch.inner, branch.entropy, lost)


def _rounded(
    branch: Preactivation,
    change: Tangent | None,
    stream: Stream | None,
    network: Networks,
    settings: Settings,
    to: Limits,
) -> tuple[Preactivation, Tangent | None, Lost]:
    """skip_scale times the stream and branch_scale times an update, and the change of it, rounded at each step.

    Steps are the product, its multiple and the sum; what is counted as lost is that of the sum of them all.
    """
    assert network.branch is not None
    scale = network.branch

    def times_branch(a: Preactivation) -> Preactivation:
        assert a.size_exponent is not None
        size = jnp.where(scale.value == 0, -EXPONENT_LIMIT, a.size_exponent + scale.exponent)
        exponent = clipped_off(size, settings.outer)
        factor = Scaled(scale.value, scale.exponent + a.exponent - exponent)
        offset = factor.in_units_of(0) * a.offset
        return a._replace(scale=a.scale.times(factor), offset=offset, exponent=exponent, size_exponent=size)

    def near(a: Preactivation) -> Preactivation:
        return narrow.preactivation(a, to)[0]

    exact, branch = times_branch(branch), near(times_branch(near(branch)))
    if change is not None:
        change = narrow.tangent(change, to)
        scaled = Tangent(change.value, change.exponent + scale.exponent, change.factor * scale.value)
        change = narrow.tangent(scaled, to)
    if stream is None:
        return branch, change, narrow.preactivation(exact, to)[1]
    assert network.skip is not None
    added, exact = (add_to_stream(stream, network.skip, each, settings.outer) for each in (branch, exact))
    if change is not None and stream.change is not None:
        change = narrow.tangent(add_changes(stream.change, network.skip, change), to)
    return near(added), change, narrow.preactivation(exact, to)[1]


def scaled_to_unit_variance(
    update: Update, signal: Signal, draws: Sequence[Layer], scales: Scales, network: Networks, settings: Settings
) -> tuple[Scales, Scaled | None]:
    """(The scales with each matrix multiplied so that its products have variance 1, the factors side by side).

    Factors are [places], as many as the block has in one update at most, and NaN where an update has fewer. Where the
    settings ask for no such thing, the scales are as they are.
    """
    if not settings.unit_variance:
        return scales, None
    factors = update.unit_variance(signal, draws, scales, settings.context(network))
    return scales.times(factors), side_by_side(factors, settings)


def side_by_side(factors: Sequence[Scaled], settings: Settings) -> Scaled:
    """Scalars as one array of as many places as an update of the block has at most, NaN where there are fewer."""
    places = max(len(update.places(1)) for update in settings.block.updates)
    missing = (Scaled(jnp.float32(jnp.nan), jnp.int32(0)),) * (places - len(factors))
    stacked: Scaled = jax.tree.map(lambda *x: jnp.stack(x), *factors, *missing)
    return stacked


def is_watched(networks: Networks, samples: int, width: int, settings: Settings) -> bool:
    """Whether the normalization before phi may remove changes whole.

    A skip would hand them on beside it, a convolution those of other positions.
    """
    if settings.rounds:  # which rounding is what is measured
        return False
    row_by_row = settings.block.responds and not settings.block.needs_positions
    watched = removal.is_watched(settings.before, samples, width, settings.constant)
    return networks.skip is None and row_by_row and watched
