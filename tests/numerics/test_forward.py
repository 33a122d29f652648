"""The batched pass against naive float64 references, at every scale."""

from functools import lru_cache

import jax.numpy as jnp
import numpy as np
import pytest

from support import references
from support.marks import slow_but
from support.networks import draws, fast, inputs
from winit_jax.columns import MEASURED
from winit_jax.numerics import draws as shared
from winit_jax.numerics.activations import ACTIVATIONS
from winit_jax.numerics.activations.probing import probe
from winit_jax.numerics.initializers import SHAPES

# One pass serves several tests of an activation, which --dist=loadfile keeps in one worker.
# One of each kind: bounded, one-sided, two-sided, smooth, constant at 0, periodic. `-m slow` takes the others.
KINDS = ("elu", "gelu", "identity", "relu", "sigmoid", "sin", "tanh")
OF_ROWS = tuple(name for name in MEASURED if name not in references.OF_POSITIONS)
EVERY = pytest.mark.parametrize("name", slow_but(KINDS, sorted(ACTIVATIONS)))
# A share moves by one over the number of pairs when rounding moves one pair over the threshold.
COUNTS = ("saturated", "dead", "zero", "nonfinite")


def assert_agrees(columns, expected, network, pairs, rtol=1e-4):
    """Float32 through a few layers: errors of 1e-6 of the largest value, a few times amplified."""
    for layer, row in enumerate(expected):
        largest = max(abs(row["act_min"]), abs(row["act_max"]))
        scale = {"preact_mean": row["preact_std"] + abs(row["preact_mean"]), "preact_std": row["preact_std"]}
        scale |= dict.fromkeys(("act_mean", "act_std", "act_min", "act_max"), largest)
        for name, value in row.items():
            tolerance = 3 / pairs if name in COUNTS else rtol * scale.get(name, 1.0)
            got = columns[name][layer, network]
            assert got == pytest.approx(value, abs=tolerance), (name, layer + 1)


def reference(
    x, name, std, bias, *, width, depth, shape="normal", normalization="none", first_std=None, jacobian=False
):
    unit = draws(shape, width, x.shape[1], depth)
    stds = [std if first_std is None else first_std] + [std] * (depth - 1)
    return references.layers(
        x,
        [s * z for s, (z, _) in zip(stds, unit, strict=True)],
        [bias * b for _, b in unit],
        name,
        normalization,
        directions=np.asarray(shared.directions(0, "tangents", len(x), width), float) if jacobian else None,
    )


STDS, BIASES = [0.05, 0.4, 1.2, 1e-6], [0.0, 0.3, 0.1, 1e-7]
# After those: weights of 0, and a hidden std of 1e-30 after a first layer of 1e-30 and of 1e-6.
ZERO, TINY, SMALL = 4, 5, 6


@lru_cache(maxsize=1)
def several(name):
    """Columns of the networks above, at width 10 and depth 4."""
    firsts = [*STDS, 0.0, 1e-30, 1e-6]
    stds = [*STDS, 0.0, 1e-30, 1e-30]
    return fast(inputs(), name, stds, [*BIASES, 0, 0, 0], width=10, depth=4, first_stds=firsts, jacobian=True)


@EVERY
def test_every_column_agrees_with_its_definition(name):
    x, columns = inputs(), several(name)
    assert set(columns) == set(OF_ROWS)
    for network, (std, bias) in enumerate(zip(STDS, BIASES, strict=True)):
        expected = reference(x, name, std, bias, width=10, depth=4, jacobian=True)
        assert_agrees(columns, expected, network, x.shape[0] * 10)


@pytest.mark.parametrize("shape", slow_but(["normal", "orthogonal", "constant"], sorted(SHAPES)))
def test_every_shape_agrees(shape):
    x = inputs(features=7)
    columns = fast(x, "tanh", [0.3], [0.2], width=9, depth=3, first_stds=[0.8], shape=shape)
    expected = reference(x, "tanh", 0.3, 0.2, width=9, depth=3, shape=shape, first_std=0.8)
    assert_agrees(columns, expected, 0, x.shape[0] * 9)


