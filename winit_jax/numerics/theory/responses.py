"""Averages over an activation, kept from layer to layer, for what follows lengths and correlations."""

import math
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from winit_jax.numerics.activations import Activation
from winit_jax.numerics.theory.closed_forms import Averages, closed_form
from winit_jax.numerics.theory.moments import Series, averages_inside, clip, series, sum_series

# Correlations nearer to 1 than this are mapped by slopes: there, differences of averages have few digits.
NEAR = 1e-5


class Covariance(NamedTuple):
    """Of phi and phi' at two correlated arguments, over those at c = 1; [n] each.

    value: E[phi phi] / E[phi^2]. apart: 1 - value, with all its digits. slope: E[phi' phi'] / E[phi'^2].
    """

    value: np.ndarray
    apart: np.ndarray
    slope: np.ndarray


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

    def covary(self, c: np.ndarray, apart: np.ndarray) -> "Covariance":
        """Of phi and of its slopes at correlation c, for apart = 1 - c with all its digits; [n] each."""
        if self.form is not None:
            value, slope = self.form.covariance(self.q, c), self.form.slope_covariance(self.q, c)
        else:
            assert self.series is not None
            value, slope = sum_series(self.series, c, np.arange(c.size))
        second, slope_second = self.averages.second, self.averages.slope_second
        slope = np.where(c == 1, slope_second, slope)
        # 1 - V(c) / V(1) is the mean of q S / V(1) over [c, 1]; at a kink in phi S falls like sqrt(1 - c).
        near = self.q * apart * (slope_second + 2 * slope) / (3 * second)
        return Covariance(value / second, np.where(apart < NEAR, near, 1 - value / second), slope / slope_second)


class Responses:
    """The averages of one activation at the arguments of one place in a network, layer after layer."""

    def __init__(self, activation: Activation):
        self.activation = activation
        self.state: CorrelationState | None = None
        self.log10_second = self.log10_slope_second = np.empty(0)

    def at(self, log10_q: np.ndarray) -> CorrelationState:
        """Move to mean squares of arguments, [n]; sets log10_second and log10_slope_second there."""
        inside, degrees = clip(self.activation, 10.0**log10_q)
        if self.state is None:
            self.state = CorrelationState(self.activation, inside)
        else:
            self.state.move(inside)
        beyond = log10_q - np.log10(inside)
        averages = self.state.averages
        self.log10_second = np.log10(averages.second) + _times(degrees.second, beyond)
        self.log10_slope_second = np.log10(averages.slope_second) + _times(degrees.slope_second, beyond)
        return self.state


def _times(degree: np.ndarray, logarithm: np.ndarray) -> np.ndarray:
    # 0 * -inf is 0 here, but NaN stays NaN.
    return np.where((degree == 0) & ~np.isnan(logarithm), 0.0, degree * logarithm)


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
