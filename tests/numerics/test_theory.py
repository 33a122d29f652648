"""Gaussian averages against SciPy, and the mean field against published numbers and plain repetition."""

import dataclasses
from itertools import pairwise

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, special

from support import references
from winit_jax.numerics import theory
from winit_jax.numerics.activations import ACTIVATIONS, activation
from winit_jax.numerics.activations.probing import probe
from winit_jax.numerics.theory.closed_forms import closed_form
from winit_jax.numerics.theory.moments import (
    averages,
    covariances,
    quadrature_averages,
    second_moment,
    series,
    slope_covariance,
    sum_series,
)

EVERY = pytest.mark.parametrize("name", sorted(ACTIVATIONS))
LENGTHS = np.array([1e-6, 0.1, 1.0, 30.0, 1e4])
CORRELATIONS = np.array([-0.5, 0.0, 0.6, 0.95, 0.999])


def by_quadrature(name, q):
    """E[phi^2], E[phi'^2], E[z phi phi'] / sqrt(q) by adaptive quadrature, cut at kinks and transitions."""
    phi, slope, scale = references.PHI[name], references.SLOPE[name], np.sqrt(q)
    cuts = np.concatenate([np.arange(-12, 13), np.outer([-1, 1], [1, 4, 20]).ravel() / scale])
    cuts = np.unique(cuts[np.abs(cuts) <= 12])

    def integrand(z):
        a = np.float64(scale * z)
        return references.pdf(z) * np.array([phi(a) ** 2, slope(a) ** 2, z * phi(a) * slope(a) / scale])

    pieces = [integrate.quad_vec(integrand, a, b, epsrel=1e-12, epsabs=1e-17)[0] for a, b in pairwise(cuts)]
    return np.sum(pieces, axis=0)


def panels(edges, points):
    x, w = np.polynomial.legendre.leggauss(points)
    half = np.diff(edges)[:, None] / 2
    return (edges[:-1, None] + half * (1 + x)).ravel(), (half * w).ravel()


def in_polar_coordinates(function, q, c):
    """E[f(u1) f(u2)]: kinks at 0 lie on rays, and the panels in angle are refined towards those."""
    angle = np.arccos(c)
    rays = np.array([0.5, 1.5, 0.5, 1.5]) * np.pi + np.array([0, 0, angle, angle])
    near = np.outer([-1, 1], 2.0 ** -np.arange(1, 14)).ravel()
    cuts = np.concatenate([np.linspace(0, 2 * np.pi, 9), rays, (rays[:, None] + near).ravel()]) % (2 * np.pi)
    theta, w_theta = panels(np.unique(np.concatenate([[0, 2 * np.pi], cuts])), 14)
    r, w_r = panels(np.concatenate([[0, 0.2, 0.5], np.linspace(1, 10, 13)]), 14)
    scale = np.sqrt(q) * r
    values = function(np.outer(np.cos(theta), scale)) * function(np.outer(np.cos(theta - angle), scale))
    return w_theta @ values @ (w_r * r * np.exp(-r * r / 2)) / (2 * np.pi)


def hard_tanh_given_the_first_input(q, c):
    """E[phi(u1) phi(u2)] and E[phi'(u1) phi'(u2)], the inner average in closed form."""
    spread = np.sqrt(q * (1 - c * c))

    def integrand(z):
        u = np.sqrt(q) * z
        low, high = (-1 - c * u) / spread, (1 - c * u) / spread
        inside = special.ndtr(high) - special.ndtr(low)
        mean = c * u * inside + spread * (references.pdf(low) - references.pdf(high))
        mean += special.ndtr(-high) - special.ndtr(low)
        return references.pdf(z) * np.array([np.clip(u, -1, 1) * mean, (abs(u) < 1) * inside])

    cuts = np.unique([-12, *np.linspace(-1, 1, 5) / np.sqrt(q), *np.linspace(-1, 1, 5), 12])
    return sum(integrate.quad_vec(integrand, a, b, epsrel=1e-12)[0] for a, b in pairwise(cuts))


# --- Averages


