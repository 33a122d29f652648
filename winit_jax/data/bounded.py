"""Files that are looked at before they are read: regular ones, of a known size, within the memory that is free.

A data file may come from anywhere. What it promises (in a header, or by its length) is compared with a limit before
anything is allocated, and what is compressed is unpacked only as far as that.
"""

import gzip
import hashlib
import stat
import zlib
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

from winit_jax.errors import WinitError
from winit_jax.system.machine import free_bytes
from winit_jax.wording import size

GZIP_MAGIC = b"\x1f\x8b"
# So much of a file says what it is.
HEAD_BYTES = 512
# A larger file is not read, for its SHA-256 alone would take minutes.
MAX_FILE_BYTES = 2**36


class InputError(WinitError):
    """One sentence about data that cannot be used."""


def memory_limit() -> int:
    """The bytes that data may take: half of the memory that is free, within the limit of a container."""
    return free_bytes() // 2


def refuse_beyond_memory(n_bytes: int, what: str) -> None:
    """Errors: InputError if so many bytes are more than `memory_limit`."""
    if n_bytes > (limit := memory_limit()):
        raise InputError(f"{what} takes {size(n_bytes)}; half of the free memory here is {size(limit)}.")


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
                raise InputError(f"{self.path} unpacks to more than {size(limit)}, which is what fits here.")
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
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise InputError(f"{path} is not a regular file but {_kind(status.st_mode)}.")
        if status.st_size > MAX_FILE_BYTES:
            raise InputError(f"{path} has {size(status.st_size)}; a data file may have {size(MAX_FILE_BYTES)}.")
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
    return File(path, status.st_size, packed, head)


def _kind(mode: int) -> str:
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a pipe",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
        stat.S_IFSOCK: "a socket",
    }
    return kinds.get(stat.S_IFMT(mode), "something else")
