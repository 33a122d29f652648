"""Blocks: what stands between one stream of pre-activations and the next. One file each, one protocol."""

from winit_jax.numerics.blocks.dense import DENSE, RESIDUAL
from winit_jax.numerics.blocks.protocol import Block
from winit_jax.registry import Registry

BLOCKS: Registry[Block] = Registry("a block", {block.name: block for block in (DENSE, RESIDUAL)})

__all__ = ["BLOCKS", "DENSE", "RESIDUAL", "Block"]
