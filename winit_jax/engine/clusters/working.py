"""What a worker of a cluster does: it says what it is, reads the sweep's data, computes parts and writes them.

These functions are called in the worker's process, in whose memory the missions that it was prepared for are kept. A
worker writes into the run folder by itself, under a lease of its own, as a shard does; which parts, its launcher tells.
"""

import os
import secrets
import socket
import sys
import threading
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from winit_jax.engine.computing import devices
from winit_jax.engine.computing.executor import Executor
from winit_jax.engine.computing.vocabulary import import_paths, planner, vocabulary
from winit_jax.engine.computing.work import read_work
from winit_jax.engine.planning.report import memory_problem
from winit_jax.engine.running import held
from winit_jax.engine.running.beside import digest, way
from winit_jax.engine.running.lanes import Abandoned
from winit_jax.errors import Refused, WinitError, described
from winit_jax.spec.parts import Part
from winit_jax.spec.sweep import Sweep
from winit_jax.store import journal, leases
from winit_jax.store.asked import grid_digest, settings_digest
from winit_jax.store.folder import RunFolder, StoreError
from winit_jax.store.writing import COMMIT_TABLE
from winit_jax.system import provenance, signals

# A file system over the network may show what another machine wrote only after a while.
PATIENCE_SECONDS, LOOK_SECONDS = 15.0, 0.25
# Between two looks whether the launcher still lives.
GUARD_SECONDS = 2.0
PLUGIN = "winit"
# This process, which no other one is: a worker that was killed may come back under its address.
PROCESS = secrets.token_hex(8)


@dataclass(frozen=True)
class Mission:
    """What parts are of: sent to a worker once, before the first.

    folder: the run folder, absolute. launcher: id of its lease. where: its working directory, in which import paths are
    searched. sweep: what the folder holds in the end.
    """

    folder: Path
    launcher: str
    where: str
    sweep: Sweep


@dataclass(frozen=True)
class Order:
    """A part to compute. process: of the worker that is meant. is_new: whether the part is in the folder in no form."""

    launcher: str
    process: str
    stem: str
    part: Part
    is_new: bool


@dataclass(frozen=True)
class Receipt:
    """What became of a part; the folder tells whether it is there.

    fault: why the part failed. unwritable: why the folder could not be written. step: of a training that was given up
    and kept. is_unknown: the worker is another process, or knows nothing of the mission, so that nothing was done.
    is_given_up: as asked. checks, notes: sentences for run.json and for the user.
    """

    fault: str = ""
    unwritable: str = ""
    step: int | None = None
    is_unknown: bool = False
    is_given_up: bool = False
    checks: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def introduce(folder: str, launcher: str) -> dict[str, Any]:
    """Who a worker is, and whether it sees the folder: of plain values, for it may be of another version.

    The token is the launcher's lease, a file of a name that was never there before.
    """
    token = leases.folder(Path(folder) / "staging") / f"{launcher}{leases.SUFFIX}"
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (sees := _reads(token)) and time.monotonic() < deadline:
        time.sleep(LOOK_SECONDS)
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "process": PROCESS,
        "versions": provenance.versions(),
        "commit": provenance.commit(),
        "sees": sees,
        "writes": sees and os.access(token.parent, os.W_OK),
    }


def _reads(token: Path) -> bool:
    with suppress(OSError):
        os.listdir(token.parent)  # some caches of a folder's entries are renewed by this alone
        return token.stem in token.read_text(encoding="utf-8")
    return False


def prepare(mission: Mission) -> dict[str, Any]:
    """Read what the sweep's networks are fed with, import its functions, and say what they are.

    Out: `problem`, a sentence, or `made_of` as of `held.made_of`.
    """
    try:
        session = _Session(mission)
    except WinitError as error:
        return {"problem": str(error)}
    except Exception as error:
        return {"problem": described(error)}
    _leave_at_the_end()
    with _table:
        earlier, _sessions[mission.launcher] = _sessions.get(mission.launcher), session
    if earlier is not None:
        earlier.close()
    return {"problem": "", "made_of": session.made_of}


def _leave_at_the_end() -> None:
    """Have the worker give its leases back when it ends in order: that is then not held against the part in flight."""
    from distributed import WorkerPlugin, get_worker
    from distributed.utils import sync

    class Leaving(WorkerPlugin):
        def setup(self, worker: Any) -> None:
            if worker.nanny:
                # A terminal, or a scheduler of jobs, tells all processes to end: the nanny ends this one in order.
                with suppress(ValueError):
                    signals.ignore()

        def teardown(self, worker: Any) -> None:
            leave()

    worker = get_worker()
    if PLUGIN not in worker.plugins:
        sync(worker.loop, worker.plugin_add, plugin=Leaving(), name=PLUGIN)


def compute(order: Order) -> Receipt:
    """Compute a part and commit it, under this process's lease."""
    with _table:
        session = _sessions.get(order.launcher)
    if order.process != PROCESS or session is None:
        return Receipt(is_unknown=True)
    return session.compute(order)


def give_up(launcher: str) -> None:
    """Have what is in training kept as it is, and given up."""
    with _table:
        session = _sessions.get(launcher)
    if session is not None:
        session.given_up.set()


