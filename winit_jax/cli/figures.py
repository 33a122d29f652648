"""The commands that draw: plot, theory."""

import json
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from winit_jax.cli.saying import Folder, notes, say, sentences, stop
from winit_jax.system.garbage import collect_seldom
from winit_jax.system.imports import OF_SEABORN, hidden

# Where the help of `plot` has how a figure looks, and that of `theory` the options of a stream.
LOOK = "How it looks"
OF = "The stream of a block"


def plot(
    directory: Folder,
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
    hue: Annotated[str | None, typer.Option(help="Key whose values are lines.")] = None,
    row: Annotated[str | None, typer.Option(help="Key whose values are rows of panels.")] = None,
    col: Annotated[str | None, typer.Option(help="Key whose values are columns of panels.")] = None,
    seeds: Annotated[
        str | None, typer.Option(help="How seeds are put together: median, mean, min, max or std [median].")
    ] = None,
    where: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUES", help="Keep only these; may be repeated.")
    ] = None,
    style: Annotated[str | None, typer.Option(help="paper, screen or slides [screen].", rich_help_panel=LOOK)] = None,
    title: Annotated[
        str | None, typer.Option(metavar="WORDS", help="A title of your own.", rich_help_panel=LOOK)
    ] = None,
    titled: Annotated[
        bool | None,
        typer.Option("--with-title/--no-title", help="The usual title, or none [none on paper].", rich_help_panel=LOOK),
    ] = None,
    size: Annotated[
        str | None, typer.Option(metavar="WIDTH,HEIGHT", help="Inches of the page.", rich_help_panel=LOOK)
    ] = None,
    dpi: Annotated[int | None, typer.Option(help="Dots an inch of a png [160].", rich_help_panel=LOOK)] = None,
    cmap: Annotated[
        str | None, typer.Option(help="A map of colors of matplotlib or seaborn.", rich_help_panel=LOOK)
    ] = None,
    vmin: Annotated[float | None, typer.Option(help="Where colors begin.", rich_help_panel=LOOK)] = None,
    vmax: Annotated[float | None, typer.Option(help="Where colors end.", rich_help_panel=LOOK)] = None,
    fmt: Annotated[str | None, typer.Option("--format", help="png, svg or pdf [png].")] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="A .png, .svg or .pdf file, or a folder [DIR/figures]."),
    ] = None,
) -> None:
    """Draw figures of a run, each with its caption in a .txt file beside it.

    Example: winit plot runs/phase heatmap --value dead --col width --style paper --format pdf
    """
    with hidden(*OF_SEABORN):
        from winit_jax.analysis import PlotError, RunFolderError, plot
    collect_seldom()

    conditions: dict[str, list[str]] = {}
    for word in where or []:
        key, separator, values = word.partition("=")
        if not separator:
            stop(f"--where {word}: write KEY=VALUES, for example activation=tanh,relu.")
        conditions.setdefault(key, []).extend(values.split(","))
    with sentences(PlotError, RunFolderError), notes():
        paths = plot(
            directory,
            kind,
            value=value,
            x=x,
            y=y,
            hue=hue,
            row=row,
            col=col,
            seeds=seeds,
            where=conditions,
            fmt=fmt,
            out=out,
            report=say,
            style=style,
            title=titled if title is None else title,
            size=size,
            dpi=dpi,
            cmap=cmap,
            vmin=vmin,
            vmax=vmax,
        )
    for path in paths:
        typer.echo(path)


def report(
    directory: Folder,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="An HTML file, or a folder [DIR/report.html].")
    ] = None,
) -> None:
    """Write one HTML page that shows a run and needs no network. Example: winit report runs/phase"""
    from winit_jax.analysis import PlotError, RunFolderError, load

    with sentences(PlotError, RunFolderError), notes():
        typer.echo(load(directory).report(out))


