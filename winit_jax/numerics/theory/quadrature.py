"""Sums over Gauss-Legendre panels for the averages of phi(sqrt(q) z), z ~ N(0, 1), in float64.

Activations of the table are smooth away from 0, so one set of nodes in z, dense around 0, serves every q. Activations
given by import path may bend and jump anywhere: their panels also end at their kinks and on a fixed grid of arguments
a = sqrt(q) z that resolves what lies between, so their nodes in z differ from q to q.
"""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from winit_jax.numerics.activations import Activation

# Nodes in z end at 12: beyond, the Gaussian weight is below 1e-31, and its product with any he_k below 1e-15.
LAST_NODE, PANEL, HALVINGS, POINTS = 12.0, 0.5, 40, 16
# How many Hermite coefficients are computed; the rest follows a power law of known mass and mean.
TERMS = 512
# Values of q evaluated together: always one shape, so that each activation is compiled once.
ROWS = 32
# Arguments at which panels end, beside the kinks, for an activation given by import path; more for one that oscillates.
RESOLVED = np.concatenate([np.linspace(0, 8, 33)[1:], np.arange(9.0, 51.0)])
RESOLVED_FAST = np.arange(50.0, 1250.0, 3.0)
# Such an activation may be 0 around 0, or grow exponentially: its nodes reach as far as float64 holds the weight. If
# the last panel has more than TAIL of a sum, the sum counts as infinite: what lies beyond has even more.
FARTHEST, TAIL = 38.0, 1e-10


def sums(activation: Activation, coefficients: bool) -> Callable[[np.ndarray], "Sums"]:
    """The compiled function from sqrt(q), [ROWS], to Sums. coefficients: whether it computes Hermite coefficients."""
    return (_shared_sums if activation.kinks is None else _split_sums)(activation, coefficients)


def _edges(last: float) -> np.ndarray:
    """Panel edges in z from 0 to last: PANEL apart, and halved HALVINGS times towards 0."""
    refined = PANEL * 2.0 ** -np.arange(HALVINGS, 0, -1)
    return np.concatenate([[0.0], refined, np.arange(PANEL, last + PANEL / 2, PANEL)])


@lru_cache(maxsize=1)
def _nodes() -> tuple[np.ndarray, np.ndarray]:
    """Positive nodes z and weights for 2 pdf(z) dz, [m] each. A weighted sum averages an even function of z."""
    edges = _edges(LAST_NODE)
    x, w = np.polynomial.legendre.leggauss(POINTS)
    half = np.diff(edges)[:, None] / 2
    z = (edges[:-1, None] + half * (1 + x)).ravel()
    return z, (half * w).ravel() * math.sqrt(2 / math.pi) * np.exp(-z * z / 2)


@lru_cache(maxsize=1)
def _hermite() -> tuple[np.ndarray, np.ndarray]:
    """Normalized Hermite polynomials he_k at the nodes, times the weights: (even k, odd k), [m, TERMS / 2] each."""
    z, weight = _nodes()
    table = np.empty((TERMS, z.size))
    table[0], table[1] = 1.0, z
    for k in range(1, TERMS - 1):
        table[k + 1] = (z * table[k] - math.sqrt(k) * table[k - 1]) / math.sqrt(k + 1)
    return np.ascontiguousarray((table[::2] * weight).T), np.ascontiguousarray((table[1::2] * weight).T)


class Sums(NamedTuple):
    """Averages over z ~ N(0, 1) at ROWS values of q; psi = phi - phi(0) and phi' are taken at sqrt(q) z.

    mean: E[psi]. product: E[z psi phi']. slope: E[z phi']. [ROWS] each.
    square: [2, ROWS], E[psi_even^2] and E[psi_odd^2], of the even and odd parts of psi. slope_square: [2, ROWS], the
        same for the slopes of these two parts.
    coefficients: [2, ROWS, TERMS / 2], Hermite coefficients of the two parts; None if they are not asked for.
    JAX arrays within a compiled function, NumPy arrays outside.
    """

    mean: Any
    square: Any
    slope_square: Any
    product: Any
    slope: Any
    coefficients: Any


