"""The activations that have a name: one entry each, which every test then covers."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import erf, erfc

from winit_jax.numerics.activations.record import Activation

LOG_2 = math.log(2)
SQRT_2 = math.sqrt(2)
# Klambauer et al. 2017, arXiv:1706.02515.
SELU_SCALE = 1.0507009873554805
SELU_ALPHA = 1.6732632423543772
# Of sin(omega): phi is a power law where float32 still has squares of its argument, and turns slowly enough beyond.
LEAST_OMEGA, MOST_OMEGA = 1e-3, 1e3


def _leaky_relu(slope: float = 0.01) -> Activation:
    return Activation(
        f"leaky_relu({slope:g})" if slope != 0.01 else "leaky_relu",
        response=lambda a: jnp.where(a > 0, a, slope * a),
        slope=lambda a: jnp.where(a > 0, 1.0, slope),
        slope_of_response=(lambda psi: jnp.where(psi > 0, 1.0, slope)) if slope > 0 else None,
        max_slope=max(1.0, abs(slope)),
        homogeneous=True,
    )


def _sin(omega: float = 1.0) -> Activation:
    """sin(omega a), as SIREN has it; its name without a number is sin(a). Errors: ValueError."""
    name = "sin" if omega == 1 else f"sin({repr(float(omega)).removesuffix('.0')})"
    if not LEAST_OMEGA <= omega <= MOST_OMEGA:
        raise ValueError(f"{name}: the omega must be from {LEAST_OMEGA:g} to {MOST_OMEGA:g}.")
    return Activation(
        name,
        response=lambda a: jnp.sin(omega * a),
        slope=lambda a: omega * jnp.cos(omega * a),
        max_slope=float(omega),
        degree_at_infinity=(0, 0),
        lowest=-1.0,
        highest=1.0,
        min_exponent=-24 - max(0, math.ceil(math.log2(omega))),
        frequency=float(omega),
    )


def _softplus_response(a: jax.Array) -> jax.Array:
    # log(1 + e^a) - log 2 = max(a, 0) + log(1 + (e^-|a| - 1) / 2): no overflow, no cancellation.
    return jnp.maximum(a, 0) + jnp.log1p(0.5 * jnp.expm1(-jnp.abs(a)))


def _normal_cdf(a: jax.Array) -> jax.Array:
    return 0.5 * erfc(-a / SQRT_2)


def _normal_pdf(a: jax.Array) -> jax.Array:
    return jnp.exp(-0.5 * a * a) / math.sqrt(2 * math.pi)


def _tanh_softplus(a: jax.Array) -> jax.Array:
    # tanh(log(1 + e)) = e (e + 2) / (e (e + 2) + 2) with e = exp(a); it is 1 in float32 beyond a = 20.
    e = jnp.exp(jnp.minimum(a, 20.0))
    product = e * (e + 2)
    return product / (product + 2)


def _mish_slope(a: jax.Array) -> jax.Array:
    t = _tanh_softplus(a)
    return t + a * (1 - t * t) * jax.nn.sigmoid(a)


def _silu_slope(a: jax.Array) -> jax.Array:
    s = jax.nn.sigmoid(a)
    return s * (1 + a * (1 - s))


_ENTRIES = (
    Activation(
        "identity",
        response=lambda a: a,
        slope=jnp.ones_like,
        max_slope=1.0,
        homogeneous=True,
    ),
    Activation(
        "sigmoid",
        response=lambda a: 0.5 * jnp.tanh(0.5 * a),
        slope=lambda a: jnp.exp(-jnp.abs(a)) / jnp.square(1 + jnp.exp(-jnp.abs(a))),
        slope_of_response=lambda psi: 0.25 - psi * psi,
        log_slope=lambda a: -jnp.abs(a) - 2 * jnp.log1p(jnp.exp(-jnp.abs(a))),
        max_slope=0.25,
        at_zero=0.5,
        degree_at_infinity=(0, 0),
        lowest=0.0,
        highest=1.0,
    ),
    Activation(
        "tanh",
        response=jnp.tanh,
        slope=lambda a: 4 * jnp.exp(-2 * jnp.abs(a)) / jnp.square(1 + jnp.exp(-2 * jnp.abs(a))),
        slope_of_response=lambda psi: 1 - psi * psi,
        log_slope=lambda a: 2 * (LOG_2 - jnp.abs(a) - jnp.log1p(jnp.exp(-2 * jnp.abs(a)))),
        max_slope=1.0,
        degree_at_infinity=(0, 0),
        lowest=-1.0,
        highest=1.0,
    ),
    Activation(
        "relu",
        response=lambda a: jnp.maximum(a, 0),
        slope=lambda a: jnp.where(a > 0, 1.0, 0.0),
        slope_of_response=lambda psi: jnp.where(psi > 0, 1.0, 0.0),
        max_slope=1.0,
        degree_at_infinity=(0, 1),
        homogeneous=True,
        zero_below=0.0,
        lowest=0.0,
    ),
    _leaky_relu(),
    Activation(
        "elu",
        response=lambda a: jnp.where(a > 0, a, jnp.expm1(jnp.minimum(a, 0))),
        slope=lambda a: jnp.exp(jnp.minimum(a, 0)),
        slope_of_response=lambda psi: 1 + jnp.minimum(psi, 0),
        max_slope=1.0,
        degree_at_infinity=(0, 1),
        lowest=-1.0,
    ),
    Activation(
        "selu",
        response=lambda a: SELU_SCALE * jnp.where(a > 0, a, SELU_ALPHA * jnp.expm1(jnp.minimum(a, 0))),
        slope=lambda a: SELU_SCALE * jnp.where(a > 0, 1.0, SELU_ALPHA * jnp.exp(jnp.minimum(a, 0))),
        slope_of_response=lambda psi: jnp.where(psi > 0, SELU_SCALE, psi + SELU_SCALE * SELU_ALPHA),
        max_slope=SELU_SCALE * SELU_ALPHA,
        degree_at_infinity=(0, 1),
        lowest=-SELU_SCALE * SELU_ALPHA,
    ),
    Activation(
        "gelu",  # the exact one, a Phi(a)
        response=lambda a: a * _normal_cdf(a),
        slope=lambda a: _normal_cdf(a) + a * _normal_pdf(a),
        max_slope=1.1289041452,  # at a = sqrt(2)
        degree_at_infinity=(0, 1),
        zero_below=-37.68,
        lowest=-0.16997120747990366,  # at a = -0.75179
    ),
    Activation(
        "silu",
        response=lambda a: a * jax.nn.sigmoid(a),
        slope=_silu_slope,
        max_slope=1.0998393201,  # at a = 2.39936
        degree_at_infinity=(0, 1),
        zero_below=-745.2,
        lowest=-0.2784645427610738,  # at a = -1.27846
    ),
    Activation(
        "softplus",
        response=_softplus_response,
        slope=jax.nn.sigmoid,
        max_slope=1.0,
        at_zero=LOG_2,
        degree_at_infinity=(0, 1),
        lowest=0.0,
        lower=lambda a: np.logaddexp(0, a),
    ),
    Activation(
        "erf",
        response=erf,
        slope=lambda a: 2 / math.sqrt(math.pi) * jnp.exp(-a * a),
        log_slope=lambda a: math.log(2 / math.sqrt(math.pi)) - a * a,
        max_slope=2 / math.sqrt(math.pi),
        degree_at_infinity=(0, 0),
        lowest=-1.0,
        highest=1.0,
    ),
    Activation(
        "hard_tanh",
        response=lambda a: jnp.clip(a, -1, 1),
        slope=lambda a: jnp.where(jnp.abs(a) < 1, 1.0, 0.0),
        slope_of_response=lambda psi: jnp.where(jnp.abs(psi) < 1, 1.0, 0.0),
        max_slope=1.0,
        degree_at_infinity=(0, 0),
        lowest=-1.0,
        highest=1.0,
    ),
    _sin(),
    Activation(
        "mish",
        response=lambda a: a * _tanh_softplus(a),
        slope=_mish_slope,
        max_slope=1.0884981613,  # at a = 1.49057
        degree_at_infinity=(0, 1),
        zero_below=-745.2,
        lowest=-0.30884341301725043,  # at a = -1.19243
    ),
)

ENTRIES: dict[str, Activation] = {entry.name: entry for entry in _ENTRIES}
PARAMETRIC: dict[str, Callable[[float], Activation]] = {"leaky_relu": _leaky_relu, "sin": _sin}
