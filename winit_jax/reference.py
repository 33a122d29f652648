"""One network in NumPy and float64, written as the definitions read, and what float32 may differ from it by.

Slow on purpose: it shares nothing with the fast pass but the definitions and the function phi itself.
Every run and `winit doctor` hold a few layers of the fast pass against it. How far rounding may move a column is
not a constant: a mean of many terms that cancel, a unit on the threshold of saturation, or a variance about a large
mean can lose every digit. So the reference runs again a few times with random errors of the size of float32's
wherever the fast pass rounds (stochastic arithmetic, Vignes 1993), and what that moves is allowed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import jax
import numpy as np

from winit_jax.activations import ACTIVATIONS, PARAMETRIC, Activation
from winit_jax.network import MAX_EXPONENT, Layer

Array = np.ndarray

UNIT_ROUNDOFF = 2.0**-24
# Of products by precision on hardware with narrower units: bfloat16 has 8 bits, TensorFloat-32 has 11.
PRODUCT_ROUNDOFF = {"highest": UNIT_ROUNDOFF, "high": 2.0**-11, "default": 2.0**-8}
# Below 2^-126 float32 numbers are 0 on hardware that flushes subnormal ones, and so are sums of products of entries
# a little larger; below the root, squares are.
FLUSHED = 2.0**-110
# Of phi and phi' in float32, in roundoffs: the activations of the table hold to this (tests/test_activations.py).
EVALUATION_ROUNDOFFS = 16.0
# What sums over samples and units may lose, whose terms do not cancel.
RELATIVE_TOLERANCE = 1e-4
# Runs with random errors, how many times larger these are than float32's, and how many times what they move is put
# down to rounding.
JOLTED_RUNS = 4
JOLT = 2.0
ALLOWANCE = 4.0
# Sizes below this are not told apart: float64 itself ends near there.
NOTHING = 1e-290
# A quantity is all rounding once this share of its size is, and so is what is made of it.
UNSTABLE = 0.5
# Scales that can be compared: their squares fit float64.
SMALLEST, LARGEST = 1e-140, 1e140
# Of a function for which nothing is clipped, float32 itself must hold the values.
LARGEST_UNCLIPPED = 1e15


class Observed(NamedTuple):
    """One layer. columns: by definition. masks: pairs (units for `dead`), of which a share is the mean. u: phi's argument."""

    columns: dict[str, float]
    masks: dict[str, Array]
    u: Array


@dataclass(frozen=True)
class Functions:
    """An activation in float64, elementwise, and how well float32 evaluates it.

    error: of psi evaluated in float32 at given arguments, absolute; None for an activation of the table.
    """

    activation: Activation
    response: Callable[[Array], Array]
    slope: Callable[[Array], Array]
    is_zero: Callable[[Array, Array], Array]
    error: Callable[[Array], Array] | None = None


class Rounding:
    """Random errors of the size of float32's, or none at all.

    product_roundoff: of the terms of matrix products; the sum of n terms is given that of sqrt(n) / 8 + 1 roundings.
    """

    def __init__(self, generator: np.random.Generator | None = None, product_roundoff: float = UNIT_ROUNDOFF) -> None:
        self.generator, self.product_roundoff = generator, product_roundoff

    @property
    def exact(self) -> bool:
        return self.generator is None

    def off(self, x: Array, size: Array | float, roundoffs: float = 1.0) -> Array:
        """x with an error in each entry of so many roundoffs of `size`."""
        if self.generator is None:
            return x
        return x + roundoffs * UNIT_ROUNDOFF * size * self._errors(x.shape)

    def _errors(self, shape: tuple[int, ...]) -> Array:
        """Between -4 and 4: of each entry, and common to a row, a column and all, since equal terms round alike."""
        assert self.generator is not None
        parts = (shape, (*shape[:-1], 1), (1,) * (len(shape) - 1) + shape[-1:], ())
        return sum(self.generator.uniform(-JOLT, JOLT, part) for part in parts)

    def product(self, left: Array, right: Array) -> Array:
        """left @ right, with errors relative to the norms of rows and columns."""
        found = left @ right
        if self.generator is None:
            return found
        roundoff = self.product_roundoff * (1 + np.sqrt(right.shape[0]) / 8)
        sizes = _norm(left, 1) * _norm(right, 0)
        return found + roundoff * sizes * self._errors(found.shape)

    def flush(self, x: Array, smallest: float) -> Array:
        """x with 0 in place of what is smaller than that."""
        return x if self.generator is None else np.where(np.abs(x) < smallest, 0.0, x)


