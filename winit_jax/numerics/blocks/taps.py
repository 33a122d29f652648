"""Which positions a circular convolution reads beside each: the centre first, then the others in order."""

import itertools
from dataclasses import dataclass
from functools import reduce

import jax
import jax.numpy as jnp
import numpy as np

from winit_jax.numerics.blocks.protocol import Layout
from winit_jax.numerics.naive import Naive


@dataclass(frozen=True)
class Taps:
    """k taps along each dimension of the positions. dimensions: 1 along positions, 2 along a grid of them."""

    size: int
    dimensions: int = 1

    @property
    def count(self) -> int:
        return int(self.size**self.dimensions)

    @property
    def offsets(self) -> tuple[tuple[int, ...], ...]:
        """Where each tap reads, from where it stands: -(k // 2) .. k - 1 - k // 2, the centre first."""
        along = [step - self.size // 2 for step in range(self.size)]
        return tuple(sorted(itertools.product(along, repeat=self.dimensions), key=any))

    def beside(self, h: jax.Array, layout: Layout, offset: tuple[int, ...]) -> jax.Array:
        """What stands so far from each row, for each row: [..., rows, units], circular."""
        if not any(offset):
            return h
        sides = (layout.positions,) if self.dimensions == 1 else layout.grid
        assert sides is not None
        rows, units = h.shape[-2:]
        laid = h.reshape(*h.shape[:-2], rows // layout.positions, *sides, units)
        axes = tuple(range(laid.ndim - 1 - self.dimensions, laid.ndim - 1))
        return jnp.roll(laid, [-step for step in offset], axes).reshape(h.shape)

    def naive_gather(self, h: np.ndarray, naive: Naive) -> np.ndarray:
        """The same in NumPy, position by position."""
        sides = (naive.positions,) if self.dimensions == 1 else naive.grid
        assert sides is not None
        rows, width = h.shape
        laid = h.reshape(rows // naive.positions, *sides, width)
        read = np.empty((rows // naive.positions, *sides, self.count, width))
        for place in np.ndindex(*sides):
            for tap, offset in enumerate(self.offsets):
                beside = tuple((at + step) % side for at, step, side in zip(place, offset, sides, strict=True))
                read[(slice(None), *place, tap)] = laid[(slice(None), *beside)]
        return read.reshape(rows, -1)


@dataclass(frozen=True)
class Neighbours:
    """What a convolution's weights read of a signal that is laid out so."""

    taps: Taps
    layout: Layout

    @property
    def count(self) -> int:
        return self.taps.count

    def gather(self, h: jax.Array) -> jax.Array:
        """What each row's taps read, side by side: [..., rows, width] -> [..., rows, taps * width]."""
        return jnp.concatenate([self.taps.beside(h, self.layout, offset) for offset in self.taps.offsets], axis=-1)

    def product(self, h: jax.Array, weights: jax.Array, precision: str) -> jax.Array:
        """gather(h) W, [..., rows, fan_out]: one product of the rows as they lie, the parts of which are then moved.

        weights: [..., taps * width, fan_out].
        """
        side_by_side = jnp.concatenate(jnp.split(weights, self.count, axis=-2), axis=-1)
        product = jnp.matmul(h, side_by_side, precision=precision)
        of_taps = jnp.split(product, self.count, axis=-1)
        moved = [
            self.taps.beside(product, self.layout, offset)
            for product, offset in zip(of_taps, self.taps.offsets, strict=True)
        ]
        return reduce(jnp.add, moved)
