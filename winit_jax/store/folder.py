"""The run folder: every part is committed whole or not at all.

A part's files are written to staging/ and fsynced; a line in the journal (`store.journal`) commits them all at once;
then they are moved into their tables' folders, `networks` first. A process that dies on the way leaves either files
that no record names, or a committed part that is still in staging: `recover` deletes the former and moves the latter.
So no table shows rows of a part that is not committed, and `networks` has every network that another table has.
"""

import hashlib
import os
import shlex
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic_core import to_json

from winit_jax.columns import OF_THE_DEEPEST
from winit_jax.spec.files import parse
from winit_jax.spec.parts import Part
from winit_jax.spec.problems import SpecError
from winit_jax.store import journal, lock, quarantine, schema
from winit_jax.store.checkpoints import Checkpoint
from winit_jax.store.damage import FOLDERS, damaged, left_behind, orphans, written_version
from winit_jax.store.info import Info, read_info
from winit_jax.store.journal import Environment, File, FolderError, Journal, Record
from winit_jax.system import disk
from winit_jax.system.signals import Stopped

COMMIT_TABLE = "networks"
TEXTS = ("sweep.toml", "run.json")
StoreError = FolderError
# The folder within staging/ that holds the checkpoints of unfinished trainings.
CHECKPOINTS = "checkpoints"


