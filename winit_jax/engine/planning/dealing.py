"""Which parts of a sweep belong to which of n shards: by the sweep alone, wherever and whenever they are computed.

Parts are cut as for one machine that all shards take for theirs (`CORES`, and training batches as on a CPU), and are
dealt in their order: each goes to the shard that has the least to do so far by the planner's estimate, and of several
to the one of the lowest number. Parts that cost the same are so dealt round.
"""

import heapq
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from winit_jax.engine.planning.planner import JOB_SECONDS, Planner, times
from winit_jax.engine.planning.points import Count
from winit_jax.spec.parts import Job, Part
from winit_jax.spec.sweep import Sweep

# Every shard is planned for a CPU of so many cores, and a sweep is cut into so many parts if it has as many jobs.
CORES, LEAST_PARTS = 4, 256
# Raised where parts are cut or dealt in another way: shards of two ways do not work beside each other.
WAY = 1


@dataclass
class Costs:
    """Estimated seconds of parts, on the machine that a planner plans for."""

    planner: Planner
    sweep: Sweep
    _passes: dict[tuple[object, ...], float] = field(default_factory=dict)

    def of(self, part: Part) -> float:
        """Of a part, after compiling."""
        return sum(self._of_job(job) for job in part.jobs)

    def _of_job(self, job: Job) -> float:
        planner, sweep, networks = self.planner, self.sweep, len(job.points)
        key = (job.block, job.width, job.depth, job.dtype)
        if key not in self._passes:
            seconds = planner.family_seconds(sweep, job.block, job.width, job.depth) * times(job.dtype)
            if sweep.train and job.depth is not None:
                seconds += planner.training_seconds(sweep, job.block, job.width, job.depth)
            self._passes[key] = seconds
        if job.depth is None:
            count = Count.of(job.points, planner.skip(job.block))
            networks = planner.passes(sweep, job.activation, job.normalization, count, job.dtype)
        return networks * self._passes[key] + JOB_SECONDS


def dealt(planner: Planner, sweep: Sweep, of: int) -> Iterator[tuple[int, Part]]:
    """(Number of its shard, part) of every part, in their order. of: how many shards there are."""
    costs = Costs(planner, sweep)
    loads = [(0.0, number) for number in range(1, of + 1)]
    for part in planner.parts(sweep):
        load, number = loads[0]
        heapq.heapreplace(loads, (load + costs.of(part), number))
        yield number, part


def owner(stem: str, of: int) -> int:
    """The number of the shard that computes a stored part anew, where its networks lack depths."""
    return zlib.crc32(stem.encode()) % of + 1

