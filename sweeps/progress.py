"""How far a run is, on stderr: a bar on a terminal, a plain line now and then elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer

# Without a terminal, a line after so many seconds.
PLAIN_LINE_SECONDS = 10.0

OnProgress = Callable[[float, int], None]


@contextmanager
def progress() -> Iterator[OnProgress]:
    """A function of (networks done, networks in all) that shows them with networks a second and time left.

    Networks in training count by the share of their steps.
    """
    if sys.stderr.isatty():
        with _bar() as show:
            yield show
    else:
        yield _lines()


def _lines() -> OnProgress:
    started = last = time.monotonic()
    first: float | None = None

    def show(done: float, total: int) -> None:
        nonlocal last, first
        first = done if first is None else first
        now = time.monotonic()
        if now - last >= PLAIN_LINE_SECONDS:
            rate = (done - first) / (now - started)
            left = f", {(total - done) / rate:.0f} s left" if rate else ""
            shown = f"{done:,.0f}" if total >= 100 or done == int(done) else f"{done:.1f}"
            typer.echo(f"{shown} of {total:,} networks, {rate:,.{0 if rate >= 10 else 1}f} a second{left}", err=True)
            last = now

    return show


@contextmanager
def _bar() -> Iterator[OnProgress]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task) -> Text:
            rate = task.speed or 0.0
            return Text(f"{rate:,.{0 if rate >= 10 else 1}f}/s" if rate else "", style="progress.data.speed")

    columns = (TextColumn("networks"), BarColumn(), MofNCompleteColumn(), Rate(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("networks", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
