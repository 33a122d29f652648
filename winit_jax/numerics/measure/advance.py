"""From one layer's signal to the next stream: the block, what stands beside it, and the normalization behind both.

a_l = post(skip a_{l-1} + block(h_{l-1}))
"""

from typing import NamedTuple

import jax.numpy as jnp

from winit_jax.numerics.blocks.protocol import push_linear
from winit_jax.numerics.blocks.stream import Stream, add_changes, add_to_stream, normalized_stream
from winit_jax.numerics.changes import Tangent
from winit_jax.numerics.draws import Layer
from winit_jax.numerics.measure import removal
from winit_jax.numerics.measure.networks import Networks, Settings
from winit_jax.numerics.signals import Argument, Preactivation, Signal


class Advanced(NamedTuple):
    """The next stream, its change (None where none is carried), and what the normalization behind the block made."""

    preactivation: Preactivation
    change: Tangent | None
    behind: Argument | None


def advance(
    signal: Signal, change: Tangent | None, stream: Stream | None, layer: Layer, network: Networks, settings: Settings
) -> Advanced:
    """One layer on. change: of the signal. stream: None without a skip. network: scalars."""
    block, activation, precision, removes = settings.block, settings.activation, settings.precision, settings.removes
    bias = network.bias if network.branch_bias is None else network.branch_bias
    scales = (network.hidden, bias, activation)
    preactivation = block.forward(signal, layer, *scales, precision=precision, removes=removes)
    if change is not None:
        change = push_linear(block, change, layer, network.hidden, precision)
        if removes == "product":  # all units share it
            change = change._replace(value=jnp.broadcast_to(change.value[:, :1], change.value.shape))
    if stream is not None:
        assert network.skip is not None
        preactivation = add_to_stream(stream, network.skip, preactivation, activation)
        if change is not None and stream.change is not None:
            change = add_changes(stream.change, network.skip, change)
    normalization = settings.behind
    if normalization.is_none:
        return Advanced(preactivation, change, None)
    argument = normalization.argument(preactivation, activation, network.epsilon)
    if change is not None:
        through = normalization.through(change.factor * change.value, argument)
        change = Tangent(through.value, change.exponent + through.exponent, jnp.ones_like(change.factor))
    return Advanced(normalized_stream(argument), change, argument)


def is_watched(networks: Networks, samples: int, width: int, settings: Settings) -> bool:
    """Whether the normalization before phi may remove changes whole, which a skip would hand on beside it."""
    return networks.skip is None and removal.is_watched(settings.before, samples, width, settings.constant)
