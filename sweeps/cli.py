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
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from sweeps import signals, supervise, system

if TYPE_CHECKING:
    from sweeps.execute import Executor
    from sweeps.spec import Sweep
    from sweeps.store import RunFolder

app = typer.Typer(
    add_completion=False,
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

# Guess at an accelerator over one CPU machine: only the size of parts and the printed estimate depend on it.
ACCELERATOR_SPEEDUP = 20.0


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
    if supervise.current.hung:
        supervise.leave(code)
    sys.exit(code)


def _stop(text: str, code: int = 2) -> NoReturn:
    typer.echo(text, err=True)
    raise typer.Exit(code)


def _load(request: list[str] | None, announce: Callable[[str], None] | None = None) -> "Sweep":
    """The sweep that was asked for. announce: as of `execute.vocabulary`; without it no code of the sweep's is run."""
    from sweeps.execute import vocabulary
    from sweeps.problems import SpecError
    from sweeps.reading import load_sweep

    words = list(request or [])
    source = words.pop(0) if words and "=" not in words[0] else None
    try:
        return load_sweep(source, words, vocabulary(announce))
    except SpecError as error:
        _stop(str(error))


def _load_to_run(request: list[str] | None) -> "Sweep":
    """The same, with devices that start; what is named by import path is imported once all else is right."""
    from sweeps.execute import DeviceError, devices, import_paths

    sweep = _load(request)
    try:
        devices()
    except DeviceError as error:
        _stop(str(error), 1)
    return _load(request, _announce) if import_paths(sweep) else sweep


def _announce(path: str) -> None:
    if not supervise.current.attempt:
        typer.echo(f"{path} is imported and run, as the request names it", err=True)


@app.command()
def run(
    request: Request = None,
    out: OutOption = None,
    figures: Annotated[bool, typer.Option(help="Draw the standard figures at the end.")] = True,
) -> None:
    """Run a sweep, or go on with one. Example: winit run phase --out runs/phase"""
    from sweeps import held, provenance

    sweep = _load_to_run(request)
    folder = _open_folder(out or Path("runs") / sweep.name, sweep)
    if problem := provenance.known_bad():
        _stop(problem)

    executor = _executor(sweep)
    from sweeps.execute import activation_notes, vocabulary
    from sweeps.joining import join
    from sweeps.store import StoreError

    for note in activation_notes(sweep):
        typer.echo(f"note: {note}", err=True)
    try:
        folder.create()
        with folder.lock():
            joined = join(folder, sweep, vocabulary())
            if joined.sweep is not sweep:
                executor = _executor(joined.sweep)
            made_of = held.made_of(executor)
            if change := held.changed(folder, made_of):
                _stop(change)
            _recover(folder)
            folder.write_sweep(joined.sweep.to_toml())
            code = _compute(joined.sweep, folder, executor, made_of, joined.asked)
    except StoreError as error:
        _stop(str(error))
    except OSError as error:
        text, code = system.sentence(error, at=str(folder.path))
        _stop(f"{text} What was finished is kept.", code)
    if figures:
        _draw(folder)
    typer.echo(folder.path)
    raise typer.Exit(code)


def _recover(folder: "RunFolder") -> None:
    """Bring the folder in order after a kill or damage, and say what was found."""
    from sweeps.damage import foreign, shown

    for sentence in folder.recover():
        typer.echo(f"damaged: {sentence}; it is made anew, and what is left of it is in quarantine/", err=True)
    if strangers := foreign(folder.path, folder.journal()):
        typer.echo(f"note: {shown(strangers)} in {folder.path}: not written by winit, and left alone", err=True)


def _open_folder(path: Path, sweep: "Sweep") -> "RunFolder":
    """The run folder; a sweep that would change what is in it is refused."""
    from sweeps.execute import vocabulary
    from sweeps.joining import join
    from sweeps.store import RunFolder, StoreError

    folder = RunFolder(path)
    try:
        str(path).encode()
    except UnicodeEncodeError:
        _stop(f"--out: {str(path)!a} is not text in UTF-8. Choose another.")
    if path.exists() and not path.is_dir():
        _stop(f"{path} is a file, not a folder. Choose another --out.")
    try:
        join(folder, sweep, vocabulary())
    except StoreError as error:
        _stop(str(error))
    return folder


def _executor(sweep: "Sweep") -> "Executor":
    from sweeps.datasets import load_dataset
    from sweeps.execute import Executor
    from sweeps.inputs import InputData, InputError, load_inputs

    try:
        dataset = load_dataset(sweep.train) if sweep.train else None
        inputs: dict[int | str, InputData] = {width: load_inputs(sweep.inputs, width) for width in sweep.grid.width}
        if sweep.grid.infinite and sweep.inputs.source != "normal":
            inputs["inf"] = load_inputs(sweep.inputs, 1)
    except InputError as error:
        _stop(str(error))
    executor = Executor(sweep, inputs, dataset, say=lambda sentence: typer.echo(sentence, err=True))
    if problem := executor.too_large():
        _stop(problem)
    return executor


def _compute(
    sweep: "Sweep",
    folder: "RunFolder",
    executor: "Executor",
    made_of: dict[str, Any],
    asked: "Sweep | None" = None,
) -> int:
    """Compute what is missing of the networks that are asked for, of all if None; the exit code.

    made_of: data and functions, as `held.made_of`.
    """
    from sweeps import held, provenance
    from sweeps import run as runner
    from sweeps.asked import grid_digest, settings_digest
    from sweeps.columns import never_filled
    from sweeps.execute import environment, planner
    from sweeps.parts import Part
    from sweeps.progress import progress
    from sweeps.status import name_job
    from sweeps.store import StoreError

    made_by = {
        **provenance.environment(environment()),
        "matmul_precision": sweep.compute.matmul_precision,
        **made_of,
    }
    if not supervise.current.attempt and (note := held.differs(folder, made_by)):
        typer.echo(f"note: {note}", err=True)

    def describe() -> dict:
        return {**made_by, "self_check": executor.checks}

    folder.plans_for(grid_digest(sweep), settings_digest(sweep))
    folder.made_with(made_by)
    folder.widen(never_filled(sweep))
    folder.write_predictions(_predictions(executor))
    speedup = 1.0 if executor.devices[0].platform == "cpu" else ACCELERATOR_SPEEDUP
    plan = planner(provenance.cores(), speedup, executor.together, imports=True)
    try:
        with progress() as on_progress:
            outcome = runner.run(
                sweep,
                folder,
                plan,
                executor,
                runner.lanes(len(executor.devices)),
                on_progress,
                describe,
                asked,
                supervise.current,
            )
    except runner.Interrupted as interruption:
        _stop(
            f"Interrupted; what was finished is kept. Go on with: {folder.go_on}",
            128 + interruption.signal_number,
        )
    except StoreError as error:
        _stop(str(error), 1)
    done = outcome.done - outcome.before
    if sweep.n_predictions:
        typer.echo(f"{sweep.n_predictions:,} predictions at infinite width", err=True)
    if outcome.total:
        typer.echo(
            f"{done:,} networks in {outcome.seconds:.1f} s ({outcome.done:,} of {outcome.total:,} in {folder.path})",
            err=True,
        )
    for failure in outcome.failures:
        (job,) = Part.from_json([failure["networks"]]).jobs
        typer.echo(f"failed: {name_job(job)}: {failure['reason']}", err=True)
    return 1 if outcome.failures else 0


def _predictions(executor: "Executor") -> dict:
    """The tables of theory alone; without them where a function of the user's own fails in it."""
    from sweeps.execute import import_paths

    try:
        return executor.predictions()
    except Exception as error:
        if not import_paths(executor.sweep):
            raise
        typer.echo(f"note: no predictions of mean field ({system.described(error)})", err=True)
        return {}


@contextmanager
def _notes() -> Iterator[None]:
    """Warnings as lines on stderr, without the place in the code."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: typer.echo(f"note: {message}", err=True)
        yield


def _draw(folder: "RunFolder") -> None:
    from analysis.figures import PlotError, standard_figures
    from analysis.load import RunFolderError

    try:
        with _notes():
            for path in standard_figures(folder.path, report=lambda text: typer.echo(text, err=True)):
                typer.echo(f"drew {path}", err=True)
    except (PlotError, RunFolderError, OSError) as error:  # the tables are there; the run itself succeeded
        typer.echo(f"no figures: {error}", err=True)


@app.command()
def plan(
    request: Request = None,
    out: OutOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Count networks, passes, compilations, bytes and time, and touch no device. Example: winit plan phase"""
    from sweeps import provenance
    from sweeps.datasets import check_dataset
    from sweeps.execute import planner
    from sweeps.inputs import check_inputs

    sweep = _load(request)
    if problems := [*check_inputs(sweep.inputs), *(check_dataset(sweep.train) if sweep.train else [])]:
        _stop("\n".join(f"{problem.place}: {problem.message}" for problem in problems))
    folder = _open_folder(out or Path("runs") / sweep.name, sweep)
    summary = planner(provenance.cores()).summary(sweep)
    if as_json:
        typer.echo(json.dumps(summary))
        return
    seconds, size = summary["seconds"], summary["bytes"]
    for name, text in (
        ("networks", f"{summary['networks']:,}"),
        *([("theory", f"{sweep.n_predictions:,} points at infinite width")] if sweep.n_predictions else []),
        *(
            [("training", f"{sweep.train.steps:,} steps of {sweep.train.batch_size:,} samples, each network by itself")]
            if sweep.train
            else [
                ("passes", f"{summary['passes']:,} through {max(sweep.grid.depth):,} layers, each serving every depth")
            ]
        ),
        ("draws", f"{summary['draws']:,} of the weights, shared by the networks that differ only in scale"),
        ("compilations", f"{summary['compilations']:,}"),
        ("tables", f"{summary['rows']:,} rows, about {size / 2**20:,.1f} MiB"),
        ("time", f"about {seconds:,.1f} s on {provenance.cores()} cores of this machine, after compiling"),
        ("folder", f"{folder.path}{' (exists)' if folder.exists() else ''}"),
    ):
        typer.echo(f"{name:<13} {text}")


@app.command()
def status(directory: Annotated[Path, typer.Argument(metavar="DIR", help="A run folder.")]) -> None:
    """Say what is done, missing and failed. Example: winit status runs/phase"""
    from sweeps.execute import vocabulary
    from sweeps.status import report
    from sweeps.store import StoreError

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
    from sweeps import verify as checks
    from sweeps.execute import vocabulary
    from sweeps.store import RunFolder, StoreError

    folder = RunFolder(directory)
    try:
        verdict = checks.verify(folder, vocabulary())
        for sentence in (*map(str, verdict.damage), *verdict.wrong):
            typer.echo(sentence)
        typer.echo(checks.summary(verdict))
        if repair and verdict.damage:
            with folder.lock():
                stems = checks.repair(folder, verdict.damage)
            typer.echo(f"{len(stems):,} parts are in {directory / 'quarantine'}. Make them anew with: {folder.go_on}")
    except StoreError as error:
        _stop(str(error))
    except OSError as error:
        _stop(f"{directory}: {error.strerror or error}.", 1)
    raise typer.Exit(0 if verdict.is_whole else 1)


@app.command()
def plot(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A run folder.")],
    kind: Annotated[
        str | None,
        typer.Argument(
            metavar="[KIND]",
            help="heatmap, histograms, profiles, regimes, deviations or z-scores (from mean field), gradients, "
            "gradient-histograms, isometry, training (curves), trainability or ranking [the standard figures].",
        ),
    ] = None,
    value: Annotated[str | None, typer.Option(help="The column to draw.")] = None,
    x: Annotated[str | None, typer.Option(help="Key along x.")] = None,
    y: Annotated[str | None, typer.Option(help="Key along y.")] = None,
    row: Annotated[str | None, typer.Option(help="Key whose values are rows of panels.")] = None,
    col: Annotated[str | None, typer.Option(help="Key whose values are columns of panels.")] = None,
    seeds: Annotated[str, typer.Option(help="How seeds are put together: median, mean, min, max or std.")] = "median",
    where: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUES", help="Keep only these; may be repeated.")
    ] = None,
    fmt: Annotated[str, typer.Option("--format", help="png, svg or pdf.")] = "png",
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Where to write [DIR/figures].")] = None,
) -> None:
    """Draw figures of a run. Example: winit plot runs/phase heatmap --value dead --col width --format pdf"""
    from analysis.figures import PlotError, plot, standard_figures
    from analysis.load import RunFolderError

    conditions = {}
    for word in where or []:
        key, separator, values = word.partition("=")
        if not separator:
            _stop(f"--where {word}: write KEY=VALUES, for example activation=tanh,relu.")
        conditions[key] = values.split(",")
    try:
        with _notes():
            if kind is None:
                paths = standard_figures(directory, formats=(fmt,), report=lambda text: typer.echo(text, err=True))
            else:
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
                )
    except (PlotError, RunFolderError) as error:
        _stop(str(error))
    for path in paths:
        typer.echo(path)


