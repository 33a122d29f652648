"""Normalisations that remove nearly a whole change: the right number, or NaN, and never what rounding leaves."""

import numpy as np
import pytest

from support import digits
from support.networks import stack_of
from support.runs import run, table
from winit_jax.data.inputs import load_inputs
from winit_jax.numerics import draws
from winit_jax.numerics.activations import activation
from winit_jax.numerics.measure import families
from winit_jax.numerics.measure.family import Family
from winit_jax.numerics.measure.networks import Settings, as_inputs
from winit_jax.numerics.normalization import BATCH, LAYER, NORMALIZATIONS
from winit_jax.spec.sweep import Inputs

# Of float32 through a dozen layers that each keep 1e-5 of a change; and what a number without doubt may be off by.
TOLERANCE = 5e-3


def fast(x, name, std, bias, *, width, depth, normalization, epsilon=1e-5, seed=0, shape="normal"):
    """(log10_jacobian, log10 RMS of dLoss/da, of dLoss/dW), [depth] each."""
    one = [np.array([value], float) for value in (std, std, bias, epsilon)]
    family = Family(seed, shape, width, *one)
    settings = Settings(activation(name), NORMALIZATIONS[normalization])
    machine = {"budget_mib": 64, "platform": "cpu"}
    inputs = as_inputs(x)
    forth = families.forward(family, inputs, depth, settings, **machine)[0]["log10_jacobian"][:, 0]
    back = families.gradients(family, inputs, None, (depth,), settings, **machine)[0]
    return forth, back["log10_preact_grad_rms"][0, 0], back["log10_weight_grad_rms"][0, 0]


def inputs(samples, width, seed=0):
    return np.random.default_rng(seed).standard_normal((samples, width)).astype(np.float32).astype(float)


def assert_right_or_nan(found, expected, most_nan=0, tolerance=TOLERANCE):
    """Each of three arrays; `most_nan` numbers may be NaN."""
    unknown = 0
    for got, right in zip(found, expected, strict=True):
        unknown += int(np.isnan(got).sum())
        known = ~np.isnan(got) & ~(got == right)
        np.testing.assert_allclose(got[known], right[known], atol=tolerance, rtol=1e-5)
    assert unknown <= most_nan


@pytest.mark.slow
def test_layers_that_keep_only_what_epsilon_leaves_have_sixty_digits_values(tmp_path):
    words = ["activation=relu", "normalization=layer", "gain=1.4142", "width=4", "depth=int:1:12", "inputs.samples=2"]
    run(tmp_path / "run", *words, "measure.gradients=true")
    networks = table(tmp_path / "run").set_index("depth")
    assert networks["log10_jacobian"][12] == pytest.approx(-11.3912, abs=1e-3)
    gradients = table(tmp_path / "run", "gradients").set_index(["depth", "layer"])["log10_preact_grad_rms"]
    expected = {9: -16.157, 3: -17.159, 1: -17.654}
    assert {layer: gradients[12, layer] for layer in expected} == pytest.approx(expected, abs=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "normalization", "width", "samples", "gain", "epsilon"),
    [
        ("relu", "layer", 4, 3, 1.4, 1e-5),
        ("relu", "layer", 3, 1, 100.0, 1e-5),
        ("tanh", "layer", 2, 2, 1.4, 1e-12),
        ("tanh", "batch", 3, 2, 1.4, 1e-5),
        ("relu", "batch", 2, 3, 0.01, 1e-5),
        ("identity", "layer", 4, 2, 0.01, 10.0),
    ],
)
def test_tiny_networks_agree_with_hundreds_of_digits(name, normalization, width, samples, gain, epsilon):
    std, how = gain / np.sqrt(width), {"normalization": normalization, "epsilon": epsilon}
    for seed in (1, 2):
        x = inputs(samples, width, seed)
        where = {"width": width, "depth": 8, "seed": seed} | how
        found, expected = (part(x, name, std, 0.0, **where) for part in (fast, digits.derivatives))
        assert_right_or_nan(found, expected, most_nan=3 * 8 if normalization == "batch" and samples > 2 else 0)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "normalization", "samples"), [("relu", "layer", 2), ("tanh", "batch", 3)])
