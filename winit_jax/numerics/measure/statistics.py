"""Activations to numbers: one layer of one network into sums, and sums into the columns of a table.

`measure` runs on the device in float32. Every sum of squares is taken about the mean of its unit,
which is known before the pass (the mean of a product is the product of the mean), so nothing cancels
when mean >> std. `columns` runs on the host in float64 and puts the carried scale back.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from winit_jax.numerics.activations import Activation
from winit_jax.numerics.folding import over_samples, total
from winit_jax.numerics.scaled import Scaled, log10_root, power_of_two, root_exponent
from winit_jax.numerics.signals import Argument, Preactivation, Signal, common_exponent, unscaled

# Counts below this share a float32 sum: 4095 + 4096 * 4095 < 2^24.
SIDE_BY_SIDE = 4096


class OfStream(NamedTuple):
    """What the pre-activations of one layer of one network leave behind: scalars, float32 unless said.

    m_j is the mean over rows of unit j; a bar is the mean over units. All at scale 2^exponent (int32).
    at_positions, along_positions: as `within`, about the means over samples at each position and about those over the
    positions of each sample; None where there is one position.
    """

    exponent: jax.Array
    mean: jax.Array  # m bar
    between: jax.Array  # sum_j (m_j - m bar)^2
    within: jax.Array  # sum_ij (a_ij - m_j)^2, at scale 4^(exponent + within_exponent)
    within_exponent: jax.Array
    at_positions: jax.Array | None = None
    along_positions: jax.Array | None = None


class OfResponse(NamedTuple):
    """What the response psi of one layer leaves behind, likewise.

    h_j is the mean over rows of unit j. All at scale 2^exponent, but a negative `least` response at 2^left_exponent.
    """

    exponent: jax.Array
    left_exponent: jax.Array
    mean: jax.Array  # h bar
    between: jax.Array  # sum_j (h_j - h bar)^2
    within: jax.Array  # sum_ij (psi_ij - h_j)^2
    rows: jax.Array  # sum_i (sum_j (psi_ij - h bar))^2
    least: jax.Array
    least_argument: jax.Array  # the least u where `activation.lower` is to be told from it, else 0
    most: jax.Array
    saturated: jax.Array  # int32 count of (row, unit) pairs
    dead: jax.Array  # int32 count of units
    zero: jax.Array  # int32 count of pairs


class Sums(NamedTuple):
    """What one layer of one network leaves behind. response: zeros where there is no phi."""

    stream: OfStream
    response: OfResponse


class Moments(NamedTuple):
    """What one pass over a response leaves, [rows, units], at its own scale.

    means: [units], h_j. within: sum_ij (psi_ij - h_j)^2. rows: [rows], sum_j psi_ij. least_argument: the least u, None
    where nobody asks. saturated: int32 [units], rows in which each unit is. zero: int32.
    """

    means: jax.Array
    within: jax.Array
    rows: jax.Array
    least: jax.Array
    most: jax.Array
    least_argument: jax.Array | None
    saturated: jax.Array
    zero: jax.Array


def _count(mask: jax.Array) -> jax.Array:
    """How many samples of each unit: int32 [width]. Exact: float32 counts to 2^24 samples."""
    return jnp.sum(over_samples(jnp.where(mask, 1.0, 0.0)), axis=0).astype(jnp.int32)


def _count_both(left: jax.Array, right: jax.Array) -> tuple[jax.Array, jax.Array]:
    """`_count` of two masks, in one pass where both counts fit float32's 24 bits side by side."""
    if left.shape[0] >= SIDE_BY_SIDE:
        return _count(left), _count(right)
    packed = jnp.where(left, 1.0, 0.0) + jnp.where(right, float(SIDE_BY_SIDE), 0.0)
    both = jnp.sum(over_samples(packed), axis=0).astype(jnp.int32)
    return both % SIDE_BY_SIDE, both // SIDE_BY_SIDE


