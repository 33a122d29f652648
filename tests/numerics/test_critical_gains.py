"""Fixed points and critical gains of the mean field, against published numbers and plain repetition."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from support import references
from support.quadrature import by_quadrature
from winit_jax.numerics import theory
from winit_jax.numerics.activations import ACTIVATIONS
from winit_jax.numerics.activations.probing import probe


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
    # Half of the last published digit.
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


@pytest.mark.slow
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
    # SELU is made so: float64 rounding.
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
    # Half of the last published digit.
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
    # The last digit that is given.
    assert gain == pytest.approx(10.14926, abs=1e-5)
    q = 1.0
    for _ in range(60):
        second, slope, _ = by_quadrature("sigmoid", q)
        q = gain**2 * second
    assert gain**2 * slope == pytest.approx(1, abs=1e-8)


@pytest.mark.slow
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


@pytest.mark.slow
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
