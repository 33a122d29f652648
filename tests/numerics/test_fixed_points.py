"""Fixed points, folds and critical gains against plain repetition and published points."""

import math
import warnings

import jax.numpy as jnp
import numpy as np
import pytest

from support.marks import slow_but
from winit_jax.numerics import theory
from winit_jax.numerics.activations import ACTIVATIONS, activation
from winit_jax.numerics.activations.probing import probe
from winit_jax.numerics.theory.length_curves import curve
from winit_jax.numerics.theory.moments import averages


def logs(gain, bias_std=0.0):
    with np.errstate(divide="ignore"):
        return 2 * np.log(np.float64(gain)), 2 * np.log(np.float64(bias_std))


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_curves_are_the_averages_themselves(name):
    act = ACTIVATIONS[name]
    x = np.random.default_rng(0).uniform(-72, 54, 300)
    exact, got = averages(act, np.exp(x)), curve(act).at(x)
    # Rounding of the averages, and of their logarithms where those are of a size of 70.
    np.testing.assert_allclose(got.ratio, np.log(exact.second / np.exp(x)), rtol=0, atol=5e-13)
    np.testing.assert_allclose(got.log_chi, np.log(exact.slope_second), rtol=0, atol=5e-13)
    np.testing.assert_allclose(got.slope, exact.growth * np.exp(x) / exact.second - 1, rtol=0, atol=1e-12)


def test_a_root_beside_a_fold_is_found():
    # Repetition from 3.006 rises and from 3.050 falls; the root lies between, 7e-6 of a gain from where it is lost.
    silu, gain = ACTIVATIONS["silu"], 1.44073
    assert theory.length_map(3.006, silu, gain**2, 0.36) > 3.006
    assert theory.length_map(3.050, silu, gain**2, 0.36) < 3.050
    got = theory.fixed_point(silu, gain**2, 0.36)
    assert 3.006 < got.q < 3.050
    assert theory.length_map(got.q, silu, gain**2, 0.36) == pytest.approx(float(got.q), rel=1e-12)
    above = [rest.stability for rest in theory.rests(silu, *logs(gain, 0.6))]
    assert above == ["stable", "unstable", "stable"]
    fold = next(at for at, q in theory.folds(silu, 0.6) if q < 10)
    assert fold == pytest.approx(1.4407400843, abs=5e-11)
    assert np.isinf(theory.fixed_point(silu, (fold * (1 + 1e-9)) ** 2, 0.36).q)
    assert np.isfinite(theory.fixed_point(silu, (fold * (1 - 1e-9)) ** 2, 0.36).q)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gelu", "silu", "mish"])
@pytest.mark.parametrize("bias_std", [0.0, 0.3, 0.6])
def test_every_sign_change_of_the_step_is_a_fixed_point(name, bias_std):
    act = ACTIVATIONS[name]
    q = np.geomspace(1e-3, 1e3, 6001)
    for gain in (1.35, 1.41, 1.43, 1.45, 1.5):
        step = theory.length_map(q, act, gain**2, bias_std**2) - q
        turns = np.flatnonzero(step[1:] * step[:-1] < 0)
        found = [math.exp(rest.log_q) for rest in theory.rests(act, *logs(gain, bias_std)) if math.isfinite(rest.log_q)]
        inside = [at for at in found if q[0] < at < q[-1]]
        assert len(inside) == len(turns)
        for at, i in zip(inside, turns, strict=True):
            assert q[i] <= at <= q[i + 1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "gain", "bias_std"),
    slow_but([("gelu", 1.5, 0.0)], [("gelu", 1.5, 0.0), ("silu", 1.43, 0.6), ("mish", 1.43, 0.25)]),
)
def test_the_start_decides_and_basins_say_so(name, gain, bias_std):
    act = ACTIVATIONS[name]
    rests = theory.rests(act, *logs(gain, bias_std))
    starts = np.array([0.02, 0.5, 1.0, 1.3, 2.0, 5.0, 20.0])
    q = starts.copy()
    for _ in range(3000):
        q = np.minimum(theory.length_map(q, act, gain**2, bias_std**2), 1e12)
    got = theory.fixed_point(act, gain**2, bias_std**2, starts)
    np.testing.assert_array_equal(np.isinf(got.q), q > 1e10)
    np.testing.assert_array_equal(got.q == 0, q < 1e-10)
    settled = (q > 1e-10) & (q < 1e10)
    # What 3000 layers have not brought home yet.
    np.testing.assert_allclose(got.q[settled], q[settled], rtol=1e-6)
    for start, log_q in zip(starts, got.log_q, strict=True):
        (home,) = [rest for rest in rests if rest.low < math.log(start) < rest.high]
        assert home.log_q == pytest.approx(float(log_q), abs=1e-9)
        assert home.stability == "stable"
    assert any(rest.stability == "unstable" and rest.low == rest.high for rest in rests)


@pytest.mark.parametrize(("name", "gain"), [("gelu", 1.4680), ("silu", 1.559), ("mish", 1.451)])
def test_networks_on_normal_inputs_flip_where_their_own_start_is_unstable(name, gain):
    got = theory.critical_gain(ACTIVATIONS[name], 0.0, theory.Start(square=1.0))
    assert np.isnan(got.gain)
    (jump,) = got.jumps
    # Half of the last digit that is given.
    assert jump.gain == pytest.approx(gain, abs=5.1e-4)
    assert (jump.log_q_below, jump.log_q_above) == (-np.inf, np.inf)
    assert theory.length_map(jump.gain**2, ACTIVATIONS[name], jump.gain**2, 0.0) == pytest.approx(
        jump.gain**2, rel=1e-9
    )