def leave(launcher: str | None = None) -> None:
    """Forget a mission, or all, and give the lease back."""
    with _table:
        names = list(_sessions) if launcher is None else [launcher]
        gone = [session for name in names if (session := _sessions.pop(name, None)) is not None]
    for session in gone:
        session.given_up.set()
        session.close()


_sessions: dict[str, "_Session"] = {}
_table = threading.Lock()


@dataclass
class _Session:
    """A mission as one process carries it out, in several threads at once where several workers are of one process."""

    mission: Mission
    given_up: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        mission = self.mission
        if import_paths(mission.sweep):
            if mission.where not in sys.path and os.path.isdir(mission.where):
                sys.path.append(mission.where)
            self._import_own()
        words = vocabulary(lambda path: None)
        if problem := memory_problem(mission.sweep, planner(provenance.cores()), words, devices.on_cpu()):
            raise Refused(problem)
        self._said: list[str] = []
        self._executor = Executor(read_work(mission.sweep), say=self._said.append)
        self.made_of = held.made_of(self._executor.work)
        self._folder = RunFolder(mission.folder)
        self._having, self._lock, self._in_flight = ExitStack(), threading.RLock(), 0
        self._told_checks = 0

    def _import_own(self) -> None:
        words = vocabulary(lambda path: None)
        for name in import_paths(self.mission.sweep):
            check = words.check_init if name in self.mission.sweep.grid.init else words.check_activation
            if isinstance(problem := check(name), str):
                raise Refused(problem)

    def compute(self, order: Order) -> Receipt:
        notes: list[str] = []
        folder, depths = self._folder, tuple(self.mission.sweep.grid.depth)
        with self._lock:
            self._in_flight += 1
        try:
            self._open()
            if order.is_new and self._is_there(order):
                return Receipt()
            checkpoint = folder.checkpoint(order.stem, notes.append)
            try:
                watch = partial(self._watch, order.part.n_networks(set(depths)))
                tables = self._executor.run(order.part, depths, 0, watch, checkpoint)
            except Abandoned:
                return Receipt(is_given_up=True, step=checkpoint.step, notes=tuple(notes))
            except Exception as error:
                fault = str(error) if getattr(error, "is_sentence", False) else described(error)
                return Receipt(fault=fault, notes=tuple(notes))
            folder.write(order.stem, order.part, depths, tables)
            checkpoint.discard()
            assert folder.lease is not None
            folder.lease.tell(done=folder.lease.note.done + order.part.n_networks(set(depths)), under_way=0.0)
            return Receipt(checks=tuple(self._executor.verdicts.agreed), notes=(*notes, *self._news()))
        except OSError as error:
            return Receipt(unwritable=error.strerror or str(error))
        except StoreError as error:
            leave(order.launcher)
            return Receipt(unwritable=str(error), is_unknown=True)
        finally:
            with self._lock:
                self._in_flight -= 1

    def _open(self) -> None:
        """Begin to write, if this is the first part. Errors: OSError; StoreError."""
        with self._lock:
            folder, sweep = self._folder, self.mission.sweep
            if folder.lease is not None:
                return
            self._having.enter_context(folder.share(None))
            assert folder.lease is not None
            folder.lease.tell_now(process=PROCESS, has_begun=True, sweep=digest(sweep), cut=way())
            folder.plans_for(grid_digest(sweep), settings_digest(sweep))
            executor = self._executor
            if note := executor.choose_kernel(planner(provenance.cores()), held.kernels(folder)):
                self._said.append(f"note: {note}")
            environment = devices.environment()
            folder.made_with(held.made_with(sweep, self.made_of, environment, executor.measuring.kernel))
            threading.Thread(target=self._guard, name="launcher", daemon=True).start()

    def _is_there(self, order: Order) -> bool:
        """Whether another worker, whom nobody heard of any more, has written the part after all."""
        if not os.path.lexists(self.mission.folder / COMMIT_TABLE / f"{order.stem}.parquet"):
            return False
        return order.stem in journal.read(self.mission.folder).parts()

    def _watch(self, networks: int, share: float) -> None:
        """Is told which share of a training is done; the launcher reads it in the lease."""
        if self.given_up.is_set() and share < 1:
            raise Abandoned
        if (lease := self._folder.lease) is not None:
            lease.tell(under_way=share * networks)

    def _news(self) -> list[str]:
        with self._lock:
            news = list(self._said)
            self._said.clear()
        return news

    def _guard(self) -> None:
        """Give the lease back when the launcher is dead, once nothing is in flight."""
        staging, lease = self._folder.staging, self._folder.lease
        while self._folder.lease is lease:
            time.sleep(GUARD_SECONDS)
            if not leases.is_living(staging, self.mission.launcher):
                self.given_up.set()
                if not self._in_flight:
                    leave(self.mission.launcher)
                    return

    def close(self) -> None:
        """Give the lease back; what is in flight is not written any more."""
        with self._lock, suppress(OSError, StoreError):
            self._having.close()


async def give_up_when_told(launcher: str) -> None:
    """As `give_up`, beside what the worker computes."""
    give_up(launcher)


async def leave_when_told(launcher: str) -> None:
    """As `leave`."""
    leave(launcher)


async def end() -> None:
    """End the worker's process at once."""
    os._exit(1)
