"""The lock of a run folder, staging/lock: which process works in it, and how the last one ended.

The lock is the system's (flock), which is released when its process ends, however it ends. The file's contents serve
people, and file systems without flock: host, pid, start, heartbeat, and at the end how the process ended. They are
overwritten in place, so that writing them needs no room on a full disk.
"""

import errno
import fcntl
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ValidationError

from winit_jax.store.journal import FolderError
from winit_jax.system import disk

WAIT_SECONDS = 3.0  # how long to wait for a lock that another process may be releasing
BEAT_SECONDS = 5.0  # between heartbeats
# On a file system without locks, a process whose heartbeat is older than this counts as dead.
STALE_SECONDS = 60.0
SIZE = 1024  # bytes of the lock file
_WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


class Note(BaseModel):
    """The contents of the lock file.

    started, heartbeat: seconds since 1970. state: how the process ended, "" while it runs. reason: why it ended so.
    """

    host: str
    pid: int
    started: float
    heartbeat: float
    state: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Standing:
    """held: whether a process holds the lock. note: the file's contents, of it or of the last holder, if readable."""

    held: bool
    note: Note | None


class Holder:
    """A lock that this process holds.

    Call `end` to say how the work ended. Without that, `close` restores what the file said before the lock was taken.
    """

    def __init__(self, handle: int, earlier: bytes) -> None:
        self._handle, self._earlier = handle, earlier
        self._stop, self._writing = threading.Event(), threading.Lock()
        now = time.time()
        self.note = Note(host=socket.gethostname(), pid=os.getpid(), started=now, heartbeat=now)
        self._write()
        threading.Thread(target=self._beat, name="heartbeat", daemon=True).start()

    def end(self, state: str, reason: str = "") -> None:
        """Set how the work ended; `close` writes it."""
        with self._writing:
            self.note = self.note.model_copy(update={"state": state, "reason": reason[:300]})

    def _write(self) -> None:
        os.pwrite(self._handle, _padded(self.note.model_dump_json().encode()), 0)

    def _beat(self) -> None:
        while not self._stop.wait(BEAT_SECONDS):
            with self._writing:
                if self._stop.is_set():  # the descriptor may belong to another file by now
                    return
                self.note = self.note.model_copy(update={"heartbeat": time.time()})
                with suppress(OSError):
                    self._write()

    def close(self) -> None:
        """Stop the heartbeat and write the last contents. The caller then closes the descriptor."""
        with self._writing:
            self._stop.set()
            with suppress(OSError):
                if self.note.state or not self._earlier.strip():
                    self._write()
                else:
                    os.pwrite(self._handle, _padded(self._earlier), 0)


@contextmanager
def hold(path: Path) -> Iterator[Holder]:
    """Lock a run folder; path: its lock file.

    Errors: FolderError if another process still holds it after WAIT_SECONDS, or the file cannot be written.
    """
    folder = path.parent.parent
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o666)
    except OSError as error:
        raise FolderError(f"{path} cannot be opened: {error.strerror}.") from error
    try:
        if not disk.is_file(path):
            raise FolderError(f"{path} is not a file. Move it away.")
        deadline = time.monotonic() + WAIT_SECONDS
        while _is_taken(handle):
            if time.monotonic() > deadline:
                raise FolderError(f"{folder} is in use by another winit run{_who(_parse(_contents(handle)))}.")
            time.sleep(0.05)
        try:
            holder = Holder(handle, _contents(handle))
        except OSError as error:
            raise FolderError(f"{folder} cannot be written: {error.strerror}.") from error
        try:
            yield holder
        finally:
            holder.close()
    finally:
        os.close(handle)


def look(path: Path) -> Standing:
    """Whether a process holds the lock, without taking it. A file that is missing or cannot be opened: nobody does."""
    if not disk.is_file(path):
        return Standing(False, None)
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return Standing(False, None)
    try:
        note = _parse(_contents(handle))
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return Standing(True, note)
        except OSError:
            return Standing(_is_fresh(note), note)
        # Read again: the holder may have written how it ended after the first reading.
        return Standing(False, _parse(_contents(handle)))
    finally:
        os.close(handle)


def _is_taken(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError as error:
        if error.errno not in _WITHOUT_LOCKS:
            raise FolderError(f"the lock cannot be asked for: {error.strerror}.") from error
        return _is_fresh(_parse(_contents(handle)))
    return False


def _is_fresh(note: Note | None) -> bool:
    """Whether a process has not written how it ended and its heartbeat is younger than STALE_SECONDS."""
    return note is not None and not note.state and time.time() - note.heartbeat < STALE_SECONDS


def _contents(handle: int) -> bytes:
    try:
        return os.pread(handle, 4 * SIZE, 0)
    except OSError:
        return b""


def _parse(text: bytes) -> Note | None:
    try:
        return Note.model_validate_json(text.strip())
    except ValidationError:
        return None


def _padded(text: bytes) -> bytes:
    """Text filled up with spaces to SIZE bytes, so that nothing of the earlier text is left behind it."""
    return text.strip().ljust(SIZE - 1)[: 4 * SIZE - 1] + b"\n"


def _who(note: Note | None) -> str:
    return f" (process {note.pid} on {note.host})" if note else ""
