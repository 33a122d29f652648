"""A run that is looked at again and again: redrawn on a terminal, a line each time elsewhere."""

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from winit_jax.store.watching import Sight


def show(sights: "Iterator[Sight]") -> None:
    """Show each until there are no more, or Ctrl-C."""
    with contextlib.suppress(KeyboardInterrupt):
        if sys.stdout.isatty():
            _redraw(sights)
        else:
            for sight in sights:
                typer.echo(sight)


def _redraw(sights: "Iterator[Sight]") -> None:
    from rich.live import Live
    from rich.text import Text

    with Live(Text("looking"), auto_refresh=False) as live:
        for sight in sights:
            live.update(Text("\n".join([str(sight), *sight.shards.lines()])), refresh=True)
