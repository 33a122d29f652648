"""The journal of a run folder: one line commits a part.

Its files are parts/000001.jsonl and so on, a new number for each process that writes, so that no two ever append to one
file. A line is one JSON object that holds a record and the record's SHA-256. Later lines, and later files, replace
earlier records of the same part: a process that makes a part anew begins after the one that withdrew it. A record names
every file of a part with its SHA-256, so a reader knows which files belong to the run and whether they are whole. A
file that no record names is not part of the run.

Neither JAX nor pandas is imported here, because both sweeps and analysis read journals.
"""

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import pydantic_core
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from winit_jax.errors import WinitError
from winit_jax.spec.parts import Job, Part
from winit_jax.store.schema import VERSION
from winit_jax.system import disk
from winit_jax.system.garbage import uncollected

FOLDER = "parts"
PREDICTIONS = "predictions"  # the stem of the part that holds the tables of theory alone
WRITERS = "writers"  # in staging/: the leases of processes that write together, and a folder of files for each
_LINE = b'{"sha256":"%s","record":%s}\n'
_HEAD, _MIDDLE = len(b'{"sha256":"'), len(b'","record":')
# Where in a line its checksum stands, and where what it is of begins; the line ends with a `}` and a newline behind it.
DIGEST, BODY = slice(_HEAD, _HEAD + 64), _HEAD + 64 + _MIDDLE
_NAME = re.compile(r"\d{6,}\.jsonl")

_TRIES = 5

Stem = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,199}$")]
Word = Annotated[str, Field(pattern=r"^[a-z_]{1,40}$")]


class FolderError(WinitError):
    """One sentence about a run folder that cannot be used."""


class File(BaseModel):
    """A table's file as it was committed.

    changed_ns: its time of change in nanoseconds since 1970. While the file still has it, its bytes need not be read.
    """

    model_config = ConfigDict(frozen=True)
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    bytes: Annotated[int, Field(ge=0)]
    rows: Annotated[int, Field(ge=0)]
    changed_ns: int


class Record(BaseModel):
    """A committed part, or, if `void` is not empty, one that was withdrawn for the reason in `void`.

    jobs, depths: the networks that it holds. made_by: `Environment.id` of the environment that computed it.
    grid, settings: digests (`store.asked`) of the sweep's axes and of its other settings when it was computed.
    files: its file in each table. writer: the id of the lease (`store.leases`) that it was written under, "" for a
    process that had the folder alone. networks, families: how many there are in jobs, 0 in lines of before they were
    counted. replaces: stems of parts whose rows this one has, all of them, and which are no parts any more.
    `jobs` stands last in a line, so that what is before it can be read by itself (`store.glance`).
    """

    model_config = ConfigDict(frozen=True)
    version: int
    stem: Stem
    depths: tuple[Annotated[int, Field(ge=1)], ...]
    made_by: str
    grid: str
    settings: str
    files: dict[Word, File]
    void: str = ""
    networks: int = 0
    families: int = 0
    replaces: tuple[Stem, ...] = ()
    writer: Annotated[str, Field(pattern=r"^([A-Za-z0-9_][A-Za-z0-9._-]{0,150})?$")] = ""
    jobs: tuple[Job, ...]

    @property
    def part(self) -> Part:
        """The jobs as a part."""
        return Part(self.jobs)


class Environment(BaseModel):
    """What parts were made with: versions, devices, commit, data. id: a hash of `made_by`."""

    model_config = ConfigDict(frozen=True)
    version: int
    id: Annotated[str, Field(pattern=r"^[0-9a-f]{12}$")]
    made_by: dict[str, Any]


class Order(BaseModel):
    """In which order grids were run into the folder, where the lines that showed it are gone (`store.compacting`)."""

    model_config = ConfigDict(frozen=True)
    version: int
    grids: tuple[str, ...]


class Together(BaseModel):
    """Records that one line commits, all or none."""

    model_config = ConfigDict(frozen=True)
    version: int
    records: tuple[Record, ...]


Entry = Record | Environment | Order | Together
_ENTRY: TypeAdapter[Entry] = TypeAdapter(Entry)


@dataclass
class Journal:
    """What all lines of a journal together say.

    records: the last record of every stem. environments: `made_by` of each by its id.
    files: (table, stem) -> the SHA-256 of every file that was ever committed there.
    grids: digests of grids, in the order in which they were first run into the folder.
    unreadable: a sentence for each line or file that could not be read.
    refused: of these, those about regular files that the system does not let us read.
    ill: the name of each journal file with such lines -> its other lines; None if it is not a regular file.
    """

    records: dict[str, Record] = field(default_factory=dict)
    environments: dict[str, dict[str, Any]] = field(default_factory=dict)
    files: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    grids: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    ill: dict[str, bytes | None] = field(default_factory=dict)

    @property
    def lacks_predictions(self) -> bool:
        """Whether the tables of theory alone were withdrawn as damaged, so that the next run makes them anew."""
        record = self.records.get(PREDICTIONS)
        return record is not None and bool(record.void)

    def add(self, entry: Entry) -> None:
        """Take in the next line."""
        if isinstance(entry, Environment):
            self.environments[entry.id] = entry.made_by
            return
        if isinstance(entry, Order):
            self.grids.extend(grid for grid in entry.grids if grid not in self.grids)
            return
        if isinstance(entry, Together):
            for record in entry.records:
                self.add(record)
            return
        for stem in entry.replaces:
            self.records.pop(stem, None)
        self.records[entry.stem] = entry
        for table, file in entry.files.items():
            self.files.setdefault((table, entry.stem), set()).add(file.sha256)
        if entry.grid not in self.grids:
            self.grids.append(entry.grid)

    def committed(self) -> Iterator[Record]:
        """The parts that are committed and not withdrawn, in order of their stems."""
        for _, record in sorted(self.records.items()):
            if not record.void:
                yield record

    def parts(self) -> dict[str, Record]:
        """Every committed part, without the tables of theory alone, by file stem."""
        return {record.stem: record for record in self.committed() if record.stem != PREDICTIONS}

    def paths(self, folder: Path, table: str) -> list[Path]:
        """The committed files of a table, in order of their stems."""
        return [where(folder, table, record) for record in self.committed() if table in record.files]


