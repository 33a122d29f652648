"""The ready sweeps: files that come with the package, run by name."""

import tomllib
from pathlib import Path

from winit_jax.spec.problems import Problem, SpecError, briefly, did_you_mean

_PACKAGE = Path(__file__).resolve().parents[1]
# A build puts them into the package (setup.py); a checkout has them beside it.
FOLDER = next((folder for folder in (_PACKAGE / "sweeps", _PACKAGE.parent / "sweeps") if folder.is_dir()), _PACKAGE)


def names() -> list[str]:
    """Names of the ready sweeps, in alphabetical order."""
    return sorted(file.stem for file in FOLDER.glob("*.toml"))


def sweep_text(name: str) -> str:
    """The file of a ready sweep. Errors: SpecError for a name that is not there."""
    if name not in names():
        sentence = f"{briefly(name)} is neither a file nor a ready sweep.{did_you_mean(name, names())}"
        raise SpecError("sweep", [Problem("", sentence)])
    return (FOLDER / f"{name}.toml").read_text(encoding="utf-8")


def titles() -> dict[str, str]:
    """Name and title of every ready sweep."""
    return {name: str(tomllib.loads(sweep_text(name)).get("title", "")) for name in names()}
