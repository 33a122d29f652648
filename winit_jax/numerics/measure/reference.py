"""One network in NumPy and float64, written as the definitions read, and what float32 may differ from it by.

Slow on purpose: it shares nothing with the fast pass but the definitions and the function phi itself.
Every run and `winit doctor` hold a few layers of the fast pass against it. How far rounding may move a column is
not a constant: a mean of many terms that cancel, a unit on the threshold of saturation, or a variance about a large
mean can lose every digit. So the reference runs again a few times with random errors of the size of float32's
wherever the fast pass rounds (stochastic arithmetic, Vignes 1993), and what that moves is allowed.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import numpy as np

from winit_jax.numerics.activations import ACTIVATIONS, Activation
from winit_jax.numerics.blocks import DENSE, Block
from winit_jax.numerics.draws import Layer
from winit_jax.numerics.measure.definitions import DEFINITIONS, OF_SIGNALS, LayerArrays
from winit_jax.numerics.measure.definitions import root_mean_square as _rms
from winit_jax.numerics.signals import BOUNDED, LIFT, MAX_EXPONENT

Array = np.ndarray

UNIT_ROUNDOFF = 2.0**-24
# Of products of lower precision where the hardware has it: TensorFloat-32 has 11 bits, bfloat16 has 8.
NARROW_ROUNDOFF = {"high": 2.0**-11, "default": 2.0**-8}
# Below 2^-126 float32 numbers are 0 on hardware that flushes subnormal ones, and so are sums of products of entries
# a little larger; below the root, squares are.
FLUSHED = 2.0**-110
# Errors of pre-activations beyond this may pass where phi turns.
FAR_REACH = 0.1
# Entries below this share of the RMS of their layer may count as 0 (docs/definitions.md).
FORGOTTEN = 1e-18
# Of phi and phi' in float32, in roundoffs: the activations of the table hold to this (tests/test_activations.py).
EVALUATION_ROUNDOFFS = 16.0
# What sums over samples and units may lose, whose terms do not cancel.
RELATIVE_TOLERANCE = 1e-4
# Runs with random errors, how many times larger these are than float32's, and how many times what they move is put
# down to rounding.
JOLTED_RUNS = 4
JOLT = 2.0
ALLOWANCE = 4.0
# A normalisation that leaves less than this share of the tangents leaves rounding beside it.
LEAST_KEPT = 1e-3
# A function from elsewhere may lose so much, as a share of its largest value, to rounding of its own (float16's is
# 2^-11); what differs by more is not what it computes in float64.
OWN_ROUNDING = 2.0**-6
# Sizes below this are not told apart: float64 itself ends near there.
NOTHING = 1e-290
# RMS pre-activations beyond this may be clipped.
HIGHEST = 2.0 ** (MAX_EXPONENT + LIFT - 8)
# A quantity is all rounding once this share of its size is, and so is what is made of it.
UNSTABLE = 0.5
# Scales that can be compared: their squares fit float64.
SMALLEST, LARGEST = 1e-140, 1e140
# Of a function for which nothing is clipped, float32 itself must hold the values.
LARGEST_UNCLIPPED = 1e15


class Observed(NamedTuple):
    """One layer. columns: by definition. masks: pairs (of units, for `dead`) whose share is a column. psi: of u."""

    columns: dict[str, float]
    masks: dict[str, Array]
    u: Array
    psi: Array


class Compared(NamedTuple):
    """wrong: a sentence for each value that differs by more than float32 explains. layers: how many were compared."""

    wrong: list[str]
    layers: int


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


class Moved:
    """What random errors move in one layer, gathered run by run so that one run is held at a time.

    columns: their values in each run. masks: pairs that are in in one run and out in another. reach, psi_reach: the
    largest change of each u and psi. unstable: whether the response is all rounding.
    """

    def __init__(self, exact: Observed) -> None:
        self.columns: dict[str, list[float]] = {name: [] for name in exact.columns}
        self.masks = {name: np.zeros(mask.shape, bool) for name, mask in exact.masks.items()}
        self.reach, self.psi_reach = np.zeros(exact.u.shape), np.zeros(exact.u.shape)
        self.unstable = False

    def add(self, exact: Observed, run: Observed) -> None:
        for name, value in run.columns.items():
            self.columns[name].append(value)
        for name, mask in run.masks.items():
            self.masks[name] |= mask != exact.masks[name]
        with np.errstate(all="ignore"):
            np.fmax(self.reach, np.abs(run.u - exact.u), out=self.reach)
            np.fmax(self.psi_reach, np.abs(run.psi - exact.psi), out=self.psi_reach)
            self.unstable |= _rms(run.psi - exact.psi) > UNSTABLE * _rms(exact.psi)

    def reach_over(self, exact: Observed, functions: Functions, saturation_threshold: float) -> None:
        """Put down pairs as uncertain whose slope passes the threshold anywhere within reach of errors.

        A few runs do not find them all where a function turns many times within that.
        """
        reach = ALLOWANCE * np.where(np.isfinite(self.reach), self.reach, 0.0)
        pairs = np.nonzero(reach > FAR_REACH)
        u = exact.u[pairs] + np.linspace(-1, 1, 65)[:, None] * reach[pairs]
        flat = np.abs(functions.slope(u)) < saturation_threshold * functions.activation.max_slope
        self.masks["saturated"][pairs] |= np.any(flat != exact.masks["saturated"][pairs], axis=0)

    def of_extremes(self, exact: Observed) -> float:
        """How far the largest and the least response may move: any pair may be the one that does."""
        reach = ALLOWANCE * self.psi_reach
        least = [(exact.psi + side * reach).min() - exact.psi.min() for side in (-1, 1)]
        most = [(exact.psi + side * reach).max() - exact.psi.max() for side in (-1, 1)]
        return float(np.max(np.abs([*least, *most])))

    def uncertain(self, name: str, exact: Observed) -> float:
        """The share that rounding may take in or out."""
        moved = self.masks[name]
        if name == "dead":
            mask, moved = exact.masks["saturated"], self.masks["saturated"]
            moved = np.all(mask | moved, axis=0) != np.all(mask & ~moved, axis=0)
        if name == "zero":  # what rounding alone keeps from 0 may be 0
            for value, reach in ((exact.u, self.reach), (exact.psi, self.psi_reach)):
                moved = moved | ((np.abs(value) <= ALLOWANCE * reach) & (reach > 0))
        return float(np.mean(moved))


class Rounding:
    """Random errors of the size of float32's, or none at all.

    product_roundoff: of the terms of matrix products; the sum of n terms is given that of sqrt(n) / 8 + 1 roundings.
    """

    def __init__(self, run: int | None = None, product_roundoff: float = UNIT_ROUNDOFF) -> None:
        self.generator = None if run is None else np.random.default_rng(run)
        self.product_roundoff = product_roundoff
        self.clips = run is not None and run % 2 == 1  # every other run, for it hides errors of entries near 0

    def off(self, x: Array, size: Array | float, roundoffs: float = 1.0) -> Array:
        """x with an error in each entry of so many roundoffs of `size`."""
        if self.generator is None:
            return x
        return x + roundoffs * UNIT_ROUNDOFF * size * self._errors(x.shape)

    def _errors(self, shape: tuple[int, ...]) -> Array:
        """Between -4 and 4: of each entry, and common to a row, a column and all, since equal terms round alike."""
        assert self.generator is not None
        parts = (shape, (*shape[:-1], 1), (1,) * (len(shape) - 1) + shape[-1:], ())
        return np.asarray(sum(self.generator.uniform(-JOLT, JOLT, part) for part in parts))

    def product(self, left: Array, right: Array) -> Array:
        """left @ right, with errors relative to the norms of rows and columns."""
        found = left @ right
        if self.generator is None:
            return found
        roundoff = self.product_roundoff * (1 + np.sqrt(right.shape[0]) / 8)
        sizes = _norm(left, 1) * _norm(right, 0)
        return found + roundoff * sizes * self._errors(found.shape)

    def forget(self, x: Array, size: float) -> Array:
        """x with 0 in place of entries that are nothing beside their layer's size, as they may be to the fast pass."""
        return np.where(np.abs(x) < FORGOTTEN * size, 0.0, x) if self.clips else x

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
    block: Block = DENSE,
) -> Iterator[Observed]:
    """What is measured of each layer, one by one.

    log10_jacobian is NaN from where a normalisation, or a product after it, removes nearly all of the tangents.
    x: [samples, features]. weights: [fan_in, width] each. biases: [width] each. tangents: directions at the first
    pre-activations. rounding: random errors on the way, by default none.

    Definitions are taken as they read but for one thing: the response psi = phi - phi(0) and products without
    their offset are kept apart, since float64 too loses a signal of 1e-17 beside sigmoid's half.
    """
    activation = functions.activation
    psi = np.asarray(x, dtype=np.float64)
    psi = rounding.flush(rounding.off(psi, np.abs(psi)), FLUSHED * _rms(psi))
    at_zero, change, removed = 0.0, None, False
    with np.errstate(all="ignore"):
        linear = rounding.product  # the stem, and then the block
        for weight, bias in zip(weights, biases, strict=True):
            offset = at_zero * weight.sum(axis=0) + bias
            offset = rounding.off(offset, np.abs(at_zero) * _norm(weight, 0)[0] + np.abs(bias), 2.0)
            product = rounding.flush(linear(psi, weight), FLUSHED * _rms(psi) * _rms(weight))
            means = linear(psi.mean(axis=0, keepdims=True), weight)
            a = rounding.off(product + offset, np.abs(product) + np.abs(offset))
            size = np.hypot(_rms(product), _rms(offset))
            a = rounding.forget(a, size)
            if tangents is not None:
                if change is None:
                    change = tangents
                else:
                    before, change = change, linear(change, weight)
                    removed |= bool(_rms(change) < LEAST_KEPT * _rms(before) * _rms(_norm(weight, 0)))
            if normalization == "none":
                u, normalized = a, change
            else:
                axis = 0 if normalization == "batch" else 1
                # The offset of a unit is in its mean over samples, and cancels.
                centred = (
                    rounding.forget(product - means, size)
                    if normalization == "batch"
                    else a - rounding.off(a.mean(axis=1, keepdims=True), np.abs(a).mean(axis=1, keepdims=True), 2.0)
                )
                spread = np.sqrt(np.mean(centred**2, axis, keepdims=True) + epsilon)
                u, normalized = np.where(spread > 0, centred / spread, 0.0), None
                if change is not None:
                    along = u * np.mean(u * change, axis, keepdims=True)
                    left = change - change.mean(axis, keepdims=True) - along
                    terms = np.abs(change) + np.abs(along) + _rms(change)
                    normalized = np.where(spread > 0, rounding.off(left, terms, 4.0) / spread, 0.0)
            seen, lowering = _clipped(u, size, activation) if rounding.clips else (u, 1.0)
            psi, slopes = _respond(functions, seen, size, saturation_threshold, rounding)
            psi, slopes = psi / lowering, slopes if seen is u else functions.slope(seen)
            flat = np.abs(slopes) < saturation_threshold * activation.max_slope
            masks = {"saturated": flat, "dead": flat.all(axis=0), "zero": functions.is_zero(seen, psi)}
            at_zero = activation.at_zero
            masks["nonfinite"] = ~np.isfinite(psi)
            columns = _columns(a, product - means, psi, at_zero)
            if change is not None and tangents is not None:
                columns["log10_jacobian"] = np.nan if removed else np.log10(_rms(change) / _rms(tangents))
                if normalized is not change and normalized is not None:
                    removed |= bool(_rms(slopes * left) < LEAST_KEPT * _rms(change) * _rms(slopes))
                change = slopes * normalized
            linear = partial(block.naive, product=rounding.product)
            yield Observed(columns | {name: mask.mean() for name, mask in masks.items()}, masks, u, psi)


