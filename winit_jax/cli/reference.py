"""The commands about what there is: catalog, schema, doctor."""

import json
from typing import Annotated

import typer

from winit_jax.cli.saying import sentences


def catalog(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Print this sweep's file.")] = None,
) -> None:
    """List the ready sweeps, or print one to start from. Example: winit catalog phase > my.toml"""
    from winit_jax import api

    with sentences():
        if name is not None:
            typer.echo(api.catalog(name), nl=False)
            return
        for entry, title in api.catalog().items():
            typer.echo(f"{entry:<18} {title}")


def schema() -> None:
    """Print the JSON Schema of sweep files, for editors. Example: winit schema > sweep.schema.json"""
    from winit_jax.engine.computing.vocabulary import vocabulary
    from winit_jax.spec.json_schema import json_schema

    typer.echo(json.dumps(json_schema(vocabulary()), indent=2))


def doctor() -> None:
    """Check devices, versions and arithmetic on this machine. Example: winit doctor"""
    from winit_jax.system import provenance

    for name, version in provenance.versions().items():
        typer.echo(f"{name:<12} {version}")
    problem = provenance.known_bad()
    typer.echo(f"{'builds':<12} {problem or 'jaxlib is not among the builds known to be bad'}")
    from winit_jax.engine.computing import compiled
    from winit_jax.engine.computing.devices import DeviceError
    from winit_jax.engine.computing.self_check import self_check

    try:
        checked = self_check()
    except DeviceError as error:
        typer.echo(f"{'devices':<12} {error}")
        raise typer.Exit(1) from None
    typer.echo(f"{'devices':<12} {', '.join(checked.devices)}")
    for line in (*checked.agreed, *([checked.wrong] if checked.wrong else [])):
        typer.echo(f"{'arithmetic':<12} {line}")
    typer.echo(f"{'programs':<12} {compiled.described()}")
    if problem or checked.wrong:
        raise typer.Exit(1)
