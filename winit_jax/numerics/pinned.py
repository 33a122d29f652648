"""Settings of JAX and NumPy that decide what is drawn and computed: fixed while the numerics run."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import jax
import numpy as np


@contextmanager
def settings() -> Iterator[None]:
    """Draws and types as documented, in this thread.

    `jax_threefry_partitionable` changes every draw, `jax_enable_x64` and `jax_numpy_dtype_promotion` the types that
    arrays have, `jax_default_matmul_precision` the products that name none. Keys name their implementation, and their
    seed, themselves (`initializers.stream_key`). Compiling is on, and NumPy says what it always says of overflow.
    """
    with ExitStack() as stack:
        for setting in (
            jax.threefry_partitionable(True),
            jax.enable_x64(False),
            jax.numpy_dtype_promotion("standard"),
            jax.numpy_rank_promotion("allow"),
            jax.default_matmul_precision("highest"),
            jax.softmax_custom_jvp(False),
            jax.debug_nans(False),
            jax.debug_infs(False),
            jax.disable_jit(False),
            np.errstate(divide="warn", over="warn", under="ignore", invalid="warn"),
        ):
            stack.enter_context(setting)
        yield


def differing() -> dict[str, str]:
    """Settings of this process that `settings` does not fix and that may change last digits, where not the default."""
    usual = {
        "jax_allow_f16_reductions": True,
        "jax_compiler_enable_remat_pass": True,
        "jax_disable_most_optimizations": False,
        "jax_exec_time_optimization_effort": 0.0,
        "jax_optimization_level": "UNKNOWN",
        "jax_use_direct_linearize": True,
    }
    actual = {name: jax.config.values.get(name, value) for name, value in usual.items()}
    return {name: str(actual[name]) for name, value in usual.items() if str(actual[name]) != str(value)}
