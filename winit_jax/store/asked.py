"""What a sweep asks for, against what a folder holds: distinct networks of this sweep, not files that lie around."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from winit_jax.columns import AXES, WEIGHT_SCALES
from winit_jax.spec.parts import Job, Part, Point
from winit_jax.spec.sweep import FREE, TABLES, Sweep
from winit_jax.store.journal import Record


@dataclass(frozen=True)
class Asked:
    """The networks of a sweep as sets of values, for a quick yes or no."""

    sweep: Sweep

    @cached_property
    def depths(self) -> frozenset[int]:
        return frozenset(self.sweep.grid.depth)

    @cached_property
    def _values(self) -> dict[str, frozenset[Any]]:
        """Axis -> its values, but for the scale, which goes with the init."""
        grid = self.sweep.grid
        others = (axis for axis in AXES if axis not in ("init", *WEIGHT_SCALES))
        return {axis: frozenset(getattr(grid, axis) or [None]) for axis in others}

    @cached_property
    def _inits(self) -> frozenset[tuple[str, float | None]]:
        return frozenset(self.sweep.init_points())

    def axes_within(self, other: "Asked") -> bool:
        """Whether every value of every axis is one of the other's, infinite width among them."""
        if self.sweep.grid.infinite and not other.sweep.grid.infinite:
            return False
        return self._inits <= other._inits and all(self._values[axis] <= other._values[axis] for axis in self._values)

    def job(self, job: Job) -> bool:
        """Whether the axes that a job fixes are the sweep's. A depth of None stands for all depths."""
        fixed = vars(job).items()
        return all(value in self._values[axis] for axis, value in fixed if axis in self._values and value is not None)

    def point(self, point: Point) -> bool:
        """The same of a point of a job."""
        return (point.init, point.scale) in self._inits and all(
            value in self._values[axis] for axis, value in vars(point).items() if axis in self._values
        )

    def part(self, part: Part) -> Part | None:
        """The families of a part that the sweep asks for; None if there are none."""
        jobs = [
            job.with_points(points)
            for job in part.jobs
            if self.job(job) and (points := tuple(point for point in job.points if self.point(point)))
        ]
        return Part(tuple(jobs)) if jobs else None


@dataclass(frozen=True)
class Count:
    """Networks of the sweep that a folder holds, and networks that the sweep does not ask for."""

    done: int
    beside: int


def count(sweep: Sweep, records: Iterable[Record]) -> Count:
    """Distinct networks of some parts."""
    asked, none = Asked(sweep), frozenset[int]()
    held: dict[tuple[Any, ...], frozenset[int]] = {}
    for record in records:
        depths = frozenset(record.depths)
        for job in record.jobs:
            there = depths if job.depth is None else frozenset([job.depth])
            for family in job.families():
                known = held.get(family, none)
                held[family] = there if known <= there else known | there
    total = sum(len(depths) for depths in held.values())
    done = 0
    wanted: set[tuple[Any, ...]] = set()
    for record in records:
        if (part := asked.part(record.part)) is not None:
            wanted.update(family for job in part.jobs for family in job.families())
    for family in wanted:
        done += len(held[family] & asked.depths)
    return Count(done, total - done)


def count_done(sweep: Sweep, committed: Mapping[str, Record]) -> int:
    """Networks of the sweep that the folder holds."""
    return count(sweep, list(committed.values())).done


def grid_digest(sweep: Sweep) -> str:
    """A name for the points that a sweep asks for."""
    return _digest(sweep.grid.model_dump())


def settings_digest(sweep: Sweep) -> str:
    """A name for all that decides numbers beside the grid."""
    tables = {name: table.model_dump() for name in TABLES if (table := getattr(sweep, name)) is not None}
    for name, *key in FREE:
        if key and name in tables:
            tables[name].pop(key[0], None)
    return _digest(tables)


def _digest(data: Any) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:16]


def is_within(small: Sweep, large: Sweep) -> bool:
    """Whether every network of one sweep is one of another with the same settings."""
    return settings_digest(small) == settings_digest(large) and Asked(small).axes_within(Asked(large))
