"""How many networks are trained together, and on how many devices."""

import itertools
from collections.abc import Iterator
from typing import TypeVar

from winit_jax.spec.sweep import Sweep

T = TypeVar("T")

# A small training sweep is cut in so many batches all the same.
LEAST_BATCHES = 2


def batch_size(sweep: Sweep, together: int) -> int:
    """How many networks a batch has, of at most `together`: as many as the others, but for the last."""
    grid = sweep.grid
    functions = len(grid.activation) * len(grid.normalization) * len(grid.norm_position) * len(grid.block)
    count = sweep.n_networks // (len(grid.width) * len(grid.depth) * functions)
    return -(-count // max(-(-count // together), min(LEAST_BATCHES, count)))


def side_by_side(networks: Iterator[T], size: int, devices: int) -> Iterator[list[T]]:
    """Batches of so many networks, one for each device, as one list for all.

    A last batch of fewer than half as many comes by itself: it has a program of its own (`Training`), as on one device.
    """
    while batches := list(itertools.islice(networks, size * devices)):
        rest = len(batches) % size
        if 0 < 2 * rest < size < len(batches):
            yield batches[:-rest]
            yield batches[-rest:]
        else:
            yield batches
