"""Where words of the command line come from and go to: requests, lines on stderr, notes, and the end of a command."""

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from winit_jax.errors import WinitError

if TYPE_CHECKING:
    from winit_jax.api import Asked

Words = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[SWEEP] [AXIS=VALUES ...]",
        help="A sweep file, a name from `winit catalog`, or neither; then words such as gain=log:0.1:10:64.",
    ),
]
Out = Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Run folder [runs/NAME].")]
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="A run folder.")]
RUNS = Path("runs")


def asked(words: list[str] | None) -> "Asked":
    """What the words of a command ask for."""
    from winit_jax.api import Asked

    words = list(words or [])
    # The path of a file may hold a `=`; what a word of the grid says never ends so.
    has_source = bool(words) and ("=" not in words[0] or words[0].endswith(".toml"))
    return Asked(words[0], words[1:]) if has_source else Asked(None, words)


def say_what_holds(words: list[str] | None) -> None:
    """Say which of several words for one axis holds."""
    from winit_jax.spec.words import repeated

    for sentence in repeated(words or []):
        say(f"note: {sentence}")


def say(text: str) -> None:
    """A line on stderr."""
    typer.echo(text, err=True)


def agrees(text: str) -> bool:
    """Whether the user wants to begin what takes so long. Without a terminal nobody can answer, so it begins."""
    if sys.stdin.isatty() and sys.stderr.isatty():
        return typer.confirm(f"{text}. Begin?", err=True)
    say(f"{text}; going on, for there is no terminal to ask on")
    return True


def stop(text: str, code: int = 2) -> NoReturn:
    """End the command with a text on stderr."""
    say(text)
    raise typer.Exit(code)


@contextmanager
def sentences(*kinds: type[Exception]) -> Iterator[None]:
    """End the command with the text of what is raised: every error of ours, and those of these kinds with code 2."""
    try:
        yield
    except WinitError as error:
        stop(str(error), error.code)
    except kinds as error:
        stop(str(error))


@contextmanager
def notes() -> Iterator[None]:
    """Warnings as lines on stderr, without the place in the code."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: say(f"note: {message}")
        yield
