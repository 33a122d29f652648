"""One network in NumPy and float64, put together of the pieces of `numerics.naive` as the definitions read.

Every run and `winit doctor` hold a few layers of the fast pass against it (`comparison`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from winit_jax.columns.formats import Format
from winit_jax.numerics.blocks import DENSE, Block
from winit_jax.numerics.measure.definitions import DEFINITIONS, OF_PHI, OF_SIGNALS, LayerArrays
from winit_jax.numerics.naive import (
    FLUSHED,
    HIGHEST,
    LEAST_KEPT,
    Functions,
    Naive,
    NaiveBranch,
    NaiveResponse,
    NaiveSignal,
    NaiveStream,
    affine,
    functions_of,
    respond,
    rms,
)
from winit_jax.numerics.rounding import EXACT, Array, Rounding

__all__ = ["HIGHEST", "Functions", "NaiveScales", "Observed", "forward", "functions_of"]

# The weights and biases of a layer at each place of each update.
NaiveDraws = Sequence[Sequence[tuple[Array, Array]]]


class NaiveScales(NamedTuple):
    """Of one layer: the epsilon of its normalization, skip_scale, branch_scale and attention_gain."""

    epsilon: float = 1e-5
    skip: float = 0.0
    branch: float = 1.0
    sharpness: float = 1.0


class Observed(NamedTuple):
    """One row: the stem, or an update of a layer behind it.

    columns: by definition; those of phi only where there is one. masks: pairs (of units, for `dead`) whose share is a
    column. psi: of u, phi's argument; of the stream where the row has no phi. change: of the stream, None where it is
    not carried.
    """

    columns: dict[str, float]
    masks: dict[str, Array]
    u: Array
    psi: Array
    change: Array | None = None


def forward(
    x: Array,
    first: tuple[Array, Array],
    hidden: Sequence[NaiveDraws],
    functions: Functions,
    saturation_threshold: float = 0.05,
    normalization: str = "none",
    scales: Sequence[NaiveScales] = (NaiveScales(),),
    tangents: Array | None = None,
    rounding: Rounding = EXACT,
    block: Block = DENSE,
    norm_position: str = "pre",
    positions: int = 1,
    grid: tuple[int, int] | None = None,
    unit_variance: bool = False,
    to: Format | None = None,
) -> Iterator[Observed]:
    """What is measured of each row, one by one.

    log10_jacobian is NaN from where a normalization, or a product after it, removes nearly all of the tangents.
    x: [samples x positions, features]. first: weights and biases of the stem; hidden: of each layer behind it, at each
    place of each update. scales: of each layer, the stem's first; the last one holds for all that follow.
    tangents: directions at the first pre-activations. rounding: random errors on the way, by default none.
    norm_position: pre or post. unit_variance: whether each matrix is multiplied by what gives its products variance 1.
    to: the format that everything is rounded to, for functions of `narrow.whole`.
    """
    before, behind = (normalization, "none") if norm_position == "pre" else ("none", normalization)
    naive = Naive(functions, saturation_threshold, rounding, positions, grid, unit_variance=unit_variance, format=to)
    psi = naive.cast(np.asarray(x, dtype=np.float64))
    first = naive.weights(*first)
    tangents = None if tangents is None else naive.cast(tangents)
    psi = rounding.flush(rounding.off(psi, np.abs(psi)), FLUSHED * rms(psi))
    with np.errstate(all="ignore"):
        entered = naive.near(affine(NaiveSignal(psi), *first, naive))
        row = _Row(entered.stream, *entered.stream.together(rounding), tangents, False)
        responded = _read(row, scales[0], before, block, naive)
        yield _observed(row, responded, tangents, block.responds, entered, naive)
        for layer, draws in enumerate(hidden, start=1):
            of_layer = scales[min(layer, len(scales) - 1)]
            naive = replace(naive, sharpness=of_layer.sharpness)
            for update, of_update in zip(block.updates, draws, strict=True):
                at_zero = functions.activation.at_zero if block.responds else 0.0
                signal = NaiveSignal(responded.response.psi, at_zero, responded.change)
                added = naive.near(update.naive(signal, [naive.weights(*place) for place in of_update], naive))
                row = _add(row, responded.removed, added, of_layer, behind, naive)
                responded = _read(row, of_layer, before, block, naive)
                has_phi = block.responds or update.has_phi
                yield _observed(row, responded, tangents, has_phi, added, naive)


class _Row(NamedTuple):
    """A stream in parts and together, the size by which its scale is carried, its change, whether that is rounding."""

    stream: NaiveStream
    a: Array
    size: float
    change: Array | None
    removed: bool


class _Read(NamedTuple):
    """What updates read of a row: a response, which is the stream itself where they have their phi inside, its change,
    and whether that is rounding."""

    response: NaiveResponse
    change: Array | None
    removed: bool


def _add(
    below: _Row,
    removed: bool,
    added: NaiveBranch,
    scales: NaiveScales,
    behind: str,
    naive: Naive,
) -> _Row:
    """skip times the stream and branch times an update, with what normalization makes of both."""
    skip, branch = scales.skip, scales.branch
    if naive.format is not None:  # the multiple is a step by itself
        multiple = NaiveStream(*(branch * part for part in added.stream))
        changed = None if added.change is None else naive.cast(branch * added.change)
        added, branch = added._replace(stream=naive.near_stream(multiple), change=changed), 1.0
    stream = naive.near_stream(below.stream.add(skip, branch, added.stream, naive.rounding))
    a, size = stream.together(naive.rounding)
    change = below.change
    if added.change is not None and change is not None:
        removed |= added.lost
        change = naive.cast(branch * added.change + skip * change)
    if behind == "none":
        return _Row(stream, a, size, change, removed)
    normalized = _normalize(stream, a, size, change, behind, scales.epsilon, naive)
    removed |= normalized.loses(change)
    a = normalized.u
    parts = NaiveStream(a, a.mean(axis=0, keepdims=True), np.zeros(1))
    change = None if normalized.change is None else naive.cast(normalized.change)
    return _Row(parts, a, rms(a), change, removed)


def _read(row: _Row, scales: NaiveScales, before: str, block: Block, naive: Naive) -> _Read:
    """The response to a row and its change."""
    u, change, removed, slopes = row.a, row.change, row.removed, np.ones(1)
    normalized = None
    if before != "none":
        normalized = _normalize(row.stream, row.a, row.size, row.change, before, scales.epsilon, naive)
        u, change = normalized.u, normalized.change
    if block.responds:
        response = respond(naive.functions, u, row.size, naive.saturation_threshold, naive.rounding)
        response = response._replace(psi=naive.cast(response.psi))
        slopes = response.slopes
    else:
        response = NaiveResponse(u, u, slopes, u)
    if change is not None:
        if normalized is not None and not scales.skip:
            removed |= normalized.loses(row.change, slopes)
        change = naive.cast(slopes * change)
    return _Read(response, change, removed)


def _observed(
    row: _Row, read: _Read, tangents: Array | None, has_phi: bool, added: NaiveBranch | None, naive: Naive
) -> Observed:
    """What is measured of a row."""
    functions, activation = naive.functions, naive.functions.activation
    inner = None if added is None else added.inner
    response = read.response if inner is None else inner
    samples = len(row.a) // naive.positions
    deviations = row.stream.product - row.stream.means
    if naive.positions > 1:
        laid = row.stream.product.reshape(samples, naive.positions, -1)
        deviations = (laid - laid.mean(axis=0)).reshape(row.a.shape)
    layer = LayerArrays(row.a, response.psi, activation.at_zero, deviations=deviations, positions=naive.positions)
    columns = {name: DEFINITIONS[name](layer) for name in OF_SIGNALS if has_phi or name not in OF_PHI}
    masks = {}
    if has_phi:
        flat = np.abs(response.slopes) < naive.saturation_threshold * activation.max_slope
        masks = {"saturated": flat, "dead": flat.all(axis=0), "zero": functions.is_zero(response.seen, response.psi)}
    masks["nonfinite"] = ~np.isfinite(response.psi)
    if row.change is not None and tangents is not None:
        columns["log10_jacobian"] = np.nan if row.removed else np.log10(rms(row.change) / rms(tangents))
    if added is not None and added.entropy is not None:
        columns["attention_entropy"] = added.entropy
    if added is not None and added.factors:
        columns |= of_factors(np.array(added.factors))
    columns |= {name: mask.mean() for name, mask in masks.items()}
    return Observed(columns, masks, response.u, response.psi, row.change)


def of_factors(factors: Array) -> dict[str, Any]:
    """The columns of what weights were multiplied by, from the factors at each place of a row along the last axis.

    `lsuv_factor` is that of the last weights, `lsuv_inner_factor` the geometric mean of the others, NaN where there are
    none. Places that a row does not have are NaN.
    """
    there = np.isfinite(factors)
    last = np.sum(there, axis=-1, keepdims=True) - 1
    inner = there & (np.arange(factors.shape[-1]) < last)
    logs = np.sum(np.log(factors, where=inner, out=np.zeros_like(factors)), axis=-1)
    with np.errstate(invalid="ignore"):
        mean = np.exp(logs / np.where(last > 0, last, np.nan)[..., 0])
    return {"lsuv_factor": np.take_along_axis(factors, last, -1)[..., 0], "lsuv_inner_factor": mean}


class _Normalized(NamedTuple):
    """What a normalization makes of a stream and of its change; `left` is the change before it is divided."""

    u: Array
    change: Array | None
    left: Array | None

    def loses(self, change: Array | None, slopes: Array | float = 1.0) -> bool:
        """Whether nearly all of a change is removed, so that what is left is rounding."""
        if self.left is None or change is None:
            return False
        return bool(rms(slopes * self.left) < LEAST_KEPT * rms(change) * rms(np.asarray(slopes)))


def _normalize(
    stream: NaiveStream,
    a: Array,
    size: float,
    change: Array | None,
    normalization: str,
    epsilon: float,
    naive: Naive,
) -> _Normalized:
    """(a - mean) / sqrt(var + epsilon), as its definition reads, with the derivative at it."""
    axis, centered, rounding = 0 if normalization == "batch" else 1, a, naive.rounding
    if normalization == "batch":  # the offset of a unit is in its mean over samples, and cancels
        centered = rounding.forget(stream.product - stream.means, size)
    elif normalization == "layer":
        centered = a - rounding.off(a.mean(axis=1, keepdims=True), np.abs(a).mean(axis=1, keepdims=True), 2.0)
    spread = np.sqrt(np.mean(centered**2, axis, keepdims=True) + epsilon)
    u = naive.cast(np.where(spread > 0, centered / spread, 0.0))
    if change is None:
        return _Normalized(u, None, None)
    along = u * np.mean(u * change, axis, keepdims=True)
    left = change - along
    if normalization != "rms":
        left = left - change.mean(axis, keepdims=True)
    terms = np.abs(change) + np.abs(along) + rms(change)
    return _Normalized(u, np.where(spread > 0, rounding.off(left, terms, 4.0) / spread, 0.0), left)