@EVERY
def test_one_dimensional_averages_agree_with_adaptive_quadrature(name):
    expected = np.array([by_quadrature(name, q) for q in LENGTHS]).T
    got = averages(ACTIVATIONS[name], LENGTHS)
    # SciPy is asked for 1e-12; small growths of bounded phi are what is left of larger terms.
    np.testing.assert_allclose(got.second, expected[0], rtol=1e-10)
    np.testing.assert_allclose(got.slope_second, expected[1], rtol=1e-10)
    np.testing.assert_allclose(got.growth, expected[2], rtol=1e-10, atol=1e-12 * expected[0].max() / LENGTHS.max())


@EVERY
@pytest.mark.parametrize("q", [0.1, 1.0, 30.0])
def test_covariances_agree_with_two_dimensional_quadrature(name, q):
    known = averages(ACTIVATIONS[name], q)
    value, slope = covariances(ACTIVATIONS[name], q, CORRELATIONS)
    for c, got, got_slope in zip(CORRELATIONS, value, slope, strict=True):
        if name == "hard_tanh":
            expected, expected_slope = hard_tanh_given_the_first_input(q, c)
        else:
            expected = in_polar_coordinates(references.PHI[name], q, c)
            expected_slope = in_polar_coordinates(references.SLOPE[name], q, c)
        # Orders from 512 on count from c = 0.97 on, and their shape is a model: 1e-5 of what they are.
        exact = c < 0.96
        assert abs(got - expected) < (1e-11 if exact else 1e-7) * known.second
        assert abs(got_slope - expected_slope) < (1e-10 if exact else 1e-5) * known.slope_second


@pytest.mark.parametrize("name", ["identity", "relu", "leaky_relu", "leaky_relu(0.3)", "erf"])
def test_closed_forms_agree_with_the_series(name):
    act, q = activation(name), np.array([1e-6, 1.0, 30.0])
    assert closed_form(act) is not None
    for exact, got in zip(averages(act, q), quadrature_averages(act, q), strict=True):
        np.testing.assert_allclose(got, exact, rtol=1e-12)
    found = series(act, q)
    for c in (*CORRELATIONS, 0.9999, 1.0):
        value, slope = sum_series(found, np.full(3, c), np.arange(3))
        exact, exact_slope = covariances(act, q, c)
        # The kink's share of orders from 512 on is 1e-5 of E[phi^2], 1e-2 of E[phi'^2]; see above.
        np.testing.assert_allclose(value, exact, rtol=0, atol=1e-8 * averages(act, q).second.max())
        np.testing.assert_allclose(slope, exact_slope, rtol=0, atol=1e-5)


def test_the_series_of_sin_is_its_closed_form():
    act, q = ACTIVATIONS["sin"], np.array([1e-6, 1.0, 30.0])
    for exact, got in zip(averages(act, q), quadrature_averages(act, q), strict=True):
        np.testing.assert_allclose(got, exact, rtol=1e-9, atol=1e-14)
    found = series(act, q)
    for c in CORRELATIONS:
        for got, exact in zip(sum_series(found, np.full(3, c), np.arange(3)), covariances(act, q, c), strict=True):
            np.testing.assert_allclose(got, exact, rtol=1e-9, atol=1e-14)


@EVERY
def test_covariances_at_correlation_one_are_the_averages(name):
    q = np.array([1e-300, 1e-6, 1.0, 1e4, 1e9])
    known = averages(ACTIVATIONS[name], q)
    value, slope = covariances(ACTIVATIONS[name], q, 1.0)
    np.testing.assert_allclose(value, known.second, rtol=1e-12)
    np.testing.assert_allclose(slope, known.slope_second, rtol=1e-9)


@EVERY
def test_the_derivative_of_the_covariance_is_q_times_the_slope_covariance(name):
    c, step = np.array([-0.7, -0.2, 0.3, 0.8]), 1e-5
    for q in (0.2, 7.0):
        above, below = (covariances(ACTIVATIONS[name], q, c + s)[0] for s in (step, -step))
        got = slope_covariance(ACTIVATIONS[name], q, c)
        # Differences: the third derivative times step^2, and rounding over step.
        scale = averages(ACTIVATIONS[name], q).second / q
        np.testing.assert_allclose((above - below) / (2 * step) / q, got, rtol=1e-7, atol=1e-9 * scale)


