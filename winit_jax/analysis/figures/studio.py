"""Figures drawn in processes of their own, which import what drawing needs while something else goes on.

A studio is opened when a run begins, and is asked for the figures when it ends; it then forks, and each process draws
its share. Where it cannot be opened, or dies, its owner draws as if there were none. It ends with its owner.
"""

import json
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING

from winit_jax.system.garbage import collect_seldom, uncollected
from winit_jax.system.imports import OF_SEABORN, hidden

if TYPE_CHECKING:
    from winit_jax.analysis.reading import Tables

# Each has its own copy of the tables.
MOST_PROCESSES = 4
# More than there are figures, and two bytes of each are less than any pipe holds.
MOST_TURNS = 1024
# The folder of the program is first on its path and not the working directory, whose files may have any name.
_BEGIN = "import sys; sys.path[:] = sys.argv[1:]; from winit_jax.analysis.figures import studio; studio.main()"


class Studio:
    """Processes that draw. Use as a context, which closes it."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> "Studio":
        with suppress(OSError):
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _BEGIN, *sys.path],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        return self

    def __exit__(self, *error: object) -> None:
        if self._process is not None:
            with suppress(OSError):
                self._process.kill()
            with suppress(OSError, ValueError):
                self._process.communicate()

    def draw(self, folder: Path, say: Callable[[str], None]) -> bool:
        """Draw the standard figures of a run and tell of each; whether all was done."""
        if self._process is None or self._process.stdin is None or self._process.stdout is None:
            return False
        with suppress(OSError, ValueError):
            self._process.stdin.write(json.dumps(str(folder.absolute())) + "\n")
            self._process.stdin.flush()
            for line in self._process.stdout:
                text = json.loads(line)
                if text is None:
                    return True
                say(text.replace(str(folder.absolute()), str(folder)))
        return False


def main() -> None:
    """The process of a studio: import, wait for a folder on stdin, and draw. A line of JSON for each sentence."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the owner decides what becomes of a run
    with uncollected(), hidden(*OF_SEABORN):
        from winit_jax.analysis import summary
        from winit_jax.analysis.figures import catalog, files  # noqa: F401

        for kind in catalog.KINDS:
            resolve_name(kind.draw)
    collect_seldom()
    line = sys.stdin.readline()
    if not line:
        return
    folder = json.loads(line)
    # Nothing was read and no thread was begun so far.
    turns = _turns()
    children = []
    for _ in range(1, min(MOST_PROCESSES, _cores())):
        if (child := os.fork()) == 0:
            code = 1
            try:
                _draw(folder, turns, tells=False)
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    run = _draw(folder, turns, tells=True)
    if all(os.waitpid(child, 0)[1] == 0 for child in children):
        if run is not None:
            summary.tell(run, _tell)
        _tell(None)


def _turns() -> Iterator[int]:
    """0, 1, 2, ...: each number goes to the one of several forked processes that asks first. Closed by their end."""
    reading, writing = os.pipe()
    os.write(writing, b"".join(turn.to_bytes(2) for turn in range(MOST_TURNS)))
    os.close(writing)
    return (int.from_bytes(turn) for turn in iter(lambda: os.read(reading, 2), b""))


def _draw(folder: str, turns: Iterator[int], tells: bool) -> "Tables | None":
    """Draw the figures of a run whose turns come, and tell of them; the run, None where it cannot be read.

    tells: also of what cannot be drawn, and why.
    """
    from winit_jax.analysis.figures import files
    from winit_jax.analysis.reading import RunFolderError, Tables, read_folder
    from winit_jax.analysis.selection import PlotError

    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_, **__: _tell(f"note: {message}") if tells else None
            run = read_folder(folder, Tables)
            files.draw_standard(run, report=_tell, drew=_tell_path, turns=turns, tells=tells)
            return run
    except (PlotError, RunFolderError, OSError) as error:
        if tells:
            _tell(f"no figures: {error}")
        return None


def _tell_path(path: Path) -> None:
    _tell(f"drew {path}")


def _tell(sentence: str | None) -> None:
    """A line to the owner: short ones of several processes do not mix."""
    os.write(1, (json.dumps(sentence) + "\n").encode())


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
