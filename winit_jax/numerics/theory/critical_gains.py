"""Gains at which chi1 = 1, and gains at which the fixed point that a network reaches jumps.

Both are found from functions of q alone. With M = E[phi(u)^2], C = E[phi'(u)^2], u ~ N(0, q), weight variance w and
bias variance b, at a fixed point q = w M + b:

    chi1 = w C = 1             where  b = q - M / C,         w = 1 / C
    two fixed points meet      where  b = q - M / (dM/dq),   w = 1 / (dM/dq)
    both, the half-stable one  where  dM/dq = C  (Roberts, Yaida and Hanin 2022, arXiv:2106.10165, section 5.3.4)
    the start is a fixed point where  M = (q_1 - b) / w

The "start" is the first layer's mean square q_1. Between neighbouring gains of this list chi1 - 1 keeps its sign and no
fixed point jumps, so no window of gains is too narrow to be found.
"""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from winit_jax.numerics.activations import Activation
from winit_jax.numerics.theory.fixed_points import ends
from winit_jax.numerics.theory.length_curves import BEYOND_FLOAT, STILL, Curve, Moments, curve

# The range of gains searched, and how many are tried to find the largest and the smallest chi1.
GAINS, N_GAINS = (0.01, 100.0), 401
# Differences of logarithms of averages below this may be rounding.
NOISE = 1e-12
# chi1 is compared at BESIDE in log gain below and above a gain; it jumps there if log chi1 differs by more than JUMP.
# A continuous chi1 differs by less: at the edge of a fold q changes with the square root of BESIDE, 3e-5.
BESIDE, JUMP = 1e-9, 1e-3
# Gains have a relative error of about KNOWN. One that is that near to a number of DIGITS digits is rounded to it.
KNOWN, DIGITS = 1e-14, 12


class Start(NamedTuple):
    """Mean square pre-activation q_1 of the first layer: q, or gain^2 square + bias_std^2 if square is given.

    square: mean square of the inputs' entries; times features / width if all layers have the same std, not gain.
    """

    q: float = 1.0
    square: float | None = None

    def log_q(self, log_weight: np.ndarray, log_bias: np.ndarray) -> np.ndarray:
        """log q_1 for natural logarithms of weight and bias variances, [n] each; [n] out."""
        with np.errstate(divide="ignore"):
            if self.square is None:
                return np.broadcast_arrays(np.log(self.q), log_weight)[0].copy()
            log_q: np.ndarray = np.logaddexp(log_weight + np.log(self.square), log_bias)
            return log_q

    @property
    def words(self) -> str:
        """The start, as words for a sentence."""
        return f"from q = {self.q:g} on" if self.square is None else "from the networks' own q_1 on"


FROM_ONE = Start()


class Jump(NamedTuple):
    """A gain at which the fixed point that is reached jumps, with chi1 and log q there just below and just above it."""

    gain: float
    chi_below: float
    chi_above: float
    log_q_below: float
    log_q_above: float

    @property
    def crosses(self) -> bool:
        """Whether chi1 jumps across 1."""
        return (self.chi_below > 1) != (self.chi_above > 1)


class CriticalGain(NamedTuple):
    """The result of `critical_gain`.

    gain: sqrt(weight_var) at which chi1 passes through 1; NaN if there is none.
    reason: a sentence about why there is none, or "".
    jumps: gains at which the fixed point that is reached jumps, in increasing order.
    """

    gain: float
    reason: str
    jumps: tuple[Jump, ...] = ()


class HalfStable(NamedTuple):
    """A fixed point with chi1 = 1 at which the length map also has slope 1: signals from one side only reach it.

    Source: Roberts, Yaida and Hanin 2022, arXiv:2106.10165, section 5.3.4.
    """

    q: float
    weight_var: float
    bias_var: float


