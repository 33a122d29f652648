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
    return {"normal": 3.0, "uniform": 9 / 5}.get(shape, 3.0)


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


# Place -> what gpt2, fixup and deepnorm multiply its std by, in a network of depth 8. Radford et al. 2019: weights that
# are added to the stream, two a layer, are 1 / sqrt(2 depth) as large. Zhang et al. 2019, arXiv:1901.09321: the last
# weights of a branch and the readout begin as 0, the m - 1 = 1 others of a branch are depth^(-1 / (2 m - 2)) as large.
# Wang et al. 2022, arXiv:2203.00555: all but queries and keys are (8 depth)^(-1/4) as large.
FACTORS = {
    "gpt2": {"stem": 1, "inner": 1, "logits": 1, "out": 0.25, "readout": 1},
    "fixup": {"stem": 1, "inner": 8**-0.5, "logits": 8**-0.5, "out": 0, "readout": 0},
    "deepnorm": {"stem": 1, "inner": 64**-0.25, "logits": 1, "out": 64**-0.25, "readout": 1},
}
VARIANCES = {"gpt2": 0.02**2, "fixup": 2 / 64, "deepnorm": 2 / (64 + 256)}


@pytest.mark.parametrize(("scheme", "role"), [(scheme, role) for scheme in FACTORS for role in FACTORS[scheme]])
def test_a_scheme_of_the_depth_has_the_std_of_its_paper_at_each_place(scheme, role):
    std = scheme_std(scheme, 64, 256, role, 8)
    assert std == pytest.approx(np.sqrt(VARIANCES[scheme]) * FACTORS[scheme][role], rel=1e-12)
    assert scheme_gain(scheme, 64, 256, role, 8) == pytest.approx(8 * std, rel=1e-12)
    assert shape_of(scheme) == "normal"


def test_every_scheme_is_covered_above():
    assert len(SCHEMES) == 7 + len(FACTORS)
    assert tuple(FACTORS) == columns.DEPTH_SCHEMES
    assert tuple(scheme for scheme in SCHEMES if SCHEMES[scheme].factor is not None) == columns.DEPTH_SCHEMES


@pytest.mark.parametrize("taps", [1, 3, 4])
def test_delta_orthogonal_weights_are_orthogonal_at_the_centre_tap_and_zero_at_the_others(taps):
    width = 12
    z = np.asarray(unit_weight_stack(1, "delta_orthogonal", 2, 1, taps * width, width, "conv"), float)[0]
    centre, others = z[:width], z[width:]
    # Householder QR in float32: each entry is a sum of a dozen products of rounding 6e-8.
    np.testing.assert_allclose(centre.T @ centre, taps * width * np.eye(width), atol=taps * width * 1e-5)
    assert not np.any(others)
    assert np.mean(z**2) == pytest.approx(1, rel=1e-5)


def test_a_draw_depends_on_names_and_not_on_how_layers_are_stacked():
    whole = np.asarray(unit_weight_stack(0, "normal", 2, 6, 8, 8))
    pieces = np.concatenate([unit_weight_stack(0, "normal", first, 2, 8, 8) for first in (2, 4, 6)])
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
        assert {scheme_gain(scheme, width, width) for width in range(1, 300)} == {gain}
