"""One network in NumPy and float64, written as the definitions read.

Slow on purpose: it shares nothing with the fast pass but the definitions and the function phi itself.
Every run and `winit doctor` hold a few layers of the fast pass against it.
"""

from collections.abc import Callable, Sequence

import jax
import numpy as np

from winit_jax.activations import Activation
from winit_jax.network import Layer

Array = np.ndarray

# What the fast pass may differ by after a few layers in float32; a wrong sum differs by far more.
RELATIVE_TOLERANCE = 2e-3
# A count may move by the pairs that lie within rounding of a threshold.
SHARE_TOLERANCE = 2e-3
# How many times the effect of rounding the weights to float32 once is put down to rounding.
NUDGE_ALLOWANCE = 10.0
# A normalisation that leaves less than this share of the tangents leaves rounding beside it: squared.
LEAST_KEPT = 1e-3**2
# Scales that can be compared: their squares fit float64, and float32 holds them with room for sums.
SMALLEST, LARGEST = 1e-140, 1e15


def forward(
    x: Array,
    weights: Sequence[Array],
    biases: Sequence[Array],
    phi: Callable[[Array], Array],
    slope: Callable[[Array], Array],
    max_slope: float,
    saturation_threshold: float = 0.05,
    normalization: str = "none",
    epsilon: float = 1e-5,
    tangents: Array | None = None,
) -> list[dict[str, float]]:
    """The measured columns of each layer.

    log10_jacobian is NaN from where a normalisation removes nearly all of the tangents.
    x: [samples, features]. weights: [fan_in, width] each. biases: [width] each.
    phi, slope: float64 in and out, elementwise. tangents: directions at the first pre-activations.
    """
    h = np.asarray(x, dtype=np.float64)
    rows, change, removed = [], None, False
    with np.errstate(all="ignore"):
        for weight, bias in zip(weights, biases, strict=True):
            a = h @ np.asarray(weight, np.float64) + np.asarray(bias, np.float64)
            if tangents is not None:
                change = np.asarray(tangents, np.float64) if change is None else change @ np.asarray(weight, np.float64)
            u, normalized = a, change
            if normalization != "none":
                axis = 0 if normalization == "batch" else 1
                spread = np.sqrt(a.var(axis, keepdims=True) + epsilon)
                u = np.where(spread > 0, (a - a.mean(axis, keepdims=True)) / spread, 0.0)
                if change is not None:
                    along = u * np.mean(u * change, axis, keepdims=True)
                    kept = change - change.mean(axis, keepdims=True) - along
                    normalized = np.where(spread > 0, kept / spread, 0.0)
            h, slopes = phi(u), slope(u)
            rows.append(_columns(a, h, np.abs(slopes) < saturation_threshold * max_slope))
            if change is not None and tangents is not None:
                log10 = 0.5 * np.log10(np.mean(change**2) / np.mean(np.square(tangents)))
                rows[-1]["log10_jacobian"] = np.nan if removed else log10
                if normalization != "none":
                    most = np.mean(change**2) * np.mean(slopes**2)
                    removed |= bool(np.mean((slopes * kept) ** 2) < LEAST_KEPT * most)
                change = slopes * normalized
    return rows


def _columns(a: Array, h: Array, saturated: Array) -> dict[str, float]:
    samples, width = h.shape
    total = np.sum(h**2)
    return {
        "preact_mean": a.mean(),
        "preact_std": a.std(),
        "act_mean": h.mean(),
        "act_std": h.std(),
        "act_min": h.min(),
        "act_max": h.max(),
        "log10_act_rms": np.log10(np.sqrt(np.mean(h**2))),
        "saturated": saturated.mean(),
        "dead": saturated.all(axis=0).mean(),
        "zero": (h == 0).mean(),
        "unit_similarity": (np.sum(h.sum(axis=1) ** 2) - total) / ((width - 1) * total),
        "input_correlation": (np.sum(a.sum(axis=0) ** 2) - np.sum(a**2)) / ((samples - 1) * np.sum(a**2)),
        "nonfinite": (~np.isfinite(h)).mean(),
    }


def compare(
    measured: dict[str, Array],
    x: Array,
    stds: tuple[float, float, float],
    draws: Sequence[Layer],
    tangents: Array,
    activation: Activation,
    saturation_threshold: float,
    normalization: str,
    epsilon: float = 1e-5,
) -> list[str]:
    """Sentences on what the fast pass got wrong in the first layers of one network (see `disagreements`).

    measured: columns of [layers], as many as there are `draws`. stds: of the first layer's weights, of the hidden
    ones and of the biases. epsilon: of the normalisation.
    """
    first, hidden, bias = stds
    weights = [(hidden if i else first) * np.asarray(draw.weights, np.float64) for i, draw in enumerate(draws)]
    biases = [bias * np.asarray(draw.biases, np.float64) for draw in draws]
    rounded = [w.astype(np.float32).astype(np.float64) * (1 + 2.0**-23) for w in weights]
    phi, slope = _in_float64(activation), _in_float64(activation.slope)
    settings = (phi, slope, activation.max_slope, saturation_threshold, normalization, epsilon)
    expected, nudged = (forward(x, w, biases, *settings, tangents=tangents) for w in (weights, rounded))
    return disagreements(measured, expected, nudged, x.shape[0] * weights[0].shape[1])


def _in_float64(function: Callable[[jax.Array], jax.Array]) -> Callable[[Array], Array]:
    """A JAX function as one of float64 NumPy arrays, on the CPU."""

    def evaluate(a: Array) -> Array:
        with jax.enable_x64(True), jax.default_device(jax.local_devices(backend="cpu")[0]):
            return np.asarray(jax.jit(function)(np.asarray(a, np.float64)))

    return evaluate


def disagreements(
    measured: dict[str, Array], expected: list[dict[str, float]], nudged: list[dict[str, float]], pairs: int
) -> list[str]:
    """Sentences on what differs by more than float32 explains; empty when all is well.

    measured: columns of [layers]; compared with the layers of `expected`. nudged: the same with weights
    changed by float32's rounding: what that moves is the network's own sensitivity, and is allowed
    NUDGE_ALLOWANCE times. pairs: samples times units. From the first layer on that float32 or float64
    cannot hold without a carried scale, nothing is compared.
    """
    found = []
    for layer, (row, other) in enumerate(zip(expected, nudged, strict=True)):
        preact = max(row["preact_std"], abs(row["preact_mean"]))
        act = max(abs(row["act_min"]), abs(row["act_max"]))
        if measured["nonfinite"][layer] > 0 or not (SMALLEST < preact < LARGEST and act < LARGEST):
            break
        for name, value in row.items():
            if name not in measured:
                continue
            got = float(measured[name][layer])
            if name.startswith(("preact_", "act_")):
                tolerance = RELATIVE_TOLERANCE * (preact if name.startswith("preact_") else act)
            else:
                tolerance = max(SHARE_TOLERANCE, 3 / pairs)
            tolerance += NUDGE_ALLOWANCE * abs(other[name] - value)
            if np.isfinite(value) and not abs(got - value) <= tolerance:
                found.append(f"layer {layer + 1}: {name} is {got:.6g}, float64 NumPy says {value:.6g}")
    return found
