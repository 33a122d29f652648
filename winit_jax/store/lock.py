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
# How long after its note was written a process looks whether it stands, where there are no locks.
SETTLE_SECONDS = 0.5
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

    Call `end` to say how the work ended. Without that, `close` restores what the file said before. has_lock: whether
    the file is locked too; on file systems without locks the heartbeat alone tells others of this process.
    """

    has_lock = True

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
        has_lock = _wait_for(handle, path, fcntl.LOCK_EX, others)
        try:
            holder = Holder(handle, contents(handle), new_note())
        except OSError as error:
            raise FolderError(f"{folder} cannot be written: {error.strerror}.") from error
        holder.has_lock = has_lock
        try:
            if not has_lock:
                _check_stands(path, holder.note)
            if words := others():  # where there are no locks, or they end at the host, notes tell
                raise FolderError(f"{folder} is in use by {words}.")
            yield holder
        finally:
            holder.close()


@contextmanager
def hold_shared(path: Path) -> Iterator[bool]:
    """Lock a run folder together with others that do likewise; its note is left as it is. Out: whether there are locks.

    Errors: FolderError if a process holds it alone and still does after WAIT_SECONDS, or it cannot be opened.
    """
    with _opened(path) as handle:
        yield _wait_for(handle, path, fcntl.LOCK_SH, lambda: "")


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


def _wait_for(handle: int, path: Path, how: int, others: Callable[[], str]) -> bool:
    """Wait until nobody else has the folder; whether it is locked, False on a file system without locks."""
    deadline = time.monotonic() + WAIT_SECONDS
    while (has_lock := _taken(handle, path, how)) is None:
        if time.monotonic() > deadline:
            who = others() or f"another winit run{_who(_parse(contents(handle)))}"
            raise FolderError(f"{path.parent.parent} is in use by {who}.")
        time.sleep(0.05)
    return has_lock


def _check_stands(path: Path, own: Note) -> None:
    """Of two processes that begin at once without locks, the one that wrote last has the folder.

    Errors: FolderError for the other one.
    """
    time.sleep(SETTLE_SECONDS)
    with _opened(path) as handle:  # anew: caches of network file systems are renewed by this
        note = _parse(contents(handle))
    if note is None or (note.host, note.pid, note.started) != (own.host, own.pid, own.started):
        raise FolderError(f"{path.parent.parent} is in use by another winit run{_who(note)}.")


def check_free(path: Path) -> None:
    """Errors: FolderError where a process has the folder alone. For one that has just told the others of itself."""
    if (standing := look(path)).held:
        raise FolderError(f"{path.parent.parent} is in use by another winit run{_who(standing.note)}.")


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
            return Standing(_seems_alive(note), note)
        # Read again: the holder may have written how it ended after the first reading.
        note = _parse(contents(handle))
        return Standing(_works_elsewhere(note, path), note)
    finally:
        os.close(handle)


def _taken(handle: int, path: Path, how: int) -> bool | None:
    """Take the lock: True; None where another process has it; False where there are no locks, and nobody else is seen.

    Errors: FolderError where it cannot be asked for.
    """
    try:
        fcntl.flock(handle, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return None
    except OSError as error:
        if error.errno not in _WITHOUT_LOCKS:
            raise FolderError(f"the lock {path} cannot be asked for: {error.strerror}.") from error
        return None if _seems_alive(_parse(contents(handle))) else False
    if _works_elsewhere(_parse(contents(handle)), path):
        fcntl.flock(handle, fcntl.LOCK_UN)
        return None
    return True


def _works_elsewhere(note: Note | None, path: Path) -> bool:
    """Whether a process of another host is at work though the lock is free: on a network file system that may be."""
    is_elsewhere = note is not None and not note.is_of_this_host
    return is_elsewhere and _is_fresh(note) and not disk.is_of_this_machine(path)


def _is_fresh(note: Note | None) -> bool:
    """Whether a process has not written how it ended and its heartbeat is younger than STALE_SECONDS."""
    return note is not None and not note.state and time.time() - note.heartbeat < STALE_SECONDS


def _seems_alive(note: Note | None) -> bool:
    """The same where there are no locks: of this host, a process that is not there is dead."""
    return note is not None and _is_fresh(note) and (not note.is_of_this_host or is_running(note.pid))


def is_running(pid: int) -> bool:
    """Whether this host has a process of that number, which may be another one by now."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True


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
