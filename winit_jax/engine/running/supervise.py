"""Two processes for a run: one computes, and one that is light watches it.

Whatever a sweep's code or a library under it does, the watching process lives on: it hands the user's signals over and
sees to it that they are obeyed, it notes which jobs are in flight, and where the computing process dies it starts
another one that goes on. A job that was in flight at one such death is suspected and runs alone; at the second it is
set aside and named. Networks that are trained together are one job of that kind until their second death, for by
themselves they would end in other last digits. Where the kernel killed for want of memory, the next process computes
half as many networks at a time before anything is held against a job. Only deaths that a living supervisor saw count,
and each command begins with a clean record, so that ending a whole run by force is never held against a job.

A process that ends as it should says so last; one that does not has died, whatever its exit code.
"""

import contextlib
import json
import math
import os
import select
import signal
import sys
import threading
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from winit_jax.engine.running.record import Jobs, Record
from winit_jax.system import machine, signals

# The exit code with which a process asks for another one in its place: EX_TEMPFAIL of sysexits.h.
AGAIN = 75
# After a request to end, what is in flight has so long; after a second one, or once that is over, the process has.
GRACE_SECONDS, KILL_SECONDS = 10.0, 3.0
# The same signal within this time is the same request.
SAME_SECONDS = 0.1
POLL_SECONDS = 0.2
# Of all memory: where less is free, a process that is killed was killed for that.
LOW_SHARE = 0.02


@dataclass
class Watched:
    """What the computing process knows of the record, and its journal. Without a journal nobody watches it.

    attempt: how many processes came before it. suspects: keys of jobs that have to run alone, and at how many deaths
    they were in flight. set_aside: why jobs are not to be tried again. hopeless: programs. hung: set when a thread is
    left behind that never ends. began, halved: see `Record`.
    """

    journal: int | None = None
    attempt: int = 0
    suspects: Mapping[str, int] = field(default_factory=dict)
    set_aside: Mapping[str, str] = field(default_factory=dict)
    hopeless: frozenset[str] = frozenset()
    hung: bool = False
    began: tuple[int, float] | None = None
    halved: int = 0

    @property
    def is_supervised(self) -> bool:
        """Whether another process goes on where this one ends."""
        return self.journal is not None

    def begins(self, there: int) -> tuple[int, float]:
        """`began`, of this process unless another one came before it. there: networks that the folder holds."""
        if self.began is not None:
            return self.began
        at = time.monotonic()
        self._write({"what": "begin", "there": there, "at": at})
        return there, at

    def started(self, jobs: Jobs, divisible: bool) -> None:
        """Jobs that are computed together from now on. divisible: they can be computed apart."""
        self._write({"what": "start", "jobs": jobs, "divisible": divisible})

    def ended(self, jobs: Jobs, well: bool) -> None:
        """Jobs that are in flight no more. well: nothing was raised."""
        self._write({"what": "end", "jobs": jobs, "well": well})

    def late(self, jobs: Jobs, reason: str, final: bool) -> None:
        """Jobs of a part that was given up. final: they are set aside; else each of them is tried once more, alone."""
        self._write({"what": "late", "jobs": jobs, "reason": reason, "final": final})

    def again(self) -> NoReturn:
        """End at once, and have another process go on."""
        self.ends(AGAIN)
        leave(AGAIN)

    def ends(self, code: int) -> None:
        """The process is about to exit with a code, all done that it had to do."""
        self._write({"what": "bye", "code": code})

    def _write(self, line: Mapping[str, Any]) -> None:
        if self.journal is not None:
            with contextlib.suppress(OSError):  # a supervisor that was killed takes this process with it
                os.write(self.journal, json.dumps(line).encode() + b"\n")


# Of this process, where `begin` found a supervisor for it.
current = Watched()


def is_held_open() -> bool:
    """Whether a thread that nobody waits for keeps this process alive: one that hangs, or one of a user's function."""
    others = (thread for thread in threading.enumerate() if thread is not threading.main_thread())
    return current.hung or any(not thread.daemon for thread in others)


