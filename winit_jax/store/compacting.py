"""Many small parts made into few large ones, and a journal of many files into one: the same rows in the same order.

Parts that follow each other and were made alike are joined. One line commits a joined part and withdraws those that
it is made of; a process that is killed leaves either those or this. Then the journal is written anew into one file, and
only when that is there are its earlier files deleted.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from winit_jax.spec.parts import Job, Part
from winit_jax.spec.sweep import Sweep
from winit_jax.store import journal
from winit_jax.store.asked import grid_digest, settings_digest
from winit_jax.store.folder import RunFolder
from winit_jax.store.journal import Environment, Order, Record
from winit_jax.store.schema import VERSION
from winit_jax.store.unfilled import never_filled
from winit_jax.store.verify import rows
from winit_jax.system import disk

# Of a joined part, in its largest table.
ROWS = 1_000_000
# A run of more parts is compacted at its end.
MANY_PARTS = 1_000
# A joined part whose networks are computed anew, for depths that it lacks, is taken apart into parts of about so many
# families first, so that what is lost by a kill is little again.
FAMILIES = 512
_STEM = re.compile(r"(?P<program>\d{2,}-\d{4,})-(?P<position>\d{9,})-part-[0-9a-f]{16}")


@dataclass(frozen=True)
class Compacted:
    """What became of a folder; `str()` is a sentence. before, after: parts. lines: of the journal before."""

    before: int
    after: int
    lines: int

    def __str__(self) -> str:
        return f"{self.before:,} parts are {self.after:,} now, in one journal instead of {self.lines:,}"


def compact(folder: RunFolder, sweep: Sweep, most: int = ROWS) -> Compacted:
    """Join the parts of a folder into parts of about so many rows. The folder is locked for this process alone and
    recovered. sweep: the folder's. Errors: OSError; FolderError."""
    entries = folder.journal()
    files = len([name for name in disk.names(folder.path / journal.FOLDER) if journal.is_journal(name)])
    before = len(entries.parts())
    folder.plans_for(grid_digest(sweep), settings_digest(sweep))
    folder.widen(never_filled(sweep))
    for group in list(groups(list(folder.committed().values()), most)):
        tables = {
            table: pa.concat_tables([_table(folder, table, record) for record in group]).unify_dictionaries()
            for table in group[0].files
        }
        part = Part(tuple(job for record in group for job in record.jobs))
        found = _STEM.fullmatch(group[0].stem)
        assert found is not None
        folder.writer.join(f"{found['program']}-{found['position']}-{part.name}", group, tables)
    _write_journal_anew(folder)
    return Compacted(before, len(folder.committed()), files)


def take_apart(folder: RunFolder, sweep: Sweep) -> None:
    """Take large parts apart whose networks lack depths of the sweep: they are about to be computed anew.

    This process has the folder alone, or is the first of several. Errors: OSError; FolderError.
    """
    for record in list(folder.committed().values()):
        found = _STEM.fullmatch(record.stem)
        if not set(sweep.grid.depth) - set(record.depths) or record.part.is_training or found is None:
            continue
        if record.part.n_families <= FAMILIES or len(chunks := _chunks(record)) < 2:
            continue
        tables = {table: _table(folder, table, record) for table in record.files}
        position, start, pieces = int(found["position"]), dict.fromkeys(tables, 0), []
        for jobs in chunks:
            part, counts = Part(jobs), rows(record.model_copy(update={"jobs": jobs}), sweep)
            stem = f"{found['program']}-{position:09d}-{part.name}"
            pieces.append((stem, part, {name: of.slice(start[name], counts[name]) for name, of in tables.items()}))
            position += part.n_families
            start = {name: start[name] + counts[name] for name in tables}
        if start != {name: table.num_rows for name, table in tables.items()}:
            continue  # it holds other rows than the sweep measures: it is computed anew as a whole
        folder.writer.take_apart(record, pieces)


def _chunks(record: Record) -> list[tuple[Job, ...]]:
    """The jobs of a part, in order, in pieces of about FAMILIES families."""
    chunks: list[tuple[Job, ...]] = []
    pending: list[Job] = []
    for job in record.jobs:
        if pending and sum(len(each.points) for each in (*pending, job)) > FAMILIES:
            chunks.append(tuple(pending))
            pending = []
        pending.append(job)
    return [*chunks, tuple(pending)]


def groups(records: list[Record], most: int) -> Iterator[list[Record]]:
    """Parts to be joined, each group in the order of stems; parts that stay as they are are left out."""
    group: list[Record] = []
    held = 0
    for record in [*sorted(records, key=lambda record: record.stem), None]:
        size = 0 if record is None else max((file.rows for file in record.files.values()), default=0)
        is_next = record is not None and group and _are_alike(group[-1], record)
        # Parts of one place in the grid stay together: their order is that of names, which change.
        fits = held + size <= most or (record is not None and group and _place(group[-1]) == _place(record))
        if record is not None and is_next and fits:
            group.append(record)
            held += size
            continue
        if len(group) > 1:
            yield group
        group, held = ([record], size) if record is not None and _place(record) else ([], 0)


def _place(record: Record) -> tuple[str, str] | None:
    found = _STEM.fullmatch(record.stem)
    return (found["program"], found["position"]) if found else None


def _are_alike(one: Record, other: Record) -> bool:
    places = _place(one), _place(other)
    return (
        places[0] is not None
        and places[1] is not None
        and places[0][0] == places[1][0]
        and (one.depths, one.made_by, one.settings, one.grid)
        == (other.depths, other.made_by, other.settings, other.grid)
        and list(one.files) == list(other.files)
        and one.part.is_training == other.part.is_training
        and (not one.part.is_training or _program(one) == _program(other))
    )


def _program(record: Record) -> Job:
    return record.part.program()


def _table(folder: RunFolder, table: str, record: Record) -> pa.Table:
    return pq.read_table(journal.where(folder.path, table, record)).replace_schema_metadata(None)


def _write_journal_anew(folder: RunFolder) -> None:
    """One file in place of all: what the others together say, and in which order grids came."""
    entries, place = folder.refresh(), folder.path / journal.FOLDER
    names = [name for name in disk.names(place) if journal.is_journal(name)]
    lines: list[journal.Entry] = [Order(version=VERSION, grids=tuple(entries.grids))]
    lines += [Environment(version=VERSION, id=name, made_by=made_by) for name, made_by in entries.environments.items()]
    lines += [record for _, record in sorted(entries.records.items())]
    number = max((int(name.partition(".")[0]) for name in names), default=0) + 1
    disk.replace_file(place / f"{number:06d}.jsonl", b"".join(map(journal.to_line, lines)), folder.staging)
    for name in names:
        os.unlink(place / name)
    disk.sync_folder(place)
    folder.begin_journal()
