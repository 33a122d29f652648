"""Fixed points of the length and correlation maps, the starts that each of them attracts, and depth scales.

Sources: Poole et al. 2016, arXiv:1606.05340; Schoenholz et al. 2017, arXiv:1611.01232. For maps with two attractors,
where the start decides which is reached: Roberts, Yaida and Hanin 2022, arXiv:2106.10165, chapter 5.
"""

import math
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from winit_jax.numerics.activations import Activation
from winit_jax.numerics.theory.length_curves import STILL, Curve, curve, step_of
from winit_jax.numerics.theory.moments import averages, clip
from winit_jax.numerics.theory.responses import CorrelationState, in_units

Number = np.ndarray | float

# A slope of the correlation map at c = 1 counts as 1 if it differs from 1 by less: it is no more exact than that.
MARGINAL = 1e-10
# The same for an activation given by import path, whose averages may be less exact.
MARGINAL_ELSEWHERE = 1e-7
# Layers for which a map that is not monotone is repeated before the result is that it settles nowhere.
REPEATED = 2000
# In steps smaller than this, a minimum or maximum may be rounding.
FOLDED = 10 * STILL


class FixedPoint(NamedTuple):
    """The fixed points that lengths and correlations reach; arrays of one shape.

    q: mean square pre-activation; 0 if signals vanish, inf if they explode, NaN if they settle nowhere.
    c: correlation of two inputs' pre-activations; 1 if they become alike.
    chi1: weight_var E[phi'(u)^2], u ~ N(0, q): the factor of mean square gradients from layer to layer.
    xi_q, xi_c: depth scales, the layers in which the distance from q and from c changes by a factor e:
        1 / |log(slope of the map)|; inf if the slope is 1.
    log_q: natural logarithm of q, also where float64 cannot hold q itself.
    """

    q: np.ndarray
    c: np.ndarray
    chi1: np.ndarray
    xi_q: np.ndarray
    xi_c: np.ndarray
    log_q: np.ndarray


class Rest(NamedTuple):
    """One fixed point of the length map, or infinity if signals explode. log_q, low and high are log q.

    stability: "stable", "unstable", "half-stable" (two fixed points meet: it attracts starts on one side and repels
        those on the other), or "neutral" (the map keeps every q).
    low, high: the range of starts that end here; both equal log_q if only the fixed point itself does.
    """

    log_q: float
    stability: str
    low: float
    high: float


