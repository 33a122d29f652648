"""What the rest of the package needs to know of an elementwise function.

A network carries the *response* psi(a) = phi(a) - phi(0) rather than phi(a) itself: sigmoid's signal
is 0.5 plus something small, and float32 would round the small part away. Where pre-activations leave
float32's range the response is evaluated at a clipped scale and the rest put back by its degree:
psi(s a) ~ s^degree psi(a), near 0 with `degree_at_zero`, far out with `degree_at_infinity`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import jax
import jax.numpy as jnp
import numpy as np

Function = Callable[[jax.Array], jax.Array]

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
    frequency: omega of sin(omega a), whose averages have a closed form; None of any other function.
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
    frequency: float | None = None
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