EXACT = Rounding()


def forward(
    x: Array,
    weights: Sequence[Array],
    biases: Sequence[Array],
    functions: Functions,
    saturation_threshold: float = 0.05,
    normalization: str = "none",
    epsilon: float = 1e-5,
    tangents: Array | None = None,
    rounding: Rounding = EXACT,
) -> list[Observed]:
    """What is measured of each layer.

    x: [samples, features]. weights: [fan_in, width] each. biases: [width] each. tangents: directions at the first
    pre-activations. rounding: random errors on the way, by default none.

    Definitions are taken as they read but for one thing: the response psi = phi - phi(0) and products without
    their offset are kept apart, since float64 too loses a signal of 1e-17 beside sigmoid's half.
    """
    activation = functions.activation
    psi = np.asarray(x, dtype=np.float64)
    psi = rounding.flush(rounding.off(psi, np.abs(psi)), FLUSHED * _rms(psi))
    at_zero, found, change = 0.0, [], None
    with np.errstate(all="ignore"):
        for weight, bias in zip(weights, biases, strict=True):
            offset = at_zero * weight.sum(axis=0) + bias
            offset = rounding.off(offset, np.abs(at_zero) * _norm(weight, 0)[0] + np.abs(bias), 2.0)
            product = rounding.flush(rounding.product(psi, weight), FLUSHED * _rms(psi) * _rms(weight))
            means = rounding.product(psi.mean(axis=0, keepdims=True), weight)
            a = rounding.off(product + offset, np.abs(product) + np.abs(offset))
            if tangents is not None:
                change = tangents if change is None else rounding.product(change, weight)
            if normalization == "none":
                u, normalized = a, change
            else:
                axis = 0 if normalization == "batch" else 1
                # The offset of a unit is in its mean over samples, and cancels.
                centred = product - means if normalization == "batch" else a - rounding.off(
                    a.mean(axis=1, keepdims=True), np.abs(a).mean(axis=1, keepdims=True), 2.0
                )
                spread = np.sqrt(np.mean(centred**2, axis, keepdims=True) + epsilon)
                u, normalized = centred / spread, None
                if change is not None:
                    along = u * np.mean(u * change, axis, keepdims=True)
                    left = change - change.mean(axis, keepdims=True) - along
                    size = np.abs(change) + np.abs(along) + _rms(change)
                    normalized = rounding.off(left, size, 4.0) / spread
            size = np.hypot(_rms(product), _rms(offset))
            psi, slopes = _respond(functions, u, size, saturation_threshold, rounding)
            flat = np.abs(slopes) < saturation_threshold * activation.max_slope
            masks = {"saturated": flat, "dead": flat.all(axis=0), "zero": functions.is_zero(u, psi)}
            at_zero = activation.at_zero
            masks["nonfinite"] = ~np.isfinite(psi)
            columns = _columns(a, product - means, psi, at_zero)
            if change is not None and tangents is not None:
                columns["log10_jacobian"] = np.log10(_rms(change) / _rms(tangents))
                change = slopes * normalized
            found.append(Observed(columns | {name: mask.mean() for name, mask in masks.items()}, masks, u))
    return found