def fixed_point(activation: Activation, weight_var: Number, bias_var: Number, start: Number = 1.0) -> FixedPoint:
    """Where q ends up when the length map is applied again and again from `start`, and the correlation there.

    q: the nearest fixed point of the length map in the direction of the first step. Repetition leads there if
        E[phi(u)^2] grows with q, as it does for every activation in the table; if not, q is found by repetition.
    c: 1 if the slope of the correlation map at c = 1 is at most 1 (chi1 <= 1); else the map's one fixed point in
        [0, 1): no Taylor coefficient of the map is negative, so it is convex.
    Where q is 0 or inf, c and xi_c are those of the map in that limit. If there the covariance changes in proportion
    to q, correlations may stay (slope 1, xi_c inf); a phi that grows in proportion to its argument acts as a leaky
    relu at q = inf.

    start: mean square pre-activation of the first layer.
    Shapes: weight_var, bias_var and start broadcast; arrays of that shape.
    Units: variances (the weights' times fan_in) and mean squares.
    Source: Schoenholz et al. 2017, eqs. 5 to 9.
    Errors: none.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = [np.log(np.asarray(value, np.float64)) for value in (weight_var, bias_var, start)]
    return fixed_point_of_logs(activation, *logs)


@np.errstate(all="ignore")
def fixed_point_of_logs(activation: Activation, log_weight: Number, log_bias: Number, log_start: Number) -> FixedPoint:
    """`fixed_point` for natural logarithms of the variances and of the start, for values that float64 cannot hold."""
    columns = np.broadcast_arrays(*(np.asarray(x, np.float64) for x in (log_weight, log_bias, log_start)))
    shape = columns[0].shape
    log_weight, log_bias, log_start = (x.ravel() for x in columns)
    known = curve(activation)
    log_q = ends(known, log_weight, log_bias, log_start)
    q = np.exp(log_q)
    moments = averages(activation, q)
    unit = in_units(activation)[0]
    inside = clip(unit, q)[0]
    if activation.kinks is not None and not known.flat:  # where a function given by import path keeps its digits
        inside = np.clip(inside, math.exp(known.low), math.exp(known.high))
    state = CorrelationState(unit, inside)
    step = known.step(log_q, log_weight, log_bias)
    share = np.where(np.isfinite(log_q), np.exp(log_weight + known.at(log_q).ratio - step.size), 1.0)
    share = np.where(log_bias == -np.inf, 1.0, np.minimum(share, 1.0))
    chi1, growth = (_scaled(log_weight, value) for value in (moments.slope_second, moments.growth))
    chi1 = np.where(np.isnan(chi1) | (chi1 == np.inf), np.exp(log_weight + known.at(log_q).log_chi), chi1)
    if known.flat:
        chi1 = growth = np.exp(log_weight + known.edge.log_chi[0])
    marginal = MARGINAL if activation.kinks is None else MARGINAL_ELSEWHERE
    c, slope = _correlations(state, share, marginal)
    if activation.degree_at_infinity is not None and max(activation.degree_at_infinity) == 1:
        far = log_q == np.inf
        c, slope = np.where(far, 1.0, c), np.where(far, 1.0, slope)
    # Outside the curve's range, a phi without a known degree follows the powers at the curve's ends.
    degrees = (activation.degree_at_zero, activation.degree_at_infinity)
    unknown = ((log_q < known.low) & (degrees[0] is None)) | ((log_q > known.high) & (degrees[1] is None))
    at_end = known.at(log_q)
    chi1 = np.where(unknown, np.exp(log_weight + at_end.log_chi), chi1)
    growth = np.where(unknown, np.exp(log_weight + at_end.ratio) * (1 + at_end.slope), growth)
    nowhere = np.isnan(log_q)
    c = np.where(np.isnan(slope), np.nan, c)
    xi_q, xi_c = _layers(growth), _layers(slope, marginal)
    beyond = np.isfinite(log_q) & ((q == np.inf) | (q == 0))  # float64 holds log q but not q
    chi1 = np.where(beyond, np.exp(log_weight + known.at(log_q).log_chi), chi1)
    xi_q = np.where(beyond, _layers(1 + step.slope), xi_q)
    if known.flat:  # also where float64 cannot hold chi1
        level = np.abs(log_weight + known.edge.ratio[0])
        xi_q = np.where(level <= STILL, np.inf, 1 / level)
    values = q, np.where(nowhere, np.nan, c), chi1, xi_q, np.where(nowhere, np.nan, xi_c), log_q
    return FixedPoint(*(np.asarray(value).reshape(shape) for value in values))


@np.errstate(all="ignore")
def rests(activation: Activation, log_weight: float, log_bias: float) -> list[Rest]:
    """Every fixed point of the length map by increasing q, and infinity if signals explode from some start.

    log_weight, log_bias: natural logarithms of the variances. The ranges of starts assume a map that grows with q. A
    map that keeps every q gives one "neutral" entry; an average that is NaN at some q gives an empty list.
    Errors: none.
    """
    known = curve(activation)
    weight, bias = np.array([log_weight]), np.array([log_bias])
    if np.isnan(known.at_places.ratio).any():
        return []
    if known.flat:
        marks, neutral = _flat_marks(known, log_weight, log_bias)
    else:
        row = _brackets(known, log_weight, log_bias)
        roots = _refined(
            known, np.repeat(weight, len(row.lower)), np.repeat(bias, len(row.lower)), row.lower, row.upper
        )
        marks, neutral = sorted([*roots.tolist(), *row.touching.tolist()]), row.neutral
        if log_bias == -math.inf and known.powers[0, 0] >= 0:
            marks = [-math.inf, *marks]
        marks += [math.inf] * row.explodes
    if neutral:
        return [Rest(0.0, "neutral", -math.inf, math.inf)]
    # Between two neighboring marks every q moves the same way; below the first q grows, above the last it falls.
    between = [_middle(known, low, high) for low, high in pairwise(marks)]
    ways = [1.0, *known.step(np.array(between), weight, bias).size.tolist(), -1.0]
    described = []
    for i, x in enumerate(marks):
        drawn = ways[i] > 0, ways[i + 1] < 0
        stability = "stable" if all(drawn) else "half-stable" if any(drawn) and math.isfinite(x) else "unstable"
        if math.isfinite(x) and known.step(np.array(x), log_weight, log_bias).slope < -2:
            stability = "unstable"  # q jumps from side to side of the fixed point, farther each time
        if x == -math.inf:
            described.append(Rest(x, stability, x, [*marks, math.inf][i + 1] if drawn[1] else x))
            continue
        low = (marks[i - 1] if i else -math.inf) if drawn[0] else x
        high = (marks[i + 1] if i + 1 < len(marks) else math.inf) if drawn[1] else x
        described.append(Rest(x, stability, low, high))
    return described


def _middle(known: Curve, low: float, high: float) -> float:
    """A finite log q between two marks, either of which may be infinite."""
    if math.isinf(low) and math.isinf(high):
        return 0.0
    if math.isinf(low):
        return min(high, known.low) - 1.0
    return max(low, known.high) + 1.0 if math.isinf(high) else (low + high) / 2


def _scaled(log_weight: np.ndarray, average: np.ndarray) -> np.ndarray:
    """exp(log_weight) times an average, also where float64 cannot hold one of the factors."""
    weight = np.exp(log_weight)
    usual = np.isfinite(weight) & (weight > 0) & np.isfinite(average) & (average != 0)
    scaled: np.ndarray = np.where(usual, weight * average, np.exp(log_weight + np.log(average)))
    return scaled


def _correlations(state: CorrelationState, share: np.ndarray, marginal: float) -> tuple[np.ndarray, np.ndarray]:
    """(fixed point c, slope of the correlation map there). share: the weights' part of the mean square. [n] each."""
    split = state.map_correlation(np.ones(share.size), share)[1] > 1 + marginal
    lower, upper = np.zeros(share.size), np.where(split, 1 - 2.0**-52, 1.0)
    for _ in range(60):
        middle = (lower + upper) / 2
        above = state.map_correlation(middle, share)[0] > middle
        lower, upper = np.where(above, middle, lower), np.where(above, upper, middle)
    at_zero = state.map_correlation(np.zeros(share.size), share)[0] <= 0
    c = np.where(split, np.where(at_zero, 0.0, (lower + upper) / 2), 1.0)
    return c, state.map_correlation(c, share)[1]


