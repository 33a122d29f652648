"""How much a softmax over T Gaussian logits concentrates, and how much two such softmaxes agree, in float64.

A_j = softmax(s z)_j over T positions, z ~ N(0, 1) each, and B_j the same of logits that correlate with A's by rho:

    Y(rho) = E sum_j A_j B_j,  dY/drho = s^2 E sum_jl (dA_j / dlogit_l) (dB_j / dlogit_l)  (Price's theorem)

Y(1) = E sum_j A_j^2 is 1 over the number of positions that are attended to, and Y(0) = 1/T. With
1/S = int e^(-t S) dt, averages of products over positions fall into products of averages: with g0(y) = exp(-e^y),
g1(y) = e^y g0(y), t = e^v and u = e^w,

    Y(rho) = T int dv dw E[g1(v + s x) g1(w + s y)] E[g0(v + s x) g0(w + s y)]^(T - 1)

which is exact at every T (large-T formulas are poor at real T). All integrands are analytic, so that trapezoid rules
with steps of STEP in a logit are accurate to about 1e-9.
"""

import math
import threading
from functools import lru_cache
from typing import NamedTuple

import numpy as np

# Steps of the trapezoid rules: in logits and log t, and at most so many standard deviations; ROUGH for tables. The
# singularities of g0 lie at imaginary parts of pi / 2, which leaves an error of exp(-pi^2 / STEP).
STEP, WIDEST, ROUGH = 0.4, 0.5, 0.6
FARTHEST = 7.5
# Logits of at most this standard deviation are averaged over by a Gauss rule.
MODERATE = 1.5
# Of the concentration alone, integrals over one variable cost nothing: finer, and to 10 standard deviations.
FINE = 0.2
# Logits beyond this standard deviation go by the power laws of s -> inf: 1 - Y(1) ~ 1/s and dY/drho(1) ~ s. In tables
# they do so beyond TABLED, and where s^2 (1 - rho) of that scale is below NEAR by what depends on s^2 (1 - rho) alone.
LARGEST, TABLED, NEAR = 64.0, 16.0, 0.1
# Chebyshev pieces in s: their upper ends, how many nodes each has in s and how many in sqrt(1 - rho).
PIECES = ((1.0, 9, 16), (2.0, 9, 22), (4.0, 9, 28), (8.0, 9, 34), (TABLED, 9, 42))


class Agreement(NamedTuple):
    """Two softmaxes whose logits correlate by rho; arrays of one shape.

    lag: Y(1) - Y(rho), with all its digits near rho = 1. slope: dY / drho.
    """

    lag: np.ndarray
    slope: np.ndarray


