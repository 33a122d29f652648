"""Blocks: what stands between one stream of pre-activations and the next. One file each, one protocol."""

from winit_jax.numerics.blocks.attention import attention
from winit_jax.numerics.blocks.dense import DENSE, RESIDUAL, Dense
from winit_jax.numerics.blocks.gated import gated
from winit_jax.numerics.blocks.mlp import mlp
from winit_jax.numerics.blocks.protocol import (
    Block,
    Context,
    Layout,
    Scales,
    Update,
    at_least_one,
    entries,
    mean_field,
    measured_units,
    multiplications,
)
from winit_jax.numerics.blocks.taps import Taps
from winit_jax.numerics.blocks.transformer import transformer
from winit_jax.registry import Registry


def _convolution(name: str, skip: float, dimensions: int, size: float) -> Dense:
    taps = at_least_one(size, f"{name}(k)")
    return Dense(f"{name}({taps})", skip, Taps(taps, dimensions))


def conv(size: float) -> Dense:
    """Circular convolution along positions, with so many taps."""
    return _convolution("conv", 0.0, 1, size)


def conv2d(size: float) -> Dense:
    """Circular convolution along a grid of positions, with so many taps a side."""
    return _convolution("conv2d", 0.0, 2, size)


def residual_conv(size: float) -> Dense:
    """`conv` beside a skip."""
    return _convolution("residual_conv", 1.0, 1, size)


def residual_conv2d(size: float) -> Dense:
    """`conv2d` beside a skip."""
    return _convolution("residual_conv2d", 1.0, 2, size)


MAKERS = {
    maker.__name__: maker
    for maker in (mlp, gated, conv, conv2d, residual_conv, residual_conv2d, attention, transformer)
}
BLOCKS: Registry[Block] = Registry("a block", {block.name: block for block in (DENSE, RESIDUAL)}, MAKERS)

__all__ = [
    "BLOCKS",
    "DENSE",
    "RESIDUAL",
    "Block",
    "Context",
    "Layout",
    "Scales",
    "Update",
    "entries",
    "mean_field",
    "measured_units",
    "multiplications",
]
