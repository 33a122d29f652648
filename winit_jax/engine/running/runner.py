"""Run a sweep into a folder: what is missing, in parallel lanes, each part committed as it ends."""

import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from typing import Any

from winit_jax.engine.running.campaign import Campaign
from winit_jax.engine.running.lanes import Abandoned, Flight, Lanes
from winit_jax.engine.running.ledger import Ledger, ShardLedger
from winit_jax.engine.running.outcome import Interrupted, Outcome
from winit_jax.engine.running.supervise import GRACE_SECONDS
from winit_jax.engine.running.suspects import Queue, Task, by_program
from winit_jax.engine.running.tasks import missing, total_of
from winit_jax.errors import described
from winit_jax.spec.parts import Part
from winit_jax.store.asked import grid_digest, settings_digest
from winit_jax.store.folder import RunFolder, StoreError
from winit_jax.system import signals

# Parts in flight on each device: one computes while another is brought to the host and written.
LANES_A_DEVICE = 2


class _StorageError(Exception):
    """The folder cannot be written: no part can be kept any more."""

    def __init__(self, cause: OSError) -> None:
        super().__init__(str(cause))
        self.cause = cause


def lanes(devices: int) -> int:
    """How many parts to keep in flight."""
    return LANES_A_DEVICE * devices


def run(campaign: Campaign, on_progress: Callable[[float, int], None]) -> Outcome:
    """Compute what is missing and commit it. The folder is there, this process has it, and it is recovered.

    on_progress: is told now and then (networks that are asked for and in the folder,
    networks that are asked for), of the shard where one is asked for; networks in training count by the share of their
    steps.
    Whatever is raised in computing a part is that part's failure, which is written down; the run goes on.
    Errors: Interrupted; OSError and StoreError where the folder cannot be written.
    """
    folder, sweep = campaign.folder, campaign.sweep
    ledger, tasks = _opened(campaign)
    outcome = ledger.outcome
    if ledger.is_settled:
        outcome.seconds = ledger.started - ledger.began
        on_progress(outcome.done, outcome.total)
        ledger.settle()
        return outcome
    if sweep.train and campaign.shard is None:
        drop_what_was_deepest(folder, max(sweep.grid.depth))
    on_progress(outcome.done, outcome.total)
    ledger.save("running")
    writer = _PartWriter(campaign, outcome)
    with signals.noted() as received, Lanes(campaign.lanes, received) as flying:
        course = _Course(
            outcome=outcome,
            queue=Queue(iter(tasks), set(campaign.wanted.grid.depth), campaign.watched),
            flying=flying,
            compute=writer.compute,
            limit=sweep.compute.part_seconds,
            received=received,
        )
        is_through = False
        try:
            while course.step():
                on_progress(outcome.done + flying.under_way(), outcome.total)
                ledger.tell()
                if course.needs_another_process():
                    ledger.save("running")
                    campaign.watched.again()
            is_through = True
        finally:
            course.land()
            # The disk that is full has been named.
            with nullcontext() if is_through else suppress(OSError, StoreError):
                ledger.close(is_interrupted=bool(received)) if is_through else ledger.fail()
    if received:
        raise Interrupted(received[0], outcome, folder, writer.checkpointed)
    return outcome


def _opened(campaign: Campaign) -> tuple[Ledger, Iterable[Task]]:
    """The ledger of a run, and what is left to do."""
    folder, sweep, planner = campaign.folder, campaign.sweep, campaign.planner
    committed = folder.committed()
    generation = folder.plans_for(grid_digest(sweep), settings_digest(sweep))
    tasks = missing(sweep, planner, committed, campaign.asked, generation, campaign.shard)
    if campaign.shard is None:
        return Ledger.opened(campaign, committed), tasks
    own = list(tasks)
    total = total_of(sweep, planner, campaign.asked, campaign.shard)
    return ShardLedger.of(campaign, total, sum(task.new for task in own)), own


def drop_what_was_deepest(folder: RunFolder, deepest: int) -> None:
    """Take away what parts of a training sweep say of the deepest networks where deeper ones are asked for now."""
    for stem, stored in folder.committed().items():
        if stored.part.jobs[0].depth != deepest:
            folder.drop_details(stem)


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
