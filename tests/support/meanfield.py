"""Mean field in NumPy: numbers for figures and tests that must not ask the numerics."""

import itertools

import numpy as np
import pandas as pd

# The trapezoidal rule: few Gauss-Hermite nodes fall where the slope of a saturated unit is not 0.
NODES = np.linspace(-8, 8, 321)
WEIGHTS = np.exp(-(NODES**2) / 2)
WEIGHTS = WEIGHTS / WEIGHTS.sum()
Z1, Z2 = NODES[::4, None], NODES[None, ::4]
PAIRS = 16 * WEIGHTS[::4, None] * WEIGHTS[None, ::4]

# phi, phi'
PHI = {
    "tanh": (np.tanh, lambda a: 1 / np.cosh(np.clip(a, -300, 300)) ** 2),
    "relu": (lambda a: np.maximum(a, 0), lambda a: (a > 0).astype(float)),
    "sigmoid": (lambda a: 0.5 + 0.5 * np.tanh(a / 2), lambda a: 0.25 / np.cosh(np.clip(a / 2, -300, 300)) ** 2),
}


def length(q, activation, gain, bias):
    """q' = gain^2 E[phi(sqrt(q) z)^2] + bias^2."""
    return gain**2 * WEIGHTS @ PHI[activation][0](np.sqrt(q) * NODES) ** 2 + bias**2


def slope(q, activation, gain):
    """chi = gain^2 E[phi'(sqrt(q) z)^2]."""
    return gain**2 * WEIGHTS @ PHI[activation][1](np.sqrt(q) * NODES) ** 2


def correlation(c, q, activation, gain, bias):
    """c' at the same q, and gain^2 E[phi'(u1) phi'(u2)]."""
    u1, u2 = np.sqrt(q) * Z1, np.sqrt(q) * (c * Z1 + np.sqrt(max(1 - c * c, 0)) * Z2)
    phi, derivative = PHI[activation]
    covariance = gain**2 * (PAIRS * phi(u1) * phi(u2)).sum() + bias**2
    return covariance, gain**2 * (PAIRS * derivative(u1) * derivative(u2)).sum()


def fixed_point(activation, gain, bias):
    """One row of the mean_field table, less its critical gain."""
    q, c = 1.0, 0.0
    for _ in range(400):
        q_next = length(q, activation, gain, bias)
        if not 1e-12 < q_next < 1e12:
            q = 0.0 if q_next <= 1e-12 else np.inf
            break
        q = q_next
    if activation == "relu":
        chi = gain**2 / 2
        rate, c = 1.0, 1.0
    else:
        chi = slope(q, activation, gain)
        for _ in range(60 if q > 0 else 0):
            c = min(correlation(c, q, activation, gain, bias)[0] / q, 1.0)
        rate = correlation(c, q, activation, gain, bias)[1] if q > 0 else chi
    return {
        "activation": activation,
        "gain": gain,
        "bias_std": bias,
        "q_star": q,
        "c_star": c,
        "chi1": chi,
        "xi_q": np.nan,
        "xi_c": 1 / abs(np.log(rate)) if rate != 1 else np.inf,
    }


def mean_field(activations=("tanh",), gains=(0.5, 1.0, 2.0), biases=(0.0,)):
    """A mean_field table; the critical gain is where ln chi1 crosses 0 between its gains."""
    rows = pd.DataFrame([fixed_point(*point) for point in itertools.product(activations, gains, biases)])

    def critical(part):
        part = part.sort_values("gain")
        logs, at = np.log(part["chi1"].to_numpy()), np.log(part["gain"].to_numpy())
        above = np.nonzero((logs[:-1] <= 0) & (logs[1:] > 0))[0]
        if not len(above):
            return np.nan
        i = above[0]
        return float(np.exp(at[i] - logs[i] * (at[i + 1] - at[i]) / (logs[i + 1] - logs[i])))

    found = {key: critical(part) for key, part in rows.groupby(["activation", "bias_std"])}
    keys = zip(rows["activation"], rows["bias_std"], strict=True)
    return rows.assign(critical_gain=[found[key] for key in keys])


def predictions(activation, gain, bias, depths):
    """The four theory columns of networks of these depths, for inputs of unit variance that are independent."""
    q, c, logs, rows = gain**2 + bias**2, bias**2 / (gain**2 + bias**2), 0.0, {}
    for depth in range(1, max(depths) + 1):
        chi = slope(q, activation, gain)
        signal = WEIGHTS @ PHI[activation][0](np.sqrt(q) * NODES) ** 2
        rows[depth] = (0.5 * np.log10(signal), c, logs, chi)
        logs += 0.5 * np.log10(chi)
        covariance, _ = correlation(c, q, activation, gain, bias)
        q = length(q, activation, gain, bias)
        c = min(covariance / q, 1.0)
    names = ["theory_log10_act_rms", "theory_input_correlation", "theory_log10_jacobian", "chi"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=names).loc[list(depths)]


def with_theory(frame, layer="depth", noise=0.02):
    """The frame with theory columns filled, and a measured Jacobian: the prediction and a noise for each seed."""
    points = frame[["activation", "gain", "bias_std"]].drop_duplicates()
    depths = sorted(frame[layer].unique())
    parts = [
        predictions(*point, depths)
        .rename_axis(layer)
        .reset_index()
        .assign(activation=point[0], gain=point[1], bias_std=point[2])
        for point in points.itertuples(index=False, name=None)
    ]
    theory = pd.concat(parts)
    old = [name for name in theory if name in frame and name not in ("activation", "gain", "bias_std", layer)]
    names = frame["activation"].dtype
    merged = frame.drop(columns=old).merge(
        theory.astype({"activation": names}), on=["activation", "gain", "bias_std", layer], how="left"
    )
    shift = noise * np.random.default_rng(0).normal(size=len(merged)) * np.sqrt(merged[layer] - 1)
    return merged.assign(log10_jacobian=merged["theory_log10_jacobian"] + shift)
