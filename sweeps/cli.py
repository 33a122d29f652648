"""The command line. Data goes to stdout, progress and messages to stderr.

Everything heavy is imported inside the command that needs it: `--help` answers without jax or pandas.
Exit codes: 0 done, 1 some networks failed, 2 the request was wrong, 128 + n after signal n.
"""

import json
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

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
    app()


def _stop(text: str, code: int = 2) -> NoReturn:
    typer.echo(text, err=True)
    raise typer.Exit(code)


def _load(request: list[str] | None) -> "Sweep":
    from sweeps.execute import vocabulary
    from sweeps.problems import SpecError
    from sweeps.reading import load_sweep

    words = list(request or [])
    source = words.pop(0) if words and "=" not in words[0] else None
    try:
        return load_sweep(source, words, vocabulary())
    except SpecError as error:
        _stop(str(error))


@app.command()
def run(
    request: Request = None,
    out: OutOption = None,
    figures: Annotated[bool, typer.Option(help="Draw the standard figures at the end.")] = True,
) -> None:
    """Run a sweep, or go on with one. Example: winit run phase --out runs/phase"""
    from sweeps import provenance

    sweep = _load(request)
    folder = _open_folder(out or Path("runs") / sweep.name, sweep)
    if problem := provenance.known_bad():
        _stop(problem)

    executor = _executor(sweep)
    from sweeps.execute import activation_notes
    from sweeps.store import StoreError

    for note in activation_notes(sweep):
        typer.echo(f"note: {note}", err=True)
    try:
        folder.create()
        with folder.lock():
            _refuse_changed_inputs(folder, executor)
            folder.write_sweep(sweep.to_toml())
            code = _compute(sweep, folder, executor)
    except StoreError as error:
        _stop(str(error))
    if figures:
        _draw(folder)
    typer.echo(folder.path)
    raise typer.Exit(code)


def _open_folder(path: Path, sweep: "Sweep") -> "RunFolder":
    """The run folder; a sweep that would change what is in it is refused."""
    from sweeps.execute import vocabulary
    from sweeps.problems import SpecError
    from sweeps.reading import load_sweep
    from sweeps.spec import difference
    from sweeps.store import RunFolder

    folder = RunFolder(path)
    if path.exists() and not path.is_dir():
        _stop(f"{path} is a file, not a folder. Choose another --out.")
    if folder.exists():
        try:
            stored = load_sweep(folder.sweep_file, [], vocabulary())
        except SpecError as error:
            _stop(f"{path} holds a sweep.toml that cannot be read.\n{error}")
        if problems := difference(stored, sweep):
            listed = "\n".join(f"  {problem}" for problem in problems)
            _stop(
                f"{path} holds another sweep, and only points may be added to it:\n{listed}\n"
                "Nothing was changed. Choose another --out, or go on with the sweep.toml in the folder."
            )
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
    executor = Executor(sweep, inputs, dataset)
    if problem := executor.too_large():
        _stop(problem)
    return executor


def _refuse_changed_inputs(folder: "RunFolder", executor: "Executor") -> None:
    """The same path may hold other data than when the folder was begun."""
    info = folder.info()
    pairs = [(before, executor.inputs.get(_width(width))) for width, before in info.get("inputs", {}).items()]
    for before, now in [*pairs, (info.get("train", {}), executor.dataset)]:
        if now is not None and before and before.get("sha256") != now.sha256:
            _stop(
                f"{now.source} has changed since {folder.path} was begun (SHA-256 {before.get('sha256')} then, "
                f"{now.sha256} now). Put the old data back, or choose another --out."
            )


