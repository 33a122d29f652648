"""The NumPy definitions of what is measured: one for each column, right on layers that can be worked out by hand."""

import numpy as np
import pytest

from support import references
from winit_jax.numerics.measure.definitions import DEFINITIONS, LayerArrays, root_mean_square


def layer_of(a, h, **others):
    a, h = np.asarray(a, float), np.asarray(h, float)
    return LayerArrays(a, h, 0.0, a - a.mean(axis=0), is_zero=h == 0, **others)


@pytest.mark.parametrize(
    ("column", "by_pairs"),
    [
        ("unit_similarity", lambda layer: references.unit_similarity(layer.h)),
        ("input_correlation", lambda layer: references.input_correlation(layer.a)),
        ("input_decorrelation", lambda layer: references.input_decorrelation(layer.a)),
    ],
)
@pytest.mark.parametrize("shape", [(7, 5), (2, 3), (1, 4), (4, 1)])
def test_similarities_are_means_over_distinct_pairs(column, by_pairs, shape):
    a = np.random.default_rng(0).standard_normal(shape) + 0.5
    layer = layer_of(a, np.tanh(a))
    # Float64 sums in two orders.
    assert DEFINITIONS[column](layer) == pytest.approx(by_pairs(layer), rel=1e-12, nan_ok=True)


def test_a_layer_of_two_samples_and_two_units_reads_as_on_paper():
    saturated = np.array([[True, False], [True, True]])
    tangents = {"tangents": np.full((2, 2), 0.1), "first_tangents": np.ones((2, 2))}
    layer = layer_of([[1, 3], [3, 5]], [[0, 1], [0, 3]], is_saturated=saturated, **tangents)
    expected = {
        "preact_mean": 3,
        "preact_std": np.sqrt(2),
        "log10_preact_rms": np.log10(np.sqrt((1 + 9 + 9 + 25) / 4)),
        "act_mean": 1,
        "act_std": np.sqrt(1.5),
        "act_min": 0,
        "act_max": 3,
        "log10_act_rms": np.log10(np.sqrt(2.5)),
        "saturated": 0.75,
        "dead": 0.5,
        "zero": 0.5,
        "unit_similarity": 0,
        "input_correlation": 2 * (1 * 3 + 3 * 5) / (1 + 9 + 9 + 25),
        "input_decorrelation": ((1 - 3) ** 2 + (3 - 5) ** 2) / (1 + 9 + 9 + 25),
        "nonfinite": 0,
        "position_similarity": np.nan,  # of one position, and no attention
        "attention_entropy": np.nan,
        "log10_jacobian": -1,
    }
    found = {name: definition(layer) for name, definition in DEFINITIONS.items()}
    assert found == pytest.approx(expected, nan_ok=True)


def test_two_samples_of_two_positions_read_as_on_paper():
    a = np.array([[1, 3], [3, 5], [0, 2], [2, 0]], float)  # sample by sample
    means = np.tile(a.reshape(2, 2, 2).mean(axis=0), (2, 1))
    # A query that is undecided between two positions, and one that sees one alone, which is left out.
    weights = np.array([[[[0.5, 0.5], [1.0, 0.0]]]])
    layer = LayerArrays(a, a, 0.0, a - means, positions=2, weights=weights)
    squares = 1 + 9 + 9 + 25 + 4 + 4
    assert DEFINITIONS["position_similarity"](layer) == pytest.approx(2 * ((1 * 3 + 3 * 5) + 0) / squares)
    assert DEFINITIONS["input_correlation"](layer) == pytest.approx(2 * ((1 * 0 + 3 * 2) + (3 * 2 + 5 * 0)) / squares)
    apart = (1 - 0) ** 2 + (3 - 2) ** 2 + (3 - 2) ** 2 + (5 - 0) ** 2
    assert DEFINITIONS["input_decorrelation"](layer) == pytest.approx(apart / squares)
    assert DEFINITIONS["attention_entropy"](layer) == pytest.approx(1.0)
    uneven = layer._replace(weights=np.array([[[[1.0, 0.0], [0.9, 0.1]]]]))
    entropy = -(0.9 * np.log(0.9) + 0.1 * np.log(0.1)) / np.log(2)
    assert DEFINITIONS["attention_entropy"](uneven) == pytest.approx(entropy)


def test_a_response_kept_beside_phi_of_0_has_the_same_statistics():
    a = np.random.default_rng(1).standard_normal((6, 4))
    h = references.sigmoid(a)
    apart = LayerArrays(a, h - 0.5, 0.5, a - a.mean(axis=0), is_zero=h == 0)
    for name in ("act_mean", "act_std", "act_min", "act_max", "log10_act_rms", "unit_similarity"):
        # Float64 rounding.
        assert DEFINITIONS[name](apart) == pytest.approx(DEFINITIONS[name](layer_of(a, h)), rel=1e-12)


def test_the_size_of_numbers_is_right_where_their_squares_are_not():
    assert root_mean_square(np.array([3e-200, 4e-200])) == pytest.approx(np.sqrt(12.5) * 1e-200)
    assert root_mean_square(np.array([3e200, 4e200])) == pytest.approx(np.sqrt(12.5) * 1e200)
    assert root_mean_square(np.zeros(3)) == 0