def _clipped(u: Array, size: float, activation: Activation) -> tuple[Array, float]:
    """u as phi is given it where a layer holds entries of many scales: the largest are clipped, and the least are 0.

    With it, by what psi is then too small. size: RMS of the pre-activation; what it is held against is up to 2^8 times
    that.
    """
    lowest = 2.0**activation.min_exponent
    if size > HIGHEST and activation.degree_at_infinity is not None:
        share = HIGHEST / size
        return u * share, share ** max(activation.degree_at_infinity)
    smallest = FLUSHED * min(1.0, size / lowest)
    return np.where(np.abs(u) < smallest, 0.0, u) if np.any((np.abs(u) < smallest) & (u != 0)) else u, 1.0


def _respond(
    functions: Functions, u: Array, size: float, saturation_threshold: float, rounding: Rounding
) -> tuple[Array, Array]:
    """(psi(u), phi'(u)). size: RMS of the pre-activation, by which scale is carried."""
    psi, slopes = functions.response(u), functions.slope(u)
    if rounding.generator is None:
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
    layer = LayerArrays(a, psi, at_zero, deviations=centred)
    return {name: DEFINITIONS[name](layer) for name in OF_SIGNALS}


def _norm(x: Array, axis: int) -> Array:
    return np.sqrt(np.sum(x**2, axis=axis, keepdims=True))


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
    product_roundoff: float = UNIT_ROUNDOFF,
) -> Compared:
    """What the fast pass got wrong in the first layers of one network (see `disagreements`).

    measured: columns of [layers], as many as there are `draws`. stds: of the first layer's weights, of the hidden
    ones' and of the biases. epsilon: of the normalisation. product_roundoff: of the matrix products (see the function
    of that name).
    """
    first, hidden, bias = stds
    weights = [(hidden if i else first) * np.asarray(draw.weights, np.float64) for i, draw in enumerate(draws)]
    biases = [bias * np.asarray(draw.biases, np.float64) for draw in draws]
    settings = (_functions(activation), saturation_threshold, normalization, epsilon)
    expected = list(forward(x, weights, biases, *settings, tangents=tangents))
    moved = [Moved(exact) for exact in expected]
    for run in range(JOLTED_RUNS):
        rounding = Rounding(run, product_roundoff)
        jolted = forward(x, weights, biases, *settings, tangents=tangents, rounding=rounding)
        for exact, own, one in zip(expected, moved, jolted, strict=True):
            own.add(exact, one)
    for exact, own in zip(expected, moved, strict=True):
        own.reach_over(exact, settings[0], saturation_threshold)
    largest = LARGEST if activation.degree_at_infinity else LARGEST_UNCLIPPED
    return disagreements(measured, expected, moved, largest)


