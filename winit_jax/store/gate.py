"""The gate of a run folder that several processes write: staging/gate, which one of them has for a short time.

Who joins the folder, or ends in it, does so behind the gate: no two change sweep.toml, run.json or what a dead writer
left. Parts are committed without it. The file is made with O_EXCL, which is atomic on network file systems too, and
is locked, so that a process of the same host sees at once when its maker was killed; from another host, where locks
end at the host, it counts as left behind once its heartbeat is older than `lock.STALE_SECONDS`.
"""

import fcntl
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pydantic import ValidationError

from winit_jax.store import lock
from winit_jax.store.journal import FolderError
from winit_jax.system import disk

NAME = "gate"
# How long to wait for a process that lives: it may read and write all of a large folder meanwhile.
PATIENCE_SECONDS = 3600.0
LOOK_SECONDS = 0.05
# A file without a note was made just now, or its maker was killed before it wrote one.
EMPTY_SECONDS = 10.0


@contextmanager
def passed(staging: Path) -> Iterator[None]:
    """Behind the gate. Errors: FolderError where it cannot be made, or nobody lets go of it for PATIENCE_SECONDS."""
    path = staging / NAME
    handle = _make(path)
    holder = None
    try:
        with suppress(OSError):  # a disk that is full: the lock, or the age of the file, tells
            holder = lock.Holder(handle, b"", lock.new_note())
        yield
    finally:
        if holder is not None:
            holder.close()
        with suppress(OSError):
            if os.fstat(handle).st_ino == os.stat(path).st_ino:
                os.unlink(path)
        os.close(handle)


def clear(staging: Path) -> None:
    """Take away what a killed process left of a gate; for a process that has the folder alone. Errors: OSError."""
    for name in disk.names(staging):
        if name == NAME or name.startswith(f"{NAME}."):
            os.unlink(staging / name)


def _make(path: Path) -> int:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        except FileExistsError:
            if _is_left(path):
                continue
        except OSError as error:
            raise FolderError(f"{path} cannot be made: {error.strerror}.") from error
        else:
            with suppress(OSError):  # no locks; others that look have it for a moment only
                fcntl.flock(handle, fcntl.LOCK_EX)
            return handle
        if time.monotonic() > deadline:
            raise FolderError(f"{path} is held by another process for more than an hour. If none runs, delete it.")
        time.sleep(LOOK_SECONDS)


def _is_left(path: Path) -> bool:
    """Take the gate away if whoever made it is dead; whether it may be made anew."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return True
    except OSError as error:
        raise FolderError(f"{path} cannot be opened: {error.strerror}.") from error
    try:
        has_lock = True
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            has_lock = False
        if not _is_dead(handle, path, has_lock):
            return False
        with suppress(FileNotFoundError):
            if os.stat(path).st_ino == os.fstat(handle).st_ino:  # the lock keeps others from doing the same
                aside = path.with_name(f"{NAME}.{secrets.token_hex(4)}")
                os.rename(path, aside)
                os.unlink(aside)
        return True
    finally:
        os.close(handle)


def _is_dead(handle: int, path: Path, has_lock: bool) -> bool:
    try:
        note = lock.Note.model_validate_json(lock.contents(handle).strip())
    except ValidationError:
        return time.time() - os.fstat(handle).st_mtime > EMPTY_SECONDS
    if has_lock and (note.is_of_this_host or disk.is_of_this_machine(path)):
        return True
    return time.time() - note.heartbeat > lock.STALE_SECONDS
