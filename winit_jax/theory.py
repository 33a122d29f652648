"""Mean-field theory: what infinitely wide networks of i.i.d. weights do, in float64.

Weights of variance weight_var / fan_in, biases of variance bias_var, q the mean square pre-activation:
    length map        q' = weight_var V(q) + bias_var
    correlation map   c' = (weight_var C(q, c) + bias_var) / q'
    growth            chi = weight_var D(q), of the mean square of a small difference or a gradient, a layer
with the Gaussian averages V, C and D of `moments`.
Source: Poole et al. 2016 (arXiv:1606.05340), Schoenholz et al. 2017 (arXiv:1611.01232).
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from winit_jax import moments
from winit_jax.activations import Activation
from winit_jax.moments import Array

# Where q is looked for, as log10: beyond it has vanished or exploded.
LEAST, GREATEST, STEP = -18.0, 11.0, 0.05
# log10 q' - log10 q below this is rounding.
STILL = 1e-11
GAINS = np.geomspace(0.01, 100.0, 161)


def length_map(q: Array, activation: Activation, weight_var: Array | float, bias_var: Array | float) -> Array:
    """Mean square pre-activation one layer on, at infinite width.

    q' = weight_var * E[phi(sqrt(q) z)^2] + bias_var,  z ~ N(0, 1)

    Shapes: q of any shape; same shape out. Errors: none; q < 0 gives NaN.
    Source: Poole et al. 2016, arXiv:1606.05340.
    """
    return weight_var * moments.moments(activation, np.asarray(q)).second + bias_var


def chi(q: Array, activation: Activation, weight_var: Array | float) -> Array:
    """Growth of the mean square of a small difference through one layer: weight_var * E[phi'(sqrt(q) z)^2].

    Shapes: q of any shape; same shape out. Source: Poole et al. 2016, arXiv:1606.05340.
    """
    return weight_var * moments.moments(activation, np.asarray(q)).slope


def correlation_map(
    c: Array, q: Array, activation: Activation, weight_var: Array | float, bias_var: Array | float
) -> Array:
    """Correlation of the pre-activations of two inputs one layer on, both of mean square q.

    c' = (weight_var * E[phi(u1) phi(u2)] + bias_var) / q',  u1, u2 ~ N(0, q) of correlation c

    Shapes: c and q of shape [N]; [N] out. Source: Poole et al. 2016, arXiv:1606.05340.
    """
    c, q = np.broadcast_arrays(np.asarray(c, np.float64), np.asarray(q, np.float64))
    covariance = moments.kernel(activation, q).covariance(c)
    return (weight_var * covariance + bias_var) / length_map(q, activation, weight_var, bias_var)


class FixedPoint(NamedTuple):
    """Where deep networks end. Arrays of one shape.

    q: mean square pre-activation, 0 where the signal vanishes, inf where it explodes. c: correlation of two
    inputs, NaN where the map keeps any (a linear regime). chi1: chi at q. xi_q, xi_c: layers in which a
    distance of q and of c from there falls by a factor e, inf at criticality, NaN where q explodes.
    """

    q: Array
    c: Array
    chi1: Array
    xi_q: Array
    xi_c: Array


def fixed_point(
    activation: Activation, weight_var: Array | float, bias_var: Array | float, start: Array | float = 1.0
) -> FixedPoint:
    """The fixed point that repeated maps reach from q = start and two different inputs.

    weight_var, bias_var, start: broadcast against each other. Source: Schoenholz et al. 2017, arXiv:1611.01232.
    """
    shape = np.broadcast_shapes(np.shape(weight_var), np.shape(bias_var), np.shape(start))
    w, b, first = (np.broadcast_to(np.asarray(x, np.float64), shape).ravel() for x in (weight_var, bias_var, start))
    q = _fixed_length(activation, w, b, first)
    at = _inside(q)
    kernel = moments.kernel(activation, at)
    found = kernel.moments
    b_at = np.where(np.isinf(q), 0.0, b)
    length = w * found.second + b_at
    chi1 = w * found.slope

    def correlate(c: Array) -> Array:
        return (w * kernel.covariance(c) + b_at) / length

    with np.errstate(divide="ignore", invalid="ignore"):
        at_one = np.where(length > 0, chi1 * at / length, np.nan)  # slope of the correlation map at c = 1
        c = np.where(at_one > 1 + 1e-9, _fixed_correlation(correlate, len(w)), 1.0)
        middle = correlate(np.full(len(w), 0.5))
        c = np.where((np.abs(middle - 0.5) < 1e-9) | (length == 0), np.nan, c)
        slope_c = np.where(c < 1, w * at * kernel.slope_covariance(np.nan_to_num(c)) / length, at_one)
        # Where q explodes the kernel is that of a homogeneous function, which forgets inputs by a power law.
        xi_c = np.where(np.isnan(c) | np.isinf(q), np.inf, _depth(slope_c))
        xi_q = np.where(np.isinf(q), np.nan, _depth(np.abs(w * found.second_slope)))
    return FixedPoint(*(np.asarray(x).reshape(shape) for x in (q, c, chi1, xi_q, xi_c)))


def _depth(slope: Array) -> Array:
    """-1 / log(slope): inf at 1, 0 at 0."""
    with np.errstate(divide="ignore"):
        return np.where(np.abs(slope - 1) < 1e-9, np.inf, -1 / np.log(slope))


@lru_cache(maxsize=64)
def _table(activation: Activation) -> tuple[Array, Array]:
    """(log10 q, log10 V) on the grid that fixed points are looked for on."""
    log10_q = np.arange(LEAST, GREATEST + STEP / 2, STEP)
    with np.errstate(divide="ignore"):
        return log10_q, np.log10(moments.moments(activation, 10**log10_q).second)


def _fixed_length(activation: Activation, w: Array, b: Array, start: Array) -> Array:
    """The first q, in the direction of the first step from `start`, that the length map keeps: [N]."""
    log10_q, log10_second = _table(activation)
    with np.errstate(divide="ignore", over="ignore"):
        step = np.log10(w[:, None] * 10**log10_second + b[:, None]) - log10_q  # [N, grid]
    begin = np.clip(np.rint((np.log10(start) - LEAST) / STEP).astype(int), 0, len(log10_q) - 1)
    rows = np.arange(len(w))
    rising = step[rows, begin] > 0
    index = np.arange(len(log10_q))
    # Up: the first grid point at or above the start where q falls; down: the last one below where it rises.
    above = (step < -STILL) & (index >= begin[:, None]) & rising[:, None]
    below = (step > STILL) & (index <= begin[:, None]) & ~rising[:, None]
    up, down = np.argmax(above, axis=1), len(index) - 1 - np.argmax(below[:, ::-1], axis=1)
    found = above.any(axis=1) | below.any(axis=1)
    low = np.where(rising, np.maximum(up - 1, 0), down)
    high = np.where(rising, up, np.minimum(down + 1, len(index) - 1))
    q = np.where(rising, np.inf, 0.0)
    still = np.abs(step[rows, begin]) <= STILL
    q = np.where(still, start, q)
    solve = found & ~still
    if solve.any():
        q[solve] = 10 ** _newton(activation, w[solve], b[solve], log10_q[low[solve]], log10_q[high[solve]])
    return q


def _newton(activation: Activation, w: Array, b: Array, low: Array, high: Array) -> Array:
    """log10 of the root of q' - q between low and high (log10), where q' > q at low and q' < q at high.

    Newton's method in log q, kept in the bracket.
    """
    x = (low + high) / 2
    left = np.arange(len(x))
    for _ in range(40):
        q = 10 ** x[left]
        found = moments.moments(activation, q)
        after = w[left] * found.second + b[left]
        step = np.log10(after) - x[left]
        low[left], high[left] = np.where(step > 0, x[left], low[left]), np.where(step > 0, high[left], x[left])
        slope = w[left] * found.second_slope * q / after - 1
        with np.errstate(divide="ignore", invalid="ignore"):
            moved = x[left] - step / slope
        inside = (moved > low[left]) & (moved < high[left])
        moved = np.where(inside, moved, (low[left] + high[left]) / 2)
        moving = np.abs(moved - x[left]) > 1e-13 * np.maximum(np.abs(moved), 1)
        x[left] = moved
        left = left[moving]
        if not len(left):
            break
    return x


def _fixed_correlation(correlate, count: int) -> Array:
    """The stable fixed point below 1 of a map that is steeper than 1 there: [count], by bisection."""
    low, high = np.zeros(count), np.full(count, 1 - 1e-7)
    none = correlate(low) < 1e-13  # nothing correlates uncorrelated inputs
    for _ in range(50):
        middle = (low + high) / 2
        rises = correlate(middle) > middle
        low, high = np.where(rises, middle, low), np.where(rises, high, middle)
    return np.where(none, 0.0, (low + high) / 2)


class Critical(NamedTuple):
    """gain: at which chi1 passes through 1; NaN if there is none, and then `reason` says why."""

    gain: float
    reason: str


@lru_cache(maxsize=256)
def critical_gain(activation: Activation, bias_std: float = 0.0) -> Critical:
    """The gain at which small differences and gradients neither shrink nor grow in deep networks.

    Looked for between 0.01 and 100, for inputs of mean square 1. Where several would do, the least.
    """
    gains = GAINS
    q, chi1 = _deep(activation, gains, bias_std)
    crossings = np.flatnonzero((chi1[:-1] < 1) & (chi1[1:] >= 1))
    if not len(crossings):
        below = bool(chi1[0] < 1)
        best = int(np.argmax(chi1) if below else np.argmin(chi1))
        side, bound = ("below", "greatest") if below else ("above", "least")
        return Critical(
            np.nan,
            f"chi1 stays {side} 1 for gains from {gains[0]:g} to {gains[-1]:g}; its {bound} value there is "
            f"{chi1[best]:.4g}, at gain {gains[best]:.3g}.",
        )
    at = crossings[0] + 1
    for _ in range(9):
        gains = np.geomspace(gains[at - 1], gains[at], 17)
        q, chi1 = _deep(activation, gains, bias_std)
        at = max(1, int(np.argmax(chi1 >= 1)))
    if chi1[at] - chi1[at - 1] > 1e-6:
        names = {0.0: "vanish", np.inf: "explode"}
        ends = [names.get(float(x), f"settle at q* = {x:.4g}") for x in (q[at - 1], q[at])]
        return Critical(
            np.nan,
            f"chi1 jumps over 1, from {chi1[at - 1]:.4g} to {chi1[at]:.4g} at gain {gains[at]:.6g}: below it signals "
            f"{ends[0]}, above it they {ends[1]}, and nothing lies between.",
        )
    return Critical(float(gains[at]), "")


def _deep(activation: Activation, gains: Array, bias_std: float) -> tuple[Array, Array]:
    """(q*, chi1) for inputs of mean square 1."""
    weight_var, bias_var = gains**2, np.full(len(gains), bias_std**2)
    q = _fixed_length(activation, weight_var, bias_var, weight_var + bias_var)
    return q, chi(_inside(q), activation, weight_var)


def _inside(q: Array) -> Array:
    """q with 0 and inf replaced by the ends of the grid, where averages have their limits."""
    return np.where(q == 0, 10**LEAST, np.where(np.isinf(q), 10**GREATEST, q))


class Prediction(NamedTuple):
    """What mean field says of each layer: arrays of [layers, N]; definitions in docs/definitions.md."""

    log10_act_rms: Array
    input_correlation: Array
    log10_jacobian: Array
    chi: Array


def propagate(
    activation: Activation, log10_weight_var: Array, log10_bias_var: Array, log10_q: Array, c: Array, layers: int
) -> Prediction:
    """Layer by layer from the first pre-activations.

    log10_weight_var, log10_bias_var: of the hidden layers, -inf for 0. log10_q, c: mean square and correlation of
    the first pre-activations. All of shape [N]; logarithms, so that no scale is out of reach.
    log10_jacobian = 1/2 sum log10 chi(q_k), k < l.
    """
    log10_w, log10_b, x, c = (np.asarray(v, np.float64) for v in (log10_weight_var, log10_bias_var, log10_q, c))
    rows: list[tuple[Array, ...]] = []
    grown = np.zeros(len(x))
    state = _State(activation)
    with np.errstate(divide="ignore", invalid="ignore"):
        for _ in range(layers):
            log10_second, log10_slope, ratio = state.at(x, c)
            log10_chi = log10_w + log10_slope
            rows.append((0.5 * log10_second, c, grown, 10**log10_chi))
            grown = grown + 0.5 * log10_chi
            from_weights = log10_w + log10_second
            largest = np.maximum(from_weights, log10_b)
            sum_of_both = 10 ** (from_weights - largest) + 10 ** (log10_b - largest)
            x = np.where(np.isinf(largest), largest, largest + np.log10(sum_of_both))
            share = 10 ** (from_weights - x)  # of the weights in q'
            c = np.where(np.isinf(x), np.nan, share * ratio + (1 - share))
    return Prediction(*(np.stack(parts) for parts in zip(*rows, strict=True)))


def from_inputs(
    activation: Activation,
    first_std: Array,
    hidden_gain: Array,
    bias_std: Array,
    square: float,
    correlation: float,
    layers: int,
) -> Prediction:
    """`propagate` from the inputs themselves.

    first_std: of the first layer's weights, hidden_gain: std * sqrt(width) of the others', bias_std: all [N].
    square: mean over inputs of |x|^2; correlation: mean x_i . x_j over that, of distinct inputs.
    """
    with np.errstate(divide="ignore"):
        log10_weights = 2 * np.log10(np.asarray(first_std, np.float64)) + np.log10(square)
        log10_bias = 2 * np.log10(np.asarray(bias_std, np.float64))
        log10_hidden = 2 * np.log10(np.asarray(hidden_gain, np.float64))
    largest = np.maximum(log10_weights, log10_bias)
    with np.errstate(invalid="ignore"):
        log10_q = np.where(
            np.isinf(largest),
            largest,
            largest + np.log10(10 ** (log10_weights - largest) + 10 ** (log10_bias - largest)),
        )
        share = 10 ** (log10_weights - log10_q)
    c = share * correlation + (1 - share)
    return propagate(activation, log10_hidden, log10_bias, log10_q, c, layers)


class _State:
    """V, D and C / V at each layer; what belongs to a q that no longer moves is kept."""

    def __init__(self, activation: Activation) -> None:
        self.activation = activation
        self.q = np.zeros(0)

    def at(self, log10_q: Array, c: Array) -> tuple[Array, Array, Array]:
        """(log10 V, log10 D, C / V) at q and c, beyond the grid by the degrees of phi."""
        act = self.activation
        clipped = np.clip(log10_q, LEAST, GREATEST)
        q = 10**clipped
        if self.q.shape != q.shape or np.any(np.abs(q - self.q) > 1e-13 * q):
            self.q = q
            self.kernel = moments.kernel(act, q)
        found = self.kernel.moments
        near, far = act.degree_at_zero or 1, max(act.degree_at_infinity or (1, 1))
        beyond = np.nan_to_num(log10_q - clipped, neginf=-np.inf)
        degree = np.where(beyond < 0, 0 if act.at_zero else near, far)
        second = np.log10(found.second) + np.where(beyond == 0, 0.0, degree * beyond)
        slope_degree = np.where(beyond < 0, near - 1, far - 1 if far else -0.5)
        slope = np.log10(found.slope) + np.where((beyond == 0) | (slope_degree == 0), 0.0, slope_degree * beyond)
        return second, slope, self.kernel.covariance(c) / found.second