def leave(code: int) -> NoReturn:
    """End this process whatever its threads do."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(code)


def begin() -> Watched:
    """Return in a process that does the work; the one that called waits for it, and exits with its code.

    Where there is no fork, or it would not be safe any more, the caller does the work unwatched.
    """
    if not hasattr(os, "fork") or _devices_are_open():
        return Watched()
    return _Supervisor().run()


def _devices_are_open() -> bool:
    """JAX's threads do not survive a fork."""
    bridge = sys.modules.get("jax._src.xla_bridge")
    return bridge is not None and getattr(bridge, "backends_are_initialized", lambda: True)()


class _Supervisor:
    """The watching process.

    record: what is known of jobs. pid: of the process that computes, 0 between two of them. requests: the user's
    signals, each with the time of its coming. by_force: whether the process did not end when it was asked to.
    """

    def __init__(self) -> None:
        self.record = Record()
        self.memory = _Memory()
        self.pid = 0
        self.requests: list[tuple[int, float]] = []
        self.by_force = False

    def run(self) -> Watched:
        """Start processes that compute, one after another, until one has ended for good; then exit with its code.

        It returns in each of them, with what it needs to know; in the watching process never.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, signals.SIGNALS)
        signals.handle(self._forward)
        attempt = 0
        while True:
            reading, writing = os.pipe()
            own_id = os.getpid()
            self.memory = _Memory()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of threads: there are none yet that matter, see _devices_are_open
                self.pid = os.fork()
            if not self.pid:
                os.close(reading)
                signals.end_command()
                _end_with(own_id)
                signal.pthread_sigmask(signal.SIG_UNBLOCK, signals.SIGNALS)
                return self._watched(writing, attempt)
            os.close(writing)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, signals.SIGNALS)
            if self.requests:  # between two processes
                os.kill(self.pid, self.requests[-1][0])
            status = self._wait(reading)
            os.close(reading)
            if (code := self._exit_code(status)) is not None:
                sys.exit(code)
            self.record.restarted()
            attempt += 1
            signal.pthread_sigmask(signal.SIG_BLOCK, signals.SIGNALS)

    def _watched(self, journal: int, attempt: int) -> Watched:
        """What a new process needs to know of those before it."""
        record = self.record
        return Watched(
            journal,
            attempt,
            record.suspects,
            dict(record.set_aside),
            record.hopeless,
            began=record.began,
            halved=record.halved,
        )

    def _forward(self, number: int, frame: object) -> None:
        """Hand a signal of the user's over to the process that computes, once for each request."""
        now = time.monotonic()
        if self.requests and now - self.requests[-1][1] < SAME_SECONDS:
            return
        self.requests.append((number, now))
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def _wait(self, journal: int) -> int:
        """The status with which the process ended; its journal is read meanwhile."""
        os.set_blocking(journal, False)
        text, is_open = b"", True
        while True:
            if is_open:
                select.select([journal], [], [], POLL_SECONDS)
            else:
                time.sleep(POLL_SECONDS / 10)
            pid, status = os.waitpid(self.pid, os.WNOHANG)  # before the last reading, so that nothing is missed
            if is_open:
                more, is_open = _read_all(journal)
                *lines, text = (text + more).split(b"\n")
                for line in lines:
                    self.record.note(json.loads(line))
            if pid:
                self.pid = 0
                return status
            self.memory.look()
            if self._is_overdue():
                os.kill(self.pid, signal.SIGKILL)
                self.by_force = True

    def _is_overdue(self) -> bool:
        """Whether the process was asked to end, and has had the time for it."""
        if not self.requests:
            return False
        second = self.requests[1][1] if len(self.requests) > 1 else self.requests[0][1] + GRACE_SECONDS
        return time.monotonic() > second + KILL_SECONDS

    def _exit_code(self, status: int) -> int | None:
        """The code to exit with, or None where another process has to go on.

        status: of `os.waitpid`. A process that ends as it should announces its code; one that does not has died.
        """
        announced = self.record.ended_with
        if not os.WIFSIGNALED(status):
            code = os.WEXITSTATUS(status)
            if announced == code == AGAIN and not self.requests:
                return None
            if announced == code or self.requests:
                return 128 + self.requests[0][0] if code == AGAIN else code
            return self._after_a_death(f"os._exit({code})")  # of code that was run, for the command had not ended
        number = os.WTERMSIG(status)
        if self.by_force:
            _say("What was being computed did not end, and was ended by force. What was finished is kept.")
        if self.requests or number in signals.SIGNALS:
            return 128 + (self.requests[0][0] if self.requests else number)
        if announced is not None and announced != AGAIN:
            return announced  # what a library does after the end changes nothing
        cause = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
        if self.record.in_flight and self.memory.ran_out(number) and self.record.ran_out():
            _say(
                "The process was killed, and memory had run out. What was finished is kept; going on with half as many "
                "networks at a time. A lower compute.batch_mib begins there."
            )
            return None
        return self._after_a_death(f"{cause}, as when memory runs out" if number == signal.SIGKILL else cause)

    def _after_a_death(self, cause: str) -> int | None:
        """Say what was being computed and hold it against those jobs; None, for another process goes on.

        Where nothing was being computed, another one would die likewise: 1.
        """
        if sys.stderr is not None and sys.stderr.isatty():
            print("\x1b[?25h", end="", file=sys.stderr)  # a bar hides the cursor
        if not self.record.in_flight:
            _say(f"The process was killed ({cause}) while nothing was being computed. What was finished is kept.")
            return 1
        names = list(dict.fromkeys(self.record.in_flight.values()))
        shown = "; ".join(names[:3]) + (f"; and {len(names) - 3} more" if len(names) > 3 else "")
        _say(f"The process was killed ({cause}) in the middle of: {shown}. What was finished is kept; going on.")
        self.record.died(cause)
        return None


