"""Run a sweep into a folder: what is missing, in parallel lanes, each part committed as it ends."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

import pyarrow as pa

from winit_jax.engine.planning.planner import Planner
from winit_jax.engine.running.lanes import Abandoned, Flight, Lanes
from winit_jax.engine.running.outcome import Interrupted, Outcome
from winit_jax.engine.running.supervise import GRACE_SECONDS, Watched
from winit_jax.engine.running.suspects import Queue, Task, by_program, stem_of
from winit_jax.errors import described
from winit_jax.spec.parts import Job, Part
from winit_jax.spec.sweep import Sweep
from winit_jax.store.asked import Asked, count_done, grid_digest, settings_digest
from winit_jax.store.checkpoints import Checkpoint
from winit_jax.store.folder import RunFolder, StoreError
from winit_jax.store.info import Failure, Info
from winit_jax.store.journal import Record
from winit_jax.system import signals

# Parts in flight on each device: one computes while another is brought to the host and written.
LANES_A_DEVICE = 2


class Engine(Protocol):
    """What computes a part (`Executor`).

    watch: is told now and then which share of the part is done; it may raise Abandoned.
    """

    def run(
        self, part: Part, depths: tuple[int, ...], lane: int, watch: Callable[[float], None], checkpoint: Checkpoint
    ) -> dict[str, pa.Table]: ...


class _StorageError(Exception):
    """The folder cannot be written: no part can be kept any more."""

    def __init__(self, cause: OSError) -> None:
        super().__init__(str(cause))
        self.cause = cause


@dataclass(frozen=True)
class Campaign:
    """What is to be run, into which folder, and by whom.

    sweep: what the folder holds when all is done. asked: of its networks those that are wanted now; None for all.
    describe: what goes into run.json beside the counts, asked at the start and at the end. watched: what a supervising
    process knows of earlier processes of the same command.
    """

    sweep: Sweep
    folder: RunFolder
    planner: Planner
    engine: Engine
    describe: Callable[[], dict[str, Any]]
    asked: Sweep | None = None
    watched: Watched = field(default_factory=Watched)

    @property
    def wanted(self) -> Sweep:
        """The networks that are to be there in the end."""
        return self.asked or self.sweep


def lanes(devices: int) -> int:
    """How many parts to keep in flight."""
    return LANES_A_DEVICE * devices


def missing(
    sweep: Sweep, planner: Planner, committed: dict[str, Record], asked: Sweep | None = None, generation: int = 0
) -> Iterator[Task]:
    """The work left, in a fixed order.

    A stored part of a forward sweep whose networks lack depths is computed again as a whole, under its own name: the
    pass to the deepest network yields them all. Families that are nowhere become new parts.

    asked: of the networks of the sweep, those that are wanted now; all if None. generation: stands before the position
    of a part in its files' names, in whose order lies the grid, and after it what was added.
    """
    wanted = Asked(asked or sweep)
    done: set[tuple[Any, ...]] = set()
    described: set[tuple[Any, ...]] = set()
    for stem, stored in committed.items():
        done.update(family for job in stored.part.jobs for family in job.families())
        described.update(stored.part.described())
        more = set(wanted.depths) - set(stored.depths)
        if not stored.part.is_training and more and (lacking := wanted.part(stored.part)) and lacking.n_networks(more):
            yield Task(stem, stored.part, lacking.n_networks(more))
    programs: dict[Job | None, tuple[int, int]] = {}
    for part in planner.parts(sweep):
        # Where a part stands depends on the sweep alone, not on how it was cut.
        kind = part.program() if part.is_training else None
        program, position = programs.setdefault(kind, (len(programs), 0))
        programs[kind] = program, position + part.n_families
        left = part.without(done.__contains__) if done else part
        if left is not None and asked is not None:
            left = wanted.part(left)
        if left is not None:
            left = left.describing(described) if left.is_training else left
            place = (f"{generation:02d}-{program:04d}", position)
            yield Task(stem_of(place, left), left, left.n_networks(set(wanted.depths)), place)


def run(campaign: Campaign, n_lanes: int, on_progress: Callable[[float, int], None]) -> Outcome:
    """Compute what is missing and commit it. The folder exists, its lock is held and it is recovered.

    n_lanes: parts to keep in flight. on_progress: is told now and then (networks that are asked for and in the folder,
    networks that are asked for); networks in training count by the share of their steps.
    Whatever is raised in computing a part is that part's failure, which is written down; the run goes on.
    Errors: Interrupted; OSError and StoreError where the folder cannot be written.
    """
    folder, sweep = campaign.folder, campaign.sweep
    committed = folder.committed()
    generation = folder.plans_for(grid_digest(sweep), settings_digest(sweep))
    ledger = _Ledger.opened(campaign, committed)
    outcome = ledger.outcome
    if outcome.done == outcome.total and (campaign.asked or ledger.earlier.state == "done"):
        outcome.seconds = ledger.started - ledger.began
        on_progress(outcome.done, outcome.total)
        return outcome
    if sweep.train:
        _drop_what_was_deepest(folder, committed, max(sweep.grid.depth))
    on_progress(outcome.done, outcome.total)
    ledger.save("running")
    writer = _PartWriter(campaign, outcome)
    with signals.noted() as received, Lanes(n_lanes, received) as flying:
        course = _Course(
            outcome=outcome,
            queue=Queue(
                missing(sweep, campaign.planner, committed, campaign.asked, generation),
                set(campaign.wanted.grid.depth),
                campaign.watched,
            ),
            flying=flying,
            compute=writer.compute,
            limit=sweep.compute.part_seconds,
            received=received,
        )
        state = "failed"
        try:
            while course.step():
                on_progress(outcome.done + flying.under_way(), outcome.total)
                if course.needs_another_process():
                    ledger.save("running")
                    campaign.watched.again()
            state = "interrupted" if received else ledger.final_state()
            if state == "done":
                folder.drop_checkpoints()
        finally:
            course.land()
            with suppress(OSError) if state == "failed" else nullcontext():  # the disk that is full has been named
                ledger.save(state)
    if received:
        raise Interrupted(received[0], outcome, folder, writer.checkpointed)
    return outcome


def _drop_what_was_deepest(folder: RunFolder, committed: dict[str, Record], deepest: int) -> None:
    """Take away what parts of a training sweep say of the deepest networks where deeper ones are asked for now."""
    for stem, stored in committed.items():
        if stored.part.jobs[0].depth != deepest:
            folder.drop_details(stem)


@dataclass
class _Ledger:
    """What run.json says while a run goes on.

    beside: networks of the folder's sweep that are there and not asked for. earlier: run.json as it was.
    started, began: by `time.monotonic`, of this process and of the command.
    """

    campaign: Campaign
    outcome: Outcome
    beside: int
    earlier: Info
    started: float
    began: float

    @classmethod
    def opened(cls, campaign: Campaign, committed: dict[str, Record]) -> "_Ledger":
        """The ledger of a command that finds these parts."""
        there = count_done(campaign.wanted, committed)
        already_done, began = campaign.watched.begins(there)
        outcome = Outcome(total=campaign.wanted.n_networks, already_done=already_done, done=there)
        beside = count_done(campaign.sweep, committed) - there
        return cls(campaign, outcome, beside, campaign.folder.info(), time.monotonic(), began)

    def save(self, state: str) -> None:
        """Write run.json. state: where the run stands."""
        campaign, outcome = self.campaign, self.outcome
        outcome.seconds = time.monotonic() - self.began
        described = campaign.describe()
        checks = dict.fromkeys([*self.earlier.self_check, *described.get("self_check", [])])
        campaign.folder.write_info(
            {
                "state": state,
                "title": campaign.sweep.title,
                "networks": campaign.sweep.n_networks,
                "networks_done": outcome.done + self.beside,
                "seconds": round(self.earlier.seconds + time.monotonic() - self.started, 3),
                **described,
                "self_check": list(checks),
                "failures": [*_standing(self.earlier.failures, outcome.failures, campaign.folder), *outcome.failures],
            }
        )

    def final_state(self) -> str:
        """Where a run stands that came to its end by itself."""
        if self.outcome.failures:
            return "failed"
        return "done" if self.outcome.done + self.beside == self.campaign.sweep.n_networks else "unfinished"


def _standing(earlier: list[Failure], now: list[dict[str, Any]], folder: RunFolder) -> list[dict[str, Any]]:
    """Failures of earlier runs that this one has neither mended nor met again."""
    settled = {
        family for record in folder.committed().values() for job in record.part.jobs for family in job.families()
    }
    failed = Part.from_json([failure["networks"] for failure in now])
    settled.update(family for job in failed.jobs for family in job.families())
    return [failure.model_dump() for failure in earlier if not settled.issuperset(failure.networks.families())]


@dataclass
class _PartWriter:
    """Computes parts, in whichever lane, and commits them. checkpointed: as in `Interrupted`."""

    campaign: Campaign
    outcome: Outcome
    checkpointed: list[tuple[int, int]] = field(default_factory=list)

    def compute(self, task: Task, flight: Flight) -> None:
        """Errors: Abandoned; _StorageError; whatever computing raises."""
        folder, depths = self.campaign.folder, tuple(self.campaign.sweep.grid.depth)
        checkpoint = folder.checkpoint(task.stem, self.outcome.notes.append)
        try:
            tables = self.campaign.engine.run(task.part, depths, flight.lane, flight.watch, checkpoint)
        except Abandoned:
            if checkpoint.step is not None:
                self.checkpointed.append((task.new, checkpoint.step))
            raise
        flight.watch(1.0)
        try:
            folder.write(task.stem, task.part, depths, tables)
            checkpoint.discard()
        except OSError as error:
            raise _StorageError(error) from error


@dataclass
class _Course:
    """The tasks of a run on their way through the lanes.

    limit: seconds that a part may take, if any. received: signals of the user's. ending_since: when the first of them
    was seen, by `time.monotonic`.
    """

    outcome: Outcome
    queue: Queue
    flying: Lanes
    compute: Callable[[Task, Flight], None]
    limit: float | None
    received: list[int]
    ending_since: float | None = None

    def step(self) -> bool:
        """Start what may start, and settle what has ended; False when nothing is left to wait for."""
        if not (self.received or self.flying.given_up()):
            while self.flying.free and (task := self.queue.next(self.flying.is_idle)) is not None:
                self.queue.watched.started(by_program(task.part), task.can_be_cut)
                self.flying.start(task, self.compute)
        self._refuse()
        if self.flying.is_idle:
            return False
        for flight, future in self.flying.landed():
            self._settle(flight, future)
        if self.limit is not None:
            for flight in self.flying.older_than(self.limit):
                self._give_up(flight, f"took longer than compute.part_seconds = {self.limit:g}")
        if not self.received:
            return True
        self.ending_since = self.ending_since or time.monotonic()
        return len(self.received) == 1 and time.monotonic() - self.ending_since < GRACE_SECONDS

    def needs_another_process(self) -> bool:
        """Whether all that is in flight was given up, and a supervisor can have the rest done without it."""
        given_up = self.flying.given_up()
        return self.queue.watched.is_supervised and bool(given_up) and len(given_up) == self.flying.in_flight

    def land(self) -> None:
        """Wait a while for what is in flight, and leave behind what does not end."""
        patience = 0.0 if self.received else GRACE_SECONDS
        for flight, future in self.flying.last_landed(patience):
            if future.exception() is None:
                self.outcome.done += flight.task.new
        if self.flying.in_flight:
            self.queue.watched.hung = True

    def _settle(self, flight: Flight, future: Future[Any]) -> None:
        task, error = flight.task, future.exception()
        self.queue.watched.ended(by_program(task.part), error is None)
        if error is None:
            self.outcome.done += task.new
        elif isinstance(error, _StorageError):
            raise error.cause
        elif isinstance(error, StoreError):
            raise error
        elif not isinstance(error, Abandoned) and not self.queue.failed(task):
            reason = str(error) if getattr(error, "is_sentence", False) else described(error)
            self.outcome.fail(task.part.jobs, reason, task.stem)

    def _give_up(self, flight: Flight, reason: str) -> None:
        task = flight.task
        flight.given_up.set()
        is_cut = self.queue.was_late(task)
        self.queue.watched.late(by_program(task.part), reason, final=not is_cut)
        if not is_cut:
            self.outcome.fail(task.part.jobs, reason, task.stem)
        if not self.queue.watched.is_supervised:
            self.flying.leave_behind(flight)
            self.queue.watched.hung = True

    def _refuse(self) -> None:
        for job, reason in self.queue.failures:
            self.outcome.fail((job,), reason, Part((job,)).name)
        self.queue.failures.clear()