@EVERY
def test_growth_is_the_derivative_of_the_second_moment(name):
    q, step = np.array([0.01, 1.0, 20.0]), 1e-5
    difference = second_moment(ACTIVATIONS[name], q * (1 + step)) - second_moment(ACTIVATIONS[name], q * (1 - step))
    got = averages(ACTIVATIONS[name], q).growth
    scale = second_moment(ACTIVATIONS[name], q) / q
    np.testing.assert_allclose(difference / (2 * step * q), got, rtol=1e-8, atol=1e-10 * scale.max())


@EVERY
def test_averages_go_on_by_powers_outside_the_range_of_the_quadrature(name):
    act = ACTIVATIONS[name]
    for edge, beyond in ((1e-32, 1e-33), (1e24, 1e25)):
        inside = averages(act, np.array([edge * 2, edge / 2]))
        outside = averages(act, np.array([beyond * 2, beyond / 2]))
        for near, far in zip(inside[:2], outside[:2], strict=True):
            assert near[0] / near[1] == pytest.approx(far[0] / far[1], rel=1e-10)
    ends = averages(act, np.array([0.0, np.inf]))
    assert ends.second[0] == pytest.approx(act.at_zero**2)
    assert np.isinf(ends.second[1]) == (act.degree_at_infinity != (0, 0))
    assert np.isnan(second_moment(act, -1.0))


def test_shapes_broadcast():
    value, slope = covariances(ACTIVATIONS["tanh"], np.ones((3, 1)), np.linspace(0, 1, 4))
    assert value.shape == slope.shape == (3, 4)
    assert theory.length_map(1.0, ACTIVATIONS["tanh"], np.ones(5), 0.1).shape == (5,)
    assert theory.fixed_point(ACTIVATIONS["gelu"], np.ones((2, 1)), np.full(3, 0.1)).c.shape == (2, 3)


# --- Fixed points


@pytest.mark.parametrize(
    ("name", "weight_var", "bias_var", "q", "chi1", "c", "xi_c"),
    [
        ("tanh", 1.69, 0.09, 0.607047, 0.939807, 1, 16.108),
        ("tanh", 1.0, 0.05, 0.193593, 0.759032, 1, 3.627),
        ("erf", 1.25, 0.05, 0.435166, 0.961374, 1, 25.386),
        # c and xi_c by the trapezoid rule in the plane, step 0.03, which is spectrally accurate.
        ("tanh", 16, 0.09, 12.604149, 2.367261, 0.029696, 3.639),
    ],
)
def test_fixed_points_to_every_published_digit(name, weight_var, bias_var, q, chi1, c, xi_c):
    got = theory.fixed_point(ACTIVATIONS[name], weight_var, bias_var)
    assert got.q == pytest.approx(q, abs=5.1e-7)
    assert got.chi1 == pytest.approx(chi1, abs=5.1e-7)
    assert got.c == pytest.approx(c, abs=5.1e-7)
    assert got.xi_c == pytest.approx(xi_c, abs=6e-4)


