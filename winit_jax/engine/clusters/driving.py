"""The launcher's side of a run on a cluster: each worker is told one part at a time, and the folder says what is there.

With one part in flight a worker, a part that kills its worker is known by itself. Whether it was that, or whether the
worker ended in order (a time limit, a cluster made smaller), its lease tells: whoever ends in order takes it away. A
job that was in flight at two deaths is set aside and named, as in a supervised run of one process.
"""

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from winit_jax.engine.clusters import working
from winit_jax.engine.clusters.deck import Deck
from winit_jax.engine.clusters.likeness import made_otherwise, named, unlike
from winit_jax.engine.clusters.pool import Called, Pool
from winit_jax.engine.planning.dealing import Costs
from winit_jax.engine.running.campaign import Campaign
from winit_jax.engine.running.lanes import LOOK_SECONDS
from winit_jax.engine.running.ledger import LauncherLedger
from winit_jax.engine.running.outcome import Interrupted, Outcome
from winit_jax.engine.running.progress import OnProgress
from winit_jax.engine.running.record import Record
from winit_jax.engine.running.supervise import GRACE_SECONDS, Watched
from winit_jax.engine.running.suspects import Queue, Task, by_program
from winit_jax.engine.running.tasks import missing
from winit_jax.errors import Refused
from winit_jax.spec.parts import Part
from winit_jax.store import leases, lock, recovery
from winit_jax.store.asked import grid_digest, settings_digest
from winit_jax.system import provenance, signals

# Between two looks at which workers there are.
WORKERS_SECONDS = 0.5
# How long there may be no worker before that is said: they take some seconds to start.
ALONE_SECONDS = 10.0
# So many workers that die one after another before any is ready are too many.
MOST_STILLBORN = 3
# Of one worker: after so many parts that it could not write it gets no more.
MOST_UNWRITABLE = 3
# How long after the others a worker is believed to have died with its part, whose lease it may just be taking away.
DEATH_SECONDS = 1.0


@dataclass(eq=False)
class Hand:
    """A worker. about: what it said of itself. step: introducing, preparing, idle, working or unfit.

    call: what it was told last, since when. task: the part that it computes.
    """

    address: str
    step: str = "introducing"
    about: dict[str, Any] = field(default_factory=dict)
    call: Called | None = None
    since: float = field(default_factory=time.monotonic)
    task: Task | None = None
    is_late: bool = False
    unwritable: int = 0

    def told(self, step: str, call: Called) -> None:
        self.step, self.call, self.since = step, call, time.monotonic()


def run(pool: Pool, say: Callable[[str], None], campaign: Campaign, on_progress: OnProgress) -> Outcome:
    """Have the workers of a pool compute what is missing. The folder is there, this process leads, and it is recovered.

    say: is told of workers that come too late or unlike. on_progress: as of `runner.run`.
    Errors: Interrupted; Refused; SchedulerLost; OSError and StoreError where the folder cannot be written.
    """
    folder = campaign.folder
    ledger = LauncherLedger.opened(campaign, folder.committed())
    on_progress(ledger.outcome.done, ledger.outcome.total)
    if ledger.is_settled:
        ledger.outcome.seconds = ledger.started - ledger.began
        return ledger.outcome
    generation = folder.plans_for(grid_digest(campaign.sweep), settings_digest(campaign.sweep))
    tasks = missing(campaign.sweep, campaign.planner, folder.committed(), campaign.asked, generation)
    ledger.save("running")
    assert folder.lease is not None
    launcher = folder.lease.note.id
    mission = working.Mission(folder.path, launcher, os.getcwd(), campaign.sweep)
    drive = _Drive(campaign, pool, say, ledger, Deck(tasks, Costs(campaign.planner, campaign.sweep)), mission)
    with signals.noted() as received:
        is_through = False
        try:
            while drive.step(received):
                ledger.tell()
                on_progress(ledger.outcome.done + drive.under_way(), ledger.outcome.total)
            is_through = True
        finally:
            pool.tell(working.leave_when_told, launcher)
            try:
                ledger.close(is_interrupted=bool(received)) if is_through else ledger.fail()
            except Exception:
                if is_through:
                    raise
    if received:
        raise Interrupted(received[0], ledger.outcome, folder, drive.checkpointed)
    return ledger.outcome