def measure_stream(preactivation: Preactivation, removes: str = "", positions: int = 1) -> OfStream:
    """The sums of the pre-activations, [samples x positions, width]. removes: see `Normalization.removes`."""
    distinct = None
    if removes == "product":
        assert preactivation.distinct is not None
        apart = preactivation.distinct
        distinct = apart.offset - jnp.mean(apart.offset)
        distinct *= power_of_two(apart.exponent - preactivation.exponent)
    product, scale = preactivation.product, preactivation.scale
    within = total(jnp.square(product - preactivation.product_mean))
    found = stream_of(preactivation, within, distinct)
    if positions > 1:
        laid = product.reshape(-1, positions, product.shape[1])
        by_position, by_sample = (
            total(jnp.square(laid - jnp.mean(laid, axis=axis, keepdims=True)).reshape(product.shape)) for axis in (0, 1)
        )
        at_positions, along_positions = (jnp.square(scale.value) * part for part in (by_position, by_sample))
        found = found._replace(at_positions=at_positions, along_positions=along_positions)
    return found


def stream_of(preactivation: Preactivation, within: jax.Array, distinct: jax.Array | None = None) -> OfStream:
    """The sums of pre-activations but for those of positions, from `within`: sum_ij (product_ij - its mean_j)^2.

    distinct: m_j - m bar where that is known better than from the means, [width].
    """
    means, scale = preactivation.unit_mean, preactivation.scale
    mean = jnp.mean(means)
    return OfStream(
        exponent=preactivation.exponent,
        mean=mean,
        between=jnp.sum(jnp.square(means - mean if distinct is None else distinct)),
        within=jnp.square(scale.value) * within,
        within_exponent=scale.exponent,
    )


def measure_response(
    argument: Argument,
    response: jax.Array,
    exponents: tuple[jax.Array, jax.Array],
    activation: Activation,
    saturation_threshold: float,
) -> tuple[Signal, OfResponse]:
    """The sums of a response psi(argument), [rows, units], and it as a signal. exponents: (left, right)."""
    samples = response.shape[0]
    least = jnp.min(over_samples(response, jnp.minimum))
    most = jnp.max(over_samples(response, jnp.maximum))
    means = jnp.sum(over_samples(response), axis=0) / samples
    within = total(jnp.square(response - means))
    ones = jnp.ones(response.shape[1], response.dtype)
    rows = jnp.matmul(response, ones, precision="highest")
    least_argument = None
    if activation.lower is not None:
        least_argument = jnp.min(over_samples(argument.value, jnp.minimum))
    saturated, zero = _count_both(
        activation.is_saturated(argument.value, unscaled(response, argument), saturation_threshold),
        activation.is_zero(argument.value, response),
    )
    found = Moments(means, within, rows, least, most, least_argument, saturated, jnp.sum(zero))
    return summed_up(found, response, argument.exponent, exponents)


def summed_up(
    found: Moments, response: jax.Array, exponent_of_argument: jax.Array, exponents: tuple[jax.Array, jax.Array]
) -> tuple[Signal, OfResponse]:
    """The sums of a response, and it as a signal, from its moments. exponents: (left, right)."""
    samples, units = response.shape
    left, right = exponents
    exponent = common_exponent(exponents, lambda: jnp.maximum(-found.least, found.most))
    mean = jnp.mean(found.means)
    between = jnp.sum(jnp.square(found.means - mean))
    least_argument = jnp.float32(0.0)
    if found.least_argument is not None:
        least_argument = found.least_argument * power_of_two(exponent_of_argument)
    sums = OfResponse(
        exponent=exponent,
        left_exponent=jnp.where(left < right, left, exponent),
        mean=mean,
        between=between,
        within=found.within,
        rows=jnp.sum(jnp.square(found.rows - units * mean)),
        least=found.least,
        least_argument=least_argument,
        most=found.most,
        saturated=jnp.sum(found.saturated),
        dead=jnp.sum((found.saturated == samples).astype(jnp.int32)),
        zero=found.zero,
    )
    mean_square = found.within / response.size + between / units + jnp.square(mean)
    return Signal(Scaled(response, exponent), found.means, root_exponent(mean_square)), sums


def no_response() -> OfResponse:
    """Where a layer has no phi: zeros."""
    whole = {"exponent", "left_exponent", "saturated", "dead", "zero"}
    return OfResponse(**{name: jnp.int32(0) if name in whole else jnp.float32(0) for name in OfResponse._fields})


def preactivation_mean_square(sums: OfStream, rows: int, width: int) -> jax.Array:
    """Mean of a^2 over [rows, width] from the sums of a layer, at scale 4^exponent."""
    within = sums.within * power_of_two(2 * sums.within_exponent)
    return within / (rows * width) + sums.between / width + jnp.square(sums.mean)