class RunFolder:
    """The files of one run. Nothing is created before `create`; call every method that writes while holding `lock`.

    path: absolute, because a user's code may change the working directory during a run. `str()` is the path as given.
    displaced: files of others that lay in a part's place and were moved to quarantine, relative to the run folder.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._given = path.absolute(), path
        self._journal: Journal | None = None
        self._writer = journal.Writer(self.path)
        self._committing = threading.RLock()
        self._digests, self._made_by = ("", ""), ""
        self._state_written, self._write_error = "", ""
        self.displaced: list[str] = []

    def __str__(self) -> str:
        return str(self._given)

    @property
    def sweep_file(self) -> Path:
        return self.path / "sweep.toml"

    @property
    def figures(self) -> Path:
        return self.path / "figures"

    @property
    def staging(self) -> Path:
        return self.path / "staging"

    @property
    def go_on(self) -> str:
        """The shell command that continues this run."""
        return f"winit run {shlex.quote(str(self._given / 'sweep.toml'))} --out {shlex.quote(str(self))}"

    def exists(self) -> bool:
        """Whether the folder has a sweep.toml."""
        return os.path.lexists(self.sweep_file)

    def create(self) -> None:
        """Make the folder if it does not exist. Errors: StoreError if it holds other files or cannot be written."""
        of_a_run = {*FOLDERS, "staging", journal.FOLDER, *TEXTS}  # what a run that was killed at its start may leave
        try:
            if self.path.exists() and not self.exists() and set(disk.names(self.path)) - of_a_run:
                raise StoreError(f"{self} is not empty and not a run folder (no sweep.toml). Choose another --out.")
            os.makedirs(self.staging, exist_ok=True)
        except OSError as error:
            raise StoreError(f"{self} cannot be written: {error.strerror}.") from error
        self._check_folders()

    def _check_folders(self) -> None:
        for name in (*FOLDERS, journal.FOLDER, quarantine.FOLDER):
            if os.path.lexists(path := self.path / name) and not path.is_dir():
                raise StoreError(f"{path} is not a folder. Move it away.")

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Lock the folder for this process; at the end, write into the lock file how the work ended.

        Errors: StoreError if another process holds the lock.
        """
        with lock.hold(self.staging / "lock") as holder:
            self._journal, self._state_written, self._write_error = None, "", ""
            try:
                yield
            except (KeyboardInterrupt, Stopped):
                holder.end("interrupted")
                raise
            except OSError as error:
                holder.end("failed", error.strerror or str(error))
                raise
            except MemoryError:
                holder.end("failed", "no memory was left")
                raise
            finally:
                if not holder.note.state and self._state_written:
                    ended = self._state_written != "running" and not self._write_error
                    holder.end(self._state_written if ended else "failed", "" if ended else self._write_error)
                self._journal = None

    def sweep(self) -> dict[str, Any]:
        """The stored sweep file as plain data. Errors: StoreError if there is none or it is not TOML."""
        if not os.path.lexists(self.sweep_file):
            what = "it has no sweep.toml" if os.path.isdir(self.path) else "there is no such folder"
            raise StoreError(f"{self} is not a run folder: {what}.")
        try:
            return parse(self.sweep_file)
        except SpecError as error:
            raise StoreError(f"{self.sweep_file} {error.problems[0]}") from error

    def write_sweep(self, text: str) -> None:
        """Make `text` the contents of sweep.toml; a file that has them already is not written. Errors: OSError."""
        data = text.encode("utf-8")
        with suppress(OSError):
            if disk.read(self.sweep_file) == data:
                return
        self._replace_text(self.sweep_file, data)

    def info(self) -> Info:
        """The contents of run.json; empty if there is no such file or it cannot be read."""
        return read_info(self.path / "run.json")[0]

    def write_info(self, info: Mapping[str, Any]) -> None:
        """Make run.json of `info`, where `state` says how far the run is, and the environments of all parts."""
        self._state_written = str(info.get("state", ""))
        environments = [{"id": name, **made_by} for name, made_by in self.journal().environments.items()]
        self._replace_text(self.path / "run.json", to_json({**info, "made_by": environments}, indent=2) + b"\n")

    def journal(self) -> Journal:
        """The journal, read once and kept until `refresh` or the lock's end. Errors: StoreError for another version."""
        if self._journal is None:
            fresh = journal.read(self.path)
            if not fresh.records:
                self._refuse_older()
            self._journal = fresh
        return self._journal

    def refresh(self) -> Journal:
        """The journal, read anew from disk. Errors: as of `journal`."""
        self._journal = None
        return self.journal()

    def _refuse_older(self) -> None:
        """Raise StoreError for tables of a version before there were journals."""
        try:
            listed = [name for name in disk.names(self.path / COMMIT_TABLE) if name.endswith(".parquet")]
        except OSError as error:
            raise StoreError(f"{self.path / COMMIT_TABLE} cannot be read: {error.strerror}.") from error
        for name in listed[:20]:
            file = self.path / COMMIT_TABLE / name
            version = written_version(file)
            if version is not None and version != schema.VERSION:
                raise StoreError(f"{file} has table version {version}; this is version {schema.VERSION}.")

    def committed(self) -> dict[str, Record]:
        """Every committed part, without the tables of theory alone, by file stem."""
        return {record.stem: record for record in self.journal().committed() if record.stem != journal.PREDICTIONS}

    def plans_for(self, grid: str, settings: str) -> int:
        """Set the digests of the sweep that parts are written for. Out: how many grids were run before this one."""
        self._digests = (grid, settings)
        grids = self.journal().grids
        return grids.index(grid) if grid in grids else len(grids)

    def made_with(self, made_by: Mapping[str, Any]) -> str:
        """Set the environment that parts are made with from now on. Out: its id, a hash of `made_by`."""
        entry = Environment(version=schema.VERSION, id=journal.environment_id(dict(made_by)), made_by=dict(made_by))
        with self._committing:
            if entry.id not in self.journal().environments:
                self._append(entry)
            self._made_by = entry.id
        return entry.id

    def recover(self) -> list[str]:
        """Move committed parts out of staging, delete what was not committed, and move damaged files to quarantine.

        Out: a sentence for each damage found. Errors: OSError; StoreError.
        """
        sentences = self._mend_journal()
        entries = self.refresh()
        if lost := orphans(self.path, entries):
            for name in left_behind(self.path, entries):
                quarantine.set_aside(self.path, self.path / name)
            sentences += lost
        if problem := read_info(self.path / "run.json")[1]:
            quarantine.set_aside(self.path, self.path / "run.json")
            sentences.append(problem.removesuffix("."))
        for record in entries.records.values():
            for table, file in record.files.items():
                staged = self.staging / journal.staged_name(table, record.stem, file.sha256)
                if disk.is_file(staged) and disk.sha256(staged) != file.sha256:
                    os.unlink(staged)
            self._apply(record)
        prefixes = tuple(f"{table}-" for table in FOLDERS)
        for name in disk.names(self.staging):
            if name in TEXTS or (name.endswith(".parquet") and name.startswith(prefixes)):
                os.unlink(self.staging / name)
        by_stem: dict[str, list[str]] = {}
        for damage in damaged(self.path, entries, thorough=True):
            by_stem.setdefault(damage.stem, []).append(str(damage))
        for stem, problems in by_stem.items():
            self.set_aside(stem, "; ".join(problems))
            sentences += problems
        self._remember_environments()
        return sentences

    def _mend_journal(self) -> list[str]:
        """Drop damaged lines from the journal; a copy of it as it was goes to quarantine. Out: sentences about them.

        Errors: StoreError if the system refuses to read a file of it, for what it says is not lost; nothing is then
        changed.
        """
        entries = self.refresh()
        if entries.refused:
            raise StoreError(f"{self}: {entries.refused[0]}. Nothing was changed.")
        for name, whole in entries.ill.items():
            path = self.path / journal.FOLDER / name
            if whole is None:
                quarantine.set_aside(self.path, path)
            else:
                quarantine.set_aside(self.path, path, copy=True)
                disk.replace_file(path, whole, self.staging)
        return list(entries.unreadable)

    def _remember_environments(self) -> None:
        """Restore from run.json each environment that parts name and the journal has lost."""
        unknown = {record.made_by for record in self.committed().values()} - self.journal().environments.keys()
        for entry in self.info().made_by if unknown else ():
            made_by = {key: value for key, value in entry.items() if key != "id"}
            if (name := journal.environment_id(made_by)) in unknown:
                self._append(Environment(version=schema.VERSION, id=name, made_by=made_by))

    def checkpoint(self, stem: str, note: Callable[[str], None]) -> Checkpoint:
        """The checkpoint of the part with this stem. note: called with a sentence if it cannot be used or written."""
        return Checkpoint(self.staging / CHECKPOINTS / f"{stem}.npz", note)

    def drop_checkpoints(self) -> None:
        """Delete all checkpoints, also those of parts that no sweep asks for any more, and their folder."""
        place = self.staging / CHECKPOINTS
        for file in place.glob("*"):
            Checkpoint(file).discard()
        with suppress(OSError):  # there is no such folder, or it holds files that are not ours
            place.rmdir()

    def drop_details(self, stem: str) -> None:
        """Remove a part's tables of the deepest networks alone, once the sweep asks for deeper ones."""
        record = self.journal().records[stem]
        kept = {table: file for table, file in record.files.items() if table not in OF_THE_DEEPEST}
        if kept != record.files:
            self._commit(record.model_copy(update={"files": kept}))

    def set_aside(self, stem: str, why: str) -> None:
        """Withdraw a part and move its files to quarantine/, to be made anew. why: kept in the journal."""
        self._commit(self.journal().records[stem].model_copy(update={"void": why or "damaged"}))

    def write(self, stem: str, part: Part, depths: tuple[int, ...], tables: Mapping[str, pa.Table]) -> None:
        """Commit a part, tables by name, in place of an earlier part of that stem. Errors: OSError; StoreError."""
        label = {"version": schema.VERSION, "jobs": part.to_json(), "depths": list(depths)}
        metadata = {schema.METADATA_KEY: to_json(label)}
        self._write(
            stem, part, depths, {name: table.replace_schema_metadata(metadata) for name, table in tables.items()}
        )

    def widen(self, without: frozenset[str]) -> None:
        """After a sweep has grown, add to its earlier parts the columns that only the new points fill, all empty.

        The first file of each folder is rewritten last: some readers take its columns for those of all files.
        without: columns that the sweep can never fill.
        """
        grid, _ = self._digests
        for stem, record in sorted(self.committed().items(), reverse=True):
            names = {table: schema.schema(table, without).names for table in record.files if table in schema.TABLES}
            paths = {table: journal.where(self.path, table, record) for table in names}
            if record.grid == grid or all(pq.read_schema(paths[name]).names == names[name] for name in names):
                continue
            tables = {table: schema.widened(table, pq.read_table(path), without) for table, path in paths.items()}
            self._write(stem, record.part, record.depths, tables, record.made_by)

    def write_predictions(self, tables: Mapping[str, pa.Table]) -> None:
        """Replace the folder's tables of theory alone by these. Errors: OSError; StoreError."""
        earlier = self.journal().records.get(journal.PREDICTIONS)
        data = {name: _parquet(table) for name, table in tables.items()}
        stored = {} if earlier is None or earlier.void else {name: file.sha256 for name, file in earlier.files.items()}
        if stored != {name: hashlib.sha256(content).hexdigest() for name, content in data.items()}:
            self._write(journal.PREDICTIONS, Part(()), (), tables)

    def _write(
        self, stem: str, part: Part, depths: tuple[int, ...], tables: Mapping[str, pa.Table], made_by: str = ""
    ) -> None:
        files: dict[str, File] = {}
        staged: list[Path] = []
        try:
            for name, table in tables.items():
                data = _parquet(table)
                digest = hashlib.sha256(data).hexdigest()
                staged.append(self.staging / journal.staged_name(name, stem, digest))
                changed = disk.write_new(staged[-1], data)
                files[name] = File(sha256=digest, bytes=len(data), rows=table.num_rows, changed_ns=changed)
            disk.sync_folder(self.staging)
            grid, settings = self._digests
            record = Record(
                version=schema.VERSION,
                stem=stem,
                jobs=part.jobs,
                depths=depths,
                made_by=made_by or self._made_by,
                grid=grid,
                settings=settings,
                files=files,
            )
            self._commit(record)
        except OSError as error:
            self._write_error = error.strerror or str(error)
            if self.journal().records.get(stem) is None or self.journal().records[stem].files != files:
                for path in [] if self._writer.uncertain else staged:
                    with suppress(OSError):
                        path.unlink()
            raise

    def _append(self, entry: Record | Environment) -> None:
        self._writer.append(entry)
        self.journal().add(entry)

    def _commit(self, record: Record) -> None:
        """Commit by one line in the journal; then move, replace or remove files to match it."""
        with self._committing:
            self._append(record)
            self._apply(record)

    def _apply(self, record: Record) -> None:
        """Make the tables' folders match the last record of a part, also where a killed process had begun to."""
        hashes = self.journal().files
        tables = sorted(FOLDERS, key=lambda table: table != COMMIT_TABLE)
        for table in tables if not record.void else ():
            if table not in record.files:
                continue
            staged = self.staging / journal.staged_name(table, record.stem, record.files[table].sha256)
            if disk.is_file(staged):
                self._move(staged, self.path / table / f"{record.stem}.parquet", hashes[table, record.stem])
        for table in reversed(tables):  # `networks` is removed last
            path = self.path / table / f"{record.stem}.parquet"
            if (table in record.files and not record.void) or not os.path.lexists(path):
                continue
            if (table, record.stem) not in hashes:
                continue
            if record.void or not disk.is_file(path) or disk.sha256(path) not in hashes[table, record.stem]:
                quarantine.set_aside(self.path, path)
            else:
                os.unlink(path)
            disk.sync_folder(path.parent)
            with suppress(OSError):  # usually the folder is not empty
                os.rmdir(path.parent)

    def _move(self, staged: Path, path: Path, hashes: set[str]) -> None:
        if not path.parent.is_dir():
            os.mkdir(path.parent)
            disk.sync_folder(self.path)
        if os.path.lexists(path) and not (disk.is_file(path) and disk.sha256(path) in hashes):
            quarantine.set_aside(self.path, path)  # a file of somebody else is not overwritten
            self.displaced.append(str(path.relative_to(self.path)))
        os.replace(staged, path)
        disk.sync_folder(path.parent)

    def _replace_text(self, path: Path, data: bytes) -> None:
        try:
            disk.replace_file(path, data, self.staging)
        except OSError as error:
            self._write_error = error.strerror or str(error)
            raise


def _parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    written: bytes = sink.getvalue().to_pybytes()
    return written
