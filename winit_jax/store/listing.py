"""Which runs there are in some folders, and a line about each: no table is read."""

import tomllib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from winit_jax.errors import WinitError
from winit_jax.store.info import read_info


class NoRuns(WinitError):
    """A sentence for each folder that is no run folder and has none in it."""


@dataclass(frozen=True)
class Line:
    """What a list says of a run. done, asked: networks, None where run.json does not say."""

    path: Path
    title: str
    state: str
    done: int | None
    asked: int | None

    @property
    def networks(self) -> str:
        return "" if self.done is None or self.asked is None else f"{self.done:,} of {self.asked:,}"


def runs_in(folders: Sequence[str | Path]) -> list[Path]:
    """The run folders among these, and those that lie in them, each once, by name. Errors: NoRuns, of all at once."""
    paths: dict[Path, None] = {}
    wrong = []
    for folder in map(Path, folders):
        inside = [folder] if is_run(folder) else sorted(path for path in _children(folder) if is_run(path))
        if not inside:
            wrong.append(f"{folder} is no run folder, and has none in it.")
        paths |= dict.fromkeys(inside)
    if wrong:
        raise NoRuns(" ".join(wrong))
    return list(paths)


def line_of(path: Path) -> Line:
    """What a list says of a run folder; of a file that cannot be read, why."""
    info, problem = read_info(path / "run.json")
    title = ""
    with suppress(OSError, ValueError):
        title = str(tomllib.loads((path / "sweep.toml").read_text("utf-8")).get("title", ""))
    extra = info.model_extra or {}
    done, asked = (extra.get(name) for name in ("networks_done", "networks"))
    counted = isinstance(done, int) and isinstance(asked, int)
    return Line(path, title, problem or info.state, done if counted else None, asked if counted else None)


def is_run(path: Path) -> bool:
    """Whether a folder has the file that every run begins with."""
    return (path / "sweep.toml").is_file()


def _children(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if path.is_dir()]
    except OSError:
        return []
