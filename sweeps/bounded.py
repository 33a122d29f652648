"""Files that are looked at before they are read: regular ones, of a known size, within the memory that is free.

A data file may come from anywhere. What it promises (in a header, or by its length) is compared with a limit before
anything is allocated, and what is compressed is unpacked only as far as that.
"""

import gzip
import hashlib
import os
import stat
import zlib
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

GZIP_MAGIC = b"\x1f\x8b"
# So much of a file says what it is.
HEAD_BYTES = 512
# A larger file is not read, for its SHA-256 alone would take minutes.
MAX_FILE_BYTES = 2**36
# What may be taken where the system does not say what is free.
USUAL_FREE_BYTES = 2**32


class InputError(Exception):
    """One sentence about data that cannot be used."""


def memory_limit() -> int:
    """The bytes that data may take: half of the memory that is free, within the limit of a container."""
    return _free_bytes() // 2


def _free_bytes() -> int:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError, StopIteration):
        try:
            free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        except (AttributeError, ValueError, OSError):
            free = USUAL_FREE_BYTES
    try:  # version 2 of Linux' control groups; what files hold in memory gives way
        group = Path("/sys/fs/cgroup")
        most, used = (int((group / name).read_text()) for name in ("memory.max", "memory.current"))
        lines = (group / "memory.stat").read_text().splitlines()
        files = sum(int(line.split()[1]) for line in lines if line.startswith("inactive_file "))
        free = min(free, most - used + files)
    except (OSError, ValueError):  # no such group, or no limit ("max")
        pass
    return max(free, 0)


def in_words(n_bytes: int) -> str:
    """A number of bytes as people say it: 72.0 TiB."""
    size, unit = float(n_bytes), "bytes"
    for larger in ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{n_bytes:,} bytes" if unit == "bytes" else f"{size:,.1f} {unit}"


def refuse_beyond_memory(n_bytes: int, what: str) -> None:
    """Errors: InputError if so many bytes are more than `memory_limit`."""
    if n_bytes > (limit := memory_limit()):
        raise InputError(f"{what} takes {in_words(n_bytes)}; half of the free memory here is {in_words(limit)}.")


@dataclass(frozen=True)
class File:
    """A regular file, before it is read.

    n_bytes: as it lies on disk. packed: whether it is compressed with gzip. head: its first HEAD_BYTES bytes, unpacked.
    """

    path: Path
    n_bytes: int
    packed: bool
    head: bytes

    @property
    def name(self) -> str:
        """Its name as if it were not compressed."""
        return self.path.name.removesuffix(".gz")

    def open(self) -> gzip.GzipFile | BufferedReader:
        """Its content, unpacked as it is read."""
        return gzip.open(self.path) if self.packed else self.path.open("rb")

    def read(self, times: int = 1) -> bytes:
        """All of it, unpacked. times: how much memory what is made of it takes, in units of its length.

        Errors: InputError if that is more than `memory_limit`.
        """
        limit = memory_limit() // times
        if self.packed:
            with self.open() as stream:
                content = stream.read(limit + 1)
            if len(content) > limit:
                raise InputError(f"{self.path} unpacks to more than {in_words(limit)}, which is what fits here.")
            return content
        refuse_beyond_memory(self.n_bytes * times, f"{self.path} with what is made of it")
        return self.path.read_bytes()

    def sha256(self) -> str:
        """Of the file as it lies on disk, as `sha256sum` prints it."""
        with self.path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()


def look_at(path: Path) -> File:
    """What can be said of a file without reading more than its head.

    Errors: InputError for what is no regular file (a pipe or a device never ends), cannot be opened or is too large.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise InputError(f"{path} is not a regular file but {_kind(found.st_mode)}.")
        if found.st_size > MAX_FILE_BYTES:
            raise InputError(f"{path} has {in_words(found.st_size)}; a data file may have {in_words(MAX_FILE_BYTES)}.")
        with path.open("rb") as stream:
            head = stream.read(HEAD_BYTES)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from None
    packed = head.startswith(GZIP_MAGIC)
    if packed:
        try:
            with gzip.open(path) as stream:
                head = stream.read(HEAD_BYTES)
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"{path} is a damaged gzip file: {error}.") from None
    return File(path, found.st_size, packed, head)


def _kind(mode: int) -> str:
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a pipe",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
        stat.S_IFSOCK: "a socket",
    }
    return kinds.get(stat.S_IFMT(mode), "something else")