def count_nonfinite(response: jax.Array) -> jax.Array:
    """How many entries of [samples, width] are NaN or infinite: int32."""
    return jnp.sum(_count(~jnp.isfinite(response)))


def count_histogram(response: jax.Array, exponents: tuple[jax.Array, jax.Array], edges: jax.Array) -> jax.Array:
    """Counts below edges[0], in each bin, above edges[-1], and of what is not finite: int32 [bins + 3].

    edges: [bins + 1], of the true response; exponents: of negative and of positive responses.
    Bins are [low, high), the last one closed, as in NumPy.
    """
    # Edges move to the response's scale, where they may underflow to 0 or overflow to infinity.
    scaled = edges
    shift = jnp.clip(-jnp.where(edges < 0, *exponents), -378, 378)
    for part in (shift // 3, (shift + 1) // 3, (shift + 2) // 3):
        scaled = scaled * power_of_two(part)
    finite = jnp.sum(_count(jnp.isfinite(response)))
    below_infinity = response < jnp.inf
    at_least = jax.lax.map(lambda edge: jnp.sum(_count((response >= edge) & below_infinity)), scaled)
    above = jnp.sum(_count((response > scaled[-1]) & below_infinity))
    starts = jnp.concatenate([finite[None], at_least[:-1], above[None]])
    counts = starts - jnp.concatenate([starts[1:], jnp.zeros(1, starts.dtype)])
    return jnp.concatenate([counts, (response.size - finite)[None]])


def columns(
    sums: Sums,
    nonfinite: np.ndarray,
    tangent: Scaled | None,
    *,
    samples: int,
    width: int,
    activation: Activation,
    positions: int = 1,
    inner_width: int | None = None,
    log10_scale: np.ndarray | float = 0.0,
    log10_jacobian_scale: np.ndarray | float = 0.0,
) -> dict[str, np.ndarray]:
    """The measured columns, in float64 and at true scale.

    sums, nonfinite, tangent: arrays of one shape (any). tangent: mean squares; without them there is no
    log10_jacobian.
    activation: what responses are of. inner_width: of those, where phi is inside of blocks; else the width.
    log10_scale: broadcast against them, the scale of a network relative to the one
    measured (positively homogeneous activations), and log10_jacobian_scale likewise that of its Jacobian.
    Definitions: docs/definitions.md. A ratio whose denominator is 0 is NaN (no signal, no direction);
    so is what one unit, one sample or one position cannot define.
    """
    stream: Any = OfStream._make(None if x is None else np.asarray(x, np.float64) for x in sums.stream)
    response: Any = OfResponse._make(np.asarray(x, np.float64) for x in sums.response)
    broken = nonfinite > 0
    of_response = _of_response(response, samples * positions, inner_width or width, activation, log10_scale)
    pairs = samples * positions * (inner_width or width)
    measured = _of_stream(stream, samples, positions, width, log10_scale)
    measured |= {name: np.where(broken, np.nan, values) for name, values in of_response.items()}
    measured["nonfinite"] = nonfinite / pairs
    if tangent is not None:
        measured["log10_jacobian"] = log10_root(tangent, log10_jacobian_scale)
    shape = np.broadcast_shapes(measured["log10_preact_rms"].shape, np.shape(log10_scale))
    return {name: np.broadcast_to(value, shape) for name, value in measured.items()}


def _of_stream(
    s: Any, samples: int, positions: int, width: int, log10_scale: np.ndarray | float
) -> dict[str, np.ndarray]:
    """The columns of the pre-activations."""
    rows = samples * positions
    pairs = rows * width

    def true(sum_of_squares: np.ndarray) -> np.ndarray:
        scaled: np.ndarray = np.ldexp(sum_of_squares, np.clip(2 * s.within_exponent, -5000, 5000).astype(np.int32))
        return scaled

    with np.errstate(all="ignore"):
        unit = _unit(s.exponent, log10_scale)
        units_square = s.between + width * s.mean**2  # sum_j m_j^2
        within = true(s.within)
        within = within if rows > 1 else np.zeros_like(within)
        square = within + rows * units_square  # sum_ij a_ij^2
        variance = within / pairs + s.between / width
        # 1 - c from the centered sum, which keeps its digits where c is nearly 1.
        centered = within if s.at_positions is None else true(s.at_positions)
        decorrelation = _ratio(samples * centered, (samples - 1) * square)
        if samples == 1:
            decorrelation = np.full_like(square, np.nan)
        columns = {
            "preact_mean": _times(unit, s.mean),
            "preact_std": _times(unit, np.sqrt(variance)),
            "log10_preact_rms": 0.5 * np.log10(square / pairs) + s.exponent * np.log10(2) + log10_scale,
            "input_correlation": np.maximum(1 - decorrelation, -1 / max(1, samples - 1)),
            "input_decorrelation": decorrelation,
        }
        if s.along_positions is not None:
            apart = _ratio(positions * true(s.along_positions), (positions - 1) * square)
            columns["position_similarity"] = np.maximum(1 - apart, -1 / (positions - 1))
    return columns


def _of_response(
    s: Any, samples: int, width: int, activation: Activation, log10_scale: np.ndarray | float
) -> dict[str, np.ndarray]:
    """The columns of the activations, [samples, width]."""
    pairs, at_zero = samples * width, activation.at_zero
    with np.errstate(all="ignore"):
        unit = _unit(s.exponent, log10_scale)
        left_unit = np.where(s.least < 0, _unit(s.left_exponent, log10_scale), unit)

        # Sums of psi, at its own scale; phi = at_zero + unit * psi.
        variance = s.within / pairs + s.between / width
        response_square = variance + s.mean**2
        least = at_zero + _times(left_unit, s.least)
        if activation.lower is not None:
            least = np.where(s.least_argument < 0, activation.lower(s.least_argument), least)
        # What float32 has rounded out of phi's range, or a mean beyond the extremes.
        least = np.clip(least, activation.lowest, activation.highest)
        most = np.clip(at_zero + _times(unit, s.most), least, activation.highest)
        mean = np.clip(at_zero + _times(unit, s.mean), least, most)
        log10_rms = 0.5 * np.log10(response_square) + s.exponent * np.log10(2) + log10_scale
        mean_square, square_of_mean, rows = response_square, s.mean**2, s.rows
        if at_zero:
            total = unit**2 * variance + mean**2
            held = np.isfinite(total)
            log10_rms = np.where(held, 0.5 * np.log10(total), log10_rms)
            mean_square = np.where(held, total, mean_square)
            square_of_mean = np.where(held, mean**2, square_of_mean)
            rows = np.where(held, unit**2 * rows, rows)
        # sum_i (sum_j h_ij)^2 - sum h^2, with rows about their mean: where all h are nearly 0 the parts cancel.
        between_units = rows + pairs * (width * square_of_mean - mean_square)
        of_phi = {
            "act_mean": mean,
            "act_std": _times(unit, np.sqrt(variance)),
            "act_min": least,
            "act_max": most,
            "log10_act_rms": log10_rms,
            "saturated": s.saturated / pairs,
            "dead": s.dead / width,
            "zero": s.zero / pairs,
            "unit_similarity": _similarity(between_units, pairs * mean_square, width),
        }
    return of_phi


def _similarity(products: np.ndarray, squares: np.ndarray, count: int) -> np.ndarray:
    """products / ((count - 1) squares), within the bounds that hold but for rounding: 1 and -1 / (count - 1)."""
    if count == 1:
        return np.full(np.shape(products), np.nan)
    similarity: np.ndarray = np.clip(_ratio(products, (count - 1) * squares), -1 / (count - 1), 1)
    return similarity


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return np.where(denominator == 0, np.nan, numerator / denominator)


def _unit(exponent: np.ndarray, log10_scale: np.ndarray | float) -> np.ndarray:
    """2^exponent * 10^log10_scale, the two joined before either can overflow alone."""
    whole, rest = np.divmod(np.asarray(log10_scale) * np.log2(10), 1)
    unit: np.ndarray = np.ldexp(np.exp2(rest), np.clip(exponent + whole, -5000, 5000).astype(np.int32))
    return unit


def _times(unit: np.ndarray, x: np.ndarray) -> np.ndarray:
    """unit * x, with inf * 0 = 0: what is exactly 0 is so at any scale."""
    return np.where(x == 0, 0.0, unit * x)
