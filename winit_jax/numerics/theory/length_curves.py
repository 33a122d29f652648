"""The Gaussian averages of an activation as smooth functions of log q, with which maps are iterated and solved.

With x = log q, weights of variance e^w and biases of variance e^b (b may be -inf), one layer moves x by

    step(x) = log(e^(w + ratio(x)) + e^(b - x)),    ratio(x) = log(E[phi(u)^2] / q),  u ~ N(0, q)

so fixed points are roots of `step`, and the log of the mean square gradient changes by w + log E[phi'(u)^2]. Everything
is kept in logarithms, so that no scale is too large or too small.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import jax
import numpy as np

from winit_jax.numerics.activations import Activation
from winit_jax.numerics.theory.closed_forms import closed_form
from winit_jax.numerics.theory.moments import FAST, LARGEST, SMALLEST, averages, clip

# Chebyshev interpolation in pieces of WIDTH in log q. If phi has no kinks away from 0, the averages are analytic for
# imaginary parts of log q below pi / 2, so that with NODES nodes the interpolation error is below rounding.
WIDTH, NODES = 1.0, 18
# Outside the pieces averages follow power laws. Distances from the ends at which roots are looked for there.
BEYOND = np.geomspace(0.5, 1e6, 40)
# Differences of logarithms below this are rounding: a map that moves log q by less counts as leaving it in place.
STILL = 1e-13
# Stands, with either sign, for the logarithm of an average that is exactly 0 or infinite in float64.
BEYOND_FLOAT = 1e4
# A power of q smaller than NO_POWER counts as 0. Near 0, a phi that keeps its digits follows the power law of its
# degree at 0 to within POWER_LAW in the slope of ratio.
NO_POWER, POWER_LAW = 1e-6, 1e-2


Number = np.ndarray | float


class Moments(NamedTuple):
    """Averages over u ~ N(0, q) at x = log q; arrays of x's shape.

    ratio: log(E[phi(u)^2] / q). slope, bend: its first and second derivatives by x.
    log_chi: log E[phi'(u)^2]. chi_slope: its derivative by x.
    ratio and log_chi are -BEYOND_FLOAT where the average is 0, and BEYOND_FLOAT where it is infinite.
    """

    ratio: np.ndarray
    slope: np.ndarray
    bend: np.ndarray
    log_chi: np.ndarray
    chi_slope: np.ndarray


class Step(NamedTuple):
    """size: how far one layer moves x = log q. slope, bend: its first two derivatives by x. Arrays of x's shape."""

    size: np.ndarray
    slope: np.ndarray
    bend: np.ndarray


@dataclass(frozen=True)
class Curve:
    """The averages of one activation over x = log q: interpolated in [low, high], power laws outside.

    pieces: Chebyshev coefficients, [5, n_pieces, NODES], in the order of Moments; NaN where an average is not finite.
    places: increasing x; between two neighbors a function of the averages is assumed to turn at most once.
    at_places: Moments at places. edge: Moments at low and high, [2].
    powers: slopes by x of ratio ([0]) and of log_chi ([1]), below low ([:, 0]) and above high ([:, 1]).
    limits: log E[phi'^2] for q -> 0 and q -> inf if phi becomes proportional to its argument there, else NaN.
    flat: whether phi is homogeneous, so that ratio and log_chi are constant.
    monotone: whether E[phi^2] grows with q everywhere.
    """

    low: float
    high: float
    pieces: np.ndarray
    places: np.ndarray
    at_places: Moments
    edge: Moments
    powers: np.ndarray
    limits: tuple[float, float]
    flat: bool
    monotone: bool

    def at(self, x: np.ndarray) -> Moments:
        """The averages at x, of any shape; x = -inf and inf give the limits, NaN gives NaN."""
        x = np.asarray(x, np.float64)
        if self.flat:
            return Moments(*(np.where(np.isnan(x), np.nan, values[0]) for values in self.edge))
        inside = np.clip(np.nan_to_num(x, nan=self.low, posinf=self.high, neginf=self.low), self.low, self.high)
        piece = np.minimum(((inside - self.low) / WIDTH).astype(int), self.pieces.shape[1] - 1)
        t = (inside - self.low) * (2 / WIDTH) - 2 * piece - 1
        basis = np.cos(np.arccos(np.clip(t, -1, 1))[..., None] * np.arange(NODES))
        interpolated = (self.pieces[:, piece] * basis).sum(axis=-1)
        side = np.where(x > inside, 1, 0)
        with np.errstate(invalid="ignore"):
            beyond = np.where(x == inside, 0.0, x - inside)
            outside = beyond != 0
            powers = self.powers[:, side]
            ratio = interpolated[0] + np.where(powers[0] == 0, 0.0, powers[0] * beyond)
            log_chi = interpolated[3] + np.where(powers[1] == 0, 0.0, powers[1] * beyond)
        zero_or_nan = np.where(np.isnan(x), np.nan, 0.0)
        return Moments(
            ratio + zero_or_nan,
            np.where(outside, powers[0], interpolated[1]) + zero_or_nan,
            np.where(outside, 0.0, interpolated[2]) + zero_or_nan,
            log_chi + zero_or_nan,
            np.where(outside, powers[1], interpolated[4]) + zero_or_nan,
        )

    def step(self, x: np.ndarray, log_weight: Number, log_bias: Number) -> Step:
        """How far one layer moves x. log_weight, log_bias: natural logarithms of the variances. Shapes broadcast."""
        return step_of(self.at(x), x, log_weight, log_bias)


def step_of(moments: Moments, x: np.ndarray, log_weight: Number, log_bias: Number) -> Step:
    """`Curve.step` from averages that the caller already has. moments: those at x."""
    with np.errstate(all="ignore"):
        signal = log_weight + moments.ratio
        noise = np.where(log_bias == -np.inf, -np.inf, log_bias - x)
        size = np.logaddexp(signal, noise)
        share = np.where(noise == -np.inf, 1.0, np.exp(signal - size))
        grown = 1 + moments.slope
        return Step(size, share * grown - 1, share * (1 - share) * grown**2 + share * moments.bend)


@lru_cache(maxsize=64)
def curve(activation: Activation) -> Curve:
    """The curve of an activation, from its averages at about 2,300 values of q. Errors: none; NaN where unknown."""
    if activation.homogeneous:
        form = closed_form(activation)
        assert form is not None
        assert form.sides is not None
        level, zeros = _log_level(*form.sides), np.zeros(2)
        constant = Moments(np.full(2, level), zeros, zeros, np.full(2, level), zeros)
        empty = np.empty((5, 0, NODES))
        return Curve(0.0, 0.0, empty, np.zeros(1), constant, constant, np.zeros((2, 2)), (level, level), True, True)
    low = math.log(SMALLEST)
    high = low + WIDTH * math.floor((math.log(FAST if activation.oscillates else LARGEST) - low) / WIDTH)
    count = round((high - low) / WIDTH)
    angle = (np.arange(NODES) + 0.5) * math.pi / NODES
    unit = np.cos(angle)
    x = low + WIDTH * (np.arange(count)[:, None] + (1 + unit) / 2)
    with np.errstate(all="ignore"):
        q = np.exp(x)
        moments = averages(activation, q)
        share = moments.second / q
        values = np.stack([np.log(share), moments.growth / share - 1, np.log(moments.slope_second)])
    first = _first_piece(activation, values[1])
    low, values = low + WIDTH * first, values[:, first:]
    x = x[first:]
    exact_ratio = _fill_exact(values[0])
    values[1] = np.where(exact_ratio[:, None], 0.0, np.where(np.isfinite(values[1]), values[1], np.nan))
    exact_chi = _fill_exact(values[2])
    transform = np.cos(np.outer(angle, np.arange(NODES))) * (2 / NODES)
    transform[:, 0] /= 2
    ratio, slope, log_chi = values @ transform
    bend, chi_slope = np.zeros_like(slope), np.zeros_like(slope)
    for values, derived in ((slope, bend), (log_chi, chi_slope)):
        derived[..., : NODES - 1] = np.polynomial.chebyshev.chebder(values, axis=-1) * (2 / WIDTH)
    pieces = np.stack([ratio, slope, bend, log_chi, chi_slope])
    for curve_pieces, exact in ((pieces[:3], exact_ratio), (pieces[3:], exact_chi)):  # a constant, with slope 0
        curve_pieces[:, exact, 1:] = 0
        curve_pieces[:, exact, 0] = np.round(curve_pieces[:, exact, 0])
    powers, limits = _powers(activation), _limits(activation)
    ends = np.array([low, high])
    inner = Curve(low, high, pieces, ends, Moments(*[ends] * 5), Moments(*[ends] * 5), powers, limits, False, True)
    degrees = activation.degree_at_zero, activation.degree_at_infinity
    # Where phi has no known degree, averages go on with their slope at that end.
    unknown = np.array([degree is None for degree in degrees])
    at_ends = inner.at(ends)
    end_slopes = np.stack([at_ends.slope, at_ends.chi_slope])
    powers[:] = np.where(unknown, np.where(np.abs(end_slopes) < NO_POWER, 0.0, end_slopes), powers)
    places = np.concatenate([low - BEYOND[::-1], np.sort(x.ravel()), [high], high + BEYOND])
    at_places = inner.at(places)
    falls = np.nan_to_num(at_places.slope, nan=0.0) < -1 - 1e-9
    return Curve(low, high, pieces, places, at_places, inner.at(ends), powers, limits, False, not falls.any())


def _first_piece(activation: Activation, slope: np.ndarray) -> int:
    """The first piece at which phi still has its digits: near 0, a - tanh(a), say, has none.

    Below it, the averages follow the power law of phi's degree at 0. slope: of ratio, [n_pieces, NODES].
    """
    if activation.kinks is None or activation.degree_at_zero is None or activation.at_zero != 0:
        return 0
    with np.errstate(invalid="ignore"):
        follows = np.all(np.abs(slope - (activation.degree_at_zero - 1)) < POWER_LAW, axis=1)
    return 0 if follows[0] or not follows.any() else int(np.argmax(follows))


def _fill_exact(values: np.ndarray) -> np.ndarray:
    """Replace -inf and inf in logarithms of averages [n_pieces, NODES] by -BEYOND_FLOAT and BEYOND_FLOAT, in place.

    The whole piece is replaced: no smooth curve leads to such a value. Anything else that is not finite becomes NaN.
    Out: which pieces were replaced, [n_pieces].
    """
    low, high = (np.any(values == side, axis=1, keepdims=True) for side in (-np.inf, np.inf))
    lost = np.isnan(values).any(axis=1, keepdims=True)
    set_to = np.where(low, -BEYOND_FLOAT, BEYOND_FLOAT)
    exact = (low | high) & ~lost & (low != high)
    values[:] = np.where(exact, set_to, np.where(np.isfinite(values), values, np.nan))
    pieces: np.ndarray = exact[:, 0]
    return pieces


def _log_level(left: float, right: float) -> float:
    """log(E[phi(u)^2] / q) of a phi with these slopes left and right of 0, also where their squares leave float64."""
    with np.errstate(divide="ignore"):
        sides = 2 * np.log(np.abs([left, right]))
    return float(np.logaddexp(*sides)) - math.log(2)


def _limits(activation: Activation) -> tuple[float, float]:
    """Curve.limits, from slopes very near to and far from 0: exact, while the averages at a finite q are not."""
    with jax.default_device(jax.local_devices(backend="cpu")[0]), jax.enable_x64(True):
        slopes = np.asarray(jax.jit(activation.slope)(np.array([-1e-18, 1e-18, -1e18, 1e18])), np.float64)
    near = activation.at_zero == 0 and activation.degree_at_zero == 1
    far = activation.degree_at_infinity is not None and max(activation.degree_at_infinity) == 1
    return _log_level(*slopes[:2]) if near else math.nan, _log_level(*slopes[2:]) if far else math.nan


def _powers(activation: Activation) -> np.ndarray:
    """Curve.powers, from the degrees of phi: the powers of q in E[phi^2] / q and E[phi'^2] as q -> 0 and q -> inf."""
    degrees = clip(activation, np.array([0.0, np.inf]))[1]
    second, chi = degrees.second.copy(), degrees.slope_second.copy()
    return np.stack([second - 1, chi])