@lru_cache(maxsize=1024)
@np.errstate(all="ignore")
def critical_gain(activation: Activation, bias_std: float, start: Start = FROM_ONE) -> CriticalGain:
    """The gain, sqrt(weight_var), at which chi1 at the fixed point reached from `start` passes through 1.

    Gains from 0.01 to 100 are searched. If there are several critical ones, the smallest is given, to a relative error
    of about 1e-14. A gain at which chi1 jumps across 1, because the fixed point jumps or vanishes, is not critical.
    Errors: none; if there is no critical gain, `gain` is NaN and `reason` says why.
    """
    known = curve(activation)
    log_bias = 2 * math.log(bias_std) if bias_std > 0 else -math.inf

    def reached(log_gain: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        weight, bias = 2 * log_gain, np.full(log_gain.shape, log_bias)
        log_q = ends(known, weight, bias, start.log_q(weight, bias))
        return weight + known.at(log_q).log_chi, log_q

    low, high = np.log(GAINS)
    events = np.array([event for event in _events(known, log_bias, start) if low < event < high])
    between = np.concatenate([[low], (events[1:] + events[:-1]) / 2, [high]]) if events.size else np.array([low, high])
    beside = np.minimum(BESIDE, np.diff(between).min() / 4)
    looked_at = reached(np.concatenate([between, events - beside, events + beside]))
    sides = np.split(np.stack(looked_at), [between.size, between.size + events.size], axis=1)
    (log_chi, _), just_below, just_above = sides
    # An unbiased tanh has chi1 = gain^2 below gain 1, and 1 + O((gain - 1)^2) above it: chi1 = 1 counts as above 1.
    above = log_chi > -STILL
    gaps = np.abs(np.clip(just_above[0], -50, 50) - np.clip(just_below[0], -50, 50))
    with np.errstate(over="ignore", under="ignore"):
        chis = [np.exp(side[0]) for side in (just_below, just_above)]
    jumps = tuple(
        Jump(_rounded(event), *(float(chi[i]) for chi in chis), *map(float, log_qs))
        for i, (event, log_qs) in enumerate(zip(events, zip(just_below[1], just_above[1], strict=True), strict=True))
        if gaps[i] > JUMP
    )
    for i in np.flatnonzero(above[1:] != above[:-1])[: events.size]:
        if gaps[i] <= JUMP:
            return CriticalGain(_rounded(events[i]), "", jumps)
    where = f"{activation.name} with bias std {bias_std:g} has no critical gain: "
    for jump in jumps:
        if jump.crosses:
            return CriticalGain(
                math.nan,
                f"{where}{start.words}, chi1 jumps at gain {jump.gain:.6g} from {jump.chi_below:.4g}, where signals "
                f"{_fate(jump.log_q_below)}, to {jump.chi_above:.4g}, where signals {_fate(jump.log_q_above)}.",
                jumps,
            )
    gains = np.linspace(low, high, N_GAINS)
    log_chi, log_q = reached(gains)
    if np.isnan(log_chi).any():
        first = int(np.flatnonzero(np.isnan(log_chi))[0])
        what = "its signals settle nowhere" if np.isnan(log_q[first]) else "its slopes are no numbers where signals go"
        return CriticalGain(math.nan, f"{where}at gain {math.exp(gains[first]):.4g} {what}.", jumps)
    side, which, extreme = (
        ("above", "smallest", int(np.argmin(log_chi))) if above[0] else ("below", "largest", int(np.argmax(log_chi)))
    )
    return CriticalGain(
        math.nan,
        f"{where}chi1 stays {side} 1 at gains from {GAINS[0]:g} to {GAINS[1]:g}; it is {which}, "
        f"{_written(log_chi[extreme])}, at gain {math.exp(gains[extreme]):.4g}, where signals "
        f"{_fate(log_q[extreme])}.",
        jumps,
    )


@np.errstate(all="ignore")
def folds(activation: Activation, bias_std: float) -> list[tuple[float, float]]:
    """Every (gain, q) at which two fixed points of the length map meet and vanish, by increasing gain.

    Errors: none.
    """
    known = curve(activation)
    log_folds = [] if known.flat else _folds(known, 2 * math.log(bias_std) if bias_std > 0 else -math.inf)
    return sorted((_rounded(weight / 2), float(np.exp(x))) for weight, x in log_folds)


@np.errstate(all="ignore")
def half_stable(activation: Activation) -> list[HalfStable]:
    """Every point at which chi1 = 1 and two fixed points meet, with the variances that lead there, by increasing q.

    Errors: none.
    """
    known = curve(activation)
    if known.flat:
        return []

    def excess(x: np.ndarray, at: Moments) -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):
            excess: np.ndarray = at.ratio + np.log1p(at.slope) - at.log_chi
            return excess

    points = []
    for x in _roots(known, excess):
        ratio, _, _, log_chi, _ = (float(value) for value in known.at(np.array(x)))
        if ratio < log_chi - NOISE:
            q, weight_var = np.exp([x, -log_chi])
            points.append(HalfStable(float(q), float(weight_var), float(-q * np.expm1(ratio - log_chi))))
    return points


def _fate(log_q: float) -> str:
    if log_q == -math.inf:
        return "vanish"
    return "explode" if log_q == math.inf else f"settle at pre-activation std {_written(log_q / 2)}"


def _written(log: float) -> str:
    """e^log to four digits, also where float64 cannot hold it."""
    if abs(log) < 700 or abs(log) >= BEYOND_FLOAT / 2:
        return f"{np.exp(log):.4g}"
    whole = math.floor(log / math.log(10))
    return f"{math.exp(log - whole * math.log(10)):.3f}e{whole:+d}"


def _rounded(log_gain: float) -> float:
    gain = float(np.exp(np.longdouble(log_gain)))
    short = float(f"{gain:.{DIGITS}g}")
    return short if abs(short - gain) <= KNOWN * gain else gain


# --- Gains at which something changes


