"""Where lengths and correlations end up: the fixed points of the length map, who is attracted, and depth scales.

Sources: Poole et al. 2016, arXiv:1606.05340; Schoenholz et al. 2017, arXiv:1611.01232. Maps with two attractors, for
which the start decides: Roberts, Yaida and Hanin 2022, arXiv:2106.10165, chapter 5.
"""

import math
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from winit_jax.numerics.activations import Activation
from winit_jax.numerics.theory.length_curves import STILL, Curve, curve, step_of
from winit_jax.numerics.theory.moments import averages, clip
from winit_jax.numerics.theory.propagation import CorrelationState, in_units

Number = np.ndarray | float

# Slopes of the correlation map at 1 that differ from 1 by less: what rounding and covariances near 1 leave of it.
MARGINAL = 1e-10
# Likewise of a function by import path, whose averages may be harder.
MARGINAL_ELSEWHERE = 1e-7
# Layers for which a map that is not monotone is repeated before it is said to settle nowhere.
REPEATED = 2000
# Steps so small that a turn of theirs may be rounding.
FOLDED = 10 * STILL


class FixedPoint(NamedTuple):
    """Where lengths and correlations end up; arrays of one shape.

    q: mean square pre-activation; 0 where signals vanish, inf where they explode, NaN where they settle nowhere.
    c: correlation of two inputs; 1 where they become alike.
    chi1: weight_var E[phi'(u)^2], u ~ N(0, q): the factor of mean square gradients from layer to layer.
    xi_q, xi_c: layers in which the distance from q and from c changes by a factor e, 1 / |log(slope of
        the map)|; inf where the slope is 1.
    log_q: log q, also where q itself is beyond float64.
    """

    q: np.ndarray
    c: np.ndarray
    chi1: np.ndarray
    xi_q: np.ndarray
    xi_c: np.ndarray
    log_q: np.ndarray


class Rest(NamedTuple):
    """One fixed point of the length map, or infinity where signals explode; all of them in log q.

    stability: "stable", "unstable", or "half-stable" (where two fixed points meet: one side is drawn to it, the
        other driven away). low, high: the starts that end here; equal to log_q where only it itself does.
    """

    log_q: float
    stability: str
    low: float
    high: float


def fixed_point(activation: Activation, weight_var: Number, bias_var: Number, start: Number = 1.0) -> FixedPoint:
    """Where q, repeatedly mapped from `start`, ends up, and the correlation of two inputs there.

    q: the nearest fixed point of the length map in the direction of its first step, which is where
        repetition leads whenever E[phi(u)^2] grows with q (true of every activation in the table); else found
        by repetition.
    c: 1 where the slope of the correlation map at c = 1 is at most 1 (chi1 <= 1), else its one fixed point
        in [0, 1): all its Taylor coefficients are positive, so it is convex.
    Where q is 0 or inf, c and xi_c are those of the map in that limit (where q itself shrinks like the
    covariance, correlations may stay: slope 1, xi_c inf; a phi that grows in proportion is there a leaky relu).

    start: mean square pre-activation of the first layer.
    Shapes: weight_var, bias_var and start broadcast; arrays of that shape.
    Source: Schoenholz et al. 2017, eqs. 5 to 9.
    Errors: none.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = [np.log(np.asarray(value, np.float64)) for value in (weight_var, bias_var, start)]
    return fixed_point_of_logs(activation, *logs)


@np.errstate(all="ignore")
def fixed_point_of_logs(activation: Activation, log_weight: Number, log_bias: Number, log_start: Number) -> FixedPoint:
    """`fixed_point` for the natural logarithms of variances and start, which may lie far outside float64's range."""
    columns = np.broadcast_arrays(*(np.asarray(x, np.float64) for x in (log_weight, log_bias, log_start)))
    shape = columns[0].shape
    log_weight, log_bias, log_start = (x.ravel() for x in columns)
    known = curve(activation)
    log_q = ends(known, log_weight, log_bias, log_start)
    q = np.exp(log_q)
    moments = averages(activation, q)
    unit = in_units(activation)[0]
    inside = clip(unit, q)[0]
    if activation.kinks is not None and not known.flat:  # where a function from elsewhere keeps its digits
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
    # Beyond the last q that is followed, powers that are known by no degree are the curve's.
    degrees = (activation.degree_at_zero, activation.degree_at_infinity)
    unknown = ((log_q < known.low) & (degrees[0] is None)) | ((log_q > known.high) & (degrees[1] is None))
    at_end = known.at(log_q)
    chi1 = np.where(unknown, np.exp(log_weight + at_end.log_chi), chi1)
    growth = np.where(unknown, np.exp(log_weight + at_end.ratio) * (1 + at_end.slope), growth)
    nowhere = np.isnan(log_q)
    c = np.where(np.isnan(slope), np.nan, c)
    xi_q, xi_c = _layers(growth), _layers(slope, marginal)
    beyond = np.isfinite(log_q) & ((q == np.inf) | (q == 0))  # q is no float, though it has a logarithm
    chi1 = np.where(beyond, np.exp(log_weight + known.at(log_q).log_chi), chi1)
    xi_q = np.where(beyond, _layers(1 + step.slope), xi_q)
    if known.flat:  # also where chi1 is no float
        level = np.abs(log_weight + known.edge.ratio[0])
        xi_q = np.where(level <= STILL, np.inf, 1 / level)
    values = q, np.where(nowhere, np.nan, c), chi1, xi_q, np.where(nowhere, np.nan, xi_c), log_q
    return FixedPoint(*(np.asarray(value).reshape(shape) for value in values))


