"""Normalised networks and their derivatives in hundreds of digits, as the definitions read: slow, for tiny ones."""

from decimal import Decimal, localcontext

import numpy as np

from support.networks import draws
from winit_jax.numerics import draws as shared

DIGITS = 250  # what epsilon leaves falls by 1e-5 to 1e-9 a layer, twice in a product of two

each = np.vectorize  # of Decimals in object arrays


def exact(x):
    return each(lambda value: Decimal(float(value)), otypes=[object])(np.asarray(x))


def _tanh(a):
    if abs(a) < Decimal("1e-80"):
        return a
    e = (2 * a).exp()
    return (e - 1) / (e + 1)


PHI = {
    "relu": (lambda a: max(a, Decimal(0)), lambda a: Decimal(int(a > 0))),
    "tanh": (_tanh, lambda a: 1 - _tanh(a) ** 2),
    "identity": (lambda a: a, lambda a: Decimal(1)),
    "leaky_relu": (lambda a: max(a, a / 100), lambda a: Decimal(1) if a > 0 else Decimal("0.01")),
    "sigmoid": (lambda a: (1 + _tanh(a / 2)) / 2, lambda a: (1 - _tanh(a / 2) ** 2) / 4),
}


def log10_rms(x):
    square = sum((value * value for value in x.ravel()), Decimal(0)) / x.size
    # What is as small as the rounding is 0.
    return float(square.log10() / 2) if square > Decimal(10) ** (40 - 2 * DIGITS) else -np.inf


def derivatives(x, name, std, bias, *, width, depth, normalization, epsilon=1e-5, seed=0, shape="normal"):
    """(log10_jacobian, and log10 RMS of dLoss/da and dLoss/dW of the deepest network), [depth] each.

    x: exact in float32. Directions and the loss are those of the sweep.
    """
    with localcontext() as context:
        context.prec, context.Emin, context.Emax = DIGITS, -(10**9), 10**9
        axis = {"batch": 0, "layer": 1}[normalization]
        phi, slope = (each(function, otypes=[object]) for function in PHI[name])
        layers = [
            (exact(w) * Decimal(float(std)), exact(b) * Decimal(float(bias)))
            for w, b in draws(shape, width, x.shape[1], depth, seed)
        ]

        def mean(t):
            return t.sum(axis=axis, keepdims=True) / t.shape[axis]

        def through(t, u, spread):
            return (t - mean(t) - u * mean(u * t)) / spread

        start = exact(shared.directions(seed, "tangents", len(x), width))
        h, change, jacobian, kept = exact(x), start, [], []
        for i, (w, b) in enumerate(layers):
            change = change.dot(w) if i else change
            jacobian.append(log10_rms(change) - log10_rms(start))
            below, a = h, h.dot(w) + b
            spread = each(Decimal.sqrt, otypes=[object])(mean((a - mean(a)) ** 2) + Decimal(float(epsilon)))
            u = (a - mean(a)) / spread
            h, slopes = phi(u), slope(u)
            change = slopes * through(change, u, spread)
            kept.append((below, u, spread, slopes))
        g = exact(shared.directions(seed, "cotangents", len(x), width)) / Decimal(width).sqrt() / len(x)
        preact, weight = [], []
        for (below, u, spread, slopes), (w, _) in zip(reversed(kept), reversed(layers), strict=True):
            g = through(slopes * g, u, spread)
            preact.append(log10_rms(g))
            weight.append(log10_rms(below.T.dot(g)))
            g = g.dot(w.T)
        return np.array(jacobian), np.array(preact[::-1]), np.array(weight[::-1])