def test_random_tiny_networks_are_right_or_nan(name, normalization, samples):
    unknown = 0
    for seed in range(12):
        for gain, bias in ((1.4, 0.0), (100.0, 0.1), (0.01, 0.0)):
            x, where = inputs(samples, 3, seed), {"width": 3, "depth": 10, "normalization": normalization, "seed": seed}
            found, expected = (part(x, name, gain / np.sqrt(3), bias, **where) for part in (fast, digits.derivatives))
            assert_right_or_nan(found, expected, most_nan=30)
            unknown += sum(np.isnan(one).any() for one in found)
    assert unknown <= 12 * 9 / 4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "normalization", "gain", "bias", "epsilon"),
    [
        ("tanh", "layer", 1.0, 0.1, 1e-5),
        ("relu", "layer", 100.0, 1e-3, 1e-12),
        ("sigmoid", "layer", 0.001, 1e-8, 1e-12),
        ("relu", "batch", 1.0, 0.1, 1e-5),
    ],
)
def test_weights_that_are_all_one_number_make_one_unit_of_a_layer(name, normalization, gain, bias, epsilon):
    """Layer normalisation removes what they add up to, all of it, and batch normalisation sees one unit."""
    width = 26
    where = {"width": width, "depth": 4, "normalization": normalization, "epsilon": epsilon, "shape": "constant"}
    x, std = inputs(5, width), gain / np.sqrt(width)
    found, expected = (part(x, name, std, bias, **where) for part in (fast, digits.derivatives))
    assert_right_or_nan(found, expected, most_nan=6)
    if normalization == "layer":
        assert np.all(found[0][2:] == -np.inf)
        assert np.all(found[1][:-1] == -np.inf)
        assert np.all(found[2][:-1] == -np.inf)


@pytest.mark.slow
def test_layers_of_one_weight_are_measured_without_what_normalization_removes():
    """Every sample of a second layer is the same, and without biases every unit is 0."""
    x, width = inputs(20, 49), 49
    family = Family(0, "constant", width, np.full(2, 0.1), np.full(2, 0.1), np.array([0.0, 0.1]))
    settings = Settings(activation("tanh"), LAYER)
    machine = {"budget_mib": 64, "platform": "cpu"}
    columns, _ = families.forward(family, as_inputs(x), 3, settings, **machine)
    for column in ("act_std", "act_min", "act_max", "saturated"):
        assert np.all(columns[column][:, 0] == 0)
    assert np.all(columns["preact_std"][1:, 0] == 0)
    assert np.all(columns["input_decorrelation"][1:, 1] == 0)
    ((hidden,),) = stack_of("constant", width, 2, 1)
    biases = 0.1 * np.asarray(hidden.biases[0], float)
    assert columns["preact_std"][1, 1] == pytest.approx(biases.std(), rel=1e-5)


@pytest.mark.slow
def test_jacobians_of_one_weight_have_one_singular_value_and_then_none():
    x, width = inputs(4, 49), 49
    family = Family(0, "constant", width, np.full(2, 0.1), np.full(2, 0.1), np.array([0.0, 0.1]))
    found = families.singular_values(family, x, (1, 2, 3), Settings(activation("tanh"), LAYER))["sv_max"]
    a = 0.1 * np.asarray(draws.first_layer(0, "constant", width, width).biases, float)
    a -= a.mean()
    spread = np.sqrt(a.var() + 1e-5)
    slopes = 1 / np.cosh(a / spread) ** 2
    through = (slopes - slopes.mean() - a / spread * np.mean(a / spread * slopes)) / spread
    assert found[1].tolist() == [0.0, pytest.approx(0.1 * np.sqrt(width) * np.linalg.norm(through), rel=1e-4)]
    assert np.all(found[2] == 0)


@pytest.mark.slow
def test_rounding_of_a_variance_near_epsilon_is_among_the_doubts():
    """One of eight units has two samples that are equal to 1e-5: what passes it hangs on their last digits."""
    x = load_inputs(Inputs(samples=2), 8).x.astype(float)
    where = {"width": 8, "depth": 5, "normalization": "batch", "seed": 191, "shape": "uniform"}
    found, expected = (part(x, "relu", 100 / np.sqrt(8), 0.0, **where) for part in (fast, digits.derivatives))
    assert_right_or_nan(found, expected, most_nan=8, tolerance=7e-3)


