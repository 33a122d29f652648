"""Who works in a run folder, and how the last one ended: staging/lock.

The lock is the system's (flock), so that it ends with its process however that dies. What the file says is for people
and for file systems without locks: host, pid, since when, a heartbeat, and at the end how it ended. It is overwritten
in place, so that this needs no room on a full disk.
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

WAIT_SECONDS = 3.0  # for a lock that is just being let go
BEAT_SECONDS = 5.0
# Where locks cannot be asked for, a heartbeat that is older than this is that of a dead process.
STALE_SECONDS = 60.0
SIZE = 1024
_WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


class Note(BaseModel):
    """What the lock file says. Times in seconds since 1970. state: how the process ended, empty while it runs."""

    host: str
    pid: int
    started: float
    heartbeat: float
    state: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Standing:
    """Whether somebody holds the lock, and what the file says of them or of who held it last."""

    held: bool
    note: Note | None


class Holder:
    """The lock, held. Say with `end` how the work ended; otherwise what the file said before is put back."""

    def __init__(self, handle: int, earlier: bytes) -> None:
        self._handle, self._before = handle, earlier
        self._stop, self._writing = threading.Event(), threading.Lock()
        now = time.time()
        self.note = Note(host=socket.gethostname(), pid=os.getpid(), started=now, heartbeat=now)
        self._write()
        threading.Thread(target=self._beat, name="heartbeat", daemon=True).start()

    def end(self, state: str, reason: str = "") -> None:
        with self._writing:
            self.note = self.note.model_copy(update={"state": state, "reason": reason[:300]})

    def _write(self) -> None:
        os.pwrite(self._handle, _padded(self.note.model_dump_json().encode()), 0)

    def _beat(self) -> None:
        while not self._stop.wait(BEAT_SECONDS):
            with self._writing:
                if self._stop.is_set():  # the descriptor may be another file's by now
                    return
                self.note = self.note.model_copy(update={"heartbeat": time.time()})
                with suppress(OSError):
                    self._write()

    def close(self) -> None:
        """Write nothing after this: the caller closes the descriptor."""
        with self._writing:
            self._stop.set()
            with suppress(OSError):
                if self.note.state or not self._before.strip():
                    self._write()
                else:
                    os.pwrite(self._handle, _padded(self._before), 0)


@contextmanager
def hold(path: Path) -> Iterator[Holder]:
    """Hold the folder whose lock file this is. Errors: FolderError if another process does, or it cannot be written."""
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
    """Who holds a lock, without taking it. A file that is not there, or says nothing, was held by nobody."""
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
        # Read again: the holder may have ended between the two.
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
    """Whether a process that has not said how it ended still seems alive, by its heartbeat."""
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
    """Of one length, so that what is written over it leaves nothing behind."""
    return text.strip().ljust(SIZE - 1)[: 4 * SIZE - 1] + b"\n"


def _who(note: Note | None) -> str:
    return f" (process {note.pid} on {note.host})" if note else ""
