"""Run a sweep into a folder: what is missing, in parallel lanes, each part committed as it ends."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from typing import Protocol

from winit_jax.engine.planning.planner import Planner
from winit_jax.engine.running.lanes import Abandoned, Flight, Lanes
from winit_jax.engine.running.supervise import GRACE_SECONDS, Watched
from winit_jax.engine.running.suspects import Queue, Task, by_program, stem_of
from winit_jax.errors import described
from winit_jax.spec.parts import Job, Part
from winit_jax.spec.sweep import Sweep
from winit_jax.store.asked import Asked, count_done, grid_digest, settings_digest
from winit_jax.store.checkpoints import Checkpoint
from winit_jax.store.folder import RunFolder, StoreError
from winit_jax.store.info import Failure
from winit_jax.store.journal import Record
from winit_jax.system import signals

# Parts in flight on each device: one computes while another is brought to the host and written.
LANES_A_DEVICE = 2


class Interrupted(Exception):
    """A signal of the user's: what was in flight is committed, checkpointed or given up; the folder can be resumed.

    outcome: of the run so far. checkpointed: (networks, step reached) of each training that was in flight.
    """

    def __init__(self, signal_number: int, outcome: "Outcome", checkpointed: Sequence[tuple[int, int]] = ()) -> None:
        super().__init__(signal_number)
        self.signal_number, self.outcome, self.checkpointed = signal_number, outcome, tuple(checkpointed)

    def __str__(self) -> str:
        """What is kept, in a sentence."""
        kept = f"{self.outcome.done:,} of {self.outcome.total:,} networks are done"
        if self.checkpointed:
            steps = sorted({step for _, step in self.checkpointed})
            where = f"step {steps[0]:,}" if len(steps) == 1 else f"steps {steps[0]:,} to {steps[-1]:,}"
            kept += f", and {sum(count for count, _ in self.checkpointed):,} in training are kept as of {where}"
        return f"Interrupted: {kept}."


class Engine(Protocol):
    """What computes a part (`execute.Executor`).

    watch: told now and then which share of the part is done; it may raise Abandoned.
    """

    def run(
        self, part: Part, depths: tuple[int, ...], lane: int, watch: Callable[[float], None], checkpoint: Checkpoint
    ) -> dict: ...


class _StorageError(Exception):
    """The folder cannot be written: no part can be kept any more."""

    def __init__(self, cause: OSError) -> None:
        super().__init__(str(cause))
        self.cause = cause


@dataclass
class Outcome:
    """What became of a run: networks in the folder before the command and now, and the parts that failed."""

    total: int
    before: int
    done: int = 0
    seconds: float = 0.0
    failures: list[dict] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


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
    done: set[tuple] = set()
    described: set[tuple] = set()
    for stem, stored in committed.items():
        done.update(family for job in stored.part.jobs for family in job.families())
        described.update(stored.part.described())
        if not stored.part.is_training and wanted.depths - set(stored.depths) and (own := wanted.part(stored.part)):
            yield Task(stem, stored.part, own.n_networks(set(wanted.depths) - set(stored.depths)))
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


def run(
    sweep: Sweep,
    folder: RunFolder,
    planner: Planner,
    engine: Engine,
    lanes: int,
    on_progress: Callable[[float, int], None],
    describe: Callable[[], dict],
    asked: Sweep | None = None,
    watched: Watched | None = None,
) -> Outcome:
    """Compute what is missing and commit it. The folder exists, its lock is held and it is recovered.

    on_progress(networks in the folder, networks of the sweep) is called now and then; networks in training count
    by the share of their steps.
    describe: what goes into run.json beside the counts, asked at the start and at the end.
    asked: of the sweep's networks those that are wanted now, all of them if None.
    watched: what a supervising process knows of earlier processes of this command.
    Whatever is raised in computing a part is that part's failure, which is recorded; the run goes on.
    Errors: Interrupted; OSError and StoreError where the folder cannot be written.
    """
    committed = folder.committed()
    generation = folder.plans_for(grid_digest(sweep), settings_digest(sweep))
    watched = watched or Watched()
    there = count_done(asked or sweep, committed)
    before, began = watched.begins(there)
    outcome = Outcome(total=(asked or sweep).n_networks, before=before, done=there)
    others = count_done(sweep, committed) - there
    depths, wanted = tuple(sweep.grid.depth), set((asked or sweep).grid.depth)
    started = time.monotonic()
    earlier = folder.info()
    if outcome.done == outcome.total and (asked or earlier.state == "done"):
        outcome.seconds = started - began
        on_progress(outcome.done, outcome.total)
        return outcome

    def save(state: str) -> None:
        outcome.seconds = time.monotonic() - began
        found = describe()
        checks = dict.fromkeys([*earlier.self_check, *found.get("self_check", [])])
        folder.write_info(
            {
                "state": state,
                "title": sweep.title,
                "networks": sweep.n_networks,
                "networks_done": outcome.done + others,
                "seconds": round(earlier.seconds + time.monotonic() - started, 3),
                **found,
                "self_check": list(checks),
                "failures": [*_standing(earlier.failures, outcome.failures, folder), *outcome.failures],
            }
        )

    checkpointed: list[tuple[int, int]] = []

    def compute(task: Task, flight: Flight) -> None:
        checkpoint = folder.checkpoint(task.stem, outcome.notes.append)
        try:
            tables = engine.run(task.part, depths, flight.lane, flight.watch, checkpoint)
        except Abandoned:
            if checkpoint.step is not None:
                checkpointed.append((task.new, checkpoint.step))
            raise
        flight.watch(1.0)
        try:
            folder.write(task.stem, task.part, depths, tables)
            checkpoint.discard()
        except OSError as error:
            raise _StorageError(error) from error

    if sweep.train:
        for stem, stored in committed.items():
            if stored.part.jobs[0].depth != max(depths):
                folder.drop_details(stem)
    on_progress(outcome.done, outcome.total)
    save("running")
    with signals.noted() as received, Lanes(lanes, received) as flying:
        course = _Course(
            outcome=outcome,
            queue=Queue(missing(sweep, planner, committed, asked, generation), wanted, watched),
            flying=flying,
            compute=compute,
            limit=sweep.compute.part_seconds,
            received=received,
        )
        state = "failed"
        try:
            while course.step():
                on_progress(outcome.done + flying.under_way(), outcome.total)
                if course.needs_another_process():
                    save("running")
                    course.queue.watched.again()
            whole = outcome.done + others == sweep.n_networks
            state = "interrupted" if received else "failed" if outcome.failures else "done" if whole else "unfinished"
            if state == "done":
                folder.drop_checkpoints()
        finally:
            course.land()
            with suppress(OSError) if state == "failed" else nullcontext():  # the disk that is full has been named
                save(state)
    if received:
        raise Interrupted(received[0], outcome, checkpointed)
    return outcome


def _standing(earlier: list[Failure], now: list[dict], folder: RunFolder) -> list[dict]:
    """Failures of earlier runs that this one has neither mended nor met again."""
    settled = {
        family for record in folder.committed().values() for job in record.part.jobs for family in job.families()
    }
    settled.update(family for job in Part.from_json([one["networks"] for one in now]).jobs for family in job.families())
    return [one.model_dump() for one in earlier if not settled.issuperset(one.networks.families())]


@dataclass
class _Course:
    """The tasks of a run on their way through the lanes."""

    outcome: Outcome
    queue: Queue
    flying: Lanes
    compute: Callable[[Task, Flight], None]
    limit: float | None
    received: list[int]
    asked: float | None = None  # when the user asked the run to end

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
        self.asked = self.asked or time.monotonic()
        return len(self.received) == 1 and time.monotonic() - self.asked < GRACE_SECONDS

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

    def _settle(self, flight: Flight, future: Future) -> None:
        task, error = flight.task, future.exception()
        self.queue.watched.ended(by_program(task.part), error is None)
        if error is None:
            self.outcome.done += task.new
        elif isinstance(error, _StorageError):
            raise error.cause
        elif isinstance(error, StoreError):
            raise error
        elif not isinstance(error, Abandoned) and not self.queue.failed(task):
            self._record(
                task.part.jobs, str(error) if getattr(error, "is_sentence", False) else described(error), task.stem
            )

    def _give_up(self, flight: Flight, reason: str) -> None:
        task = flight.task
        flight.given_up.set()
        is_cut = self.queue.was_late(task)
        self.queue.watched.late(by_program(task.part), reason, final=not is_cut)
        if not is_cut:
            self._record(task.part.jobs, reason, task.stem)
        if not self.queue.watched.is_supervised:
            self.flying.leave_behind(flight)
            self.queue.watched.hung = True

    def _refuse(self) -> None:
        for job, reason in self.queue.failures:
            self._record((job,), reason, Part((job,)).name)
        self.queue.failures.clear()

    def _record(self, jobs: tuple[Job, ...], reason: str, stem: str) -> None:
        self.outcome.failures.extend({"part": stem, "networks": job, "reason": reason} for job in Part(jobs).to_json())


def lanes(devices: int) -> int:
    """Parts to keep in flight."""
    return LANES_A_DEVICE * devices
