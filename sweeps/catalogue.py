"""The ready sweeps: files in sweeps/catalog/, run by name."""

import tomllib
from importlib import resources

from sweeps.problems import Problem, SpecError, briefly, did_you_mean


def names() -> list[str]:
    """Names of the ready sweeps, in alphabetical order."""
    files = resources.files("sweeps.catalog").iterdir()
    return sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml"))


def sweep_text(name: str) -> str:
    """The file of a ready sweep. Errors: SpecError for a name that is not there."""
    if name not in names():
        sentence = f"{briefly(name)} is neither a file nor a ready sweep.{did_you_mean(name, names())}"
        raise SpecError("sweep", [Problem("", sentence)])
    return (resources.files("sweeps.catalog") / f"{name}.toml").read_text(encoding="utf-8")


def titles() -> dict[str, str]:
    """Name and title of every ready sweep."""
    return {name: str(tomllib.loads(sweep_text(name)).get("title", "")) for name in names()}
