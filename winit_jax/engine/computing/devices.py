"""The devices that a process computes on, and what of them may change last digits."""

from typing import Any

import jax

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