def serve(
    directories: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Run folders, or folders of them.")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="A port of this machine; 0 takes a free one.")] = 0,
) -> None:
    """Serve the reports of runs to a browser on this machine, anew while they go on. Example: winit serve runs"""
    from winit_jax.analysis.report import serving

    with sentences(), notes():
        try:
            serving.serve(directories, port, typer.echo)
        except OSError as error:
            stop(f"port {port} cannot be used: {error.strerror or error}.")


def theory(
    activation: Annotated[
        str | None, typer.Argument(metavar="[ACTIVATION]", help="A name, or package.module:function.")
    ] = None,
    axes: Annotated[
        list[str] | None,
        typer.Argument(metavar="[AXIS=VALUES ...]", help="Of --map: gain and bias_std, as in a sweep."),
    ] = None,
    bias_std: Annotated[float, typer.Option(min=0.0, help="Standard deviation of the biases.")] = 0.0,
    gain: Annotated[float | None, typer.Option(min=0.0, help="One gain instead of several.")] = None,
    block: Annotated[
        str | None,
        typer.Option(help="A block, as in a sweep: what becomes of its stream over depth.", rich_help_panel=OF),
    ] = None,
    skip_scale: Annotated[str | None, typer.Option(help="A number, a formula or deepnorm.", rich_help_panel=OF)] = None,
    branch_scale: Annotated[
        str | None, typer.Option(help='As "1/sqrt(depth)", or skipinit.', rich_help_panel=OF)
    ] = None,
    normalization: Annotated[str | None, typer.Option(help="layer or rms.", rich_help_panel=OF)] = None,
    norm_position: Annotated[str | None, typer.Option(help="pre or post.", rich_help_panel=OF)] = None,
    attention_gain: Annotated[str | None, typer.Option(help="Of the logits.", rich_help_panel=OF)] = None,
    depth: Annotated[str | None, typer.Option(help="Depths, as in a sweep.", rich_help_panel=OF)] = None,
    positions: Annotated[int | None, typer.Option(help="Positions of an input.", rich_help_panel=OF)] = None,
    correlation: Annotated[float | None, typer.Option(help="Of two inputs.", rich_help_panel=OF)] = None,
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
    """Say which gain an activation wants and how deep it then reaches, or how the stream of a block grows.

    Examples: winit theory gelu --inputs digits; winit theory --block residual --branch-scale "1/sqrt(depth)"
    """
    from winit_jax import api

    words = axes or []
    if (out is not None or words) and not as_map:
        stop(f"{'--out' if out is not None else words[0]} says {'where' if out else 'what'} --map draws; add --map.")
    if start is not None and as_map:
        stop("--start is one q for all gains, and --map starts at each gain's own: give one of them.")
    axes_of_stream = {
        "block": block,
        "skip_scale": skip_scale,
        "branch_scale": branch_scale,
        "normalization": normalization,
        "norm_position": norm_position,
        "attention_gain": attention_gain,
        "depth": depth,
    }
    of_stream: dict[str, Any] = {axis: value for axis, value in axes_of_stream.items() if value is not None}
    table = {key: value for key, value in (("positions", positions), ("correlation", correlation)) if value is not None}
    if (of_stream or table) and (as_map or inputs is not None):
        stop(f"{'--map' if as_map else '--inputs'} is of an activation by itself, not of the stream of a block.")
    if of_stream or table:
        of_stream.setdefault("block", "dense")
    with sentences():
        advice = api.theory(activation, bias_std, gain, start=start, inputs=table or inputs, say=say, **of_stream)
    typer.echo(json.dumps(advice.to_json()) if as_json else advice)
    if as_map:
        _map(str(activation), inputs, words, out)


def _map(activation: str, inputs: str | None, words: list[str], out: Path | None) -> None:
    """Draw the phase diagram of an activation."""
    from winit_jax import diagrams
    from winit_jax.analysis import PlotError

    path = out or Path(f"theory-{re.sub(r'[^A-Za-z0-9.]+', '-', activation)}.png")
    with sentences(PlotError):
        for file in diagrams.draw_phase_diagram(activation, inputs, words, path, say):
            typer.echo(file)
