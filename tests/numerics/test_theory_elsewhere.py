"""Theory of functions from elsewhere, which bend, jump, oscillate and grow as they like: no fixed point is invented."""

import math
from functools import lru_cache
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from support.marks import slow_but
from winit_jax.numerics.activations import activation
from winit_jax.numerics.activations.probing import probe
from winit_jax.numerics.theory import critical_gain, depths, fixed_point, folds, half_stable, rests


def softshrink(a):
    return a - jnp.clip(a, -0.5, 0.5)


def bump(a):
    inside = jnp.abs(a) < 1
    return jnp.where(inside, jnp.exp(-1 / (1 - jnp.where(inside, a * a, 0.0))), 0.0)


FUNCTIONS = {
    "cos": jnp.cos,
    "sine of five": lambda a: jnp.sin(5 * a),
    "softshrink": softshrink,
    "tanhshrink": lambda a: a - jnp.tanh(a),
    "threshold": lambda a: a * (a > 1),
    "shifted relu": lambda a: jnp.maximum(a - 2, 0),
    "sinh": jnp.sinh,
    "exp": jnp.exp,
    "relu to 1.5": lambda a: jnp.maximum(a, 0) ** 1.5,
    "root": lambda a: jnp.sqrt(jnp.abs(a)),
    "bump": bump,
    "gaussian": lambda a: jnp.exp(-a * a),
    "relu6": lambda a: jnp.clip(a, 0, 6),
    "hardswish": lambda a: a * jnp.clip(a + 3, 0, 6) / 6,
    "snake": lambda a: a + jnp.sin(a) ** 2,
    "triangles": lambda a: jnp.abs((a % 4) - 2) - 1,
    "steep": lambda a: jnp.tanh(50 * a),
    "clip": lambda a: jnp.clip(a, -3, 3),
    "softsign": lambda a: a / (1 + jnp.abs(a)),
    "cube": lambda a: a**3,
}
LOG_Q = np.linspace(math.log(1e-6), math.log(1e5), 401)


@lru_cache
def probed(name):
    return probe(FUNCTIONS[name], name)


@lru_cache
def second_moments(name):
    """E[phi(sqrt(q) z)^2] on LOG_Q by the trapezoid rule, which shares nothing with the product but phi."""
    z = (np.arange(200_000) + 0.5) * (37 / 200_000)
    weight = np.exp(-z * z / 2) * (37 / 200_000) / np.sqrt(2 * np.pi)
    with jax.enable_x64(True):
        phi = jax.jit(FUNCTIONS[name])
        return np.array([sum(np.asarray(phi(s * np.exp(x / 2) * z)) ** 2 @ weight for s in (-1, 1)) for x in LOG_Q])


def plain_fixed_points(name, gain, bias_std):
    """(log q, stability) where gain^2 M + bias^2 - q changes sign, to the width of the grid."""
    with np.errstate(all="ignore"):
        step = np.log(gain**2 * second_moments(name) + bias_std**2) - LOG_Q
    told = np.flatnonzero((np.abs(step) > 1e-6) & ~np.isnan(step))
    turns = [(i, j) for i, j in pairwise(told) if (step[i] > 0) != (step[j] > 0)]
    return [((LOG_Q[i] + LOG_Q[j]) / 2, "stable" if step[i] > 0 else "unstable") for i, j in turns]


@pytest.mark.slow
@pytest.mark.parametrize("name", slow_but(["cos"], sorted(FUNCTIONS)))
def test_fixed_points_are_those_of_a_plain_sum(name):
    for gain, bias_std in ((0.5, 0.0), (1.2, 0.0), (2.0, 0.3), (40.0, 0.0)):
        log_bias = 2 * math.log(bias_std) if bias_std else -math.inf
        found = rests(probed(name), 2 * math.log(gain), log_bias)
        inside = [(rest.log_q, rest.stability) for rest in found if LOG_Q[0] < rest.log_q < LOG_Q[-1]]
        expected = plain_fixed_points(name, gain, bias_std)
        assert [stability for _, stability in inside] == [stability for _, stability in expected], (gain, bias_std)
        assert [x for x, _ in inside] == pytest.approx([x for x, _ in expected], abs=0.05)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "found"),
    [("softshrink", []), ("tanhshrink", []), ("threshold", []), ("cos", []), ("sinh", []), ("exp", [])],
)
def test_no_half_stable_point_is_invented(name, found):
    assert half_stable(probed(name)) == found


