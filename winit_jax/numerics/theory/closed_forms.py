"""Gaussian averages of activations in closed form, in float64 NumPy; `CLOSED_FORMS` maps names to them."""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import jax
import numpy as np

from winit_jax.numerics.activations import Activation


class Averages(NamedTuple):
    """Averages over one Gaussian u ~ N(0, q), at each q; arrays of q's shape.

    second: E[phi(u)^2].
    slope_second: E[phi'(u)^2].
    growth: d E[phi(u)^2] / dq = E[u phi(u) phi'(u)] / q.
    """

    second: np.ndarray
    slope_second: np.ndarray
    growth: np.ndarray


class ClosedForm(NamedTuple):
    """The averages of one activation as functions that need no quadrature over phi.

    averages: q -> Averages. covariance: q, c -> E[phi(u1) phi(u2)]; slope_covariance: q, c -> E[phi'(u1) phi'(u2)],
        for u1, u2 ~ N(0, q) with correlation c; q and c of one shape, same shape out.
    sides: the slopes left and right of 0 of a homogeneous phi; None for any other.
    """

    averages: Callable[[np.ndarray], Averages]
    covariance: Callable[[np.ndarray, np.ndarray], np.ndarray]
    slope_covariance: Callable[[np.ndarray, np.ndarray], np.ndarray]
    sides: tuple[float, float] | None = None


def _homogeneous_form(left: float, right: float) -> ClosedForm:
    """The closed form of phi(a) = left a for a < 0 and right a for a > 0, which is (right - left) relu(a) + left a.

    Source: Cho and Saul 2009, NIPS (the arc-cosine kernel of degree 1).
    """
    with np.errstate(all="ignore"):  # the squares of slopes near 1e300 overflow
        sides = np.array([left, right])
        kink, line, mean = (sides[1] - sides[0]) ** 2, sides[0] * sides[1], (sides**2).sum() / 2

    def averages_of(q: np.ndarray) -> Averages:
        level = np.full(np.shape(q), mean)
        return Averages(level * q, level, level)

    def value(q: np.ndarray, c: np.ndarray) -> np.ndarray:
        angle = np.arccos(c)
        covariance: np.ndarray = q * (
            kink * (np.sqrt((1 - c) * (1 + c)) + c * (math.pi - angle)) / (2 * math.pi) + line * c
        )
        return covariance

    def slopes(q: np.ndarray, c: np.ndarray) -> np.ndarray:
        covariance: np.ndarray = kink * (math.pi - np.arccos(c)) / (2 * math.pi) + line + 0 * q
        return covariance

    return ClosedForm(averages_of, value, slopes, (left, right))


def _erf_covariance(q: np.ndarray, c: np.ndarray) -> np.ndarray:
    # Williams 1997, NIPS: Computing with infinite networks.
    covariance: np.ndarray = 2 / math.pi * np.arcsin(2 * q * c / (1 + 2 * q))
    return covariance


def _erf_slopes(q: np.ndarray, c: np.ndarray) -> np.ndarray:
    covariance: np.ndarray = 4 / math.pi / np.sqrt((1 + 2 * q * (1 - c)) * (1 + 2 * q * (1 + c)))
    return covariance


def _erf_averages(q: np.ndarray) -> Averages:
    # arcsin(s) loses half its digits where s is nearly 1, so the angle is computed from its tangent.
    second = 2 / math.pi * np.arctan2(2 * q, np.sqrt(1 + 4 * q))
    return Averages(second, _erf_slopes(q, np.ones_like(q)), 4 / math.pi / ((1 + 2 * q) * np.sqrt(1 + 4 * q)))


def _sin_form(omega: float) -> ClosedForm:
    """The closed form of phi(a) = sin(omega a): E[phi phi] = e^-Q sinh(Q c), Q = omega^2 q, for E e^iu = e^(-q/2)."""
    square = omega**2

    def averages_of(q: np.ndarray) -> Averages:
        decay = np.exp(-2 * square * q)
        return Averages(-0.5 * np.expm1(-2 * square * q), square * 0.5 * (1 + decay), square * decay)

    def value(q: np.ndarray, c: np.ndarray) -> np.ndarray:
        # (e^(-Q(1-c)) - e^(-Q(1+c))) / 2, written so that the difference does not cancel.
        size, length = np.abs(c), square * q
        covariance: np.ndarray = -0.5 * np.sign(c) * np.exp(-length * (1 - size)) * np.expm1(-2 * length * size)
        return covariance

    def slopes(q: np.ndarray, c: np.ndarray) -> np.ndarray:
        length = square * q
        covariance: np.ndarray = square * 0.5 * (np.exp(-length * (1 - c)) + np.exp(-length * (1 + c)))
        return covariance

    return ClosedForm(averages_of, value, slopes)


