"""Which machine this is, how much memory it or the containers of this process have, and what is freed of it."""

import ctypes
import math
import os
import resource
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

CGROUP = Path("/sys/fs/cgroup")
# What may be taken where the system does not say what is free.
USUAL_FREE_BYTES = 2**32

# Of mallopt(3): from which size blocks are the system's own, and from which the end of the heap is given back.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3


def keep_freed_memory() -> None:
    """Have the C library use again what is freed, instead of giving it back and asking anew, where it can be told to.

    A pass back through a network takes tens of MiB at each call; the system clears each page of them at its first use,
    which is a quarter of the time of gradients.
    """
    with suppress(OSError, AttributeError):  # only the GNU C library has it
        library = ctypes.CDLL(None)
        library.mallopt(M_MMAP_THRESHOLD, 2**30)
        library.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def memory_bytes() -> float:
    """All there is, taken or not; infinite where nobody says."""
    return min(_physical(), *(_number(group.limit) for group in _groups()))


def free_bytes() -> int:
    """What may be taken now; what files hold in memory gives way."""
    free = min(_available(), _address_space())
    for group in _groups():
        most, used = _number(group.limit), _number(group.used)
        if math.isfinite(most) and math.isfinite(used):
            free = min(free, most - used + _statistic(group.statistics, group.files))
    return int(max(free, 0))


def takable_bytes() -> int:
    """`free_bytes`, and what this process has freed and not given back (`keep_freed_memory`)."""
    return free_bytes() + _kept_bytes()


def memory_kills() -> int:
    """How many processes the kernel killed for want of memory in the containers of this process; or, where these do not
    count them, on this machine. It only rises. 0 where nobody counts.
    """
    counting = [group.events for group in _groups() if group.events.exists()] or [Path("/proc/vmstat")]
    return int(sum(_statistic(file, "oom_kill ") for file in counting))


@dataclass(frozen=True)
class _Group:
    """The files of a control group. files: what a line of `statistics` begins with that counts what gives way."""

    limit: Path
    used: Path
    statistics: Path
    events: Path
    files: str


def _groups() -> list[_Group]:
    """This process's own control groups and those around them, of version 2 and of version 1."""
    try:
        lines = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
    except (OSError, ValueError):
        lines = []
    new = [_within(CGROUP, line[2]) for line in lines if line[0] == "0"]
    old = [_within(CGROUP / "memory", line[2]) for line in lines if "memory" in line[1].split(",")]
    return [
        *(
            _Group(path / "memory.max", path / "memory.current", path / "memory.stat", path / "memory.events", _FILES)
            for path in (*(path for paths in new for path in paths), CGROUP)
        ),
        *(
            _Group(
                path / "memory.limit_in_bytes",
                path / "memory.usage_in_bytes",
                path / "memory.stat",
                path / "memory.oom_control",
                f"total_{_FILES}",
            )
            for path in (*(path for paths in old for path in paths), CGROUP / "memory")
        ),
    ]


_FILES = "inactive_file "


def _within(root: Path, name: str) -> list[Path]:
    path = root / name.lstrip("/")
    return [group for group in (path, *path.parents) if root in group.parents]


def has_limited_addresses() -> bool:
    """Whether there is a limit (RLIMIT_AS, `ulimit -v`) on the addresses of this process and of those it starts."""
    return math.isfinite(_address_space())


def _address_space() -> float:
    """What RLIMIT_AS leaves of the addresses of this process."""
    try:
        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit == resource.RLIM_INFINITY:
            return math.inf
        return limit - int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError, IndexError):
        return math.inf


class _Counts(ctypes.Structure):
    """struct mallinfo2 of mallinfo(3)."""

    _fields_: ClassVar = [
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
        )
    ]  # fmt: skip


def _kept_bytes() -> int:
    """What the C library has at hand for the next allocations; 0 where it does not say (before glibc 2.33)."""
    try:
        ask = ctypes.CDLL(None).mallinfo2
    except (OSError, AttributeError):
        return 0
    ask.restype = _Counts
    return int(ask().fordblks)


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


def _statistic(file: Path, begins_with: str) -> float:
    """The number in a line that begins so, of a file of names and numbers; 0 where there is none."""
    try:
        lines = file.read_text().splitlines()
        return sum(float(line.split()[1]) for line in lines if line.startswith(begins_with))
    except (OSError, ValueError, IndexError):
        return 0.0


@lru_cache
def boot() -> str:
    """Which start of which machine this is, "" where the system does not say: the same in all of its containers."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""
