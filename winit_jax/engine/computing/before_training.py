"""Networks before training: measured once for all the depths and learning rates at which they are trained."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from winit_jax.engine.computing.tables import Found
from winit_jax.spec.parts import Job, Point

# So many points are measured together, and so many layers of points are kept.
TOGETHER, KEPT_LAYERS = 64, 400_000

# Of a job, to all depths of the sweep: standard deviations of a block's first weights, [points], what is found.
Measured = tuple[np.ndarray, Found]


@dataclass
class BeforeTraining:
    """What was measured of networks before training. Safe to call from several threads.

    A job's networks are always measured among the same others and to every depth, so that few shapes are compiled;
    and what was measured is kept for a while, since other batches train the same networks at other learning rates.

    depths: of the sweep. points: all of its points, by what they draw.
    """

    depths: Sequence[int]
    points: Mapping[tuple[str, str], list[Point]]
    measure: Callable[[Job, tuple[int, ...]], Measured]
    _known: dict[Job, Measured] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def of(self, job: Job) -> Measured:
        """Of the points of a job, in their order, and at its depth."""
        points = [
            point for point in self.points[job.shape, job.bias_init] if point.depends_on_depth == job.depends_on_depth
        ]
        position = {point: i for i, point in enumerate(points)}
        wanted = np.array([position[point.untrained] for point in job.points])
        chunks = np.unique(wanted // TOGETHER)
        chunks_measured = [
            self._chunk(job, tuple(points[chunk * TOGETHER : (chunk + 1) * TOGETHER])) for chunk in chunks.tolist()
        ]
        index = np.searchsorted(chunks, wanted // TOGETHER) * TOGETHER + wanted % TOGETHER
        stds = np.concatenate([stds for stds, _ in chunks_measured])[index]
        return stds, Found.joined([measured for _, measured in chunks_measured]).of(index)

    def _chunk(self, job: Job, points: tuple[Point, ...]) -> Measured:
        """What is measured of the points of a chunk, at the depth of the job."""
        assert job.depth is not None
        if job.depends_on_depth:  # each depth is measured by itself
            return self._measured(replace(job, points=points), (job.depth,))
        stds, found = self._measured(replace(job, points=points, depth=None), tuple(self.depths))
        return stds, found.at_depth(list(self.depths).index(job.depth))

    def _measured(self, key: Job, depths: tuple[int, ...]) -> Measured:
        with self._lock:
            known = self._known.get(key)
        if known is None:
            known = self.measure(key, depths)
            with self._lock:
                while self._known and (len(self._known) + 1) * TOGETHER * max(self.depths) > KEPT_LAYERS:
                    self._known.pop(next(iter(self._known)))
                self._known[key] = known
        return known
