"""The stream of pre-activations that a block adds to: skip * a_{l-1} + branch, the two aligned before they are added.

The branch comes with its scale already in it. Both terms keep their parts (product, its mean, offset), so that what is
centered before it is squared stays so, and what batch normalization cancels is never rounded into the rest.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from winit_jax.numerics.activations import Activation
from winit_jax.numerics.changes import Tangent
from winit_jax.numerics.scaled import EXPONENT_LIMIT, Scaled, power_of_two, root_exponent
from winit_jax.numerics.signals import Argument, Preactivation, clipped_off


class Stream(NamedTuple):
    """What a network with a skip hands on beside its response.

    value: the stream a_l. size_exponent: int32, log2 of its RMS, rounded up; -EXPONENT_LIMIT for 0. change: of it, None
    where no tangent is carried.
    """

    value: Preactivation
    size_exponent: jax.Array
    change: Tangent | None


def as_stream(preactivation: Preactivation, mean_square: jax.Array, change: Tangent | None) -> Stream:
    """A layer's pre-activations as what stands beside the next block. mean_square: of their value."""
    root = root_exponent(mean_square)
    size = jnp.where(root == -EXPONENT_LIMIT, root, root + preactivation.exponent)
    return Stream(preactivation._replace(distinct=None, size_exponent=None), size, change)


def add_to_stream(stream: Stream, skip: Scaled, branch: Preactivation, activation: Activation) -> Preactivation:
    """skip * stream + branch, at a scale that float32 holds for phi.

    skip: scalars. branch: with its `size_exponent`.
    """
    value = stream.value
    zero = (skip.value == 0) | (stream.size_exponent == -EXPONENT_LIMIT)
    kept = jnp.where(zero, -EXPONENT_LIMIT, stream.size_exponent + skip.exponent)
    assert branch.size_exponent is not None
    size = jnp.maximum(kept, branch.size_exponent)
    exponent = clipped_off(size, activation)
    of_stream = value.scale.times(skip).in_units_of(exponent - value.exponent)
    of_branch = branch.scale.in_units_of(exponent - branch.exponent)
    offset_of_stream = skip.in_units_of(exponent - value.exponent)
    offset_of_branch = power_of_two(branch.exponent - exponent)
    one = Scaled(jnp.ones_like(skip.value), jnp.zeros_like(skip.exponent))
    return Preactivation(
        product=of_stream * value.product + of_branch * branch.product,
        product_mean=of_stream * value.product_mean + of_branch * branch.product_mean,
        scale=one,
        offset=offset_of_stream * value.offset + offset_of_branch * branch.offset,
        exponent=exponent,
    )


def add_changes(stream: Tangent, skip: Scaled, branch: Tangent) -> Tangent:
    """skip * stream + branch of two changes, aligned to the larger scale."""
    kept = Scaled(skip.value * stream.factor * stream.value, skip.exponent + stream.exponent)
    added = kept.plus(Scaled(branch.factor * branch.value, branch.exponent))
    return Tangent(added.value, added.exponent, jnp.ones_like(branch.factor))


def normalized_stream(argument: Argument) -> Preactivation:
    """The argument of phi as a stream of its own: what a normalization behind the block hands on."""
    value = argument.value
    nothing = jnp.zeros(value.shape[1:], value.dtype)
    one = Scaled(jnp.ones_like(value[0, 0]), jnp.zeros_like(argument.exponent))
    return Preactivation(value, jnp.mean(value, axis=0), one, nothing, argument.exponent)
