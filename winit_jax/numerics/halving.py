"""Networks that do not fit in a device's memory together are computed in halves, down to one by one."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import jax

T = TypeVar("T")


def _unheard(sentence: str) -> None:
    """Nobody is told."""


@dataclass
class Halving:
    """How many networks fit at a time, as far as was found out. Safe to call from several threads.

    say: is told once that some do not.
    """

    say: Callable[[str], None] = _unheard
    _most: dict[str, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def in_pieces(self, kind: str, count: int, run: Callable[[slice], T]) -> list[T]:
        """What `run` gives of so many networks, slice by slice: of all at once where they fit.

        kind: of pass, in words; what was found to fit holds for those of the same. Errors: whatever `run` raises, also
        where memory does not hold one network.
        """
        pieces: list[T] = []
        start = 0
        while start < count:
            together = min(self._most.get(kind, count), count - start)
            try:
                pieces.append(run(slice(start, start + together)))
            except jax.errors.JaxRuntimeError as error:
                if together == 1 or "RESOURCE_EXHAUSTED" not in str(error):
                    raise
            else:
                start += together
                continue
            self._halve(kind, together)  # with the error, and all that it holds on the device, gone
        return pieces

    def _halve(self, kind: str, together: int) -> None:
        half = -(-together // 2)
        with self._lock:
            is_first = not self._most
            self._most[kind] = min(half, self._most.get(kind, half))
        if is_first:
            self.say(
                f"note: the device's memory does not hold {together:,} networks at once ({kind}): "
                f"they are computed {half:,} at a time, or fewer. A lower compute.batch_mib begins there"
            )