_ERF = np.vectorize(math.erf, otypes=[float])
_ERFC = np.vectorize(math.erfc, otypes=[float])


def _hard_tanh_averages(q: np.ndarray) -> Averages:
    """With k = 1 / sqrt(q): E[phi^2] = q E[z^2; |z| < k] + P(|z| > k), E[phi'^2] = P(|z| < k)."""
    k = 1 / np.sqrt(q)
    # E[z^2; |z| < k] by quadrature: erf(k / sqrt 2) - 2 k pdf(k) cancels at large q.
    x, w = np.polynomial.legendre.leggauss(48)
    half = np.minimum(k, 12.0)[..., None] / 2
    t = half * (1 + x)
    inner = (half * w * t**2 * np.exp(-t * t / 2)).sum(axis=-1) * math.sqrt(2 / math.pi)
    return Averages(q * inner + _ERFC(k / math.sqrt(2)), _ERF(k / math.sqrt(2)), inner)


def _hard_tanh_integral(q: np.ndarray, c: np.ndarray, moment: int) -> np.ndarray:
    """(1/pi) int_0^asin(c) (c - sin t)^moment [e^(-1/(q (1 + sin t))) - e^(-1/(q (1 - sin t)))] dt, c >= 0.

    The bracket divided by pi cos t is 2 q times (density of (u1, u2) at (1, 1) minus density at (1, -1)): Price's
    theorem, applied twice. Integrated over log s, s = pi/2 - t, so that the change at 1 - sin t ~ 1/q is resolved for
    every q.
    """
    x, w = np.polynomial.legendre.leggauss(16)
    panels = 12
    start = np.arccos(np.minimum(c, 1 - 2.0**-53))[..., None]
    length = np.log(math.pi / 2 / start)
    unit = ((np.arange(panels)[:, None] + (1 + x) / 2) / panels).ravel()
    s = start * np.exp(length * unit)
    cosine = np.cos(s)  # = sin t
    gap = 2 * cosine / np.sin(s) ** 2 / q[..., None]
    bracket = -np.exp(-1 / (q[..., None] * (1 + cosine))) * np.expm1(-gap)
    if moment:
        bracket = bracket * 2 * np.sin((s + start) / 2) * np.sin((s - start) / 2)  # c - cos s
    integral: np.ndarray = (bracket * s * np.tile(w, panels)).sum(axis=-1) * length[..., 0] / (2 * panels) / math.pi
    return integral


def _hard_tanh_covariance(q: np.ndarray, c: np.ndarray) -> np.ndarray:
    q, c = np.broadcast_arrays(q, c)
    size = np.abs(c)
    means = _hard_tanh_averages(q)
    value = q * (size * means.slope_second**2 + _hard_tanh_integral(q, size, 1))
    covariance: np.ndarray = np.sign(c) * np.where(size == 1, means.second, value)
    return covariance


def _hard_tanh_slopes(q: np.ndarray, c: np.ndarray) -> np.ndarray:
    q, c = np.broadcast_arrays(q, c)
    size = np.abs(c)
    inside = _ERF(1 / np.sqrt(2 * q))
    covariance: np.ndarray = np.where(size == 1, inside, inside**2 + _hard_tanh_integral(q, size, 0))
    return covariance


CLOSED_FORMS = {
    "erf": ClosedForm(_erf_averages, _erf_covariance, _erf_slopes),
    "hard_tanh": ClosedForm(_hard_tanh_averages, _hard_tanh_covariance, _hard_tanh_slopes),
}


@lru_cache(maxsize=64)
def has_closed_form(activation: Activation) -> bool:
    """Whether `closed_form` finds one, without making it."""
    return activation.homogeneous or activation.frequency is not None or activation.name in CLOSED_FORMS


def closed_form(activation: Activation) -> ClosedForm | None:
    """The closed form of an activation: by its slopes if it is homogeneous, by the frequency of a sine, else by name;
    None if it has none."""
    if activation.homogeneous:
        with jax.default_device(jax.local_devices(backend="cpu")[0]), jax.enable_x64(True):
            left, right = np.asarray(jax.jit(activation.slope)(np.array([-1.0, 1.0])))
        return _homogeneous_form(float(left), float(right))
    if activation.frequency is not None:
        return _sin_form(activation.frequency)
    return CLOSED_FORMS.get(activation.name)
