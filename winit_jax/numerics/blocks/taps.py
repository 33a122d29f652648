"""Which positions a circular convolution reads beside each: the centre first, then the others in order."""

import itertools
from dataclasses import dataclass

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

    def gather(self, h: jax.Array, layout: Layout) -> jax.Array:
        """What each row's taps read, side by side: [..., rows, width] -> [..., rows, taps * width]."""
        sides = (layout.positions,) if self.dimensions == 1 else layout.grid
        assert sides is not None
        rows, width = h.shape[-2:]
        laid = h.reshape(*h.shape[:-2], rows // layout.positions, *sides, width)
        axes = tuple(range(laid.ndim - 1 - self.dimensions, laid.ndim - 1))
        read = [jnp.roll(laid, [-step for step in offset], axes) if any(offset) else laid for offset in self.offsets]
        return jnp.concatenate(read, axis=-1).reshape(*h.shape[:-1], self.count * width)

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