def _respond(
    functions: Functions, u: Array, size: float, saturation_threshold: float, rounding: Rounding
) -> tuple[Array, Array]:
    """(psi(u), phi'(u)). size: RMS of the pre-activation, by which scale is carried."""
    psi, slopes = functions.response(u), functions.slope(u)
    if rounding.exact:
        return psi, slopes
    activation = functions.activation
    everywhere = np.all(np.abs(slopes) < saturation_threshold * activation.max_slope)
    roundoffs = EVALUATION_ROUNDOFFS
    # Far from 1 psi is that of a clipped argument times a power, which holds to the distance from its limit.
    lowest = 2.0**activation.min_exponent
    if size < 2**8 * lowest:
        roundoffs += lowest / UNIT_ROUNDOFF
    psi = rounding.off(psi, np.abs(psi), roundoffs)
    if functions.error is not None:
        psi = rounding.off(psi, functions.error(u) / UNIT_ROUNDOFF, 2.0)
    unit = min(1.0, size / lowest) ** (activation.degree_at_zero or 0)
    psi = rounding.flush(psi, FLUSHED * unit)
    if _rms(psi) < 2.0**10 * np.sqrt(FLUSHED) * unit:  # under normalisation no scale is carried, and squares underflow
        psi = rounding.flush(psi, np.sqrt(FLUSHED) * unit)
    slopes = rounding.off(slopes, np.abs(slopes), EVALUATION_ROUNDOFFS)
    if not everywhere:  # there, slopes are computed anew, however small
        slopes = rounding.off(slopes, activation.max_slope, EVALUATION_ROUNDOFFS)
    return psi, rounding.flush(slopes, FLUSHED)


def _columns(a: Array, centred: Array, psi: Array, at_zero: float) -> dict[str, float]:
    """centred: a less the means of its units over samples. psi: the response, phi less at_zero."""
    samples, width = a.shape
    h = at_zero + psi
    square, total = np.sum(a**2), np.sum(h**2)
    return {
        "preact_mean": a.mean(),
        "preact_std": a.std(),
        "act_mean": h.mean(),
        "act_std": psi.std(),
        "act_min": h.min(),
        "act_max": h.max(),
        "log10_act_rms": np.log10(_rms(h)),
        "unit_similarity": (np.sum(h.sum(axis=1) ** 2) - total) / ((width - 1) * total),
        "input_correlation": (np.sum(a.sum(axis=0) ** 2) - square) / ((samples - 1) * square),
        "input_decorrelation": samples * np.sum(centred**2) / ((samples - 1) * square),
    }


def _norm(x: Array, axis: int) -> Array:
    return np.sqrt(np.sum(x**2, axis=axis, keepdims=True))


def _rms(x: Array) -> float:
    """Root mean square, also of numbers whose squares do not fit float64."""
    largest = np.max(np.abs(x))
    return float(largest * np.sqrt(np.mean((x / largest) ** 2))) if 0 < largest < np.inf else float(largest)


def compare(
    measured: dict[str, Array],
    x: Array,
    stds: tuple[float, float, float],
    draws: Sequence[Layer],
    tangents: Array,
    activation: Activation,
    saturation_threshold: float,
    normalization: str,
    product_roundoff: float = UNIT_ROUNDOFF,
) -> list[str]:
    """Sentences on what the fast pass got wrong in the first layers of one network (see `disagreements`).

    measured: columns of [layers], as many as there are `draws`. stds: of the first layer's weights, of the hidden
    ones' and of the biases. product_roundoff: of the matrix products (PRODUCT_ROUNDOFF).
    """
    first, hidden, bias = stds
    weights = [(hidden if i else first) * np.asarray(draw.weights, np.float64) for i, draw in enumerate(draws)]
    biases = [bias * np.asarray(draw.biases, np.float64) for draw in draws]
    settings = (_functions(activation), saturation_threshold, normalization)
    expected = forward(x, weights, biases, *settings, tangents=tangents)
    jolted = [
        forward(
            x,
            weights,
            biases,
            *settings,
            tangents=tangents,
            rounding=Rounding(np.random.default_rng(run), product_roundoff),
        )
        for run in range(JOLTED_RUNS)
    ]
    largest = LARGEST if activation.degree_at_infinity else LARGEST_UNCLIPPED
    return disagreements(measured, expected, jolted, largest)


@lru_cache(maxsize=8)  # so that compiled functions are found again
def _functions(activation: Activation) -> Functions:
    response = _in_float64(activation.response)
    error = None
    if activation.name.split("(")[0] not in {*ACTIVATIONS, *PARAMETRIC}:
        single = jax.jit(activation.response)

        def error(u: Array) -> Array:  # a function from elsewhere may lose digits of its own
            with jax.enable_x64(False), jax.default_device(jax.local_devices(backend="cpu")[0]):
                rounded = np.asarray(u, np.float32)
                found = np.asarray(single(rounded), np.float64)
            return np.nan_to_num(np.abs(found - response(rounded)), nan=0.0, posinf=0.0)

    return Functions(activation, response, _in_float64(activation.slope), _in_float64(activation.is_zero), error)


