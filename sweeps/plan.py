"""From a sweep to work: jobs that share draws and shape, and parts that become files.

A *family* is a set of networks that differ only in depth: one pass serves them all. A *job* is the
families that share draws and static shape, so that they run stacked. A *part* is consecutive jobs,
about a second of work: the unit that is written, resumed and lost if killed.
"""

import hashlib
import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace

from sweeps.spec import Sweep

# Seconds of work that a part holds, roughly, and the most families in one job.
PART_SECONDS = 1.0
MAX_FAMILIES = 4096
# The jobs of a small sweep are spread over about this many parts all the same, so that every lane has work.
LEAST_PARTS = 8
# The share of compute.batch_mib that the signals of a job's networks may take between stacks of layers.
SIGNAL_SHARE = 0.25
# What one CPU core does, measured on AVX-512 servers with 1000 inputs (docs/performance.md): matrix products
# and, as if they were arithmetic, the statistics of each activation.
FLOPS_A_CORE = 7e10
FLOPS_AN_ACTIVATION = 80


@dataclass(frozen=True)
class Point:
    """Where one family lies on the axes that its job does not fix.

    scale: the value on the std or gain axis; None for a scheme.
    """

    init: str
    scale: float | None
    bias_std: float


@dataclass(frozen=True)
class Job:
    """Families that share draws and static shape. Only scales differ between its points."""

    activation: str
    shape: str
    normalization: str
    width: int
    seed: int
    points: tuple[Point, ...]

    def families(self) -> Iterator[tuple]:
        """Each family's key: every axis but depth."""
        for point in self.points:
            yield (
                self.activation,
                point.init,
                point.scale,
                point.bias_std,
                self.normalization,
                self.width,
                self.seed,
            )


@dataclass(frozen=True)
class Part:
    """Jobs that are written together, as one file in each table."""

    jobs: tuple[Job, ...]

    @property
    def name(self) -> str:
        """A file stem that depends on what the part holds, depths aside, and on nothing else."""
        text = json.dumps(self.to_json(), sort_keys=True)
        return f"part-{hashlib.sha256(text.encode()).hexdigest()[:16]}"

    @property
    def n_families(self) -> int:
        return sum(len(job.points) for job in self.jobs)

    def to_json(self) -> list[dict]:
        return [asdict(job) for job in self.jobs]

    @classmethod
    def from_json(cls, jobs: list[dict]) -> "Part":
        return cls(tuple(Job(**{**job, "points": tuple(Point(**point) for point in job["points"])}) for job in jobs))

    def without(self, done: Callable[[tuple], bool]) -> "Part | None":
        """The part less the families that are done; None if nothing is left."""
        jobs = []
        for job in self.jobs:
            points = tuple(point for point, family in zip(job.points, job.families(), strict=True) if not done(family))
            if points:
                jobs.append(job if len(points) == len(job.points) else replace(job, points=points))
        return Part(tuple(jobs)) if jobs else None


