"""Compiled programs are forgotten before the system has no room for more.

On Linux every program that XLA compiles for a CPU takes several memory maps, of which a process may have 65,530; at the
next one it dies in the compiler. A sweep of many shapes gets there.
"""

import threading
import time
from pathlib import Path

import jax

MAPS, MOST = Path("/proc/self/maps"), Path("/proc/sys/vm/max_map_count")
# The share of the maps that a process may have at which programs are forgotten.
SHARE = 0.5
# Between two looks: counting maps takes milliseconds.
SECONDS = 5.0

_looked = -SECONDS
_looking = threading.Lock()


def make_room() -> None:
    """Forget what is compiled where half of the maps are taken; what is needed again is compiled again, to the bit."""
    global _looked
    with _looking:
        if time.monotonic() - _looked < SECONDS:
            return
        _looked = time.monotonic()
        if share_taken() > SHARE:
            jax.clear_caches()


def share_taken() -> float:
    """The part of its memory maps that this process has; 0 where the system does not say."""
    try:
        with MAPS.open("rb") as maps:
            return sum(1 for _ in maps) / int(MOST.read_text())
    except (OSError, ValueError):
        return 0.0
