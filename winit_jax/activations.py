"""Activations: phi, its slope, and how it behaves near 0 and far out. One table entry each.

A network carries the *response* psi(a) = phi(a) - phi(0) rather than phi(a) itself: sigmoid's signal
is 0.5 plus something small, and float32 would round the small part away. Where pre-activations leave
float32's range the response is evaluated at a clipped scale and the rest put back by its degree:
psi(s a) ~ s^degree psi(a), near 0 with `degree_at_zero`, far out with `degree_at_infinity`.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import erf, erfc

Function = Callable[[jax.Array], jax.Array]

# Saturation, clipping and the scale bookkeeping hold for any function described by these numbers.
LOG_2 = math.log(2)
SQRT_2 = math.sqrt(2)
SELU_SCALE = 1.0507009873554805
SELU_ALPHA = 1.6732632423543772
# Of phi' as a function of psi, in units of its maximum: psi is good to 4 roundoffs of 2^-24, and is squared.
SLOPE_OF_RESPONSE_ERROR = 2.0**-21
# Shares of a saturation threshold by which rounding may shift it: one that moves no pair of a few thousand, one up to
# which a threshold still means something, and a threshold at which no error of a slope matters.
UNNOTICED, RESOLVED, HARMLESS_THRESHOLD = 2.0**-12, 2.0**-8, 0.01
# Slopes written as such keep their digits down to float32's least normal numbers, near 1e-38.
LEAST_THRESHOLD = 1e-30


@dataclass(frozen=True)
class Activation:
    """What the rest of the package needs to know of an elementwise function phi.

    response: psi(a) = phi(a) - at_zero, written so that small a keep their digits.
    slope: phi'(a), to full relative accuracy; at a kink, one of the one-sided slopes.
    slope_of_response: phi' as a function of psi where that is cheaper and exact enough to be held
        against the usual saturation thresholds (1 - tanh^2 loses its last digits where it is nearly 0).
    log_slope: log abs(phi'(a)), where phi' is positive and underflows on both sides.
    max_slope: max over a of abs(phi'(a)), the unit of `saturated`.
    slope_error: what float32 leaves out of `slope`, absolute, in units of max_slope; 0 if it is relative.
    lowest, highest: the least and greatest value of phi.
    lower: phi itself of float64 NumPy arrays, where phi grows and is so near `lowest` on the left that at_zero + psi
        has no digits of it.
    degree_at_zero: n such that psi(s a) ~ s^n psi(a) for s -> 0; None if unknown.
    degree_at_infinity: (left, right), the same for phi as a -> -inf and +inf; 0 when bounded; None if
        unknown (then nothing is clipped, and overflow is recorded as overflow).
    homogeneous: phi(s a) = s phi(a) for every s > 0.
    zero_below: phi(a) = 0 for a <= zero_below, in exact arithmetic or because double precision
        underflows there (so that `zero` means the same in float32 and float64). Without meaning where
        at_zero != 0: such a phi (sigmoid, softplus) is taken to be 0 nowhere.
    min_exponent: below RMS pre-activations of 2^min_exponent psi is evaluated there and scaled by its
        degree: near enough to 0 to follow it to float32 rounding, far enough to keep its digits.
    kinks: how far from 0 phi or phi' jumps, of a function given by import path; None for those here, which do so at 0
        only or have averages in closed form.
    oscillates: whether phi' of such a function turns on and on.
    notes: what could not be known of it, in sentences.
    """

    name: str
    response: Function
    slope: Function
    max_slope: float
    slope_of_response: Function | None = None
    log_slope: Function | None = None
    at_zero: float = 0.0
    degree_at_zero: int | None = 1
    degree_at_infinity: tuple[int, int] | None = (1, 1)
    homogeneous: bool = False
    zero_below: float = -math.inf
    min_exponent: int = -24
    slope_error: float = 0.0
    lowest: float = -math.inf
    highest: float = math.inf
    lower: Callable[[np.ndarray], np.ndarray] | None = None
    kinks: tuple[float, ...] | None = None
    oscillates: bool = False
    notes: tuple[str, ...] = field(default=())

    def __call__(self, a: jax.Array) -> jax.Array:
        """phi(a), elementwise; same shape and dtype."""
        return self.response(a) + self.at_zero if self.at_zero else self.response(a)

    def resolving(self, threshold: float) -> "Activation":
        """The same with slopes that float32 can hold against a saturation threshold."""
        rounded = self.slope_of_response is not None and threshold < SLOPE_OF_RESPONSE_ERROR / UNNOTICED
        return replace(self, slope_of_response=None) if rounded else self

    @property
    def thresholds(self) -> tuple[float, float]:
        """The least and the greatest saturation threshold that its slopes in float32 can be held against."""
        least = max(LEAST_THRESHOLD, min(self.slope_error / RESOLVED, HARMLESS_THRESHOLD))
        return least, 1 - SLOPE_OF_RESPONSE_ERROR / RESOLVED

    def is_saturated(self, a: jax.Array, response: jax.Array, threshold: float) -> jax.Array:
        """Where abs(phi'(a)) < threshold * max abs(phi'); boolean, same shape."""
        slope = self.slope_of_response(response) if self.slope_of_response else self.slope(a)
        return jnp.abs(slope) < threshold * self.max_slope

    def is_zero(self, a: jax.Array, response: jax.Array) -> jax.Array:
        """Where phi(a) is exactly 0; boolean, same shape."""
        if self.at_zero:
            return jnp.zeros(a.shape, bool)
        # The response, just written, is cheaper to read; but float32 underflows before double precision.
        return (a == 0) | (a <= self.zero_below) if -math.inf < self.zero_below < 0 else response == 0


def _leaky_relu(slope: float = 0.01) -> Activation:
    return Activation(
        f"leaky_relu({slope:g})" if slope != 0.01 else "leaky_relu",
        response=lambda a: jnp.where(a > 0, a, slope * a),
        slope=lambda a: jnp.where(a > 0, 1.0, slope),
        slope_of_response=(lambda psi: jnp.where(psi > 0, 1.0, slope)) if slope > 0 else None,
        max_slope=max(1.0, abs(slope)),
        homogeneous=True,
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
    Activation(
        "sin",
        response=jnp.sin,
        slope=jnp.cos,
        max_slope=1.0,
        degree_at_infinity=(0, 0),
        lowest=-1.0,
        highest=1.0,
    ),
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

ACTIVATIONS: dict[str, Activation] = {entry.name: entry for entry in _ENTRIES}
PARAMETRIC: dict[str, Callable[[float], Activation]] = {"leaky_relu": _leaky_relu}

_CALL = re.compile(r"(?P<name>\w+)\((?P<argument>[^()]*)\)")


def is_import_path(name: str) -> bool:
    """Whether a name means a function of the user's own, `package.module:function`, well written or not."""
    return ":" in name


def check_form(path: str) -> None:
    """Hold an import path against `package.module:function`, without importing anything.

    Errors: ValueError with one sentence.
    """
    module, _, attribute = path.partition(":")
    if not all(word.isidentifier() for word in (*module.split("."), attribute)):
        raise ValueError(f"{path!r} is not an import path: write 'package.module:function'.")


@lru_cache  # one object a name, so that compiled programs are found again
def activation(name: str) -> Activation:
    """The activation of that name.

    name: a key of ACTIVATIONS; `leaky_relu(SLOPE)`; or an import path `package.module:function` of a
        JAX function of one array, which is imported, traced and then evaluated (see `winit_jax.probing`).
    Errors: ValueError with one sentence.
    """
    if name in ACTIVATIONS:
        return ACTIVATIONS[name]
    if is_import_path(name):
        from winit_jax.probing import from_import_path

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
