"""The lowest versions of dependencies that pyproject.toml allows, as constraints for pip.

    python .ci/lowest.py test > constraints.txt

Words name the extras whose dependencies are held down beside those of the package itself.
"""

import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

from packaging.requirements import Requirement

PYPROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"


def lowest(requirements: Iterable[str]) -> Iterator[str]:
    """`name==version` of each requirement's lower bound. Errors: ValueError for one that has none, or excludes it."""
    for text in requirements:
        requirement = Requirement(text)
        bounds = [each.version for each in requirement.specifier if each.operator == ">="]
        if len(bounds) != 1:
            raise ValueError(f"{text}: a dependency has one lower bound, written >=.")
        if not requirement.specifier.contains(bounds[0]):
            raise ValueError(f"{text}: its own lower bound is excluded.")
        yield f"{requirement.name}=={bounds[0]}"


def main(extras: list[str]) -> None:
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    asked = [*project["dependencies"], *(one for extra in extras for one in project["optional-dependencies"][extra])]
    print("\n".join(dict.fromkeys(lowest(asked))))


if __name__ == "__main__":
    main(sys.argv[1:])
