"""Gaussian averages of an activation, in float64: what mean-field theory is made of.

For u1, u2 ~ N(0, q) of correlation c: V = E[phi(u)^2], D = E[phi'(u)^2], C = E[phi(u1) phi(u2)] and
E[phi'(u1) phi'(u2)] = (dC/dc) / q. Closed forms where they are known (`CLOSED`); elsewhere the coefficients of
    phi(sqrt(q) z) = sum_k a_k he_k(z),    a_k = E[phi(sqrt(q) z) he_k(z)],    C = sum_k a_k^2 c^k
with normalised Hermite polynomials, from panels of Gauss-Legendre nodes that shrink towards z = 0, where
activations have their kinks and large q their steps. What the first TERMS coefficients leave out has a known
mass V - sum a_k^2 and a known mean q D - sum k a_k^2; it is put on a power law (exact for kinks).
Accuracy, tested: 1e-10 for V and D, 1e-7 of V for C, at q up to 1e4 and 30 and kinks at 0 only.
"""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from winit_jax.activations import Activation

Array = np.ndarray

TERMS = 512
# Nodes: 16 in each panel of [-12, 12]; the Gaussian weighs what lies beyond with 1e-32.
EDGE, PANEL, HALVINGS, ORDER = 12.0, 0.5, 24, 16
# q beyond these is scaled by the degrees of phi: nodes would no longer resolve it.
LEAST_Q, GREATEST_Q = 1e-20, 1e12
CHUNK = 32  # values of q evaluated at a time, so that one program serves every number of them


class Moments(NamedTuple):
    """V, D and dV/dq at given q, arrays of its shape."""

    second: Array
    slope: Array
    second_slope: Array


@lru_cache
def _nodes() -> tuple[Array, Array, Array]:
    """(z, Gaussian weights, he_k(z) [TERMS, nodes])."""
    fine = PANEL * 2.0 ** -np.arange(HALVINGS)
    edges = np.concatenate([[0.0], fine[::-1], np.arange(2 * PANEL, EDGE + PANEL / 2, PANEL)])
    x, w = np.polynomial.legendre.leggauss(ORDER)
    half = np.diff(edges)[:, None] / 2
    right = (edges[:-1, None] + half * (1 + x)).ravel()
    z = np.concatenate([-right[::-1], right])
    weights = (half * w).ravel()
    weights = np.concatenate([weights[::-1], weights]) * np.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    hermite = np.empty((TERMS, len(z)))
    hermite[0], hermite[1] = 1.0, z
    for k in range(1, TERMS - 1):
        hermite[k + 1] = (z * hermite[k] - math.sqrt(k) * hermite[k - 1]) / math.sqrt(k + 1)
    return z, weights, hermite


