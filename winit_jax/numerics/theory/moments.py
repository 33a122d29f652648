"""Gaussian averages of an activation: E[phi^2], E[phi'^2] and the same for two correlated inputs, in float64.

Positively homogeneous activations, erf, sin and hard_tanh have closed forms. All others use quadrature on
nodes that are the same for every q, so that one matrix product gives the Hermite coefficients of
phi(sqrt(q) z), and with them the covariance at any correlation c:

    phi(sqrt(q) z) = sum_k a_k he_k(z)   ->   E[phi(u1) phi(u2)] = sum_k a_k^2 c^k

The nodes lie dense around z = 0, so kinks at 0 and transitions of any width there cost no accuracy. For an
activation given by import path, panels of nodes also end at its own kinks and jumps (see
`winit_jax.numerics.theory.quadrature`).

Measured errors for the activations of the table: averages over one Gaussian, 1e-10 of themselves; covariances
from closed forms, and from the series at abs(c) <= 0.95, 1e-14 of E[phi^2]. Nearer to 1, where a model stands
for the rest of the series: covariances 1e-7 of E[phi^2] and slope covariances 1e-4 of E[phi'^2] at q <= 30
(3e-6 and 6e-4 at q <= 300; 5e-5 and 5e-3 at larger q, for tanh and sigmoid). At c = 1 they are exact again.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from winit_jax.numerics.activations import Activation
from winit_jax.numerics.theory.closed_forms import Averages, closed_form
from winit_jax.numerics.theory.quadrature import ROWS, TERMS, Sums, sums

# Outside this range of q, phi follows the powers of its degrees, to a relative error of order sqrt(q) below it and
# 1 / sqrt(q) above it.
SMALLEST, LARGEST = 1e-32, 1e24
# The largest q at which a phi that oscillates without end is evaluated; its averages have settled there.
FAST = 1e4
# A series' rest is dropped if its share of q E[phi'^2] is below NO_REST. ROUNDING: relative error of a sum of squares.
NO_REST, ROUNDING = 1e-11, 1e-15


class Degrees(NamedTuple):
    """Powers of q / clipped q by which the averages at the clipped q are scaled to those at q; arrays of q's shape."""

    second: np.ndarray
    slope_second: np.ndarray
    growth: np.ndarray


class Series(NamedTuple):
    """Squared Hermite coefficients a_k^2 of phi(sqrt(q) z) at n values of q, for even and odd k apart.

    squares: [n, 2, TERMS / 2], a_k^2 for k < TERMS; [:, 0] for k = 0, 2, ..., [:, 1] for k = 1, 3, ...
    q: [n]. averages: three arrays of [n].
    rest: [n, 2], sum of a_k^2 over k >= TERMS.
    rest_slope: [n, 2], sum of k a_k^2 over k >= TERMS.
    power, cutoff: [n, 2], the model a_k^2 ~ k^(-power - 1) exp(-cutoff k / TERMS) for k >= TERMS.
    """

    q: np.ndarray
    averages: Averages
    squares: np.ndarray
    rest: np.ndarray
    rest_slope: np.ndarray
    power: np.ndarray
    cutoff: np.ndarray


# --- The averages


def second_moment(activation: Activation, q: np.ndarray | float) -> np.ndarray:
    """E[phi(u)^2] for u ~ N(0, q); q >= 0 of any shape, same shape out. q < 0 gives NaN."""
    return averages(activation, q).second


def mean_square_slope(activation: Activation, q: np.ndarray | float) -> np.ndarray:
    """E[phi'(u)^2] for u ~ N(0, q); q >= 0 of any shape, same shape out. q = 0 gives the limit q -> 0, q < 0 NaN."""
    return averages(activation, q).slope_second


def covariance(activation: Activation, q: np.ndarray | float, c: np.ndarray | float) -> np.ndarray:
    """E[phi(u1) phi(u2)] for u1, u2 ~ N(0, q) with correlation c in [-1, 1]; shapes broadcast; q < 0 gives NaN."""
    return covariances(activation, q, c)[0]


def slope_covariance(activation: Activation, q: np.ndarray | float, c: np.ndarray | float) -> np.ndarray:
    """E[phi'(u1) phi'(u2)] = (d covariance / dc) / q (Price's theorem); arguments as of `covariance`."""
    return covariances(activation, q, c)[1]


