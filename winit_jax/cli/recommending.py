"""The command about which init to use: recommend."""

import json
from typing import Annotated

import typer

from winit_jax.cli.saying import say, sentences
from winit_jax.recommending import DEPTH, WIDTH


def recommend(
    activation: Annotated[str, typer.Argument(metavar="ACTIVATION", help="A name, or package.module:function.")],
    block: Annotated[str, typer.Option(help="dense, residual, transformer(4, 4) ..., as in a sweep.")] = "dense",
    depth: Annotated[str, typer.Option(help="Layers.")] = str(DEPTH),
    width: Annotated[str, typer.Option(help="Units of a layer.")] = str(WIDTH),
    bias_std: Annotated[str, typer.Option(help="Standard deviation of the biases.")] = "0",
    normalization: Annotated[str, typer.Option(help="none, batch, layer or rms, before each phi or block.")] = "none",
    inputs: Annotated[
        str | None, typer.Option("--inputs", metavar="SOURCE", help="normal, digits, a path ... [normal].")
    ] = None,
    code: Annotated[
        str | None,
        typer.Option("--code", metavar="FRAMEWORK", help="Print Python for torch, flax, nnx, equinox, keras or haiku."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say which init to use, and why. Example: winit recommend gelu --depth 50

    Theory started at the inputs chooses, and networks of several gains round it are run, in seconds.
    """
    from winit_jax import recommending

    with sentences():
        found = recommending.recommend(
            activation,
            block=block,
            depth=depth,
            width=width,
            bias_std=bias_std,
            normalization=normalization,
            inputs=inputs,
            code=code,
            say=say,
        )
        text = found.code(code) if code is not None else ""
    if as_json:
        typer.echo(json.dumps({**found.to_json(), **({"code": text} if code is not None else {})}))
    elif code is not None:
        typer.echo(text, nl=False)
    else:
        typer.echo(found)
