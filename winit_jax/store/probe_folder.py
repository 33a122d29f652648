"""Tables of a probe on disk, a file a network in each, whole or not there at all."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from winit_jax.columns.probed import PROBED
from winit_jax.errors import Refused
from winit_jax.system import disk, provenance

TABLES = tuple(PROBED)


class ProbeFolder:
    """The folder of one network, its inputs and the way in which it is measured."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def begin(self, fingerprint: str) -> None:
        """Make the folder, or go on with it. Errors: Refused where it is of something else."""
        info = self.path / "run.json"
        if info.exists():
            try:
                there = json.loads(disk.read(info))
                then = there.get("fingerprint") if there.get("kind") == "probe" else None
            except (OSError, ValueError) as error:
                raise Refused(f"{info} cannot be read: {error}.", 1) from error
            if then is None:
                raise Refused(f"{self.path} is no folder of a probe; choose another one with --out.")
            if then != fingerprint:
                raise Refused(f"{self.path} is of another network or of other inputs; choose another folder.")
        elif self.path.exists() and any(self.path.iterdir()):
            raise Refused(f"{self.path} is not empty, and no folder of a probe; choose another one with --out.")
        try:
            for name in (*TABLES, "staging"):
                (self.path / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Refused(f"{self.path}: {error.strerror}.", 1) from error
        self._fingerprint = fingerprint
        self._write_info("running", 0.0, [])

    def end(self, seconds: float, notes: Sequence[str]) -> None:
        self._write_info("finished", seconds, notes)

    def _write_info(self, state: str, seconds: float, notes: Sequence[str]) -> None:
        info = {
            "kind": "probe",
            "state": state,
            "fingerprint": self._fingerprint,
            "seconds": seconds,
            "notes": list(notes),
            "versions": provenance.versions(),
        }
        self._replace(self.path / "run.json", json.dumps(info, indent=1).encode())

    def _replace(self, path: Path, data: bytes) -> None:
        try:
            disk.replace_file(path, data, self.path / "staging")
        except OSError as error:
            raise Refused(f"{self.path}: {error.strerror}. What was finished is kept.", 1) from error

    def _file(self, name: str, point: Any) -> Path:
        digest = hashlib.sha256(json.dumps(point).encode()).hexdigest()[:16]
        return self.path / name / f"part-{digest}.parquet"

    def has(self, point: Any) -> bool:
        """Whether a network is done: its last table is there."""
        return self._file(TABLES[-1], point).exists()

    def write(self, point: Any, tables: Mapping[str, Any]) -> None:
        """Errors: Refused where the disk does not take it."""
        for name in TABLES:
            buffer = pa.BufferOutputStream()
            pq.write_table(tables[name], buffer)
            self._replace(self._file(name, point), buffer.getvalue().to_pybytes())

    def read(self, name: str, points: Sequence[Any]) -> pa.Table:
        """A table of these networks, in their order. Errors: Refused where a file cannot be read."""
        try:
            tables = [pq.read_table(self._file(name, point)) for point in points]
        except (OSError, pa.ArrowException) as error:
            raise Refused(f"{self.path}: a table cannot be read: {error}", 1) from error
        return pa.concat_tables(tables, promote_options="permissive")
