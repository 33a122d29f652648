"""Run a sweep into a folder: what is missing, in parallel lanes, each part committed as it ends."""

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from sweeps.checkpoints import Checkpoint
from sweeps.parts import Part
from sweeps.plan import Planner
from sweeps.spec import Sweep
from sweeps.store import Committed, RunFolder

# Parts in flight on each device: one computes while another is brought to the host and written.
LANES_A_DEVICE = 2


class Interrupted(Exception):
    """SIGINT or SIGTERM: what was in flight is committed or checkpointed, the folder can be resumed.

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


class Abandoned(Exception):
    """A part was given up for a signal; of it there is its checkpoint, if it was in training."""


class Engine(Protocol):
    """What computes a part (`execute.Executor`).

    watch: told now and then which share of the part is done; it may raise Abandoned.
    """

    def run(
        self, part: Part, depths: tuple[int, ...], lane: int, watch: Callable[[float], None], checkpoint: Checkpoint
    ) -> dict: ...


@dataclass(frozen=True)
class Task:
    """A part to compute under a file stem; `new` counts the networks that it adds to the folder."""

    stem: str
    part: Part
    new: int


@dataclass
class Outcome:
    """What became of a run: networks in the folder before and now, and the parts that failed."""

    total: int
    before: int
    done: int = 0
    seconds: float = 0.0
    failures: list[dict] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


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
            yield Task(stem, stored.part, stored.part.n_families * lacking)
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
) -> Outcome:
    """Compute what is missing and commit it. The folder exists and its lock is held.

    on_progress(networks in the folder, networks of the sweep) is called now and then; networks in training count
    by the share of their steps.
    describe: what goes into run.json beside the counts, asked at the start and at the end.
    Errors: Interrupted; SelfCheckError, a full disk and the like end the run, while other failures of a
    part are recorded and the run goes on.
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

    shares: dict[str, float] = {}
    checkpointed: list[tuple[int, int]] = []

    def work(task: Task, lane: int, received: list[int]) -> None:
        def watch(share: float) -> None:
            if received:
                raise Abandoned
            shares[task.stem] = share * task.new

        checkpoint = folder.checkpoint(task.stem, outcome.notes.append)
        try:
            folder.write(task.stem, task.part, depths, engine.run(task.part, depths, lane, watch, checkpoint))
        except Abandoned:
            if checkpoint.step is not None:
                checkpointed.append((task.new, checkpoint.step))
            raise
        checkpoint.discard()

    def show() -> None:
        on_progress(outcome.done + sum(list(shares.values())), outcome.total)

    if sweep.train:
        for stem, stored in committed.items():
            if stored.part.jobs[0].depth != max(depths):
                folder.drop_details(stem)
    show()
    save("running")
    state = "failed"
    tasks = missing(sweep, planner, committed)
    with _signals() as received, ThreadPoolExecutor(lanes, thread_name_prefix="lane") as pool:
        flying: dict[Future, tuple[Task, int]] = {}
        free = list(range(lanes))
        try:
            while True:
                while free and not received and (task := next(tasks, None)) is not None:
                    lane = free.pop(0)
                    flying[pool.submit(work, task, lane, received)] = (task, lane)
                if not flying:
                    break
                # A short wait, so that a signal is acted on between parts.
                for future in wait(flying, timeout=0.2, return_when=FIRST_COMPLETED).done:
                    task, lane = flying.pop(future)
                    free.append(lane)
                    error = future.exception()
                    shares.pop(task.stem, None)
                    if error is None:
                        outcome.done += task.new
                        continue
                    if isinstance(error, Abandoned):
                        continue
                    if not _is_of_the_part(error):
                        raise error
                    outcome.failures.extend(_failures(task, error))
                show()
            state = "interrupted" if received else "failed" if outcome.failures else "done"
            if state == "done":
                folder.drop_checkpoints()
        finally:
            for future in flying:
                future.cancel()
            wait(flying)
            save(state)
    if received:
        raise Interrupted(received[0], outcome, checkpointed)
    return outcome


def _is_of_the_part(error: BaseException) -> bool:
    """Whether other parts may still succeed: not after a full disk or a failed self-check."""
    return isinstance(error, Exception) and not isinstance(error, OSError) and not getattr(error, "fatal", False)


def _failures(task: Task, error: BaseException) -> Sequence[dict]:
    text = str(error).strip().splitlines()
    reason = f"{type(error).__name__}: {text[0]}" if text else type(error).__name__
    return [{"part": task.stem, "networks": job, "reason": reason} for job in task.part.to_json()]


@contextmanager
def _signals() -> Iterator[list[int]]:
    """SIGINT and SIGTERM as entries of a list; a second SIGINT is the usual KeyboardInterrupt."""
    received: list[int] = []

    def note(number: int, frame: object) -> None:
        received.append(number)
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    try:
        before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not in the main thread: the embedding program handles signals
        before = {}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def lanes(devices: int) -> int:
    """Parts to keep in flight."""
    return LANES_A_DEVICE * devices