def concentration(positions: int, s: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
    """(Y, dY/drho) at rho = 1: E sum A^2 and s^2 E[S_2 - 2 S_3 + S_2^2], S_k = sum_j A_j^k; two arrays of s's shape.

    s: standard deviations of the logits, >= 0. Computed for each distinct s; see `Attended` for many.
    """
    logits = np.asarray(s, np.float64)
    values, rows = np.unique(logits, return_inverse=True)
    found = np.array([_concentration(positions, float(value)) for value in values]).reshape(-1, 2)
    return found[rows, 0].reshape(logits.shape), found[rows, 1].reshape(logits.shape)


@lru_cache(maxsize=4096)
def _concentration(positions: int, s: float) -> tuple[float, float]:
    if math.isnan(s):
        return math.nan, math.nan
    if s == 0 or positions == 1:
        return 1 / positions, 0.0
    if s > LARGEST:
        second, slope = _concentration(positions, LARGEST)
        return 1 - (1 - second) * LARGEST / s, slope * s / LARGEST
    z, weight = _gauss(min(WIDEST, FINE / s), 10.0)
    v = _log_t(positions, s, FINE)
    y = v[:, None] + s * z
    rest = (_g(0, y) * weight).sum(axis=1)
    # E[t^k A^k-like moments]: m_k = E[e^(k y) g0(y)], with 1/S^k = int t^(k-1) e^(-t S) dt / (k-1)!
    m2, m3, m4 = ((_g(k, y) * weight).sum(axis=1) for k in (2, 3, 4))
    log_rest = np.log(np.maximum(rest, 1e-300))
    alone = np.exp((positions - 1) * log_rest)
    second = positions * FINE * float((m2 * alone).sum())
    third = positions * FINE * float((m3 * alone).sum()) / 2
    pairs = np.exp((positions - 2) * log_rest)
    square = positions * FINE * float((m4 * alone + (positions - 1) * m2**2 * pairs).sum()) / 6
    return second, s * s * (second - 2 * third + square)


def agreement(positions: int, s: float, rho: float, step: float = STEP) -> tuple[float, float]:
    """(Y(rho), dY/drho) for one s and one rho in [-1, 1], to about 1e-9, by sums over products of averages.

    step: of the trapezoid rules over logits; the error is about exp(-pi^2 / step).
    """
    if s == 0 or positions == 1:
        return 1 / positions, 0.0
    if s > MODERATE:
        step = min(step, 0.3 * s)  # at least one of the parts is then no narrower than two steps
    v = _log_t(positions, s, step)
    common, own = s * math.sqrt(abs(rho)), s * math.sqrt(1 - abs(rho))
    if s > MODERATE and common >= 2 * step:
        both, first, derived, twice = _by_convolution(v, step, common, own, rho > 0)
    else:
        z, density = np.polynomial.hermite_e.hermegauss(24)
        left, right = (_shifted(v, step, sign * common * z, own) for sign in (1, math.copysign(1, rho)))
        density = density / density.sum()
        both, first, derived = (np.einsum("km,kn,k->mn", a, b, density) for a, b in zip(left, right, strict=True))
        twice = np.ones(1)
    log_both = np.log(np.maximum(both, 1e-300))
    alone, pairs = (twice * np.exp((positions - of) * log_both) for of in (1, 2))
    value = positions * step**2 * float((first * alone).sum())
    slope = positions * (s * step) ** 2 * float((derived * alone + (positions - 1) * first**2 * pairs).sum())
    return value, slope


def _by_convolution(
    v: np.ndarray, step: float, common: float, own: float, alike: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """E[G(v + x) G(w + y)] for G = g0, g1 and g1' averaged over each softmax's own part, and how often each counts.

    x is the common part, y = x or -x (alike or not). At a given w - v the products are smoothed by one Gaussian: a
    convolution for each difference of places (not alike: w is reversed, and that is the sum). Out: [differences, v].
    """
    reach = math.ceil(FARTHEST * common / step)
    count, wide = v.size, v.size + 2 * reach
    smooth = _shifted(v[0] + step * np.arange(-reach, count + reach), step, np.zeros(1), own)
    differences = np.arange(0 if alike else 1 - count, count)
    length = 2 ** math.ceil(math.log2(wide))
    density = np.exp(-0.5 * (step * np.arange(-reach, reach + 1) / common) ** 2)
    of_density = np.fft.rfft(density / density.sum(), length)
    places = np.arange(wide) + differences[:, None] + count
    found = []
    for (values,) in smooth:
        padded = np.pad(values if alike else values[::-1], count)
        products = values * padded[places]
        smoothed = np.fft.irfft(np.fft.rfft(products, length) * of_density, length)
        found.append(smoothed[:, 2 * reach : wide])
    inside = (differences[:, None] + np.arange(count) >= 0) & (differences[:, None] + np.arange(count) < count)
    twice = np.where(alike & (differences > 0), 2.0, 1.0)[:, None] * inside
    return found[0], found[1], found[2], twice


def _shifted(v: np.ndarray, step: float, shifts: np.ndarray, own: float) -> list[np.ndarray]:
    """Averages of g0, g1 and g1' over N(0, own^2) around v + shifts, [shifts, v] each; v: `step` apart."""
    if own >= 2 * step and shifts.size * v.size > 1000:  # by convolution on the same places
        reach = math.ceil((9 * own + np.abs(shifts).max()) / step)
        y = v[0] + step * np.arange(-reach, v.size + reach)
        weights = np.exp(-0.5 * ((step * np.arange(-reach, reach + 1) - shifts[:, None]) / own) ** 2)
        weights *= step / (own * math.sqrt(2 * math.pi))
        averages = [np.stack([np.convolve(_g(k, y), w[::-1], "valid") for w in weights]) for k in (0, 1, 2)]
    else:
        z, weight = _gauss(min(WIDEST, FINE / own), 9.0) if own > 0 else (np.zeros(1), np.ones(1))
        y = shifts[:, None, None] + v[:, None] + own * z
        averages = [(_g(k, y) * weight).sum(axis=-1) for k in (0, 1, 2)]
    g0, g1, g2 = averages
    return [g0, g1, g1 - g2]


def _g(k: int, y: np.ndarray) -> np.ndarray:
    """e^(k y) exp(-e^y)."""
    inside = np.minimum(y, 6.6)  # exp(-e^6.6) < 1e-300
    value: np.ndarray = np.where(y < 6.6, np.exp(k * inside - np.exp(inside)), 0.0)
    return value


@lru_cache(maxsize=64)
def _gauss(step: float, farthest: float) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of a trapezoid rule for z ~ N(0, 1)."""
    count = math.ceil(farthest / step)
    z = step * np.arange(-count, count + 1)
    weight = np.exp(-z * z / 2)
    return z, weight / weight.sum()


def _log_t(positions: int, s: float, step: float) -> np.ndarray:
    """Places of log t, `step` apart, outside of which the integrand of Y(1) is below 1e-14 of its largest."""
    coarse = np.arange(-FARTHEST * s - 40.0, FARTHEST * s + 12.0, min(0.5, max(step, 0.5)))
    z, weight = _gauss(min(WIDEST, 0.5 / s), 10.0)
    y = coarse[:, None] + s * z
    with np.errstate(divide="ignore"):
        size = np.log((_g(1, y) * weight).sum(axis=1)) + 0.5 * (positions - 1) * np.log((_g(0, y) * weight).sum(axis=1))
    inside = np.flatnonzero(size > size.max() - 32)
    first, last = coarse[max(inside[0] - 1, 0)], coarse[min(inside[-1] + 1, coarse.size - 1)]
    places: np.ndarray = first + step * np.arange(math.ceil((last - first) / step) + 1)
    return places


# --- For many points: tables


ROOT2 = math.sqrt(2)
_PIECES_LOCK = threading.Lock()


@lru_cache(maxsize=256)
def _piece_once(positions: int, number: int) -> np.ndarray:
    """Chebyshev coefficients over s and zeta = sqrt(1 - rho): [2, nodes in s, nodes in zeta].

    [0]: slope / s^2. [1]: lag / (s^2 (1 - rho)), the average of [0] between rho and 1.
    """
    low, high = (PIECES[number - 1][0] if number else 0.0), PIECES[number][0]
    _, many, across = PIECES[number]
    nodes = _nodes(many)
    zeta = ROOT2 * (1 + _nodes(across)) / 2
    slopes = np.empty((many, across))
    for row, unit in enumerate(nodes):
        s = low + (high - low) * (1 + unit) / 2
        slopes[row] = [agreement(positions, s, 1 - z * z, ROUGH)[1] / s**2 for z in zeta]
    of_slope = _transform(many) @ slopes @ _transform(across).T
    # The mean of the slope over rho from 1 - zeta^2 to 1: int_0^1 slope(zeta x) 2 x dx, exact for a polynomial.
    x, weight = np.polynomial.legendre.leggauss(across // 2 + 2)
    x, weight = (1 + x) / 2, weight / 2
    inner = np.polynomial.chebyshev.chebvander(2 * np.outer(zeta, x) / ROOT2 - 1, across - 1)
    means = np.einsum("zxk,x->zk", inner, 2 * x * weight)
    of_mean = of_slope @ (_transform(across) @ means).T
    return np.stack([of_slope, of_mean])


def _piece(positions: int, number: int) -> np.ndarray:
    """The same, computed by one of several threads that ask for it."""
    with _PIECES_LOCK:
        return _piece_once(positions, number)


def _nodes(count: int) -> np.ndarray:
    return np.cos((np.arange(count) + 0.5) * math.pi / count)


def _transform(count: int) -> np.ndarray:
    """From values at `_nodes` to Chebyshev coefficients."""
    table: np.ndarray = np.cos(np.outer(np.arange(count), (np.arange(count) + 0.5) * math.pi / count)) * (2 / count)
    table[0] /= 2
    return table


def agreements(positions: int, s: np.ndarray, apart: np.ndarray) -> Agreement:
    """How much softmaxes agree whose logits correlate by 1 - apart; from tables, to about 1e-6 for s <= TABLED.

    Beyond, to about 1e-2: a softmax picks one position but for a share ~ 1/s, and two differ by how s^2 (1 - rho) says.
    s: standard deviations of the logits, [n]. apart: [n], in [0, 2]; lag keeps its digits for the smallest.
    Tables are made when they are first needed: in a second for s <= 4, in some more for s near TABLED.
    """
    s, apart = np.broadcast_arrays(np.asarray(s, np.float64), np.clip(np.asarray(apart, np.float64), 0, 2))
    inside = np.minimum(s, TABLED)
    with np.errstate(invalid="ignore", over="ignore"):
        beyond = np.maximum(s / TABLED, 1.0)
        near = apart * beyond**2 < NEAR
        lag, slope = _tabled(positions, inside, np.where(near, apart * beyond**2, apart))
        if np.any(beyond > 1):
            unpicked = 1 - 1 / positions - _tabled(positions, inside, np.ones(s.shape)).lag
            lag = np.where(near, lag / beyond, lag + unpicked * (1 - 1 / beyond))
            slope = np.where(near, slope * beyond, slope)
    return Agreement(lag, slope)


def _tabled(positions: int, s: np.ndarray, apart: np.ndarray) -> Agreement:
    """`agreements` for s <= TABLED."""
    lag, slope = np.zeros(s.shape), np.zeros(s.shape)
    unknown = np.isnan(s) | np.isnan(apart)
    low = 0.0
    for number, (high, many, across) in enumerate(PIECES):
        here = np.flatnonzero((s <= high) & (s > low) & ~unknown)
        if here.size and positions > 1:
            t = 2 * (s[here] - low) / (high - low) - 1
            over_s = np.polynomial.chebyshev.chebvander(t, many - 1)
            over_zeta = np.polynomial.chebyshev.chebvander(2 * np.sqrt(apart[here]) / ROOT2 - 1, across - 1)
            table = _piece(positions, number)
            # Without BLAS, whose threads spin beside another busy process.
            of_slope, of_lag = (np.einsum("nk,nk->n", _products(over_s, of), over_zeta) for of in table)
            slope[here] = s[here] ** 2 * of_slope
            lag[here] = s[here] ** 2 * apart[here] * of_lag
        low = high
    lag[unknown] = slope[unknown] = np.nan
    return Agreement(lag, slope)


def _products(rows: np.ndarray, table: np.ndarray) -> np.ndarray:
    """rows @ table, for a table of few rows."""
    total = np.zeros((rows.shape[0], table.shape[1]))
    for column, of_table in zip(rows.T, table, strict=True):
        total += column[:, None] * of_table
    return total