def test_folds_are_those_of_the_formula():
    assert folds(probed("cos"), 0.0) == []
    # M = e^(2q): two fixed points meet where 2q = 1.
    assert folds(probed("exp"), 0.0) == [(pytest.approx(math.sqrt(0.5 / math.e)), pytest.approx(0.5))]
    assert folds(probed("softshrink"), 0.0) == []
    assert len(folds(probed("softshrink"), 0.3)) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "gain", "ends"),
    [
        ("softshrink", 1.2, {-math.inf: "stable", math.inf: "stable"}),
        ("threshold", 1.2, {-math.inf: "stable"}),
        ("tanhshrink", 2.0, {-math.inf: "stable", math.inf: "stable"}),
        ("sinh", 0.8, {-math.inf: "stable", math.inf: "stable"}),
        ("sinh", 1.2, {-math.inf: "unstable", math.inf: "stable"}),
        ("relu to 1.5", 1.0, {-math.inf: "stable", math.inf: "stable"}),
    ],
)
def test_what_draws_signals_to_nothing_or_to_infinity_is_stable(name, gain, ends):
    found = {rest.log_q: rest.stability for rest in rests(probed(name), 2 * math.log(gain), -math.inf)}
    assert {x: stability for x, stability in found.items() if math.isinf(x)} == ends


@pytest.mark.parametrize(
    ("name", "gain", "start", "signal", "gradient"),
    [
        ("softshrink", 0.5, 1.0, 4, 3),
        ("softshrink", 0.8, 1.0, 5, 4),
        ("softshrink", 1.2, 1.0, 6, 5),
        ("sinh", 1.2, 1.0, 4, 3),
        ("exp", 0.8, 1.0, 4, 3),
        pytest.param("root", 1.0, 1.0, math.inf, 1, marks=pytest.mark.slow),
        ("threshold", 0.5, 1.0, 4, 3),
    ],
)
def test_depths_end_where_nothing_is_left_or_no_float_holds_it(name, gain, start, signal, gradient):
    found = depths(probed(name), 2 * math.log(gain), -math.inf, math.log(start))
    assert (found.signal[0], found.gradient[0]) == (signal, gradient)


def test_limits_of_powers_that_are_no_whole_numbers():
    """max(a, 0)^1.5: chi1 goes to 0 with q and to infinity with it, and correlations go the same way in both."""
    near, far = fixed_point(probed("relu to 1.5"), 1.0, 0.0, 1.0), fixed_point(probed("relu to 1.5"), 1.5**2, 0.0, 1.0)
    assert (near.q, near.chi1) == (0, 0)
    assert (far.q, far.chi1) == (math.inf, math.inf)
    assert near.c == pytest.approx(float(far.c), abs=1e-6)
    assert near.xi_c == pytest.approx(float(far.xi_c), rel=1e-4)


def test_cubes_of_nothing_keep_their_correlation_map():
    """a - tanh a is a^3 / 3 near 0, whose covariance is (9 c + 6 c^3) / 15: the slope at c = 0 is 3 / 5."""
    found = fixed_point(probed("tanhshrink"), 1.0, 0.0, 1.0)
    assert (found.q, found.c) == (0, pytest.approx(0, abs=1e-6))
    assert found.xi_c == pytest.approx(-1 / math.log(0.6), rel=1e-2)


@pytest.mark.slow
def test_slopes_without_a_mean_square_are_infinite():
    found = fixed_point(probed("root"), 1.0, 0.0, 1.0)
    assert found.chi1 == math.inf
    assert found.q == pytest.approx(2 / math.pi)  # E sqrt(u^2)


@pytest.mark.slow
def test_at_a_critical_gain_correlations_change_by_no_rate():
    for name in ("bump", "gaussian", "cos"):
        gain = critical_gain(probed(name), 0.0).gain
        assert math.isfinite(gain)
        found = fixed_point(probed(name), gain**2, 0.0, 1.0)
        assert (found.c, found.xi_c) == (1, math.inf), name


def test_a_map_that_turns_back_has_a_scale_of_its_distance():
    """E[cos^2] = (1 + e^(-2q)) / 2: at gain 2 the slope at q* is -4 e^(-2 q*)."""
    found = fixed_point(probed("cos"), 4.0, 0.0, 1.0)
    slope = 4 * math.exp(-2 * float(found.q))
    assert found.q == pytest.approx(2 * (1 + math.exp(-2 * float(found.q))))
    assert found.xi_q == pytest.approx(-1 / math.log(slope), rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("start", [1e-2, 3e-3, 1e-6])
def test_steps_too_small_to_be_told_have_the_sign_of_those_beside_them(start):
    """hard_tanh is the identity up to 1, so that E[phi^2] / q is 1 but for 1e-22 at q = 1e-2: and less than 1."""
    for one in (activation("hard_tanh"), probed("clip")):
        assert fixed_point(one, 1.0, 0.0, start).q == 0
    assert fixed_point(activation("relu"), 2.0, 0.0, start).q == pytest.approx(start)
    assert fixed_point(activation("hard_tanh"), 1.0, 0.1**2, start).q > 0.1
