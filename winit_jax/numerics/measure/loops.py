"""Loops whose compiled body is the same however often it runs.

XLA takes a loop of one turn apart and fuses its body with what stands around it, which changes last digits. Here the
number of turns is an argument of the program, so that a loop stays one: what a turn computes does not depend on how
many there are.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import jaxpr_as_fun


def scan(step: Callable[[Any, Any], tuple[Any, Any]], carry: Any, xs: Any, turns: jax.Array) -> tuple[Any, Any]:
    """`jax.lax.scan` over the first `turns` entries of xs; what is left of the outputs is 0.

    turns: int32, an argument of the compiled program and not a constant in it.
    """

    def entry(index: jax.Array) -> Any:
        chosen = jax.tree.map(lambda x: jax.lax.dynamic_index_in_dim(x, index, keepdims=False), xs)
        return jax.lax.optimization_barrier(chosen)  # of a single entry XLA would fuse the choice away, and then more

    length = jax.tree.leaves(xs)[0].shape[0]
    # Traced once, for its outputs must have room before the loop begins.
    traced, (_, shapes) = jax.make_jaxpr(step, return_shape=True)(carry, jax.eval_shape(entry, jnp.int32(0)))
    outputs = jax.tree.map(lambda leaf: jnp.zeros((length, *leaf.shape), leaf.dtype), shapes)
    run, structure = jaxpr_as_fun(traced), jax.tree.structure((carry, outputs))

    def turn(index: jax.Array, state: tuple[Any, Any]) -> tuple[Any, Any]:
        carry, outputs = state
        carry, output = jax.tree.unflatten(structure, run(*jax.tree.leaves((carry, entry(index)))))
        update = jax.lax.dynamic_update_index_in_dim
        return carry, jax.tree.map(lambda rows, row: update(rows, row, index, 0), outputs, output)

    swept: tuple[Any, Any] = jax.lax.fori_loop(0, turns, turn, (carry, outputs))
    return swept


def each(run: Callable[[Any], Any], xs: Any, turns: jax.Array) -> Any:
    """`jax.lax.map` over the first `turns` entries of xs; see `scan`."""
    return scan(lambda carry, x: (carry, run(x)), (), xs, turns)[1]
