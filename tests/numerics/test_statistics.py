"""Columns where rounding tempts: thresholds near 0, values at the edge of their range, correlations near 1."""

import jax.numpy as jnp
import numpy as np
import pytest

from support import references
from support.networks import draws, fast, inputs
from winit_jax.numerics.activations import ACTIVATIONS, activation
from winit_jax.numerics.activations.probing import probe
from winit_jax.numerics.measure.networks import Settings

SMOOTH = ("sigmoid", "tanh", "elu", "selu", "erf", "softplus")


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
@pytest.mark.parametrize("threshold", [1e-20, 1e-8, 1e-5, 1e-3, 0.5, 0.999])
def test_slopes_are_held_against_any_threshold(name, threshold):
    entry = Settings(activation(name), saturation_threshold=threshold).activation
    a = np.linspace(-60, 60, 48_001).astype(np.float32)
    got = np.asarray(entry.is_saturated(jnp.asarray(a), entry.response(jnp.asarray(a)), threshold))
    slope = np.abs(references.SLOPE[name](a.astype(float)))
    limit = threshold * entry.max_slope
    # At a zero of phi' and at its top float32 cannot be nearer than a roundoff of the steepest slope.
    clear = np.abs(slope - limit) > 1e-3 * limit + 2e-7 * (name not in SMOOTH or threshold > 0.9)
    np.testing.assert_array_equal(got[clear], (slope < limit)[clear])


def test_the_usual_threshold_reads_the_response():
    assert Settings(activation("tanh")).activation is activation("tanh")


def test_a_function_by_import_path_says_how_far_its_slopes_resolve():
    least, most = probe(jnp.tanh, "mine:tanh").thresholds
    assert 1e-6 < least < 1e-3
    assert most > 0.999


@pytest.mark.slow
def test_what_is_positive_stays_positive_and_keeps_its_digits():
    x = np.abs(inputs(samples=30, features=4))
    std, width = 3.0, 5
    for name in ("softplus", "sigmoid"):
        columns = fast(-x, name, [std], [0.0], width=width, depth=1, shape="constant")
        (weights, _) = draws("constant", width, 4, 1)[0]
        expected = references.PHI[name](-x @ (std * weights))
        least, mean, most = (columns[column][0, 0] for column in ("act_min", "act_mean", "act_max"))
        assert 0 <= least <= mean <= most <= 1
        if name == "softplus":
            assert least == pytest.approx(expected.min(), rel=1e-4)


def test_units_that_are_all_nearly_silent_are_still_compared_rightly():
    # One unit at 1e-5 and others far below: rounding of sigmoid's half must not be squared.
    x = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    for gain in (5.0, 15.0, 40.0):
        similarity = fast(np.abs(x), "sigmoid", [gain], width=6, depth=4, seed=3)["unit_similarity"]
        assert np.all(similarity <= 1)
        assert np.all(similarity >= -1 / 5)


@pytest.mark.parametrize("shape", ["constant", "normal"])
def test_similarities_keep_to_their_bounds(shape):
    x = np.array([[1.0, 2.0], [-1.0, -2.0], [0.1, 0.2]])
    columns = fast(x, "tanh", [1e-3, 0.3, 1.0], width=5, depth=3, shape=shape)
    for name, count in (("unit_similarity", 5), ("input_correlation", 3)):
        assert np.all(columns[name] <= 1)
        assert np.all(columns[name] >= -1 / (count - 1))


@pytest.mark.slow
def test_decorrelation_keeps_its_digits_where_inputs_are_nearly_alike():
    x = inputs(samples=8, features=6, seed=2)[:1] + 1e-4 * inputs(samples=8, features=6)
    columns = fast(x, "tanh", [0.3], [0.5], width=7, depth=4)
    unit = draws("normal", 7, 6, 4)
    expected = references.layers(x, [0.3 * w for w, _ in unit], [0.5 * b for _, b in unit], "tanh")
    for layer, row in enumerate(expected):
        assert row["input_decorrelation"] < 1e-6
        assert columns["input_decorrelation"][layer, 0] == pytest.approx(row["input_decorrelation"], rel=1e-2)
        assert columns["input_correlation"][layer, 0] == 1 - columns["input_decorrelation"][layer, 0]


def test_decorrelation_is_carried_beyond_float32():
    # Beside biases of 1 a signal of 1e-100 leaves 1 - c = 1e-200 times what a signal of 1e-3 leaves 1e-6 times.
    x = inputs(samples=8, features=6)
    columns = fast(x, "tanh", [1e-3, 1e-100], [1.0, 1.0], width=7, depth=1)
    small, tiny = columns["input_decorrelation"][0]
    assert tiny / small == pytest.approx(1e-194, rel=1e-4)
    assert np.isnan(fast(x[:1], "tanh", [1.0], width=7, depth=1)["input_decorrelation"][0, 0])
