"""Whether the files of a run folder are those that its journal names: by size and time of change, or by SHA-256."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel

from winit_jax.store import journal
from winit_jax.store.journal import Journal, Record
from winit_jax.store.schema import METADATA_KEY, PREDICTIONS, TABLES
from winit_jax.system import disk

FOLDERS = (*TABLES, *PREDICTIONS)


@dataclass(frozen=True)
class Damage:
    """A committed file that is missing or is not as it was committed.

    stem: the part that it belongs to. path: relative to the run folder. what: what is wrong with it; `str()` is a
    sentence without its full stop.
    """

    stem: str
    path: str
    what: str

    def __str__(self) -> str:
        return f"{self.path} {self.what}"


def damaged(folder: Path, entries: Journal, thorough: bool = False) -> list[Damage]:
    """Committed files that are missing or changed.

    Compares sizes and times of change with the journal. Reads a file and compares its SHA-256 only where the time of
    change differs, as it does after a copy, or for every file if thorough.
    Errors: FolderError if the journal has to be read again and cannot be.
    """
    listed = [
        Damage(record.stem, os.path.relpath(path, folder), what)
        for record in entries.committed()
        for table in record.files
        if (what := _wrong(path := journal.where(folder, table, record), record, table, thorough))
    ]
    if listed and not thorough:
        # Another process may have moved or replaced files since the journal was read: read it and look again.
        now = journal.read(folder)
        if now.records != entries.records:
            return damaged(folder, now)
        mended = {damage for damage in listed if _is_whole_now(folder, entries.records[damage.stem])}
        return [damage for damage in listed if damage not in mended]
    return listed


def _is_whole_now(folder: Path, record: Record) -> bool:
    return not any(_wrong(journal.where(folder, table, record), record, table, False) for table in record.files)


def _wrong(path: Path, record: Record, table: str, thorough: bool) -> str:
    """What is wrong with a committed file; "" if nothing."""
    committed = record.files[table]
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return "is missing"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if not stat.S_ISREG(status.st_mode):
        return "is not a file"
    if status.st_size != committed.bytes:
        return f"has {status.st_size:,} bytes and was written with {committed.bytes:,}"
    if not thorough and status.st_mtime_ns == committed.changed_ns:
        return ""
    try:
        return "" if disk.sha256(path) == committed.sha256 else "has other bytes than were written (SHA-256)"
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def foreign(folder: Path, entries: Journal) -> list[str]:
    """Files in the tables' folders that belong to no part, as paths relative to the run folder."""
    listed = _strangers(folder, entries)
    # Another process may have committed some of them since the journal was read: look again.
    return _strangers(folder, journal.read(folder)) if listed else []


def _strangers(folder: Path, entries: Journal) -> list[str]:
    written = {(table, f"{stem}.parquet") for table, stem in entries.files}
    listed = []
    for table in FOLDERS:
        try:
            names = disk.names(folder / table)
        except OSError:
            names = []
        listed += [f"{table}/{name}" for name in names if (table, name) not in written]
    return listed


def orphans(folder: Path, entries: Journal) -> list[str]:
    """One sentence if the journal names no part though winit wrote files into the tables' folders; else no sentence."""
    left = [] if entries.records else left_behind(folder, entries)
    return [f"{journal.FOLDER}/ names no part, though winit wrote {shown(left)}"] if left else []


def left_behind(folder: Path, entries: Journal) -> list[str]:
    """Files of `foreign` that winit wrote, for this run or for another, as paths relative to the run folder."""
    return [name for name in foreign(folder, entries) if written_version(folder / name) is not None]


class _Label(BaseModel):
    """The metadata that winit writes into a table's file, as far as they are read back."""

    version: int


def written_version(file: Path) -> int | None:
    """The version of the tables in a parquet file's metadata; None if it is unreadable or not written by winit."""
    if not disk.is_file(file):
        return None
    try:
        stored = (pq.read_schema(file).metadata or {}).get(METADATA_KEY)
        return None if stored is None else int(_Label.model_validate_json(stored).version)
    except (OSError, ValueError, pa.ArrowException):
        return None


def shown(paths: list[str], most: int = 5) -> str:
    """The first `most` paths, and how many more there are, as words."""
    more = len(paths) - most
    return ", ".join(paths[:most]) + (f" and {more:,} more" if more > 0 else "")
