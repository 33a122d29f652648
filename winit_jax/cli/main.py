"""The command line. Data goes to stdout, progress and messages to stderr.

Everything heavy is imported inside the command that needs it: `--help` answers without jax or pandas.
Exit codes: 0 done, 1 some networks failed, 2 the request was wrong, 128 + n after signal n.
"""

import json
import math
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from winit_jax.analysis.figures import catalog as catalog_of_figures
from winit_jax.engine.running import supervise
from winit_jax.system import signals
from winit_jax.system import streams as system

if TYPE_CHECKING:
    from winit_jax.spec.sweep import Sweep

app = typer.Typer(
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="What does a weight initialisation do to a network? Grid sweeps, tables, heatmaps.",
)

Request = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[SWEEP] [AXIS=VALUES ...]",
        help="A sweep file, a name from `winit catalog`, or neither; then words such as gain=log:0.1:10:64.",
    ),
]
OutOption = Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Run folder [runs/NAME].")]


def _say_version(wanted: bool) -> None:
    if wanted:
        from winit_jax.system import provenance

        typer.echo(f"winit-jax {provenance.versions().get('winit-jax', 'of a checkout that is not installed')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """The `winit` entry point."""
    system.prepare_streams()
    kept = ""
    if sys.argv[1:2] == ["run"] and not {"--help", "-h"} & set(sys.argv):
        supervise.current = supervise.begin()
        kept = " What was finished is kept."
    if not supervise.current.is_supervised:
        signals.end_command()
    code = system.guarded(app, kept)
    supervise.current.ends(code)
    if supervise.is_held_open():
        supervise.leave(code)
    sys.exit(code)


def _stop(text: str, code: int = 2) -> NoReturn:
    typer.echo(text, err=True)
    raise typer.Exit(code)


def _load(request: list[str] | None, announce: Callable[[str], None] | None = None) -> "Sweep":
    """The sweep that was asked for. announce: as of `execute.vocabulary`; without it no code of the sweep's is run."""
    from winit_jax.engine.computing.executor import vocabulary
    from winit_jax.spec.problems import SpecError
    from winit_jax.spec.reading import load_sweep

    words = list(request or [])
    # The path of a file may hold a `=`; what a word of the grid says never ends so.
    source = words.pop(0) if words and ("=" not in words[0] or words[0].endswith(".toml")) else None
    try:
        return load_sweep(source, words, vocabulary(announce))
    except SpecError as error:
        _stop(str(error))


def _load_to_run(request: list[str] | None) -> "Sweep":
    """The same, with devices that start; what is named by import path is imported once all else is right."""
    from winit_jax.engine.computing.executor import DeviceError, devices, import_paths

    sweep = _load(request)
    try:
        devices()
    except DeviceError as error:
        _stop(str(error), 1)
    return _load(request, _announce) if import_paths(sweep) else sweep


def _say_what_holds(request: list[str] | None) -> None:
    from winit_jax.spec.words import repeated

    for sentence in repeated(request or []) if not supervise.current.attempt else ():
        typer.echo(f"note: {sentence}", err=True)


def _announce(path: str) -> None:
    if not supervise.current.attempt:
        typer.echo(f"{path} is imported and run, as the request names it", err=True)


@app.command()
def run(
    request: Request = None,
    out: OutOption = None,
    figures: Annotated[bool, typer.Option(help="Draw the standard figures at the end.")] = True,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before a run of hours.")] = False,
) -> None:
    """Run a sweep, or go on with one. Example: winit run phase --out runs/phase"""
    from winit_jax.engine.running.launch import Refused, launch

    _say_what_holds(request)
    sweep = _load_to_run(request)
    folder = out or Path("runs") / sweep.name
    try:
        code = launch(sweep, folder, _announce, yes=yes)
    except Refused as refusal:
        _stop(str(refusal), refusal.code)
    if figures:
        _draw(folder)
    typer.echo(folder)
    raise typer.Exit(code)


@contextmanager
def _notes() -> Iterator[None]:
    """Warnings as lines on stderr, without the place in the code."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: typer.echo(f"note: {message}", err=True)
        yield


def _draw(folder: Path) -> None:
    from winit_jax.analysis import PlotError, RunFolderError, standard_figures

    try:
        with _notes():
            for path in standard_figures(folder, report=lambda text: typer.echo(text, err=True)):
                typer.echo(f"drew {path}", err=True)
    except (PlotError, RunFolderError, OSError) as error:  # the tables are there; the run itself succeeded
        typer.echo(f"no figures: {error}", err=True)


@app.command()
def plan(
    request: Request = None,
    out: OutOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Count networks, rows, memory and time, and touch no device. Example: winit plan phase"""
    from winit_jax.engine.computing.executor import planner, vocabulary
    from winit_jax.engine.planning.report import plan_lines, summary
    from winit_jax.engine.running.launch import Refused, open_folder
    from winit_jax.system import provenance

    _say_what_holds(request)
    sweep = _load(request)
    try:
        folder = open_folder(out or Path("runs") / sweep.name, sweep)
    except Refused as refusal:
        _stop(str(refusal), refusal.code)
    found = summary(sweep, planner(provenance.cores()), vocabulary())
    if as_json:
        typer.echo(json.dumps(found))
        return
    where = f"{folder}{' (exists)' if folder.exists() else ''}"
    typer.echo("\n".join(plan_lines(sweep, found, provenance.cores(), where)))


@app.command()
def status(directory: Annotated[Path, typer.Argument(metavar="DIR", help="A run folder.")]) -> None:
    """Say what is done, missing and failed. Example: winit status runs/phase"""
    from winit_jax.engine.computing.executor import vocabulary
    from winit_jax.store.folder import StoreError
    from winit_jax.store.status import report

    try:
        typer.echo("\n".join(report(directory, vocabulary())))
    except StoreError as error:
        _stop(str(error))


@app.command()
def verify(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A run folder.")],
    repair: Annotated[
        bool, typer.Option("--repair", help="Move damaged parts to DIR/quarantine, to be made anew.")
    ] = False,
) -> None:
    """Read every file: checksums, rows, tables against each other. Example: winit verify runs/phase"""
    from winit_jax.engine.computing.executor import vocabulary
    from winit_jax.store import verify as checks
    from winit_jax.store.folder import RunFolder, StoreError

    folder = RunFolder(directory)
    try:
        verdict = checks.verify(folder, vocabulary())
        for sentence in (*map(str, verdict.damage), *verdict.wrong):
            typer.echo(sentence)
        typer.echo(checks.summary(verdict))
        if repair and not verdict.is_whole:
            with folder.lock():
                mended = checks.repair(folder, vocabulary())
            typer.echo(
                f"Damaged parts are in {directory / 'quarantine'}. Make them anew with: {folder.go_on}"
                if mended
                else "No part is damaged."
            )
    except StoreError as error:
        _stop(str(error))
    except OSError as error:
        _stop(f"{directory}: {error.strerror or error}.", 1)
    raise typer.Exit(0 if verdict.is_whole else 1)


@app.command(epilog=f"\b\nKinds:\n{catalog_of_figures.listing()}")
def plot(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A run folder.")],
    kind: Annotated[
        str | None,
        typer.Argument(
            metavar="[KIND]",
            help="One of the kinds below [what shows --value, or the standard figures].",
        ),
    ] = None,
    value: Annotated[str | None, typer.Option(help="The column to draw.")] = None,
    x: Annotated[str | None, typer.Option(help="Key along x.")] = None,
    y: Annotated[str | None, typer.Option(help="Key along y.")] = None,
    row: Annotated[str | None, typer.Option(help="Key whose values are rows of panels.")] = None,
    col: Annotated[str | None, typer.Option(help="Key whose values are columns of panels.")] = None,
    seeds: Annotated[
        str | None, typer.Option(help="How seeds are put together: median, mean, min, max or std [median].")
    ] = None,
    where: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUES", help="Keep only these; may be repeated.")
    ] = None,
    fmt: Annotated[str | None, typer.Option("--format", help="png, svg or pdf [png].")] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="A .png, .svg or .pdf file, or a folder [DIR/figures]."),
    ] = None,
) -> None:
    """Draw figures of a run. Example: winit plot runs/phase heatmap --value dead --col width --format pdf"""
    from winit_jax.analysis import PlotError, RunFolderError, plot

    conditions: dict[str, list[str]] = {}
    for word in where or []:
        key, separator, values = word.partition("=")
        if not separator:
            _stop(f"--where {word}: write KEY=VALUES, for example activation=tanh,relu.")
        conditions.setdefault(key, []).extend(values.split(","))
    try:
        with _notes():
            paths = plot(
                directory,
                kind,
                value=value,
                x=x,
                y=y,
                row=row,
                col=col,
                seeds=seeds,
                where=conditions,
                fmt=fmt,
                out=out,
                report=lambda text: typer.echo(text, err=True),
            )
    except (PlotError, RunFolderError) as error:
        _stop(str(error))
    for path in paths:
        typer.echo(path)