def _width(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


def _compute(sweep: "Sweep", folder: "RunFolder", executor: "Executor") -> int:
    """Compute what is missing; the exit code."""
    from sweeps import provenance
    from sweeps import run as runner
    from sweeps.execute import SelfCheckError, planner
    from sweeps.progress import progress
    from sweeps.store import StoreError

    def describe() -> dict:
        return {
            "versions": provenance.versions(),
            "commit": provenance.commit(),
            "devices": [str(device) for device in executor.devices],
            "platform": executor.devices[0].platform,
            "matmul_precision": sweep.compute.matmul_precision,
            "inputs": {
                str(width): {"source": data.source, "sha256": data.sha256, "shape": list(data.x.shape)}
                for width, data in executor.inputs.items()
            },
            **({"train": executor.dataset.describe()} if executor.dataset else {}),
            "self_check": executor.checks,
        }

    folder.write_predictions(executor.predictions())
    speedup = 1.0 if executor.devices[0].platform == "cpu" else ACCELERATOR_SPEEDUP
    plan = planner(provenance.cores(), speedup, executor.together)
    try:
        with progress() as on_progress:
            outcome = runner.run(
                sweep, folder, plan, executor, runner.lanes(len(executor.devices)), on_progress, describe
            )
    except runner.Interrupted as interruption:
        _stop(
            f"{interruption} Go on with: winit run {folder.sweep_file} --out {folder.path}",
            128 + interruption.signal_number,
        )
    except (SelfCheckError, StoreError) as error:
        _stop(str(error), 1)
    except OSError as error:
        _stop(f"{folder.path}: {error.strerror or error}. What was finished is kept.", 1)
    done = outcome.done - outcome.before
    if sweep.n_predictions:
        typer.echo(f"{sweep.n_predictions:,} predictions at infinite width", err=True)
    if outcome.total:
        typer.echo(
            f"{done:,} networks in {outcome.seconds:.1f} s ({outcome.done:,} of {outcome.total:,} in {folder.path})",
            err=True,
        )
    for note in outcome.notes:
        typer.echo(note, err=True)
    for failure in outcome.failures:
        typer.echo(f"failed: {_name_job(failure['networks'])}: {failure['reason']}", err=True)
    return 1 if outcome.failures else 0


def _name_job(job: dict) -> str:
    inits = ", ".join(
        point["init"] + ("" if point["scale"] is None else f" {point['scale']:g}") for point in job["points"][:4]
    )
    more = len(job["points"]) - 4
    depth = f"depth {job['depth']}" if job["depth"] else "all depths"
    return (
        f"{job['activation']}, {inits}{f' and {more} more' if more > 0 else ''}, {job['normalization']}, "
        f"width {job['width']}, seed {job['seed']}, {depth}"
    )


def _draw(folder: "RunFolder") -> None:
    from analysis.figures import PlotError, standard_figures
    from analysis.load import RunFolderError

    try:
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
    from sweeps.problems import SpecError
    from sweeps.reading import load_sweep
    from sweeps.run import count_done
    from sweeps.store import RunFolder, StoreError

    folder = RunFolder(directory)
    try:
        folder.sweep()
        sweep = load_sweep(folder.sweep_file, [], vocabulary())
        done = count_done(sweep, folder.committed())
    except (StoreError, SpecError) as error:
        _stop(str(error))
    info = folder.info()
    failures = info.get("failures", [])
    typer.echo(f"{'title':<9} {sweep.title}")
    typer.echo(f"{'state':<9} {info.get('state', 'unknown')}")
    typer.echo(f"{'done':<9} {done:,} of {sweep.n_networks:,} networks")
    typer.echo(f"{'missing':<9} {sweep.n_networks - done:,}")
    typer.echo(f"{'failed':<9} {len(failures):,}")
    for failure in failures:
        typer.echo(f"  {_name_job(failure['networks'])}: {failure['reason']}")
    if done < sweep.n_networks:
        typer.echo(f"{'go on':<9} winit run {folder.sweep_file} --out {folder.path}")


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
    from sweeps.execute import theory_of

    if not math.isfinite(bias_std) or (gain is not None and not (math.isfinite(gain) and gain > 0)):
        _stop("--gain and --bias-std must be finite, and the gain greater than 0.")
    if out is not None and not as_map:
        _stop("--out says where --map draws; add --map.")
    sweep = _load([f"activation={activation}", "gain=1"])  # a wrong name gets its sentence here
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
    from sweeps.execute import self_check

    devices, checks, wrong = self_check()
    typer.echo(f"{'devices':<12} {', '.join(devices)}")
    for check in checks:
        typer.echo(f"{'arithmetic':<12} {check}")
    if wrong:
        typer.echo(f"{'arithmetic':<12} {wrong}")
    if problem or wrong:
        raise typer.Exit(1)
