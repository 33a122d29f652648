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


class Sums(NamedTuple):
    """What one layer of one network leaves behind: scalars, float32 unless said.

    m_j is the mean over samples of unit j's pre-activation, h_j that of its response; a bar is the mean
    over units. preact_* are at scale 2^preact_exponent, response_* at 2^exponent (all int32), but
    a negative response_min at 2^left_exponent.
    """

    preact_exponent: jax.Array
    preact_mean: jax.Array  # m bar
    preact_between: jax.Array  # sum_j (m_j - m bar)^2
    preact_within: jax.Array  # sum_ij (a_ij - m_j)^2, at scale 4^(preact_exponent + within_exponent)
    within_exponent: jax.Array
    exponent: jax.Array
    left_exponent: jax.Array
    response_mean: jax.Array  # h bar
    response_between: jax.Array  # sum_j (h_j - h bar)^2
    response_within: jax.Array  # sum_ij (psi_ij - h_j)^2
    response_rows: jax.Array  # sum_i (sum_j (psi_ij - h bar))^2
    response_min: jax.Array
    least: jax.Array  # the least u where `activation.lower` is to be told from it, else 0
    response_max: jax.Array
    saturated: jax.Array  # int32 count of (sample, unit) pairs
    dead: jax.Array  # int32 count of units
    zero: jax.Array  # int32 count of pairs


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


def measure(
    preactivation: Preactivation,
    argument: Argument,
    response: jax.Array,
    exponents: tuple[jax.Array, jax.Array],
    activation: Activation,
    saturation_threshold: float,
    removes: str = "",
) -> tuple[Signal, Sums]:
    """The sums of one layer, and the signal that the next layer reads.

    response: psi(argument), [samples, width]; exponents: (left, right). removes: see `Normalization.removes`.
    """
    samples = response.shape[0]
    left, right = exponents
    response_min = jnp.min(over_samples(response, jnp.minimum))
    response_max = jnp.max(over_samples(response, jnp.maximum))
    exponent = common_exponent(exponents, lambda: jnp.maximum(-response_min, response_max))

    preact_means = preactivation.unit_mean
    preact_mean = jnp.mean(preact_means)
    units = preact_means - preact_mean
    if removes == "product":
        distinct = preactivation.distinct
        assert distinct is not None
        units = distinct.offset - jnp.mean(distinct.offset)
        units *= power_of_two(distinct.exponent - preactivation.exponent)
    product_within = total(jnp.square(preactivation.product - preactivation.product_mean))

    means = jnp.sum(over_samples(response), axis=0) / samples
    mean = jnp.mean(means)
    within = total(jnp.square(response - means))
    between = jnp.sum(jnp.square(means - mean))
    ones = jnp.ones(response.shape[1], response.dtype)
    rows = jnp.matmul(response, ones, precision="highest") - response.shape[1] * mean
    least = jnp.float32(0.0)
    if activation.lower is not None:
        least = jnp.min(over_samples(argument.value, jnp.minimum)) * power_of_two(argument.exponent)

    saturated, zero = _count_both(
        activation.is_saturated(argument.value, unscaled(response, argument), saturation_threshold),
        activation.is_zero(argument.value, response),
    )
    sums = Sums(
        preact_exponent=preactivation.exponent,
        preact_mean=preact_mean,
        preact_between=jnp.sum(jnp.square(units)),
        preact_within=jnp.square(preactivation.scale.value) * product_within,
        within_exponent=preactivation.scale.exponent,
        exponent=exponent,
        left_exponent=jnp.where(left < right, left, exponent),
        response_mean=mean,
        response_between=between,
        response_within=within,
        response_rows=jnp.sum(jnp.square(rows)),
        response_min=response_min,
        response_max=response_max,
        least=least,
        saturated=jnp.sum(saturated),
        dead=jnp.sum((saturated == samples).astype(jnp.int32)),
        zero=jnp.sum(zero),
    )
    mean_square = within / response.size + between / response.shape[1] + jnp.square(mean)
    return Signal(Scaled(response, exponent), means, root_exponent(mean_square)), sums