def test_the_disordered_tanh_settles_where_the_trapezoid_rule_in_the_plane_says():
    weight_var, bias_var = 16.0, 0.09
    got = theory.fixed_point(ACTIVATIONS["tanh"], weight_var, bias_var)
    z = np.arange(-9, 9, 0.03)
    weight, scale = references.pdf(z) * 0.03, np.sqrt(got.q)
    second = np.tanh(np.add.outer(scale * got.c * z, scale * np.sqrt(1 - got.c**2) * z))
    value = (weight * np.tanh(scale * z)) @ second @ weight
    mapped = (weight_var * value + bias_var) / (weight_var * (weight @ np.tanh(scale * z) ** 2) + bias_var)
    assert mapped == pytest.approx(got.c, abs=1e-12)  # tanh's poles make the rule exact to e^-90


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "elu", "gelu", "softplus", "hard_tanh", "sin"])
def test_fixed_points_are_where_plain_repetition_leads(name):
    act, weight_var, bias_var = ACTIVATIONS[name], np.array([0.3, 0.8, 1.6]), 0.04
    q, c = np.ones(3), np.full(3, 0.5)
    for _ in range(200):
        c = theory.correlation_map(c, q, act, weight_var, bias_var)
        q = theory.length_map(q, act, weight_var, bias_var)
    got = theory.fixed_point(act, weight_var, bias_var)
    # Contraction by exp(-1 / xi) a layer: to rounding where xi is below 6.
    quick = got.xi_q < 6
    np.testing.assert_allclose(got.q[quick], q[quick], rtol=1e-12)
    quick &= got.xi_c < 6
    np.testing.assert_allclose(got.c[quick], c[quick], rtol=1e-10)
    assert quick.any()


def test_selu_keeps_mean_square_one():
    act = ACTIVATIONS["selu"]
    assert theory.length_map(1.0, act, 1.0, 0.0) == pytest.approx(1, abs=1e-14)
    got = theory.fixed_point(act, 1.0, 0.0, start=0.3)
    assert got.q == pytest.approx(1, abs=1e-12)
    assert got.c == pytest.approx(0, abs=1e-7)  # mean 0, which the slope of 0.97 multiplies by 34


def test_signals_without_a_fixed_point_vanish_or_explode():
    got = theory.fixed_point(ACTIVATIONS["relu"], np.array([1.9, 2.0, 2.1]), 0.0)
    np.testing.assert_array_equal(got.q, [0, 1, np.inf])
    np.testing.assert_allclose(got.chi1, [0.95, 1, 1.05])
    np.testing.assert_array_equal(got.c, 1)
    assert np.isinf(got.xi_c).all()
    np.testing.assert_allclose(got.xi_q, [1 / abs(np.log(0.95)), np.inf, 1 / np.log(1.05)])
    tanh = theory.fixed_point(ACTIVATIONS["tanh"], np.array([0.5, 1.0, 4.0]), 0.0)
    np.testing.assert_array_equal(tanh.q[:2], 0)
    np.testing.assert_allclose(tanh.chi1[:2], [0.5, 1])
    assert tanh.c[2] == 0


@pytest.mark.parametrize(
    ("name", "bias_var", "weight_var"),
    [("relu", 0, 2), ("tanh", 0.05, 1.760955), ("tanh", 0.1, 1.986073), ("erf", 0.05, 1.375839)],
)
def test_critical_gains_to_every_published_digit(name, bias_var, weight_var):
    got = theory.critical_gain(ACTIVATIONS[name], np.sqrt(bias_var))
    assert got.reason == ""
    assert got.gain**2 == pytest.approx(weight_var, abs=5.1e-7)


@pytest.mark.parametrize(
    ("name", "gain"),
    [
        ("identity", 1),
        ("tanh", 1),
        ("sin", 1),
        ("hard_tanh", 1),
        ("elu", 1),
        ("erf", np.sqrt(np.pi) / 2),
        ("leaky_relu", np.sqrt(2 / 1.0001)),
        ("softplus", np.sqrt(2)),
    ],
)
def test_critical_gains_without_bias_are_those_of_the_limit_that_signals_reach(name, gain):
    # Of the slope at 0 where signals vanish below it, of the mean square slope far out where they explode above.
    assert theory.critical_gain(ACTIVATIONS[name], 0.0).gain == pytest.approx(gain, rel=1e-10)


def test_sigmoid_is_critical_only_far_beyond_usual_gains():
    act = ACTIVATIONS["sigmoid"]
    assert np.all(theory.fixed_point(act, np.geomspace(0.01, 10, 30) ** 2, 0.0).chi1 < 1)
    gain = theory.critical_gain(act, 0.0).gain
    assert gain == pytest.approx(10.14926, abs=1e-5)
    q = 1.0
    for _ in range(60):
        second, slope, _ = by_quadrature("sigmoid", q)
        q = gain**2 * second
    assert gain**2 * slope == pytest.approx(1, abs=1e-8)