@dataclass(frozen=True)
class Planner:
    """What planning needs to know of the numerics and the machine.

    shape_of: init -> the shape it draws. one_pass: whether an activation is positively homogeneous.
    flops_a_second: of the machine, as an estimate.
    """

    shape_of: Callable[[str], str]
    one_pass: Callable[[str], bool]
    flops_a_second: float

    def points_by_shape(self, sweep: Sweep) -> dict[str, list[Point]]:
        grouped: dict[str, list[Point]] = {}
        for init, scale in sweep.init_points():
            points = grouped.setdefault(self.shape_of(init), [])
            points.extend(Point(init, scale, bias_std) for bias_std in sweep.grid.bias_std)
        return grouped

    def passes(self, sweep: Sweep, activation: str, normalization: str, points: list[Point]) -> int:
        """How many networks really run: one for all points that a homogeneous activation can share."""
        if not self.one_pass(activation) or normalization != "none" or sweep.measure.histogram:
            return len(points)
        shared = sum(can_share(point) for point in points)
        return len(points) - shared + (shared > 0)

    def layer_seconds(self, sweep: Sweep, width: int, fan_in: int) -> float:
        """Estimated time of one layer of one network."""
        pairs = sweep.inputs.samples * width
        return pairs * (2 * fan_in + FLOPS_AN_ACTIVATION) / self.flops_a_second

    def family_seconds(self, sweep: Sweep, width: int) -> float:
        """Estimated time of one pass through the deepest network."""
        one, measure, depths = self.layer_seconds(sweep, width, width), sweep.measure, sweep.grid.depth
        seconds = (max(depths) - 1) * one + self.layer_seconds(sweep, width, 0)
        if measure.jacobian:
            seconds *= 2
        if measure.gradients:  # a way forth, and a way back from each depth with two products a layer
            seconds += 2 * one * (max(depths) + sum(depths))
        if measure.singular_values:  # of four Jacobians, multiplied out and decomposed
            seconds += (2 * max(depths) + 20 * len(depths)) * 4 * width**3 / self.flops_a_second
        return seconds

    def parts(self, sweep: Sweep) -> Iterator[Part]:
        """The parts of a sweep in a fixed order, made as they are asked for."""
        by_shape = self.points_by_shape(sweep)
        target = min(PART_SECONDS, self.seconds(sweep) / LEAST_PARTS)
        pending: list[Job] = []
        pending_seconds, pending_families = 0.0, 0
        # Activations innermost: draws are made once for all, and parallel lanes compile different programs.
        for width, shape, seed, normalization, activation in itertools.product(
            sweep.grid.width, by_shape, sweep.grid.seed, sweep.grid.normalization, sweep.grid.activation
        ):
            points = by_shape[shape]
            one = self.family_seconds(sweep, width)
            shared = self.passes(sweep, activation, normalization, points) < len(points)
            signal_mib = sweep.inputs.samples * width * 4 / 2**20
            most = max(1, int(min(PART_SECONDS / one, SIGNAL_SHARE * sweep.compute.batch_mib / signal_mib)))
            most = MAX_FAMILIES if shared else min(MAX_FAMILIES, most)
            chunks = -(-len(points) // most)
            for i in range(chunks):  # of near-equal size, so that few shapes are compiled
                chunk = points[i * len(points) // chunks : (i + 1) * len(points) // chunks]
                seconds = one * self.passes(sweep, activation, normalization, chunk)
                full = pending_seconds + seconds > target or pending_families + len(chunk) > MAX_FAMILIES
                if pending and full:
                    yield Part(tuple(pending))
                    pending, pending_seconds, pending_families = [], 0.0, 0
                pending.append(Job(activation, shape, normalization, width, seed, tuple(chunk)))
                pending_seconds += seconds
                pending_families += len(chunk)
        if pending:
            yield Part(tuple(pending))

    def seconds(self, sweep: Sweep) -> float:
        """Estimated time of a whole sweep, after compiling."""
        by_shape = self.points_by_shape(sweep)
        one = sum(self.family_seconds(sweep, width) for width in sweep.grid.width) * len(sweep.grid.seed)
        return one * sum(
            self.passes(sweep, activation, normalization, points)
            for activation in sweep.grid.activation
            for normalization in sweep.grid.normalization
            for points in by_shape.values()
        )

    def summary(self, sweep: Sweep) -> dict[str, int | float]:
        """Counts and estimates by arithmetic alone, without making a part."""
        by_shape = self.points_by_shape(sweep)
        grid = sweep.grid
        seeds, layers = len(grid.seed), max(grid.depth)
        passes, programs = 0, 0
        for activation in grid.activation:
            for normalization in grid.normalization:
                a_draw = sum(self.passes(sweep, activation, normalization, points) for points in by_shape.values())
                passes += seeds * a_draw * len(grid.width)
                programs += len(grid.width)
        families = sweep.n_networks // len(grid.depth)
        rows = {"networks": sweep.n_networks}
        if sweep.measure.layers:
            rows["layers"] = families * layers
        if sweep.measure.histogram:
            rows["histograms"] = families * layers * (sweep.measure.histogram.bins + 3)
        return {
            "networks": sweep.n_networks,
            "families": families,
            "passes": passes,
            "compilations": programs,
            "draws": seeds * len(by_shape) * len(grid.width),
            "rows": sum(rows.values()),
            "bytes": sum(count * BYTES_A_ROW[table] for table, count in rows.items()),
            "seconds": self.seconds(sweep),
        }


# Measured with `du -b` on the tables of phase and quickstart (71, 71 and 1.3), compressed; rounded up.
BYTES_A_ROW = {"networks": 71, "layers": 71, "histograms": 2}


def can_share(point: Point) -> bool:
    """Whether a point of a positively homogeneous activation is another one rescaled."""
    return point.bias_std == 0 and point.scale != 0 and point.init != "zeros"