@lru_cache(maxsize=64)
def _evaluator(activation: Activation) -> Callable[[Array], tuple[Array, Array]]:
    """(psi, phi') of [rows, nodes] at sqrt(q) z, for the roots of q."""
    z = _nodes()[0]

    def values(roots):
        a = roots[:, None] * jnp.asarray(z)
        return activation.response(a), activation.slope(a)

    compiled = jax.jit(values)

    def evaluate(roots: Array) -> tuple[Array, Array]:
        padded = np.resize(roots, -(-len(roots) // CHUNK) * CHUNK)
        with jax.enable_x64(True), jax.default_device(jax.local_devices(backend="cpu")[0]):
            parts = [jax.device_get(compiled(padded[i : i + CHUNK])) for i in range(0, len(padded), CHUNK)]
        psi, slopes = (np.concatenate([part[i] for part in parts])[: len(roots)] for i in (0, 1))
        return psi, slopes

    return evaluate


class Scaled(NamedTuple):
    """q brought to where nodes resolve it, and the factors that its quantities lack."""

    q: Array
    response: Array  # of psi
    slope: Array  # of phi'^2
    second_slope: Array  # of dV/dq


def _scaled(activation: Activation, q: Array) -> Scaled:
    """Near 0 and far out psi(s a) ~ s^degree psi(a); of a bounded phi, D ~ q^(-1/2) far out."""
    near, far = activation.degree_at_zero or 1, max(activation.degree_at_infinity or (1, 1))
    clipped = np.clip(q, LEAST_Q, GREATEST_Q)
    ratio = np.sqrt(np.where(q > 0, q, LEAST_Q) / clipped)
    response = np.where(ratio < 1, ratio**near, ratio**far)
    below = ratio ** (2 * near - 2)
    slope = np.where(ratio < 1, below, ratio ** (2 * far - 2) if far else 1 / ratio)
    second_slope = np.where(ratio < 1, below, ratio ** (2 * far - 2) if far else ratio**-3.0)
    return Scaled(clipped, np.where(q > 0, response, 0.0), slope, second_slope)


class Closed(NamedTuple):
    """Exact moments of one activation: moments(q), covariance(q, c), slope_covariance(q, c)."""

    moments: Callable[[Array], Moments]
    covariance: Callable[[Array, Array], Array]
    slope_covariance: Callable[[Array, Array], Array]


def moments(activation: Activation, q: Array) -> Moments:
    """V, D and dV/dq.

    V = E[phi(sqrt(q) z)^2], D = E[phi'(sqrt(q) z)^2], dV/dq = E[z phi phi'] / sqrt(q), z ~ N(0, 1).
    q: any shape, at least 0. Accuracy: 1e-10 relative where kinks lie at 0.
    """
    q = np.asarray(q, np.float64)
    flat = _scaled(activation, q.ravel())
    closed = _closed(activation)
    found = _exact(closed, flat) if closed else _from_nodes(activation, flat, *_values(activation, flat))
    return Moments(*(x.reshape(q.shape) for x in found))


def _exact(closed: Closed, scaled: Scaled) -> Moments:
    second, slope, second_slope = closed.moments(scaled.q)
    return Moments(second * scaled.response**2, slope * scaled.slope, second_slope * scaled.second_slope)


def _values(activation: Activation, scaled: Scaled) -> tuple[Array, Array]:
    return _evaluator(activation)(np.sqrt(scaled.q))


def _from_nodes(activation: Activation, scaled: Scaled, psi: Array, slopes: Array) -> Moments:
    z, weights, _ = _nodes()
    at_zero = activation.at_zero
    mean, second = (psi @ weights) * scaled.response, ((psi * psi) @ weights) * scaled.response**2
    second_slope = ((psi + at_zero) * slopes * z) @ weights / np.sqrt(scaled.q)
    return Moments(
        at_zero**2 + 2 * at_zero * mean + second,
        ((slopes * slopes) @ weights) * scaled.slope,
        second_slope * scaled.second_slope,
    )


class Kernel(NamedTuple):
    """C and E[phi'(u1) phi'(u2)] as functions of the correlation, for N values of q: [N] -> [N] each."""

    moments: Moments
    covariance: Callable[[Array], Array]
    slope_covariance: Callable[[Array], Array]


def kernel(activation: Activation, q: Array) -> Kernel:
    """The covariance of phi at two correlated inputs, for q of shape [N].

    Correlations run from -1 to 1. Source: Daniely et al. 2016 (arXiv:1602.05897) for the series; Cho and Saul
    2009, Williams 1997 and Price 1958 for the closed forms. Accuracy: 1e-7 of V at q up to 30.
    """
    q = np.asarray(q, np.float64)
    scaled = _scaled(activation, q)
    if closed := _closed(activation):
        return Kernel(
            _exact(closed, scaled),
            lambda c: closed.covariance(scaled.q, c) * scaled.response**2,
            lambda c: closed.slope_covariance(scaled.q, c) * scaled.slope,
        )
    return _series(activation, scaled)


def _series(activation: Activation, scaled: Scaled) -> Kernel:
    _, weights, hermite = _nodes()
    psi, slopes = _values(activation, scaled)
    found = _from_nodes(activation, scaled, psi, slopes)
    coefficients = (psi * weights) @ hermite.T  # of psi, at the clipped scale
    second, slope = (psi * psi) @ weights, (slopes * slopes) @ weights
    squares = coefficients**2
    k = np.arange(TERMS)
    rest = second - squares.sum(axis=1)
    rest = np.where(rest > 1e-13 * second, rest, 0.0)
    mean = np.divide(scaled.q * slope - squares @ k, rest, out=np.full_like(rest, 2.0 * TERMS), where=rest > 0)
    mean = np.maximum(mean, 1.001 * TERMS)
    power = mean / (mean - TERMS)
    # The rest at k = TERMS s^(-1/power) for s uniform in (0, 1): a power law of that mean. s = t^m gathers the
    # nodes where k is largest.
    x, w = np.polynomial.legendre.leggauss(64)
    t, stretch = (1 + x) / 2, 6
    s, share = t**stretch, w / 2 * stretch * t ** (stretch - 1)
    tail_k = TERMS * s ** (-1 / power[:, None])
    at_zero = activation.at_zero
    offset = at_zero**2 + 2 * at_zero * coefficients[:, 0] * scaled.response

    def covariance(c: Array) -> Array:
        head = _polynomial(squares, c)
        tail = rest * (np.abs(c)[:, None] ** tail_k @ share)
        return offset + (head + tail) * scaled.response**2

    def slope_covariance(c: Array) -> Array:
        head = _polynomial((squares * k)[:, 1:], c)
        tail = rest * ((tail_k * np.abs(c)[:, None] ** (tail_k - 1)) @ share)
        # The quadrature's own mean differs from the exact one, which alone makes chi exact at c = 1.
        tail = tail * np.where(rest > 0, mean / (tail_k @ share), 1.0)
        return (head + tail) / scaled.q * scaled.slope

    return Kernel(found, covariance, slope_covariance)


def _polynomial(coefficients: Array, c: Array) -> Array:
    """sum_k coefficients[:, k] c^k, by Horner's rule: [N]."""
    total = np.zeros(len(coefficients))
    for column in coefficients.T[::-1]:
        total = total * c + column
    return total


def _piecewise(activation: Activation) -> Closed:
    """phi(a) = a for a > 0 and s a below: the arc-cosine kernel (Cho and Saul 2009)."""
    with jax.enable_x64(True):
        s = float(activation.slope(jnp.float64(-1.0)))
    half = (1 + s * s) / 2

    def covariance(q, c):
        angle = np.arccos(np.clip(c, -1, 1))
        arc = (np.sin(angle) + (math.pi - angle) * c) / (2 * math.pi)
        return q * ((1 - s) ** 2 * arc + s * c)

    def slope_covariance(q, c):
        return (1 - s) ** 2 * (math.pi - np.arccos(np.clip(c, -1, 1))) / (2 * math.pi) + s + 0 * q

    return Closed(lambda q: Moments(half * q, half + 0 * q, half + 0 * q), covariance, slope_covariance)


def _erf(_: Activation) -> Closed:
    """Williams 1997: the arcsine kernel."""

    def covariance(q, c):
        return 2 / math.pi * np.arcsin(2 * q * c / (1 + 2 * q))

    def slope_covariance(q, c):
        return 4 / math.pi / np.sqrt((1 + 2 * q * (1 - c)) * (1 + 2 * q * (1 + c)))

    def exact(q):
        slope = 4 / math.pi / np.sqrt(1 + 4 * q)
        return Moments(covariance(q, 1.0), slope, slope / (1 + 2 * q))

    return Closed(exact, covariance, slope_covariance)


def _sin(_: Activation) -> Closed:
    """From the characteristic function of the normal distribution."""

    def covariance(q, c):
        return -0.5 * np.exp(-q * (1 - c)) * np.expm1(-2 * q * c)

    def slope_covariance(q, c):
        return 0.5 * (np.exp(-q * (1 - c)) + np.exp(-q * (1 + c)))

    def exact(q):
        return Moments(-0.5 * np.expm1(-2 * q), 0.5 * (1 + np.exp(-2 * q)), np.exp(-2 * q))

    return Closed(exact, covariance, slope_covariance)


def _hard_tanh(_: Activation) -> Closed:
    """phi'' is a step up at -1 and one down at 1: Price's theorem gives d^2C/dc^2 in closed form.

    d/dc E[phi' phi'] = (exp(-1 / (q (1 + c))) - exp(-1 / (q (1 - c)))) / (pi sqrt(1 - c^2)); integrated over the
    angle asin(c).
    """
    x, w = np.polynomial.legendre.leggauss(200)

    def exact(q):
        k = 1 / np.sqrt(q)
        inside, outside = (np.vectorize(f, otypes=[float])(k / math.sqrt(2)) for f in (math.erf, math.erfc))
        density = np.exp(-k * k / 2) / math.sqrt(2 * math.pi)
        # E[u^2; |u| < 1] = q (inside - 2 k density).
        return Moments(q * (inside - 2 * k * density) + outside, inside, inside - 2 * k * density)

    def integrals(q, c):
        # Both steps are smooth but thin near +-pi/2: nodes gather at the far end, c.
        end = np.arcsin(np.clip(c, -1, 1))
        t = 1 - ((1 - x) / 2) ** 2
        angle = np.asarray(end)[..., None] * t
        sine = np.sin(angle)
        with np.errstate(divide="ignore", over="ignore"):
            step = np.exp(-1 / (np.asarray(q)[..., None] * (1 + sine)))
            step = step - np.exp(-1 / (np.asarray(q)[..., None] * np.maximum(1 - sine, 0)))
        measure = w * (1 - x) / 2 * np.asarray(end)[..., None] / math.pi
        return np.sum(step * measure, axis=-1), np.sum(step * (np.asarray(c)[..., None] - sine) * measure, axis=-1)

    def covariance(q, c):
        return q * (c * exact(q).slope ** 2 + integrals(q, c)[1])

    def slope_covariance(q, c):
        return exact(q).slope ** 2 + integrals(q, c)[0]

    return Closed(exact, covariance, slope_covariance)


CLOSED: dict[str, Callable[[Activation], Closed]] = {
    "identity": _piecewise,
    "relu": _piecewise,
    "leaky_relu": _piecewise,
    "erf": _erf,
    "sin": _sin,
    "hard_tanh": _hard_tanh,
}


@lru_cache(maxsize=64)
def _closed(activation: Activation) -> Closed | None:
    """The exact moments of an activation, where they are known."""
    build = CLOSED.get(activation.name.partition("(")[0])
    return build(activation) if build else None
