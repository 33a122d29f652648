"""The run folder: its files by name, who has it, and what a process that has it may do.

One process has the folder alone (`lock`), or several have it together (`share`), each with a lease of its own. What
they commit and how is in `store.writing`, what a killed one left in `store.recovery`.
"""

import os
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic_core import to_json

from winit_jax.spec.files import parse
from winit_jax.spec.parts import Part
from winit_jax.spec.problems import SpecError
from winit_jax.spec.shards import Shard
from winit_jax.spec.sweep import Sweep
from winit_jax.store import gate, journal, leases, lock, quarantine, schema, shard_states
from winit_jax.store.asked import Short
from winit_jax.store.checkpoints import Checkpoint
from winit_jax.store.damage import FOLDERS, written_version
from winit_jax.store.info import Info, Read, read_info
from winit_jax.store.journal import FolderError, Journal, Record
from winit_jax.store.leases import Lease
from winit_jax.store.lock import Holder
from winit_jax.store.writing import COMMIT_TABLE, PartWriter
from winit_jax.system import disk
from winit_jax.system.signals import Stopped

TEXTS = ("sweep.toml", "run.json")
StoreError = FolderError
# The folder within staging/ that holds the checkpoints of unfinished trainings.
CHECKPOINTS = "checkpoints"