@pytest.mark.parametrize(
    ("name", "q", "weight_var", "bias_var"),
    [("gelu", 3.56155281, 1.98305826, 0.17292239), ("silu", 14.32017362, 1.98800468, 0.55514317)],
)
def test_half_stable_points_to_every_published_digit(name, q, weight_var, bias_var):
    (got,) = theory.half_stable(ACTIVATIONS[name])
    assert got == pytest.approx((q, weight_var, bias_var), abs=6e-9)
    assert theory.half_stable(ACTIVATIONS["tanh"]) == []


@pytest.mark.parametrize("name", ["gelu", "silu", "elu", "mish", "selu", "softplus", "relu", "leaky_relu"])
def test_where_signals_explode_a_phi_in_proportion_is_a_relu(name):
    got = theory.fixed_point(ACTIVATIONS[name], np.array([3.0, 9.0]), np.array([0.0, 0.5]))
    np.testing.assert_array_equal(got.q, np.inf)
    np.testing.assert_array_equal(got.c, 1)
    np.testing.assert_array_equal(got.xi_c, np.inf)


@pytest.mark.parametrize("name", ["tanh", "elu", "sin", "hard_tanh", "identity"])
def test_a_critical_gain_of_one_is_one(name):
    assert theory.critical_gain(ACTIVATIONS[name], 0.0).gain == 1.0


def test_relu_keeps_every_start_at_its_critical_gain():
    gain = theory.critical_gain(ACTIVATIONS["relu"], 0.0).gain
    assert gain == pytest.approx(math.sqrt(2), rel=3e-16)
    got = theory.fixed_point(ACTIVATIONS["relu"], gain**2, 0.0, start=0.37)
    assert (got.q, got.chi1, got.xi_c) == (pytest.approx(0.37, rel=1e-15), pytest.approx(1), np.inf)
    (rest,) = theory.rests(ACTIVATIONS["relu"], *logs(gain))
    assert rest.stability == "neutral"


def test_chi_jumps_below_the_half_stable_bias_and_passes_through_one_above_it():
    gelu = ACTIVATIONS["gelu"]
    (point,) = theory.half_stable(gelu)
    below, above = (theory.critical_gain(gelu, math.sqrt(point.bias_var) * side) for side in (0.9999, 1.001))
    # The jump is one of 0.2 in log q, between two folds that lie 2e-6 apart in gain.
    assert np.isnan(below.gain)
    (jump,) = below.jumps
    assert 0.99 < jump.chi_below < 1 < jump.chi_above < 1.01
    first, second = theory.folds(gelu, math.sqrt(point.bias_var) * 0.9999)
    assert second[0] - first[0] < 3e-6
    assert above.jumps == ()
    got = theory.fixed_point(gelu, above.gain**2, point.bias_var * 1.001**2)
    assert got.chi1 == pytest.approx(1, abs=1e-9)


EXTREMES = (0.0, 5e-324, 1e-200, 0.3, 1e155, 1e308)
OWN = {
    "relu_squared": lambda a: jnp.maximum(a, 0) ** 2,
    "bump": lambda a: jnp.exp(-a * a),
    "cosine": jnp.cos,
    "exponential": jnp.exp,
    "nan_far_out": lambda a: a * jnp.exp(a) / jnp.exp(a),
    "shifted_relu": lambda a: jnp.where(a > 1, a - 1, 0.0),
    "nearly_constant": lambda a: 1 + 1e-9 * jnp.tanh(a),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tanh", "relu", "gelu", "softplus", "leaky_relu(1e300)", "leaky_relu(0)", *OWN])
def test_no_scale_and_no_function_is_too_extreme(name):
    act = probe(OWN[name], name) if name in OWN else activation(name)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        for bias_std in EXTREMES:
            for start in (theory.Start(), theory.Start(square=1.0)):
                critical = theory.critical_gain(act, bias_std, start)
                assert np.isfinite(critical.gain) == (critical.reason == "")
            gains = np.array(EXTREMES[1:])
            weight, bias = logs(gains)[0], np.full(gains.size, logs(1.0, bias_std)[1])
            for start in (0.0, -1400.0, 1400.0):
                theory.fixed_point_of_logs(act, weight, bias, start)
                theory.depths(act, weight, bias, np.full(gains.size, start))
            theory.folds(act, bias_std)
            for one in weight:
                theory.rests(act, float(one), float(bias[0]))


def test_numbers_beyond_float64_are_right_in_logarithms():
    relu = theory.fixed_point_of_logs(activation("relu"), 0.0, 2 * math.log(1e155), 0.0)
    # q = bias_var / (1 - 1/2)
    assert relu.log_q == pytest.approx(math.log(2) + 310 * math.log(10), rel=1e-14)
    assert relu.chi1 == 0.5
    steep = theory.fixed_point_of_logs(activation("leaky_relu(1e300)"), -1300.0, -np.inf, 0.0)
    # chi1 = weight_var (1 + 1e600) / 2
    assert steep.chi1 == pytest.approx(math.exp(600 * math.log(10) - 1300.0 - math.log(2)), rel=1e-10)
    wide = theory.propagate(activation("leaky_relu(1e300)"), -600.0, -np.inf, 0.0, 0.3, 4)
    np.testing.assert_allclose(wide.log10_act_rms[:, 0], 300 - np.arange(1, 5) * math.log10(2) / 2, rtol=1e-14)
    squared = theory.fixed_point(probe(OWN["relu_squared"], "relu_squared"), 0.25, 0.0)
    assert (squared.q, squared.chi1) == (0, 0)
