"""The commands about runs: run, plan, status, verify."""

import json
import os
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from winit_jax.cli.saying import RUNS, Folder, Out, Words, agrees, asked, notes, say, say_what_holds, sentences, stop
from winit_jax.cli.watching import show
from winit_jax.engine.running import supervise

if TYPE_CHECKING:
    from winit_jax.engine.running.outcome import Outcome


def run(
    words: Words = None,
    out: Out = None,
    figures: Annotated[bool, typer.Option(help="Draw the standard figures at the end.")] = True,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before a run of hours.")] = False,
    shard: Annotated[
        str | None,
        typer.Option(metavar="I/N", help="The Ith of N shares, from 1/N to N/N: many processes fill one folder."),
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS|local:N|slurm:N", help="Have workers of a dask cluster compute it."),
    ] = None,
) -> None:
    """Run a sweep, or go on with one. Example: winit run phase --out runs/phase"""
    from winit_jax import api
    from winit_jax.analysis.figures.studio import Studio

    watched = supervise.current
    if watched.attempt:  # whatever killed the process before, it is not that
        from winit_jax.engine.computing import compiled

        os.environ[compiled.VARIABLE] = compiled.OFF
    else:
        say_what_holds(words)
    draws_here = figures and shard is None and not watched.attempt
    with Studio() if draws_here else nullcontext() as studio:
        folder, outcome = _carried_out(words, out, yes, shard, cluster)
        for sentence in outcome.failed():
            say(f"failed: {sentence}")
        if figures and outcome.closes:
            with notes():
                api.draw_standard_figures(folder, say, studio)
    typer.echo(folder)
    raise typer.Exit(1 if outcome.failures else 0)


def _carried_out(
    words: list[str] | None, out: Path | None, yes: bool, shard: str | None, cluster: str | None
) -> "tuple[Path, Outcome]":
    from winit_jax import api
    from winit_jax.engine.running.launch import Host
    from winit_jax.engine.running.outcome import Interrupted

    host = Host(say, None if yes else agrees, watched=supervise.current)
    try:
        with sentences():
            return api.carry_out(asked(words), host, out=out, parent=RUNS, shard=shard, cluster=cluster)
    except Interrupted as interruption:
        stop(f"{interruption} Go on with: {interruption.folder.go_on}", 128 + interruption.signal_number)


def plan(
    words: Words = None,
    out: Out = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Count networks, rows, memory and time, and touch no device. Example: winit plan phase"""
    from winit_jax import api

    say_what_holds(words)
    with sentences():
        planned = api.plan_asked(asked(words), out=out, parent=RUNS)
    typer.echo(json.dumps(planned.to_json()) if as_json else planned)


def status(
    directory: Folder,
    watch: Annotated[bool, typer.Option(help="Look again and again until it is over; Ctrl-C ends it.")] = False,
    every: Annotated[float, typer.Option(metavar="SECONDS", min=0.1, help="How often to look.")] = 5.0,
) -> None:
    """Say what is done, missing and failed. Example: winit status runs/phase"""
    from winit_jax import folders

    with sentences():
        if watch:
            show(folders.watch(directory, every))
        else:
            typer.echo(folders.status(directory))


def verify(
    directory: Folder,
    repair: Annotated[
        bool, typer.Option("--repair", help="Move damaged parts to DIR/quarantine, to be made anew.")
    ] = False,
) -> None:
    """Read every file: checksums, rows, tables against each other. Example: winit verify runs/phase"""
    from winit_jax import folders
    from winit_jax.store.folder import RunFolder

    with sentences():
        verdict = folders.verify(directory)
        typer.echo(verdict)
        if repair and not verdict.is_whole:
            mended = folders.repair(directory)
            go_on = (
                f"Damaged parts are in {directory / 'quarantine'}. Make them anew with: {RunFolder(directory).go_on}"
            )
            typer.echo(go_on if mended else "No part is damaged.")
    raise typer.Exit(0 if verdict.is_whole else 1)


def compact(
    directory: Folder,
    rows: Annotated[int | None, typer.Option(metavar="N", help="Rows of a file, about [1,000,000].")] = None,
) -> None:
    """Join many small files into few: the same rows in the same order. Example: winit compact runs/phase"""
    from winit_jax import folders

    with sentences():
        say(f"{folders.compact(directory, rows)}")
    typer.echo(directory)


def merge(
    directories: Annotated[list[Path], typer.Argument(metavar="DIR ...", help="Run folders that grew apart.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The run folder to be made.")],
) -> None:
    """Put run folders together into a new one. Example: winit merge runs/a runs/b --out runs/both"""
    from winit_jax import folders

    with sentences():
        say(f"{folders.merge(*directories, out=out)}")
    typer.echo(out)
