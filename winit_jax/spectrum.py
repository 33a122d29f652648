"""Singular values of d a_L / d a_1, input by input, in double precision.

Row k of the Jacobian is where the k-th unit direction goes: J_{l+1} = (J_l N_l diag phi'(u_l)) W_{l+1}, J_1 = 1.
Draws and slopes come from the float32 pass; products and the decomposition are float64, since the singular
values of a deep Gaussian network spread over many decades.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from winit_jax.gradients import Kept
from winit_jax.network import Scale
from winit_jax.tangents import through_normalization

# Singular values below this share of the largest, times the width, are rounding: they count as 0.
RESOLUTION = 2.0**-52
SUMMARY = ("sv_min", "sv_median", "sv_max", "sv_mean_square", "sv_var_square")


class Spectrum(NamedTuple):
    """values: [depths, inputs, width], descending; the true ones are values * 2^exponent ([depths])."""

    values: jax.Array | np.ndarray
    exponent: jax.Array | np.ndarray


def spectrum(kept: Kept, draws: jax.Array, weight: Scale, depths: jax.Array, normalization: str) -> Spectrum:
    """The singular values of one network at each of its depths. Trace it with 64-bit types enabled.

    kept: of every layer but the last, for a few inputs, leading axis layers. draws: Z of the hidden layers,
    [layers, width, width]. normalization: none or layer, for batch joins the inputs.
    """
    inputs, width = kept.slope.value.shape[1:]

    def decompose(jacobian: jax.Array) -> jax.Array:
        return jnp.linalg.svd(jacobian, compute_uv=False)

    def step(carry, layer):
        jacobian, exponent, depth = carry
        own, draw = layer
        argument = own.argument
        if argument is not None:  # room for the rows of each input's Jacobian
            argument = argument._replace(value=argument.value[:, None], shrink=argument.shrink[:, None])
        normalized, shift = through_normalization(jacobian, argument, normalization)
        rows = normalized * own.slope.value[:, None]
        jacobian = jnp.matmul(rows, draw.astype(jnp.float64), precision="highest") * weight.mantissa
        largest = jnp.max(jnp.abs(jacobian))
        scale = jnp.where((largest > 0) & jnp.isfinite(largest), jnp.floor(jnp.log2(largest)), 0.0)
        jacobian = jacobian * jnp.exp2(-scale)
        exponent = (exponent + own.slope.exponent + shift + weight.exponent + scale).astype(jnp.int32)
        values = jax.lax.cond(jnp.any(depths == depth + 1), decompose, lambda j: jnp.zeros((inputs, width)), jacobian)
        return (jacobian, exponent, depth + 1), (values, exponent)

    start = jnp.broadcast_to(jnp.eye(width), (inputs, width, width))
    first = (jnp.ones((1, inputs, width)), jnp.zeros(1, jnp.int32))  # of the identity
    _, rest = jax.lax.scan(step, (start, jnp.int32(0), jnp.int32(1)), (kept, draws))
    values, exponents = (jnp.concatenate([a, b]) for a, b in zip(first, rest, strict=True))
    return Spectrum(values[depths - 1], exponents[depths - 1])


def summary(spectrum: Spectrum) -> dict[str, np.ndarray]:
    """The columns of a network from its singular values, taken over all inputs together: arrays of [..., depths]."""
    values = np.asarray(spectrum.values, np.float64)
    values = np.where(values < values.shape[-1] * RESOLUTION * values.max(axis=-1, keepdims=True), 0.0, values)
    flat = values.reshape(*values.shape[:-2], -1)
    exponent = np.asarray(spectrum.exponent)
    squares = flat**2
    found = (
        (flat.min(axis=-1), 1),
        (np.median(flat, axis=-1), 1),
        (flat.max(axis=-1), 1),
        (squares.mean(axis=-1), 2),
        (squares.var(axis=-1), 4),
    )
    with np.errstate(over="ignore", under="ignore"):
        return {name: np.ldexp(x, power * exponent) for name, (x, power) in zip(SUMMARY, found, strict=True)}