@np.errstate(all="ignore")
def rests(activation: Activation, log_weight: float, log_bias: float) -> list[Rest]:
    """Every fixed point of the length map by growing q, and infinity where signals explode from some start.

    Basins are those of a map that grows with q. Where every q is kept, that is one entry, "neutral"; where an average
    is no number at some q, there is none.
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
    # Between neighbors all move the same way; below the first they grow, above the last they fall.
    between = [_middle(known, low, high) for low, high in pairwise(marks)]
    ways = [1.0, *known.step(np.array(between), weight, bias).size.tolist(), -1.0]
    described = []
    for i, x in enumerate(marks):
        drawn = ways[i] > 0, ways[i + 1] < 0
        stability = "stable" if all(drawn) else "half-stable" if any(drawn) and math.isfinite(x) else "unstable"
        if math.isfinite(x) and known.step(np.array(x), log_weight, log_bias).slope < -2:
            stability = "unstable"  # it jumps over the fixed point, farther each time
        if x == -math.inf:
            described.append(Rest(x, stability, x, [*marks, math.inf][i + 1] if drawn[1] else x))
            continue
        low = (marks[i - 1] if i else -math.inf) if drawn[0] else x
        high = (marks[i + 1] if i + 1 < len(marks) else math.inf) if drawn[1] else x
        described.append(Rest(x, stability, low, high))
    return described


def _middle(known: Curve, low: float, high: float) -> float:
    """A place between two marks, either of which may be infinite."""
    if math.isinf(low) and math.isinf(high):
        return 0.0
    if math.isinf(low):
        return min(high, known.low) - 1.0
    return max(low, known.high) + 1.0 if math.isinf(high) else (low + high) / 2


def _scaled(log_weight: np.ndarray, average: np.ndarray) -> np.ndarray:
    """Variance of the weights times an average, where either may be beyond float64."""
    weight = np.exp(log_weight)
    usual = np.isfinite(weight) & (weight > 0) & np.isfinite(average) & (average != 0)
    scaled: np.ndarray = np.where(usual, weight * average, np.exp(log_weight + np.log(average)))
    return scaled


def _correlations(state: CorrelationState, share: np.ndarray, marginal: float) -> tuple[np.ndarray, np.ndarray]:
    """(c*, slope of the correlation map there); share: of the mean square that weights make up; [n] each."""
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
    """log q where repetition from log_start leads; -inf, inf and NaN as in FixedPoint; [n] in and out."""
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
            there = np.flatnonzero(row.holds & (row.upper > start))[:1]
            touched = row.touching[row.touching > start][:1]
            log_q[i] = np.inf
            if touched.size and not (there.size and row.lower[there[0]] < touched[0]):
                log_q[i] = touched[0]
            elif there.size:
                lower[i], upper[i] = max(start, row.lower[there[0]]), row.upper[there[0]]
        else:
            there = np.flatnonzero(row.holds & (row.lower < start))[-1:]
            touched = row.touching[row.touching < start][-1:]
            log_q[i] = -np.inf
            if touched.size and not (there.size and row.upper[there[0]] > touched[0]):
                log_q[i] = touched[0]
            elif there.size:
                lower[i], upper[i] = row.lower[there[0]], min(start, row.upper[there[0]])
    rows = np.flatnonzero(~np.isnan(lower))
    log_q[rows] = _refined(known, log_weight[rows], log_bias[rows], lower[rows], upper[rows])
    return log_q


def _drift(known: Curve, log_weight: float, log_bias: float, row: "_Brackets", start: float) -> float:
    """Where q goes, however slowly, that one layer moves by less than rounding; 0 where it stays.

    All around such a start where no fixed point is, steps have one sign, if one too small to be told.
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
    """Where the step of one row changes sign, by growing x; [m] each.

    lower, upper: one root lies between. holds: the step is positive below it and negative above.
    touching: roots at which it does not change sign. explodes: whether it is positive far out.
    neutral: whether it is 0 everywhere.
    """

    lower: np.ndarray
    upper: np.ndarray
    holds: np.ndarray
    touching: np.ndarray
    explodes: bool
    neutral: bool


