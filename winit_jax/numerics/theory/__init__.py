"""Mean-field theory at infinite width: length and correlation maps, their fixed points, and signals by depth.

Networks a_l = h_{l-1} W_l + b_l, h_l = phi(a_l), weights of variance weight_var / fan_in and biases of
variance bias_var. q is the mean square of pre-activations; c is the correlation between those of two inputs.
Sources: Poole et al. 2016, arXiv:1606.05340; Schoenholz et al. 2017, arXiv:1611.01232.

Everything here is float64 NumPy on the host. This module defines the maps. `fixed_points`, `critical_gains`, `depths`,
`propagation` and `growth` derive results from them; `updates` has what each block does to a stream; `moments`,
`length_curves` and `softmax` compute the Gaussian averages.
"""

import numpy as np

from winit_jax.numerics.activations import Activation
from winit_jax.numerics.theory.critical_gains import (
    GAINS,
    CriticalGain,
    HalfStable,
    Jump,
    Start,
    critical_gain,
    folds,
    half_stable,
)
from winit_jax.numerics.theory.depths import Depths, depths
from winit_jax.numerics.theory.fixed_points import FixedPoint, Rest, fixed_point, fixed_point_of_logs, rests
from winit_jax.numerics.theory.growth import Growth, growth
from winit_jax.numerics.theory.moments import covariance, mean_square_slope, second_moment
from winit_jax.numerics.theory.propagation import UNNORMALIZED, Norm, Propagation, from_inputs, propagate
from winit_jax.numerics.theory.softmax import agreement, concentration
from winit_jax.numerics.theory.updates import Attention, Conv, Gated, Mlp, Phi, Update, modes

__all__ = [
    "GAINS",
    "UNNORMALIZED",
    "Attention",
    "Conv",
    "CriticalGain",
    "Depths",
    "FixedPoint",
    "Gated",
    "Growth",
    "HalfStable",
    "Jump",
    "Mlp",
    "Norm",
    "Phi",
    "Propagation",
    "Rest",
    "Start",
    "Update",
    "agreement",
    "chi",
    "concentration",
    "correlation_map",
    "critical_gain",
    "depths",
    "fixed_point",
    "fixed_point_of_logs",
    "folds",
    "from_inputs",
    "growth",
    "half_stable",
    "length_map",
    "modes",
    "propagate",
    "rests",
]

Number = np.ndarray | float


def length_map(q: Number, activation: Activation, weight_var: Number, bias_var: Number) -> np.ndarray:
    """Mean square pre-activation one layer on.

    q' = weight_var E[phi(sqrt(q) z)^2] + bias_var,  z ~ N(0, 1)

    Shapes: broadcast. Units: mean squares; weights have variance weight_var / fan_in.
    Source: Poole et al. 2016, eq. 3.
    Errors: none; q < 0 gives NaN.
    """
    return weight_var * second_moment(activation, q) + bias_var


def chi(q: Number, activation: Activation, weight_var: Number) -> np.ndarray:
    """Factor by which one layer multiplies the mean square gradient: chi1 where q is a fixed point.

    chi = weight_var E[phi'(sqrt(q) z)^2],  z ~ N(0, 1)

    Shapes: broadcast. Units: a ratio of mean squares.
    Source: Schoenholz et al. 2017, arXiv:1611.01232.
    Errors: none; q < 0 gives NaN.
    """
    return weight_var * mean_square_slope(activation, q)


def correlation_map(c: Number, q: Number, activation: Activation, weight_var: Number, bias_var: Number) -> np.ndarray:
    """Correlation between two inputs' pre-activations one layer on, where both have mean square q.

    c' = (weight_var E[phi(u1) phi(u2)] + bias_var) / (weight_var E[phi(u1)^2] + bias_var),
    u1, u2 ~ N(0, q) with correlation c

    Shapes: broadcast; 0 < q < inf.
    Source: Poole et al. 2016, eq. 5, for inputs of equal length.
    Errors: none; 0 / 0 (no weights and no biases) gives NaN.
    """
    c, q, weight_var, bias_var = np.broadcast_arrays(c, q, weight_var, bias_var)
    second = weight_var * second_moment(activation, q)
    both = weight_var * covariance(activation, q, c)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = (np.where(c == 1, second, both) + bias_var) / (second + bias_var)
    correlation: np.ndarray = np.clip(ratio, -1, 1)
    return correlation
