"""From what `--cluster` says to workers: a scheduler that is there, processes of this machine, or jobs of SLURM."""

import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any

from winit_jax.engine.clusters.pool import Pool
from winit_jax.errors import Refused, described, says
from winit_jax.spec.clusters import Cluster

if TYPE_CHECKING:
    from distributed import Client

# How long a scheduler may take to answer.
ANSWER_SECONDS = 5
# How long processes of this machine have to end in order before they are ended.
END_SECONDS = 15.0
INSTALL = "is not installed: pip install 'winit-jax[cluster]'."
# Dask watches its threads, its loop and its machine many times a second, for pages that nobody looks at here.
UNWATCHED = {
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.system-monitor.interval": "5s",
    "distributed.diagnostics.nvml": False,
    "distributed.comm.timeouts.connect": f"{ANSWER_SECONDS}s",
}
_NOISY = ("distributed", "tornado", "bokeh", "asyncio")


@contextmanager
def connected(cluster: "Cluster | Any", say: Callable[[str], None]) -> Iterator[Pool]:
    """The workers of a cluster, or of a client or cluster of dask's that is there already.

    Errors: Refused where what it needs is not installed, or nobody answers.
    """
    dask = import_dask()
    with _silent(), dask.config.set(UNWATCHED), ExitStack() as stack:
        if not isinstance(cluster, Cluster):
            yield _given(cluster, stack)
            return
        address = cluster.address
        if cluster.kind == "local":
            address = stack.enter_context(_local(cluster.count))
        elif cluster.kind == "slurm":
            address = stack.enter_context(_slurm(cluster.count, say))
        yield Pool(stack.enter_context(_client(address)), str(cluster))


def import_dask() -> Any:
    try:
        import dask
        import distributed  # noqa: F401
    except ImportError as error:
        raise Refused(f"cluster: dask's `distributed` {INSTALL}") from error
    return dask


def _given(given: Any, stack: ExitStack) -> Pool:
    """Workers of a client that goes on afterwards, or of a cluster of dask's."""
    from distributed import Client
    from distributed.deploy import Cluster as Deployed

    if isinstance(given, Deployed):
        given = stack.enter_context(_client(given))
    if not isinstance(given, Client):
        raise Refused(
            f"cluster: {given!r} is neither text, such as 'local:4', nor a client of dask's, nor its cluster."
        )
    if given.asynchronous:
        raise Refused("cluster: the client is asynchronous; make one with asynchronous=False.")
    return Pool(given, given.scheduler.address if given.scheduler else "a closed client")


@contextmanager
def _client(address: Any) -> "Iterator[Client]":
    from distributed import Client

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of versions that differ; those that matter are compared
            client = Client(address, timeout=ANSWER_SECONDS, set_as_default=False)
    except Exception as error:
        why = says(error).rstrip(".") or type(error).__name__
        raise Refused(
            f"No dask scheduler answers at {address} ({why}). Start one with `dask scheduler`, and workers with "
            "`winit worker ADDRESS`."
        ) from error
    try:
        yield client
    finally:
        with suppress(Exception):
            client.close(timeout=ANSWER_SECONDS)


@contextmanager
def _local(count: int) -> Iterator[str]:
    """A scheduler in this process, and so many workers as `winit worker` starts them, in a session of their own, for
    what a terminal sends to all processes is for this one to act on."""
    from distributed import LocalCluster

    try:
        scheduler = LocalCluster(n_workers=0, dashboard_address=":0", silence_logs=logging.CRITICAL)
    except Exception as error:
        raise Refused(f"cluster: no scheduler could be started on this machine: {described(error)}.", 1) from error
    with scheduler:
        command = [sys.executable, "-m", "winit_jax", "worker", scheduler.scheduler_address, "--count", str(count)]
        workers = subprocess.Popen(
            [*command, "--quiet"], start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        try:
            yield scheduler.scheduler_address
        finally:
            workers.terminate()
            try:
                workers.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                with suppress(ProcessLookupError):
                    os.killpg(workers.pid, 9)
                workers.wait()


@contextmanager
def _slurm(jobs: int, say: Callable[[str], None]) -> Iterator[str]:
    """A scheduler in this process, and so many jobs with workers, as dask-jobqueue is configured."""
    try:
        from dask_jobqueue import SLURMCluster
    except ImportError as error:
        raise Refused("cluster: dask-jobqueue is not installed: pip install 'winit-jax[slurm]'.") from error
    try:
        cluster = SLURMCluster()
        cluster.scale(jobs=jobs)
    except Exception as error:
        raise Refused(
            f"cluster: SLURM jobs cannot be described: {says(error) or type(error).__name__} Write queue, cores, "
            "memory and walltime under jobqueue.slurm in ~/.config/dask/jobqueue.yaml."
        ) from error
    with cluster:
        say(f"{jobs:,} jobs are submitted to SLURM; parts are given out as they start")
        yield cluster.scheduler_address


@contextmanager
def _silent() -> Iterator[None]:
    """What libraries log of workers that come and go is said in sentences of our own.

    Dask gives loggers within its own, such as distributed.client, levels of their own.
    """
    known = [name for name in logging.root.manager.loggerDict if name.partition(".")[0] in _NOISY]
    loggers = [logging.getLogger(name) for name in dict.fromkeys([*_NOISY, *known])]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