def _layers(slope: np.ndarray, marginal: float = STILL) -> np.ndarray:
    """1 / |log(slope)|, inf where the slope is 1 up to rounding."""
    with np.errstate(all="ignore"):
        rate = np.abs(np.log(np.abs(slope)))
        return np.where(rate <= marginal, np.inf, 1 / rate)


# --- Roots of the step


def ends(known: Curve, log_weight: np.ndarray, log_bias: np.ndarray, log_start: np.ndarray) -> np.ndarray:
    """log q that repetition from log_start leads to; -inf if signals vanish, inf if they explode, NaN if neither; [n].

    known: the activation's curve. log_weight, log_bias, log_start: natural logarithms, [n] each.
    """
    first = known.step(log_start, log_weight, log_bias).size
    if known.flat:
        level = log_weight + known.edge.ratio[0]
        with np.errstate(all="ignore"):
            settled = np.where(level < -STILL, log_bias - np.log(-np.expm1(level)), np.inf)
        unbiased = np.where(np.abs(level) <= STILL, log_start, np.where(level < 0, -np.inf, np.inf))
        return np.where(log_bias == -np.inf, unbiased, settled)
    if not known.monotone:
        return _repeated(known, log_weight, log_bias, log_start)
    log_q = np.where(np.isnan(first), np.nan, log_start)
    lower, upper = np.full(log_q.size, np.nan), np.full(log_q.size, np.nan)
    for i in np.flatnonzero(np.isfinite(log_start) & ~np.isnan(first)):
        row, start = _brackets(known, log_weight[i], log_bias[i]), log_start[i]
        way = first[i] if np.abs(first[i]) > STILL else _drift(known, log_weight[i], log_bias[i], row, start)
        if way == 0:
            continue
        if way > 0:
            bracket = np.flatnonzero(row.holds & (row.upper > start))[:1]
            contact = row.touching[row.touching > start][:1]
            log_q[i] = np.inf
            if contact.size and not (bracket.size and row.lower[bracket[0]] < contact[0]):
                log_q[i] = contact[0]
            elif bracket.size:
                lower[i], upper[i] = max(start, row.lower[bracket[0]]), row.upper[bracket[0]]
        else:
            bracket = np.flatnonzero(row.holds & (row.lower < start))[-1:]
            contact = row.touching[row.touching < start][-1:]
            log_q[i] = -np.inf
            if contact.size and not (bracket.size and row.upper[bracket[0]] > contact[0]):
                log_q[i] = contact[0]
            elif bracket.size:
                lower[i], upper[i] = row.lower[bracket[0]], min(start, row.upper[bracket[0]])
    rows = np.flatnonzero(~np.isnan(lower))
    log_q[rows] = _refined(known, log_weight[rows], log_bias[rows], lower[rows], upper[rows])
    return log_q


