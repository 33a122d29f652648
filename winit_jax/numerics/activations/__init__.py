"""Activations: phi, its slope, and how it behaves near 0 and far out; by name or by import path."""

import math
import re
from functools import lru_cache

from winit_jax.numerics.activations.probing import check_form, from_import_path
from winit_jax.numerics.activations.record import Activation
from winit_jax.numerics.activations.table import ACTIVATIONS, PARAMETRIC

__all__ = ["ACTIVATIONS", "PARAMETRIC", "Activation", "activation", "check_form", "is_import_path"]

_CALL = re.compile(r"(?P<name>\w+)\((?P<argument>[^()]*)\)")


def is_import_path(name: str) -> bool:
    """Whether a name means a function of the user's own, `package.module:function`, well written or not."""
    return ":" in name


@lru_cache  # one object a name, so that compiled programs are found again
def activation(name: str) -> Activation:
    """The activation of that name.

    name: a key of ACTIVATIONS; `leaky_relu(SLOPE)`; or an import path `package.module:function` of a
        JAX function of one array, which is imported, traced and then evaluated (see `probing`).
    Errors: ValueError with one sentence.
    """
    if name in ACTIVATIONS:
        return ACTIVATIONS[name]
    if is_import_path(name):
        return from_import_path(name)
    call = _CALL.fullmatch(name.replace(" ", ""))
    if call and call["name"] in PARAMETRIC:
        try:
            argument = float(call["argument"])
        except ValueError:
            raise ValueError(f"{name!r}: {call['argument']!r} is not a number.") from None
        if not math.isfinite(argument):
            raise ValueError(f"{name!r}: the argument must be finite.")
        return PARAMETRIC[call["name"]](argument)
    if call and call["name"] in ACTIVATIONS:
        raise ValueError(f"{name!r}: {call['name']} takes no argument.")
    raise ValueError(f"{name!r} is not an activation.")
