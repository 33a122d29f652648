"""Who writes into a run folder together with others: a lease for each, in staging/writers/.

A lease is a file with a note, which its writer locks and keeps fresh by a heartbeat. Another process of the same
host, or of any host where locks reach over the network, sees at once when the lock is gone; where locks end at the
host, a writer of another host counts as dead once its heartbeat is older than `lock.STALE_SECONDS`. What a writer has
staged lies in a folder of its own beside its lease, so that nobody takes it for what a dead one left.
"""

import fcntl
import os
import re
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from winit_jax.spec.shards import Shard
from winit_jax.store import lock
from winit_jax.store.journal import WRITERS, FolderError
from winit_jax.system import disk

SUFFIX = ".json"


class Lease(lock.Note):
    """The note of one writer.

    id: its name, which no other writer ever had. process: what a worker is known by to its launcher. shard: (number,
    of), or None for one that is given its tasks by another process. has_begun: whether it has joined the folder, and
    may write parts. sweep: digest of the sweep that it computes, in the words of `store.asked`; cut: of how parts are
    cut and dealt. cluster: what `--cluster` said, of the process that gives others their parts; "" for all else.
    total, already_done, done: networks of its share, those that were there when it began, and those now. under_way: of
    networks in training, by the share of their steps. failed: jobs.
    """

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,150}$")]
    shard: tuple[int, int] | None = None
    cluster: str = ""
    process: str = ""
    has_begun: bool = False
    sweep: str = ""
    cut: str = ""
    total: int = 0
    already_done: int = 0
    done: int = 0
    under_way: float = 0.0
    failed: int = 0

    @property
    def who(self) -> str:
        """The process, in words."""
        return f"process {self.pid} on {self.host}"

    @property
    def what(self) -> str:
        """What it does, in words."""
        if self.shard:
            return f"shard {Shard(*self.shard)}"
        return f"the launcher of {self.cluster}" if self.cluster else "a worker"

    @property
    def is_a_worker(self) -> bool:
        """Whether it computes what a launcher tells it to."""
        return not (self.shard or self.cluster)


@dataclass(frozen=True)
class Writer:
    """A lease as it was found. is_alive: whether its process still runs, as far as can be told."""

    lease: Lease
    is_alive: bool


def folder(staging: Path) -> Path:
    """Where the leases lie."""
    return staging / WRITERS


@contextmanager
def hold(staging: Path, shard: Shard | None, cluster: str = "") -> Iterator[lock.Holder[Lease]]:
    """A lease of this process's own; its file is gone at the end. cluster: as of `Lease`.

    Errors: FolderError where it cannot be written.
    """
    place = folder(staging)
    host = re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())[:60].lstrip("-") or "host"
    name = f"{host}-{os.getpid()}-{secrets.token_hex(4)}"
    new, path = place / f"{name}.new", place / f"{name}{SUFFIX}"
    handle = -1
    try:
        handle = _make(place, new)
        with suppress(OSError):  # where there are no locks, the heartbeat tells
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        of = (shard.number, shard.of) if shard else None
        note = Lease(**lock.new_note().model_dump(), id=name, shard=of, cluster=cluster)
        holder = lock.Holder(handle, b"", note)
        os.rename(new, path)  # with its note and its lock
    except OSError as error:
        if handle >= 0:
            os.close(handle)
        raise FolderError(f"{staging.parent} cannot be written: {error.strerror}.") from error
    try:
        yield holder
    finally:
        holder.close()
        with suppress(OSError):
            os.unlink(path)
        os.close(handle)
        with suppress(OSError):  # others have leases in it
            os.rmdir(place)


def _make(place: Path, path: Path) -> int:
    """A new file, open, in a folder that the last of the others may just be removing. Errors: OSError."""
    while True:
        os.makedirs(place, exist_ok=True)
        with suppress(FileNotFoundError):
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)


def writers(staging: Path) -> list[Writer]:
    """All that have a lease, in the order of their shards. One whose note cannot be read is left out if it is old.

    Errors: FolderError where the folder of leases cannot be listed.
    """
    place = folder(staging)
    try:
        names = [name for name in disk.names(place) if name.endswith(SUFFIX)]
    except OSError as error:
        raise FolderError(f"{place} cannot be read: {error.strerror}.") from error
    found = [writer for name in names if (writer := _look(place / name)) is not None]
    return sorted(found, key=lambda writer: (writer.lease.shard or (0, 0), writer.lease.id))


def living(staging: Path) -> list[Lease]:
    """The leases of writers that are alive."""
    return [writer.lease for writer in writers(staging) if writer.is_alive]


def is_living(staging: Path, id: str) -> bool:
    """Whether the writer of this lease is alive, and has not ended."""
    writer = _look(folder(staging) / f"{id}{SUFFIX}")
    return writer is not None and writer.is_alive and not writer.lease.state


def take_away(staging: Path, process: str) -> bool:
    """Take the leases of a worker away, so that it commits nothing any more; whether it had any.

    Whoever ends in order has none. Errors: FolderError; OSError.
    """
    left = [writer.lease.id for writer in writers(staging) if writer.lease.process == process]
    for id in left:
        with suppress(FileNotFoundError):
            os.unlink(folder(staging) / f"{id}{SUFFIX}")
    return bool(left)


def in_words(leases: list[Lease], most: int = 3) -> str:
    """The writers of these leases, for a sentence; "" for none."""
    if not leases:
        return ""
    words = [f"{lease.what} ({lease.who})" for lease in leases[:most]]
    more = len(leases) - most
    return ", ".join(words) + (f" and {more:,} more" if more > 0 else "")


def _look(path: Path) -> Writer | None:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:  # it has just ended
        return None
    try:
        lease = _read(handle, path)
        return None if lease is None else Writer(lease, _is_alive(handle, path, lease))
    finally:
        os.close(handle)


def _read(handle: int, path: Path) -> Lease | None:
    """The note of a lease; once more where it is just being written."""
    for _ in range(5):
        with suppress(ValidationError):
            lease = Lease.model_validate_json(lock.contents(handle).strip())
            return lease if lease.id == path.stem else None
        time.sleep(0.01)
    return None


def _is_alive(handle: int, path: Path, lease: Lease) -> bool:
    is_here = lease.is_of_this_host
    is_fresh = not lease.state and time.time() - lease.heartbeat < lock.STALE_SECONDS
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # no locks: a process that is not there is dead, and one that is may be another of its number
        return is_fresh and (not is_here or lock.is_running(lease.pid))
    return is_fresh and not is_here and not disk.is_of_this_machine(path)
