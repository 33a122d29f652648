"""From one signal to the next stream: an update, what stands beside it, and the normalization behind both.

a <- post(skip a + update(h))
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from winit_jax.numerics.blocks import Scales, Update
from winit_jax.numerics.blocks.protocol import Inner
from winit_jax.numerics.blocks.stream import Stream, add_changes, add_to_stream, normalized_stream
from winit_jax.numerics.changes import Tangent
from winit_jax.numerics.draws import Layer
from winit_jax.numerics.measure import removal
from winit_jax.numerics.measure.networks import Networks, Settings
from winit_jax.numerics.scaled import Scaled
from winit_jax.numerics.signals import Argument, Preactivation, Signal


class Advanced(NamedTuple):
    """The next stream, its change (None where none is carried), what the normalization behind the update made, and
    what the update says of itself (see `blocks.protocol.Branch`). factors: of its weights, see
    `scaled_to_unit_variance`."""

    preactivation: Preactivation
    change: Tangent | None
    behind: Argument | None
    inner: Inner | None = None
    entropy: jax.Array | None = None
    factors: Scaled | None = None


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
    branch = update.forward(signal, change, draws, scales, settings.context)
    preactivation, change = branch.preactivation, branch.change
    if stream is not None:
        assert network.skip is not None
        preactivation = add_to_stream(stream, network.skip, preactivation, settings.outer)
        if change is not None and stream.change is not None:
            change = add_changes(stream.change, network.skip, change)
    normalization = settings.behind
    if normalization.is_none:
        return Advanced(preactivation, change, None, branch.inner, branch.entropy)
    argument = normalization.argument(preactivation, settings.outer, network.epsilon)
    if change is not None:
        through = normalization.through(change.factor * change.value, argument)
        change = Tangent(through.value, change.exponent + through.exponent, jnp.ones_like(change.factor))
    return Advanced(normalized_stream(argument), change, argument, branch.inner, branch.entropy)


def scaled_to_unit_variance(
    update: Update, signal: Signal, draws: Sequence[Layer], scales: Scales, settings: Settings
) -> tuple[Scales, Scaled | None]:
    """(The scales with each matrix multiplied so that its products have variance 1, the factors side by side).

    Factors are [places], as many as the block has in one update at most, and NaN where an update has fewer. Where the
    settings ask for no such thing, the scales are as they are.
    """
    if not settings.unit_variance:
        return scales, None
    factors = update.unit_variance(signal, draws, scales, settings.context)
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
    row_by_row = settings.block.responds and not settings.block.needs_positions
    watched = removal.is_watched(settings.before, samples, width, settings.constant)
    return networks.skip is None and row_by_row and watched
