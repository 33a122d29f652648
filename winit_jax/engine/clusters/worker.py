"""A worker of a dask cluster that is set up for parts of sweeps: `winit worker`."""

import asyncio
import logging
import os
import signal
from typing import Any

from winit_jax.engine.clusters.connecting import UNWATCHED, import_dask
from winit_jax.errors import Refused
from winit_jax.system import signals

# How long a worker that finds no scheduler goes on looking for one.
LOOKING_SECONDS = 60
LOGGING = ("DISTRIBUTED", "TORNADO", "ASYNCIO")
SETTINGS = {
    **UNWATCHED,
    # By default dask sets OMP_NUM_THREADS and others for its workers, which would compute otherwise than a run without.
    "distributed.nanny.pre-spawn-environ": {},
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": False,
}


def serve(address: str, count: int = 1, platform: str | None = None, quiet: bool = False) -> int:
    """Run so many workers of a scheduler until it ends or a signal comes; the exit code.

    Each is a process of one thread, which another small one starts again when it dies, and which no limit on memory
    ends: a part that needs more than there is dies, is tried once more, and is named. platform: of JAX.
    Errors: Refused.
    """
    if platform is not None:
        os.environ["JAX_PLATFORMS"] = platform
    # For the processes that it starts, too.
    os.environ.update({f"DASK_LOGGING__{name}": "CRITICAL" if quiet else "WARNING" for name in LOGGING})
    dask = import_dask()
    for name in LOGGING:
        logging.getLogger(name.lower()).setLevel(logging.CRITICAL if quiet else logging.WARNING)
    with dask.config.set(SETTINGS):
        return asyncio.run(_serve(address, count))


def dask_setup(worker: Any) -> None:
    """Called by dask in each worker's process: what a terminal tells all processes is for the small one to act on."""
    signals.ignore()


async def _serve(address: str, count: int) -> int:
    from distributed import Nanny

    workers = [
        Nanny(address, nthreads=1, memory_limit=0, death_timeout=LOOKING_SECONDS, dashboard=False, preload=__name__)
        for _ in range(count)
    ]
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, asked.set)
    over = asyncio.ensure_future(_until_all_end(workers))
    asking = asyncio.ensure_future(asked.wait())
    await asyncio.wait([over, asking], return_when=asyncio.FIRST_COMPLETED)
    if not over.done():
        await asyncio.gather(*(worker.close(timeout=10) for worker in workers), return_exceptions=True)
        over.cancel()
        return 0
    asking.cancel()
    if error := over.exception():
        raise Refused(f"No dask scheduler answers at {address}, and the worker ends.", 1) from error
    return 0


async def _until_all_end(workers: list[Any]) -> None:
    await asyncio.gather(*workers)
    await asyncio.gather(*(worker.finished() for worker in workers))
