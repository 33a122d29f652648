"""Which networks a sweep asks for, and how many of them a run folder holds.

Networks are counted, not files: one that lies in two parts counts once.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from winit_jax.columns import AXES, WEIGHT_SCALES
from winit_jax.spec.parts import Job, Part, Point
from winit_jax.spec.sweep import FREE, TABLES, Scale, Sweep
from winit_jax.store.journal import Record


@dataclass(frozen=True)
class Asked:
    """The axis values of a sweep as sets, to test quickly whether it asks for a network."""

    sweep: Sweep

    @cached_property
    def depths(self) -> frozenset[int]:
        """Every depth of the grid."""
        return frozenset(self.sweep.grid.depth)

    @cached_property
    def _values(self) -> dict[str, frozenset[Any]]:
        """Axis -> its values, without init and its scale (std or gain): `_inits` holds those as pairs."""
        grid = self.sweep.grid
        others = (axis for axis in AXES if axis not in ("init", *WEIGHT_SCALES))
        values = {axis: frozenset(getattr(grid, axis) or [None]) for axis in others}
        if grid.bias_init is None:  # each init's own, as its points say
            values["bias_init"] = frozenset(AXES["bias_init"].names)
        return values

    @cached_property
    def _inits(self) -> frozenset[tuple[str, Scale | None]]:
        return frozenset(self.sweep.init_points())

    def axes_within(self, other: "Asked") -> bool:
        """Whether the other sweep has every value of every axis of this one, infinite width included."""
        if self.sweep.grid.infinite and not other.sweep.grid.infinite:
            return False
        return self._inits <= other._inits and all(self._values[axis] <= other._values[axis] for axis in self._values)

    def job(self, job: Job) -> bool:
        """Whether the sweep has every axis value that a job fixes. A depth of None means all depths: not tested."""
        fixed = vars(job).items()
        return all(value in self._values[axis] for axis, value in fixed if axis in self._values and value is not None)

    def point(self, point: Point) -> bool:
        """Whether the sweep has the init, the scale and every other axis value of a point."""
        return (point.init, point.scale) in self._inits and all(
            value in self._values[axis] for axis, value in vars(point).items() if axis in self._values
        )

    def part(self, part: Part) -> Part | None:
        """The part with only the families that the sweep asks for; None if it asks for none of them."""
        jobs = [
            job.with_points(points)
            for job in part.jobs
            if self.job(job) and (points := tuple(point for point in job.points if self.point(point)))
        ]
        return Part(tuple(jobs)) if jobs else None


@dataclass(frozen=True)
class Short:
    """What a glance has to know of a sweep. networks: how many it asks for. grid, settings: its digests."""

    title: str
    networks: int
    grid: str
    settings: str

    @classmethod
    def of(cls, sweep: Sweep) -> "Short":
        return cls(sweep.title, sweep.n_networks, grid_digest(sweep), settings_digest(sweep))


@dataclass(frozen=True)
class Count:
    """Distinct networks in a folder.

    done: those that the sweep asks for. beside: all others.
    """

    done: int
    beside: int


def count(sweep: Sweep, records: Iterable[Record]) -> Count:
    """Count the distinct networks of these parts: how many the sweep asks for, and how many it does not."""
    asked, no_depths = Asked(sweep), frozenset[int]()
    held: dict[tuple[Any, ...], frozenset[int]] = {}
    for record in records:
        depths = frozenset(record.depths)
        for job in record.jobs:
            record_depths = depths if job.depth is None else frozenset([job.depth])
            for family in job.families():
                earlier = held.get(family, no_depths)
                held[family] = record_depths if earlier <= record_depths else earlier | record_depths
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
    """How many networks of the sweep these parts hold. committed: parts by file stem."""
    return count(sweep, list(committed.values())).done


def grid_digest(sweep: Sweep) -> str:
    """16 hex digits that depend on the grid of a sweep alone: not on axes that it has no use for."""
    grid = sweep.grid.model_dump()
    unused = [axis.name for axis in AXES.values() if axis.needs and grid[axis.name] == [axis.before]]
    return _digest({axis: values for axis, values in grid.items() if axis not in unused})


def settings_digest(sweep: Sweep) -> str:
    """16 hex digits that depend on all settings beside the grid that may change results (not those in `FREE`)."""
    tables = {name: table.model_dump() for name in TABLES if (table := getattr(sweep, name)) is not None}
    for name, *key in FREE:
        if key and name in tables:
            tables[name].pop(key[0], None)
    return _digest(tables)


def _digest(data: Any) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:16]


def is_within(small: Sweep, large: Sweep) -> bool:
    """Whether both sweeps have the same settings and `large` asks for every network of `small`."""
    return settings_digest(small) == settings_digest(large) and Asked(small).axes_within(Asked(large))