def _brackets(known: Curve, log_weight: float, log_bias: float) -> _Brackets:
    """Sign changes between places, and those of a minimum or maximum within a cell, as near a fold."""
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
        there = float(known.step(np.array(at), log_weight, log_bias).size)
        if abs(there) <= STILL:
            touching.append(at)
        elif there * size[i] < 0:
            pairs += [(x[i], at, signs[i] > 0), (at, x[i + 1], signs[i] < 0)]
    pairs.sort()
    lower, upper, holds = (np.array(column) for column in zip(*pairs, strict=True)) if pairs else np.zeros((3, 0))
    return _Brackets(lower, upper, holds.astype(bool), np.sort(touching), bool(signs[signed[-1]] > 0), False)


def _folded(x: np.ndarray, size: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """Cells i to i + 1 of one sign, between whose ends the step may turn round and reach 0."""
    with np.errstate(all="ignore"):
        side, fall, rise, width = np.sign(size[:-1]), slope[:-1], slope[1:], np.diff(x)
        signed = np.abs(size) > FOLDED
        turns = signed[:-1] & signed[1:] & (side == np.sign(size[1:])) & (side * fall < 0) & (side * rise > 0)
        # Where the tangents at both ends meet is below a minimum.
        meet = (size[1:] - size[:-1] - rise * width) / (fall - rise)
        return np.flatnonzero(turns & (side * (size[:-1] + fall * meet) <= STILL))


def _turning(known: Curve, log_weight: float, log_bias: float, low: float, high: float) -> float:
    """Where the slope of the step is 0, between places at which its signs differ."""
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
    """The root in each bracket, by Newton's method, halving the bracket where it would leave it; [n]."""
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
    """`ends` of a map that is not monotone, layer by layer; NaN where nothing is settled in the end."""
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
    """The fixed points of a homogeneous phi, with infinity where signals explode, and whether it keeps every q."""
    level = log_weight + float(known.edge.ratio[0])
    if log_bias == -math.inf:
        if abs(level) <= STILL:
            return [], True
        return ([-math.inf, math.inf] if level > 0 else [-math.inf]), False
    if level >= -STILL:
        return [math.inf], False
    return [log_bias - math.log(-math.expm1(level))], False
