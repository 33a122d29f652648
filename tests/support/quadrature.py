"""Gaussian averages by adaptive quadrature, in polar coordinates and by conditioning; nothing of winit's own."""

from itertools import pairwise

import numpy as np
from scipy import integrate, special

from support import references


def by_quadrature(name, q):
    """E[phi^2], E[phi'^2], E[z phi phi'] / sqrt(q) by adaptive quadrature, cut at kinks and transitions."""
    phi, slope, scale = references.PHI[name], references.SLOPE[name], np.sqrt(q)
    cuts = np.concatenate([np.arange(-12, 13), np.outer([-1, 1], [1, 4, 20]).ravel() / scale])
    cuts = np.unique(cuts[np.abs(cuts) <= 12])

    def integrand(z):
        a = np.float64(scale * z)
        return references.pdf(z) * np.array([phi(a) ** 2, slope(a) ** 2, z * phi(a) * slope(a) / scale])

    pieces = [integrate.quad_vec(integrand, a, b, epsrel=1e-12, epsabs=1e-17)[0] for a, b in pairwise(cuts)]
    return np.sum(pieces, axis=0)


def panels(edges, points):
    x, w = np.polynomial.legendre.leggauss(points)
    half = np.diff(edges)[:, None] / 2
    return (edges[:-1, None] + half * (1 + x)).ravel(), (half * w).ravel()


def in_polar_coordinates(function, q, c):
    """E[f(u1) f(u2)]: kinks at 0 lie on rays, and the panels in angle are refined towards those."""
    angle = np.arccos(c)
    rays = np.array([0.5, 1.5, 0.5, 1.5]) * np.pi + np.array([0, 0, angle, angle])
    near = np.outer([-1, 1], 2.0 ** -np.arange(1, 14)).ravel()
    cuts = np.concatenate([np.linspace(0, 2 * np.pi, 9), rays, (rays[:, None] + near).ravel()]) % (2 * np.pi)
    theta, w_theta = panels(np.unique(np.concatenate([[0, 2 * np.pi], cuts])), 14)
    r, w_r = panels(np.concatenate([[0, 0.2, 0.5], np.linspace(1, 10, 13)]), 14)
    scale = np.sqrt(q) * r
    values = function(np.outer(np.cos(theta), scale)) * function(np.outer(np.cos(theta - angle), scale))
    return w_theta @ values @ (w_r * r * np.exp(-r * r / 2)) / (2 * np.pi)


def hard_tanh_given_the_first_input(q, c):
    """E[phi(u1) phi(u2)] and E[phi'(u1) phi'(u2)], the inner average in closed form."""
    spread = np.sqrt(q * (1 - c * c))

    def integrand(z):
        u = np.sqrt(q) * z
        low, high = (-1 - c * u) / spread, (1 - c * u) / spread
        inside = special.ndtr(high) - special.ndtr(low)
        mean = c * u * inside + spread * (references.pdf(low) - references.pdf(high))
        mean += special.ndtr(-high) - special.ndtr(low)
        return references.pdf(z) * np.array([np.clip(u, -1, 1) * mean, (abs(u) < 1) * inside])

    cuts = np.unique([-12, *np.linspace(-1, 1, 5) / np.sqrt(q), *np.linspace(-1, 1, 5), 12])
    return sum(integrate.quad_vec(integrand, a, b, epsrel=1e-12)[0] for a, b in pairwise(cuts))