@pytest.mark.slow
@pytest.mark.parametrize("normalization", ["batch", "layer"])
@pytest.mark.parametrize("std", [1e-6, 0.4, 1e6])
def test_normalized_networks_agree(normalization, std):
    x = inputs()
    columns = fast(x, "gelu", [std], [0.1 * std], width=10, depth=3, normalization=normalization)
    expected = reference(x, "gelu", std, 0.1 * std, width=10, depth=3, normalization=normalization)
    assert_agrees(columns, expected, 0, x.shape[0] * 10, rtol=1e-3)


@pytest.mark.parametrize(
    ("samples", "width", "depth"),
    slow_but([(1, 5, 3), (30, 1, 3)], [(1, 5, 3), (30, 1, 3), (1, 1, 1), (41, 6, 1), (40, 6, 2)]),
)
def test_one_sample_one_unit_and_one_layer_are_no_special_case(samples, width, depth):
    x = inputs(samples=samples, features=4)
    expected = reference(x, "tanh", 0.9, 0.0, width=width, depth=depth)
    columns = fast(x, "tanh", [0.9], width=width, depth=depth)
    for layer, row in enumerate(expected):
        for name, value in row.items():
            undefined = (name == "unit_similarity" and width == 1) or (name.startswith("input_") and samples == 1)
            got = columns[name][layer, 0]
            assert np.isnan(got) if undefined else got == pytest.approx(value, abs=1e-4), name


@pytest.mark.slow
def test_a_vanishing_signal_is_measured_far_below_float32():
    # Linear regime: log10 rms is linear in log10 std, to far more digits than float32's range allows.
    x, width, depth = inputs(samples=200, features=50), 50, 130
    columns = fast(x, "tanh", [1e-3, 1e-5], width=width, depth=depth)
    rms = columns["log10_act_rms"]
    assert rms[-1, 1] < -500
    layers = np.arange(1, depth + 1)
    # tanh(a) = a - a^3 / 3: at a std of 1e-3 the first layer is not quite linear (5e-5 of it), and 130 layers round.
    np.testing.assert_allclose(rms[:, 0] - rms[:, 1], 2.0 * layers, atol=2e-4)
    expected = reference(x[:40], "identity", 1e-3, 0.0, width=width, depth=3)
    got = fast(x[:40], "identity", [1e-3], width=width, depth=3)["log10_act_rms"][:, 0]
    # Float32 rounding, and tanh of 1e-3 * sqrt(50) against the identity: a^2 = 5e-5 of the first layer, 1e-5 of log10.
    np.testing.assert_allclose(got, [row["log10_act_rms"] for row in expected], atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", slow_but(["elu"], sorted(n for n in ACTIVATIONS if ACTIVATIONS[n].degree_at_infinity == (0, 1)))
)
def test_an_exploding_signal_is_measured_far_above_float32(name):
    # Far out every relu-like function is relu, so the two networks share their log10 rms.
    x, width, depth = inputs(samples=100, features=40), 40, 60
    rms = fast(x, name, [1e7], width=width, depth=depth)["log10_act_rms"][:, 0]
    relu = fast(x, "relu", [1e7], width=width, depth=depth)["log10_act_rms"][:, 0]
    assert rms[-1] > 400
    slope = np.log10(1.0507009873554805) if name == "selu" else 0.0
    # Float32 rounding, added up over 60 layers.
    np.testing.assert_allclose(rms, relu + slope * np.arange(1, depth + 1), atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["elu", "selu", "gelu"])
def test_the_bounded_side_of_an_exploding_network_stays_bounded(name):
    columns = fast(inputs(), name, [1e9], width=12, depth=8)
    floor = {"elu": -1.0, "selu": -1.7580993408473766, "gelu": -0.17}[name]
    assert columns["act_max"][-1, 0] > 1e60
    assert np.all(columns["act_min"][:, 0] >= floor * 1.001)


