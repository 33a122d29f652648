"""Which parts of a sweep belong to which of n shards: by the sweep alone, wherever and whenever they are computed.

Parts are cut as for one machine that all shards take for theirs (`CORES`, and training batches as on a CPU), and are
dealt in their order: each goes to the shard that ends first with it, by the planner's estimates of what it has to do so
far, of the part, and of the programs in the part that the shard has not compiled for another one; of several, to the
one of the lowest number. So a program is compiled by few shards as long as none of them has less to do, and parts
that cost the same are dealt round.
"""

import zlib
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field

import numpy as np

from winit_jax.columns.formats import FLOAT32
from winit_jax.engine.planning.planner import COMPILE_SECONDS, JOB_SECONDS, Planner, times
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

    def of_program(self, job: Job) -> float:
        """Of compiling what a job needs."""
        compiled = (name for name, count in self.planner.programs(self.sweep).items() if count)
        return self.planner.updates(job.block) * sum(COMPILE_SECONDS[name] for name in compiled)

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
    loads = np.zeros(of)
    compiling: dict[Hashable, np.ndarray] = {}  # program -> seconds that it costs each shard yet
    for part in planner.parts(sweep):
        ends = loads + costs.of(part)
        programs = {_program(job): job for job in part.jobs}
        for program, job in programs.items():
            if program not in compiling:
                compiling[program] = np.full(of, costs.of_program(job))
            ends += compiling[program]
        chosen = int(np.argmin(ends))
        loads[chosen] = ends[chosen]
        for program in programs:
            compiling[program][chosen] = 0.0
        yield chosen + 1, part


def _program(job: Job) -> Hashable:
    """What is compiled for a job; of networks that are trained, for their depth."""
    depth = job.depth if any(point.learning_rate is not None for point in job.points[:1]) else None
    of_function = (job.block, job.activation, job.normalization, job.norm_position, job.width)
    return (*of_function, job.dtype == FLOAT32, depth)


def owner(stem: str, of: int) -> int:
    """The number of the shard that computes a stored part anew, where its networks lack depths."""
    return zlib.crc32(stem.encode()) % of + 1
