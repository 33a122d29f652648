"""Run a sweep into a folder: what is missing, in parallel lanes, each part committed as it ends."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from typing import Protocol

from sweeps import signals
from sweeps.lanes import Abandoned, Flight, Lanes
from sweeps.parts import Job, Part
from sweeps.plan import Planner
from sweeps.spec import Sweep
from sweeps.store import Committed, RunFolder, StoreError
from sweeps.supervise import GRACE_SECONDS, Watched
from sweeps.suspects import Queue, Task, by_program

# Parts in flight on each device: one computes while another is brought to the host and written.
LANES_A_DEVICE = 2


class Interrupted(Exception):
    """A signal of the user's: what was in flight is committed or given up, and the folder can be resumed."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.signal_number = signal_number


class Engine(Protocol):
    """What computes a part (`execute.Executor`).

    watch: told now and then which share of the part is done; it may raise Abandoned.
    """

    def run(self, part: Part, depths: tuple[int, ...], lane: int, watch: Callable[[float], None]) -> dict: ...


class StorageError(Exception):
    """The folder cannot be written: no part can be kept any more. Its cause is what the system said."""


@dataclass
class Outcome:
    """What became of a run: networks in the folder before and now, and the parts that failed."""

    total: int
    before: int
    done: int = 0
    seconds: float = 0.0
    failures: list[dict] = field(default_factory=list)


def missing(sweep: Sweep, planner: Planner, committed: dict[str, Committed]) -> Iterator[Task]:
    """The work left, in a fixed order.

    A stored part of a forward sweep whose networks lack depths is computed again as a whole, under its own name: the
    pass to the deepest network yields them all. Families that are nowhere become new parts.
    """
    depths = tuple(sweep.grid.depth)
    done: set[tuple] = set()
    described: set[tuple] = set()
    for stem, stored in committed.items():
        done.update(family for job in stored.part.jobs for family in job.families())
        described.update(stored.part.described())
        lacking = len(set(depths) - set(stored.depths))
        if lacking and not stored.part.is_training:
            yield Task(stem, stored.part, stored.part.n_families * lacking, whole=True)
    for part in planner.parts(sweep):
        left = part.without(done.__contains__) if done else part
        if left is not None:
            left = left.describing_no_more(described) if described else left
            yield Task(left.name, left, left.n_networks(set(depths)))


def count_done(sweep: Sweep, committed: dict[str, Committed]) -> int:
    """Networks of the sweep that the folder holds."""
    depths = set(sweep.grid.depth)
    return sum(stored.part.n_networks(depths & set(stored.depths)) for stored in committed.values())


def run(
    sweep: Sweep,
    folder: RunFolder,
    planner: Planner,
    engine: Engine,
    lanes: int,
    on_progress: Callable[[float, int], None],
    describe: Callable[[], dict],
    watched: Watched | None = None,
) -> Outcome:
    """Compute what is missing and commit it. The folder exists and its lock is held.

    on_progress(networks in the folder, networks of the sweep) is called now and then; networks in training count
    by the share of their steps.
    describe: what goes into run.json beside the counts, asked at the start and at the end.
    watched: what a supervising process knows of earlier processes of this command.
    Whatever is raised in computing a part is that part's failure, which is recorded; the run goes on.
    Errors: Interrupted; StorageError and StoreError where the folder cannot be written.
    """
    folder.remove_orphans()
    committed = folder.committed()
    outcome = Outcome(total=sweep.n_networks, before=count_done(sweep, committed))
    outcome.done = outcome.before
    depths = tuple(sweep.grid.depth)
    started = time.monotonic()
    earlier = folder.info()
    if outcome.done == outcome.total and earlier.get("state") == "done":
        on_progress(outcome.done, outcome.total)
        return outcome

    def save(state: str) -> None:
        outcome.seconds = time.monotonic() - started
        found = describe()
        checks = dict.fromkeys([*earlier.get("self_check", []), *found.get("self_check", [])])
        folder.write_info(
            {
                "state": state,
                "title": sweep.title,
                "networks": outcome.total,
                "networks_done": outcome.done,
                "seconds": round(earlier.get("seconds", 0.0) + outcome.seconds, 3),
                **found,
                "self_check": list(checks),
                "failures": outcome.failures,
            }
        )

    def compute(task: Task, flight: Flight) -> None:
        tables = engine.run(task.part, depths, flight.lane, flight.watch)
        flight.watch(1.0)
        try:
            folder.write(task.stem, task.part, depths, tables)
        except OSError as error:
            raise StorageError(str(error)) from error

    if sweep.train:
        for stem, stored in committed.items():
            if stored.part.jobs[0].depth != max(depths):
                folder.drop_details(stem)
    on_progress(outcome.done, outcome.total)
    save("running")
    with signals.noted() as received, Lanes(lanes, received) as flying:
        course = _Course(
            outcome=outcome,
            queue=Queue(missing(sweep, planner, committed), depths, watched or Watched()),
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
            state = "interrupted" if received else "failed" if outcome.failures else "done"
        finally:
            course.land()
            with suppress(OSError) if state == "failed" else nullcontext():  # the disk that is full has been named
                save(state)
    if received:
        raise Interrupted(received[0])
    return outcome


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
                self.queue.watched.started(by_program(task.part))
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
        elif isinstance(error, StorageError | StoreError):
            raise error
        elif not isinstance(error, Abandoned) and not self.queue.failed(task):
            self._record(task.part.jobs, _reason(error), task.stem)

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


def _reason(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    if text and getattr(error, "is_sentence", False):
        return text[0]
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__


def lanes(devices: int) -> int:
    """Parts to keep in flight."""
    return LANES_A_DEVICE * devices
