"""Pieces of work: jobs that share draws and shape, and the parts that become files.

A *family* is a set of networks that differ only in depth: one forward pass serves them all. A *job* is the
families that share draws and static shape, so that they run stacked. A *part* is consecutive jobs: the unit that is
written, resumed and lost if killed. In a training sweep each network is a family of its own, for it is trained by
itself, and a part is a batch of networks that are trained together.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

from winit_jax.columns import AXES, DEPTH_SCHEMES, SCALES
from winit_jax.spec.formulas import names_of


def _told(record: Any) -> dict[str, Any]:
    """The fields of a dataclass that are not as by default."""
    return {field.name: value for field in fields(record) if (value := getattr(record, field.name)) != field.default}


def holds_depth(value: float | str | None) -> bool:
    """Whether a value is a formula of the depth, or of the layer, for which tables give the value at the last one."""
    return isinstance(value, str) and not names_of(value).isdisjoint(("depth", "layer"))


def holds_layer(value: float | str | None) -> bool:
    """Whether a value is a formula of the layer."""
    return isinstance(value, str) and "layer" in names_of(value)


@dataclass(frozen=True)
class Point:
    """Where one family lies on the axes that its job does not fix.

    scale: the value on the std or gain axis; None for a scheme. bias_std: None for the init's own biases. skip_scale:
    None for the block's own. stem_scale, readout_scale: None for 1. learning_rate: None where nothing is trained.
    described: whether the tables that speak of the network before training (layers, gradients, histograms) have its
    rows from here; of the networks that differ only in training, by learning rate or readout_scale, one does.
    """

    init: str
    scale: float | str | None
    bias_std: float | str | None
    norm_epsilon: float | str = AXES["norm_epsilon"].default
    skip_scale: float | str | None = None
    branch_scale: float | str = AXES["branch_scale"].default
    attention_gain: float | str = AXES["attention_gain"].default
    stem_scale: float | str | None = None
    learning_rate: float | str | None = None
    readout_scale: float | str | None = None
    described: bool = True

    @property
    def depends_on_depth(self) -> bool:
        """Whether layers of a deeper network are not those of one that is less deep."""
        of_point = (self.scale, *(getattr(self, axis) for axis in SCALES))
        return self.init in DEPTH_SCHEMES or any(map(holds_depth, of_point))

    @property
    def depends_on_layer(self) -> bool:
        """Whether the layers of a network have scales of their own."""
        return any(map(holds_layer, (self.scale, *(getattr(self, axis) for axis in SCALES))))

    @property
    def untrained(self) -> "Point":
        """The same network before training, whatever its learning rate and its readout."""
        return replace(self, learning_rate=None, readout_scale=None, described=True)


@dataclass(frozen=True)
class Job:
    """Families that share draws and static shape. Only scales and learning rates differ between its points.

    bias_init: how their biases are drawn, those of an init's own among them.
    depth: of networks that are trained, or whose scales depend on it; None where a pass serves every depth of the
    sweep.
    """

    activation: str
    shape: str
    normalization: str
    width: int
    seed: int
    points: tuple[Point, ...]
    depth: int | None = None
    block: str = AXES["block"].default
    norm_position: str = AXES["norm_position"].default
    bias_init: str = AXES["bias_init"].before
    dtype: str = AXES["dtype"].default

    @property
    def depends_on_depth(self) -> bool:
        """Whether its networks have scales of their own at each depth: all or none of a job's points do."""
        return any(point.depends_on_depth for point in self.points)

    def families(self) -> Iterator[tuple[Any, ...]]:
        """Each family's key: every axis but depth; that too where networks are trained."""
        for point in self.points:
            yield (
                self.activation,
                point.init,
                point.scale,
                point.bias_std,
                self.normalization,
                point.norm_epsilon,
                self.block,
                self.norm_position,
                point.skip_scale,
                point.branch_scale,
                point.attention_gain,
                self.width,
                self.seed,
                self.depth,
                point.learning_rate,
                self.bias_init,
                self.dtype,
                point.stem_scale,
                point.readout_scale,
            )

    def with_points(self, points: tuple[Point, ...]) -> "Job":
        return self if points == self.points else replace(self, points=points)


@dataclass(frozen=True)
class Part:
    """Jobs that are written together, as one file in each table."""

    jobs: tuple[Job, ...]

    @property
    def name(self) -> str:
        """A file stem that depends on the networks that the part holds, and on nothing else."""
        text = json.dumps(self.to_json(), sort_keys=True)
        return f"part-{hashlib.sha256(text.encode()).hexdigest()[:16]}"

    @property
    def n_families(self) -> int:
        return sum(len(job.points) for job in self.jobs)

    @property
    def is_training(self) -> bool:
        return any(point.learning_rate is not None for job in self.jobs for point in job.points)

    def n_networks(self, depths: set[int]) -> int:
        """Networks of these depths."""
        return sum(len(job.points) * (len(depths) if job.depth is None else job.depth in depths) for job in self.jobs)

    def to_json(self) -> list[dict[str, Any]]:
        """The jobs as `from_json` reads them, without what is as by default: each part's files carry it."""
        return [{**_told(job), "points": [_told(point) for point in job.points]} for job in self.jobs]

    @classmethod
    def from_json(cls, jobs: list[dict[str, Any]]) -> "Part":
        return cls(tuple(Job(**{**job, "points": tuple(Point(**point) for point in job["points"])}) for job in jobs))

    def without(self, done: Callable[[tuple[Any, ...]], bool]) -> "Part | None":
        """The part less the families that are done; None if nothing is left."""
        jobs = []
        for job in self.jobs:
            points = tuple(point for point, family in zip(job.points, job.families(), strict=True) if not done(family))
            if points:
                jobs.append(job.with_points(points))
        return Part(tuple(jobs)) if jobs else None

    def program(self) -> Job:
        """What the networks of a training part have in common, however they are cut into parts."""
        return replace(self.jobs[0], shape="", bias_init="", seed=0, points=())

    def described(self) -> Iterator[tuple[Any, ...]]:
        """Each family, whatever its learning rate, that the tables of this part describe before training."""
        for job in self.jobs:
            points = tuple(point.untrained for point in job.points if point.described)
            yield from job.with_points(points).families()

    def describing(self, described: set[tuple[Any, ...]]) -> "Part":
        """The part, describing before training what is not in `described` yet; this is then added to it."""
        jobs = []
        for job in self.jobs:
            bare = job.with_points(tuple(point.untrained for point in job.points))
            points = []
            for point, family in zip(job.points, bare.families(), strict=True):
                points.append(replace(point, described=family not in described))
                described.add(family)
            jobs.append(job.with_points(tuple(points)))
        return Part(tuple(jobs))
