"""Depths until a thousandfold change against plain repetition, layer by layer."""

import math

import numpy as np
import pytest

from winit_jax.numerics import theory
from winit_jax.numerics.activations import ACTIVATIONS, activation
from winit_jax.numerics.theory.moments import averages

THOUSANDFOLD = 2 * math.log(1000)


def depths(name, gain, bias_std=0.0, start=1.0):
    bias = 2 * math.log(bias_std) if bias_std else -math.inf
    found = theory.depths(activation(name), 2 * math.log(gain), bias, math.log(start))
    return float(found.signal[0]), float(found.gradient[0])


def repeated(moments, gain, bias_std, start, most):
    """(layer at which q has changed a thousandfold squared, layers whose chis make as much), one by one.

    moments: q -> E[phi^2], E[phi'^2].
    """
    q, change, signal, gradient = start, 0.0, math.inf, math.inf
    for layer in range(1, most):
        if math.isinf(signal) and abs(math.log(q / start)) >= THOUSANDFOLD:
            signal = layer
        second, slope_second = moments(q)
        change += math.log(gain**2 * slope_second)
        if math.isinf(gradient) and abs(change) >= THOUSANDFOLD:
            gradient = layer
        if max(signal, gradient) < math.inf:
            break
        q = gain**2 * second + bias_std**2
    return signal, gradient


def quadrature(name):
    def moments(q):
        found = averages(ACTIVATIONS[name], np.array([q]))
        return float(found.second[0]), float(found.slope_second[0])

    return moments


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "gain", "bias_std", "start"),
    [
        ("elu", 1.0, 0.0, 1.0),
        ("tanh", 0.9, 0.0, 1.0),
        ("tanh", 0.9, 0.0, 50.0),
        ("tanh", 1.5, 0.1, 1e-3),
        ("gelu", 1.5, 0.0, 1.0),
        ("gelu", 1.5, 0.0, 1.41),
        ("silu", 1.4096, 0.75, 1.0),
        ("silu", 1.44073, 0.6, 1.0),
        ("softplus", 1.3, 0.2, 1.0),
        ("relu", 1.4, 0.1, 1.0),
    ],
)
def test_depths_are_those_of_plain_repetition(name, gain, bias_std, start):
    signal, gradient = repeated(quadrature(name), gain, bias_std, start, 3200)
    got = depths(name, gain, bias_std, start)
    assert got[1] == gradient
    assert got[0] == signal if signal < math.inf else got[0] > 3000


def erf_moments(q):
    return 2 / math.pi * math.atan2(2 * q, math.sqrt(1 + 4 * q)), 4 / math.pi / math.sqrt(1 + 4 * q)


def sin_moments(q):
    return -0.5 * math.expm1(-2 * q), 0.5 * (1 + math.exp(-2 * q))


@pytest.mark.parametrize(
    ("name", "moments", "gain"), [("erf", erf_moments, math.sqrt(math.pi) / 2), ("sin", sin_moments, 1)]
)
def test_a_million_layers_of_a_power_law_are_counted_to_the_layer(name, moments, gain):
    signal, gradient = repeated(moments, gain, 0.0, 1.0, 2_000_000)
    got = depths(name, gain)
    assert abs(got[0] - signal) <= 1
    assert abs(got[1] - gradient) <= 1


def test_depths_at_criticality():
    assert depths("elu", 1.0) == (2515, 2830)
    # q_l ~ 1 / 2 l, chi ~ 1 - 1 / l; by plain repetition 500,006 and 706,080.
    assert depths("tanh", 1.0) == (500_006, 706_080)
    # q_l = 1 + 0.01 (l - 1), and chi is 1 throughout.
    signal, gradient = depths("relu", math.sqrt(2), 0.1)
    assert signal == pytest.approx(99_999_901, abs=5)
    assert gradient == math.inf
    assert depths("silu", 1.4096, 0.75) == (math.inf, 381)
    assert depths("relu", math.sqrt(2)) == (math.inf, math.inf)


def test_depths_agree_with_propagation_layer_by_layer():
    act, gain, q = ACTIVATIONS["gelu"], 1.2, 2.0
    found = theory.propagate(act, math.log10(gain**2), -np.inf, math.log10(q), 0.0, 40)
    signal, gradient = depths("gelu", gain, start=q)
    jacobian = found.log10_jacobian[:, 0]
    # log10_jacobian of layer L has passed L - 1 layers; log10 q_l follows from the activations of the layer before.
    assert np.flatnonzero(np.abs(jacobian) >= 3)[0] == gradient
    log10_q = 2 * (found.log10_act_rms[:-1, 0] + math.log10(gain))
    assert np.flatnonzero(np.abs(log10_q - math.log10(q)) >= 6)[0] + 2 == signal
