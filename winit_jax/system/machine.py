"""How much memory there is, of this machine or of the containers that this process runs in, and which machine it is."""

import math
import os
from functools import lru_cache
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
# What may be taken where the system does not say what is free.
USUAL_FREE_BYTES = 2**32


def memory_bytes() -> float:
    """All there is, taken or not; infinite where nobody says."""
    limits = [_number(group / "memory.max") for group in _groups()]
    return min(_physical(), _number(CGROUP / "memory" / "memory.limit_in_bytes"), *limits)


def free_bytes() -> int:
    """What may be taken now; what files hold in memory gives way."""
    free = _available()
    for group in _groups():
        most, used = _number(group / "memory.max"), _number(group / "memory.current")
        if math.isfinite(most) and math.isfinite(used):
            free = min(free, most - used + _inactive_files(group))
    return int(max(free, 0))


def _groups() -> list[Path]:
    """This process's own control group and those around it, of version 2."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except (OSError, ValueError):
        lines = []
    of_this_process = [CGROUP / line.partition("::")[2].lstrip("/") for line in lines if line.startswith("0::")]
    groups = [group for path in of_this_process for group in (path, *path.parents) if CGROUP in group.parents]
    return [*groups, CGROUP]


def _number(file: Path) -> float:
    """Of a file that holds one; infinite where there is no such file, or it says `max`."""
    try:
        return float(int(file.read_text()))
    except (OSError, ValueError):
        return math.inf


def _physical() -> float:
    try:
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, ValueError, OSError):
        return math.inf


def _available() -> float:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(float(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError, StopIteration):
        return physical if math.isfinite(physical := _physical()) else float(USUAL_FREE_BYTES)


def _inactive_files(group: Path) -> float:
    try:
        lines = (group / "memory.stat").read_text().splitlines()
        return sum(float(line.split()[1]) for line in lines if line.startswith("inactive_file "))
    except (OSError, ValueError):
        return 0.0


@lru_cache
def boot() -> str:
    """Which start of which machine this is, "" where the system does not say: the same in all of its containers."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""