def product_roundoff(precision: str, platform: str) -> float:
    """Of the terms of matrix products; a CPU multiplies float32 as such, whatever is asked for."""
    return UNIT_ROUNDOFF if platform == "cpu" else NARROW_ROUNDOFF.get(precision, UNIT_ROUNDOFF)


@lru_cache(maxsize=8)  # so that compiled functions are found again
def _functions(activation: Activation) -> Functions:
    response = _in_float64(activation.response)
    error = None
    if activation.name.split("(")[0] not in {*ACTIVATIONS, *ACTIVATIONS.makers}:
        single = jax.jit(activation.response)

        def error(u: Array) -> Array:  # a function from elsewhere may lose digits of its own
            with jax.enable_x64(False), jax.default_device(jax.local_devices(backend="cpu")[0]):
                rounded = np.asarray(u, np.float32)
                found = np.asarray(single(rounded), np.float64)
            exact = response(rounded)
            error = np.nan_to_num(np.abs(found - exact), nan=0.0, posinf=0.0)
            return np.minimum(error, OWN_ROUNDING * np.nanmax(np.abs(exact), initial=0.0, where=np.isfinite(exact)))

    return Functions(activation, response, _in_float64(activation.slope), _in_float64(activation.is_zero), error)


def _in_float64(function: Callable[..., jax.Array]) -> Callable[..., Array]:
    """A JAX function as one of float64 NumPy arrays, on the CPU."""
    compiled = jax.jit(function)

    def evaluate(*arrays: Array) -> Array:
        with jax.enable_x64(True), jax.default_device(jax.local_devices(backend="cpu")[0]):
            return np.asarray(compiled(*(np.asarray(a, np.float64) for a in arrays)))

    return evaluate