@lru_cache(maxsize=128)
def _shared_sums(activation: Activation, coefficients: bool) -> Callable[[np.ndarray], Sums]:
    """`sums` on the nodes that all q share."""

    # Matrix products are XLA's: NumPy's threads spin, and beside another busy process took twenty times as long.
    @jax.jit
    def compiled(scale: jax.Array, z: jax.Array, weight: jax.Array, tables: jax.Array | None) -> Any:
        a = scale[:, None] * z
        right, left = activation.response(a), activation.response(-a)
        slope, slope_left = activation.slope(a), activation.slope(-a)
        part = jnp.stack([right + left, right - left]) / 2
        slope_part = jnp.stack([slope - slope_left, slope + slope_left]) / 2
        return Sums(
            part[0] @ weight,
            part**2 @ weight,
            slope_part**2 @ weight,
            (part * slope_part).sum(axis=0) @ (weight * z),
            slope_part[0] @ (weight * z),
            jnp.einsum("pnm,pmk->pnk", part, tables) if coefficients else None,
        )

    cpu = jax.local_devices(backend="cpu")[0]
    with jax.enable_x64(True), jax.default_device(cpu):
        constants = *map(jnp.asarray, _nodes()), jnp.asarray(np.stack(_hermite())) if coefficients else None

    def evaluate(scale: np.ndarray) -> Sums:
        with jax.enable_x64(True), jax.default_device(cpu):
            evaluated: Sums = jax.tree.map(np.asarray, compiled(scale, *constants))
            return evaluated

    return evaluate


@lru_cache(maxsize=128)
def _split_sums(activation: Activation, coefficients: bool) -> Callable[[np.ndarray], Sums]:
    """`sums` on panels that also end where the activation bends or jumps."""
    assert activation.kinks is not None
    ends = np.concatenate([activation.kinks, RESOLVED, RESOLVED_FAST if activation.oscillates else []])

    @jax.jit
    def compiled(scale: jax.Array, edges: jax.Array, ends: jax.Array, x: jax.Array, w: jax.Array) -> Any:
        n = scale.shape[0]
        ends_in_z = jnp.minimum(ends / scale[:, None], FARTHEST)
        edges = jnp.sort(jnp.concatenate([jnp.broadcast_to(edges, (n, edges.size)), ends_in_z], axis=1), axis=1)
        half = jnp.diff(edges)[:, :, None] / 2
        z = (edges[:, :-1, None] + half * (1 + x)).reshape(n, -1)
        weight = (half * w).reshape(n, -1) * math.sqrt(2 / math.pi) * jnp.exp(-z * z / 2)
        a = scale[:, None] * z
        right, left = activation.response(a), activation.response(-a)
        slope, slope_left = activation.slope(a), activation.slope(-a)
        part = jnp.stack([right + left, right - left]) / 2
        slope_part = jnp.stack([slope - slope_left, slope + slope_left]) / 2

        def total(values: jax.Array) -> jax.Array:
            return jnp.sum(jnp.where(weight > 0, values * weight, 0.0), axis=-1)

        def squares(part: jax.Array, right: jax.Array, left: jax.Array) -> jax.Array:
            # Where right and left are opposite infinities, part is NaN.
            square = jnp.where(jnp.isinf(right) | jnp.isinf(left), jnp.inf, part**2)
            whole = total(square)
            return jnp.where(total(jnp.where(z > FARTHEST - PANEL, square, 0.0)) > TAIL * whole, jnp.inf, whole)

        return Sums(
            total(part[0]),
            squares(part, right, left),
            squares(slope_part, slope, slope_left),
            total(z * (right * slope - left * slope_left) / 2),
            total(z * slope_part[0]),
            jnp.stack(_hermite_sums(part, z, weight)) if coefficients else None,
        )

    cpu = jax.local_devices(backend="cpu")[0]
    x, w = np.polynomial.legendre.leggauss(POINTS)

    def evaluate(scale: np.ndarray) -> Sums:
        with jax.enable_x64(True), jax.default_device(cpu):
            evaluated: Sums = jax.tree.map(
                np.asarray, compiled(*map(jnp.asarray, (scale, _edges(FARTHEST), ends, x, w)))
            )
            return evaluated

    return evaluate


def _hermite_sums(part: jax.Array, z: jax.Array, weight: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Hermite coefficients of the even and the odd part, [n, TERMS / 2] each, each he_k made from the two before it."""

    def step(polynomials: tuple[jax.Array, jax.Array], k: jax.Array) -> Any:
        even, odd = polynomials  # he_2k and he_2k+1
        coefficients = jnp.sum(part[0] * even * weight, axis=1), jnp.sum(part[1] * odd * weight, axis=1)
        order = 2 * k + 1.0
        next_even = (z * odd - jnp.sqrt(order) * even) / jnp.sqrt(order + 1)
        next_odd = (z * next_even - jnp.sqrt(order + 1) * odd) / jnp.sqrt(order + 2)
        return (next_even, next_odd), coefficients

    _, (even, odd) = jax.lax.scan(step, (jnp.ones_like(z), z), jnp.arange(TERMS // 2, dtype=z.dtype))
    return even.T, odd.T