@pytest.mark.parametrize(
    ("name", "bias_std", "gain", "sentence"),
    [
        ("gelu", 0.0, 1.53353, "from 0.5879, where signals vanish, to 1.176, where signals explode."),
        ("silu", 0.0, 1.67653, "from 0.7027, where signals vanish, to 1.405, where signals explode."),
        ("mish", 0.0, 1.48685, "from 0.7959, where signals vanish, to 1.105, where signals explode."),
        (
            "gelu",
            0.2,
            1.50255,
            "from 0.7059, where signals settle at pre-activation std 0.3504, to 1.129, where signals explode.",
        ),
    ],
)
def test_a_jump_of_chi_is_no_critical_gain_and_the_sentence_is_true(name, bias_std, gain, sentence):
    act = ACTIVATIONS[name]
    got = theory.critical_gain(act, bias_std)
    assert np.isnan(got.gain)
    start = f"{name} with bias std {bias_std:g} has no critical gain: from q = 1 on, chi1 jumps at gain {gain:g} "
    assert got.reason == start + sentence
    for side, grows in ((0.999, False), (1.001, True)):
        q = 1.0
        for _ in range(400):
            q = theory.length_map(q, act, (side * gain) ** 2, bias_std**2)
        assert (q > 100) == grows


def test_chi_on_one_side_of_1_throughout_is_said_with_numbers():
    faint = probe(lambda a: jnp.tanh(1e-3 * a), "faint")
    reason = theory.critical_gain(faint, 0.1).reason
    assert reason == (
        "faint with bias std 0.1 has no critical gain: chi1 stays below 1 at gains from 0.01 to 100; "
        "it is largest, 0.01, at gain 100, where signals settle at pre-activation std 0.1005."
    )
    steep = dataclasses.replace(faint, response=lambda a: jnp.tanh(1e4 * a), name="steep")
    steep = dataclasses.replace(steep, slope=lambda a: 1e4 / jnp.cosh(jnp.clip(1e4 * a, -300, 300)) ** 2)
    reason = theory.critical_gain(steep, 0.0).reason
    assert reason.startswith("steep with bias std 0 has no critical gain: chi1 stays above 1 at gains from 0.01 to 100")


# --- Maps


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
    np.testing.assert_allclose(got[1:4], [0.318310, 0.493731, 0.604826], atol=5.1e-7)
    np.testing.assert_allclose(got[[5, 10]], [0.735946, 0.871536], atol=5.1e-7)


# --- Layer by layer


@pytest.mark.parametrize("name", ["tanh", "relu", "gelu", "softplus", "hard_tanh"])
def test_propagation_is_the_maps_applied_again_and_again(name):
    act, weight_var, bias_var = ACTIVATIONS[name], np.array([0.5, 1.5, 4.0]), np.array([0.0, 0.1, 1.0])
    with np.errstate(divide="ignore"):
        got = theory.propagate(act, np.log10(weight_var), np.log10(bias_var), np.log10(2.0), 0.3, 8)
    q, c, jacobian = np.full(3, 2.0), np.full(3, 0.3), np.ones(3)
    for layer in range(8):
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
    np.testing.assert_allclose(got.log10_act_rms[:, 0], expected, rtol=1e-14)
    np.testing.assert_allclose(got.log10_jacobian[:, 0], layers * (sign * 1000 - 0.5 * np.log10(2)), rtol=1e-14)
    np.testing.assert_allclose(got.input_correlation[1:3, 0], [1 / np.pi, 0.493731], atol=5.1e-7)


def test_tanh_is_linear_at_ten_to_minus_a_thousand_and_a_sign_at_ten_to_a_thousand():
    tanh, layers = ACTIVATIONS["tanh"], np.arange(5)
    small = theory.propagate(tanh, -2000.0, -np.inf, -2000.0, 0.4, 5)
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
        np.testing.assert_allclose(many[:, 17], one[:, 0], rtol=1e-12, atol=1e-13)


def test_functions_of_ones_own_go_through_the_same_quadrature():
    square = probe(lambda a: a * a, "square")
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
