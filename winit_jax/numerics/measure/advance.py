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
from winit_jax.numerics.signals import Argument, Preactivation, Signal


class Advanced(NamedTuple):
    """The next stream, its change (None where none is carried), what the normalization behind the update made, and
    what the update says of itself (see `blocks.protocol.Branch`)."""

    preactivation: Preactivation
    change: Tangent | None
    behind: Argument | None
    inner: Inner | None = None
    entropy: jax.Array | None = None


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


def is_watched(networks: Networks, samples: int, width: int, settings: Settings) -> bool:
    """Whether the normalization before phi may remove changes whole.

    A skip would hand them on beside it, a convolution those of other positions.
    """
    row_by_row = settings.block.responds and not settings.block.needs_positions
    watched = removal.is_watched(settings.before, samples, width, settings.constant)
    return networks.skip is None and row_by_row and watched
