"""Sums over many samples on the device, slice by slice: what every statistic is made of."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

# Slices per stage of `over_samples`. Adding slices is elementwise work, which XLA turns into wide vector
# code on every jaxlib; its own reductions over samples are several times slower on some.
FOLD = 20


def over_samples(x: jax.Array, combine: Callable[[jax.Array, jax.Array], jax.Array] = jnp.add) -> jax.Array:
    """Combine [samples, width] over samples, pairwise in slices: [m, width] with m about samples / FOLD.

    combine: an elementwise function of two arrays. What is left is small; reduce it as usual.
    """
    samples = x.shape[0]
    length = samples // FOLD
    if length == 0:
        return x
    slices = [jax.lax.slice_in_dim(x, i * length, (i + 1) * length) for i in range(FOLD)]
    while len(slices) > 1:
        pairs = [combine(a, b) for a, b in zip(slices[::2], slices[1::2], strict=False)]
        slices = pairs + slices[len(slices) - len(slices) % 2 :]
    folded = jax.lax.optimization_barrier(slices[0])
    rest = jax.lax.slice_in_dim(x, FOLD * length, samples)
    return folded if rest.shape[0] == 0 else jnp.concatenate([folded, rest])


def total(x: jax.Array) -> jax.Array:
    """The sum of all entries of [samples, width]."""
    return jnp.sum(over_samples(x))


def mean_square(x: jax.Array) -> jax.Array:
    """Mean of x^2 over [samples, width]."""
    return total(jnp.square(x)) / x.size
