"""Draws and scale rules: variances within standard errors, keys from names."""

import json
import math
import os
import subprocess
import sys

import jax
import numpy as np
import pytest

from support.inits import DEPTH, FACTORS, MADE, RULES, VARIANCES, fourth_moment
from winit_jax import columns
from winit_jax.numerics.blocks import BLOCKS
from winit_jax.numerics.initializers import (
    BIAS_LAWS,
    SHAPES,
    TRUNCATED_STD,
    unit_biases,
    unit_readout,
    unit_weight_stack,
    unit_weights,
)
from winit_jax.numerics.schemes import (
    SCHEMES,
    is_predicted,
    name_of,
    own_bias_law,
    own_bias_std,
    scheme_gain,
    scheme_std,
    shape_of,
)

RANDOM = sorted(set(SHAPES) - {"constant"})


def test_figures_know_which_inits_are_shapes():
    assert tuple(SHAPES) == columns.SHAPES


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


@pytest.mark.parametrize("init", [*RULES, *MADE])
@pytest.mark.parametrize(("fan_in", "fan_out"), [(64, 4096), (1024, 128), (300, 300)])
def test_weights_have_the_variance_of_their_paper_or_library(init, fan_in, fan_out):
    expected = (RULES | MADE)[init](fan_in, fan_out)
    std = scheme_std(init, fan_in, fan_out)
    assert std**2 == pytest.approx(expected, rel=1e-12)
    w = std * np.asarray(unit_weight_stack(0, shape_of(init), 2, 1, fan_in, fan_out)[0], float)
    assert w.shape == (fan_in, fan_out)
    spread = 0 if shape_of(init) in ("constant", "identity", "lsuv") else fourth_moment(shape_of(init)) - 1
    assert abs(np.mean(w**2) - expected) <= 5 * expected * np.sqrt(spread / w.size) + 1e-6 * expected


@pytest.mark.parametrize(("fan_in", "fan_out"), [(12, 12), (5, 9), (9, 5), (36, 12)])
def test_identity_weights_are_ones_on_the_diagonal_and_of_a_convolution_at_the_centre_tap(fan_in, fan_out):
    for init, gain in {"identity": 1.0, "identity(0.5)": 0.5}.items():
        w = scheme_std(init, fan_in, fan_out) * np.asarray(unit_weights(0, "identity", fan_out, 1, fan_in), float)
        np.testing.assert_allclose(w, gain * np.eye(fan_in, fan_out), rtol=2e-7)
    assert not is_predicted("identity")


def test_the_first_layer_of_siren_follows_from_its_inputs_alone():
    assert scheme_std("siren(30)", 50, 400, role="stem") == pytest.approx(1 / 50 / np.sqrt(3))
    assert scheme_gain("siren(30)", 50, 400, role="stem") == pytest.approx(1 / np.sqrt(3 * 50))


def test_the_taps_of_a_convolution_count_in_both_of_its_fans():
    """As JAX's own initializers have it of a kernel [taps, n, n]."""
    (place,) = BLOCKS.find("conv(3)").updates[0].places(20)
    assert place.fans == (60, 60)
    theirs = jax.nn.initializers.glorot_normal()(jax.random.key(0), (3, 200, 200))
    for init in ("xavier_normal", "xavier_uniform", "keras_conv", "variance_scaling(1, fan_avg, uniform)"):
        std = scheme_std(init, *BLOCKS.find("conv(3)").updates[0].places(200)[0].fans)
        assert std == pytest.approx(float(np.std(theirs)), rel=5 / np.sqrt(2 * theirs.size))


def test_only_torch_and_equinox_have_biases_of_their_own():
    own = {init for init in [*SHAPES, *RULES, *MADE, *FACTORS] if own_bias_std(init, 64, 32) != 0}
    assert own == {"torch_linear", "torch_conv", "equinox_linear", "equinox_conv"}
    for init in own:
        assert own_bias_std(init, 64, 32) ** 2 == pytest.approx(1 / (3 * 64))
        assert own_bias_law(init) == "uniform"
    assert own_bias_law("he_normal") == "normal"


@pytest.mark.parametrize("law", BIAS_LAWS)
def test_biases_have_variance_one_and_keep_to_their_law(law):
    biases = np.asarray(unit_biases(0, 4096, 2, 8, law=law), float)
    readout = np.asarray(unit_readout(0, "normal", 8, 4096, law)[1], float)
    for drawn in (biases, readout):
        spread = {"normal": 2.0, "uniform": 4 / 5, "constant": 0.0}[law]
        assert abs(np.mean(drawn**2) - 1) <= 5 * np.sqrt(spread / drawn.size)
    assert law != "constant" or set(biases.ravel()) == {1.0}
    assert law != "uniform" or 1.7 < np.abs(biases).max() <= np.sqrt(3) * (1 + 1e-6)


