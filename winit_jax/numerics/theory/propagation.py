"""Signals of infinitely wide networks, layer by layer, from the inputs on.

Everything is carried in logarithms, so that scales far outside float64 need no special case.
"""

import math
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from winit_jax.numerics.activations import Activation
from winit_jax.numerics.blocks import DENSE, Block
from winit_jax.numerics.scaled import log10_sum
from winit_jax.numerics.theory.closed_forms import Averages, closed_form
from winit_jax.numerics.theory.moments import Series, averages_inside, clip, series, sum_series

Number = np.ndarray | float

# Points that `propagate` handles together: their Hermite coefficients take 4 MiB.
BLOCK = 1024


class Propagation(NamedTuple):
    """Signals of infinitely wide networks by layer; float64 [layers, N] each.

    log10_act_rms: log10 sqrt(E[phi(u)^2]), u ~ N(0, q_l).
    input_correlation: correlation of two inputs' pre-activations.
    log10_jacobian: log10 of the RMS singular value of da_l / da_1; 0 at layer 1.
    chi: weight_var E[phi'(u)^2] + skip^2, u ~ N(0, q_l): what a layer multiplies the mean square of a small change by.
    """

    log10_act_rms: np.ndarray
    input_correlation: np.ndarray
    log10_jacobian: np.ndarray
    chi: np.ndarray


class Norm(NamedTuple):
    """A normalization in mean field, where layer and RMS normalization divide by sqrt(q + epsilon) alike.

    position: `pre`, before phi, or `post`, behind each block; "" for none. log10_epsilon: a number or [N].
    """

    position: str = ""
    log10_epsilon: Number = -math.inf

    def of(self, points: slice) -> "Norm":
        """That of some points."""
        epsilon = np.asarray(self.log10_epsilon)
        return self if epsilon.ndim == 0 else self._replace(log10_epsilon=epsilon[points])

    def log10_divisor(self, log10_q: np.ndarray, position: str) -> np.ndarray:
        """log10 of what the mean square of a stream is divided by there; 0 where nothing is normalized."""
        if self.position != position:
            return np.zeros_like(log10_q)
        return log10_sum(log10_q, np.broadcast_to(np.asarray(self.log10_epsilon, np.float64), log10_q.shape))


UNNORMALIZED = Norm()


class CorrelationState:
    """Averages at q [n], in the range that `clip` returns; without a closed form, also the Hermite coefficients.

    They are kept from layer to layer, because most q soon stop moving.
    """

    def __init__(self, activation: Activation, q: np.ndarray):
        self.form = closed_form(activation)
        self.activation = activation
        self.q = q.copy()
        self.series: Series | None = None if self.form else series(activation, self.q)
        self.averages: Averages = self.series.averages if self.series else averages_inside(activation, self.q)

    def move(self, q: np.ndarray) -> None:
        """Set new q [n]. Only rows whose q changed by more than rounding are computed again."""
        moved = np.abs(q - self.q) > 1e-15 * self.q
        if np.any(moved):
            new = CorrelationState(self.activation, q[moved])
            old_leaves = jax.tree.leaves((self.q, self.averages, self.series))
            new_leaves = jax.tree.leaves((new.q, new.averages, new.series))
            for kept, fresh in zip(old_leaves, new_leaves, strict=True):
                kept[moved] = fresh

    def map_correlation(
        self, c: np.ndarray, share: np.ndarray, kept: np.ndarray | float = 0.0
    ) -> tuple[np.ndarray, np.ndarray]:
        """(correlation one layer on, slope of that map) at c.

        share: the weights' part of the mean square. kept: that of a skip, which hands c on as it is. [n] each.
        """
        if self.form is not None:
            value, slope = self.form.covariance(self.q, c), self.form.slope_covariance(self.q, c)
        else:
            assert self.series is not None
            value, slope = sum_series(self.series, c, np.arange(c.size))
        second = self.averages.second
        mapped = np.where(c == 1, 1.0, 1 - share * (1 - value / second) - kept * (1 - c))
        slope = np.where(c == 1, self.averages.slope_second, slope)
        return np.clip(mapped, -1, 1), share * self.q * slope / second + kept


@lru_cache(maxsize=256)
def in_units(activation: Activation) -> tuple[Activation, float]:
    """(phi / factor, log10 factor); factor is 1 unless phi is homogeneous and its slopes' squares leave float64."""
    form = closed_form(activation)
    if form is None or form.sides is None:
        return activation, 0.0
    largest = max(map(abs, form.sides))
    if largest == 0 or 1e-70 < largest < 1e70:
        return activation, 0.0
    left, right = (side / largest for side in form.sides)

    def slope(a: jax.Array) -> jax.Array:
        return jnp.where(a > 0, right, left)

    unit = replace(activation, response=lambda a: a * slope(a), slope=slope, slope_of_response=None, max_slope=1.0)
    return unit, math.log10(largest)