def _in_float64(function: Callable[..., jax.Array]) -> Callable[..., Array]:
    """A JAX function as one of float64 NumPy arrays, on the CPU."""
    compiled = jax.jit(function)

    def evaluate(*arrays: Array) -> Array:
        with jax.enable_x64(True), jax.default_device(jax.local_devices(backend="cpu")[0]):
            return np.asarray(compiled(*(np.asarray(a, np.float64) for a in arrays)))

    return evaluate


def disagreements(
    measured: dict[str, Array], expected: list[Observed], jolted: list[list[Observed]], largest: float = LARGEST
) -> list[str]:
    """Sentences on what differs by more than float32 explains; empty when all is well.

    measured: columns of [layers]; compared with the layers of `expected`. jolted: the same with random rounding
    errors; what those move is allowed ALLOWANCE times. From the first layer on whose values float64 cannot hold
    without a carried scale, or exceed `largest`, nothing is compared.
    """
    found = []
    for layer, exact in enumerate(expected):
        others = [run[layer] for run in jolted]
        size = max(abs(exact.columns["act_min"]), abs(exact.columns["act_max"]))
        preact, *preacts = (np.hypot(one.columns["preact_std"], one.columns["preact_mean"]) for one in (exact, *others))
        act, *acts = (10.0 ** one.columns["log10_act_rms"] for one in (exact, *others))
        if not (preact == 0 or SMALLEST < preact < largest) or not size < largest:
            break
        scale = {"preact_mean": preact} | dict.fromkeys(("act_mean", "act_min", "act_max"), size)
        scale |= dict.fromkeys(("unit_similarity", "input_correlation"), 1.0)
        undefined = set()
        if _spread(preact, preacts) > UNSTABLE * preact:
            undefined |= {"preact_mean", "preact_std", "input_correlation", "input_decorrelation"}
        if _spread(act, acts) > UNSTABLE * act:
            undefined |= {*scale, "act_std", "log10_act_rms", "unit_similarity"} - {"preact_mean"}
        for name, value in exact.columns.items():
            if name not in measured or name in undefined or np.isnan(value):
                continue
            got, values = float(measured[name][layer]), [one.columns[name] for one in (exact, *others)]
            wrong = f"layer {layer + 1}: {name} is {got:.6g}, float64 NumPy says {value:.6g}"
            if name in exact.masks:
                tolerance = 2 * _uncertain(name, exact, others) + 0.5 / exact.masks[name].size
            else:
                floor = 0.0
                if name.startswith("log10_"):  # compared as sizes, which may be 0
                    got, *values = 10.0 ** np.array([got, *values])
                    floor = NOTHING
                value = values[0]
                if name == "log10_jacobian" and _spread(value, values[1:]) > UNSTABLE * value:
                    continue
                tolerance = RELATIVE_TOLERANCE * scale.get(name, abs(value)) + ALLOWANCE * _spread(value, values[1:]) + floor
            if not abs(got - value) <= tolerance:
                found.append(wrong)
    return found


def _spread(value: float, moved: list[float]) -> float:
    return max(abs(other - value) for other in moved)


def _moved(name: str, exact: Observed, others: list[Observed]) -> Array:
    return np.any([one.masks[name] != exact.masks[name] for one in others], axis=0)


def _uncertain(name: str, exact: Observed, others: list[Observed]) -> float:
    """The share that rounding may move in or out."""
    if name == "dead":
        mask, moved = exact.masks["saturated"], _moved("saturated", exact, others)
        return float(np.mean(np.all(mask | moved, axis=0) != np.all(mask & ~moved, axis=0)))
    moved = _moved(name, exact, others)
    if name == "zero":  # what rounding alone keeps from 0 may be 0
        reach = np.max([np.abs(one.u - exact.u) for one in others], axis=0)
        moved |= (np.abs(exact.u) <= ALLOWANCE * reach) & (reach > 0)
    return float(np.mean(moved))
