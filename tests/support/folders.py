"""Run folders written by hand: a journal for the tables' files that lie in one."""

import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from winit_jax.store import journal
from winit_jax.store.damage import FOLDERS
from winit_jax.store.schema import VERSION


def _rows(file):
    """How many rows it has; 0 of a file that is no table."""
    try:
        return pq.read_metadata(file).num_rows
    except (pa.ArrowException, OSError):
        return 0


def commit(path):
    """Record every parquet file of a folder's tables, each stem as a part; again where files were added since."""
    path, stems = Path(path), {}
    for table in FOLDERS:
        for file in sorted((path / table).glob("*.parquet")):
            data = file.read_bytes()
            stems.setdefault(file.stem, {})[table] = journal.File(
                sha256=hashlib.sha256(data).hexdigest(),
                bytes=len(data),
                rows=_rows(file),
                changed_ns=file.stat().st_mtime_ns,
            )
    writer = journal.Writer(path)
    for stem, files in stems.items():
        about = {"jobs": (), "depths": (), "made_by": "", "grid": "", "settings": ""}
        writer.append(journal.Record(version=VERSION, stem=stem, files=files, **about))
    return path
