"""The lock of a run folder, staging/lock: which process works in it, and how the last one ended.

One process holds it alone for a whole run; shards hold it together (`store.leases` says which they are). The lock is
the system's (flock), which is released when its process ends, however it ends. The file's contents serve people, file
systems without flock, and those whose locks end at the host: host, pid, start, heartbeat, and at the end how the
process ended. They are overwritten in place, so that writing them needs no room on a full disk.
"""

import errno
import fcntl
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import BaseModel, ValidationError

from winit_jax.store.journal import FolderError
from winit_jax.system import disk, machine

WAIT_SECONDS = 3.0  # how long to wait for a lock that another process may be releasing
BEAT_SECONDS = 5.0  # between heartbeats
# Where a lock does not tell, a process whose heartbeat is older than this counts as dead.
STALE_SECONDS = 60.0
SIZE = 1024  # bytes of the lock file
_WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


class Note(BaseModel):
    """The contents of the lock file.

    started, heartbeat: seconds since 1970. state: how the process ended, "" while it runs. reason: why it ended so.
    boot: which machine it is, since when; containers of several machines may have one host name.
    """

    host: str
    pid: int
    started: float
    heartbeat: float
    state: str = ""
    reason: str = ""
    boot: str = ""

    @property
    def is_of_this_host(self) -> bool:
        """Whether the process runs, or ran, where this one does."""
        return self.host == socket.gethostname() and self.boot in ("", machine.boot())


@dataclass(frozen=True)
class Standing:
    """held: whether a process holds the lock. note: the file's contents, of it or of the last holder, if readable."""

    held: bool
    note: Note | None


AnyNote = TypeVar("AnyNote", bound=Note)


def new_note() -> Note:
    """What a process writes that begins now."""
    now = time.time()
    return Note(host=socket.gethostname(), pid=os.getpid(), started=now, heartbeat=now, boot=machine.boot())


class Holder(Generic[AnyNote]):
    """A file with a note in it that this process keeps fresh.

    Call `end` to say how the work ended. Without that, `close` restores what the file said before.
    """

    def __init__(self, handle: int, earlier: bytes, note: AnyNote) -> None:
        self._handle, self._earlier = handle, earlier
        self._stop, self._writing = threading.Event(), threading.Lock()
        self.note = note
        self._write()
        threading.Thread(target=self._beat, name="heartbeat", daemon=True).start()

    def tell(self, **changes: object) -> None:
        """Change the note; the next heartbeat writes it."""
        with self._writing:
            self.note = self.note.model_copy(update=changes)

    def tell_now(self, **changes: object) -> None:
        """Change the note and write it. Errors: OSError."""
        self.tell(**changes)
        with self._writing:
            self._write()
            os.fsync(self._handle)

    def end(self, state: str, reason: str = "") -> None:
        """Set how the work ended; `close` writes it."""
        self.tell(state=state, reason=reason[:300])

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
                    os.fsync(self._handle)  # other hosts see what has reached the server

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
def hold(path: Path, others: Callable[[], str] = lambda: "") -> Iterator[Holder[Note]]:
    """Lock a run folder for this process alone; path: its lock file.

    others: the processes that share the folder, in words, "" for none.
    Errors: FolderError if another process still holds it after WAIT_SECONDS, or the file cannot be written.
    """
    folder = path.parent.parent
    with _opened(path) as handle:
        _wait_for(handle, path, fcntl.LOCK_EX, others)
        try:
            holder = Holder(handle, contents(handle), new_note())
        except OSError as error:
            raise FolderError(f"{folder} cannot be written: {error.strerror}.") from error
        try:
            if words := others():  # where there are no locks, or they end at the host, notes tell
                raise FolderError(f"{folder} is in use by {words}.")
            yield holder
        finally:
            holder.close()


@contextmanager
def hold_shared(path: Path) -> Iterator[None]:
    """Lock a run folder together with others that do likewise; its note is left as it is.

    Errors: FolderError if a process holds it alone and still does after WAIT_SECONDS, or it cannot be opened.
    """
    with _opened(path) as handle:
        _wait_for(handle, path, fcntl.LOCK_SH, lambda: "")
        yield


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o666)
    except OSError as error:
        raise FolderError(f"{path} cannot be opened: {error.strerror}.") from error
    try:
        if not disk.is_file(path):
            raise FolderError(f"{path} is not a file. Move it away.")
        yield handle
    finally:
        os.close(handle)


def _wait_for(handle: int, path: Path, how: int, others: Callable[[], str]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while _is_taken(handle, path, how):
        if time.monotonic() > deadline:
            who = others() or f"another winit run{_who(_parse(contents(handle)))}"
            raise FolderError(f"{path.parent.parent} is in use by {who}.")
        time.sleep(0.05)


def look(path: Path) -> Standing:
    """Whether a process holds the lock alone, without taking it. A file that is missing or cannot be opened: nobody."""
    if not disk.is_file(path):
        return Standing(False, None)
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return Standing(False, None)
    try:
        note = _parse(contents(handle))
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return Standing(True, note)
        except OSError:
            return Standing(_is_fresh(note), note)
        # Read again: the holder may have written how it ended after the first reading.
        note = _parse(contents(handle))
        return Standing(_works_elsewhere(note, path), note)
    finally:
        os.close(handle)


def _is_taken(handle: int, path: Path, how: int) -> bool:
    try:
        fcntl.flock(handle, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError as error:
        if error.errno not in _WITHOUT_LOCKS:
            raise FolderError(f"the lock cannot be asked for: {error.strerror}.") from error
        return _is_fresh(_parse(contents(handle)))
    if _works_elsewhere(_parse(contents(handle)), path):
        fcntl.flock(handle, fcntl.LOCK_UN)
        return True
    return False


def _works_elsewhere(note: Note | None, path: Path) -> bool:
    """Whether a process of another host is at work though the lock is free: on a network file system that may be."""
    is_elsewhere = note is not None and not note.is_of_this_host
    return is_elsewhere and _is_fresh(note) and not disk.is_of_this_machine(path)


def _is_fresh(note: Note | None) -> bool:
    """Whether a process has not written how it ended and its heartbeat is younger than STALE_SECONDS."""
    return note is not None and not note.state and time.time() - note.heartbeat < STALE_SECONDS


def contents(handle: int) -> bytes:
    """What an open file says, nothing where it cannot be read."""
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
