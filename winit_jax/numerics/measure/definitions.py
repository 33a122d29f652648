"""What is measured of a layer, as a text would define it: NumPy on the arrays of one layer, in float64.

`a` are pre-activations and `h = phi(a)` activations, both of [samples, units]; i counts samples, j units. The fast pass
computes the same columns in another way (`statistics`), and the self-check and the tests hold it against these.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from winit_jax.columns import MEASURED

Array = np.ndarray
NONE = np.empty((0, 0))


class LayerArrays(NamedTuple):
    """One layer of one network: all arrays of [samples, units]; those of phi have units of their own.

    response: h - at_zero, which keeps its digits where h is nearly phi(0). at_zero: phi(0), or 0 for a response of h
    itself. deviations: a less the mean over samples of each unit. is_saturated: where abs(phi'(u)) is less than the
    threshold times its maximum, u the argument of phi. is_zero: where h is exactly 0. tangents: where small steps in
    the first pre-activations, first_tangents, take `a`. positions: of each sample, whose rows lie together; samples of
    `a` are then samples and positions. weights: of attention, [samples, heads, positions, positions]. Definitions that
    do not read an array do without it.
    """

    a: Array
    response: Array
    at_zero: float
    deviations: Array
    is_saturated: Array = NONE
    is_zero: Array = NONE
    tangents: Array = NONE
    first_tangents: Array = NONE
    positions: int = 1
    weights: Array = NONE

    @property
    def h(self) -> Array:
        return self.at_zero + self.response

    @property
    def samples(self) -> int:
        return len(self.a) // self.positions

    @property
    def laid(self) -> Array:
        """`a` of each sample and position: [samples, positions, units]."""
        return self.a.reshape(self.samples, self.positions, self.units)

    @property
    def units(self) -> int:
        return int(self.a.shape[1])


def root_mean_square(x: Array) -> float:
    """sqrt(mean x^2), also of numbers whose squares do not fit float64."""
    largest = np.max(np.abs(x))
    return float(largest * np.sqrt(np.mean((x / largest) ** 2))) if 0 < largest < np.inf else float(largest)


def preact_mean(layer: LayerArrays) -> float:
    """The mean of the pre-activations over samples and units."""
    return float(layer.a.mean())


def preact_std(layer: LayerArrays) -> float:
    """The standard deviation of the pre-activations over samples and units."""
    return float(layer.a.std())


def log10_preact_rms(layer: LayerArrays) -> float:
    """log10 of the root mean square of the pre-activations."""
    return float(np.log10(root_mean_square(layer.a)))


def act_mean(layer: LayerArrays) -> float:
    """The mean of the activations over samples and units."""
    return float(layer.h.mean())


def act_std(layer: LayerArrays) -> float:
    """The standard deviation of the activations over samples and units."""
    return float(layer.response.std())  # that of h, for phi(0) moves none of it


def act_min(layer: LayerArrays) -> float:
    """The smallest activation."""
    return float(layer.h.min())


def act_max(layer: LayerArrays) -> float:
    """The largest activation."""
    return float(layer.h.max())


def log10_act_rms(layer: LayerArrays) -> float:
    """log10 of the root mean square of the activations."""
    return float(np.log10(root_mean_square(layer.h)))


def saturated(layer: LayerArrays) -> float:
    """The share of pairs of a sample and a unit that are saturated."""
    return float(layer.is_saturated.mean())


def dead(layer: LayerArrays) -> float:
    """The share of units that are saturated for every sample."""
    return float(layer.is_saturated.all(axis=0).mean())


def zero(layer: LayerArrays) -> float:
    """The share of activations that are exactly 0."""
    return float(layer.is_zero.mean())


def nonfinite(layer: LayerArrays) -> float:
    """The share of activations that are NaN or infinite."""
    return float((~np.isfinite(layer.response)).mean())


def unit_similarity(layer: LayerArrays) -> float:
    """The mean of h_ij h_ik over distinct units j and k, over the mean of h^2; NaN for one unit.

    sum_i (sum_j h_ij)^2 is the sum of all products of two units; less sum h^2, that of distinct ones.
    """
    h, squares, units = layer.h, np.sum(layer.h**2), layer.response.shape[1]
    if units == 1:
        return np.nan
    return float((np.sum(h.sum(axis=1) ** 2) - squares) / ((units - 1) * squares))


def input_correlation(layer: LayerArrays) -> float:
    """Mean field's c: the mean dot product of the pre-activations of two distinct samples over their mean square norm.

    sum_j (sum_i a_ij)^2 is the sum of all dot products; less sum a^2, that of distinct samples. Samples are held
    against each other at the same position. NaN for one sample.
    """
    a, squares = layer.laid, np.sum(layer.a**2)
    if layer.samples == 1:
        return np.nan
    return float((np.sum(a.sum(axis=0) ** 2) - squares) / ((layer.samples - 1) * squares))


def input_decorrelation(layer: LayerArrays) -> float:
    """1 - c, half the mean square distance of two distinct samples over their mean square norm. NaN for one sample."""
    m, squares = layer.samples, np.sum(layer.a**2)
    return float(m * np.sum(layer.deviations**2) / ((m - 1) * squares)) if m > 1 else np.nan


def position_similarity(layer: LayerArrays) -> float:
    """The mean dot product of two distinct positions of a sample over their mean square norm. NaN for one position."""
    a, squares = layer.laid, np.sum(layer.a**2)
    if layer.positions == 1:
        return np.nan
    return float((np.sum(a.sum(axis=1) ** 2) - squares) / ((layer.positions - 1) * squares))


def attention_entropy(layer: LayerArrays) -> float:
    """The mean entropy of the attention weights of a query over that of uniform ones.

    A query that sees itself alone has no choice and is left out. NaN where all are such.
    """
    weights, seen = layer.weights, np.count_nonzero(layer.weights, axis=-1)
    if not (seen > 1).any():
        return np.nan
    terms = weights * np.log(np.where(weights > 0, weights, 1.0))
    return float(np.mean(-terms.sum(axis=-1)[seen > 1] / np.log(seen[seen > 1])))


def log10_jacobian(layer: LayerArrays) -> float:
    """log10 of the RMS size of J v over that of v, the steps in the first pre-activations."""
    return float(np.log10(root_mean_square(layer.tangents) / root_mean_square(layer.first_tangents)))


# Column -> its value in a layer, by the function of the same name.
DEFINITIONS: dict[str, Callable[[LayerArrays], float]] = {name: globals()[name] for name in MEASURED}
# Those that read the signals alone: neither phi, as shares of pairs do, nor tangents.
OF_SIGNALS = tuple(
    name
    for name in DEFINITIONS
    if name not in ("saturated", "dead", "zero", "nonfinite", "log10_jacobian", "attention_entropy")
)
# Those that speak of phi.
OF_PHI = (
    "act_mean", "act_std", "act_min", "act_max", "log10_act_rms", "saturated", "dead", "zero", "unit_similarity",
)  # fmt: skip
