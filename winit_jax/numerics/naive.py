"""The pieces of a network in NumPy and float64, written as the definitions read.

Slow on purpose: they share nothing with the fast pass but the definitions and the function phi itself. Blocks are put
together of them (`Update.naive`), and `measure.reference` of those.

Definitions are taken as they read but for one thing: the response psi = phi - phi(0) and products without their offset
are kept apart, since float64 too loses a signal of 1e-17 beside sigmoid's half.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import jax
import numpy as np

from winit_jax.columns.formats import Format
from winit_jax.numerics.activations import ACTIVATIONS, Activation
from winit_jax.numerics.rounding import EXACT, UNIT_ROUNDOFF, Array, Rounding, norm
from winit_jax.numerics.signals import LIFT, MAX_EXPONENT

# Below 2^-126 float32 numbers are 0 on hardware that flushes subnormal ones, and so are sums of products of entries
# a little larger; below the root, squares are.
FLUSHED = 2.0**-110
# Of phi and phi' in float32, in roundoffs: the activations of the table hold to this (tests/test_activations.py).
EVALUATION_ROUNDOFFS = 16.0
# What leaves less than this share of the tangents leaves rounding beside it.
LEAST_KEPT = 1e-3
# A function from elsewhere may lose so much, as a share of its largest value, to rounding of its own (float16's is
# 2^-11); what differs by more is not what it computes in float64.
OWN_ROUNDING = 2.0**-6
# RMS pre-activations beyond this may be clipped.
HIGHEST = 2.0 ** (MAX_EXPONENT + LIFT - 8)


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


@dataclass(frozen=True)
class Naive:
    """What the pieces need to know. rounding: random errors on the way. positions, grid: as in `blocks.Layout`.

    unit_variance: whether each matrix is multiplied by what gives its products variance 1. format: the one that is
    rounded to, None for none. Its activation is then that of `narrow.whole`.
    """

    functions: Functions
    saturation_threshold: float = 0.05
    rounding: Rounding = EXACT
    positions: int = 1
    grid: tuple[int, int] | None = None
    sharpness: float = 1.0
    unit_variance: bool = False
    format: Format | None = None

    def cast(self, x: Array) -> Array:
        """x as numbers of the format; what lies beyond a largest number without infinity is that one."""
        return x if self.format is None else cast(x, self.format)

    def weights(self, weights: Array, biases: Array) -> tuple[Array, Array]:
        """Weights and biases as numbers of the format."""
        return self.cast(weights), self.cast(biases)

    def near(self, branch: "NaiveBranch") -> "NaiveBranch":
        """What products leave, rounded once, with its change."""
        if self.format is None:
            return branch
        change = None if branch.change is None else self.cast(branch.change)
        return branch._replace(stream=self.near_stream(branch.stream), change=change)

    def near_stream(self, stream: "NaiveStream") -> "NaiveStream":
        """Pre-activations rounded, which leaves them one part."""
        if self.format is None:
            return stream
        a = self.cast(stream.together(self.rounding)[0])
        return NaiveStream(a, a.mean(axis=0, keepdims=True), np.zeros(1))


class NaiveSignal(NamedTuple):
    """at_zero + psi, [rows, width], and its change; None where none is carried."""

    psi: Array
    at_zero: float = 0.0
    change: Array | None = None


class NaiveStream(NamedTuple):
    """Pre-activations in parts: products, [rows, width], their means over rows, and what all rows share."""

    product: Array
    means: Array
    offset: Array

    def add(self, skip: float, branch: float, block: "NaiveStream", rounding: Rounding) -> "NaiveStream":
        """skip times this and branch times what a block makes of it."""
        if skip == 0:
            return NaiveStream(*(branch * part for part in block))
        product, means, offset = (skip * kept + branch * added for kept, added in zip(self, block, strict=True))
        terms = np.abs(skip * self.product) + np.abs(branch * block.product)
        return NaiveStream(rounding.off(product, terms), means, offset)

    def together(self, rounding: Rounding) -> tuple[Array, float]:
        """(The pre-activations, the root of the summed squares of both parts' RMS, by which scale is carried)."""
        a = rounding.off(self.product + self.offset, np.abs(self.product) + np.abs(self.offset))
        size = float(np.hypot(rms(self.product), rms(self.offset)))
        return rounding.forget(a, size), size


class NaiveResponse(NamedTuple):
    """phi at u: psi(u), phi'(u), u as phi was given it, and by how much psi is then too small."""

    u: Array
    psi: Array
    slopes: Array
    seen: Array


class NaiveBranch(NamedTuple):
    """What an update adds to the stream. lost: whether nearly all of the change went. See `blocks.protocol.Branch`.

    factors: what each matrix on the way was multiplied by for unit variance, the last one last.
    """

    stream: NaiveStream
    change: Array | None = None
    lost: bool = False
    inner: NaiveResponse | None = None
    entropy: float | None = None
    factors: tuple[float, ...] = ()


def cast(x: Array, to: Format) -> Array:
    """The numbers of a format nearest to x, by a cast to its type and back, in float64."""
    if not to.has_infinity:
        x = np.clip(x, -to.largest, to.largest)
    return np.asarray(x).astype(jax.numpy.dtype(to.name)).astype(np.float64)


def rms(x: Array) -> float:
    """sqrt(mean x^2), also of numbers whose squares do not fit float64."""
    largest = np.max(np.abs(x))
    return float(largest * np.sqrt(np.mean((x / largest) ** 2))) if 0 < largest < np.inf else float(largest)


def affine(
    signal: NaiveSignal,
    weight: Array,
    bias: Array,
    naive: Naive,
    gather: Callable[[Array], Array] = lambda h: h,
) -> NaiveBranch:
    """h W + b and the change of it. gather: lays beside each row what the weights read, [rows, fan_in]."""
    psi, at_zero, rounding = signal.psi, signal.at_zero, naive.rounding
    factors: tuple[float, ...] = ()
    if naive.unit_variance:
        beside = rms(weight) * np.sqrt(max(weight.shape))  # what orthonormal weights are multiplied by besides
        unit = weight / beside if beside else np.full_like(weight, np.nan)
        factors = (_unit_factor(rounding.product(gather(psi), unit) + at_zero * unit.sum(axis=0)),)
        weight = weight * factors[0] if beside else weight
    constant = at_zero * weight.sum(axis=0) if at_zero else 0.0
    offset = constant + bias
    offset = rounding.off(offset, np.abs(at_zero) * norm(weight, 0)[0] + np.abs(bias), 2.0)
    product = rounding.flush(rounding.product(gather(psi), weight), FLUSHED * rms(psi) * rms(weight))
    means = np.tile(psi.mean(axis=0, keepdims=True), len(weight) // psi.shape[1])
    stream = NaiveStream(product, rounding.product(means, weight), offset)
    if signal.change is None:
        return NaiveBranch(stream, factors=factors)
    change = rounding.product(gather(signal.change), weight)
    lost = rms(change) < LEAST_KEPT * rms(signal.change) * rms(norm(weight, 0))
    return NaiveBranch(stream, change, bool(lost), factors=factors)


def _unit_factor(products: Array) -> float:
    """1 / their standard deviation over all entries; 1 where they do not vary, as far as float32 tells; NaN of NaN."""
    largest = np.max(np.abs(products))
    if not 0 < largest < np.inf:
        return float(largest) if np.isnan(largest) else 1.0
    std, size = float(np.std(products / largest)), rms(products / largest)
    return float(1 / std / largest) if std > 2.0**-20 * size else 1.0


def respond(functions: Functions, u: Array, size: float, threshold: float, rounding: Rounding) -> NaiveResponse:
    """phi at u. size: RMS of the pre-activation, by which scale is carried."""
    seen, lowering = _clipped(u, size, functions.activation) if rounding.clips else (u, 1.0)
    psi, slopes = _respond(functions, seen, size, threshold, rounding)
    psi, slopes = psi / lowering, slopes if seen is u else functions.slope(seen)
    return NaiveResponse(u, psi, slopes, seen)


def answer(entered: NaiveBranch, naive: Naive) -> NaiveResponse:
    """phi inside a block, of what its first weights give."""
    u, size = entered.stream.together(naive.rounding)
    response = respond(naive.functions, u, size, naive.saturation_threshold, naive.rounding)
    return response._replace(psi=naive.cast(response.psi))


def flattens(response: NaiveResponse, change: Array | None) -> bool:
    """Whether slopes leave nearly nothing of a change by chance, so that what is left is rounding."""
    if change is None:
        return False
    return bool(rms(response.slopes * change) < LEAST_KEPT * rms(change) * rms(response.slopes))


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
    if rms(psi) < 2.0**10 * np.sqrt(FLUSHED) * unit:  # under normalization no scale is carried, and squares underflow
        psi = rounding.flush(psi, np.sqrt(FLUSHED) * unit)
    slopes = rounding.off(slopes, np.abs(slopes), EVALUATION_ROUNDOFFS)
    if not everywhere:  # there, slopes are computed anew, however small
        slopes = rounding.off(slopes, activation.max_slope, EVALUATION_ROUNDOFFS)
    return psi, rounding.flush(slopes, FLUSHED)


@lru_cache(maxsize=8)  # so that compiled functions are found again
def functions_of(activation: Activation) -> Functions:
    """An activation's response and slope in float64, with the error of a function that is not of the table."""
    response = _in_float64(activation.response)
    error = None
    if activation.name.split("(")[0] not in {*ACTIVATIONS, *ACTIVATIONS.makers}:
        single = jax.jit(activation.response)

        def error(u: Array) -> Array:  # a function from elsewhere may lose digits of its own
            with jax.enable_x64(False), jax.default_device(jax.local_devices(backend="cpu")[0]):
                rounded = np.asarray(u, np.float32)
                in_float32 = np.asarray(single(rounded), np.float64)
            exact = response(rounded)
            error = np.nan_to_num(np.abs(in_float32 - exact), nan=0.0, posinf=0.0)
            bound: Array = np.minimum(
                error, OWN_ROUNDING * np.nanmax(np.abs(exact), initial=0.0, where=np.isfinite(exact))
            )
            return bound

    return Functions(activation, response, _in_float64(activation.slope), _in_float64(activation.is_zero), error)


def _in_float64(function: Callable[..., jax.Array]) -> Callable[..., Array]:
    """A JAX function as one of float64 NumPy arrays, on the CPU."""
    compiled = jax.jit(function)

    def evaluate(*arrays: Array) -> Array:
        with jax.enable_x64(True), jax.default_device(jax.local_devices(backend="cpu")[0]):
            return np.asarray(compiled(*(np.asarray(a, np.float64) for a in arrays)))

    return evaluate