def is_journal(name: str) -> bool:
    """Whether a file in the folder of journals is one."""
    return _NAME.fullmatch(name) is not None


def environment_id(made_by: dict[str, Any]) -> str:
    """The first 12 hex digits of the SHA-256 of an environment's JSON."""
    return hashlib.sha256(pydantic_core.to_json(made_by)).hexdigest()[:12]


def staged_name(table: str, stem: str, sha256: str) -> str:
    """The name of a part's file in staging/. The hash keeps apart the files of a part that is written twice."""
    return f"{table}-{stem}-{sha256[:16]}.parquet"


def staging_of(folder: Path, writer: str) -> Path:
    """Where a writer stages its files. writer: as in `Record`."""
    return folder / "staging" / WRITERS / writer if writer else folder / "staging"


def staged(folder: Path, table: str, record: Record) -> Path:
    """Where a committed file lies until it is moved into its table's folder."""
    return staging_of(folder, record.writer) / staged_name(table, record.stem, record.files[table].sha256)


def where(folder: Path, table: str, record: Record) -> Path:
    """The path of a committed file: in staging/ if it was not moved yet, else in its table's folder."""
    file, path = record.files[table], staged(folder, table, record)
    try:
        if os.stat(path).st_size == file.bytes:
            return path
    except OSError:
        pass
    return folder / table / f"{record.stem}.parquet"


def to_line(entry: Entry) -> bytes:
    """The line of a journal that holds an entry: its SHA-256, then its JSON. `from_line` is the inverse.

    What is as by default is left out: a journal of a large run is read again and again.
    """
    body = entry.model_dump_json(exclude_defaults=True).encode()
    return _LINE % (hashlib.sha256(body).hexdigest().encode(), body)


def from_line(line: bytes) -> Entry:
    """The entry that a line, with its newline, holds.

    Errors: ValueError if its checksum does not fit or it is not an entry; FolderError if it is of another version.
    """
    digest, body = line[DIGEST], line[BODY:-2]
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
    """The journal of a run folder. Damaged lines are left out, and `Journal.unreadable` names them.

    What follows the last newline of a file was being written when the process was killed. It committed nothing, and
    is ignored.
    Errors: FolderError if an entry is of another version, or the folder of journals cannot be read.
    """
    with uncollected():
        for _ in range(_TRIES):
            with suppress(_Moved):
                return _read(folder)
    raise FolderError(f"{folder / FOLDER} changes again and again while it is read.")


class _Moved(Exception):
    """A journal was written anew into another file while it was read."""


def _read(folder: Path) -> Journal:
    journal, place = Journal(), folder / FOLDER
    try:
        listed = disk.names(place)
    except OSError as error:
        raise FolderError(f"{place} cannot be read: {error.strerror}.") from error
    for name in listed:
        if not is_journal(name):
            continue
        try:
            *lines, _ = disk.read(place / name).split(b"\n")
        except FileNotFoundError as error:
            if os.path.islink(place / name):
                journal.unreadable.append(f"{FOLDER}/{name} cannot be read: {error.strerror}")
                journal.ill[name] = None
                continue
            raise _Moved from None
        except OSError as error:
            sentence = f"{FOLDER}/{name} cannot be read: {error.strerror}"
            journal.unreadable.append(sentence)
            if error.errno is None or not disk.is_file(place / name):
                journal.ill[name] = None
            else:
                journal.refused.append(sentence)
            continue
        good_lines = []
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
            good_lines.append(line + b"\n")
        if len(good_lines) < len(lines):
            journal.ill[name] = b"".join(good_lines)
    return journal


class Writer:
    """Appends to a journal file of its own, which `append` makes for its first line.

    uncertain: whether the last line that failed may be in the file nevertheless.
    """

    def __init__(self, folder: Path) -> None:
        self._place = folder / FOLDER
        self._path: Path | None = None
        self.uncertain = False

    def append(self, entry: Entry) -> None:
        """Commit an entry: write its line and fsync. A line that fails is cut off again. Errors: OSError."""
        is_new = self._path is None
        handle = self._make() if self._path is None else self._open(self._path)
        try:
            length = os.fstat(handle).st_size
            try:
                if is_new:
                    disk.sync_folder(self._place)
                disk.write_all(handle, to_line(entry))
                os.fsync(handle)
            except OSError:
                self._path, self.uncertain = None, True  # the next line goes into a new file
                os.ftruncate(handle, length)
                self.uncertain = False
                raise
        finally:
            os.close(handle)

    @staticmethod
    def _open(path: Path) -> int:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)

    def _make(self) -> int:
        """A new file, open, of a number that nobody has: another process may make one at the same time."""
        if not self._place.is_dir():
            os.makedirs(self._place, exist_ok=True)
            disk.sync_folder(self._place.parent)
        numbers = [int(name.partition(".")[0]) for name in disk.names(self._place) if is_journal(name)]
        number = max(numbers, default=0)
        while True:
            number += 1
            path = self._place / f"{number:06d}.jsonl"
            with suppress(FileExistsError):
                handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o666)
                self._path = path
                return handle
