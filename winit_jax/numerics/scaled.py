"""Numbers that need not fit float32: value * 2^exponent.

Powers of two are exact, so that carrying the scale beside the value never rounds.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

# Exponents saturate here rather than overflow: 2^(2^28), far beyond 10^(10^7). What is exactly 0 has this, negative.
EXPONENT_LIMIT = 2**28


class Scaled(NamedTuple):
    """value * 2^exponent. value: float32 of any shape; exponent: int32, broadcast against it. JAX or NumPy arrays."""

    value: Any
    exponent: Any

    def in_units_of(self, exponent: jax.Array | int) -> jax.Array:
        """The value in units of 2^exponent: 0 or 2^127 times as much where float32 holds no such power of two."""
        value: jax.Array = self.value * power_of_two(self.exponent - exponent)
        return value

    def times(self, other: "Scaled") -> "Scaled":
        """The product of two numbers; shapes broadcast."""
        return Scaled(self.value * other.value, self.exponent + other.exponent)

    def plus(self, other: "Scaled") -> "Scaled":
        """The sum, aligned to the larger exponent, so that only what is beyond float32 beside the larger is lost."""
        exponent = jnp.maximum(self.exponent, other.exponent)
        return Scaled(self.in_units_of(exponent) + other.in_units_of(exponent), exponent)

    def rescaled(self, mean_square: jax.Array) -> "Scaled":
        """The same number with a value of RMS between 1/2 and 1; mean_square: of the value. 0 stays as it is."""
        shift = jnp.where(mean_square > 0, root_exponent(mean_square), 0)
        return Scaled(self.value * power_of_two(-shift), self.exponent + shift)

    def size_exponent(self) -> jax.Array:
        """The exponent, and that of 0 where the value is 0."""
        return jnp.where(self.value == 0, -EXPONENT_LIMIT, self.exponent)


def power_of_two(exponent: jax.Array) -> jax.Array:
    """2^exponent in float32, exactly; 0 below 2^-126, 2^127 above."""
    bits = (jnp.clip(exponent, -126, 127) + 127).astype(jnp.int32) << 23
    return jnp.where(exponent < -126, 0.0, jax.lax.bitcast_convert_type(bits, jnp.float32))


def exponent_of(x: jax.Array) -> jax.Array:
    """The least e with abs(x) < 2^e, as int32; -EXPONENT_LIMIT for 0 and for what is not finite."""
    bits = jax.lax.bitcast_convert_type(jnp.abs(x).astype(jnp.float32), jnp.int32)
    usable = (x != 0) & jnp.isfinite(x)
    return jnp.where(usable, (bits >> 23) - 126, -EXPONENT_LIMIT)


def root_exponent(mean_square: jax.Array) -> jax.Array:
    """log2 of the root of a mean square, rounded up; -EXPONENT_LIMIT for 0."""
    return jnp.where(mean_square > 0, (exponent_of(mean_square) + 1) >> 1, -EXPONENT_LIMIT)


def as_scaled(values: Sequence[float] | np.ndarray) -> Scaled:
    """Numbers as mantissas in [0.5, 1) and exponents, so that float64's range survives. NumPy arrays in and out."""
    mantissas, exponents = np.frexp(np.asarray(values, dtype=np.float64))
    return Scaled(mantissas.astype(np.float32), exponents.astype(np.int32))


def log10_root(mean_square: Scaled, log10_scale: np.ndarray | float = 0.0) -> np.ndarray:
    """log10 of the root of a mean square, float64; -inf where it is exactly 0, NaN where it overflowed."""
    with np.errstate(divide="ignore", invalid="ignore"):
        square = np.asarray(mean_square.value, np.float64)
        log10 = 0.5 * np.log10(np.where(np.isfinite(square), square, np.nan))
        log10_rms: np.ndarray = log10 + 0.5 * np.asarray(mean_square.exponent, np.float64) * np.log10(2) + log10_scale
        return log10_rms


def log10_sum(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """log10(10^a + 10^b) without overflow, in NumPy; exactly a where b is -inf."""
    high, low = np.maximum(a, b), np.minimum(a, b)
    log10_total: np.ndarray = np.where(low == -np.inf, high, high + np.log1p(10.0 ** (low - high)) / math.log(10))
    return log10_total
