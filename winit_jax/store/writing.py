"""A writer of parts: one process, which has a journal file of its own and a place of its own in staging/.

A part's files are written to staging and fsynced; a line in the journal (`store.journal`) commits them all at once;
then they are moved into their tables' folders, `networks` first. A process that dies on the way leaves either files
that no record names, or a committed part that is still in staging: `store.recovery` clears up after both.
So no table shows rows of a part that is not committed, and `networks` has every network that another table has.

Who writes is apart from what is written: whoever has a writer may commit any part, one shard or another, or one that it
was told by a scheduler.
"""

import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic_core import to_json

from winit_jax.columns import OF_THE_DEEPEST
from winit_jax.spec.parts import Part
from winit_jax.store import journal, quarantine, schema
from winit_jax.store.damage import FOLDERS
from winit_jax.store.journal import Environment, File, FolderError, Journal, Record
from winit_jax.system import disk

COMMIT_TABLE = "networks"


class PartWriter:
    """Commits parts into a run folder, from any thread.

    path: of the folder. entries: its journal, as far as this process knows it. id: of the lease that the folder is
    written under together with others, "" for a process that has it alone. displaced: files of others that lay in a
    part's place and were moved to quarantine, relative to the run folder. error: what the system said last of a file
    that could not be written, "" if nothing.
    """

    def __init__(self, path: Path, entries: Callable[[], Journal], id: str = "") -> None:
        self.path, self.id, self._entries = path, id, entries
        self.staging = journal.staging_of(path, id)
        self._lines = journal.Writer(path)
        self._committing = threading.RLock()
        self._digests, self._made_by = ("", ""), ""
        self.displaced: list[str] = []
        self.error = ""

    def plans_for(self, grid: str, settings: str) -> int:
        """Set the digests of the sweep that parts are written for. Out: how many grids were run before this one."""
        self._digests = (grid, settings)
        grids = self._entries().grids
        return grids.index(grid) if grid in grids else len(grids)

    def made_with(self, made_by: Mapping[str, Any]) -> str:
        """Set the environment that parts are made with from now on. Out: its id, a hash of `made_by`."""
        entry = Environment(version=schema.VERSION, id=journal.environment_id(dict(made_by)), made_by=dict(made_by))
        with self._committing:
            if entry.id not in self._entries().environments:
                self.append(entry)
            self._made_by = entry.id
        return entry.id

    def drop_details(self, stem: str) -> None:
        """Remove a part's tables of the deepest networks alone, once the sweep asks for deeper ones."""
        record = self._entries().records[stem]
        kept = {table: file for table, file in record.files.items() if table not in OF_THE_DEEPEST}
        if kept != record.files:
            self.commit(record.model_copy(update={"files": kept}))

    def set_aside(self, stem: str, why: str) -> None:
        """Withdraw a part and move its files to quarantine/, to be made anew. why: kept in the journal."""
        self.commit(self._entries().records[stem].model_copy(update={"void": why or "damaged"}))

    def replace_text(self, path: Path, data: bytes) -> None:
        """Make `data` the contents of a file beside the tables, at once or not at all. Errors: OSError."""
        try:
            disk.replace_file(path, data, self.staging)
        except OSError as error:
            self.error = error.strerror or str(error)
            raise

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
        for record in sorted(self._entries().parts().values(), key=lambda record: record.stem, reverse=True):
            stem = record.stem
            names = {table: schema.schema(table, without).names for table in record.files if table in schema.TABLES}
            paths = {table: journal.where(self.path, table, record) for table in names}
            if record.grid == grid or all(pq.read_schema(paths[name]).names == names[name] for name in names):
                continue
            tables = {table: schema.widened(table, pq.read_table(path), without) for table, path in paths.items()}
            self._write(stem, record.part, record.depths, tables, record.made_by)

    def join(self, stem: str, records: Sequence[Record], tables: Mapping[str, pa.Table]) -> None:
        """Commit one part in place of several, with all their rows. records: of one environment, of the same depths and
        settings; tables: their rows. Errors: OSError.
        """
        part, first = Part(tuple(job for record in records for job in record.jobs)), records[0]
        label = to_json({"version": schema.VERSION, "depths": list(first.depths)})
        tables = {name: table.replace_schema_metadata({schema.METADATA_KEY: label}) for name, table in tables.items()}
        self._write(stem, part, first.depths, tables, first.made_by, tuple(record.stem for record in records))

    def take_apart(self, record: Record, pieces: Sequence[tuple[str, Part, Mapping[str, pa.Table]]]) -> None:
        """Commit several parts in place of one, all at once. pieces: (stem, jobs, rows in each table).

        Errors: OSError.
        """
        records: list[Record] = []
        for stem, part, tables in pieces:
            about = {"stem": stem, "jobs": part.jobs, "writer": self.id, "families": part.n_families}
            about |= {"networks": part.n_networks(set(record.depths)), "files": {}}
            about["replaces"] = () if records else (record.stem,)
            files: dict[str, File] = {}
            for name, table in tables.items():
                data = parquet(table)
                path = self.staging / journal.staged_name(name, stem, digest := hashlib.sha256(data).hexdigest())
                changed = disk.write_new(path, data)
                files[name] = File(sha256=digest, bytes=len(data), rows=table.num_rows, changed_ns=changed)
            records.append(record.model_copy(update={**about, "files": files}))
        disk.sync_folder(self.staging)
        self._check_lease()
        with self._committing:
            self.append(journal.Together(version=schema.VERSION, records=tuple(records)))
            for each in records:
                self.apply(each)

    def write_predictions(self, tables: Mapping[str, pa.Table]) -> None:
        """Replace the folder's tables of theory alone by these. Errors: OSError; StoreError."""
        earlier = self._entries().records.get(journal.PREDICTIONS)
        data = {name: parquet(table) for name, table in tables.items()}
        stored = {} if earlier is None or earlier.void else {name: file.sha256 for name, file in earlier.files.items()}
        if stored != {name: hashlib.sha256(content).hexdigest() for name, content in data.items()}:
            self._write(journal.PREDICTIONS, Part(()), (), tables)

    def _write(
        self,
        stem: str,
        part: Part,
        depths: tuple[int, ...],
        tables: Mapping[str, pa.Table],
        made_by: str = "",
        replaces: tuple[str, ...] = (),
    ) -> None:
        grid, settings = self._digests
        record = Record(
            version=schema.VERSION,
            stem=stem,
            jobs=part.jobs,
            depths=depths,
            made_by=made_by or self._made_by,
            grid=grid,
            settings=settings,
            files={},
            writer=self.id,
            networks=part.n_networks(set(depths)),
            families=part.n_families,
            replaces=replaces,
        )
        staged: list[Path] = []
        files: dict[str, File] = {}
        with self._unstaging(stem, files, staged):
            for name, table in tables.items():
                data = parquet(table)
                digest = hashlib.sha256(data).hexdigest()
                staged.append(self.staging / journal.staged_name(name, stem, digest))
                changed = disk.write_new(staged[-1], data)
                files[name] = File(sha256=digest, bytes=len(data), rows=table.num_rows, changed_ns=changed)
            self._commit_staged(record.model_copy(update={"files": files}))

    def adopt(self, record: Record, source: Path) -> None:
        """Commit a part of another run folder as it is: its files are linked, or copied where they cannot be.

        source: the other folder. Errors: OSError.
        """
        own = record.model_copy(update={"writer": self.id, "replaces": ()})
        staged: list[Path] = []
        files: dict[str, File] = {}
        with self._unstaging(record.stem, files, staged):
            for table, file in record.files.items():
                staged.append(journal.staged(self.path, table, own))
                changed = disk.link_or_copy(journal.where(source, table, record), staged[-1])
                files[table] = file.model_copy(update={"changed_ns": changed})
            self._commit_staged(own.model_copy(update={"files": files}))

    def _commit_staged(self, record: Record) -> None:
        disk.sync_folder(self.staging)
        self._check_lease()
        self.commit(record)

    @contextmanager
    def _unstaging(self, stem: str, files: Mapping[str, File], staged: list[Path]) -> Iterator[None]:
        """Where the system refuses to write, what was staged is deleted, unless it may be committed."""
        try:
            yield
        except OSError as error:
            self.error = error.strerror or str(error)
            if self._entries().records.get(stem) is None or self._entries().records[stem].files != files:
                for path in [] if self._lines.uncertain else staged:
                    with suppress(OSError):
                        path.unlink()
            raise

    def begin_journal(self) -> None:
        """The next line goes into a new file."""
        self._lines = journal.Writer(self.path)

    def _check_lease(self) -> None:
        """Errors: FolderError if another process took this one for dead: what it had staged may be gone."""
        if self.id and not os.path.lexists(self.staging.with_name(f"{self.id}.json")):
            raise FolderError(
                f"{self.path} was written by others meanwhile, who took this process for dead: its heartbeat did not "
                "reach them. What was finished is kept; the same command goes on."
            )

    def append(self, entry: journal.Entry) -> None:
        """One line in the journal. Errors: OSError."""
        self._lines.append(entry)
        self._entries().add(entry)

    def commit(self, record: Record) -> None:
        """Commit by one line in the journal; then move, replace or remove files to match it."""
        with self._committing:
            self.append(record)
            self.apply(record)

    def apply(self, record: Record) -> None:
        """Make the tables' folders match the last record of a part, also where a killed process had begun to."""
        hashes, records = self._entries().files, self._entries().records
        tables = sorted(FOLDERS, key=lambda table: table != COMMIT_TABLE)
        for table in reversed(tables) if record.replaces else ():
            # Before the new file comes, so that nobody who reads the folder as it is sees a row twice.
            self._drop(table, [stem for stem in record.replaces if stem not in records])
        for table in tables if not record.void else ():
            if table not in record.files:
                continue
            staged = journal.staged(self.path, table, record)
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
            with suppress(FileExistsError):  # another writer has just made it
                os.mkdir(path.parent)
            disk.sync_folder(self.path)
        if os.path.lexists(path) and not self._is_ours(path, hashes):
            quarantine.set_aside(self.path, path)  # a file of somebody else is not overwritten
            self.displaced.append(str(path.relative_to(self.path)))
        os.replace(staged, path)
        disk.sync_folder(path.parent)

    def _drop(self, table: str, stems: list[str]) -> None:
        """Delete the files of parts that are no parts any more."""
        hashes, place = self._entries().files, self.path / table
        if not place.is_dir():
            return
        for stem in stems:
            path = place / f"{stem}.parquet"
            if os.path.lexists(path) and self._is_ours(path, hashes.get((table, stem), set())):
                os.unlink(path)
        disk.sync_folder(place)

    def _is_ours(self, path: Path, hashes: set[str]) -> bool:
        """Whether a file has bytes that were committed in its place. hashes: of those that this process knows of."""
        if not disk.is_file(path):
            return False
        digest = disk.sha256(path)
        if digest in hashes:
            return True
        return bool(self.id) and digest in journal.read(self.path).files.get((path.parent.name, path.stem), ())


def parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    written: bytes = sink.getvalue().to_pybytes()
    return written
