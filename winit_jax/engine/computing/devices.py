"""The devices that a process computes on, and what of them may change last digits."""

from typing import Any

import jax
import jax.numpy as jnp

from winit_jax.errors import WinitError
from winit_jax.numerics import pinned


class DeviceError(WinitError):
    """One sentence on why JAX has no device to compute on."""

    code = 1


def of_this_process() -> list[jax.Device]:
    """The devices of this process. Errors: DeviceError where a platform does not start."""
    try:
        devices: list[jax.Device] = jax.local_devices()
        return devices
    except Exception as error:  # RuntimeError, AssertionError and what else a platform's start may raise
        asked = jax.config.values.get("jax_platforms")
        text = str(error).strip().splitlines()
        named = f"on {asked!r}, which JAX_PLATFORMS asks for" if asked else "on this machine"
        raise DeviceError(
            f"JAX does not start {named}{f' ({text[0]})' if text else ''}. Take the variable away, or install JAX for "
            "that platform, for example with pip install 'winit-jax[cuda13]'."
        ) from error


def multiplying(precision: str) -> tuple[str, str | None]:
    """(How matrices are multiplied here, a sentence where that is not as asked for).

    precision: as in `compute.matmul_precision`. JAX refuses the names of algorithms that a platform does not have.
    """
    if not precision.isupper():
        return precision, None
    matrix = jax.ShapeDtypeStruct((64, 64), jnp.float32)
    try:
        jax.jit(lambda x: jnp.matmul(x, x, precision=precision)).lower(matrix).compile()
    except (ValueError, NotImplementedError, jax.errors.JaxRuntimeError):
        platform = of_this_process()[0].platform
        return "highest", (
            f"compute.matmul_precision is {precision}, which JAX does not have on {platform}: "
            "matrices are multiplied in float32, as with highest"
        )
    return precision, None


def on_cpu() -> bool:
    """Whether networks are computed in this machine's own memory. Errors: DeviceError."""
    return bool(of_this_process()[0].platform == "cpu")


def environment() -> dict[str, Any]:
    """The devices of this process, and JAX's settings that may change last digits where they are not the usual ones.

    Errors: DeviceError.
    """
    devices = of_this_process()
    names = [str(device) for device in devices]
    return {"devices": names, "platform": devices[0].platform, "jax": pinned.differing()}