@pytest.mark.slow
def test_a_layer_that_does_not_vary_removes_nothing_but_the_mean():
    """Two units of a sample of zeros, or two samples that are equal, have no direction that could be removed."""
    for normalization, x in (("layer", np.array([[0.0, 0.0], [1.0, 2.0]])), ("batch", np.ones((2, 2)))):
        where = {"width": 2, "depth": 2, "normalization": normalization}
        found, expected = (part(x, "tanh", 1.0, 0.0, **where) for part in (fast, digits.derivatives))
        assert_right_or_nan(found, expected, most_nan=1)


def test_batch_normalization_sees_a_product_beside_any_offset():
    """Offsets cancel, so samples that are zero, or 1e-30 beside biases of 1, have the derivatives they have alone."""
    settings, machine = Settings(activation("sigmoid"), BATCH), {"budget_mib": 64, "platform": "cpu"}
    for x, std in ((np.zeros((5, 4)), 1e30), (1e-30 * inputs(5, 4), 1.0)):
        parts = [np.full(2, std), np.full(2, std), np.array([0.0, 1.0]), np.full(2, 1e-70 if x.any() else 1e-5)]
        columns, _ = families.forward(Family(0, "normal", 4, *parts), as_inputs(x), 3, settings, **machine)
        assert np.all(np.isfinite(columns["log10_jacobian"]))
        for column in ("log10_jacobian", "act_std", "saturated"):
            np.testing.assert_allclose(columns[column][:, 1], columns[column][:, 0], rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_one_unit_or_one_sample_leaves_no_change_at_all():
    for normalization, samples, width in (("layer", 3, 1), ("batch", 1, 3)):
        forth, preact, weight = fast(
            inputs(samples, width), "tanh", 1.0, 0.1, width=width, depth=3, normalization=normalization
        )
        assert forth.tolist() == [0.0, -np.inf, -np.inf]
        assert np.all(preact == -np.inf)
        assert np.all(weight == -np.inf)


@pytest.mark.slow
def test_epsilon_of_any_size_keeps_its_scale():
    """The networks at (std, epsilon) and (s std, s^2 epsilon) of a first layer are the same ones."""
    x, width = inputs(20, 30), 30
    for name, normalization in (("tanh", "layer"), ("gelu", "batch")):
        for scale in (1e-15, 1e-6, 1e8):
            family = Family(
                0,
                "normal",
                width,
                np.array([0.3, 0.3 * scale]),
                np.full(2, 0.2),
                np.zeros(2),
                np.array([1e-2, 1e-2 * scale**2]),
            )
            columns, _ = families.forward(
                family, as_inputs(x), 1, Settings(activation(name), NORMALIZATIONS[normalization]),
                budget_mib=64, platform="cpu", jacobian=False,
            )  # fmt: skip
            for column in ("log10_act_rms", "act_std", "saturated", "unit_similarity"):
                np.testing.assert_allclose(columns[column][0, 0], columns[column][0, 1], rtol=1e-5)


@pytest.mark.slow
def test_epsilon_alone_divides_where_it_is_all_there_is():
    x, width = inputs(20, 30), 30
    epsilons = np.array([1e-80, 1e-30, 1e-5, 1e5, 1e30, 1e60])
    stds = np.sqrt(epsilons) * 1e-6
    family = Family(0, "normal", width, stds, stds, np.zeros(len(stds)), epsilons)
    settings = Settings(activation("tanh"), LAYER)
    columns, _ = families.forward(family, as_inputs(x), 1, settings, budget_mib=64, platform="cpu")
    np.testing.assert_allclose(columns["log10_act_rms"][0], columns["log10_act_rms"][0, 2], atol=1e-5)


@pytest.mark.slow
def test_without_epsilon_what_does_not_vary_is_zero():
    x = np.ones((5, 4))
    family = Family(0, "normal", 4, np.ones(1), np.ones(1), np.zeros(1), np.zeros(1))
    columns, _ = families.forward(
        family, as_inputs(x), 2, Settings(activation("tanh"), BATCH), budget_mib=64, platform="cpu"
    )
    assert not np.isnan(columns["log10_act_rms"]).any()
