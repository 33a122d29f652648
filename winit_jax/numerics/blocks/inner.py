"""phi inside a block, with its changes on their way forth and back."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap

from winit_jax.numerics import narrow
from winit_jax.numerics.activations import Activation
from winit_jax.numerics.blocks.protocol import Inner
from winit_jax.numerics.changes import Tangent, careful_push, normalized_slope, pull, push, slope
from winit_jax.numerics.folding import over_samples
from winit_jax.numerics.narrow import Limits
from winit_jax.numerics.normalization import NONE
from winit_jax.numerics.signals import Preactivation, lowered, raised, respond, signal_of

# Where no slope is more than this share of the largest that phi has, slopes are computed anew, however small.
FLAT = 0.05


def answer(preactivation: Preactivation, activation: Activation, to: Limits | None = None) -> Inner:
    """phi of what a block's first weights give. to: the format that both are rounded to, if any."""
    if to is not None:
        preactivation, _ = narrow.preactivation(preactivation, to)
    argument = raised(preactivation, activation)
    response, exponents = respond(argument, activation)
    # Several read the response from memory; without the barrier XLA would compute phi once for each.
    response = lowered(jax.lax.optimization_barrier(response), argument)
    if to is not None:
        return Inner(argument, exponents, narrow.answer(response, exponents, to))
    return Inner(argument, exponents, signal_of(response, exponents))


def push_answer(change: Tangent, inner: Inner, activation: Activation) -> Tangent:
    """The change of the response; to all digits also where every slope is nearly 0."""
    slopes = slope(inner.argument, inner.signal.response.value, activation)
    plain = push(change, slopes, inner.argument, NONE)
    largest = jnp.max(over_samples(jnp.abs(slopes.value), jnp.maximum))

    @custom_vmap
    def choose(plain: Any, argument: Any, change: Any, flat: jax.Array) -> Any:
        careful = careful_push(change, argument, activation, NONE)
        return jax.tree.map(lambda x, y: jnp.where(flat, x, y), careful, plain)

    @choose.def_vmap
    def of_many(size: int, batched: Any, plain: Any, argument: Any, change: Any, flat: Any) -> Any:
        def each(x: jax.Array, is_batched: bool) -> jax.Array:
            return x if is_batched else jnp.broadcast_to(x, (size, *x.shape))

        given = jax.tree.map(each, (plain, argument, change, flat), tuple(batched))

        def carefully(plain: Any, argument: Any, change: Any, flat: Any) -> Any:
            def one(plain: Any, argument: Any, change: Any, flat: jax.Array) -> Any:
                careful = careful_push(change, argument, activation, NONE)
                return jax.tree.map(lambda x, y: jnp.where(flat, x, y), careful, plain)

            return jax.vmap(one)(plain, argument, change, flat)

        chosen = jax.lax.cond(jnp.any(given[3]), carefully, lambda plain, *_: plain, *given)
        return chosen, jax.tree.map(lambda _: True, plain)

    flat = largest < FLAT * activation.max_slope
    chosen: Tangent = choose(plain, inner.argument, change, flat)
    return chosen


def pull_answer(gradient: Tangent, inner: Inner, activation: Activation) -> Tangent:
    """The gradient at phi's argument from that at its response."""
    return pull(gradient, normalized_slope(inner.argument, activation), None, NONE)
