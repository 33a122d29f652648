"""What libraries import beside what they are used for."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

# What seaborn imports for estimates of densities and for trees, and does without where it is not installed. It is half
# of the time that drawing takes to import.
OF_SEABORN = ("scipy.stats", "scipy.cluster")


@contextmanager
def hidden(*names: str) -> Iterator[None]:
    """In a process of our own: modules that were not imported yet cannot be meanwhile; afterwards they can."""
    absent = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]  # None there is an ImportError
    try:
        yield
    finally:
        for name in absent:
            sys.modules.pop(name, None)
