"""Mean-field theory at infinite width: length and correlation maps, their fixed points, and signals by depth.

Networks a_l = h_{l-1} W_l + b_l, h_l = phi(a_l), weights of variance weight_var / fan_in and biases of
variance bias_var. q is the mean square of pre-activations, c the correlation of those of two inputs.
Sources: Poole et al. 2016, arXiv:1606.05340; Schoenholz et al. 2017, arXiv:1611.01232.

Everything here is float64 NumPy on the host; the averages come from `winit_jax.moments`.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import jax
import numpy as np

from winit_jax.activations import Activation
from winit_jax.closed_forms import Averages, closed_form
from winit_jax.moments import (
    LARGEST,
    SMALLEST,
    Series,
    averages,
    averages_inside,
    clip,
    covariance,
    mean_square_slope,
    second_moment,
    series,
    sum_series,
)

Number = np.ndarray | float

# Differences of logarithms below this are rounding: a map that moves q by less leaves it where it is.
STILL = 1e-13
# Gains within which a critical one is looked for, and how many are tried before bisection.
GAINS, N_GAINS = (0.01, 100.0), 401
# Rows of `propagate` held at once: their coefficients take 4 MiB.
BLOCK = 1024


class FixedPoint(NamedTuple):
    """Where lengths and correlations end up; arrays of one shape.

    q: mean square pre-activation; 0 where signals vanish, inf where they explode.
    c: correlation of two inputs; 1 where they become alike.
    chi1: weight_var E[phi'(u)^2], u ~ N(0, q): the factor of mean square gradients from layer to layer.
    xi_q, xi_c: layers in which the distance from q and from c changes by a factor e, 1 / |log(slope of
        the map)|; inf where the slope is 1.
    """

    q: np.ndarray
    c: np.ndarray
    chi1: np.ndarray
    xi_q: np.ndarray
    xi_c: np.ndarray


class CriticalGain(NamedTuple):
    """gain: sqrt(weight_var) where chi1 passes through 1, NaN if nowhere; reason: "" or one sentence why."""

    gain: float
    reason: str


class Propagation(NamedTuple):
    """Infinite-width signals by layer; float64 [layers, N].

    log10_act_rms: log10 sqrt(E[phi(u)^2]), u ~ N(0, q_l).
    input_correlation: correlation of two inputs' pre-activations.
    log10_jacobian: log10 of the RMS singular value of da_l / da_1; 0 at layer 1.
    chi: weight_var E[phi'(u)^2] at the layer.
    """

    log10_act_rms: np.ndarray
    input_correlation: np.ndarray
    log10_jacobian: np.ndarray
    chi: np.ndarray


def length_map(q: Number, activation: Activation, weight_var: Number, bias_var: Number) -> np.ndarray:
    """Mean square pre-activation one layer on.

    q' = weight_var E[phi(sqrt(q) z)^2] + bias_var,  z ~ N(0, 1)

    Shapes: broadcast. Units: mean squares; weights have variance weight_var / fan_in.
    Source: Poole et al. 2016, eq. 3.
    Errors: none; q < 0 gives NaN.
    """
    return weight_var * second_moment(activation, q) + bias_var


def chi(q: Number, activation: Activation, weight_var: Number) -> np.ndarray:
    """Factor of mean square gradients from layer to layer: weight_var E[phi'(sqrt(q) z)^2]; shapes broadcast."""
    return weight_var * mean_square_slope(activation, q)


def correlation_map(c: Number, q: Number, activation: Activation, weight_var: Number, bias_var: Number) -> np.ndarray:
    """Correlation of two inputs' pre-activations one layer on, both of mean square q.

    c' = (weight_var E[phi(u1) phi(u2)] + bias_var) / (weight_var E[phi(u1)^2] + bias_var),
    u1, u2 ~ N(0, q) of correlation c

    Shapes: broadcast; 0 < q < inf.
    Source: Poole et al. 2016, eq. 5, at equal lengths.
    Errors: none; 0 / 0 (no weights and no biases) gives NaN.
    """
    c, q, weight_var, bias_var = np.broadcast_arrays(c, q, weight_var, bias_var)
    second = weight_var * second_moment(activation, q)
    both = weight_var * covariance(activation, q, c)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = (np.where(c == 1, second, both) + bias_var) / (second + bias_var)
    return np.clip(ratio, -1, 1)


# --- Fixed points


def fixed_point(activation: Activation, weight_var: Number, bias_var: Number, start: float = 1.0) -> FixedPoint:
    """Where q, repeatedly mapped from `start`, ends up, and the correlation of two inputs there.

    q: the nearest fixed point of the length map in the direction of its first step, which is where
        repetition leads whenever E[phi(u)^2] grows with q (true of every activation in the table).
    c: 1 where the slope of the correlation map at c = 1 is at most 1 (chi1 <= 1), else its one fixed point
        in [0, 1): all its Taylor coefficients are positive, so it is convex.
    Where q is 0 or inf, c and xi_c are those of the map in that limit (where q itself shrinks like the
    covariance, correlations may stay: slope 1, xi_c inf).

    Shapes: weight_var and bias_var broadcast; arrays of that shape.
    Source: Schoenholz et al. 2017, eqs. 5 to 9.
    Errors: none.
    """
    weight_var, bias_var = np.broadcast_arrays(np.asarray(weight_var, float), np.asarray(bias_var, float))
    shape = weight_var.shape
    weight_var, bias_var = weight_var.ravel(), bias_var.ravel()
    q = _fixed_length(activation, weight_var, bias_var, start)
    known = averages(activation, q)
    state = _State(activation, clip(activation, q)[0])
    with np.errstate(all="ignore"):
        signal = weight_var * known.second
        share = np.where(bias_var == 0, 1.0, np.where(np.isinf(signal), 1.0, signal / (signal + bias_var)))
    c = np.ones(q.size)
    split = state.map_correlation(c, share)[1] > 1 + STILL
    lower, upper = np.zeros(q.size), np.where(split, 1 - 2.0**-52, 1.0)
    for _ in range(60):
        middle = (lower + upper) / 2
        above = state.map_correlation(middle, share)[0] > middle
        lower, upper = np.where(above, middle, lower), np.where(above, upper, middle)
    at_zero = state.map_correlation(np.zeros(q.size), share)[0] <= 0
    c = np.where(split, np.where(at_zero, 0.0, (lower + upper) / 2), 1.0)
    slope = state.map_correlation(c, share)[1]
    found = q, c, weight_var * known.slope_second, _layers(weight_var * known.growth), _layers(slope)
    return FixedPoint(*(values.reshape(shape) for values in found))


def _layers(slope: np.ndarray) -> np.ndarray:
    """1 / |log(slope)|, inf where the slope is 1 up to rounding."""
    with np.errstate(all="ignore"):
        rate = np.abs(np.log(np.abs(slope)))
        return np.where(rate <= STILL, np.inf, 1 / rate)


@lru_cache(maxsize=64)
def _length_grid(activation: Activation) -> tuple[np.ndarray, np.ndarray]:
    """log q, dense where phi is evaluated and sparse where powers hold, and E[phi^2] there."""
    low, high = math.log10(SMALLEST), math.log10(LARGEST)
    decades = [np.arange(-300, low, 1.0), np.arange(low, high, 0.05), np.arange(high, 301, 1.0)]
    log_q = np.concatenate(decades) * math.log(10)
    with np.errstate(over="ignore"):
        return log_q, second_moment(activation, np.exp(log_q))


def _fixed_length(activation: Activation, weight_var: np.ndarray, bias_var: np.ndarray, start: float) -> np.ndarray:
    """The q of `fixed_point`; [n] in and out. Solves step(q) = log q' - log q = 0 with a bracket."""

    def step(log_q: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        q = np.exp(log_q)
        known = averages(activation, q)
        mapped = weight_var[rows] * known.second + bias_var[rows]
        with np.errstate(all="ignore"):
            return np.log(mapped) - log_q, weight_var[rows] * known.growth * q / mapped - 1

    every = np.arange(weight_var.size)
    first = step(np.full(every.size, math.log(start)), every)[0]
    grid, second = _length_grid(activation)
    q = np.full(every.size, float(start))
    lower, upper = np.full(every.size, np.nan), np.full(every.size, np.nan)
    with np.errstate(all="ignore"):
        for i in np.flatnonzero(np.abs(first) > STILL):
            steps = np.log(weight_var[i] * second + bias_var[i]) - grid
            if first[i] > 0:
                turned = np.flatnonzero((grid > math.log(start)) & (steps < -STILL))
                q[i] = np.inf
                if turned.size:
                    upper[i], lower[i] = grid[turned[0]], max(math.log(start), grid[turned[0] - 1])
            else:
                turned = np.flatnonzero((grid < math.log(start)) & (steps > STILL))
                q[i] = 0.0
                if turned.size:
                    lower[i], upper[i] = grid[turned[-1]], min(math.log(start), grid[turned[-1] + 1])
    rows = np.flatnonzero(~np.isnan(lower))
    log_q = (lower + upper) / 2
    for _ in range(80):  # Newton, halving the bracket where it would leave it
        if not rows.size:
            break
        value, slope = step(log_q[rows], rows)
        lower[rows] = np.where(value > 0, log_q[rows], lower[rows])
        upper[rows] = np.where(value > 0, upper[rows], log_q[rows])
        with np.errstate(all="ignore"):
            new = log_q[rows] - value / slope
        inside = (new > lower[rows]) & (new < upper[rows])
        new = np.where(value == 0, log_q[rows], np.where(inside, new, (lower[rows] + upper[rows]) / 2))
        moved = np.abs(new - log_q[rows])
        log_q[rows] = new
        q[rows] = np.exp(new)
        rows = rows[moved > 2e-16 * np.maximum(1, np.abs(new))]
    return q


@lru_cache(maxsize=256)
def critical_gain(activation: Activation, bias_std: float) -> CriticalGain:
    """The gain, sqrt(weight_var), at which chi1 at the fixed point reached from q = 1 passes through 1.

    Looked for on gains from 0.01 to 100, to 1e-10; the first is given if there are several. A jump of chi1
    across 1, where the fixed point itself jumps or is lost, is no critical gain.
    Errors: none; without one, `gain` is NaN and `reason` says why.
    """

    def at(gains: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        weight_var = np.square(gains)
        q = _fixed_length(activation, weight_var, np.full(gains.shape, bias_std**2), 1.0)
        return weight_var * mean_square_slope(activation, q), q

    gains = np.geomspace(*GAINS, N_GAINS)
    chis, lengths = at(gains)
    # Below its critical gain an unbiased tanh has chi1 = gain^2, above it 1 + O((gain - 1)^2): count 1 as above.
    above = chis > 1 - STILL
    reasons = []
    for i in np.flatnonzero(above[1:] != above[:-1]):
        low, high = gains[i], gains[i + 1]
        while high - low > 1e-12 * high:
            middle = (low + high) / 2
            if (at(np.array([middle]))[0][0] > 1 - STILL) == above[i]:
                low = middle
            else:
                high = middle
        before, after = at(np.array([low, high]))[0]
        if abs(after - before) < 1e-3:
            return CriticalGain(float((low + high) / 2), "")
        # A little off the jump, where q = 1 may itself be a fixed point, though not one to stay at.
        (before, after), (q_before, q_after) = at(np.array([low * (1 - 1e-9), high * (1 + 1e-9)]))
        reasons.append(
            f"{activation.name} with bias std {bias_std:g} has no critical gain: from q = 1 on, chi1 jumps "
            f"at gain {high:.6g} from {before:.4g}, where signals {_fate(q_before)}, to {after:.4g}, "
            f"where signals {_fate(q_after)}."
        )
    if reasons:
        return CriticalGain(math.nan, reasons[0])
    side, extreme = ("above", int(np.argmin(chis))) if above[0] else ("below", int(np.argmax(chis)))
    which = "smallest" if above[0] else "largest"
    return CriticalGain(
        math.nan,
        f"{activation.name} with bias std {bias_std:g} has no critical gain: chi1 stays {side} 1 at gains from "
        f"{GAINS[0]:g} to {GAINS[1]:g}; it is {which}, {chis[extreme]:.4g}, at gain {gains[extreme]:.4g}, where "
        f"signals {_fate(lengths[extreme])}.",
    )


def _fate(q: float) -> str:
    if q == 0:
        return "vanish"
    return "explode" if math.isinf(q) else f"settle at pre-activation std {math.sqrt(q):.4g}"


# --- Layer by layer


class _State:
    """Averages and, without a closed form, Hermite coefficients at q of [n], none of them in need of scaling."""

    def __init__(self, activation: Activation, q: np.ndarray):
        self.form = closed_form(activation)
        self.activation = activation
        self.q = q.copy()
        self.series: Series | None = None if self.form else series(activation, self.q)
        self.averages: Averages = self.series.averages if self.series else averages_inside(activation, self.q)

    def move(self, q: np.ndarray) -> None:
        """Go to new q; what has not moved, up to rounding, is not computed again."""
        moved = np.abs(q - self.q) > 1e-15 * self.q
        if np.any(moved):
            new = _State(self.activation, q[moved])
            old_leaves = jax.tree.leaves((self.q, self.averages, self.series))
            new_leaves = jax.tree.leaves((new.q, new.averages, new.series))
            for kept, fresh in zip(old_leaves, new_leaves, strict=True):
                kept[moved] = fresh

    def map_correlation(self, c: np.ndarray, share: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The correlation map, and its slope, where weights make up `share` of the mean square; [n] each."""
        if self.form is not None:
            value, slope = self.form.covariance(self.q, c), self.form.slope_covariance(self.q, c)
        else:
            assert self.series is not None
            value, slope = sum_series(self.series, c, np.arange(c.size))
        second = self.averages.second
        mapped = np.where(c == 1, 1.0, 1 - share * (1 - value / second))
        slope = np.where(c == 1, self.averages.slope_second, slope)
        return np.clip(mapped, -1, 1), share * self.q * slope / second


def propagate(
    activation: Activation,
    log10_weight_var: Number,
    log10_bias_var: Number,
    log10_q1: Number,
    c1: Number,
    layers: int,
) -> Propagation:
    """Signals of infinitely wide networks, layer by layer.

    q_{l+1} = length_map(q_l), c_{l+1} = correlation_map(c_l, q_l), jacobian_l = prod_{k<l} sqrt(chi(q_k))

    log10_weight_var, log10_bias_var, log10_q1 (mean square pre-activation of layer 1), c1: [N], or numbers;
        the first three may be -inf (0) and far outside float64's own range.
    Shapes: [layers, N] each.
    Errors: none; no weights and no biases give NaN correlations. Kinks of an activation by import path
        that are not at 0 cost digits (see `winit_jax.moments`).
    """
    given = np.broadcast_arrays(*np.atleast_1d(log10_weight_var, log10_bias_var, log10_q1, c1))
    start = np.array(given, np.float64)
    found = Propagation(*np.empty((4, layers, start.shape[1])))
    for first in range(0, start.shape[1], BLOCK):
        part = slice(first, first + BLOCK)
        _propagate_block(activation, start[:, part], Propagation(*(values[:, part] for values in found)))
    return found


def from_inputs(
    activation: Activation,
    first_std: np.ndarray,
    hidden_gain: np.ndarray,
    bias_std: np.ndarray,
    square: float,
    correlation: float,
    layers: int,
) -> Propagation:
    """`propagate` from the inputs themselves.

    first_std: of the first layer's weights, hidden_gain: std * sqrt(width) of the others', bias_std: all [N].
    square: mean over inputs of |x|^2; correlation: mean x_i . x_j over that, of distinct inputs.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        log10_weights = 2 * np.log10(np.asarray(first_std, np.float64)) + np.log10(square)
        log10_bias = 2 * np.log10(np.asarray(bias_std, np.float64))
        log10_hidden = 2 * np.log10(np.asarray(hidden_gain, np.float64))
        log10_q = _log10_sum(log10_weights, log10_bias)
        share = np.where(np.isinf(log10_q), np.nan, 10.0 ** (log10_weights - log10_q))
    c = share * correlation + (1 - share)
    return propagate(activation, log10_hidden, log10_bias, log10_q, c, layers)


def _propagate_block(activation: Activation, start: np.ndarray, found: Propagation) -> None:
    """`propagate` for a few points: start is [4, n], found is written to."""
    log_weight, log_bias, log_q, c = start
    state: _State | None = None
    jacobian = np.zeros(c.size)
    with np.errstate(all="ignore"):
        for layer in range(found.chi.shape[0]):
            inside, degrees = clip(activation, 10.0**log_q)
            if state is None:
                state = _State(activation, inside)
            else:
                state.move(inside)
            beyond = log_q - np.log10(inside)
            log_second = np.log10(state.averages.second) + _times(degrees.second, beyond)
            log_chi = log_weight + np.log10(state.averages.slope_second) + _times(degrees.slope_second, beyond)
            found.log10_act_rms[layer] = 0.5 * log_second
            found.input_correlation[layer] = c
            found.log10_jacobian[layer] = jacobian
            found.chi[layer] = 10.0**log_chi
            jacobian = jacobian + 0.5 * log_chi
            signal = log_weight + log_second
            log_q = _log10_sum(signal, log_bias)
            c = state.map_correlation(c, 10.0 ** (signal - log_q))[0]


def _times(degree: np.ndarray, logarithm: np.ndarray) -> np.ndarray:
    # 0 * -inf is 0 here, but what is not known stays so.
    return np.where((degree == 0) & ~np.isnan(logarithm), 0.0, degree * logarithm)


def _log10_sum(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """log10(10^a + 10^b) without overflow; exactly a where b is -inf."""
    high, low = np.maximum(a, b), np.minimum(a, b)
    return np.where(low == -np.inf, high, high + np.log1p(10.0 ** (low - high)) / math.log(10))