def test_the_least_softplus_is_what_float64_holds_of_it():
    x, width, gains = inputs(samples=50, features=30), 30, (3.0, 30.0, 80.0)
    columns = fast(x, "softplus", [gain / np.sqrt(30) for gain in gains], width=width, depth=1)
    weights, _ = draws("normal", width, 30, 1)[0]
    for network, gain in enumerate(gains):
        expected = references.softplus((x @ weights) * (gain / np.sqrt(30))).min()
        # exp(a) of a down to -300 in float32: a roundoff of a is 2e-5 of the value.
        assert 0 < columns["act_min"][0, network] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(  # the sine of 1e9 is rounding
    "name", slow_but(["elu", "gelu", "softplus"], sorted(ACTIVATIONS.keys() - {"sin"}))
)
def test_what_is_small_beside_the_rest_counts_where_the_rest_leads_to_nothing(name):
    """One unit, whose largest pre-activations are on the side where phi is bounded."""
    ((unit, _),) = draws("normal", 1, 1, 1)
    small, exact = [300.0, 2.0, 0.1, -0.5], [1e9, 1e12, 1e20, 1e26]
    networks = [[-large, -0.5 * large, *small] for large in exact]
    networks.append([-share * 1e40 for share in range(1, 7)])  # beyond 2^90 small ones are 0
    for wanted in networks:
        x = np.array(wanted)[:, None] / unit[0, 0]
        (expected,) = references.layers(x, [unit], [np.zeros(1)], name)
        found = fast(x, name, [1.0], width=1, depth=1)
        scale = max(abs(expected["act_min"]), abs(expected["act_max"]))
        for column in ("act_mean", "act_std", "act_min", "act_max"):
            assert found[column][0, 0] == pytest.approx(expected[column], abs=1e-5 * scale), column
        if ACTIVATIONS[name].at_zero == 0 or expected["log10_act_rms"] > -30:
            assert found["log10_act_rms"][0, 0] == pytest.approx(expected["log10_act_rms"], abs=1e-5)
        for column in ("saturated", "dead", *(["zero"] if ACTIVATIONS[name].at_zero == 0 else [])):
            assert found[column][0, 0] == pytest.approx(expected[column], abs=1e-5), column


@EVERY
def test_scale_is_carried_exactly_for_every_activation(name):
    """Near zero psi follows its degree: 1e24 times the first layer's std shifts log10 by 24 (at layers 1 and 2)."""
    columns = several(name)
    if ACTIVATIONS[name].at_zero == 0:
        rms = columns["log10_act_rms"][:2]
        np.testing.assert_allclose(rms[:, SMALL] - rms[:, TINY], 24, atol=1e-5)
    ratio = columns["act_std"][0, SMALL] / columns["act_std"][0, TINY]
    # Float32 rounding of two passes.
    assert ratio == pytest.approx(1e24, rel=1e-5)


def test_sigmoids_small_responses_keep_their_digits():
    x = inputs(samples=200)
    got = fast(x, "sigmoid", [1e-9], width=10, depth=1)["act_std"][0, 0]
    ((weights, _),) = draws("normal", 10, x.shape[1], 1)
    # sigmoid(a) - 1/2 = a / 4 to one part in a^2.
    # Float32 rounding of one layer.
    assert got == pytest.approx((1e-9 * x @ weights / 4).std(), rel=1e-5)


def test_inputs_of_any_scale_are_taken_as_they_are():
    x = inputs()
    for scale in (1e-200, 1e200):
        columns = fast(scale * x, "relu", [1.0], width=10, depth=2)
        plain = fast(x, "relu", [1.0], width=10, depth=2)
        # Float32 rounding of two layers: 1e-6 of a value is 4e-7 of its log10.
        np.testing.assert_allclose(columns["log10_act_rms"] - plain["log10_act_rms"], np.log10(scale), atol=1e-5)


def test_a_standard_deviation_need_not_fit_float32():
    columns = fast(inputs(), "relu", [1e-300, 1e300], width=10, depth=2)
    assert columns["log10_act_rms"][0, 1] - columns["log10_act_rms"][0, 0] == pytest.approx(600, abs=1e-4)
    assert np.isinf(columns["act_std"][1, 1])
    assert columns["act_std"][1, 0] == 0


@EVERY
def test_zero_weights_give_the_constant_phi_of_zero(name):
    columns = {column: values[:, ZERO] for column, values in several(name).items()}
    at_zero = references.PHI[name](np.zeros(1))[0]
    assert np.all(columns["act_std"] == 0)
    # phi(0) is kept in float32.
    np.testing.assert_allclose(columns["act_mean"], at_zero, rtol=1e-7)
    expected = np.log10(at_zero) if at_zero else -np.inf
    np.testing.assert_allclose(columns["log10_act_rms"], expected, rtol=1e-6)
    assert np.all(np.isneginf(columns["log10_jacobian"][1:]))


