"""Where a run folder stands, from what is in it: what is done, what is damaged, and whether somebody is at work."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from winit_jax.spec.parts import Job
from winit_jax.spec.sweep import Sweep, Vocabulary
from winit_jax.store import journal, lock
from winit_jax.store.asked import Count, count
from winit_jax.store.damage import Damage, damaged, foreign, orphans, shown
from winit_jax.store.folder import RunFolder
from winit_jax.store.info import Info, read_info
from winit_jax.store.joining import edited, stored_sweep
from winit_jax.store.journal import Journal, Record
from winit_jax.store.lock import Standing


def report(path: Path, vocabulary: Vocabulary) -> list[str]:
    """Lines about a run folder. Errors: StoreError if it is not one."""
    folder = RunFolder(path)
    stored_sweep(folder, vocabulary)
    standing = lock.look(folder.staging / "lock")
    found = folder.refresh()
    sweep = stored_sweep(folder, vocabulary)  # after the journal, for beside a run that adds points it grows first
    info, problem = read_info(path / "run.json")
    ill = damaged(path, found)
    whole = whole_parts(found, ill)
    counted = count(sweep, whole)
    return list(_lines(folder, sweep, standing, found, counted, ill, info, problem))


def whole_parts(found: Journal, ill: list[Damage]) -> list[Record]:
    """The committed parts whose files are as they were written."""
    stems = {damage.stem for damage in ill}
    return [record for record in found.committed() if record.stem not in stems and record.stem != journal.PREDICTIONS]


def _lines(
    folder: RunFolder,
    sweep: Sweep,
    standing: Standing,
    found: Journal,
    counted: Count,
    ill: list[Damage],
    info: Info,
    problem: str,
) -> Iterator[str]:
    total = sweep.n_networks
    lost = orphans(folder.path, found)
    is_damaged = bool(ill or found.unreadable or lost)
    has_predictions = journal.PREDICTIONS in found.records and not found.lacks_predictions
    complete = counted.done == total and not is_damaged and not found.lacks_predictions and (total or has_predictions)
    yield f"{'title':<9} {sweep.title}"
    yield f"{'state':<9} {state(standing, bool(complete), is_damaged, info)}"
    yield f"{'done':<9} {counted.done:,} of {total:,} networks"
    yield f"{'missing':<9} {total - counted.done:,}{', and the tables of theory' if found.lacks_predictions else ''}"
    yield f"{'failed':<9} {len(info.failures):,}"
    for failure in info.failures:
        yield f"  {name_job(failure.networks)}: {failure.reason}"
    for sentence in (*found.unreadable, *map(str, ill), *lost, *([problem] if problem else [])):
        yield f"{'damaged':<9} {sentence}"
    if sentence := edited(sweep, list(folder.committed().values())):
        yield f"{'edited':<9} sweep.toml {sentence}"
    if strangers := foreign(folder.path, found):
        yield f"{'foreign':<9} {shown(strangers)}: no part of this run, and not read"
    if not complete:
        yield f"{'go on':<9} {folder.go_on}"


def state(standing: Standing, complete: bool, is_damaged: bool, info: Info) -> str:
    """One word that is true now, and what is known of why.

    run.json says only what the last process meant to do; whether one is at work, the lock says.
    """
    note = standing.note
    if standing.held:
        return f"running (process {note.pid} on {note.host}, since {_time(note.started)})" if note else "running"
    if complete:
        return "done"
    if is_damaged:
        return "damaged"
    if note is None:
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
    """A job in the words of its axes."""
    inits = ", ".join(point.init + ("" if point.scale is None else f" {point.scale:g}") for point in job.points[:4])
    more = len(job.points) - 4
    depth = f"depth {job.depth}" if job.depth else "all depths"
    return (
        f"{job.activation}, {inits}{f' and {more} more' if more > 0 else ''}, {job.normalization}, "
        f"width {job.width}, seed {job.seed}, {depth}"
    )
