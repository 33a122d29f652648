"""How far a run is: a bar on a terminal, one line that changes in a notebook, a plain line now and then elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from winit_jax.wording import duration

# Without a terminal, a line after so many seconds; in a notebook the line changes as often.
PLAIN_LINE_SECONDS, NOTEBOOK_SECONDS = 10.0, 0.5

OnProgress = Callable[[float, int], None]


@contextmanager
def progress(say: Callable[[str], None]) -> Iterator[OnProgress]:
    """A function of (networks done, networks in all) that shows them with networks a second and time left.

    say: is told a line now and then where there is neither a terminal nor a notebook.
    Networks in training count by the share of their steps for the rate and the time left; those shown are whole.
    Until the first of this run is done, its programs are being compiled, and that is what is said.
    """
    if sys.stderr is not None and sys.stderr.isatty():
        with _bar() as show:
            yield show
    elif "ipykernel" in sys.modules:
        yield _every(NOTEBOOK_SECONDS, _notebook_line(), first=True)
    else:
        yield _every(PLAIN_LINE_SECONDS, say, first=False)


@dataclass
class Pace:
    """How fast networks are done, from what was done at the start. started: of a monotonic clock."""

    started: float
    done_at_start: float | None = None

    def line(self, done: float, total: int, now: float) -> str:
        """What is shown."""
        self.done_at_start = done if self.done_at_start is None else self.done_at_start
        if self.is_compiling(done, total):
            return f"compiling; {int(done):,} of {total:,} networks"
        rate = (done - self.done_at_start) / (now - self.started) if now > self.started else 0.0
        left = f", {duration((total - done) / rate)} left" if rate and done < total else ""
        return f"{int(done):,} of {total:,} networks, {rate:,.{0 if rate >= 10 else 1}f} a second{left}"

    def is_compiling(self, done: float, total: int) -> bool:
        """Whether nothing of this run is done yet."""
        return done < total and (self.done_at_start is None or done <= self.done_at_start)


def _every(seconds: float, say: Callable[[str], None], first: bool) -> OnProgress:
    """Says the line so often; first: also at once, and when all is done."""
    pace = Pace(time.monotonic())
    last = pace.started - (seconds if first else 0)

    def show(done: float, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        text = pace.line(done, total, now)
        if now - last >= seconds or (first and done == total):
            say(text)
            last = now

    return show


def _notebook_line() -> Callable[[str], None]:
    """Shows a text in the cell that runs, in the place of the one before."""
    from IPython.display import display

    handle = None

    def say(text: str) -> None:
        nonlocal handle
        if handle is None:
            handle = display({"text/plain": text}, raw=True, display_id=True)
        else:
            handle.update({"text/plain": text}, raw=True)

    return say


@contextmanager
def _bar() -> Iterator[OnProgress]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            rate = task.speed or 0.0
            return Text(f"{rate:,.{0 if rate >= 10 else 1}f}/s" if rate else "", style="progress.data.speed")

    class Left(ProgressColumn):
        def render(self, task: Task) -> Text:
            left = task.time_remaining
            return Text(duration(left) if left else "", style="progress.remaining")

    pace = Pace(time.monotonic())
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Rate(), Left())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("compiling", total=None)

        def show(done: float, total: int) -> None:
            pace.done_at_start = done if pace.done_at_start is None else pace.done_at_start
            what = "compiling" if pace.is_compiling(done, total) else "networks"
            bar.update(task, description=what, completed=done, total=total)

        yield show
