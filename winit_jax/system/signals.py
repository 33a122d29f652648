"""The user's own signals: they end a command, or are noted where what is in flight can still be kept."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
# One request may come twice: from a terminal or a scheduler to every process, and forwarded by the supervisor.
ONE_REQUEST_SECONDS = 0.3


class Stopped(BaseException):
    """The user asked the command to end. No Exception, nor what user code raises: nobody else's handler takes it."""

    is_a_signal = True

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def end_command() -> None:
    """From here on a signal raises Stopped in the main thread."""

    def stop(number: int, frame: object) -> None:
        ignore()  # once is enough, and what is left to say is said
        raise Stopped(number)

    handle(stop)


def ignore() -> None:
    """From here on signals are nobody's."""
    handle(signal.SIG_IGN)


@contextmanager
def noted() -> Iterator[list[int]]:
    """Signals as entries of a list, one for each request, until the block ends."""
    received: list[int] = []
    latest = -ONE_REQUEST_SECONDS

    def note(number: int, frame: object) -> None:
        nonlocal latest
        if time.monotonic() - latest >= ONE_REQUEST_SECONDS:
            latest = time.monotonic()
            received.append(number)

    try:
        earlier = handle(note)
    except ValueError:  # not in the main thread: the embedding program handles signals
        earlier = {}
    try:
        yield received
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


def handle(handler: Any) -> dict[int, Any]:
    """Set a handler; what was there before, by signal.

    A hang-up that is ignored, as under nohup, stays so, and so does what Python could not put back: a handler that was
    not set by Python. Errors: ValueError outside the main thread.
    """
    earlier = {number: signal.getsignal(number) for number in SIGNALS}
    hang_up = getattr(signal, "SIGHUP", None)
    handled = {
        number: old
        for number, old in earlier.items()
        if old is not None and not (number == hang_up and old == signal.SIG_IGN)
    }
    for number in handled:
        signal.signal(number, handler)
    return handled
