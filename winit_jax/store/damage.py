"""Whether the files of a run folder are those that its journal names, at the price of a look or of reading them."""

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
    """A committed file that is not what was committed. path: from the run folder."""

    stem: str
    path: str
    what: str

    def __str__(self) -> str:
        return f"{self.path} {self.what}"


def damaged(folder: Path, entries: Journal, thorough: bool = False) -> list[Damage]:
    """Committed files that are missing or changed.

    Sizes and times of change are looked at; bytes are read where the time differs from the record, as it does after a
    copy, or everywhere if thorough.
    """
    listed = [
        Damage(record.stem, os.path.relpath(path, folder), what)
        for record in entries.committed()
        for table in record.files
        if (what := _wrong(path := journal.where(folder, table, record), record, table, thorough))
    ]
    if listed and not thorough:
        # A process at work may have moved or replaced files since the journal was read.
        now = journal.read(folder)
        if now.records != entries.records:
            return damaged(folder, now)
        gone = {damage for damage in listed if _is_whole_now(folder, entries.records[damage.stem])}
        return [damage for damage in listed if damage not in gone]
    return listed


def _is_whole_now(folder: Path, record: Record) -> bool:
    return not any(_wrong(journal.where(folder, table, record), record, table, False) for table in record.files)


def _wrong(path: Path, record: Record, table: str, thorough: bool) -> str:
    """What is wrong with a file; nothing if it is the one that was committed."""
    known = record.files[table]
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return "is missing"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if not stat.S_ISREG(status.st_mode):
        return "is not a file"
    if status.st_size != known.bytes:
        return f"has {status.st_size:,} bytes and was written with {known.bytes:,}"
    if not thorough and status.st_mtime_ns == known.changed_ns:
        return ""
    try:
        return "" if disk.sha256(path) == known.sha256 else "has other bytes than were written (SHA-256)"
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def foreign(folder: Path, entries: Journal) -> list[str]:
    """What lies in the tables' folders and belongs to no part, as paths from the run folder."""
    listed = _strangers(folder, entries)
    # A process at work may have committed some of it since the journal was read.
    return _strangers(folder, journal.read(folder)) if listed else []


def _strangers(folder: Path, known: Journal) -> list[str]:
    written = {(table, f"{stem}.parquet") for table, stem in known.files}
    listed = []
    for table in FOLDERS:
        try:
            entries = disk.names(folder / table)
        except OSError:
            entries = []
        listed += [f"{table}/{name}" for name in entries if (table, name) not in written]
    return listed


def orphans(folder: Path, entries: Journal) -> list[str]:
    """A sentence where no part is committed though tables hold parts: what the journal said is lost. Else none."""
    left = [] if entries.records else left_behind(folder, entries)
    return [f"{journal.FOLDER}/ names no part, though winit wrote {shown(left)}"] if left else []


def left_behind(folder: Path, entries: Journal) -> list[str]:
    """Files that winit wrote for some run and that belong to no part of this one, as paths from the run folder."""
    return [name for name in foreign(folder, entries) if written_version(folder / name) is not None]


class _Label(BaseModel):
    """What the metadata of a table's file says of the part, as far as it is read back."""

    version: int


def written_version(file: Path) -> int | None:
    """The version of the tables that a parquet file says it was written with; None if it is not one of a run."""
    if not disk.is_file(file):
        return None
    try:
        stored = (pq.read_schema(file).metadata or {}).get(METADATA_KEY)
        return None if stored is None else int(_Label.model_validate_json(stored).version)
    except (OSError, ValueError, pa.ArrowException):
        return None


def shown(paths: list[str], most: int = 5) -> str:
    """A few of them, and how many more."""
    more = len(paths) - most
    return ", ".join(paths[:most]) + (f" and {more:,} more" if more > 0 else "")
