"""Naive float64 NumPy and SciPy networks, measured by the definitions; and similarities once more, pair by pair."""

import numpy as np
from scipy import special

from winit_jax.numerics.measure.definitions import DEFINITIONS, LayerArrays


def sigmoid(a):
    return special.expit(a)


def softplus(a):
    return np.logaddexp(0, a)


def pdf(a):
    return np.exp(-(a**2) / 2) / np.sqrt(2 * np.pi)


# Columns that dense networks of single rows do not have.
OF_POSITIONS = ("position_similarity", "attention_entropy")
SCALE, ALPHA = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717

PHI = {
    "identity": lambda a: a,
    "sigmoid": sigmoid,
    "tanh": np.tanh,
    "relu": lambda a: np.maximum(a, 0),
    "leaky_relu": lambda a: np.where(a > 0, a, 0.01 * a),
    "elu": lambda a: np.where(a > 0, a, np.expm1(np.minimum(a, 0))),
    "selu": lambda a: SCALE * np.where(a > 0, a, ALPHA * np.expm1(np.minimum(a, 0))),
    "gelu": lambda a: 0.5 * a * special.erfc(-a / np.sqrt(2)),
    "silu": lambda a: a * sigmoid(a),
    "softplus": softplus,
    "erf": special.erf,
    "hard_tanh": lambda a: np.clip(a, -1, 1),
    "sin": np.sin,
    "mish": lambda a: a * np.tanh(softplus(a)),
}

SLOPE = {
    "identity": np.ones_like,
    "sigmoid": lambda a: sigmoid(a) * sigmoid(-a),
    "tanh": lambda a: 1 / np.cosh(np.clip(a, -300, 300)) ** 2,
    "relu": lambda a: np.where(a > 0, 1.0, 0.0),
    "leaky_relu": lambda a: np.where(a > 0, 1.0, 0.01),
    "elu": lambda a: np.where(a > 0, 1.0, np.exp(np.minimum(a, 0))),
    "selu": lambda a: SCALE * np.where(a > 0, 1.0, ALPHA * np.exp(np.minimum(a, 0))),
    "gelu": lambda a: special.ndtr(a) + a * pdf(a),
    "silu": lambda a: sigmoid(a) * (1 + a * sigmoid(-a)),
    "softplus": sigmoid,
    "erf": lambda a: 2 / np.sqrt(np.pi) * np.exp(-(a**2)),
    "hard_tanh": lambda a: np.where(np.abs(a) < 1, 1.0, 0.0),
    "sin": np.cos,
    "mish": lambda a: np.tanh(softplus(a)) + a * (1 - np.tanh(softplus(a)) ** 2) * sigmoid(a),
}


def max_slope(name):
    a = np.linspace(-16, 16, 1_600_001)
    return np.max(np.abs(SLOPE[name](a)))


def unit_similarity(h):
    """Mean product of the responses of two distinct units over the mean square response, pair by pair."""
    width = h.shape[1]
    products = [np.mean(h[:, i] * h[:, j]) for i in range(width) for j in range(width) if i != j]
    return np.mean(products) / np.mean(h**2) if products else np.nan  # one unit has no other


def input_correlation(a):
    """Mean dot product of two distinct inputs' pre-activations over their mean square norm."""
    samples = a.shape[0]
    products = [a[i] @ a[j] for i in range(samples) for j in range(samples) if i != j]
    return np.mean(products) / np.mean(np.sum(a**2, axis=1)) if products else np.nan


def input_decorrelation(a):
    """1 - c: half the mean square distance of two distinct inputs' pre-activations over their mean square norm."""
    samples = a.shape[0]
    distances = [np.sum((a[i] - a[j]) ** 2) for i in range(samples) for j in range(i)]
    return np.mean(distances) / 2 / np.mean(np.sum(a**2, axis=1)) if distances else np.nan


def normalize(a, normalization, epsilon=1e-5):
    if normalization == "none":
        return a
    if normalization == "rms":
        return a / np.sqrt(np.mean(a**2, axis=1, keepdims=True) + epsilon)
    axis = {"batch": 0, "layer": 1}[normalization]
    return (a - a.mean(axis, keepdims=True)) / np.sqrt(a.var(axis, keepdims=True) + epsilon)


@np.errstate(divide="ignore")  # layers of zeros have logarithms
def layers(x, weights, biases, activation, normalization="none", threshold=0.05, directions=None):
    """Columns of every layer of one network, by definition. directions: at the first pre-activations."""
    steepest = max_slope(activation)
    without = (*OF_POSITIONS, *(["log10_jacobian"] if directions is None else []))
    definitions = {name: f for name, f in DEFINITIONS.items() if name not in without}
    h, change, rows = np.asarray(x, float), directions, []
    for w, b in zip(weights, biases, strict=True):
        a = h @ np.asarray(w, float) + np.asarray(b, float)
        u = normalize(a, normalization)
        h = PHI[activation](u)
        flat = np.abs(SLOPE[activation](u)) < threshold * steepest
        if change is not None and rows:
            change = change @ np.asarray(w, float)
        seen = LayerArrays(a, h, 0.0, a - a.mean(axis=0), flat, h == 0, change, directions)
        rows.append({name: definition(seen) for name, definition in definitions.items()})
        if change is not None:  # without normalization only: each input has a Jacobian of its own
            change = SLOPE[activation](u) * change
    return rows
