"""Parts in, tables out: measuring, training and predicting put together on the devices of one process.

Nothing here knows where a run lies; nothing in `numerics` knows of sweeps.
"""

from collections.abc import Callable, Set
from dataclasses import dataclass, field, replace

import jax
import pyarrow as pa

from winit_jax.engine.computing import devices, kernels, predicting, programs
from winit_jax.engine.computing.before_training import BeforeTraining
from winit_jax.engine.computing.measuring import Measuring
from winit_jax.engine.computing.tables import detail_tables, networks_table, trained_tables
from winit_jax.engine.computing.training import Training
from winit_jax.engine.computing.verdicts import Verdicts
from winit_jax.engine.computing.vocabulary import draw_of
from winit_jax.engine.computing.work import Work
from winit_jax.engine.planning.planner import Planner
from winit_jax.engine.planning.points import points_by_draw
from winit_jax.numerics import meshes, pinned
from winit_jax.numerics.halving import HOST, Halving
from winit_jax.numerics.measure.networks import XLA
from winit_jax.spec.parts import Job, Part
from winit_jax.spec.sweep import Sweep
from winit_jax.store import schema
from winit_jax.store.checkpoints import Checkpoint
from winit_jax.system import machine


@dataclass
class Executor:
    """Computes parts of one sweep on this process's devices, each part on all. Safe to call from several threads.

    say: is told of what a user should not learn at the end only. halved: how often the kernel killed a process that did
    the same because memory ran out; batches begin smaller by as many halves. notes: what to know before the beginning.
    Compiled programs, inputs on the devices and what was measured before training are kept between parts; none of it
    changes a result.
    """

    work: Work
    devices: list[jax.Device] = field(default_factory=lambda: devices.of_this_process())
    say: Callable[[str], None] = lambda sentence: None
    halved: int = 0

    def __post_init__(self) -> None:
        platform, depths = self.devices[0].platform, tuple(self.sweep.grid.depth)
        self._mesh = meshes.mesh_of(self.devices)
        self.verdicts = Verdicts(self.say, self.sweep.compute.batch_mib, platform)
        halving = Halving(self.say, begin_with=0.5**self.halved)
        if platform == "cpu":
            halving = replace(halving, memory=HOST, free_mib=lambda: machine.takable_bytes() / 2**20)
        precision, note = devices.multiplying(self.sweep.compute.matmul_precision)
        self.notes = [note] if note else []
        self.measuring = Measuring(self.work, platform, self.verdicts, precision, halving)
        self.training = Training(self.work, self.devices, precision, halving)
        points = points_by_draw(self.sweep, draw_of)
        self._before = BeforeTraining(
            depths, {(draw.shape, draw.biases): of for draw, of in points.items()}, self.measuring.measure
        )

    def choose_kernel(self, planner: Planner, before: Set[str] = frozenset()) -> str | None:
        """Decide what computes dense layers, before the first part. Out: a sentence where it is not what is asked for.

        planner, before: as in `kernels.choose`.
        """
        if self.sweep.compute.kernel == XLA:
            return None
        with pinned.settings(), jax.default_device(self.devices[0]), meshes.across(self._mesh):
            self.measuring.kernel, note = kernels.choose(self.measuring, planner, before)
        return note

    @property
    def sweep(self) -> Sweep:
        return self.work.sweep

    def run(
        self,
        part: Part,
        depths: tuple[int, ...],
        lane: int = 0,
        watch: Callable[[float], None] = lambda share: None,
        checkpoint: Checkpoint | None = None,
    ) -> dict[str, pa.Table]:
        """The tables of a part, for networks of the given depths; of a training part, of its own depth.

        lane: of the parts in flight; it changes nothing. watch, checkpoint: as in `Training.train`.
        Errors: SelfCheckError; whatever JAX raises (out of memory, a failing activation) or `watch` does.
        """
        programs.make_room()
        with pinned.settings(), jax.default_device(self.devices[0]), meshes.across(self._mesh):
            if part.is_training:
                pieces = self._train(part, watch, checkpoint)
            else:
                pieces = [self._measure(job, depths) for job in part.jobs]
        names = [name for name in schema.TABLES if any(name in piece for piece in pieces)]
        return {
            name: pa.concat_tables([piece[name] for piece in pieces if name in piece]).combine_chunks()
            for name in names
        }

    def predictions(self) -> dict[str, pa.Table]:
        """The tables of theory alone: `mean_field`, and `theory` for the points at infinite width."""
        return predicting.predictions(self.work, self.say)

    def _measure(self, job: Job, depths: tuple[int, ...]) -> dict[str, pa.Table]:
        """The tables of a job whose networks are measured as they are initialized."""
        if job.depth is not None:
            depths = (job.depth,)
        stds, findings = self.measuring.measure(job, depths)
        points = self.measuring.points(job, stds)
        return detail_tables(points, depths, findings) | {"networks": networks_table(points, depths, findings)}

    def _train(
        self, part: Part, watch: Callable[[float], None], checkpoint: Checkpoint | None
    ) -> list[dict[str, pa.Table]]:
        """The tables of each job of a part whose networks are measured, and then trained."""
        measured = [self._before.of(job) for job in part.jobs]
        factors = [findings.factors for _, findings in measured]
        learnt = self.training.train(part, watch, checkpoint, factors)
        pieces, start = [], 0
        for job, (stds, findings) in zip(part.jobs, measured, strict=True):
            of_job = learnt.of(slice(start, start + len(stds)))
            start += len(stds)
            pieces.append(trained_tables(self.measuring.points(job, stds), findings, of_job))
        return pieces


def compute(work: Work, part: Part, depths: tuple[int, ...]) -> dict[str, pa.Table]:
    """The tables of one part, from its arguments alone: another process computes the same bits.

    Errors: SelfCheckError; whatever JAX raises.
    """
    return Executor(work).run(part, depths)
