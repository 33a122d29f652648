"""JAX as the passes are written for it, whatever the shell says."""

from collections.abc import Iterator
from contextlib import contextmanager

import jax


@contextmanager
def fixed(device: jax.Device) -> Iterator[None]:
    """Computes on a device in float32 with full products, whatever JAX_ENABLE_X64 and other variables say.

    Numbers depend on no one's shell, and an overflow is recorded rather than raised.
    """
    with (
        jax.enable_x64(False),
        jax.numpy_dtype_promotion("standard"),
        jax.default_matmul_precision("highest"),
        jax.debug_nans(False),
        jax.debug_infs(False),
        jax.default_device(device),
    ):
        yield
