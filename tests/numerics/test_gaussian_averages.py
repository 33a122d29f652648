"""Gaussian averages against SciPy, and closed forms against series."""

import numpy as np
import pytest

from support import references
from support.quadrature import by_quadrature, hard_tanh_given_the_first_input, in_polar_coordinates
from winit_jax.numerics import theory
from winit_jax.numerics.activations import ACTIVATIONS, activation
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


@EVERY
def test_one_dimensional_averages_agree_with_adaptive_quadrature(name):
    expected = np.array([by_quadrature(name, q) for q in LENGTHS]).T
    got = averages(ACTIVATIONS[name], LENGTHS)
    # SciPy is asked for 1e-12; small growths of bounded phi are what is left of larger terms.
    np.testing.assert_allclose(got.second, expected[0], rtol=1e-10)
    np.testing.assert_allclose(got.slope_second, expected[1], rtol=1e-10)
    np.testing.assert_allclose(got.growth, expected[2], rtol=1e-10, atol=1e-12 * expected[0].max() / LENGTHS.max())


@pytest.mark.slow
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


@pytest.mark.parametrize(("name", "q"), [("sin", [1e-6, 1.0, 30.0]), ("sin(30)", [1e-9, 1e-3, 0.03])])
def test_the_series_of_sin_is_its_closed_form(name, q):
    act, q = activation(name), np.array(q)
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
    # Two ways of one float64 sum; slopes lose some digits to series that are cut off.
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
