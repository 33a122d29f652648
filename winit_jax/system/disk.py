"""Files on disk: written whole and fsynced, replaced in one step, read only where they are regular files."""

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

CHUNK = 1 << 20
# File systems on a disk of one machine, or in its memory: nobody else writes them.
_OF_ONE_MACHINE = {"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "tmpfs", "overlay", "ramfs", "apfs", "hfs"}


def write_new(path: Path, data: bytes) -> int:
    """Write and fsync a file; its time of change in nanoseconds. Errors: OSError; then nothing is left of it."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    try:
        write_all(handle, data)
        os.fsync(handle)
        return os.fstat(handle).st_mtime_ns
    except OSError:
        with contextlib.suppress(OSError):  # a full disk needs the room
            os.unlink(path)
        raise
    finally:
        os.close(handle)


def link_or_copy(source: Path, target: Path) -> int:
    """Make a file of another one's bytes, by a hard link where that is possible; its time of change in nanoseconds.

    Errors: OSError.
    """
    with contextlib.suppress(OSError):
        os.unlink(target)
    try:
        os.link(source, target)
        return os.stat(target).st_mtime_ns
    except OSError:
        return write_new(target, read(source))


def write_all(handle: int, data: bytes) -> None:
    """Every byte, however few the system takes at once."""
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]


def replace_file(path: Path, data: bytes, staging: Path) -> None:
    """Make `data` the contents of a file, at once or not at all."""
    staged = staging / path.name
    write_new(staged, data)
    os.replace(staged, path)
    sync_folder(path.parent)


@contextlib.contextmanager
def taking_the_place_of(path: Path) -> Iterator[Path]:
    """A path to write to, which takes the place of a file when all went well, and is gone otherwise.

    The folder of the file is made where it is not there. For what can be made again: it is not fsynced.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_name(f".{path.name}.part")
    try:
        yield staged
        os.replace(staged, path)
    finally:
        with contextlib.suppress(OSError):
            staged.unlink(missing_ok=True)


def sync_folder(path: Path) -> None:
    """Make what was created, renamed and removed in a folder last."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def is_file(path: Path) -> bool:
    """Whether a path is a regular file or a link to one: what may be opened without waiting for anybody."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False


def read(path: Path) -> bytes:
    """A regular file's bytes. Errors: OSError, also for what is no regular file."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError(None, "it is not a file")
    return path.read_bytes()


def sha256(path: Path) -> str:
    """Of a file's bytes. Errors: OSError."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def names(folder: Path) -> list[str]:
    """What is in a folder, in order of names; nothing where there is none. Errors: OSError if it cannot be listed."""
    try:
        return sorted(os.listdir(folder))
    except FileNotFoundError:
        return []


def is_of_this_machine(path: Path) -> bool:
    """Whether a path lies on a file system that no other machine sees; True where the system does not say."""
    try:
        device = os.stat(path).st_dev
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return True
    number = f"{os.major(device)}:{os.minor(device)}"
    kinds = [line.partition(" - ")[2].split()[0] for line in lines if line.split()[2:3] == [number]]
    return not kinds or any(kind in _OF_ONE_MACHINE for kind in kinds)
