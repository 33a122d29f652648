"""The journal of a run folder: one line commits a part.

parts/000001.jsonl, a new number for each process that writes. A line is one JSON object, the SHA-256 of its own record
beside the record, and later lines and later numbers win. A record names every file of a part with its SHA-256, so a
reader knows which files belong to the run and whether they are whole; what no record names is not part of the run.

Neither JAX nor pandas is imported here: sweeps and analysis both read journals.
"""

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import pydantic_core
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from winit_jax.errors import WinitError
from winit_jax.spec.parts import Job, Part
from winit_jax.store.schema import VERSION
from winit_jax.system import disk

FOLDER = "parts"
PREDICTIONS = "predictions"  # the stem of the tables of theory alone
_LINE = b'{"sha256":"%s","record":%s}\n'
_HEAD, _MIDDLE = len(b'{"sha256":"'), len(b'","record":')
_NAME = re.compile(r"\d{6,}\.jsonl")

Stem = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,199}$")]
Word = Annotated[str, Field(pattern=r"^[a-z_]{1,40}$")]


class FolderError(WinitError):
    """One sentence about a run folder that cannot be used."""


class File(BaseModel):
    """A table's file as it was committed. changed_ns: its time of change, to see cheaply that nobody wrote to it."""

    model_config = ConfigDict(frozen=True)
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    bytes: Annotated[int, Field(ge=0)]
    rows: Annotated[int, Field(ge=0)]
    changed_ns: int


class Record(BaseModel):
    """A part that is committed, or, where `void` says why, one that is no more.

    jobs, depths: the networks that it holds. made_by: which environment computed it (`Environment.id`). grid, settings:
    digests of the axes that it was planned for, and of all else in the sweep that decides its numbers.
    """

    model_config = ConfigDict(frozen=True)
    version: int
    stem: Stem
    jobs: tuple[Job, ...]
    depths: tuple[Annotated[int, Field(ge=1)], ...]
    made_by: str
    grid: str
    settings: str
    files: dict[Word, File]
    void: str = ""

    @property
    def part(self) -> Part:
        return Part(self.jobs)


class Environment(BaseModel):
    """What parts were made with: versions, devices, commit, data."""

    model_config = ConfigDict(frozen=True)
    version: int
    id: Annotated[str, Field(pattern=r"^[0-9a-f]{12}$")]
    made_by: dict[str, Any]


_ENTRY: TypeAdapter[Record | Environment] = TypeAdapter(Record | Environment)


@dataclass
class Journal:
    """What the lines say, one after another.

    records: the last one of every stem. files: (table, stem) -> the SHA-256 of every file ever committed there.
    grids: digests in the order in which sweeps were first run into the folder. unreadable: sentences. ill: the journal
    files that they are of, each with the lines that are whole, or None if it is no file.
    """

    records: dict[str, Record] = field(default_factory=dict)
    environments: dict[str, dict[str, Any]] = field(default_factory=dict)
    files: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    grids: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    ill: dict[str, bytes | None] = field(default_factory=dict)

    @property
    def lacks_predictions(self) -> bool:
        """Whether the tables of theory alone were found damaged, and are to be made anew."""
        record = self.records.get(PREDICTIONS)
        return record is not None and bool(record.void)

    def add(self, entry: Record | Environment) -> None:
        if isinstance(entry, Environment):
            self.environments[entry.id] = entry.made_by
            return
        self.records[entry.stem] = entry
        for table, file in entry.files.items():
            self.files.setdefault((table, entry.stem), set()).add(file.sha256)
        if entry.grid not in self.grids:
            self.grids.append(entry.grid)

    def committed(self) -> Iterator[Record]:
        """The parts that are there, in order of their names."""
        for _, record in sorted(self.records.items()):
            if not record.void:
                yield record

    def paths(self, folder: Path, table: str) -> list[Path]:
        """The committed files of a table, in order of their names."""
        return [where(folder, table, record) for record in self.committed() if table in record.files]


def environment_id(made_by: dict[str, Any]) -> str:
    """A name for an environment that depends on nothing else."""
    return hashlib.sha256(pydantic_core.to_json(made_by)).hexdigest()[:12]


def staged_name(table: str, stem: str, sha256: str) -> str:
    """A part's file before it is moved into its table's folder. The hash tells versions of a part apart."""
    return f"{table}-{stem}-{sha256[:16]}.parquet"