class _Memory:
    """How much memory there was while a process was watched."""

    def __init__(self) -> None:
        self._kills, self._looked, self._free = machine.memory_kills(), time.monotonic(), math.inf

    def look(self) -> None:
        """Ask how much is free, not more often than POLL_SECONDS."""
        if (now := time.monotonic()) - self._looked >= POLL_SECONDS:
            self._looked, self._free = now, machine.free_bytes()

    def ran_out(self, number: int) -> bool:
        """Whether a process that this signal ended seems to have died for want of memory.

        Killed: the kernel has killed any process for it, or next to nothing was free at the last look. Aborted: where
        addresses are limited, as C++ aborts when it is refused some.
        """
        if number != signal.SIGKILL:
            return number == signal.SIGABRT and machine.has_limited_addresses()
        return machine.memory_kills() > self._kills or self._free < LOW_SHARE * machine.memory_bytes()


def _read_all(pipe: int) -> tuple[bytes, bool]:
    """(What lies in a pipe that does not block, whether somebody may still write to it)."""
    chunks: list[bytes] = []
    while True:
        try:
            chunk = os.read(pipe, 1 << 16)
        except BlockingIOError:
            return b"".join(chunks), True
        if not chunk:
            return b"".join(chunks), False
        chunks.append(chunk)


def _say(text: str) -> None:
    with contextlib.suppress(Exception):
        print(text, file=sys.stderr, flush=True)


def _end_with(parent: int) -> None:
    """Have this process killed when `parent` dies, however that dies."""
    if sys.platform == "linux":
        import ctypes

        PR_SET_PDEATHSIG = 1
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    else:

        def watch() -> None:
            while os.getppid() == parent:
                time.sleep(1.0)
            os.kill(os.getpid(), signal.SIGKILL)

        threading.Thread(target=watch, name="parent", daemon=True).start()
    if os.getppid() != parent:
        os._exit(1)
