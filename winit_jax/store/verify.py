"""Check every file of a run folder against the journal, the sweep and the part's other tables."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from winit_jax.columns import LEARNER_KEYS
from winit_jax.spec.sweep import Sweep, Vocabulary
from winit_jax.store import journal, recovery, schema
from winit_jax.store.asked import Count, count, grid_digest
from winit_jax.store.damage import Damage, damaged, foreign, orphans
from winit_jax.store.folder import RunFolder
from winit_jax.store.info import read_info
from winit_jax.store.joining import edited, stored_sweep
from winit_jax.store.journal import Journal, Record
from winit_jax.store.status import whole_parts
from winit_jax.store.unfilled import never_filled


@dataclass
class Verdict:
    """What `verify` found; `str()` is what `winit verify` prints.

    parts, files: how many are whole. counted: the networks in them. damage: damaged files of parts, which a run makes
    anew. wrong: sentences about everything else. lacks_predictions: whether the tables of theory are missing.
    """

    sweep: Sweep
    parts: int = 0
    files: int = 0
    counted: Count = field(default_factory=lambda: Count(0, 0))
    damage: list[Damage] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    lacks_predictions: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether nothing is wrong."""
        return not self.damage and not self.wrong

    def __str__(self) -> str:
        return "\n".join([*map(str, self.damage), *self.wrong, summary(self)])


def verify(folder: RunFolder, vocabulary: Vocabulary) -> Verdict:
    """Read and check every file. Errors: StoreError if it is not a run folder, or its sweep cannot be read.

    Another process may move and replace files while they are read, so only what two readings both find is reported.
    """
    verdict = _look(folder, vocabulary)
    if not verdict.is_whole:
        first, verdict = verdict, _look(folder, vocabulary)
        verdict.damage = [problem for problem in verdict.damage if problem in first.damage]
        verdict.wrong = [problem for problem in verdict.wrong if problem in first.wrong]
    return verdict


def _look(folder: RunFolder, vocabulary: Vocabulary) -> Verdict:
    stored_sweep(folder, vocabulary)
    entries, path = folder.refresh(), folder.path
    sweep = stored_sweep(folder, vocabulary)  # after the journal: a run that adds points writes the sweep first
    verdict = Verdict(sweep, lacks_predictions=entries.lacks_predictions)
    verdict.wrong += entries.unreadable
    verdict.damage = damaged(path, entries, thorough=True)
    whole = whole_parts(entries, verdict.damage)
    for record in whole:
        for table, what in _contents(path, record, sweep):
            verdict.damage.append(Damage(record.stem, f"{table}/{record.stem}.parquet", what))
    damaged_stems = {damage.stem for damage in verdict.damage}
    whole = [record for record in whole if record.stem not in damaged_stems]
    verdict.parts, verdict.files = len(whole), sum(len(record.files) for record in whole)
    verdict.counted = count(sweep, whole)
    if verdict.counted.done + verdict.counted.beside != sum(_networks(record) for record in whole):
        verdict.wrong.append("networks are in more than one part")
    if sentence := edited(sweep, whole, verdict.counted):
        verdict.wrong.append(f"sweep.toml {sentence}")
    verdict.wrong += orphans(path, entries)
    verdict.wrong += [f"{name} is no part of this run, and is not read" for name in foreign(path, entries)]
    verdict.wrong += _texts(path, entries)
    return verdict


def summary(verdict: Verdict) -> str:
    """How much was read, and how many things are wrong, in a sentence."""
    done, total = verdict.counted.done, verdict.sweep.n_networks
    wrong = len(verdict.damage) + len(verdict.wrong)
    result = f"{wrong:,} things are wrong" if wrong > 1 else "one thing is wrong" if wrong else "all as written"
    theory = "; the tables of theory are to be made anew" if verdict.lacks_predictions else ""
    return f"{verdict.files:,} files of {verdict.parts:,} parts with {done:,} of {total:,} networks: {result}{theory}"


def _texts(path: Path, entries: Journal) -> Iterator[str]:
    _, problem = read_info(path / "run.json")
    if problem:
        yield problem
    unknown = {record.made_by for record in entries.committed()} - entries.environments.keys()
    if unknown:
        yield f"{journal.FOLDER}/ does not say what {', '.join(sorted(unknown))} was, with which parts were made"


