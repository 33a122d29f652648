"""Attention, then a two-layer perceptron, each with its own skip, branch and norm: two updates a layer."""

from winit_jax.numerics.blocks.attention import Attention
from winit_jax.numerics.blocks.mlp import Mlp
from winit_jax.numerics.blocks.protocol import Streamed, at_least_one


def transformer(heads: float, ratio: float, causal: bool = False) -> Streamed:
    """The block `transformer(h, r)` or `transformer(h, r, causal)`. Errors: ValueError for what is no such number."""
    of_heads, of_inner = (at_least_one(number, "transformer(h, r)") for number in (heads, ratio))
    updates = (Attention(of_heads, causal, site="attention"), Mlp(of_inner, site="mlp"))
    return Streamed(f"transformer({of_heads}, {of_inner}{', causal' * causal})", updates, needs_positions=1)
