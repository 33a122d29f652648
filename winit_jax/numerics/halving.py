"""Networks that do not fit in memory together are computed in halves, down to one by one."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import jax

T = TypeVar("T")

# Batches of less memory are not held against what is free: there is always so much, and looking takes time.
LOOK_MIB = 64.0


# In words, the memory that Python's MemoryError is about.
HOST = "this machine's memory"


def _unheard(sentence: str) -> None:
    """Nobody is told."""


@dataclass
class Halving:
    """How many networks fit at a time, as far as was found out. Safe to call from several threads.

    say: is told once that some do not. memory: in words, what holds them. free_mib: how much of it is free, asked
    before a batch; None where only trying tells. begin_with: of networks that would be computed together, the share
    that is tried first: below 1 where an earlier process did not survive them.
    """

    say: Callable[[str], None] = _unheard
    memory: str = "the device's memory"
    free_mib: Callable[[], float] | None = None
    begin_with: float = 1.0
    _most: dict[str, int] = field(default_factory=dict)
    _has_said: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def in_pieces(
        self, kind: str, count: int, run: Callable[[slice], T], mib: Callable[[int], float] = lambda count: 0.0
    ) -> list[T]:
        """What `run` gives of so many networks, slice by slice: of all at once where they fit.

        kind: of pass, in words; what was found to fit holds for those of the same. mib: what so many take at least; a
        batch that needs more than is free is not begun.
        Errors: whatever `run` raises, also where memory does not hold one network.
        """
        pieces: list[T] = []
        first = count if self.begin_with == 1 else max(1, int(count * self.begin_with))
        start = 0
        while start < count:
            together = min(self._most.get(kind, first), count - start)
            together = self._fitting(kind, together, mib)
            memory = self.memory
            try:
                pieces.append(run(slice(start, start + together)))
            except MemoryError:
                if together == 1:
                    raise
                memory = HOST
            except jax.errors.JaxRuntimeError as error:
                if together == 1 or "RESOURCE_EXHAUSTED" not in str(error):
                    raise
            else:
                start += together
                continue
            self._keep(kind, together, -(-together // 2), memory)  # with the error, and all that it holds, gone
        return pieces

    def _fitting(self, kind: str, together: int, mib: Callable[[int], float]) -> int:
        """Of so many networks, as many as memory holds now: what other processes hold may be given back."""
        if self.free_mib is None or mib(together) < LOOK_MIB:
            return together
        free, half = self.free_mib(), together
        while half > 1 and mib(half) > free:
            half = -(-half // 2)
        if half < together:
            self._tell(kind, together, half, self.memory)
        return half

    def _keep(self, kind: str, together: int, half: int, memory: str) -> None:
        with self._lock:
            self._most[kind] = min(half, self._most.get(kind, half))
        self._tell(kind, together, half, memory)

    def _tell(self, kind: str, together: int, half: int, memory: str) -> None:
        with self._lock:
            is_first, self._has_said = not self._has_said, True
        if is_first:
            self.say(
                f"note: {memory} does not hold {together:,} networks at once ({kind}): "
                f"they are computed {half:,} at a time, or fewer. A lower compute.batch_mib begins there"
            )