def repair(folder: RunFolder, vocabulary: Vocabulary) -> list[str]:
    """Move damaged files to quarantine/, so that the next run makes them anew. Call while holding the lock.

    Everything is read again, because another process may have repaired it since `verify`.
    Out: a sentence for each damage. Errors: OSError; StoreError.
    """
    lines = recovery.recover(folder)
    damage = _look(folder, vocabulary).damage
    for stem in sorted({item.stem for item in damage}):
        folder.set_aside(stem, "; ".join(str(item) for item in damage if item.stem == stem))
    return lines + [str(item) for item in damage]


def _networks(record: Record) -> int:
    return record.part.n_networks(set(record.depths))


def _contents(path: Path, record: Record, sweep: Sweep) -> Iterator[tuple[str, str]]:
    """(table, what is wrong with it) for a part whose files have the bytes that were committed."""
    tables: dict[str, pa.Table] = {}
    without, expected, is_current = never_filled(sweep), rows(record, sweep), record.grid == grid_digest(sweep)
    for table, file in record.files.items():
        try:
            tables[table] = content = pq.read_table(journal.where(path, table, record))
        except (pa.ArrowException, OSError, ValueError) as error:
            yield table, f"cannot be read: {str(error).splitlines()[0]}"
            continue
        if not _fits(content.schema, schema.schema(table, without if table in schema.TABLES else ()), is_current):
            yield table, "has other columns than the sweep's tables"
        elif content.num_rows != file.rows:
            yield table, f"has {content.num_rows:,} rows and was written with {file.rows:,}"
        elif table in expected and content.num_rows != expected[table]:
            yield table, f"has {content.num_rows:,} rows, and its networks have {expected[table]:,}"
        elif (
            table in schema.TABLES and "networks" in tables and (lost := _without_network(content, tables["networks"]))
        ):
            yield table, f"has rows of {lost:,} networks that its part's networks table does not have"
    if record.files and "networks" in tables and (twice := _twice(tables["networks"])):
        yield "networks", f"has {twice:,} networks more than once"
    for table in sorted(expected.keys() - record.files.keys()):
        yield table, "was not written, though the sweep asks for it"


def _fits(columns: pa.Schema, wanted: pa.Schema, is_current: bool) -> bool:
    """Whether columns are those of the sweep; a part from before the sweep grew may lack some."""
    if not is_current:
        wanted = pa.schema([field for field in wanted if field.name in columns.names])
    return bool(columns.equals(wanted))


def rows(record: Record, sweep: Sweep) -> dict[str, int]:
    """Table -> how many rows a part must have in it, from its networks and what the sweep measures; 0 is left out."""
    if record.stem == journal.PREDICTIONS:
        return {}
    measure, deepest = sweep.measure, max(sweep.grid.depth)
    counts = {"networks": _networks(record)}
    updates = {kind.name: max(1, len(kind.sites)) for kind in sweep.blocks}
    is_training, layers, back = record.part.is_training, 0, 0
    for job in record.jobs:
        described = sum(point.described for point in job.points)
        depths = record.depths if job.depth is None else (job.depth,)
        # The stem, and every update of the layers behind it.
        of_depths = [1 + updates[job.block] * (depth - 1) for depth in depths]
        back += described * sum(of_depths)
        last = max(depths, default=0)
        if not is_training or last == deepest or job.depends_on_depth:
            layers += described * max(of_depths, default=0)
    if is_training:
        assert sweep.train is not None
        counts["training"] = counts["networks"] * len(sweep.train.evaluated)
    bins = 0 if measure.histogram is None else measure.histogram.bins + 3
    counts |= {
        "layers": layers * measure.layers,
        "histograms": layers * bins,
        "gradients": back * measure.gradients,
        "gradient_histograms": layers * bins * measure.gradients,
    }
    return {table: count for table, count in counts.items() if count}


def _keys(table: pa.Table, networks: pa.Table) -> pa.Table:
    """The key columns of a table's distinct networks, with names as strings rather than codes."""
    keys = [key for key in LEARNER_KEYS if key in table.column_names and key in networks.column_names]
    columns = [table.column(key).combine_chunks() for key in keys]
    plain = [column.dictionary_decode() if pa.types.is_dictionary(column.type) else column for column in columns]
    return pa.table(dict(zip(keys, plain, strict=True))).group_by(keys).aggregate([])


def _without_network(table: pa.Table, networks: pa.Table) -> int:
    """How many networks of a table are not in the networks table."""
    keys = _keys(table, networks)
    known_keys = _keys(networks.select(keys.column_names), networks)
    both = pa.concat_tables([keys, known_keys.select(keys.column_names)]).group_by(keys.column_names).aggregate([])
    return int(both.num_rows - known_keys.num_rows)


def _twice(networks: pa.Table) -> int:
    return int(networks.num_rows - _keys(networks, networks).num_rows)