def averages(activation: Activation, q: np.ndarray | float) -> Averages:
    """E[phi^2], E[phi'^2] and dE[phi^2]/dq for u ~ N(0, q), at every q >= 0 including 0 and inf.

    Shapes: q of any shape; three arrays of the same shape.
    Errors: none; q < 0 gives NaN.
    """
    lengths = np.asarray(q, np.float64)
    inside, degrees = clip(activation, lengths)
    unscaled = averages_inside(activation, inside)
    with np.errstate(all="ignore"):
        ratio = np.where(lengths == inside, 1.0, lengths / inside)
        scaled = (value * ratio**degree for value, degree in zip(unscaled, degrees, strict=True))
        return Averages(*(np.where(lengths >= 0, value, np.nan) for value in scaled))


def covariances(activation: Activation, q: np.ndarray | float, c: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
    """E[phi(u1) phi(u2)] and E[phi'(u1) phi'(u2)] for u1, u2 ~ N(0, q) with correlation c.

    Shapes: q and c broadcast; two arrays of that shape.
    Errors: none; correlations outside [-1, 1] are taken as -1 or 1; q < 0 gives NaN.
    """
    lengths, correlations = np.broadcast_arrays(np.asarray(q, np.float64), np.clip(np.asarray(c, np.float64), -1, 1))
    inside, degrees = clip(activation, lengths)
    form = closed_form(activation)
    if form is not None:
        value, slope = form.covariance(inside, correlations), form.slope_covariance(inside, correlations)
    else:
        values, rows = np.unique(inside, return_inverse=True)
        value, slope = sum_series(series(activation, values), correlations.ravel(), rows.ravel())
        value, slope = value.reshape(lengths.shape), slope.reshape(lengths.shape)
    with np.errstate(all="ignore"):
        ratio = np.where(lengths == inside, 1.0, lengths / inside)
        value, slope = value * ratio**degrees.second, slope * ratio**degrees.slope_second
        return np.where(lengths >= 0, value, np.nan), np.where(lengths >= 0, slope, np.nan)


def clip(activation: Activation, q: np.ndarray) -> tuple[np.ndarray, Degrees]:
    """q clipped to the range in which averages are evaluated, and the powers that scale them from there to q.

    q: any shape; may be 0 or inf. An unknown degree at 0 counts as 1. If the degree at infinity is unknown, large q
    are not clipped.
    """
    near = 1 if activation.degree_at_zero is None else activation.degree_at_zero
    far = None if activation.degree_at_infinity is None else max(activation.degree_at_infinity)
    if activation.homogeneous:  # every average is exact by scaling from any q
        lowest, highest, far = 1.0, 1.0, 1
    else:
        lowest, highest = SMALLEST, 1e300 if far is None else FAST if activation.oscillates else LARGEST
    inside = np.clip(np.nan_to_num(q, nan=1.0, posinf=np.inf), lowest, highest)
    below, above = q < inside, q > inside
    far = far or 0

    def power(at_zero: float, at_infinity: float) -> np.ndarray:
        return np.where(below, at_zero, np.where(above, at_infinity, 0.0))

    # At large q a bounded phi acts as a step: its slope differs from 0 only for a share 1 / sqrt(q) of all u.
    step = far == 0 and np.any(above) and not (activation.oscillates or _oscillates(activation))
    return inside, Degrees(
        power(0 if activation.at_zero else near, far),
        power(near - 1, -0.5 if step else max(far - 1, 0)),
        power(near - 1, far - 1 if far else -1.5),
    )


@lru_cache(maxsize=64)
def _oscillates(activation: Activation) -> bool:
    """Whether the slopes of a bounded phi do not go to 0 far out, as with sin."""
    far = averages_inside(activation, np.array([LARGEST])).slope_second[0]
    return bool(far > 1e-6 * activation.max_slope**2)


# --- By quadrature


def _chunks(activation: Activation, q: np.ndarray, coefficients: bool) -> Iterator[tuple[slice, np.ndarray, Sums]]:
    """(slice of q, q there, sums there) for consecutive slices of at most ROWS; q: [n]."""
    evaluate = sums(activation, coefficients)
    for start in range(0, q.size, ROWS):
        piece = q[start : start + ROWS]
        n = piece.size
        chunk_sums = evaluate(np.sqrt(np.pad(piece, (0, ROWS - n), constant_values=1.0)))
        yield (
            slice(start, start + n),
            piece,
            jax.tree.map(lambda x, n=n: x[..., :n, :] if x.ndim == 3 else x[..., :n], chunk_sums),
        )


def averages_inside(activation: Activation, q: np.ndarray) -> Averages:
    """`averages` for q in the range that `clip` returns; any shape."""
    form = closed_form(activation)
    return form.averages(q) if form is not None else quadrature_averages(activation, q)


def quadrature_averages(activation: Activation, q: np.ndarray) -> Averages:
    """`averages` by quadrature, even if a closed form exists; SMALLEST <= q <= LARGEST, any shape."""
    values = np.empty((3, q.size))
    for rows, piece, chunk_sums in _chunks(activation, q.ravel(), coefficients=False):
        values[:, rows] = _averages_of_sums(activation.at_zero, piece, chunk_sums)
    if _slope_square_diverges(activation):
        values[1] = np.inf
    return Averages(*values.reshape(3, *q.shape))


@lru_cache(maxsize=64)
def _slope_square_diverges(activation: Activation) -> bool:
    """Whether phi' grows like 1 / sqrt(a) or faster towards a = 0, so that E[phi'^2] is infinite."""
    if activation.kinks is None:
        return False
    with jax.default_device(jax.local_devices(backend="cpu")[0]), jax.enable_x64(True):
        slopes = np.abs(np.asarray(activation.slope(jnp.asarray([1e-14, 1e-18, -1e-14, -1e-18])), np.float64))
    return bool(np.any(slopes[1::2] > 99 * slopes[::2]))


def _averages_of_sums(at_zero: float, q: np.ndarray, sums_of_q: Sums) -> Averages:
    with np.errstate(all="ignore"):  # an unbounded phi may overflow
        return Averages(
            # The mean of opposite infinities is NaN; it is needed only if phi(0) is not 0.
            (at_zero**2 + 2 * at_zero * sums_of_q.mean if at_zero else 0.0) + sums_of_q.square.sum(axis=0),
            sums_of_q.slope_square.sum(axis=0),
            ((at_zero * sums_of_q.slope if at_zero else 0.0) + sums_of_q.product) / np.sqrt(q),
        )


def series(activation: Activation, q: np.ndarray) -> Series:
    """Squared Hermite coefficients of phi(sqrt(q) z), with a model of the rest, those of k >= TERMS; q: [n].

    E[phi^2] = sum a_k^2 and q E[phi'^2] = sum k a_k^2 give the sums of a_k^2 and k a_k^2 over the rest exactly. The
    model is a_k^2 ~ k^(-power - 1) exp(-cutoff k / TERMS). A kink in phi has power 3/2. A step has power 1/2; a
    bounded phi resembles one at large q (erf has exactly this power). The cutoff stands for a rounded kink or step.
    """
    n, at_zero = q.size, activation.at_zero
    means = np.empty((3, n))
    squares, rest, rest_slope = np.empty((n, 2, TERMS // 2)), np.empty((n, 2)), np.empty((n, 2))
    for rows, piece, chunk_sums in _chunks(activation, q, coefficients=True):
        means[:, rows] = _averages_of_sums(at_zero, piece, chunk_sums)
        for parity in (0, 1):
            coefficients, mass = chunk_sums.coefficients[parity], chunk_sums.square[parity]
            square = coefficients**2
            left = mass - square.sum(axis=1)
            left_slope = piece * chunk_sums.slope_square[parity] - (square * np.arange(parity, TERMS, 2)).sum(axis=1)
            if parity == 0:
                square[:, 0] = (at_zero + coefficients[:, 0]) ** 2
            squares[rows, parity] = square
            kept = left_slope > NO_REST * piece * means[1, rows]
            # `left` may be rounding where `left_slope` is not, which bounds it: no order left is below TERMS.
            left = np.clip(left, ROUNDING * mass, np.maximum(left_slope, 0) / (1.003 * _FIRST[parity]))
            rest[rows, parity] = np.where(kept, left, 0.0)
            rest_slope[rows, parity] = np.where(kept, left_slope, 0.0)
    power, cutoff = _fit_rest(rest, rest_slope, bounded=activation.degree_at_infinity == (0, 0))
    return Series(q, Averages(*means), squares, rest, rest_slope, power, cutoff)


# Where the integrals over the rest start. The first orders in it are TERMS (even) and TERMS + 1 (odd); each stands for
# an interval of two orders around it.
_FIRST = np.array([TERMS - 1.0, TERMS])
# Nodes of a trapezoid rule in s = log(k / first - 1): spectrally accurate for every power and cutoff.
_S = np.arange(-28.0, 64.0, 0.4)


def _power_law(power: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Integrals over y from 1 to inf of y^(-power - 1) e^(-x y) and of y^(-power) e^(-x y); any shape."""
    y = np.exp(_S)
    x = np.minimum(x, 600.0)[..., None]
    terms = np.exp(_S - (power[..., None] + 1) * np.log1p(y) - x * (1 + y))
    return 0.4 * terms.sum(axis=-1), 0.4 * (terms * (1 + y)).sum(axis=-1)


@lru_cache(maxsize=2)
def _means(power: float) -> tuple[np.ndarray, np.ndarray]:
    """(log(mean - 1), increasing; log cutoff): tables for the power law with a cutoff on [1, inf)."""
    cutoff = np.geomspace(500, 1e-24, 1000)
    mass, first = _power_law(np.full(cutoff.shape, power), cutoff)
    return np.log(first / mass - 1), np.log(cutoff)


def _fit_rest(rest: np.ndarray, rest_slope: np.ndarray, bounded: bool) -> tuple[np.ndarray, np.ndarray]:
    """(power, cutoff) of the rest's model, from the sums of a_k^2 and k a_k^2 over the rest; [n, 2] each."""
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(rest > 0, rest_slope / (rest * _FIRST), 2.0)
    mean = np.maximum(mean, 1.003)
    power = np.full(rest.shape, 0.5 if bounded else 1.5)
    cutoff = np.exp(np.interp(np.log(mean - 1), *_means(0.5 if bounded else 1.5)))
    if not bounded:  # a mean above 3 needs a smaller power: mean = power / (power - 1)
        slow = mean >= 3
        power = np.where(slow, np.maximum(mean / (mean - 1), 1.01), power)
        cutoff = np.where(slow, 0.0, cutoff)
    return power, cutoff


def sum_series(known: Series, c: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(covariance, slope covariance) at correlations c [m], each from row rows[m] of the series; [m] each.

    known: the squared coefficients, with the model of their rest.
    """
    value, slope = np.empty(c.size), np.empty(c.size)
    even = np.arange(0, TERMS, 2.0)
    for start in range(0, c.size, 1024):
        part = slice(start, start + 1024)
        row, sign, size = rows[part], np.sign(c[part]), np.abs(c[part])
        logarithm = np.log(np.maximum(size, 1e-300))
        powers = np.exp(even * logarithm[:, None])  # c^0, c^2, ...
        squares = known.squares[row]
        sums = np.einsum("mpk,mk->mp", squares, powers)
        sums[:, 1] *= c[part]
        # sum k a_k^2 c^(k-1): even orders k = 2j from c^(2j-2) = powers shifted by one.
        slopes_even = c[part] * np.einsum("mk,mk->m", squares[:, 0, 1:] * even[1:], powers[:, :-1])
        slopes_odd = np.einsum("mk,mk->m", squares[:, 1] * (even + 1), powers)
        value[part] = sums[:, 0] + sums[:, 1]
        slope[part] = slopes_even + slopes_odd
        rest = known.rest[row]
        with_rest = np.flatnonzero((rest.max(axis=1) > 0) & (size > 0.5))
        if with_rest.size:
            at = row[with_rest]
            power, cutoff = known.power[at], known.cutoff[at]
            x = cutoff - _FIRST * logarithm[with_rest, None]
            whole, whole_slope = _power_law(power, cutoff)
            mass, first = _power_law(power, x)
            signs = np.stack([np.ones(with_rest.size), sign[with_rest]], axis=1)
            value[start + with_rest] += (signs * known.rest[at] * mass / whole).sum(axis=1)
            falling = known.rest_slope[at] * first / whole_slope
            slope[start + with_rest] += (signs * falling).sum(axis=1) / c[part][with_rest]
    return value, slope / known.q[rows]