def _events(known: Curve, log_bias: float, start: Start) -> list[float]:
    """log gain, increasing, of every event that the module lists, and of chi1 = 1 in the limits q -> 0 and q -> inf."""
    weights = [-limit for limit in known.limits if not math.isnan(limit)]
    if not known.flat:
        weights += [weight for weight, _ in _folds(known, log_bias)]

        def excess(x: np.ndarray, at: Moments) -> np.ndarray:
            surplus = at.log_chi - at.ratio
            return _log_bias_of(x, surplus, log_bias) - log_bias if log_bias > -math.inf else surplus

        weights += [-float(known.at(np.array(x)).log_chi) for x in _roots(known, excess)]
        weights += _started_at_a_fixed_point(known, log_bias, start)
    gains: list[float] = []
    for gain in sorted(weight / 2 for weight in weights if math.isfinite(weight)):
        if not gains or gain - gains[-1] > STILL:
            gains.append(gain)
    return gains


def _log_bias_of(x: np.ndarray, surplus: np.ndarray, log_bias: float) -> np.ndarray:
    """log(q (1 - e^-surplus)): of the bias variance that makes q = e^x a fixed point; -inf if there is none.

    NaN if the surplus is no more than rounding and q is so large that it may still stand for a variance of e^log_bias.
    """
    uncertain = (np.abs(surplus) <= NOISE) & (x + math.log(NOISE) > log_bias)
    with np.errstate(invalid="ignore", divide="ignore"):
        surplus = np.where(uncertain, np.nan, surplus)
        return np.where(surplus > NOISE, x + np.log(-np.expm1(-surplus)), np.where(np.isnan(surplus), np.nan, -np.inf))


def _folds(known: Curve, log_bias: float) -> list[tuple[float, float]]:
    """Every (log weight variance, log q) at which two fixed points meet."""

    def excess(x: np.ndarray, at: Moments) -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):
            return _log_bias_of(x, np.log1p(at.slope), log_bias) - log_bias if log_bias > -math.inf else at.slope

    points = []
    for x in _roots(known, excess):
        ratio, slope, *_ = (float(value) for value in known.at(np.array(x)))
        if slope > -1:
            points.append((-ratio - math.log1p(slope), x))
    return points


def _started_at_a_fixed_point(known: Curve, log_bias: float, start: Start) -> list[float]:
    """log weight variances for which q_1 is a fixed point."""
    if start.square is None:
        places, per_weight = [math.log(start.q)] if start.q > 0 else [], None
    else:
        log_square = math.log(start.square) if start.square > 0 else -math.inf
        places, per_weight = _roots(known, lambda x, at: at.ratio + x - log_square), log_square
    log_weights = []
    for x in places:
        if x > log_bias:
            rest = x + (math.log(-math.expm1(log_bias - x)) if log_bias > -math.inf else 0.0)
            log_weights.append(rest - (float(known.at(np.array(x)).ratio) + x if per_weight is None else per_weight))
    return log_weights


def _roots(known: Curve, function: Callable[[np.ndarray, Moments], np.ndarray]) -> list[float]:
    """Every log q at which a function changes sign, also twice between two neighbouring places of the curve.

    function: of x and Moments at x; values of at most NOISE in size count as having no sign.
    """
    places, values = known.places, function(known.places, known.at_places)
    # Where an average is 0 or infinite in float64, the function's value has no meaning.
    values = np.where(
        np.maximum(np.abs(known.at_places.ratio), np.abs(known.at_places.log_chi)) >= BEYOND_FLOAT / 2, np.nan, values
    )
    signed = np.flatnonzero(np.abs(values) > NOISE)
    signs = np.sign(values)
    turns = np.flatnonzero(signs[signed[1:]] != signs[signed[:-1]])
    pairs = [
        (places[i], places[j])
        for i, j in zip(signed[turns], signed[turns + 1], strict=True)
        if not np.isnan(values[i : j + 1]).any()
    ]

    def value_at(x: np.ndarray) -> np.ndarray:
        return function(x, known.at(x))

    with np.errstate(invalid="ignore"):
        left, middle, right = values[:-2], values[1:-1], values[2:]
        side = np.sign(middle)
        nearest = (side * left >= side * middle) & (side * right >= side * middle) & (side * middle > NOISE)
        near = np.abs(middle) <= np.abs(left - middle) + np.abs(right - middle)
    for i in np.flatnonzero(nearest & near):
        low, high = places[i], places[i + 2]
        for _ in range(5):
            fine = np.linspace(low, high, 65)
            best = int(np.argmin(side[i] * value_at(fine)))
            low, high = fine[max(best - 1, 0)], fine[min(best + 1, 64)]
        if side[i] * value_at(fine)[best] < -NOISE:
            pairs += [(places[i], fine[best]), (fine[best], places[i + 2])]
    return sorted(_bisected(value_at, low, high) for low, high in pairs)


def _bisected(function: Callable[[np.ndarray], np.ndarray], low: float, high: float) -> float:
    """A sign change of the function between low and high, by cutting the interval into 32 eleven times."""
    sign_at_low = np.sign(function(np.array([low]))[0])
    for _ in range(11):
        fine = np.linspace(low, high, 33)
        changed = np.flatnonzero(np.sign(function(fine)) != sign_at_low)
        first = int(changed[changed > 0][0]) if (changed > 0).any() else 32
        low, high = fine[first - 1], fine[first]
    return float((low + high) / 2)