def preactivation_mean_square(sums: Sums, samples: int, width: int) -> jax.Array:
    """Mean of a^2 over [samples, width] from the sums of a layer, at scale 4^preact_exponent."""
    within = sums.preact_within * power_of_two(2 * sums.within_exponent)
    return within / (samples * width) + sums.preact_between / width + jnp.square(sums.preact_mean)


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
    log10_scale: np.ndarray | float = 0.0,
    log10_jacobian_scale: np.ndarray | float = 0.0,
) -> dict[str, np.ndarray]:
    """The measured columns, in float64 and at true scale.

    sums, nonfinite, tangent: arrays of one shape (any). tangent: mean squares; without them there is no
    log10_jacobian.
    activation: what responses are of. log10_scale: broadcast against them, the scale of a network relative to the one
    measured (positively homogeneous activations), and log10_jacobian_scale likewise that of its Jacobian.
    Definitions: docs/definitions.md. A ratio whose denominator is 0 is NaN (no signal, no direction);
    so is what one unit or one sample cannot define.
    """
    s: Any = Sums._make(np.asarray(x, dtype=np.float64) for x in sums)
    pairs, at_zero = samples * width, activation.at_zero
    with np.errstate(all="ignore"):
        preact_unit = _unit(s.preact_exponent, log10_scale)
        unit = _unit(s.exponent, log10_scale)
        left_unit = np.where(s.response_min < 0, _unit(s.left_exponent, log10_scale), unit)

        preact_units_square = s.preact_between + width * s.preact_mean**2  # sum_j m_j^2
        preact_within = np.ldexp(s.preact_within, np.clip(2 * s.within_exponent, -5000, 5000).astype(np.int32))
        preact_within = preact_within if samples > 1 else np.zeros_like(preact_within)
        preact_square = preact_within + samples * preact_units_square  # sum_ij a_ij^2
        preact_variance = preact_within / pairs + s.preact_between / width
        # 1 - c from the centered sum, which keeps its digits where c is nearly 1.
        decorrelation = _ratio(samples * preact_within, (samples - 1) * preact_square)

        # Sums of psi, at its own scale; phi = at_zero + unit * psi.
        variance = s.response_within / pairs + s.response_between / width
        response_square = variance + s.response_mean**2
        least = at_zero + _times(left_unit, s.response_min)
        if activation.lower is not None:
            least = np.where(s.least < 0, activation.lower(s.least), least)
        # What float32 has rounded out of phi's range, or a mean beyond the extremes.
        least = np.clip(least, activation.lowest, activation.highest)
        most = np.clip(at_zero + _times(unit, s.response_max), least, activation.highest)
        mean = np.clip(at_zero + _times(unit, s.response_mean), least, most)
        log10_rms = 0.5 * np.log10(response_square) + s.exponent * np.log10(2) + log10_scale
        mean_square, square_of_mean, rows = response_square, s.response_mean**2, s.response_rows
        if at_zero:
            total = unit**2 * variance + mean**2
            held = np.isfinite(total)
            log10_rms = np.where(held, 0.5 * np.log10(total), log10_rms)
            mean_square = np.where(held, total, mean_square)
            square_of_mean = np.where(held, mean**2, square_of_mean)
            rows = np.where(held, unit**2 * rows, rows)
        # sum_i (sum_j h_ij)^2 - sum h^2, with rows about their mean: where all h are nearly 0 the parts cancel.
        between_units = rows + pairs * (width * square_of_mean - mean_square)

        broken = nonfinite > 0
        measured = {
            "preact_mean": _times(preact_unit, s.preact_mean),
            "preact_std": _times(preact_unit, np.sqrt(preact_variance)),
            "act_mean": mean,
            "act_std": _times(unit, np.sqrt(variance)),
            "act_min": least,
            "act_max": most,
            "log10_act_rms": log10_rms,
            "saturated": s.saturated / pairs,
            "dead": s.dead / width,
            "zero": s.zero / pairs,
            "unit_similarity": _similarity(between_units, pairs * mean_square, width),
            "input_correlation": np.maximum(1 - decorrelation, -1 / max(1, samples - 1)),
            "input_decorrelation": decorrelation,
            "nonfinite": nonfinite / pairs,
        }
        if tangent is not None:
            measured["log10_jacobian"] = log10_root(tangent, log10_jacobian_scale)
    shape = np.broadcast_shapes(log10_rms.shape, np.shape(log10_scale))
    of_others = ("preact_", "input_", "nonfinite", "log10_jacobian")
    return {
        name: np.broadcast_to(np.where(broken & (not name.startswith(of_others)), np.nan, value), shape)
        for name, value in measured.items()
    }


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