@app.command()
def theory(
    activation: Annotated[str, typer.Argument(metavar="ACTIVATION", help="A name, or package.module:function.")],
    axes: Annotated[
        list[str] | None,
        typer.Argument(metavar="[AXIS=VALUES ...]", help="Of --map: gain and bias_std, as in a sweep."),
    ] = None,
    bias_std: Annotated[float, typer.Option(min=0.0, help="Standard deviation of the biases.")] = 0.0,
    gain: Annotated[float | None, typer.Option(min=0.0, help="One gain instead of several.")] = None,
    start: Annotated[
        float | None, typer.Option("--start", metavar="Q", help="Mean square pre-activation of the first layer [1].")
    ] = None,
    inputs: Annotated[
        str | None,
        typer.Option("--inputs", metavar="SOURCE", help="What starts the signal instead: normal, digits, a path ..."),
    ] = None,
    as_map: Annotated[bool, typer.Option("--map", help="Draw the phase diagram over gain and bias std.")] = False,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Where --map goes: png, svg or pdf; a csv beside it.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say which gain an activation wants and how deep it then reaches. Example: winit theory gelu --inputs digits"""
    from winit_jax.data.inputs import InputError
    from winit_jax.engine.computing import starts
    from winit_jax.engine.computing.advice import report
    from winit_jax.engine.computing.theories import theory_of

    numbers = [bias_std, *(value for value in (gain, start) if value is not None)]
    if not all(map(math.isfinite, numbers)) or gain == 0 or (start is not None and start <= 0):
        _stop("--gain, --bias-std and --start must be finite, and the gain greater than 0, as the start.")
    words = axes or []
    if (out is not None or words) and not as_map:
        _stop(f"{'--out' if out is not None else words[0]} says {'where' if out else 'what'} --map draws; add --map.")
    if start is not None and (inputs is not None or as_map):
        _stop("--start is one q for all gains, and --inputs and --map start at each gain's own: give one of them.")
    sweep = _load_to_run([f"activation={activation}", "gain=1"])  # a wrong name gets its sentence here
    name = sweep.grid.activation[0]
    try:
        data = starts.load(_load(starts.words(name, inputs))) if inputs else None
        square = starts.mean_square(data) if inputs else None
        advice = theory_of(name, bias_std, gain, 1.0 if start is None else start, square)
    except InputError as error:
        _stop(str(error))
    typer.echo(json.dumps(advice.to_json()) if as_json else "\n".join(report(advice)))
    if as_map:
        from winit_jax import diagrams
        from winit_jax.analysis.selection import PlotError

        path = out or Path(f"theory-{re.sub(r'[^A-Za-z0-9.]+', '-', name)}.png")
        try:
            for file in diagrams.draw_phase_diagram(_load(diagrams.words(name, inputs, words)), path, data):
                typer.echo(file)
        except PlotError as error:
            _stop(str(error))


@app.command()
def catalog(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Print this sweep's file.")] = None,
) -> None:
    """List the ready sweeps, or print one to start from. Example: winit catalog phase > my.toml"""
    from winit_jax.spec.catalog import sweep_text, titles
    from winit_jax.spec.problems import SpecError

    if name is not None:
        try:
            typer.echo(sweep_text(name), nl=False)
        except SpecError as error:
            _stop(str(error))
        return
    for entry, title in titles().items():
        typer.echo(f"{entry:<18} {title}")


@app.command()
def schema() -> None:
    """Print the JSON Schema of sweep files, for editors. Example: winit schema > sweep.schema.json"""
    from winit_jax.engine.computing.executor import vocabulary
    from winit_jax.spec.json_schema import json_schema

    typer.echo(json.dumps(json_schema(vocabulary()), indent=2))


@app.command()
def doctor() -> None:
    """Check devices, versions and arithmetic on this machine. Example: winit doctor"""
    from winit_jax.system import provenance

    for name, version in provenance.versions().items():
        typer.echo(f"{name:<12} {version}")
    problem = provenance.known_bad()
    typer.echo(f"{'builds':<12} {problem or 'jaxlib is not among the builds known to be bad'}")
    from winit_jax.engine.computing.executor import DeviceError, self_check

    try:
        devices, checks, wrong = self_check()
    except DeviceError as error:
        typer.echo(f"{'devices':<12} {error}")
        raise typer.Exit(1) from None
    typer.echo(f"{'devices':<12} {', '.join(devices)}")
    for check in checks:
        typer.echo(f"{'arithmetic':<12} {check}")
    if wrong:
        typer.echo(f"{'arithmetic':<12} {wrong}")
    if problem or wrong:
        raise typer.Exit(1)
