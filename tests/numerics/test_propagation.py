"""The mean field layer by layer, at scales of any size, against its maps applied again and again."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from winit_jax.numerics import theory
from winit_jax.numerics.activations import ACTIVATIONS
from winit_jax.numerics.activations.probing import probe
from winit_jax.numerics.theory.moments import (
    covariances,
    second_moment,
)


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(sorted(ACTIVATIONS)),
    log10_q=st.floats(-8, 4),
    weight_var=st.floats(0.01, 100),
    bias_var=st.sampled_from([0.0, 0.01, 1.0]),
)
def test_the_correlation_map_increases_from_zero_on_and_maps_one_to_one(name, log10_q, weight_var, bias_var):
    # Its Taylor coefficients are a_k^2 >= 0. Below 0 the odd ones may lose (gelu far down).
    c = np.concatenate([np.linspace(0, 0.99, 30), 1 - np.geomspace(5e-3, 1e-9, 15), [1.0]])
    got = theory.correlation_map(c, 10**log10_q, ACTIVATIONS[name], weight_var, bias_var)
    assert got[-1] == 1
    assert np.all(np.diff(got) >= -1e-14)
    assert got[0] >= 0


def test_he_relu_correlations_layer_by_layer():
    got = theory.propagate(ACTIVATIONS["relu"], np.log10(2), -np.inf, 0.0, 0.0, 11).input_correlation[:, 0]
    # Half of the last published digit.
    np.testing.assert_allclose(got[1:4], [0.318310, 0.493731, 0.604826], atol=5.1e-7)
    np.testing.assert_allclose(got[[5, 10]], [0.735946, 0.871536], atol=5.1e-7)


@pytest.mark.parametrize("name", ["tanh", "relu", "gelu", "softplus", "hard_tanh"])
def test_propagation_is_the_maps_applied_again_and_again(name):
    act, weight_var, bias_var = ACTIVATIONS[name], np.array([0.5, 1.5, 4.0]), np.array([0.0, 0.1, 1.0])
    with np.errstate(divide="ignore"):
        got = theory.propagate(act, np.log10(weight_var), np.log10(bias_var), np.log10(2.0), 0.3, 8)
    q, c, jacobian = np.full(3, 2.0), np.full(3, 0.3), np.ones(3)
    for layer in range(8):
        # Float64 rounding, added up over eight layers.
        np.testing.assert_allclose(got.log10_act_rms[layer], 0.5 * np.log10(second_moment(act, q)), atol=1e-12)
        np.testing.assert_allclose(got.input_correlation[layer], c, rtol=1e-11)
        np.testing.assert_allclose(got.log10_jacobian[layer], 0.5 * np.log10(jacobian), atol=1e-12)
        np.testing.assert_allclose(got.chi[layer], theory.chi(q, act, weight_var), rtol=1e-12)
        jacobian = jacobian * theory.chi(q, act, weight_var)
        c = theory.correlation_map(c, q, act, weight_var, bias_var)
        q = theory.length_map(q, act, weight_var, bias_var)


@pytest.mark.parametrize("sign", [-1, 1])
def test_relu_propagates_scales_of_ten_to_a_thousand(sign):
    got = theory.propagate(ACTIVATIONS["relu"], sign * 2000.0, -np.inf, sign * 2000.0, 0.0, 5)
    layers = np.arange(5)
    expected = sign * 1000.0 * (layers + 1) - 0.5 * np.log10(2) * (layers + 1)
    # A few roundoffs of float64 of numbers in the thousands.
    np.testing.assert_allclose(got.log10_act_rms[:, 0], expected, rtol=1e-14)
    np.testing.assert_allclose(got.log10_jacobian[:, 0], layers * (sign * 1000 - 0.5 * np.log10(2)), rtol=1e-14)
    np.testing.assert_allclose(got.input_correlation[1:3, 0], [1 / np.pi, 0.493731], atol=5.1e-7)


def test_tanh_is_linear_at_ten_to_minus_a_thousand_and_a_sign_at_ten_to_a_thousand():
    tanh, layers = ACTIVATIONS["tanh"], np.arange(5)
    small = theory.propagate(tanh, -2000.0, -np.inf, -2000.0, 0.4, 5)
    # A few roundoffs of float64 of numbers in the thousands.
    np.testing.assert_allclose(small.log10_act_rms[:, 0], -1000.0 * (layers + 1), rtol=1e-14)
    np.testing.assert_allclose(small.log10_jacobian[:, 0], -1000.0 * layers, rtol=1e-14)
    np.testing.assert_allclose(small.input_correlation[:, 0], 0.4, rtol=1e-12)
    large = theory.propagate(tanh, 2000.0, -np.inf, 2000.0, 0.4, 5)
    np.testing.assert_allclose(large.log10_act_rms, 0, atol=1e-11)  # 1 - sqrt(2 / pi / q) at q = 1e24
    # The sign's kernel is (2 / pi) arcsin(c); E[phi'^2] = int sech^4 pdf(0) / sqrt(q) = (4 / 3) pdf(0) / sqrt(q).
    np.testing.assert_allclose(large.input_correlation[1, 0], 2 / np.pi * np.arcsin(0.4), rtol=1e-8)
    step = 0.5 * (2000 - 1000 + np.log10(4 / 3 / np.sqrt(2 * np.pi)))
    np.testing.assert_allclose(large.log10_jacobian[:, 0], step * layers, rtol=1e-12)


def test_a_bias_stops_the_fall_of_weights_that_are_nothing():
    got = theory.propagate(ACTIVATIONS["tanh"], -np.inf, -600.0, 0.0, 0.2, 3)
    np.testing.assert_allclose(got.log10_act_rms[1:, 0], -300, rtol=1e-14)
    np.testing.assert_array_equal(got.input_correlation[1:, 0], 1)
    np.testing.assert_array_equal(got.log10_jacobian[1:, 0], -np.inf)


def test_many_points_are_what_each_is_alone():
    gains = 2 * np.log10(np.linspace(0.5, 3, 37))
    together = theory.propagate(ACTIVATIONS["selu"], gains, -2.0, 0.0, 0.5, 6)
    alone = theory.propagate(ACTIVATIONS["selu"], gains[17], -2.0, 0.0, 0.5, 6)
    for many, one in zip(together, alone, strict=True):
        assert many.shape == (6, 37)
        # Sums of another shape: float64 rounding.
        np.testing.assert_allclose(many[:, 17], one[:, 0], rtol=1e-12, atol=1e-13)


@pytest.mark.slow
def test_functions_of_ones_own_go_through_the_same_quadrature():
    square = probe(lambda a: a * a, "square")
    # Gauss rules are exact for powers: float64 rounding.
    assert second_moment(square, 2.0) == pytest.approx(12, rel=1e-12)
    assert covariances(square, 2.0, 0.5)[0] == pytest.approx(4 * (1 + 2 * 0.25), rel=1e-12)
    far = theory.propagate(square, 0.0, -np.inf, 300.0, 0.5, 3)
    np.testing.assert_allclose(far.log10_act_rms[0], 300 + 0.5 * np.log10(3), rtol=1e-13)
    absolute = probe(jnp.abs, "absolute")
    assert covariances(absolute, 1.0, 0.0)[0] == pytest.approx(2 / np.pi, rel=1e-12)
    exponential = probe(jnp.exp, "exponential")
    np.testing.assert_allclose(second_moment(exponential, 0.25), np.exp(0.5), rtol=1e-11)
    overflown = theory.propagate(exponential, 3.0, -np.inf, 3.0, 0.5, 5).log10_act_rms[2:]
    assert not np.isfinite(overflown).any()