class RunFolder:
    """The files of one run. Nothing is created before `create`; call every method that writes while holding `lock`, or
    having the folder together with others by `share`.

    path: absolute, because a user's code may change the working directory during a run. `str()` is the path as given.
    writer: of parts, of the process that has the folder now. lease: what it tells others, None if it has it alone.
    shard: that it computed last, or computes; cluster: whose workers did, or do, what it told them. has_locks: whether
    its file system has locks, as far as was seen.
    """

    has_locks = True

    def __init__(self, path: Path) -> None:
        self.path, self._given = path.absolute(), path
        self._journal: Journal | None = None
        self.writer = PartWriter(self.path, self.journal)
        self.lease: Holder[Lease] | None = None
        self.shard: Shard | None = None
        self.cluster = ""
        self._state_written = ""

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
    def displaced(self) -> list[str]:
        """As of `PartWriter`."""
        return self.writer.displaced

    @property
    def go_on(self) -> str:
        """The shell command that continues this run, or this shard of it, in the way that it is run now."""
        command = f"winit run {shlex.quote(str(self._given / 'sweep.toml'))} --out {shlex.quote(str(self))}"
        if self.shard:
            return f"{command} --shard {self.shard}"
        return f"{command} --cluster {shlex.quote(self.cluster)}" if self.cluster else command

    def exists(self) -> bool:
        """Whether the folder has a sweep.toml."""
        return os.path.lexists(self.sweep_file)

    def create(self) -> None:
        """Make the folder if it does not exist. Errors: StoreError if it holds other files or cannot be written."""
        # What a run that was killed at its start may leave.
        of_a_run = {*FOLDERS, "staging", shard_states.SHARDS, journal.FOLDER, *TEXTS}
        try:
            is_strange = self.path.exists() and bool(set(disk.names(self.path)) - of_a_run)
            if is_strange and not self.exists():  # asked last: another process may have begun it just now
                raise StoreError(f"{self} is not empty and not a run folder (no sweep.toml). Choose another --out.")
            os.makedirs(self.staging, exist_ok=True)
        except OSError as error:
            raise StoreError(f"{self} cannot be written: {error.strerror}.") from error
        self._check_folders()

    def _check_folders(self) -> None:
        for name in (*FOLDERS, journal.FOLDER, quarantine.FOLDER, shard_states.SHARDS):
            if os.path.lexists(path := self.path / name) and not path.is_dir():
                raise StoreError(f"{path} is not a folder. Move it away.")

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Lock the folder for this process alone; at the end, write into the lock file how the work ended.

        Errors: StoreError if other processes have it.
        """
        with lock.hold(self.staging / "lock", lambda: leases.in_words(leases.living(self.staging))) as holder:
            self.has_locks = holder.has_lock
            self._begin(PartWriter(self.path, self.journal))
            with self._ending(holder):
                yield

    @contextmanager
    def share(self, shard: Shard | None, cluster: str = "") -> Iterator[None]:
        """Have the folder together with others, under a lease; `join` behind the gate before anything is written.

        shard: None for a writer that is told its parts, or that tells workers of `cluster` theirs.
        Errors: StoreError if a process has the folder alone.
        """
        with (
            lock.hold_shared(self.staging / "lock") as has_locks,
            leases.hold(self.staging, shard, cluster) as holder,
        ):
            self.has_locks = has_locks
            if not has_locks:
                lock.check_free(self.staging / "lock")
            self.lease, self.shard, self.cluster = holder, shard, cluster
            self._begin(PartWriter(self.path, self.journal, holder.note.id))
            try:
                os.makedirs(self.writer.staging, exist_ok=True)
                with self._ending(holder):
                    yield
            finally:
                with suppress(OSError):
                    shard_states.keep(self.path, holder.note, self.writer.staging)
                with suppress(OSError):  # it holds files
                    os.rmdir(self.writer.staging)
                self.lease = None

    @contextmanager
    def gate(self) -> Iterator[list[Lease]]:
        """Behind the gate no other process joins the folder or ends in it. Out: the leases of others that live.

        Where this process has the folder alone, there is no gate, and there are no others.
        Errors: StoreError if the gate cannot be passed.
        """
        if self.lease is None:
            yield []
            return
        with gate.passed(self.staging):
            self._journal = None
            yield [lease for lease in leases.living(self.staging) if lease.id != self.lease.note.id]

    def _begin(self, writer: PartWriter) -> None:
        self.writer, self._journal, self._state_written = writer, None, ""

    @contextmanager
    def _ending(self, holder: Holder[Any]) -> Iterator[None]:
        """Note how the work ends."""
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
            if self.lease is None and not holder.note.state and self._state_written:
                ended = self._state_written != "running" and not self.writer.error
                holder.end(self._state_written if ended else "failed", "" if ended else self.writer.error)
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
        self.writer.replace_text(self.sweep_file, data)

    def asks(self, info: Info) -> Short | None:
        """For what sweep.toml asks, without reading it as a sweep; None where run.json does not tell of these bytes.

        Errors: StoreError if there is no sweep.toml or it is not TOML; OSError.
        """
        told = info.asks
        title = self.sweep().get("title", "")
        if told is None or not isinstance(title, str) or disk.sha256(self.sweep_file) != told.sha256:
            return None
        return Short(title, told.networks, told.grid, told.settings)

    def info(self) -> Info:
        """The contents of run.json; empty if there is no such file or it cannot be read."""
        return read_info(self.path / "run.json")[0]

    def write_info(self, info: Mapping[str, Any], sweep: Sweep) -> None:
        """Make run.json of `info`, where `state` says how far the run is, and the environments of all parts.

        sweep: that of the folder, of which its digests are noted beside the bytes of sweep.toml.
        """
        self._state_written = str(info.get("state", ""))
        with suppress(OSError):
            short = Short.of(sweep)
            asks = Read(
                sha256=disk.sha256(self.sweep_file), networks=short.networks, grid=short.grid, settings=short.settings
            )
            info = {**info, "asks": asks.model_dump()}
        environments = [{"id": name, **made_by} for name, made_by in self.journal().environments.items()]
        text = to_json({**info, "made_by": environments}, indent=2) + b"\n"
        self.writer.replace_text(self.path / "run.json", text)

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

    def begin_journal(self) -> None:
        """Go on in a journal file of a number of its own: the one before was taken into another."""
        self.writer.begin_journal()
        self._journal = None

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
        return self.journal().parts()

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

    # What the process that has the folder writes; see `PartWriter`.

    def plans_for(self, grid: str, settings: str) -> int:
        """As of `PartWriter`."""
        return self.writer.plans_for(grid, settings)

    def made_with(self, made_by: Mapping[str, Any]) -> str:
        """As of `PartWriter`."""
        return self.writer.made_with(made_by)

    def write(self, stem: str, part: Part, depths: tuple[int, ...], tables: Mapping[str, pa.Table]) -> None:
        """As of `PartWriter`."""
        self.writer.write(stem, part, depths, tables)

    def write_predictions(self, tables: Mapping[str, pa.Table]) -> None:
        """As of `PartWriter`."""
        self.writer.write_predictions(tables)

    def widen(self, without: frozenset[str]) -> None:
        """As of `PartWriter`."""
        self.writer.widen(without)

    def set_aside(self, stem: str, why: str) -> None:
        """As of `PartWriter`."""
        self.writer.set_aside(stem, why)

    def drop_details(self, stem: str) -> None:
        """As of `PartWriter`."""
        self.writer.drop_details(stem)
