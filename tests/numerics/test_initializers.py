"""Draws and scale rules: variances within standard errors, keys from names."""

import numpy as np
import pytest

from winit_jax import columns
from winit_jax.numerics.initializers import (
    SCHEMES,
    SHAPES,
    scheme_gain,
    scheme_std,
    shape_of,
    unit_biases,
    unit_weight_stack,
    unit_weights,
)

RANDOM = sorted(set(SHAPES) - {"constant"})


def test_figures_know_which_inits_are_shapes():
    assert tuple(SHAPES) == columns.SHAPES


def fourth_moment(shape):
    """E[z^4] of a unit draw, for the standard error of its variance."""
    return {"normal": 3.0, "uniform": 9 / 5, "truncated_normal": 3.0, "orthogonal": 3.0}[shape]


@pytest.mark.parametrize("shape", RANDOM)
@pytest.mark.parametrize(("fan_in", "width"), [(64, 1024), (1024, 64), (256, 256)])
def test_a_unit_draw_has_variance_one(shape, fan_in, width):
    z = np.asarray(unit_weights(0, shape, width, 1, fan_in), float)
    assert z.shape == (fan_in, width)
    standard_error = np.sqrt((fourth_moment(shape) - 1) / z.size)
    assert abs(np.mean(z**2) - 1) < 5 * standard_error
    assert abs(np.mean(z)) < 5 / np.sqrt(z.size)


def test_uniform_and_truncated_draws_keep_to_their_range():
    uniform = np.asarray(unit_weights(0, "uniform", 200, 1, 200))
    assert np.abs(uniform).max() <= np.sqrt(3) * (1 + 1e-6)
    truncated = np.asarray(unit_weights(0, "truncated_normal", 200, 1, 200))
    assert 2.2 < np.abs(truncated).max() <= 2 / 0.87962566 * (1 + 1e-6)


@pytest.mark.parametrize(("fan_in", "width"), [(48, 48), (96, 48), (48, 96)])
def test_orthogonal_draws_are_orthogonal(fan_in, width):
    z = np.asarray(unit_weights(3, "orthogonal", width, 1, fan_in), float)
    larger, smaller = max(fan_in, width), min(fan_in, width)
    gram = z.T @ z if fan_in >= width else z @ z.T
    np.testing.assert_allclose(gram, larger * np.eye(smaller), atol=larger * 1e-5)


@pytest.mark.parametrize(
    ("scheme", "variance"),
    [
        ("zeros", 0),
        ("lecun_normal", 1 / 64),
        ("lecun_uniform", 1 / 64),
        ("xavier_normal", 2 / (64 + 4096)),
        ("xavier_uniform", 2 / (64 + 4096)),
        ("he_normal", 2 / 64),
        ("he_uniform", 2 / 64),
    ],
)
def test_a_scheme_has_the_variance_of_its_paper(scheme, variance):
    assert scheme_std(scheme, 64, 4096) ** 2 == pytest.approx(variance)
    assert shape_of(scheme) in SHAPES


def test_every_scheme_is_covered_above():
    assert len(SCHEMES) == 7


def test_a_draw_depends_on_names_and_not_on_how_layers_are_stacked():
    whole = np.asarray(unit_weight_stack(0, "normal", 8, 2, 6))
    pieces = np.concatenate([unit_weight_stack(0, "normal", 8, first, 2) for first in (2, 4, 6)])
    np.testing.assert_array_equal(whole, pieces)
    np.testing.assert_array_equal(whole[3], unit_weights(0, "normal", 8, 5, 8))
    biases = np.asarray(unit_biases(0, 8, 1, 5))
    np.testing.assert_array_equal(biases[2:], unit_biases(0, 8, 3, 3))


def test_draws_of_different_names_are_unrelated():
    size = 64 * 64
    draws = [
        np.asarray(unit_weights(*names)).ravel()
        for names in [
            (0, "normal", 64, 1, 64),
            (1, "normal", 64, 1, 64),
            (0, "normal", 64, 2, 64),
            (0, "truncated_normal", 64, 1, 64),
        ]
    ]
    for i, one in enumerate(draws):
        for other in draws[:i]:
            assert abs(np.mean(one * other)) < 5 / np.sqrt(size)


def test_a_scheme_s_gain_is_the_same_at_every_width():
    for scheme, gain in {"zeros": 0.0, "lecun_normal": 1.0, "xavier_uniform": 1.0, "he_normal": np.sqrt(2)}.items():
        assert {scheme_gain(scheme, width) for width in range(1, 300)} == {gain}
