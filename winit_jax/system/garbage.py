"""Work that makes many objects and little garbage."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Python does not look for garbage meanwhile, which takes most of the time where a million objects are made."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


# Of `gc.set_threshold`: objects more than there were before the youngest are looked at, which is 700 to 2,000 as Python
# comes, and how many such looks there are to one at the older ones.
SELDOM = (50_000, 20, 50)


def collect_seldom() -> None:
    """In a process of our own: leave what was imported out of every look for garbage, and look less often.

    Tracing programs and drawing figures make many objects that live on, and cycles of few MiB.
    """
    gc.freeze()
    gc.set_threshold(*SELDOM)