def test_equal_weights_make_units_equal():
    columns = fast(inputs(), "tanh", [0.1], width=10, depth=4, shape="constant")
    # A mean of float32 products, all equal.
    np.testing.assert_allclose(columns["unit_similarity"], 1.0, atol=1e-6)


def test_a_network_that_overflows_is_recorded_and_its_neighbours_keep_their_bits():
    fast_growing = probe(lambda a: jnp.sinh(a), "sinh")
    x = inputs()
    options = {"width": 10, "depth": 6, "block": 3, "jacobian": True}
    calm = fast(x, fast_growing, [0.1, 0.1, 0.2], **options)
    mixed = fast(x, fast_growing, [0.1, 50.0, 0.2], **options)
    assert mixed["nonfinite"][-1, 1] == 1.0
    assert np.isnan(mixed["log10_act_rms"][-1, 1])
    assert 0 < mixed["nonfinite"][0, 1] < 1
    for name in OF_ROWS:
        np.testing.assert_array_equal(calm[name][:, [0, 2]], mixed[name][:, [0, 2]])


@pytest.mark.slow
def test_cutting_the_work_differently_changes_nothing():
    x, stds = inputs(), np.geomspace(0.1, 2, 7)
    whole = fast(x, "tanh", stds, width=10, depth=9, block=7, jacobian=True)
    for options in ({"block": 2}, {"block": 3, "stack": 3}):
        cut = fast(x, "tanh", stds, width=10, depth=9, jacobian=True, **options)
        for name in OF_ROWS:
            # Another shape of the same products: float32 rounding through 9 layers.
            np.testing.assert_allclose(cut[name], whole[name], rtol=2e-5, atol=2e-6, err_msg=name)


@pytest.mark.slow
def test_depth_prefixes_are_the_shallow_networks():
    x = inputs()
    deep, shallow = (fast(x, "tanh", [0.5], width=10, depth=depth, jacobian=True) for depth in (8, 5))
    for name in OF_ROWS:
        # Another program: float32 rounding through 5 layers.
        np.testing.assert_allclose(deep[name][:5], shallow[name], rtol=2e-5, atol=2e-6, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("name", slow_but(["tanh", "relu"], ["tanh", "relu", "sigmoid", "elu"]))
@pytest.mark.parametrize("std", [1e-4, 0.5, 1e12])
def test_histograms_agree_with_numpy(name, std):
    x, edges = inputs(), np.linspace(-1.0, 1.0, 9)
    columns = fast(x, name, [std], width=10, depth=2, edges=edges)
    unit = draws("normal", 10, x.shape[1], 2)
    h = x
    for layer, (z, _) in enumerate(unit):
        h = references.PHI[name](h @ (std * z))
        counts = [np.sum(h < -1), *np.histogram(h, edges)[0], np.sum(h > 1), 0]
        # Rounding may move a value that lies on an edge into the next bin.
        assert np.abs(columns["histogram"][layer, 0] - counts).sum() <= 4
        assert columns["histogram"][layer, 0].sum() == h.size


@pytest.mark.slow
def test_he_initialised_relu_forgets_inputs_as_the_arc_cosine_kernel_says():
    # c' = (sqrt(1 - c^2) + c (pi - arccos c)) / pi; Cho and Saul 2009. Five layers from c = 0: FACTS.md.
    width, seeds = 1000, 12
    c, expected = 0.0, []
    for _ in range(5):
        expected.append(c)
        c = (np.sqrt(1 - c**2) + c * (np.pi - np.arccos(c))) / np.pi
    runs = np.array(
        [
            fast(
                inputs(samples=100, features=width, seed=seed),
                "relu",
                [np.sqrt(2 / width)],
                width=width,
                depth=5,
                seed=seed,
            )["input_correlation"][:, 0]
            for seed in range(seeds)
        ]
    )
    standard_error = runs.std(axis=0, ddof=1) / np.sqrt(seeds)
    assert np.all(np.abs(runs.mean(axis=0) - expected) < 5 * standard_error + 2 / width)
