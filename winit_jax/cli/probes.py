"""The command about a network of one's own: probe."""

import json
from pathlib import Path
from typing import Annotated

import typer

from winit_jax.cli.saying import say, sentences, stop

SHOWN = ("site", "op", "log10_rms", "log10_grad_rms", "saturated", "dead", "input_correlation")
SHOWN_OF_FORMATS = ("dtype", "underflow", "overflow", "grad_underflow", "grad_overflow")


def probe(
    network: Annotated[
        str, typer.Argument(metavar="MODULE:FUNCTION", help="Returns (init, apply, inputs), or (make, inputs).")
    ],
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[AXIS=VALUES ...]",
            help='As in a sweep: seed=0,1 "scale.*.out.kernel"=0.5,1,2 dtype=float32,float16.',
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="A folder for the tables.")] = None,
    audit: Annotated[bool, typer.Option("--audit", help="Say what is wrong, and exit with 1 if anything is.")] = False,
    tune: Annotated[
        bool, typer.Option("--tune", help="Print the factors that give each product of weights an RMS of 1.")
    ] = False,
    gradients: Annotated[bool, typer.Option(help="Go back through the network too.")] = True,
    figures: Annotated[bool, typer.Option(help="Draw the figures of --out at the end.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure a network of your own. Example: winit probe mypackage.nets:make seed=0,1 --audit

    init(key) makes its parameters, apply(params, inputs) is what is measured: every contraction, nonlinearity and sum
    of a stream, and every parameter. Of PyTorch, make() returns the module, whose forward pass is measured.
    """
    from winit_jax import probes
    from winit_jax.store.probe_folder import TABLES

    if tune:
        if out is not None or audit:
            stop("--tune prints factors and measures nothing: leave out --out and --audit.")
        _tune(network, words or [], as_json)
        return
    with sentences():
        found = probes.probe(network, **probes.words_of(words or []), gradients=gradients, out=out, say=say)
        findings = found.audit() if audit else []
    for note in found.notes:
        say(f"note: {note}")
    if out is not None and figures:
        _draw(out)
    if as_json:
        tables = {name: json.loads(getattr(found, name).to_json(orient="records")) for name in TABLES}
        told = {"findings": [finding.to_json() for finding in findings]} if audit else tables
        typer.echo(json.dumps(told))
    elif audit:
        for finding in findings:
            typer.echo(finding.text)
        if not findings:
            typer.echo("Nothing is wrong.")
    else:
        first = found.sites[found.sites["seed"] == found.sites["seed"].iloc[0]]
        shown = [*SHOWN, *SHOWN_OF_FORMATS] if "dtype" in first else list(SHOWN)
        typer.echo(first[shown].to_string(index=False, float_format=lambda value: f"{value:.3g}"))
    raise typer.Exit(1 if findings else 0)


def _draw(out: Path) -> None:
    """Draw the figures of a probe into its folder, and say which; where they cannot be drawn, why."""
    from winit_jax.analysis import PlotError, RunFolderError, plot

    try:
        for path in plot(out):
            say(f"drew {path}")
    except (PlotError, RunFolderError) as error:
        say(f"no figures: {error}")


def _tune(network: str, words: list[str], as_json: bool) -> None:
    """Print the factors, a line a parameter."""
    from winit_jax import probes

    with sentences():
        given = probes.words_of(words)
        if unwanted := [axis for axis in ("scale", "dtype") if given.pop(axis, None)]:
            stop(f"--tune is of the network as it is: leave out {' and '.join(unwanted)}.")
        tuned = probes.tune(network, **given, say=say)
    factors = {path: of.tolist() for path, of in tuned.by_path.items()}
    if as_json:
        typer.echo(json.dumps(factors))
        return
    wide = max(map(len, factors), default=0)
    for path, of in tuned.by_path.items():
        typer.echo(f"{path:<{wide}}  {' '.join(f'{factor:.4g}' for factor in of.ravel())}")
