"""The command line. Data goes to stdout, progress and messages to stderr.

Everything heavy is imported inside the command that needs it: `--help` answers without jax or pandas.
Exit codes: 0 done, 1 some networks failed, 2 the request was wrong, 128 + n after signal n.
"""

import os
import sys
from typing import Annotated

import typer

from winit_jax.analysis.figures import catalog as kinds
from winit_jax.cli import clusters, figures, probes, recommending, reference, runs, tables
from winit_jax.engine.running import supervise
from winit_jax.system import garbage, imports, machine, signals, streams

app = typer.Typer(
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="What does a weight initialization do to a network? Grid sweeps, tables, heatmaps.",
)
for command in (
    runs.run,
    runs.plan,
    runs.status,
    runs.verify,
    runs.compact,
    runs.merge,
    clusters.worker,
    tables.ls,
    tables.compare,
    tables.export,
    figures.report,
    figures.serve,
    figures.theory,
    recommending.recommend,
    probes.probe,
    reference.catalog,
    reference.schema,
    reference.doctor,
):
    app.command()(command)
app.command(epilog=f"\b\nKinds:\n{kinds.listing()}")(figures.plot)


def _say_version(wanted: bool) -> None:
    if wanted:
        import winit_jax

        typer.echo(f"winit-jax {winit_jax.__version__}")
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
    streams.prepare_streams()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # lines of jaxlib's own, of which nobody can make a sentence
    kept = ""
    if sys.argv[1:2] == ["run"] and not {"--help", "-h"} & set(sys.argv):
        supervise.current = supervise.begin()
        machine.keep_freed_memory()
        imports.leave_pandas_out()
        garbage.collect_seldom()
        kept = " What was finished is kept."
    if not supervise.current.is_supervised:
        signals.end_command()
    code = streams.guarded(app, kept)
    supervise.current.ends(code)
    if supervise.is_held_open():
        supervise.leave(code)
    sys.exit(code)
