"""The loss of a function that is measured: its own, or one along random directions of what it returns."""

from typing import Any

import jax
import jax.numpy as jnp


def loss_of(out: Any, key: jax.Array) -> jax.Array:
    """The loss whose gradients are measured: what the function returns, where that is one number.

    Else a mean over samples of <c_i, out_i> with a random unit direction c_i a sample, as of a sweep; a sample is what
    lies along the first axis of an output. Several outputs add.
    """
    leaves = [leaf for leaf in jax.tree.leaves(out) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    if len(leaves) == 1 and not leaves[0].shape:
        loss: jax.Array = leaves[0].astype(jnp.float32)
        return loss
    total = jnp.zeros(())
    for number, leaf in enumerate(leaves):
        rows = leaf.astype(jnp.float32).reshape(leaf.shape[0] if leaf.ndim else 1, -1)
        total += jnp.sum(rows * directions_of(key, number, rows.shape)) / rows.shape[0]
    return total


def directions_of(key: jax.Array, number: int, shape: tuple[int, ...]) -> jax.Array:
    """The random unit directions of an output: [rows, n]. number: of the output among all of the function's."""
    directions: jax.Array = jax.random.normal(jax.random.fold_in(key, number), shape)
    directions /= jnp.linalg.norm(directions, axis=1, keepdims=True)
    return directions
