"""Tables of a run in formats that other programs open: CSV of any size, and sheets of one Excel file."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset as ds

from winit_jax.analysis.reading import TABLES, RunFolderError, Tables
from winit_jax.analysis.selection import PlotError, known
from winit_jax.system import disk

# What a sheet of Excel holds, less the line of names.
MOST_ROWS = 1_048_575
FOLDER = "export"


def to_csv(run: Tables, tables: Sequence[str] = (), out: str | Path | None = None) -> list[Path]:
    """Each table as a CSV file in a folder, by default `export` in the run's; their paths.

    tables: some of them, by default all that the run has. Numbers have all their digits, null and NaN are empty and
    `nan`, infinities `inf` and `-inf`. A table of any size is written batch by batch.
    Errors: PlotError for tables that are not known or cannot be written; RunFolderError.
    """
    folder = Path(out) if out is not None else run.path / FOLDER
    paths = []
    for table in _chosen(run, tables):
        path = folder / f"{table}.csv"
        try:
            _write(ds.dataset([str(part) for part in run._journal.paths(run.path, table)]), path)
        except OSError as error:
            raise PlotError(f"{path} cannot be written: {error.strerror or error}.") from error
        paths.append(path)
    return paths


def to_xlsx(run: Tables, tables: Sequence[str] = (), out: str | Path | None = None) -> Path:
    """Tables as sheets of one Excel file, by default `export/NAME.xlsx` in the run's folder; its path.

    Excel has no infinities: they are the words inf and -inf there; null and NaN are empty. Errors: as of `to_csv`, and
    PlotError where a table has more rows than a sheet.
    """
    path = Path(out) if out is not None else run.path / FOLDER / f"{run.path.name}.xlsx"
    counts = run.row_counts
    chosen = _chosen(run, tables)
    if large := [f"{table} ({counts[table]:,})" for table in chosen if counts[table] > MOST_ROWS]:
        raise PlotError(f"A sheet of Excel has {MOST_ROWS:,} rows, fewer than {', '.join(large)}: write CSV.")
    try:
        options = {"options": {"strings_to_formulas": False, "strings_to_urls": False}}
        with (
            disk.taking_the_place_of(path) as staged,
            staged.open("wb") as file,
            pd.ExcelWriter(file, engine="xlsxwriter", engine_kwargs=options) as book,
        ):
            for table in chosen:
                run.read(table).to_excel(book, sheet_name=table, index=False, inf_rep="inf", freeze_panes=(1, 0))
    except OSError as error:
        raise PlotError(f"{path} cannot be written: {error.strerror or error}.") from error
    return path


def _chosen(run: Tables, tables: Sequence[str]) -> list[str]:
    """The tables that are asked for, in their order. Errors: PlotError; RunFolderError where the run lacks one."""
    there = list(run.row_counts)
    for table in tables:
        known("table", table, TABLES)
    if absent := [table for table in tables if table not in there]:
        raise RunFolderError(f"{run.path} has no table {', '.join(absent)}. It has: {', '.join(there)}.")
    if not there:
        raise RunFolderError(f"{run.path} has no finished networks yet; go on with `winit run`.")
    return [table for table in there if table in tables or not tables]


def _write(dataset: ds.Dataset, path: Path) -> None:
    """Batch by batch, names as words."""
    words = [
        pa.field(field.name, field.type.value_type if pa.types.is_dictionary(field.type) else field.type)
        for field in dataset.schema
    ]
    schema = pa.schema(words)
    with disk.taking_the_place_of(path) as staged, pa.csv.CSVWriter(staged, schema) as file:
        for batch in dataset.to_batches():
            file.write_table(pa.Table.from_batches([batch]).cast(schema))