@app.command()
def theory(
    activation: Annotated[str, typer.Argument(metavar="ACTIVATION", help="A name, or package.module:function.")],
    bias_std: Annotated[float, typer.Option(min=0.0, help="Standard deviation of the biases.")] = 0.0,
    gain: Annotated[float | None, typer.Option(min=0.0, help="One gain instead of several.")] = None,
    as_map: Annotated[bool, typer.Option("--map", help="Draw the phase diagram over gain and bias std.")] = False,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Where --map goes: png, svg or pdf.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say which gain an activation wants and how deep it then reaches. Example: winit theory tanh --bias-std 0.2"""
    from sweeps.advice import report
    from sweeps.execute import activation_notes, theory_of

    if not math.isfinite(bias_std) or (gain is not None and not (math.isfinite(gain) and gain > 0)):
        _stop("--gain and --bias-std must be finite, and the gain greater than 0.")
    if out is not None and not as_map:
        _stop("--out says where --map draws; add --map.")
    sweep = _load_to_run([f"activation={activation}", "gain=1"])  # a wrong name gets its sentence here
    for note in activation_notes(sweep):
        typer.echo(f"note: {note}", err=True)
    name = sweep.grid.activation[0]
    critical, reason, rows = theory_of(name, bias_std, gain)
    if as_json:
        found = {"activation": name, "bias_std": bias_std, "critical_gain": critical if critical == critical else None}
        typer.echo(json.dumps(found | {"reason": reason, "gains": [row.to_json() for row in rows]}))
    else:
        typer.echo("\n".join(report(name, bias_std, critical, reason, rows)))
    if as_map:
        from analysis.selection import PlotError
        from sweeps import diagrams

        path = out or Path(f"theory-{re.sub(r'[^A-Za-z0-9.]+', '-', name)}.png")
        try:
            typer.echo(diagrams.draw_phase_diagram(_load([f"activation={name}", *diagrams.AXES]), path))
        except PlotError as error:
            _stop(str(error))


@app.command()
def catalog(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Print this sweep's file.")] = None,
) -> None:
    """List the ready sweeps, or print one to start from. Example: winit catalog phase > my.toml"""
    from sweeps.catalogue import sweep_text, titles
    from sweeps.problems import SpecError

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
    from sweeps.editors import json_schema
    from sweeps.execute import vocabulary

    typer.echo(json.dumps(json_schema(vocabulary()), indent=2))


@app.command()
def doctor() -> None:
    """Check devices, versions and arithmetic on this machine. Example: winit doctor"""
    from sweeps import provenance

    for name, version in provenance.versions().items():
        typer.echo(f"{name:<12} {version}")
    problem = provenance.known_bad()
    typer.echo(f"{'builds':<12} {problem or 'jaxlib is not among the builds known to be bad'}")
    from sweeps.execute import DeviceError, self_check

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
