"""What must be arithmetic is not a walk over the points."""

import time
from contextlib import contextmanager


@contextmanager
def a_moment(seconds: float = 10.0):
    """Fail where the block takes more processor time than `seconds`.

    The bound tells seconds from minutes, not one machine from another: what it is there to catch (hints for every
    key, powers of decimals, a walk over ten million points) takes minutes.
    """
    started = time.process_time()
    yield
    took = time.process_time() - started
    assert took < seconds, f"{took:.1f} s of processor time"
