"""The folder of a probe: two tables, a file a network in each, committed together or not at all.

A network's files are written first; a small file in parts/ then commits both with their checksums. What no such file
names is not part of the folder, and is written anew.
"""

import hashlib
import itertools
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from winit_jax.columns.formats import FLOAT32, FORMATS
from winit_jax.columns.probed import DTYPE, PROBED
from winit_jax.errors import Refused
from winit_jax.store import lock
from winit_jax.store.info import Info, read_info
from winit_jax.store.status import Status, state
from winit_jax.system import disk, provenance
from winit_jax.system.signals import Stopped
from winit_jax.user_code import is_import_path

TABLES = tuple(PROBED)
PARTS, STAGING, INFO = "parts", "staging", "run.json"
# Formats in the order of tables.
_FORMATS = (FLOAT32, *FORMATS)


class Point(NamedTuple):
    """One network: its seed, a factor of each pattern, and the format that it is rounded to, which float32 is not."""

    seed: int
    factors: tuple[float, ...]
    dtype: str = FLOAT32


class File(BaseModel):
    """One file as it was committed."""

    model_config = ConfigDict(frozen=True)
    sha256: str
    rows: int


class Commit(BaseModel):
    """A network that is done, and its file in each table."""

    model_config = ConfigDict(frozen=True)
    point: Point
    files: dict[str, File]


class ProbeInfo(BaseModel):
    """run.json of a probe. network: its import path or name. seeds, scale, dtype: what was asked for last. gradients:
    whether they were measured."""

    model_config = ConfigDict(extra="allow")
    kind: Literal["probe"]
    state: str = ""
    network: str = ""
    fingerprint: str = ""
    seeds: list[int] = []
    scale: dict[str, list[float]] = {}
    dtype: list[str] = [FLOAT32]
    gradients: bool = True
    seconds: float = 0.0
    notes: list[str] = []
    versions: dict[str, Any] = {}

    @property
    def points(self) -> list[Point]:
        return points_of(self.seeds, self.scale, self.dtype)


def points_of(
    seeds: Sequence[int], scale: Mapping[str, Sequence[float]], formats: Sequence[str] = (FLOAT32,)
) -> list[Point]:
    """Seeds, a factor of each pattern, and formats: all of their product."""
    factors = list(itertools.product(*scale.values()))
    return [Point(seed, these, dtype) for dtype in formats for these in factors for seed in seeds]


def joined(tables: Sequence[pa.Table]) -> pa.Table:
    """The rows of several networks as one table; where any is in a format of fewer bits, those of float32 say so."""
    whole = pa.concat_tables(tables, promote_options="permissive")
    if DTYPE not in whole.column_names:
        return whole
    at = whole.column_names.index(DTYPE)
    named = whole.column(DTYPE).cast(pa.string()).fill_null(FLOAT32).dictionary_encode()
    whole = whole.set_column(at, DTYPE, named)
    # The order of a table that has them all.
    widest = max(tables, key=lambda table: table.num_columns)
    return whole.select(widest.column_names)


def is_probe(path: Path) -> bool:
    """Whether a folder is that of a probe, by its run.json."""
    info, _ = read_info(path / INFO)
    return (info.model_extra or {}).get("kind") == "probe"