def _drift(known: Curve, log_weight: float, log_bias: float, row: "_Brackets", start: float) -> float:
    """The direction, 1 or -1, in which q drifts when one layer moves it by less than rounding; 0 if it stays.

    If no fixed point lies near the start, all steps around it have one sign: that of the nearest steps above rounding.
    """
    size = step_of(known.at_places, known.places, np.array(log_weight), np.array(log_bias)).size
    signed = np.abs(size) > STILL
    below, above = (
        np.flatnonzero(signed & (known.places < start))[-1:],
        np.flatnonzero(signed & (known.places > start))[:1],
    )
    low = float(known.places[below[0]]) if below.size else -math.inf
    high = float(known.places[above[0]]) if above.size else math.inf
    if np.any((row.lower < high) & (row.upper > low)) or np.any((row.touching > low) & (row.touching < high)):
        return 0.0
    ways = {float(np.sign(size[nearest[0]])) for nearest in (below, above) if nearest.size}
    return ways.pop() if len(ways) == 1 else 0.0


class _Brackets(NamedTuple):
    """Where the step of one row changes sign, by increasing x; [m] each.

    lower, upper: one root lies between them. holds: whether the step is positive below the root and negative above it,
    so that the root attracts. touching: roots at which the step does not change sign. explodes: whether the step is
    positive at the largest x. neutral: whether the step is 0 everywhere.
    """

    lower: np.ndarray
    upper: np.ndarray
    holds: np.ndarray
    touching: np.ndarray
    explodes: bool
    neutral: bool


def _brackets(known: Curve, log_weight: float, log_bias: float) -> _Brackets:
    """Sign changes between neighboring places, and those at an extremum between two places, as near a fold."""
    x = known.places
    size, slope, _ = step_of(known.at_places, x, np.array(log_weight), np.array(log_bias))
    signed = np.flatnonzero(np.abs(size) > STILL)  # leaves NaN out, too
    if not signed.size:
        none = np.zeros(0)
        return _Brackets(none, none, none.astype(bool), none, False, bool(np.isfinite(size).all()))
    signs = np.sign(size)
    turns = np.flatnonzero(signs[signed[1:]] != signs[signed[:-1]])
    pairs = [
        (x[i], x[j], signs[i] > 0)
        for i, j in zip(signed[turns], signed[turns + 1], strict=True)
        if np.isfinite(size[i : j + 1]).all()
    ]
    touching = []
    for i in _folded(x, size, slope):
        at = _turning(known, log_weight, log_bias, x[i], x[i + 1])
        extreme_step = float(known.step(np.array(at), log_weight, log_bias).size)
        if abs(extreme_step) <= STILL:
            touching.append(at)
        elif extreme_step * size[i] < 0:
            pairs += [(x[i], at, signs[i] > 0), (at, x[i + 1], signs[i] < 0)]
    pairs.sort()
    lower, upper, holds = (np.array(column) for column in zip(*pairs, strict=True)) if pairs else np.zeros((3, 0))
    return _Brackets(lower, upper, holds.astype(bool), np.sort(touching), bool(signs[signed[-1]] > 0), False)


