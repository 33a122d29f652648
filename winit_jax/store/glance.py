"""How much of a run is there, without reading which networks each part holds: for runs of tens of thousands of parts.

A glance believes lines by their checksums, parses what stands before the jobs, and compares sizes and times of change
of all files. It knows only runs in which all is as it should be: at the first thing that is odd (a damaged line, a
changed file, a sweep that has grown, parts whose places in the grid may overlap) it says nothing, and whoever asks
looks closely instead.
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pydantic_core

from winit_jax.store import journal
from winit_jax.store.damage import FOLDERS
from winit_jax.store.schema import VERSION
from winit_jax.system import disk
from winit_jax.system.garbage import uncollected

_JOBS = b',"jobs":['


class _Odd(Exception):
    """Something that a glance does not know."""


class _Line(NamedTuple):
    """Of a record. files: table -> as `journal.File`, in plain data."""

    stem: str
    settings: str
    grid: str
    networks: int
    families: int
    writer: str
    files: dict[str, dict[str, Any]]


@dataclass
class Glance:
    """The journal of a folder as far as it was read. Call `more` to read on.

    lines: the last line of every part. lacks_predictions: whether the tables of theory were withdrawn.
    """

    path: Path
    lines: dict[str, _Line] = field(default_factory=dict)
    _read: dict[str, int] = field(default_factory=dict)

    def more(self) -> bool:
        """Read what was appended since; whether all of it is as it should be. Call it no more after it was not."""
        try:
            with uncollected():
                for name in disk.names(self.path / journal.FOLDER):
                    if journal.is_journal(name):
                        self._read_on(name)
        except (_Odd, OSError, KeyError, TypeError, ValueError, AttributeError, RecursionError):
            return False
        return True

    def _read_on(self, name: str) -> None:
        path = self.path / journal.FOLDER / name
        if not disk.is_file(path):
            raise _Odd
        with open(path, "rb") as file:
            file.seek(self._read.get(name, 0))
            data = file.read()
        *texts, rest = data.split(b"\n")
        self._read[name] = self._read.get(name, 0) + len(data) - len(rest)
        for text in texts:
            body = text[journal.BODY : -1]
            if hashlib.sha256(body).hexdigest().encode() != text[journal.DIGEST] or text[-1:] != b"}":
                raise _Odd
            at = body.rfind(_JOBS)
            if at < 0:
                other = pydantic_core.from_json(body)
                if other["version"] != VERSION or not other.keys() & {"id", "grids"}:
                    raise _Odd
                continue
            head = pydantic_core.from_json(body[:at] + b"}")
            if head["version"] != VERSION or "void" in head:
                raise _Odd
            for stem in head.get("replaces", ()):
                self.lines.pop(stem, None)
            of_theory = head["stem"] == journal.PREDICTIONS
            self.lines[head["stem"]] = _Line(
                stem=head["stem"],
                settings=head["settings"],
                grid=head["grid"],
                networks=0 if of_theory else head["networks"],
                families=0 if of_theory else head["families"],
                writer=head.get("writer", ""),
                files=head["files"],
            )

    def done(self, grid: str, settings: str) -> int | None:
        """How many networks of the sweep with these digests are there; None where a glance cannot tell."""
        places: dict[str, list[tuple[int, int]]] = {}
        total = 0
        for line in self.lines.values():
            if line.stem == journal.PREDICTIONS:
                continue
            if line.grid != grid or line.settings != settings:
                return None
            program, _, rest = line.stem[3:].partition("-")
            if not (line.families and rest[:9].isdigit() and rest[9:10] == "-"):
                return None
            places.setdefault(line.stem[:3] + program, []).append((int(rest[:9]), line.families))
            total += line.networks
        for of_program in places.values():
            of_program.sort()
            end = 0
            for start, families in of_program:
                if start < end:
                    return None
                end = start + families
        return total

    def is_whole(self, listed: dict[str, list[str]]) -> bool:
        """Whether all files are as committed, and none is there that is not.

        listed: of `listing`, made before the journal was read, so that what is committed meanwhile is no stranger.
        """
        is_staging = any(True for _ in _staged(self.path))
        tables: dict[str, dict[str, _Line]] = {table: {} for table in listed}
        for line in self.lines.values():
            for table in line.files:
                tables.setdefault(table, {})[f"{line.stem}.parquet"] = line
        return all(
            tables[table].keys() >= set(listed.get(table, ())) and self._is_whole(table, tables[table], is_staging)
            for table in tables
        )

    def _is_whole(self, table: str, lines: dict[str, _Line], is_staging: bool) -> bool:
        """Whether the files of a table are as committed. lines: by names of files."""
        with _opened(self.path / table) as folder:
            for name, line in lines.items():
                file = line.files[table]
                if _is_as_committed(name, file, folder):
                    continue
                if not (is_staging and self._is_staged(line, table)) and not _is_as_committed(name, file, folder):
                    return False  # nor was it moved just now
        return True

    def _is_staged(self, line: _Line, table: str) -> bool:
        """Whether a file is where it lies until it is moved."""
        file = line.files[table]
        place = journal.staging_of(self.path, line.writer)
        return _is_as_committed(str(place / journal.staged_name(table, line.stem, file["sha256"])), file)


def listing(folder: Path) -> dict[str, list[str]]:
    """What lies in the folders of the tables. Errors: OSError."""
    return {table: disk.names(folder / table) for table in FOLDERS}


def _staged(folder: Path) -> Iterator[str]:
    """What is in staging beside the lock."""
    staging = folder / "staging"
    for name in disk.names(staging):
        if name != "lock":
            yield name


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    """A handle of a folder, from which many names are found sooner than from the root; where there is none, a handle
    that nothing is found from."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        yield -1
        return
    try:
        yield handle
    finally:
        os.close(handle)


def _is_as_committed(path: str, file: dict[str, Any], folder: int | None = None) -> bool:
    """folder: a handle of that which a relative path is in."""
    try:
        found = os.stat(path, dir_fd=folder)
    except (OSError, ValueError):
        return False
    return bool(found.st_size == file["bytes"] and found.st_mtime_ns == file["changed_ns"])