class ProbeFolder:
    """The folder of one network, its inputs and the way in which it is measured. What writes needs `lock`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Make the folder if there is none, and keep others from writing into it.

        Errors: Refused where it holds something else or cannot be written; FolderError where another process has it.
        """
        try:
            if self.path.exists() and not is_probe(self.path) and set(disk.names(self.path)) - {STAGING}:
                raise Refused(f"{self.path} is not empty, and no folder of a probe; choose another one with --out.")
            (self.path / STAGING).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Refused(f"{self.path}: {error.strerror}.", 1) from error
        with lock.hold(self.path / STAGING / "lock") as holder:
            try:
                yield
            except (KeyboardInterrupt, Stopped):
                holder.end("interrupted")
                raise
            except BaseException as error:
                holder.end("failed", str(error))
                raise
            holder.end("done")

    def info(self) -> ProbeInfo:
        """Errors: Refused where run.json cannot be read."""
        try:
            return ProbeInfo.model_validate_json(disk.read(self.path / INFO))
        except (OSError, ValidationError) as error:
            raise Refused(f"{self.path / INFO} cannot be read: {error}.", 1) from error

    def begin(self, info: ProbeInfo) -> None:
        """Say what is asked for. Errors: Refused where the folder is of another network, or cannot be written."""
        if (self.path / INFO).exists() and self.info().fingerprint != info.fingerprint:
            raise Refused(f"{self.path} is of another network or of other inputs; choose another folder.")
        try:
            for name in (*TABLES, PARTS):
                (self.path / name).mkdir(exist_ok=True)
        except OSError as error:
            raise Refused(f"{self.path}: {error.strerror}.", 1) from error
        self._replace(INFO, _json(info.model_copy(update={"state": "running", "versions": provenance.versions()})))

    def end(self, seconds: float, notes: Sequence[str]) -> None:
        info = self.info()
        changed = {"state": "done", "seconds": info.seconds + seconds, "notes": list(notes)}
        self._replace(INFO, _json(info.model_copy(update=changed)))

    def write(self, point: Point, tables: Mapping[str, pa.Table]) -> None:
        """Commit a network. Errors: Refused where the disk does not take it."""
        stem, files = _stem(point), {}
        for name in TABLES:
            buffer = pa.BufferOutputStream()
            pq.write_table(tables[name], buffer)
            data = buffer.getvalue().to_pybytes()
            self._replace(f"{name}/{stem}.parquet", data)
            files[name] = File(sha256=hashlib.sha256(data).hexdigest(), rows=tables[name].num_rows)
        self._replace(f"{PARTS}/{stem}.json", _json(Commit(point=point, files=files)))

    def _replace(self, name: str, data: bytes) -> None:
        try:
            disk.replace_file(self.path / name, data, self.path / STAGING)
        except OSError as error:
            raise Refused(f"{self.path}: {error.strerror}. What was finished is kept.", 1) from error

    # -- reading -----------------------------------------------------------------------------------------------------

    def look(self) -> tuple[list[Commit], list[str]]:
        """(The networks that are whole, in order of formats, factors and seeds; a sentence for each damage)."""
        whole, damage = list[Commit](), list[str]()
        try:
            names = disk.names(self.path / PARTS)
        except OSError:
            names = []
        for name in names:
            try:
                commit = Commit.model_validate_json(disk.read(self.path / PARTS / name))
            except (OSError, ValidationError):
                damage.append(f"{PARTS}/{name} cannot be read")
                continue
            wrong = [sentence for table in TABLES if (sentence := self._wrong(commit, table))]
            damage += wrong
            if not wrong:
                whole.append(commit)
        return sorted(whole, key=lambda commit: _order(commit.point)), damage

    def _wrong(self, commit: Commit, table: str) -> str:
        """What is wrong with a committed file; "" if nothing."""
        name = f"{table}/{_stem(commit.point)}.parquet"
        file = commit.files.get(table)
        try:
            is_whole = file is not None and disk.sha256(self.path / name) == file.sha256
        except FileNotFoundError:
            return f"{name} is missing"
        except OSError as error:
            return f"{name} cannot be read: {error.strerror}"
        return "" if is_whole else f"{name} has other bytes than were written (SHA-256)"

    def read(self, name: str, points: Sequence[Point]) -> pa.Table:
        """A table of these networks, in their order. Errors: Refused where a file cannot be read."""
        try:
            tables = [pq.read_table(self.path / name / f"{_stem(point)}.parquet") for point in points]
        except (OSError, pa.ArrowException) as error:
            raise Refused(f"{self.path}: a table cannot be read: {error}", 1) from error
        return joined(tables)

    def status(self) -> Status:
        """What is done and what is missing of what was asked for last. Errors: Refused."""
        info, (whole, damage) = self.info(), self.look()
        asked, done = info.points, {commit.point for commit in whole}
        missing = [point for point in asked if point not in done]
        standing = lock.look(self.path / STAGING / "lock")
        return Status(
            title=f"Probe of {info.network}",
            state=state(standing, not missing and not damage, bool(damage), Info(state=info.state)),
            networks=len(asked),
            done=len(asked) - len(missing),
            damaged=tuple(damage),
            go_on=self._go_on(info) if missing or damage else "",
        )

    def _go_on(self, info: ProbeInfo) -> str:
        """The command that makes what is missing; "" of a function that no command can name."""
        if not is_import_path(info.network):
            return ""
        words = [f"seed={','.join(map(str, info.seeds))}"]
        words += [f"scale.{pattern}={','.join(f'{one:.17g}' for one in of)}" for pattern, of in info.scale.items()]
        words += [f"{DTYPE}={','.join(info.dtype)}"] if info.dtype != [FLOAT32] else []
        flags = [] if info.gradients else ["--no-gradients"]
        return shlex.join(["winit", "probe", info.network, *words, "--out", str(self.path), *flags])

    def verify(self) -> "ProbeVerdict":
        """Read every file. Errors: Refused where run.json cannot be read."""
        self.info()
        whole, damage = self.look()
        rows = {}
        for name in TABLES:
            table = self.read(name, [commit.point for commit in whole]) if whole else None
            rows[name] = 0 if table is None else table.num_rows
            always = {column.name for column in PROBED[name] if not column.needs}
            if table is not None and not always <= set(table.column_names):
                damage.append(f"{name} has other columns than a probe writes")
        return ProbeVerdict(len(whole), rows, tuple(damage))


@dataclass(frozen=True)
class ProbeVerdict:
    """What `verify` found of a probe. networks: how many are whole. rows: of each table. damage: a sentence each."""

    networks: int
    rows: Mapping[str, int]
    damage: tuple[str, ...]

    @property
    def is_whole(self) -> bool:
        return not self.damage

    def __str__(self) -> str:
        rows = ", ".join(f"{count:,} rows of {name}" for name, count in self.rows.items())
        wrong = len(self.damage)
        result = f"{wrong:,} things are wrong" if wrong > 1 else "one thing is wrong" if wrong else "all as written"
        return "\n".join([*self.damage, f"{self.networks:,} networks with {rows}: {result}"])


def _stem(point: Point) -> str:
    # The files of float32 are called as they were before there were other formats.
    told = point[:2] if point.dtype == FLOAT32 else point
    return f"part-{hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]}"


def _order(point: Point) -> tuple[Any, ...]:
    place = _FORMATS.index(point.dtype) if point.dtype in _FORMATS else len(_FORMATS)
    return place, point.factors, point.seed


def _json(model: BaseModel) -> bytes:
    return model.model_dump_json(indent=1).encode()
