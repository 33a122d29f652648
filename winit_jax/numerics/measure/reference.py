"""One network in NumPy and float64, written as the definitions read.

Slow on purpose: it shares nothing with the fast pass but the definitions and the function phi itself. Every run and
`winit doctor` hold a few layers of the fast pass against it (`comparison`).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import NamedTuple

import jax
import numpy as np

from winit_jax.numerics.activations import ACTIVATIONS, Activation
from winit_jax.numerics.blocks import DENSE, Block
from winit_jax.numerics.measure.definitions import DEFINITIONS, OF_SIGNALS, LayerArrays
from winit_jax.numerics.measure.definitions import root_mean_square as _rms
from winit_jax.numerics.measure.rounding import EXACT, UNIT_ROUNDOFF, Array, Rounding, norm
from winit_jax.numerics.signals import LIFT, MAX_EXPONENT

# Below 2^-126 float32 numbers are 0 on hardware that flushes subnormal ones, and so are sums of products of entries
# a little larger; below the root, squares are.
FLUSHED = 2.0**-110
# Of phi and phi' in float32, in roundoffs: the activations of the table hold to this (tests/test_activations.py).
EVALUATION_ROUNDOFFS = 16.0
# A normalization that leaves less than this share of the tangents leaves rounding beside it.
LEAST_KEPT = 1e-3
# A function from elsewhere may lose so much, as a share of its largest value, to rounding of its own (float16's is
# 2^-11); what differs by more is not what it computes in float64.
OWN_ROUNDING = 2.0**-6
# RMS pre-activations beyond this may be clipped.
HIGHEST = 2.0 ** (MAX_EXPONENT + LIFT - 8)


class Observed(NamedTuple):
    """One layer. columns: by definition. masks: pairs (of units, for `dead`) whose share is a column. psi: of u."""

    columns: dict[str, float]
    masks: dict[str, Array]
    u: Array
    psi: Array


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
    skip: float = 0.0,
    branch: float = 1.0,
    norm_position: str = "pre",
) -> Iterator[Observed]:
    """What is measured of each layer, one by one.

    log10_jacobian is NaN from where a normalization, or a product after it, removes nearly all of the tangents.
    x: [samples, features]. weights: [fan_in, width] each. biases: [width] each. tangents: directions at the first
    pre-activations. rounding: random errors on the way, by default none. skip, branch: skip_scale and branch_scale of
    the layers behind the first. norm_position: pre or post.

    Definitions are taken as they read but for one thing: the response psi = phi - phi(0) and products without
    their offset are kept apart, since float64 too loses a signal of 1e-17 beside sigmoid's half.
    """
    activation = functions.activation
    before, behind = (normalization, "none") if norm_position == "pre" else ("none", normalization)
    psi = np.asarray(x, dtype=np.float64)
    psi = rounding.flush(rounding.off(psi, np.abs(psi)), FLUSHED * _rms(psi))
    at_zero, change, arriving, removed = 0.0, tangents, tangents, False
    beside = _Stream(psi, psi, np.zeros(1))  # nothing stands beside the stem
    with np.errstate(all="ignore"):
        for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
            linear = partial(block.naive, product=rounding.product) if layer else rounding.product
            constant = block.naive(np.full((1, psi.shape[1]), at_zero), weight, np.matmul)[0] if at_zero else 0.0
            offset = constant + bias
            offset = rounding.off(offset, np.abs(at_zero) * norm(weight, 0)[0] + np.abs(bias), 2.0)
            product = rounding.flush(linear(psi, weight), FLUSHED * _rms(psi) * _rms(weight))
            stream = _Stream(product, linear(psi.mean(axis=0, keepdims=True), weight), offset)
            if layer:
                stream = beside.add(skip, branch, stream, rounding)
            a, size = stream.together(rounding)
            if layer and arriving is not None and change is not None:
                pushed = branch * linear(arriving, weight)
                removed |= bool(_rms(pushed) < LEAST_KEPT * abs(branch) * _rms(arriving) * _rms(norm(weight, 0)))
                change = pushed + skip * change
            if layer and behind != "none":
                normalized = _normalize(stream, a, size, change, behind, epsilon, rounding)
                removed |= normalized.loses(change)
                a, change = normalized.u, normalized.change
                stream, size = _Stream(a, a.mean(axis=0, keepdims=True), np.zeros(1)), _rms(a)
            u, pushed_on = a, change
            if before != "none":
                normalized = _normalize(stream, a, size, change, before, epsilon, rounding)
                u, pushed_on = normalized.u, normalized.change
            seen, lowering = _clipped(u, size, activation) if rounding.clips else (u, 1.0)
            psi, slopes = _respond(functions, seen, size, saturation_threshold, rounding)
            psi, slopes = psi / lowering, slopes if seen is u else functions.slope(seen)
            flat = np.abs(slopes) < saturation_threshold * activation.max_slope
            masks = {"saturated": flat, "dead": flat.all(axis=0), "zero": functions.is_zero(seen, psi)}
            at_zero = activation.at_zero
            masks["nonfinite"] = ~np.isfinite(psi)
            columns = _columns(a, stream.product - stream.means, psi, at_zero)
            if change is not None and tangents is not None:
                columns["log10_jacobian"] = np.nan if removed else np.log10(_rms(change) / _rms(tangents))
                if before != "none" and not skip:
                    removed |= normalized.loses(change, slopes)
                arriving = slopes * pushed_on
            beside = stream
            yield Observed(columns | {name: mask.mean() for name, mask in masks.items()}, masks, u, psi)


class _Stream(NamedTuple):
    """Pre-activations in parts: products, [samples, width], their means over samples, and what all samples share."""

    product: Array
    means: Array
    offset: Array

    def add(self, skip: float, branch: float, block: "_Stream", rounding: Rounding) -> "_Stream":
        """skip times this and branch times what a block makes of it."""
        if skip == 0:
            return _Stream(*(branch * part for part in block))
        product, means, offset = (skip * kept + branch * added for kept, added in zip(self, block, strict=True))
        terms = np.abs(skip * self.product) + np.abs(branch * block.product)
        return _Stream(rounding.off(product, terms), means, offset)

    def together(self, rounding: Rounding) -> tuple[Array, float]:
        """(The pre-activations, the root of the summed squares of both parts' RMS, by which scale is carried)."""
        a = rounding.off(self.product + self.offset, np.abs(self.product) + np.abs(self.offset))
        size = float(np.hypot(_rms(self.product), _rms(self.offset)))
        return rounding.forget(a, size), size


class _Normalized(NamedTuple):
    """What a normalization makes of a stream and of its change; `left` is the change before it is divided."""

    u: Array
    change: Array | None
    left: Array | None

    def loses(self, change: Array | None, slopes: Array | float = 1.0) -> bool:
        """Whether nearly all of a change is removed, so that what is left is rounding."""
        if self.left is None or change is None:
            return False
        return bool(_rms(slopes * self.left) < LEAST_KEPT * _rms(change) * _rms(np.asarray(slopes)))


def _normalize(
    stream: _Stream,
    a: Array,
    size: float,
    change: Array | None,
    normalization: str,
    epsilon: float,
    rounding: Rounding,
) -> _Normalized:
    """(a - mean) / sqrt(var + epsilon), as its definition reads, with the derivative at it."""
    axis, centered = 0 if normalization == "batch" else 1, a
    if normalization == "batch":  # the offset of a unit is in its mean over samples, and cancels
        centered = rounding.forget(stream.product - stream.means, size)
    elif normalization == "layer":
        centered = a - rounding.off(a.mean(axis=1, keepdims=True), np.abs(a).mean(axis=1, keepdims=True), 2.0)
    spread = np.sqrt(np.mean(centered**2, axis, keepdims=True) + epsilon)
    u = np.where(spread > 0, centered / spread, 0.0)
    if change is None:
        return _Normalized(u, None, None)
    along = u * np.mean(u * change, axis, keepdims=True)
    left = change - along
    if normalization != "rms":
        left = left - change.mean(axis, keepdims=True)
    terms = np.abs(change) + np.abs(along) + _rms(change)
    return _Normalized(u, np.where(spread > 0, rounding.off(left, terms, 4.0) / spread, 0.0), left)


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
    if _rms(psi) < 2.0**10 * np.sqrt(FLUSHED) * unit:  # under normalization no scale is carried, and squares underflow
        psi = rounding.flush(psi, np.sqrt(FLUSHED) * unit)
    slopes = rounding.off(slopes, np.abs(slopes), EVALUATION_ROUNDOFFS)
    if not everywhere:  # there, slopes are computed anew, however small
        slopes = rounding.off(slopes, activation.max_slope, EVALUATION_ROUNDOFFS)
    return psi, rounding.flush(slopes, FLUSHED)


def _columns(a: Array, centered: Array, psi: Array, at_zero: float) -> dict[str, float]:
    """centered: a less the means of its units over samples. psi: the response, phi less at_zero."""
    layer = LayerArrays(a, psi, at_zero, deviations=centered)
    return {name: DEFINITIONS[name](layer) for name in OF_SIGNALS}


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
