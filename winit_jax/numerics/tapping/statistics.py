"""What a tap measures of one array: few sums where it is computed, and columns of them afterwards, in float64.

Every reduction is a program of its own to XLA on CPU, and compiling them is most of what a probe takes. So a tap makes
about a dozen and no arithmetic of scalars. XLA on CPU writes what it reduces before it does; `folded` has it write a
part.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from winit_jax.numerics import narrow
from winit_jax.numerics.activations import Activation
from winit_jax.numerics.narrow import Lost
from winit_jax.numerics.scaled import exponent_of, power_of_two
from winit_jax.numerics.tapping.sites import Site

LOG10_2 = math.log10(2)
# Rows whose products give the effective rank: their Gram matrix costs less than a layer.
GRAM_ROWS = 128
# Parts of an array that are added entry by entry before anything is summed.
FOLDS = 8
# Counts of two kinds in one number, of fewer entries.
COUNT_STEP = 1 << 15
# Entries of a parameter that are read at once.
PIECE = 1 << 18
# Gradients are squared in these units, 2^-90, 1 and 2^90: the squares of one of them fit float32.
GRADIENT_EXPONENTS = np.array([-90, 0, 90])
# Sums of squares that lost nothing to the range of float32.
SAFE_SQUARES = (2.0**-100, 2.0**126)
# Of columns that say what a format lost: of signals, and of gradients.
PREFIXES = ("", "grad_")
Sums = dict[str, jax.Array]
Columns = dict[str, np.ndarray]


def as_matrix(x: jax.Array, units: Sequence[int]) -> jax.Array:
    """An array of any shape as [rows, units], float32; the rows in their order, the first axis the slowest."""
    axes = tuple(axis % x.ndim for axis in units)
    rows = [axis for axis in range(x.ndim) if axis not in axes]
    matrix: jax.Array = x.transpose(*rows, *axes).reshape(
        math.prod(x.shape[axis] for axis in rows), math.prod(x.shape[axis] for axis in axes)
    )
    return matrix.astype(jnp.float32)


def folded(
    x: jax.Array,
    term: Callable[[jax.Array], jax.Array] = lambda part: part,
    join: Callable[[jax.Array, jax.Array], jax.Array] = jnp.add,
) -> jax.Array:
    """`term` of the entries of x, joined pairwise over equal parts along its first axis: [rows / parts, ...].

    As many parts as FOLDS and the rows have in common. One loop that reads x once and writes no more than this.
    """
    terms = [term(part) for part in jnp.split(x, math.gcd(x.shape[0], FOLDS))]
    while len(terms) > 1:
        terms = [join(one, other) for one, other in zip(terms[::2], terms[1::2], strict=True)]
    return terms[0]


def sums_of(x: jax.Array, units: Sequence[int] = (), samples: int = 0) -> Sums:
    """The sums from which `columns_of` makes the columns of one signal.

    x: of any shape. units: its axes of units, all others are rows. samples: along the first axis, 0 if it has none.
    Entries are taken in units of 2^exponent, above all of them, and from `pivot`, their mean as float32 has it. Out:
    sums over the units of each row and over samples, of powers and counts over rows that are `folded`, and the Gram
    matrix of GRAM_ROWS rows or fewer, evenly spaced.
    """
    matrix = as_matrix(x, units)
    rows, n_units = matrix.shape
    # The powers of two of float32 end at 2^-126 and 2^127.
    exponent = jnp.clip(exponent_of(jnp.max(folded(matrix, jnp.abs, jnp.maximum))), -125, 126)
    y = matrix * power_of_two(-exponent)
    pivot = jnp.sum(folded(y)) / y.size
    centred = y - pivot
    sums = {
        "exponent": exponent,
        "pivot": pivot,
        "firsts": jnp.sum(centred, axis=1),
        "squares": jnp.sum(folded(centred, jnp.square), axis=1),
        "thirds": jnp.sum(folded(centred, lambda part: part * jnp.square(part)), axis=1),
        "fourths": jnp.sum(folded(centred, lambda part: jnp.square(jnp.square(part))), axis=1),
    }
    if n_units * FOLDS < COUNT_STEP:
        kinds = folded(matrix, lambda part: (part == 0) + (~jnp.isfinite(part)).astype(jnp.int32) * COUNT_STEP)
        sums["counts"] = jnp.sum(kinds, axis=1)
    else:
        sums["zeros"] = jnp.sum(folded(matrix, lambda part: (part == 0).astype(jnp.int32)), axis=1)
        sums["nonfinites"] = jnp.sum(folded(matrix, lambda part: (~jnp.isfinite(part)).astype(jnp.int32)), axis=1)
    if samples > 1 and rows % samples == 0:
        sums["of_samples"] = jnp.sum(centred.reshape(samples, -1), axis=0)
    if rows > 1 and n_units > 1:
        few = y[:: -(-rows // GRAM_ROWS)]
        sums["gram"] = jax.lax.dot_general(few, few, (((1,), (1,)), ((), ())), precision="highest")
    return sums


def columns_of(sums: Mapping[str, Any], n_units: int, samples: int) -> Columns:
    """The columns of a signal from its sums; axes in front of those of `sums_of`, as of a loop, are kept.

    mean, std: of all entries. log10_rms: log10 sqrt(mean x^2), whatever the scale. kurtosis: the fourth central moment
    over the squared variance, 3 of a normal. zero, nonfinite: shares. unit_similarity, input_correlation: as of a sweep
    (`measure.definitions`). effective_rank: (sum s^2)^2 / sum s^4 of the singular values s of GRAM_ROWS rows or fewer.
    Where an entry is not finite, all is NaN but that share.
    """
    given = {name: np.asarray(value, np.float64) for name, value in sums.items()}
    pivot, rows = given["pivot"], given["firsts"].shape[-1]
    size, scale = rows * n_units, 2.0 ** given["exponent"]
    first, second, third, fourth = (
        given[name].sum(axis=-1) / size for name in ("firsts", "squares", "thirds", "fourths")
    )
    if "counts" in given:
        zeros, nonfinites = given["counts"] % COUNT_STEP, given["counts"] // COUNT_STEP
    else:
        zeros, nonfinites = given["zeros"], given["nonfinites"]
    nonfinite = nonfinites.sum(axis=-1) / size
    with np.errstate(all="ignore"):
        mean, variance = pivot + first, np.maximum(second - first**2, 0.0)
        squares = variance + mean**2
        columns = {
            "mean": mean * scale,
            "std": np.sqrt(variance) * scale,
            "log10_rms": 0.5 * np.log10(squares) + np.where(squares > 0, given["exponent"] * LOG10_2, 0.0),
            "kurtosis": (fourth - 4 * first * third + 6 * first**2 * second - 3 * first**4) / variance**2,
            "zero": zeros.sum(axis=-1) / size,
        }
        if n_units > 1:
            of_units = np.sum((given["firsts"] + n_units * pivot[..., None]) ** 2, axis=-1)
            columns["unit_similarity"] = (of_units / (size * squares) - 1) / (n_units - 1)
        if "of_samples" in given:
            of_samples = np.sum((given["of_samples"] + samples * pivot[..., None]) ** 2, axis=-1)
            columns["input_correlation"] = (of_samples / (size * squares) - 1) / (samples - 1)
        if "gram" in given:
            trace = np.trace(given["gram"], axis1=-2, axis2=-1)
            columns["effective_rank"] = trace**2 / np.sum(given["gram"] ** 2, axis=(-2, -1))
    columns = {name: np.where(nonfinite == 0, value, np.nan) for name, value in columns.items()}
    return columns | {"nonfinite": nonfinite}


def sums_of_phi(u: jax.Array, h: jax.Array, phi: Activation | None, units: Sequence[int], threshold: float) -> Sums:
    """In how many rows each unit is saturated, as of a sweep; nothing where nothing is known of phi.

    u: the argument, h: the value of phi, in the same shape. Out: `flat`, [units].
    """
    if phi is None:
        return {}
    a = as_matrix(u, units)
    is_saturated = phi.is_saturated(a, as_matrix(h, units) - phi.at_zero, threshold)
    return {"flat": jnp.sum(folded(is_saturated, lambda part: part.astype(jnp.int32)), axis=0)}


def attention_entropy(weights: jax.Array) -> Sums:
    """The mean entropy of softmax's weights along the last axis over the logarithm of how many are not 0.

    Rows with one such weight have no choice and are left out; NaN where all are such.
    """
    weights = weights.astype(jnp.float32)
    seen = jnp.sum(weights > 0, axis=-1)
    terms = jnp.where(weights > 0, -weights * jnp.log(jnp.where(weights > 0, weights, 1)), 0)
    chooses = seen > 1
    share = jnp.sum(terms, axis=-1) / jnp.log(jnp.where(chooses, seen, 2).astype(jnp.float32))
    return {"attention_entropy": jnp.sum(jnp.where(chooses, share, 0)) / jnp.sum(chooses)}


def squares_of_gradient(cotangent: jax.Array) -> jax.Array:
    """Mean squares of a gradient in units of 2^GRADIENT_EXPONENTS: [3], and a 1 behind them for one that was."""
    flat = cotangent.astype(jnp.float32).reshape(-1)
    units = [np.float32(2.0**-exponent) for exponent in GRADIENT_EXPONENTS]
    squares = [jnp.sum(folded(flat * unit, jnp.square)) / flat.size for unit in units]
    return jnp.stack([*squares, jnp.float32(1)])


def log10_of_gradient(squares: Any) -> np.ndarray:
    """log10 of the RMS of a gradient from `squares_of_gradient`, [..., 4]: -inf where it is 0, NaN where none was."""
    squares = np.asarray(squares, np.float64)
    of_units, was = squares[..., :3], squares[..., 3] > 0
    usable = (of_units > SAFE_SQUARES[0]) & (of_units < SAFE_SQUARES[1])
    which = np.argmax(usable, axis=-1)[..., None]
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = 0.5 * np.log10(of_units) + GRADIENT_EXPONENTS * LOG10_2
    log10_rms = np.take_along_axis(logs, which, axis=-1)[..., 0]
    # Below all of them the finest units still say that it is not 0.
    log10_rms = np.where(usable.any(axis=-1), log10_rms, logs[..., 0])
    known: np.ndarray = np.where(was & np.isfinite(of_units[..., 2]), log10_rms, np.nan)
    return known


def columns_of_site(site: Site, sums: Mapping[str, Any], samples: int) -> Columns:
    """The columns of one site from its sums, of whatever library.

    Among those may be `gradient` as of `squares_of_gradient`, and counts of `narrow.Lost`, [..., 4], as `lost` and
    `grad_lost`.
    """
    columns = columns_of(sums, math.prod(site.shape[axis] for axis in site.units), samples)
    columns |= {name: np.asarray(sums[name]) for name in ("attention_entropy", "executed") if name in sums}
    if "flat" in sums:
        columns |= columns_of_phi(np.asarray(sums["flat"]), sums["firsts"].shape[-1])
    if "gradient" in sums:
        columns["log10_grad_rms"] = log10_of_gradient(sums["gradient"])
    for name, prefix in zip(("lost", "grad_lost"), PREFIXES, strict=True):
        if name in sums:
            columns |= columns_of_lost(np.asarray(sums[name]), prefix)
    return columns


def columns_of_lost(counts: Any, prefix: str = "") -> dict[str, Any]:
    """The columns of what was lost, from counts [..., 4]; NaN where nothing was other than 0."""
    return narrow.shares(Lost(*(counts[..., number] for number in range(len(Lost._fields)))), prefix)


def columns_of_phi(flat: np.ndarray, rows: int) -> Columns:
    """saturated, dead: the share of pairs of a row and a unit, and of units that are saturated in every row."""
    return {"saturated": flat.mean(axis=-1) / rows, "dead": np.mean(flat == rows, axis=-1)}


def columns_of_weights(weights: np.ndarray, gradient: np.ndarray | None = None) -> Columns:
    """The columns of a parameter: those of `columns_of` that one has, min, max, and log10_grad_rms.

    weights: of any shape and type, read in float64, a piece at a time. max_over_std: the largest distance from the mean
    in standard deviations. repeated: 1 where all slices along the first of three axes or more are equal, and one
    slice is not one number. Where an entry is not finite, all is NaN but that share.
    """
    size, flat = weights.size, np.ravel(weights)
    nonfinite = sum(np.count_nonzero(~np.isfinite(piece)) for piece in pieces(flat)) / size
    with np.errstate(all="ignore"):
        low, high = (np.float64(extreme(flat)) for extreme in (np.min, np.max))
        # In these units no fourth power leaves the range of float64, whatever the type of the weights.
        unit = max(abs(low), abs(high)) or np.float64(1)
        mean = sum(np.sum(piece / unit) for piece in pieces(flat)) / size
        moments = {
            power: sum(np.sum((piece / unit - mean) ** power) for piece in pieces(flat)) / size for power in (2, 4)
        }
        std = np.sqrt(moments[2])
        columns = {
            "mean": mean * unit,
            "std": std * unit,
            "log10_rms": 0.5 * np.log10(moments[2] + mean**2) + np.log10(unit),
            "kurtosis": moments[4] / moments[2] ** 2,
            "zero": np.float64(sum(np.count_nonzero(piece == 0) for piece in pieces(flat)) / size),
            "min": low,
            "max": high,
            "max_over_std": max(high / unit - mean, mean - low / unit) / std,
        }
    is_repeated = weights.ndim > 2 and weights.shape[0] > 1 and np.any(weights[0] != flat[0])
    is_repeated = is_repeated and all(np.array_equal(weights[0], one) for one in weights[1:])
    columns = {name: np.asarray(value if nonfinite == 0 else np.nan) for name, value in columns.items()}
    columns["log10_grad_rms"] = np.asarray(np.nan if gradient is None else log10_of_squares(np.ravel(gradient)))
    return columns | {"nonfinite": np.asarray(nonfinite), "repeated": np.asarray(float(is_repeated))}


def log10_of_squares(flat: np.ndarray) -> np.float64:
    """log10 of the RMS of an array in one axis: -inf where all is 0, NaN where it is not finite."""
    with np.errstate(all="ignore"):
        unit = np.float64(np.max(np.abs(flat)))
        if not unit > 0:
            return np.float64(np.log10(unit))
        squares = sum(np.sum(np.square(piece / unit)) for piece in pieces(flat)) / flat.size
        log10: np.float64 = 0.5 * np.log10(squares) + np.log10(unit)
    return log10 if np.isfinite(log10) else np.float64(np.nan)


def pieces(flat: np.ndarray) -> Iterator[np.ndarray]:
    """An array in one axis, a piece after the other in float64."""
    for start in range(0, flat.size, PIECE):
        yield flat[start : start + PIECE].astype(np.float64)
