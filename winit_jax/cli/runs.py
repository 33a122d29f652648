"""The commands about runs: run, plan, status, verify."""

import json
import os
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from winit_jax.cli.saying import RUNS, Folder, Out, Words, agrees, asked, notes, say, say_what_holds, sentences, stop
from winit_jax.engine.running import supervise

if TYPE_CHECKING:
    from winit_jax.analysis.figures.studio import Studio


def run(
    words: Words = None,
    out: Out = None,
    figures: Annotated[bool, typer.Option(help="Draw the standard figures at the end.")] = True,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before a run of hours.")] = False,
) -> None:
    """Run a sweep, or go on with one. Example: winit run phase --out runs/phase"""
    from winit_jax.analysis.figures.studio import Studio

    watched = supervise.current
    if watched.attempt:  # whatever killed the process before, it is not that
        os.environ["WINIT_CACHE"] = "off"
    with Studio() if figures and not watched.attempt else nullcontext() as studio:
        _run(words, out, yes, figures, studio)


def _run(words: list[str] | None, out: Path | None, yes: bool, figures: bool, studio: "Studio | None") -> None:
    from winit_jax import api
    from winit_jax.engine.running.launch import Host
    from winit_jax.engine.running.outcome import Interrupted

    watched = supervise.current
    if not watched.attempt:
        say_what_holds(words)
    host = Host(say, None if yes else agrees, watched=watched)
    try:
        with sentences():
            folder, outcome = api.carry_out(asked(words), host, out=out, parent=RUNS)
    except Interrupted as interruption:
        stop(f"{interruption} Go on with: {interruption.folder.go_on}", 128 + interruption.signal_number)
    for sentence in outcome.failed():
        say(f"failed: {sentence}")
    if figures:
        with notes():
            api.draw_standard_figures(folder, say, studio)
    typer.echo(folder)
    raise typer.Exit(1 if outcome.failures else 0)


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


def status(directory: Folder) -> None:
    """Say what is done, missing and failed. Example: winit status runs/phase"""
    from winit_jax import api

    with sentences():
        typer.echo(api.status(directory))


def verify(
    directory: Folder,
    repair: Annotated[
        bool, typer.Option("--repair", help="Move damaged parts to DIR/quarantine, to be made anew.")
    ] = False,
) -> None:
    """Read every file: checksums, rows, tables against each other. Example: winit verify runs/phase"""
    from winit_jax import api
    from winit_jax.store.folder import RunFolder

    with sentences():
        verdict = api.verify(directory)
        typer.echo(verdict)
        if repair and not verdict.is_whole:
            mended = api.repair(directory)
            go_on = (
                f"Damaged parts are in {directory / 'quarantine'}. Make them anew with: {RunFolder(directory).go_on}"
            )
            typer.echo(go_on if mended else "No part is damaged.")
    raise typer.Exit(0 if verdict.is_whole else 1)
