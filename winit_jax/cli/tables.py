"""The commands that read finished runs: ls, compare, export."""

from pathlib import Path
from typing import Annotated

import typer

from winit_jax.cli.saying import RUNS, Folder, notes, sentences, stop


def ls(
    directories: Annotated[
        list[Path] | None, typer.Argument(metavar="[DIR...]", help="Run folders, or folders of them [runs].")
    ] = None,
) -> None:
    """List runs: name, state, networks, title. Example: winit ls runs"""
    from winit_jax.store.listing import line_of, runs_in

    with sentences():
        lines = [line_of(path) for path in runs_in(directories or [RUNS])]
    rows = [(str(line.path), line.state, line.networks, line.title) for line in lines]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for path, state, networks, title in rows:
        typer.echo(f"{path:<{widths[0]}}  {state:<{widths[1]}}  {networks:>{widths[2]}}  {title}".rstrip())


def compare(
    one: Annotated[Path, typer.Argument(metavar="A", help="A run folder.")],
    other: Annotated[Path, typer.Argument(metavar="B", help="Another one.")],
) -> None:
    """Say what differs between two runs. Example: winit compare runs/phase runs/digits"""
    from winit_jax.analysis import RunFolderError, load
    from winit_jax.analysis.comparison import compare

    with sentences(RunFolderError), notes():
        typer.echo(compare(load(one), load(other)))


def export(
    directory: Folder,
    csv: Annotated[bool, typer.Option("--csv", help="A CSV file a table.")] = False,
    xlsx: Annotated[bool, typer.Option("--xlsx", help="One Excel file, a sheet a table.")] = False,
    table: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Only this table; may be repeated.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="PATH", help="A folder of CSV files, or an Excel file [DIR/export].")
    ] = None,
) -> None:
    """Write tables for programs that do not read parquet. Example: winit export runs/phase --csv"""
    from winit_jax.analysis import PlotError, RunFolderError, load
    from winit_jax.analysis.exporting import to_csv, to_xlsx

    if csv == xlsx:
        stop("Give one of --csv and --xlsx.")
    with sentences(PlotError, RunFolderError), notes():
        run = load(directory)
        for path in to_csv(run, table or (), out) if csv else [to_xlsx(run, table or (), out)]:
            typer.echo(path)