def where(folder: Path, table: str, record: Record) -> Path:
    """Where a committed file is: still in staging, if the process that committed it was killed, or in its table."""
    known = record.files[table]
    staged = folder / "staging" / staged_name(table, record.stem, known.sha256)
    try:
        if os.stat(staged).st_size == known.bytes:
            return staged
    except OSError:
        pass
    return folder / table / f"{record.stem}.parquet"


def to_line(entry: Record | Environment) -> bytes:
    """An entry as a line of a journal: its checksum, then its JSON. `from_line` reads it."""
    body = pydantic_core.to_json(entry)
    return _LINE % (hashlib.sha256(body).hexdigest().encode(), body)


def from_line(line: bytes) -> Record | Environment:
    """What a line says. Errors: ValueError if it is not whole or not a record; FolderError for another version."""
    digest, body = line[_HEAD : _HEAD + 64], line[_HEAD + 64 + _MIDDLE : -2]
    if line != _LINE % (digest, body) or hashlib.sha256(body).hexdigest().encode() != digest:
        raise ValueError("its checksum does not fit")
    try:
        return _ENTRY.validate_json(body)
    except ValidationError as error:
        try:
            version = pydantic_core.from_json(body).get("version")
        except (ValueError, AttributeError):
            version = VERSION
        if version != VERSION and isinstance(version, int):
            raise FolderError(f"has table version {version}; this is version {VERSION}.") from None
        raise ValueError(f"it is not a record: {error.errors()[0]['msg']}") from None


def read(folder: Path) -> Journal:
    """The journal of a run folder; lines that are damaged are named and left out.

    The end of a file after its last newline is what a process was writing when it was killed: nothing was committed.
    Errors: FolderError for a folder of another version, or one that cannot be read.
    """
    journal, place = Journal(), folder / FOLDER
    try:
        listed = disk.names(place)
    except OSError as error:
        raise FolderError(f"{place} cannot be read: {error.strerror}.") from error
    for name in listed:
        if not _NAME.fullmatch(name):
            continue
        try:
            *lines, _ = disk.read(place / name).split(b"\n")
        except OSError as error:
            journal.unreadable.append(f"{FOLDER}/{name} cannot be read: {error.strerror}")
            if error.errno is None or not disk.is_file(place / name):
                journal.ill[name] = None
            continue
        whole = []
        for number, line in enumerate(lines, 1):
            try:
                entry = from_line(line + b"\n")
            except FolderError as error:
                raise FolderError(f"{place / name} {error}") from None
            except (ValueError, RecursionError) as error:
                journal.unreadable.append(f"{FOLDER}/{name}, line {number} cannot be read: {error}")
                continue
            if entry.version != VERSION:
                raise FolderError(f"{place / name} has table version {entry.version}; this is version {VERSION}.")
            journal.add(entry)
            whole.append(line + b"\n")
        if len(whole) < len(lines):
            journal.ill[name] = b"".join(whole)
    return journal


class Writer:
    """Appends to a journal file of its own, which is made at the first line. Use under the folder's lock."""

    def __init__(self, folder: Path) -> None:
        self._place = folder / FOLDER
        self._path: Path | None = None
        self.uncertain = False  # whether a line that failed may be there all the same

    def append(self, entry: Record | Environment) -> None:
        """Commit: one write, then fsync. A line that could not be made to last is taken back. Errors: OSError."""
        path = self._path or self._next()
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        try:
            length = os.fstat(handle).st_size
            try:
                if self._path is None:
                    disk.sync_folder(self._place)
                disk.write_all(handle, to_line(entry))
                os.fsync(handle)
            except OSError:
                self._path, self.uncertain = None, True  # whatever is left of the file is not written to again
                os.ftruncate(handle, length)
                self.uncertain = False
                raise
            self._path = path
        finally:
            os.close(handle)

    def _next(self) -> Path:
        if not self._place.is_dir():
            os.mkdir(self._place)
            disk.sync_folder(self._place.parent)
        numbers = [int(name.partition(".")[0]) for name in disk.names(self._place) if _NAME.fullmatch(name)]
        return self._place / f"{max(numbers, default=0) + 1:06d}.jsonl"