def _folded(x: np.ndarray, size: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """Indices i such that the step has one sign at places i and i + 1, but may turn and reach 0 between them."""
    with np.errstate(all="ignore"):
        side, fall, rise, width = np.sign(size[:-1]), slope[:-1], slope[1:], np.diff(x)
        signed = np.abs(size) > FOLDED
        turns = signed[:-1] & signed[1:] & (side == np.sign(size[1:])) & (side * fall < 0) & (side * rise > 0)
        # A minimum lies above the point where the tangents at both ends meet.
        meet = (size[1:] - size[:-1] - rise * width) / (fall - rise)
        return np.flatnonzero(turns & (side * (size[:-1] + fall * meet) <= STILL))


def _turning(known: Curve, log_weight: float, log_bias: float, low: float, high: float) -> float:
    """The x at which the step's slope is 0, by bisection between places at which its sign differs."""
    sign_at_low = np.sign(known.step(np.array(low), log_weight, log_bias).slope)
    for _ in range(60):
        middle = (low + high) / 2
        if np.sign(known.step(np.array(middle), log_weight, log_bias).slope) == sign_at_low:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _refined(
    known: Curve, log_weight: np.ndarray, log_bias: np.ndarray, lower: np.ndarray, upper: np.ndarray
) -> np.ndarray:
    """The root in each bracket [n], by Newton's method, with bisection where Newton would leave the bracket."""
    lower, upper = lower.astype(float), upper.astype(float)
    x: np.ndarray = (lower + upper) / 2
    with np.errstate(invalid="ignore"):
        rising = known.step(lower, log_weight, log_bias).size < known.step(upper, log_weight, log_bias).size
    rows = np.arange(x.size)
    for _ in range(100):
        if not rows.size:
            break
        value, slope, _ = known.step(x[rows], log_weight[rows], log_bias[rows])
        below = (value < 0) == rising[rows]
        lower[rows] = np.where(below, x[rows], lower[rows])
        upper[rows] = np.where(below, upper[rows], x[rows])
        with np.errstate(all="ignore"):
            new = x[rows] - value / slope
        inside = (new > lower[rows]) & (new < upper[rows])
        new = np.where(value == 0, x[rows], np.where(inside, new, (lower[rows] + upper[rows]) / 2))
        moved = np.abs(new - x[rows])
        x[rows] = new
        rows = rows[moved > 2e-16 * np.maximum(1, np.abs(new))]
    return x


def _repeated(known: Curve, log_weight: np.ndarray, log_bias: np.ndarray, log_start: np.ndarray) -> np.ndarray:
    """`ends` of a map that is not monotone, layer by layer; NaN if it has not settled after REPEATED layers."""
    x = log_start.copy()
    size = known.step(x, log_weight, log_bias).size
    for _ in range(REPEATED):
        moving = np.flatnonzero((np.abs(size) > STILL) & np.isfinite(x))
        if not moving.size:
            break
        with np.errstate(invalid="ignore"):
            x[moving] = x[moving] + size[moving]
        size[moving] = known.step(x[moving], log_weight[moving], log_bias[moving]).size
    with np.errstate(invalid="ignore"):
        gone = (np.abs(size) > STILL) & ((x < known.low) | (x > known.high)) & (np.sign(x) == np.sign(size))
    settled = np.abs(size) <= 1e-9
    return np.where(np.isinf(x) | settled, x, np.where(gone, np.copysign(np.inf, x), np.nan))


def _flat_marks(known: Curve, log_weight: float, log_bias: float) -> tuple[list[float], bool]:
    """(log q of the fixed points of a homogeneous phi, with inf if signals explode; whether the map keeps every q)."""
    level = log_weight + float(known.edge.ratio[0])
    if log_bias == -math.inf:
        if abs(level) <= STILL:
            return [], True
        return ([-math.inf, math.inf] if level > 0 else [-math.inf]), False
    if level >= -STILL:
        return [math.inf], False
    return [log_bias - math.log(-math.expm1(level))], False
