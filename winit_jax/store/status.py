"""The status of a run folder: what is done, what is damaged, and whether a process works in it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from winit_jax.spec.parts import Job
from winit_jax.spec.sweep import Vocabulary
from winit_jax.store import glance, journal, lock, shards_at_work
from winit_jax.store.asked import Short, count
from winit_jax.store.damage import Damage, damaged, foreign, orphans, shown
from winit_jax.store.folder import RunFolder
from winit_jax.store.glance import Glance
from winit_jax.store.info import Info, read_info
from winit_jax.store.joining import edited, stored_sweep
from winit_jax.store.journal import Journal, Record
from winit_jax.store.lock import Standing
from winit_jax.store.shards_at_work import Shards
from winit_jax.system.garbage import uncollected

NO_SHARDS = Shards()


@dataclass(frozen=True)
class Status:
    """The status of a run folder; `str()` is what `winit status` prints.

    state: one word, with details in brackets where there are any (`state`). networks: how many the sweep asks for.
    done: how many of them the folder holds whole. failed: a sentence for each failure in run.json. damaged: a sentence
    for each damage to its files. edited: a sentence if sweep.toml was edited, else "". foreign: files that are no part
    of the run, or "". lacks_predictions: whether the tables of theory have to be made anew. go_on: the command
    that continues the run, or "" if nothing is left to do. shards: those that were begun, and which were not.
    """

    title: str
    state: str
    networks: int
    done: int
    failed: tuple[str, ...] = ()
    damaged: tuple[str, ...] = ()
    edited: str = ""
    foreign: str = ""
    lacks_predictions: bool = False
    go_on: str = ""
    shards: Shards = field(default_factory=Shards)

    @property
    def missing(self) -> int:
        """How many networks are still to be computed."""
        return self.networks - self.done

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield f"{'title':<9} {self.title}"
        yield f"{'state':<9} {self.state}"
        yield f"{'done':<9} {self.done:,} of {self.networks:,} networks"
        yield f"{'missing':<9} {self.missing:,}{', and the tables of theory' if self.lacks_predictions else ''}"
        yield f"{'failed':<9} {len(self.failed):,}"
        for sentence in self.failed:
            yield f"  {sentence}"
        yield from self.shards.lines()
        for sentence in self.damaged:
            yield f"{'damaged':<9} {sentence}"
        if self.edited:
            yield f"{'edited':<9} sweep.toml {self.edited}"
        if self.foreign:
            yield f"{'foreign':<9} {self.foreign}: no part of this run, and not read"
        if self.go_on:
            yield f"{'go on':<9} {self.go_on}"


def look(path: Path, vocabulary: Callable[[], Vocabulary]) -> Status:
    """The status of the run folder at this path. Errors: StoreError if it is none, or its sweep cannot be read.

    vocabulary: asked for only where run.json does not say for what the sweep asks.
    """
    folder = RunFolder(path)
    asks = folder.asks(folder.info())
    if asks is None:
        asks = Short.of(stored_sweep(folder, vocabulary()))
    standing = lock.look(folder.staging / "lock")
    shards = shards_at_work.look(folder.path)
    return _glanced(folder, asks, standing, shards) or _looked(folder, vocabulary(), standing, shards)


def _glanced(folder: RunFolder, sweep: Short, standing: Standing, shards: Shards) -> Status | None:
    """The status of a run in which all is as it should be, in little time however many parts it has; else None."""
    with uncollected():
        listed, seen = glance.listing(folder.path), Glance(folder.path)
        if not seen.more() or not seen.lines:
            return None
        done = seen.done(sweep.grid, sweep.settings)
        if done is None or not seen.is_whole(listed):
            return None
    info, problem = read_info(folder.path / "run.json")
    if problem:
        return None
    has_predictions = journal.PREDICTIONS in seen.lines
    complete = done == sweep.networks and bool(sweep.networks or has_predictions)
    return Status(
        title=sweep.title,
        state=state(standing, complete, False, info, shards),
        networks=sweep.networks,
        done=done,
        failed=_failed(info),
        go_on="" if complete else folder.go_on,
        shards=shards,
    )


def _looked(folder: RunFolder, vocabulary: Vocabulary, standing: Standing, shards: Shards) -> Status:
    path, committed = folder.path, folder.refresh()
    sweep = stored_sweep(folder, vocabulary)  # after the journal: a run that adds points writes the sweep first
    info, problem = read_info(path / "run.json")
    damages, lost = damaged(path, committed), orphans(path, committed)
    total, done = sweep.n_networks, count(sweep, whole_parts(committed, damages)).done
    is_damaged = bool(damages or committed.unreadable or lost)
    lacks_predictions = committed.lacks_predictions
    has_predictions = journal.PREDICTIONS in committed.records and not lacks_predictions
    complete = done == total and not is_damaged and not lacks_predictions and bool(total or has_predictions)
    foreign_files = foreign(path, committed)
    return Status(
        title=sweep.title,
        state=state(standing, complete, is_damaged, info, shards),
        networks=total,
        done=done,
        failed=_failed(info),
        damaged=(*committed.unreadable, *map(str, damages), *lost, *([problem] if problem else [])),
        edited=edited(sweep, list(folder.committed().values())),
        foreign=shown(foreign_files) if foreign_files else "",
        lacks_predictions=lacks_predictions,
        go_on="" if complete else folder.go_on,
        shards=shards,
    )


def _failed(info: Info) -> tuple[str, ...]:
    return tuple(f"{name_job(failure.networks)}: {failure.reason}" for failure in info.failures)


def whole_parts(entries: Journal, ill: list[Damage]) -> list[Record]:
    """The committed parts, without the tables of theory alone, that `ill` names no damage of."""
    stems = {damage.stem for damage in ill}
    return [record for record in entries.committed() if record.stem not in stems and record.stem != journal.PREDICTIONS]


def state(standing: Standing, complete: bool, is_damaged: bool, info: Info, shards: Shards = NO_SHARDS) -> str:
    """One of running, done, damaged, unfinished, killed, interrupted and failed, with details in brackets.

    The lock and the leases decide whether a process is at work: run.json holds only what the last process wrote.
    """
    note = standing.note
    if shards.running:
        count = len(shards.running)
        return f"running ({count:,} processes)" if count > 1 else "running (1 process)"
    if standing.held:
        return f"running (process {note.pid} on {note.host}, since {_time(note.started)})" if note else "running"
    if complete:
        return "done"
    if is_damaged:
        return "damaged"
    if note is None or (shards.all and note.started < max(one.ended for one in shards.all)):
        if killed := [one for one in shards.all if one.state == "killed"]:
            return f"killed ({', '.join(one.name for one in killed[:3])}{' and more' * (len(killed) > 3)})"
        return info.state if info.state not in ("", "running", "done") else "unfinished"
    if not note.state:
        return f"killed (process {note.pid} on {note.host}, last seen {_time(note.heartbeat)})"
    word = "unfinished" if note.state == "done" else note.state
    return f"{word} ({note.reason})" if note.reason else word


def _time(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds).isoformat(sep=" ", timespec="seconds")
    except (ValueError, OverflowError, OSError):
        return "an unknown time"


def name_job(job: Job) -> str:
    """A job as the values of its axes, for a sentence."""
    inits = ", ".join(point.init + ("" if point.scale is None else f" {point.scale:g}") for point in job.points[:4])
    more = len(job.points) - 4
    depth = f"depth {job.depth}" if job.depth else "all depths"
    return (
        f"{job.activation}, {inits}{f' and {more} more' if more > 0 else ''}, {job.normalization}, "
        f"width {job.width}, seed {job.seed}, {depth}"
    )