def test_biases_of_one_law_are_unrelated_to_those_of_another():
    normal, uniform = (np.asarray(unit_biases(0, 4096, 1, 1, law=law), float)[0] for law in ("normal", "uniform"))
    assert abs(np.mean(normal * uniform)) < 5 / np.sqrt(normal.size)


@pytest.mark.slow  # the last bit of a normal number is the compiler's
def test_normal_biases_are_what_they_were_before_biases_had_laws():
    """In a process that compiles as users do: code that LLVM leaves as it is rounds the inverse of erf otherwise."""
    code = (
        "import json, numpy as np; from winit_jax.numerics.initializers import unit_biases, unit_readout; "
        "drawn = unit_biases(0, 64, 1, 1)[0, :3], unit_readout(0, 'normal', 8, 10)[1][:3]; "
        "print(json.dumps([np.asarray(of, float).tolist() for of in drawn]))"
    )
    usual = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    drawn = json.loads(subprocess.run([sys.executable, "-c", code], env=usual, check=True, capture_output=True).stdout)
    biases, readout = np.float32(drawn)
    np.testing.assert_array_equal(biases, np.float32([1.3771256, -0.7564785, 0.32611135]))
    np.testing.assert_array_equal(readout, np.float32([-0.42051604, 1.7713141, -1.3238363]))


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("he_normal(0.20)", "he_normal(0.2)"),
        ("variance_scaling(2.0,fan_in,normal)", "variance_scaling(2, fan_in, normal)"),
        ("siren(30.0)", "siren(30)"),
        ("torch_linear", "torch_linear"),
        ("normal", "normal"),
    ],
)
def test_an_init_has_one_name_however_its_numbers_are_written(word, name):
    assert name_of(word) == name


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("variance_scaling(2, fan, normal)", "the mode is fan_in, fan_out or fan_avg, not 'fan'."),
        ("variance_scaling(2, fan_in, cauchy)", "is normal, truncated_normal or uniform, not 'cauchy'."),
        ("variance_scaling(two, fan_in, normal)", "'two' is not a number."),
        ("variance_scaling(0, fan_in, normal)", "the scale must be greater than 0, not 0."),
        (
            "variance_scaling(2)",
            "variance_scaling takes a scale, a mode (fan_in, fan_out or fan_avg) and a distribution (normal, "
            "truncated_normal or uniform).",
        ),
        ("he_normal(0.1, 0.2)", "he_normal takes 1 number."),
        ("he_normal(inf)", "the argument must be finite."),
        ("siren(-1)", "the omega must be greater than 0, not -1."),
        ("identity(0)", "the gain must be greater than 0, not 0."),
        ("torch_linear(2)", "torch_linear takes no argument."),
        ("lecun", "'lecun' is not an init."),
    ],
)
def test_a_wrong_argument_gets_one_sentence_with_the_reason(word, sentence):
    with pytest.raises(ValueError, match=r"^[^\n]*$") as caught:
        name_of(word)
    assert sentence in str(caught.value)


def test_the_truncated_draw_is_made_up_for_what_is_cut_off():
    # The variance of N(0, 1) cut at 2; the number that JAX, Flax and Keras divide by has eleven digits.
    density = np.exp(-2) / np.sqrt(2 * np.pi)
    variance = 1 - 4 * density / math.erf(np.sqrt(2))
    assert variance == pytest.approx(TRUNCATED_STD**2, rel=1e-10)
    assert scheme_std("haiku_linear", 100, 100) ** 2 == pytest.approx(variance / 100, rel=1e-10)


@pytest.mark.parametrize(("scheme", "role"), [(scheme, role) for scheme in FACTORS for role in FACTORS[scheme]])
def test_a_scheme_of_the_depth_has_the_std_of_its_paper_at_each_place(scheme, role):
    std = scheme_std(scheme, 64, 256, role, DEPTH)
    assert std == pytest.approx(np.sqrt(VARIANCES[scheme](64, 256)) * FACTORS[scheme][role], rel=1e-12)
    assert scheme_gain(scheme, 64, 256, role, DEPTH) == pytest.approx(8 * std, rel=1e-12)
    assert shape_of(scheme) == "normal"


def test_every_scheme_is_covered_above():
    assert set(SCHEMES) == {*RULES, *FACTORS}
    assert {made.partition("(")[0] for made in MADE} == set(SCHEMES.makers)
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


def test_a_draw_is_one_program():
    compiled = []

    def heard(event, seconds, **more):
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(event)

    jax.monitoring.register_event_duration_secs_listener(heard)
    try:
        unit_weight_stack(5, "normal", 2, 3, 13, 11)
        unit_biases(5, 11, 1, 3)
    finally:
        jax.monitoring.unregister_event_duration_listener(heard)
    assert len(compiled) == 2