def propagate(
    activation: Activation,
    log10_weight_var: Number,
    log10_bias_var: Number,
    log10_q1: Number,
    c1: Number,
    layers: int,
    block: Block = DENSE,
    log10_skip_square: Number = -math.inf,
    norm: Norm = UNNORMALIZED,
) -> Propagation:
    """Signals of infinitely wide networks, layer by layer, from the first layer's q and c.

    q_{l+1} = length_map(q_l), c_{l+1} = correlation_map(c_l, q_l), jacobian_l = prod_{k<l} sqrt(chi(q_k))
    for a dense block; other blocks have maps of their own (`Block.mean_field`).

    log10_weight_var, log10_bias_var, log10_q1, c1: [N], or numbers. q1 is the mean square pre-activation of layer 1, c1
        its correlation. The logarithms may be -inf, for 0, and the values may lie far outside float64's range.
    log10_skip_square: of the square of what the stream is multiplied by beside each block; -inf without a skip.
    norm: where and by what the stream is normalized.
    Shapes: [layers, N] each.
    Errors: none; no weights and no biases give NaN correlations. An activation given by import path loses accuracy
        at kinks away from 0 (see `winit_jax.numerics.theory.moments`).
    """
    columns = np.broadcast_arrays(*np.atleast_1d(log10_weight_var, log10_bias_var, log10_q1, c1, log10_skip_square))
    start = np.array(columns, np.float64)
    activation, factor = in_units(activation)
    start[0] += 2 * factor
    propagation = Propagation(*np.empty((4, layers, start.shape[1])))
    for first in range(0, start.shape[1], BLOCK):
        part = slice(first, min(first + BLOCK, start.shape[1]))
        of_part = Propagation(*(values[:, part] for values in propagation))
        _propagate_some(activation, start[:, part], block, norm.of(part), of_part)
    propagation.log10_act_rms[:] += factor
    return propagation


def from_inputs(
    activation: Activation,
    first_std: np.ndarray,
    hidden_gain: np.ndarray,
    bias_std: np.ndarray,
    square: float,
    correlation: float,
    layers: int,
    block: Block = DENSE,
    skip: np.ndarray | float = 0.0,
    branch: np.ndarray | float = 1.0,
    norm: Norm = UNNORMALIZED,
) -> Propagation:
    """`propagate`, with q1 and c1 of the first layer computed from the inputs.

    first_std: standard deviation of the first layer's weights. hidden_gain: std * sqrt(width) of all others.
    bias_std: standard deviation of the biases. [N] each. skip, branch: skip_scale and branch_scale, numbers or [N].
    norm: where and by what the stream is normalized.
    square: mean of |x|^2 over inputs. correlation: mean of x_i . x_j over distinct inputs, divided by `square`.
    Shapes and errors: as of `propagate`.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        log10_weights = 2 * np.log10(np.asarray(first_std, np.float64)) + np.log10(square)
        log10_bias = 2 * np.log10(np.asarray(bias_std, np.float64))
        log10_hidden = 2 * np.log10(np.asarray(hidden_gain, np.float64))
        log10_q = log10_sum(log10_weights, log10_bias)
        share = np.where(np.isinf(log10_q), np.nan, 10.0 ** (log10_weights - log10_q))
        log10_branch, log10_skip = (2 * np.log10(np.abs(np.asarray(scale, np.float64))) for scale in (branch, skip))
    c = share * correlation + (1 - share)
    of_block = (log10_hidden + log10_branch, log10_bias + log10_branch)
    return propagate(activation, *of_block, log10_q, c, layers, block, log10_skip, norm)


def _propagate_some(
    activation: Activation, start: np.ndarray, block: Block, norm: Norm, propagation: Propagation
) -> None:
    """`propagate` for n points: reads start, [5, n], and writes into `propagation`, [layers, n]."""
    log_weight, log_bias, log_q, c, log_skip = start
    state: CorrelationState | None = None
    jacobian = np.zeros(c.size)
    with np.errstate(all="ignore"):
        for layer in range(propagation.chi.shape[0]):
            divisor = norm.log10_divisor(log_q, "pre")
            log_u = log_q - divisor
            inside, degrees = clip(activation, 10.0**log_u)
            if state is None:
                state = CorrelationState(activation, inside)
            else:
                state.move(inside)
            beyond = log_u - np.log10(inside)
            log_second = np.log10(state.averages.second) + _times(degrees.second, beyond)
            log_chi = log_weight + np.log10(state.averages.slope_second) + _times(degrees.slope_second, beyond)
            propagation.log10_act_rms[layer] = 0.5 * log_second
            propagation.input_correlation[layer] = c
            propagation.log10_jacobian[layer] = jacobian
            following = block.mean_field(log_q, log_weight + log_second, log_bias, log_chi - divisor, log_skip)
            divisor = norm.log10_divisor(following.log10_q, "post")
            log10_jacobian = following.log10_jacobian - 0.5 * divisor
            propagation.chi[layer] = 10.0 ** (2 * log10_jacobian)
            jacobian = jacobian + log10_jacobian
            log_q = following.log10_q - divisor
            c = state.map_correlation(c, following.share, following.kept)[0]


def _times(degree: np.ndarray, logarithm: np.ndarray) -> np.ndarray:
    # 0 * -inf is 0 here, but NaN stays NaN.
    return np.where((degree == 0) & ~np.isnan(logarithm), 0.0, degree * logarithm)
