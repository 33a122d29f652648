"""The command that makes a machine a worker of a cluster."""

from typing import Annotated

import typer

from winit_jax.cli.saying import say, sentences


def worker(
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="Of a dask scheduler: tcp://HOST:8786.")],
    count: Annotated[int, typer.Option(metavar="N", min=1, max=1000, help="How many processes.")] = 1,
    platform: Annotated[
        str | None, typer.Option(metavar="cpu|cuda|tpu", help="What JAX computes on [what it finds].")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Log nothing.")] = False,
) -> None:
    """Compute parts for a launcher elsewhere. Example: winit worker tcp://node7:8786"""
    from winit_jax.engine.clusters.worker import serve
    from winit_jax.spec.clusters import read_address

    with sentences():
        address = read_address(address)
        if not quiet:
            say(f"{count} {'process' if count == 1 else 'processes'} for {address}; Ctrl-C ends")
        code = serve(address, count, platform, quiet)
    raise typer.Exit(code)