class _Drive:
    """Parts on their way through the workers. checkpointed: as in `Interrupted`."""

    def __init__(
        self,
        campaign: Campaign,
        pool: Pool,
        say: Callable[[str], None],
        ledger: LauncherLedger,
        deck: Deck,
        mission: working.Mission,
    ) -> None:
        self.campaign, self.pool, self.say, self.ledger, self.deck = campaign, pool, say, ledger, deck
        self.mission, self.folder, self.outcome = mission, campaign.folder, ledger.outcome
        self.record, self.hands, self.lost = Record(), dict[str, Hand](), list[tuple[float, Hand]]()
        self.queue = Queue(iter(()), set(campaign.wanted.grid.depth), Watched())
        self.here = {"versions": provenance.versions(), "commit": provenance.commit()}
        self.made_of = {key: campaign.describe().get(key) for key in ("inputs", "train", "activations", "inits")}
        self.made_of = {key: value for key, value in self.made_of.items() if value is not None}
        self.checkpointed: list[tuple[int, int]] = []
        self.ending_since: float | None = None
        self._looked = 0.0
        self._alone_since: float | None = None
        self._stillborn, self._under_way, self._shares_read = 0, 0.0, 0.0
        self._first = frozenset[str]()  # the workers that were there first
        self._is_open = False  # whether parts are dealt

    def step(self, received: list[int]) -> bool:
        """Tell idle workers their parts, and settle what has ended; False when nothing is left to wait for."""
        self._look()
        self._judge()
        if not received and self._opens():
            for hand in [hand for hand in self.hands.values() if hand.step == "idle"]:
                self._deal(hand)
        self._refuse()
        if not self._is_busy() and (received or not self._is_waited_for()):
            return False
        self.pool.wait(LOOK_SECONDS)
        for hand in list(self.hands.values()):
            if hand.call is not None and hand.call.is_over:
                self._settle(hand)
        if (limit := self.campaign.sweep.compute.part_seconds) is not None:
            self._end_late(limit)
        return self._may_go_on(received)

    # Which workers there are.

    def _look(self) -> None:
        now = time.monotonic()
        if now - self._looked < WORKERS_SECONDS:
            return
        self._looked = now
        there = self.pool.workers()
        for address in there - self.hands.keys():
            self.hands[address] = Hand(address)
            self._introduce(self.hands[address])
        for address in self.hands.keys() - there:
            self._lose(self.hands.pop(address))
        self._first = self._first or frozenset(there)
        if any(hand.step != "unfit" for hand in self.hands.values()):
            self._alone_since = None
        elif self._alone_since is None:
            self._alone_since = now
        elif now - self._alone_since > ALONE_SECONDS:
            self._alone_since = math.inf  # said once
            self.say(f"no worker of {self.pool.name} that can be given parts is there; waiting for one")

    def _opens(self) -> bool:
        """Whether parts may be given out: every worker that was there first, and still is, has been looked at."""
        if not self._is_open:
            first = [hand.step for hand in self.hands.values() if hand.address in self._first]
            idle = [hand for hand in self.hands.values() if hand.step == "idle"]
            self._is_open = bool(idle) and all(step in ("idle", "unfit") for step in first)
        return self._is_open

    def _introduce(self, hand: Hand) -> None:
        call = self.pool.call(hand.address, working.introduce, str(self.folder.path), self.mission.launcher)
        hand.told("introducing", call)

    def _lose(self, hand: Hand) -> None:
        """A worker is gone; its part, if it had one, is judged a moment later."""
        self.deck.leaves(hand.address)
        if hand.call is not None:
            hand.call.forget()
        if hand.step in ("introducing", "preparing"):
            self._stillborn += 1
            if self._stillborn >= MOST_STILLBORN and not self._is_open:
                where = named(hand.about) if hand.about else f"worker {hand.address}"
                raise Refused(
                    f"{self._stillborn} workers of {self.pool.name} died before they computed anything, the last of "
                    f"them {where}. Look into what they print.",
                    1,
                )
        if hand.task is not None:
            self.lost.append((time.monotonic(), hand))

    def _judge(self) -> None:
        """Of parts whose workers are gone: whether they are there, and whether they are what their workers died of."""
        now = time.monotonic()
        due = [hand for since, hand in self.lost if now - since >= DEATH_SECONDS]
        if not due:
            return
        self.lost = [(since, hand) for since, hand in self.lost if now - since < DEATH_SECONDS]
        staging = self.folder.staging
        with self.folder.gate():
            # Without its lease a worker that lives after all, and was only not heard of, writes nothing any more.
            deaths = [leases.take_away(staging, hand.about["process"]) for hand in due]
            recovery.sweep_up(self.folder)
            committed = self.folder.refresh().parts()
        for hand, is_death in zip(due, deaths, strict=True):
            task = hand.task
            assert task is not None
            keys = [key for keys in by_program(task.part).values() for key in keys]
            if self._is_there(task, committed):
                self.record.note({"what": "end", "jobs": by_program(task.part), "well": True})
                self.outcome.done += task.new
            elif hand.is_late:
                self._was_late(task)
            else:
                if is_death:
                    self.record.died(f"a worker, process {hand.about['pid']} on {hand.about['host']}", keys)
                    self.say(f"{named(hand.about)} died; what it computed is tried again")
                self.record.dropped(keys)
                self.queue.again(task)
            self._know()

    def _is_there(self, task: Task, committed: dict[str, Any]) -> bool:
        record = committed.get(task.stem)
        if record is None or record.jobs != task.part.jobs:
            return False
        return task.place is not None or set(self.campaign.sweep.grid.depth) <= set(record.depths)

    # What they are told.

    def _deal(self, hand: Hand) -> None:
        task = self.queue.next(True, lambda: self.deck.take(hand.address))
        if task is None:
            return
        self.record.note({"what": "start", "jobs": by_program(task.part), "divisible": task.can_be_cut})
        order = working.Order(
            self.mission.launcher, hand.about["process"], task.stem, task.part, is_new=task.place is not None
        )
        hand.task, hand.is_late = task, False
        hand.told("working", self.pool.call(hand.address, working.compute, order))

    def _settle(self, hand: Hand) -> None:
        """What a worker was told is over."""
        assert hand.call is not None
        answer, step, hand.call = hand.call.answer(), hand.step, None
        if answer.fault:
            self.pool.check()  # calls that are lost with the scheduler are no fault of workers
        if step == "introducing":
            self._met(hand, answer.value, answer.fault)
        elif step == "preparing":
            self._prepared(hand, answer.value, answer.fault)
        else:
            self._returned(hand, answer.value, answer.fault)

    def _met(self, hand: Hand, about: dict[str, Any] | None, fault: str) -> None:
        if about is None:
            self._unfit(hand, f"worker {hand.address} cannot run this winit-jax: {fault} Install the same on all.")
            return
        hand.about = {**about, "address": hand.address}
        if problem := unlike(hand.about, self.here, str(self.folder)):
            self._unfit(hand, problem)
            return
        hand.told("preparing", self.pool.call(hand.address, working.prepare, self.mission))

    def _prepared(self, hand: Hand, made: dict[str, Any] | None, fault: str) -> None:
        problem = fault if made is None else made["problem"]
        if problem:
            self._unfit(hand, f"{named(hand.about)} cannot compute the sweep: {problem}")
        elif made is not None and (change := made_otherwise(hand.about, made["made_of"], self.made_of)):
            self._unfit(hand, change)
        else:
            hand.step = "idle"

    def _unfit(self, hand: Hand, problem: str) -> None:
        """A worker that may not have parts: the run is refused if none was dealt yet, else it goes on without it."""
        self._drop(hand)
        if not self._is_open:
            raise Refused(problem)
        self.say(f"{problem} It is given nothing.")

    def _drop(self, hand: Hand) -> None:
        hand.step = "unfit"
        self.deck.leaves(hand.address)

    def _returned(self, hand: Hand, receipt: working.Receipt | None, fault: str) -> None:
        task = hand.task
        assert task is not None
        jobs = by_program(task.part)
        keys = [key for keys in jobs.values() for key in keys]
        hand.task, hand.step = None, "idle"
        if receipt is None and hand.address not in self.pool.workers():
            hand.task = task
            self._lose(self.hands.pop(hand.address))
            return
        receipt = receipt or working.Receipt(fault=fault)
        self.ledger.learn(receipt.checks, receipt.notes)
        if receipt.is_unknown and not receipt.unwritable:
            # Another process has the address: the one that was told is gone, as if it had been another worker.
            self.lost.append((time.monotonic(), replace(hand, task=task)))
            self._introduce(hand)
            return
        if receipt.unwritable:
            self.record.dropped(keys)
            self.queue.again(task)
            self._cannot_write(hand, receipt.unwritable)
            return
        if receipt.is_given_up:
            if receipt.step is not None:
                self.checkpointed.append((task.new, receipt.step))
            self.record.dropped(keys)
            return
        self.record.note({"what": "end", "jobs": jobs, "well": not receipt.fault})
        self._know()
        if not receipt.fault:
            self.outcome.done += task.new
        elif not self.queue.failed(task):
            self.outcome.fail(task.part.jobs, receipt.fault, task.stem)

    def _cannot_write(self, hand: Hand, why: str) -> None:
        hand.unwritable += 1
        if hand.unwritable < MOST_UNWRITABLE:
            self._introduce(hand)
            return
        self._drop(hand)
        sentence = f"{named(hand.about)} cannot write into {self.folder}: {why.removesuffix('.')}."
        if all(each.step == "unfit" for each in self.hands.values()):
            raise Refused(f"{sentence} What was finished is kept.", 1)
        self.say(f"{sentence} It is given nothing more.")

    def _end_late(self, limit: float) -> None:
        """End the process of a worker whose part takes longer than it may, if it is not this one."""
        for hand in self.hands.values():
            is_over = hand.task is not None and time.monotonic() - hand.since > limit
            if is_over and not hand.is_late and not hand.address.startswith("inproc:"):
                hand.is_late = True
                self.pool.tell(working.end, workers=[hand.address])

    def _was_late(self, task: Task) -> None:
        """Try the jobs of a part that took too long one by one, or give it up."""
        reason = f"took longer than compute.part_seconds = {self.campaign.sweep.compute.part_seconds:g}"
        is_cut = self.queue.was_late(task)
        self.record.note({"what": "late", "jobs": by_program(task.part), "reason": reason, "final": not is_cut})
        if not is_cut:
            self.outcome.fail(task.part.jobs, reason, task.stem)

    # How far the run is.

    def _know(self) -> None:
        """Tell the queue which jobs are suspected by now."""
        watched = self.queue.watched
        watched.suspects, watched.set_aside = self.record.suspects, dict(self.record.set_aside)
        watched.hopeless = self.record.hopeless

    def _refuse(self) -> None:
        for job, reason in self.queue.failures:
            self.outcome.fail((job,), reason, Part((job,)).name)
        self.queue.failures.clear()

    def under_way(self) -> float:
        """How many networks are done in trainings that are not, as their workers said last."""
        now = time.monotonic()
        if self.campaign.sweep.train and now - self._shares_read >= lock.BEAT_SECONDS:
            self._shares_read = now
            working_now = {hand.about["process"] for hand in self.hands.values() if hand.task is not None}
            found = [writer.lease for writer in leases.writers(self.folder.staging)]
            self._under_way = sum(lease.under_way for lease in found if lease.process in working_now)
        return self._under_way

    def _is_busy(self) -> bool:
        return bool(self.lost) or any(hand.task is not None for hand in self.hands.values())

    def _is_waited_for(self) -> bool:
        """Whether there are parts left, and no worker free for them."""
        return self.queue.holds_more or self.deck.holds_more

    def _may_go_on(self, received: list[int]) -> bool:
        if not received:
            return True
        if self.ending_since is None:
            self.ending_since = time.monotonic()
            self.pool.tell(working.give_up_when_told, self.mission.launcher)
        return len(received) == 1 and time.monotonic() - self.ending_since < GRACE_SECONDS
