"""An init from an import path: a function of a key and a shape, and the scale that it turns out to have."""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from winit_jax.errors import described, says
from winit_jax.registry import Registry
from winit_jax.user_code import as_it_was, contained, pass_on

# The scale is the root mean square of so many entries at least, drawn with keys of its own and kept to so many digits.
ENTRIES, DIGITS = 2**20, 4
# Shapes at which a function is known again.
PROBED = ((4, 4), (8, 2))


class Adopted(NamedTuple):
    """What `package.module:function` draws.

    function: key, shape -> weights. name: its import path.
    """

    function: Callable[..., Any]
    name: str

    def unit(self, key: jax.Array, fan_in: int, fan_out: int) -> jax.Array:
        """What it draws, [fan_in, fan_out], over the scale that it has; as it is where it draws nothing but zeros."""
        drawn: jax.Array = jnp.asarray(self.function(key, (fan_in, fan_out)), jnp.float32)
        return drawn / (math.sqrt(self.mean_square(fan_in, fan_out)) or 1.0)

    def mean_square(self, fan_in: int, fan_out: int) -> float:
        """The mean square of the entries that it draws, over many keys: the same for every seed and layer."""
        return _mean_square(self, fan_in, fan_out)


@lru_cache(maxsize=256)
def _mean_square(own: Adopted, fan_in: int, fan_out: int) -> float:
    count = -(-ENTRIES // (fan_in * fan_out))

    def of_key(key: jax.Array) -> jax.Array:
        return jnp.mean(jnp.square(jnp.asarray(own.function(key, (fan_in, fan_out)), jnp.float32)))

    with jax.ensure_compile_time_eval():  # draws are compiled with the scale as a number
        squares = np.asarray(jax.jit(lambda keys: jax.lax.map(of_key, keys))(_keys(count)), np.float64)
    root = math.sqrt(float(np.mean(squares)))
    if not math.isfinite(root):
        raise ValueError(f"{own.name!r} draws weights of {fan_in:,} rows and {fan_out:,} columns that are not finite.")
    return float(f"{root:.{DIGITS}g}") ** 2


def _keys(count: int) -> jax.Array:
    return jax.random.split(jax.random.wrap_key_data(jnp.array([0, 0], jnp.uint32), impl="threefry2x32"), count)


def adopted(function: Callable[..., Any], name: str) -> Adopted:
    """A JAX function (key, shape) -> weights of that shape as an init; it is traced before it is called with values.

    Errors: ValueError with one sentence.
    """
    shape = (3, 2)
    with jax.enable_x64(False), as_it_was():
        key = _keys(1)[0]
        try:
            drawn = jax.eval_shape(lambda key: function(key, shape), key)
        except BaseException as error:
            pass_on(error)
            if isinstance(error, jax.errors.ConcretizationTypeError) or "truth value" in says(error):
                raise ValueError(
                    f"{name!r} uses Python control flow (if, while, float() and the like) on its key or its numbers; "
                    "write it with jax.random and jax.numpy."
                ) from error
            raise ValueError(f"{name!r} is not a JAX function of a key and a shape: {described(error)}") from error
        if not isinstance(drawn, jax.ShapeDtypeStruct):
            kind = "nothing" if drawn is None else type(drawn).__name__
            raise ValueError(f"{name!r} returns {kind} for a key and a shape, not an array.")
        if drawn.shape != shape:
            raise ValueError(f"{name!r} returns an array of shape {drawn.shape} where {shape} is asked for.")
        if drawn.dtype != jnp.float32:
            raise ValueError(f"{name!r} returns {drawn.dtype}; weights are float32.")
    own = Adopted(contained(function, name), name)
    try:
        own.mean_square(*shape)
    except ValueError:
        raise
    except BaseException as error:
        pass_on(error)
        raise ValueError(f"{name!r} cannot be evaluated: {described(error)}") from error
    return own


def fingerprint(own: Adopted) -> list[float]:
    """What a function draws at PROBED from a fixed key, by which it is known again when its code has changed."""
    with jax.enable_x64(False), jax.default_device(jax.local_devices(backend="cpu")[0]):
        drawn = [np.ravel(np.asarray(own.function(_keys(1)[0], shape), np.float64)) for shape in PROBED]
    return [float(value) for value in np.concatenate(drawn)]


# Inits by import path; each is imported, and traced, when it is first asked for.
OWN_INITS: Registry[Adopted] = Registry("an init", {}, adopt=adopted)
