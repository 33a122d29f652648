"""What libraries import beside what they are used for."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType

# What seaborn imports for estimates of densities and for trees, and does without where it is not installed. It is half
# of the time that drawing takes to import.
OF_SEABORN = ("scipy.stats", "scipy.cluster")


@dataclass(frozen=True)
class _Hiding:
    """A finder of modules that says of some that there are none."""

    names: tuple[str, ...]

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> None:
        """None, for all but those."""
        if name in self.names:
            raise ModuleNotFoundError(f"{name} is not wanted here", name=name)


@contextmanager
def hidden(*names: str) -> Iterator[None]:
    """In a process of our own: modules that were not imported yet cannot be meanwhile; afterwards they can."""
    hiding = _Hiding(names)
    sys.meta_path.insert(0, hiding)
    try:
        yield
    finally:
        sys.meta_path.remove(hiding)


def leave_pandas_out() -> None:
    """In a process of our own that computes: pyarrow makes arrays without importing pandas.

    It does so at its first array, to know a Series if it is given one, and asks once. What needs pandas imports it.
    """
    with hidden("pandas"):
        import pyarrow

        pyarrow.array([0])