def disagreements(
    measured: dict[str, Array], expected: Sequence[Observed], moved: Sequence[Moved], largest: float = LARGEST
) -> Compared:
    """What differs by more than float32 explains.

    measured: columns of [layers]; compared with the layers of `expected`. moved: by random rounding errors; that
    is allowed ALLOWANCE times. Nothing is compared from the first layer on whose values float64 cannot hold without
    a carried scale or exceed `largest`, and none after one whose responses are all rounding.
    """
    found, layers = [], 0
    for layer, (exact, own) in enumerate(zip(expected, moved, strict=True)):
        columns, runs = _sizes(exact.columns), {name: np.array(them) for name, them in own.columns.items()}
        runs = _sizes(runs)
        preact = float(np.hypot(columns["preact_std"], columns["preact_mean"]))
        act = max(abs(columns["act_min"]), abs(columns["act_max"]))
        if not (preact == 0 or SMALLEST < preact < largest) or not act < largest:
            break
        layers += 1
        scale = {"preact_mean": preact} | dict.fromkeys(("act_mean", "act_min", "act_max"), act)
        scale |= dict.fromkeys(("unit_similarity", "input_correlation"), 1.0)
        spreads = {name: float(np.max(np.abs(runs[name] - value))) for name, value in columns.items()}
        spread = float(np.max(np.abs(np.hypot(runs["preact_std"], runs["preact_mean"]) - preact)))
        undefined = _all_rounding(columns, spreads, preact, spread, own.unstable)
        for name, value in columns.items():
            if name not in measured or name in undefined or np.isnan(value):
                continue
            got = float(measured[name][layer])
            wrong = f"layer {layer + 1}: {name} is {got:.6g}, float64 NumPy says {exact.columns[name]:.6g}"
            if name in exact.masks:
                tolerance = 2 * own.uncertain(name, exact) + 0.5 / exact.masks[name].size
            else:
                moves = own.of_extremes(exact) if name in ("act_min", "act_max") else ALLOWANCE * spreads[name]
                tolerance = RELATIVE_TOLERANCE * scale.get(name, abs(value)) + moves
            if name in ("act_mean", "act_std", "act_min", "act_max", "log10_act_rms") and preact > HIGHEST:
                tolerance += BOUNDED
            if name.startswith("log10_"):
                got, tolerance = 10.0**got, tolerance + NOTHING
            if got != value and not abs(got - value) <= tolerance:
                found.append(wrong)
        if own.unstable:
            break
    return Compared(found, layers)


def _sizes(columns: dict[str, Any]) -> dict[str, Any]:
    """Columns with sizes in place of their logarithms, for they may be 0."""
    return {name: 10.0**value if name.startswith("log10_") else value for name, value in columns.items()}


def _all_rounding(
    columns: dict[str, float], spreads: dict[str, float], preact: float, spread: float, unstable: bool
) -> set[str]:
    """Columns of which rounding leaves nothing: sizes that it moves by UNSTABLE of themselves, and ratios of such.

    preact, spread: RMS pre-activation and what moves it. unstable: whether responses are all rounding.
    """
    sizes = ("preact_std", "act_std", "input_decorrelation", "log10_act_rms", "log10_jacobian")
    found = {name for name in sizes if name in columns and spreads[name] > UNSTABLE * columns[name]}
    if "input_decorrelation" in found:
        found.add("input_correlation")
    if spread > UNSTABLE * preact:
        found |= {"preact_mean", "input_correlation", "input_decorrelation"}
    if "log10_act_rms" in found or unstable:
        found |= {"act_mean", "act_std", "act_min", "act_max", "log10_act_rms", "unit_similarity"}
    if unstable:
        found |= {"saturated", "dead", "zero", "log10_jacobian"}
    return found
