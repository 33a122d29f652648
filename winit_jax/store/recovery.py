"""What killed processes left in a run folder: committed parts are moved into the tables, all else is cleared away."""

import os
import time
from contextlib import suppress
from pathlib import Path

from winit_jax.spec.shards import Shard
from winit_jax.store import gate, journal, leases, lock, quarantine, schema, shard_states
from winit_jax.store.damage import FOLDERS, damaged, left_behind, orphans
from winit_jax.store.folder import TEXTS, RunFolder
from winit_jax.store.info import read_info
from winit_jax.store.journal import Environment, FolderError, Record
from winit_jax.store.leases import Lease
from winit_jax.system import disk

_PREFIXES = tuple(f"{table}-" for table in FOLDERS)


def recover(folder: RunFolder, thorough: bool = True) -> list[str]:
    """Move committed parts out of staging, delete what was not committed, and move damaged files to quarantine.

    No other process may have begun to write. thorough: read every file, not only those whose time of change is another.
    Out: a sentence for each damage found. Errors: OSError; FolderError.
    """
    dead = _dead(folder)
    sentences = _mend_journal(folder)
    path, entries, writer = folder.path, folder.refresh(), folder.writer
    if lost := orphans(path, entries):
        for name in left_behind(path, entries):
            quarantine.set_aside(path, path / name)
        sentences += lost
    if problem := read_info(path / "run.json")[1]:
        quarantine.set_aside(path, path / "run.json")
        sentences.append(problem.removesuffix("."))
    for record in entries.records.values():
        _finish(folder, record)
    for name in disk.names(folder.staging):
        if name in TEXTS or (name.endswith(".parquet") and name.startswith(_PREFIXES)):
            os.unlink(folder.staging / name)
    _clear(folder, dead)
    if folder.lease is None:
        gate.clear(folder.staging)
    by_stem: dict[str, list[str]] = {}
    for damage in damaged(path, entries, thorough):
        by_stem.setdefault(damage.stem, []).append(str(damage))
    for stem, problems in by_stem.items():
        writer.set_aside(stem, "; ".join(problems))
        sentences += problems
    _remember_environments(folder)
    return sentences


def sweep_up(folder: RunFolder) -> None:
    """Beside writers that live: finish what dead ones committed, and clear away the rest of theirs. Behind the gate.

    Errors: OSError; FolderError.
    """
    if not (dead := _dead(folder)):
        return
    for record in folder.refresh().records.values():  # read after they were known to be dead: they commit no more
        if record.writer in dead:
            _finish(folder, record)
    _clear(folder, dead)


def _finish(folder: RunFolder, record: Record) -> None:
    """Move what a part still has in staging, if it is whole."""
    for table, file in record.files.items():
        staged = journal.staged(folder.path, table, record)
        if disk.is_file(staged) and disk.sha256(staged) != file.sha256:
            os.unlink(staged)
    folder.writer.apply(record)


def _dead(folder: RunFolder) -> dict[str, Lease | None]:
    """Writers that do not live by their ids, each with its last note, if there is one that can be read."""
    place, is_alone = leases.folder(folder.staging), folder.lease is None
    names = disk.names(place)  # before the leases, so that one that is made meanwhile is not taken for a dead one
    found = {writer.lease.id: writer for writer in leases.writers(folder.staging)}
    dead: dict[str, Lease | None] = {}
    for name in names:
        owner = name.removesuffix(leases.SUFFIX).removesuffix(".new")
        if owner in found:
            if not found[owner].is_alive:
                dead[owner] = found[owner].lease
        elif is_alone or (place / name).is_dir() or _is_old(place / name):
            dead[owner] = None  # a folder without a lease, or a lease that was never finished
    return dead


def _clear(folder: RunFolder, dead: dict[str, Lease | None]) -> None:
    """Keep how far dead writers came, and remove what they had staged, and then their leases."""
    place, later = leases.folder(folder.staging), shard_states.kept(folder.path)
    for owner, note in dead.items():
        for file in disk.names(place / owner):
            os.unlink(place / owner / file)
        with suppress(FileNotFoundError):
            os.rmdir(place / owner)
        if note and note.shard and ((last := later.get(Shard(*note.shard))) is None or last.started <= note.started):
            shard_states.keep(folder.path, note, folder.writer.staging)
        for suffix in (leases.SUFFIX, ".new"):
            with suppress(FileNotFoundError):
                os.unlink(place / f"{owner}{suffix}")
    with suppress(OSError):  # others have leases in it, or there is none
        os.rmdir(place)


def _is_old(path: Path) -> bool:
    """Whether a lease that was never finished is older than any that is being made."""
    try:
        return time.time() - os.stat(path).st_mtime > lock.STALE_SECONDS
    except OSError:
        return False


def _mend_journal(folder: RunFolder) -> list[str]:
    """Drop damaged lines from the journal; a copy of it as it was goes to quarantine. Out: sentences about them.

    Errors: FolderError if the system refuses to read a file of it, for what it says is not lost; nothing is then
    changed.
    """
    entries = folder.refresh()
    if entries.refused:
        raise FolderError(f"{folder}: {entries.refused[0]}. Nothing was changed.")
    for name, whole in entries.ill.items():
        path = folder.path / journal.FOLDER / name
        if whole is None:
            quarantine.set_aside(folder.path, path)
        else:
            quarantine.set_aside(folder.path, path, copy=True)
            disk.replace_file(path, whole, folder.staging)
    return list(entries.unreadable)


def _remember_environments(folder: RunFolder) -> None:
    """Restore from run.json each environment that parts name and the journal has lost."""
    unknown = {record.made_by for record in folder.committed().values()} - folder.journal().environments.keys()
    for entry in folder.info().made_by if unknown else ():
        made_by = {key: value for key, value in entry.items() if key != "id"}
        if (name := journal.environment_id(made_by)) in unknown:
            folder.writer.append(Environment(version=schema.VERSION, id=name, made_by=made_by))
