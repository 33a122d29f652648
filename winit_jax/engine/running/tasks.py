"""Which parts are left to compute: of the whole sweep, or of one shard of it."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from winit_jax.engine.planning import dealing
from winit_jax.engine.planning.planner import Planner
from winit_jax.engine.running.suspects import Task, stem_of
from winit_jax.spec.parts import Job, Part
from winit_jax.spec.shards import Shard
from winit_jax.spec.sweep import Sweep
from winit_jax.store.asked import Asked
from winit_jax.store.journal import Record


def missing(
    sweep: Sweep,
    planner: Planner,
    committed: Mapping[str, Record],
    asked: Sweep | None = None,
    generation: int = 0,
    shard: Shard | None = None,
) -> Iterator[Task]:
    """The work left, in a fixed order.

    A stored part of a forward sweep whose networks lack depths is computed again as a whole, under its own name: the
    pass to the deepest network yields them all. Families that are nowhere become new parts.

    asked: of the networks of the sweep, those that are wanted now; all if None. generation: stands before the position
    of a part in its files' names, in whose order lies the grid, and after it what was added. shard: of the parts, those
    that are its own; which these are does not depend on what is committed. planner: for shards, one that depends on the
    sweep alone.
    """
    wanted = Asked(asked or sweep)
    done: set[tuple[Any, ...]] = set()
    described: set[tuple[Any, ...]] = set()
    for stem, stored in committed.items():
        done.update(family for job in stored.part.jobs for family in job.families())
        described.update(stored.part.described())
        more = set(wanted.depths) - set(stored.depths)
        if shard is not None and dealing.owner(stem, shard.of) != shard.number:
            continue
        if not stored.part.is_training and more and (lacking := wanted.part(stored.part)) and lacking.n_networks(more):
            yield Task(stem, stored.part, lacking.n_networks(more))
    programs: dict[Job | None, tuple[int, int]] = {}
    for number, part in _numbered(sweep, planner, shard):
        # Where a part stands depends on the sweep alone, not on how it was cut.
        kind = part.program() if part.is_training else None
        program, position = programs.setdefault(kind, (len(programs), 0))
        programs[kind] = program, position + part.n_families
        is_own = shard is None or number == shard.number
        if not (is_own or part.is_training):
            continue
        left = part.without(done.__contains__) if done else part
        if left is not None and asked is not None:
            left = wanted.part(left)
        if left is not None:
            left = left.describing(described) if left.is_training else left  # also what others will describe
            if is_own:
                place = (f"{generation:02d}-{program:04d}", position)
                yield Task(stem_of(place, left), left, left.n_networks(set(wanted.depths)), place)


def _numbered(sweep: Sweep, planner: Planner, shard: Shard | None) -> Iterable[tuple[int, Part]]:
    if shard is None:
        return ((0, part) for part in planner.parts(sweep))
    return dealing.dealt(planner, sweep, shard.of)


def total_of(sweep: Sweep, planner: Planner, asked: Sweep | None, shard: Shard) -> int:
    """How many networks of what is asked for are in the parts of a shard, done or not."""
    wanted = Asked(asked or sweep)
    own = (part for number, part in dealing.dealt(planner, sweep, shard.of) if number == shard.number)
    parts = (part if asked is None else wanted.part(part) for part in own)
    return sum(part.n_networks(set(wanted.depths)) for part in parts if part is not None)
