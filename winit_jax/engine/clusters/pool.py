"""Workers of a dask cluster, each of which is told what to do by its address.

Dask is not left to choose a worker, to try again or to count failures: who is told a part, and is not there any more
before it ended, is known at once (`clusters.driving`).
"""

import threading
from collections.abc import Callable
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from winit_jax.errors import WinitError, described

if TYPE_CHECKING:
    from distributed import Client, Future

# How long to wait for workers that are told something which they need not answer.
TELLING_SECONDS = 3.0


class SchedulerLost(WinitError):
    """One sentence: the scheduler cannot be reached any more."""

    code = 1


@dataclass(frozen=True)
class Answer:
    """What a worker answered: a value, or the sentence of what was raised instead."""

    value: Any = None
    fault: str = ""


class Called:
    """A function that a worker was told to call."""

    def __init__(self, future: "Future") -> None:
        self._future = future

    @property
    def is_over(self) -> bool:
        return bool(self._future.status != "pending")

    def answer(self) -> Answer:
        """Of what is over."""
        try:
            if self._future.status == "error":
                return Answer(fault=described(self._future.exception(timeout=TELLING_SECONDS)))
            return Answer(self._future.result(timeout=TELLING_SECONDS))
        except (CancelledError, Exception) as error:  # the answer cannot be had any more
            return Answer(fault=described(error))

    def forget(self) -> None:
        """Have it not done by anybody, should it not have begun."""
        self._future.cancel(force=True)


@dataclass
class Pool:
    """The workers that a client's scheduler has. name: as the cluster is asked for."""

    client: "Client"
    name: str
    _landed: threading.Event = field(default_factory=threading.Event)

    def check(self) -> None:
        """Errors: SchedulerLost."""
        if self.client.status != "running":
            raise self.lost()

    def workers(self) -> set[str]:
        """Their addresses. Errors: SchedulerLost."""
        self.check()
        try:
            return set(self.client.nthreads())
        except Exception as error:  # whatever a broken connection raises
            raise self.lost() from error

    def lost(self) -> SchedulerLost:
        return SchedulerLost(
            f"The scheduler of {self.name} cannot be reached any more. What was finished is kept; the same command "
            "goes on when it is there again."
        )

    def call(self, worker: str, function: Callable[..., Any], *arguments: Any) -> Called:
        """Have one worker call a function. Errors: SchedulerLost."""
        try:
            future = self.client.submit(
                function, *arguments, workers=[worker], allow_other_workers=False, pure=False, retries=0
            )
        except Exception as error:
            if self.client.status == "running":
                raise
            raise self.lost() from error
        future.add_done_callback(lambda _: self._landed.set())
        return Called(future)

    def wait(self, seconds: float) -> None:
        """Until anything is over, or so long."""
        self._landed.wait(seconds)
        self._landed.clear()

    def tell(self, function: Callable[..., Any], *arguments: Any, workers: list[str] | None = None) -> None:
        """Have workers call an async function beside what they compute, and wait for no answer."""

        def run() -> None:
            self.client.run(function, *arguments, workers=workers, wait=False, on_error="ignore")

        thread = threading.Thread(target=_quietly, args=(run,), name="telling workers", daemon=True)
        thread.start()
        thread.join(TELLING_SECONDS)


def _quietly(run: Callable[[], None]) -> None:
    try:
        run()
    except Exception:  # workers that are gone need not be told
        return
