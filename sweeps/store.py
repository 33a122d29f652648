"""The run folder: whole parts or nothing, and what is already there.

A part is written to staging/, fsynced and renamed into its table; the `networks` file comes last and
is what commits it. A part of another table without its `networks` file is the trace of a kill, and is
removed before work goes on.
"""

import fcntl
import json
import os
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from sweeps import schema
from sweeps.checkpoints import Checkpoint
from sweeps.parts import Part

COMMIT_TABLE = "networks"
# In staging: of trainings that are not finished.
CHECKPOINTS = "checkpoints"


class StoreError(Exception):
    """One sentence about a run folder that cannot be used."""


@dataclass(frozen=True)
class Committed:
    """A part that is in the folder: what it holds and for which depths."""

    part: Part
    depths: tuple[int, ...]


class RunFolder:
    """The files of one run. Nothing is created before `create`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def sweep_file(self) -> Path:
        return self.path / "sweep.toml"

    @property
    def figures(self) -> Path:
        return self.path / "figures"

    def exists(self) -> bool:
        return self.sweep_file.is_file()

    def create(self) -> None:
        """Make the folder where there is none. Errors: StoreError."""
        own = {*self.tables(), *schema.PREDICTIONS, "staging"}  # all that a run killed at its very start leaves
        if self.path.exists() and not self.exists() and {entry.name for entry in self.path.iterdir()} - own:
            raise StoreError(f"{self.path} is not empty and not a run folder (no sweep.toml). Choose another --out.")
        try:
            for name in (*self.tables(), "staging"):
                (self.path / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"{self.path} cannot be written: {error.strerror}.") from error

    def write_sweep(self, text: str) -> None:
        """Make `text` the folder's sweep.toml."""
        self._replace_text(self.sweep_file, text)

    def tables(self) -> tuple[str, ...]:
        return tuple(schema.TABLES)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder against a second run. Errors: StoreError if another process has it."""
        with open(self.path / "staging" / "lock", "w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StoreError(f"{self.path} is in use by another winit run.") from None
            yield

    def sweep(self) -> dict:
        """The stored sweep file as plain data. Errors: StoreError."""
        try:
            return tomllib.loads(self.sweep_file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise StoreError(f"{self.path} is not a run folder: it has no sweep.toml.") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise StoreError(f"{self.sweep_file} cannot be read: {error}.") from error

    def info(self) -> dict:
        """run.json, or nothing where a run was killed before it could write one."""
        try:
            return json.loads((self.path / "run.json").read_text(encoding="utf-8"))
        except (FileNotFoundError, json.JSONDecodeError):
            return {}

    def write_info(self, info: Mapping) -> None:
        self._replace_text(self.path / "run.json", json.dumps(info, indent=2) + "\n")

    def committed(self) -> dict[str, Committed]:
        """Every committed part by file stem, read from the files' own metadata."""
        found = {}
        for file in sorted((self.path / COMMIT_TABLE).glob("*.parquet")):
            try:
                stored = json.loads(pq.read_schema(file).metadata[schema.METADATA_KEY])
                if stored["version"] != schema.VERSION:
                    raise StoreError(f"{file} has table version {stored['version']}; this is version {schema.VERSION}.")
                found[file.stem] = Committed(Part.from_json(stored["jobs"]), tuple(stored["depths"]))
            except (KeyError, TypeError, json.JSONDecodeError, pa.ArrowInvalid) as error:
                raise StoreError(f"{file} is not a part that winit wrote ({error}). Move it away.") from error
        return found

    def remove_orphans(self) -> None:
        """Clear staging, and what a killed run left without its commit."""
        for file in (self.path / "staging").iterdir():
            if file.name not in ("lock", CHECKPOINTS):
                file.unlink()
        whole = {file.name for file in (self.path / COMMIT_TABLE).glob("*.parquet")}
        for table in self.tables():
            for file in (self.path / table).glob("*.parquet"):
                if file.name not in whole:
                    file.unlink()

    def checkpoint(self, stem: str, note: Callable[[str], None]) -> Checkpoint:
        """Where the training of a part is kept until it is committed."""
        return Checkpoint(self.path / "staging" / CHECKPOINTS / f"{stem}.npz", note)

    def drop_checkpoints(self) -> None:
        """Take away those of parts that never come back."""
        for file in (self.path / "staging" / CHECKPOINTS).glob("*"):
            Checkpoint(file).discard()

    def drop_details(self, stem: str) -> None:
        """Take away what a part says of the deepest network, when another has become the deepest."""
        for table in schema.OF_THE_DEEPEST:
            (self.path / table / f"{stem}.parquet").unlink(missing_ok=True)

    def write(self, stem: str, part: Part, depths: tuple[int, ...], tables: Mapping[str, pa.Table]) -> None:
        """Commit a part: every table's file, `networks` last. Replaces an earlier one of that stem."""
        label = {"version": schema.VERSION, "jobs": part.to_json(), "depths": list(depths)}
        metadata = {schema.METADATA_KEY: json.dumps(label).encode()}
        for name in sorted(tables, key=lambda name: name == COMMIT_TABLE):
            staged = self.path / "staging" / f"{name}-{stem}.parquet"
            pq.write_table(tables[name].replace_schema_metadata(metadata), staged, compression="zstd")
            _sync(staged)
            os.replace(staged, self.path / name / f"{stem}.parquet")
            _sync(self.path / name)

    def write_predictions(self, tables: Mapping[str, pa.Table]) -> None:
        """Make these the folder's tables of theory alone; those that are not given go."""
        for name in schema.PREDICTIONS:
            path = self.path / name / "predictions.parquet"
            if name in tables:
                path.parent.mkdir(exist_ok=True)
                staged = self.path / "staging" / f"{name}.parquet"
                pq.write_table(tables[name], staged, compression="zstd")
                _sync(staged)
                os.replace(staged, path)
                _sync(path.parent)
            elif path.exists():
                path.unlink()

    def _replace_text(self, path: Path, text: str) -> None:
        staged = self.path / "staging" / path.name
        staged.write_text(text, encoding="utf-8")
        _sync(staged)
        os.replace(staged, path)
        _sync(self.path)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
