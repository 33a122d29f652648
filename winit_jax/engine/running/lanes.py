"""Lanes: threads in which parts are computed side by side, and which can be left behind when one hangs."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any

from winit_jax.engine.running.suspects import Task

# How often the lanes are looked at, so that a signal is acted on between parts.
LOOK_SECONDS = 0.2


class Abandoned(Exception):
    """A part was given up for a signal or for the time it took; nothing of it is kept."""


@dataclass(eq=False)
class Flight:
    """A task in a lane. share: of it that is done."""

    task: Task
    lane: int
    received: Sequence[int]
    started: float = field(default_factory=time.monotonic)
    given_up: threading.Event = field(default_factory=threading.Event)
    share: float = 0.0

    def watch(self, share: float) -> None:
        """Called in the lane now and then. Errors: Abandoned, where what is done so far is not wanted any more."""
        if self.given_up.is_set() or (self.received and share < 1):
            raise Abandoned
        self.share = share


class Lanes:
    """So many threads. received: signals of the user's, at which unfinished training is given up."""

    def __init__(self, count: int, received: Sequence[int]) -> None:
        self.free = list(range(count))
        self._received = received
        self._threads: dict[int, ThreadPoolExecutor] = {}
        self._flying: dict[Future[Any], Flight] = {}

    def __enter__(self) -> "Lanes":
        return self

    def __exit__(self, *error: object) -> None:
        for thread in self._threads.values():
            thread.shutdown(wait=False, cancel_futures=True)

    @property
    def in_flight(self) -> int:
        return len(self._flying)

    @property
    def is_idle(self) -> bool:
        return not self._flying

    def start(self, task: Task, compute: Callable[[Task, Flight], None]) -> None:
        """Compute a task in a free lane."""
        lane = self.free.pop(0)
        if lane not in self._threads:
            self._threads[lane] = ThreadPoolExecutor(1, thread_name_prefix=f"lane-{lane}")
        flight = Flight(task, lane, self._received)
        self._flying[self._threads[lane].submit(compute, task, flight)] = flight

    def landed(self) -> Iterator[tuple[Flight, Future[Any]]]:
        """What has ended, after a short wait."""
        for future in wait(self._flying, timeout=LOOK_SECONDS, return_when=FIRST_COMPLETED).done:
            flight = self._flying.pop(future)
            self.free.append(flight.lane)
            yield flight, future

    def last_landed(self, patience: float) -> Iterator[tuple[Flight, Future[Any]]]:
        """What ends within so many seconds, when nothing more is to start."""
        for future in wait(self._flying, timeout=patience).done:
            yield self._flying.pop(future), future

    def under_way(self) -> float:
        """How many networks are done in parts that are not."""
        return sum(flight.share * flight.task.new for flight in self._flying.values() if flight.share < 1)

    def older_than(self, seconds: float) -> list[Flight]:
        """What is in flight for longer, and not given up yet."""
        now = time.monotonic()
        return [
            flight
            for flight in self._flying.values()
            if now - flight.started > seconds and not flight.given_up.is_set()
        ]

    def given_up(self) -> list[Flight]:
        """What is in flight though nobody wants it."""
        return [flight for flight in self._flying.values() if flight.given_up.is_set()]

    def leave_behind(self, flight: Flight) -> None:
        """Go on in another thread in the place of one that does not end."""
        self._flying = {future: flying for future, flying in self._flying.items() if flying is not flight}
        self._threads.pop(flight.lane).shutdown(wait=False)
        self.free.append(flight.lane)
