"""Tangents, gradients and singular values against an independent plain network, at every scale."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from support import plain
from support.marks import slow_but
from support.networks import dense_scales, draws, fast, inputs, stack_of
from winit_jax.numerics import draws as shared
from winit_jax.numerics.activations import ACTIVATIONS, activation
from winit_jax.numerics.activations.probing import probe
from winit_jax.numerics.changes import from_log2
from winit_jax.numerics.initializers import unit_weights
from winit_jax.numerics.measure import backward
from winit_jax.numerics.measure import forward as forward_pass
from winit_jax.numerics.measure.gradients import Readout
from winit_jax.numerics.measure.networks import Settings, as_inputs
from winit_jax.numerics.normalization import NORMALIZATIONS

WIDTH, DEPTH = 10, 4
STDS, BIASES = [0.05, 0.4, 1.2, 1e-6], [0.0, 0.3, 0.1, 1e-7]
# Float32 through four layers: 1e-6 of the largest value, amplified by the Jacobian of later layers.
ATOL = 1e-4


def networks(stds, biases):
    return dense_scales(stds, stds, biases)


def jacobian(*network, **options):
    """log10_jacobian of [depth, networks]."""
    return fast(*network, jacobian=True, **options)["log10_jacobian"]


def way_back(x, name, stds, biases, depths, *, width=WIDTH, normalization="none", labels=None, edges=None, block=2):
    """(preact, weight, histogram) of `backward.gradients`."""
    deepest = max(depths)
    loss = shared.directions(0, "cotangents", len(x), width)
    if labels is not None:
        loss = Readout(shared.readout(0, width, labels.max() + 1), np.asarray(labels, np.int32))
    preact, weight, counts, _ = backward.gradients(
        as_inputs(x),
        networks(stds, biases),
        shared.first_layer(0, "normal", width, x.shape[1]),
        stack_of("normal", width, 2, deepest - 1),
        loss,
        depths,
        Settings(activation(name), NORMALIZATIONS[normalization]),
        block=block,
        edges=edges,
    )
    return preact, weight[..., 0], counts


@pytest.mark.slow
@pytest.mark.parametrize("name", slow_but(["softplus"], ["tanh", "softplus"]))
def test_log10_jacobian_agrees_with_a_jvp_of_the_whole_network(name):
    x = inputs()
    columns = fast(x, name, STDS, BIASES, width=WIDTH, depth=DEPTH, jacobian=True)
    for network, (std, bias) in enumerate(zip(STDS, BIASES, strict=True)):
        expected = plain.log10_jacobian(x, name, std, bias, width=WIDTH, depth=DEPTH)
        np.testing.assert_allclose(columns["log10_jacobian"][:, network], expected, atol=ATOL)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "normalization"), [("tanh", "layer"), ("selu", "batch"), ("softplus", "batch")])
def test_normalized_networks_have_the_jacobian_of_the_whole_batch(name, normalization):
    x = inputs()
    stds, biases = [0.4, 1e-4, 1e6], [0.3, 0.0, 1.0]
    columns = fast(x, name, stds, biases, width=WIDTH, depth=DEPTH, normalization=normalization, jacobian=True)
    for network, (std, bias) in enumerate(zip(stds, biases, strict=True)):
        expected = plain.log10_jacobian(x, name, std, bias, width=WIDTH, depth=DEPTH, normalization=normalization)
        # Ten times ATOL: the projection of a normalization subtracts nearly equal terms.
        np.testing.assert_allclose(columns["log10_jacobian"][:, network], expected, atol=1e-3)


@pytest.mark.slow
def test_orthogonal_identity_networks_stretch_by_the_gain_a_layer():
    width, depth, gains = 40, 60, [0.01, 1.0, 3.0]
    stds = [gain / np.sqrt(width) for gain in gains]
    found = jacobian(inputs(features=width), "identity", stds, width=width, depth=depth, shape="orthogonal")
    # A roundoff of 6e-8 times sqrt(width) a layer, 60 layers: 2e-5 of a value at the most.
    np.testing.assert_allclose(found, np.arange(depth)[:, None] * np.log10(gains), atol=1e-4)


def test_the_jacobian_of_depth_one_is_the_identity_to_the_digit():
    assert jacobian(inputs(), "tanh", STDS, BIASES, width=WIDTH, depth=1).tolist() == [[0.0] * 4]


@pytest.mark.slow
def test_a_vanishing_jacobian_is_measured_far_below_float32():
    width, depth = 50, 200
    columns = jacobian(inputs(features=width), "tanh", [1e-2, 1e-5], width=width, depth=depth)
    assert columns[-1, 1] < -800
    # Linear regime: a thousand times smaller weights shrink each layer's Jacobian a thousand times, less the
    # curvature of the first layer, E tanh'^2 = 1 - 2 a^2 with a^2 = 0.005.
    np.testing.assert_allclose(columns[:, 0] - columns[:, 1], 3.0 * np.arange(depth), atol=5e-3)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "depth"), [("tanh", 4), ("erf", 2)])
def test_slopes_of_networks_saturated_throughout_keep_their_scale(name, depth):
    # 160 pairs at a std of 1e4: even the least saturated slope underflows float32.
    x, width, std = inputs(samples=20, features=8), 8, 1e4
    columns = fast(x, name, [std], width=width, depth=depth, jacobian=True)
    assert np.all(columns["saturated"] == 1)
    got = columns["log10_jacobian"][1, 0]
    unit = draws("normal", width, 8, 2)
    a = x @ (std * unit[0][0])
    with jax.enable_x64(True):
        log_slopes = np.asarray(ACTIVATIONS[name].log_slope(jnp.asarray(a)))
    directions = np.asarray(shared.directions(0, "tangents", 20, width), float)
    largest = log_slopes.max()
    change = (np.exp(log_slopes - largest) * directions) @ (std * unit[1][0])
    expected = 0.5 * np.log10(np.mean(change**2) / np.mean(directions**2)) + largest / np.log(10)
    # Log slopes in float32: some roundoffs of 6e-8 of the largest.
    assert got == pytest.approx(expected, rel=1e-5)
    assert np.all(np.diff(columns["log10_jacobian"][:, 0]) < -30)


@pytest.mark.slow
def test_a_saturated_neighbour_changes_no_bit_of_a_jacobian():
    x = inputs(samples=20, features=8)
    calm = fast(x, "tanh", [0.3, 0.3, 0.4], width=8, depth=5, block=3, jacobian=True)
    mixed = fast(x, "tanh", [0.3, 1e5, 0.4], width=8, depth=5, block=3, jacobian=True)
    assert mixed["saturated"][-1, 1] == 1
    np.testing.assert_array_equal(calm["log10_jacobian"][:, [0, 2]], mixed["log10_jacobian"][:, [0, 2]])


def test_log_slopes_agree_with_slopes_where_both_can_be_held():
    a = jnp.linspace(-30.0, 30.0, 601)
    for entry in ACTIVATIONS.values():
        if entry.log_slope is not None:
            with jax.enable_x64(True):
                wide = jnp.asarray(np.asarray(a, float))
                expected, got = np.asarray(entry.slope(wide)), np.exp(np.asarray(entry.log_slope(wide)))
            # Float64 on both sides: exp turns roundoffs of a logarithm of up to 900 into that many of the value.
            np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-300)


def test_powers_of_two_of_logarithms_keep_sign_and_largest_entry():
    sizes = jnp.asarray([[-1000.5, -1001.0, -jnp.inf]])
    slope = from_log2(sizes, jnp.asarray([[1.0, -1.0, 1.0]]))
    assert int(slope.exponent) == -1001
    # 2 ** 0.5 in float32: some roundoffs.
    np.testing.assert_allclose(slope.value, [[2**0.5, -1.0, 0.0]], rtol=1e-6)


def test_without_the_jacobian_its_column_is_absent_and_the_rest_is_the_same():
    settings = Settings(activation("tanh"))
    measured = forward_pass.forward(
        as_inputs(inputs()),
        networks(STDS, BIASES),
        shared.first_layer(0, "normal", WIDTH, 12),
        [stack_of("normal", WIDTH, 2, DEPTH - 1)],
        None,
        settings,
        block=2,
    )
    columns = forward_pass.to_columns(measured, settings, samples=60, width=WIDTH)
    assert "log10_jacobian" not in columns
    whole = fast(inputs(), "tanh", STDS, BIASES, width=WIDTH, depth=DEPTH)
    for name, values in columns.items():
        # Another program: float32 rounding through DEPTH layers.
        np.testing.assert_allclose(values, whole[name], rtol=2e-5, atol=2e-6, err_msg=name)


@pytest.mark.parametrize(
    ("name", "labelled"),
    slow_but(
        [("gelu", False), ("tanh", True)],
        [(name, False) for name in ("sigmoid", "relu", "selu", "gelu", "hard_tanh", "sin")]
        + [("tanh", True), ("softplus", True)],
    ),
)
def test_gradients_agree_with_autodiff_at_every_layer_of_every_depth(name, labelled):
    x, depths = inputs(), (1, 4)
    labels = np.random.default_rng(3).integers(0, 4, len(x)) if labelled else None
    stds, biases = STDS[1:], BIASES[1:]
    preact, weight, _ = way_back(x, name, stds, biases, depths, labels=labels)
    for network, (std, bias) in enumerate(zip(stds, biases, strict=True)):
        for at, depth in enumerate(depths):
            a, w, *_ = plain.gradients(x, name, std, bias, width=WIDTH, depth=depth, labels=labels)
            np.testing.assert_allclose(preact[network, at, :depth], a, atol=ATOL)
            np.testing.assert_allclose(weight[network, at, :depth], w, atol=ATOL)
            assert np.all(np.isnan(preact[network, at, depth:]))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "normalization"), [("tanh", "batch"), ("sigmoid", "batch"), ("selu", "layer")])
def test_gradients_of_normalized_networks_agree_with_autodiff(name, normalization):
    x, depths = inputs(), (1, 3)
    labels = np.random.default_rng(3).integers(0, 4, len(x))
    stds, biases = STDS[2:], BIASES[2:]
    preact, weight, _ = way_back(x, name, stds, biases, depths, normalization=normalization, labels=labels)
    for network, (std, bias) in enumerate(zip(stds, biases, strict=True)):
        for at, depth in enumerate(depths):
            a, w, *_ = plain.gradients(
                x, name, std, bias, width=WIDTH, depth=depth, normalization=normalization, labels=labels
            )
            # Ten times ATOL, as above.
            np.testing.assert_allclose(preact[network, at, :depth], a, atol=1e-3)
            np.testing.assert_allclose(weight[network, at, :depth], w, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("normalization", ["none", "batch"])
def test_weight_gradients_agree_with_finite_differences(normalization):
    # Central differences in float64 along the gradient itself: their error is about 1e-9 of it here.
    x, depth, labels = inputs(), 3, np.arange(60) % 3
    _, weight, _ = way_back(x, "tanh", [0.4], [0.3], (depth,), normalization=normalization, labels=labels)
    *_, exact, loss, weights = plain.gradients(
        x, "tanh", 0.4, 0.3, width=WIDTH, depth=depth, normalization=normalization, labels=labels
    )
    with jax.enable_x64(True):
        for layer in range(depth):
            norm = float(jnp.sqrt(jnp.sum(exact[layer] ** 2)))
            values = []
            for step in (1e-5, -1e-5):
                moved = list(weights)
                moved[layer] = weights[layer] + step * exact[layer] / norm
                values.append(loss(moved))
            slope = (values[0] - values[1]) / 2e-5
            assert slope == pytest.approx(norm, rel=1e-6)
            rms = np.log10(slope / np.sqrt(exact[layer].size))
            assert weight[0, 0, layer] == pytest.approx(rms, abs=1e-4)


@pytest.mark.slow
def test_gradients_of_tanh_at_std_a_hundredth_and_depth_200_are_finite_and_right():
    width, depth = 100, 200
    x = inputs(samples=30, features=width)
    preact, weight, _ = way_back(x, "tanh", [1e-2], [0.0], (depth,), width=width)
    assert np.all(np.isfinite(preact))
    assert np.all(np.isfinite(weight))
    assert preact[0, 0, 0] < -190
    # The linear network of the same draws, in float64 with the scale taken out of each layer.
    unit = draws("normal", width, width, depth)
    g = np.asarray(shared.directions(0, "cotangents", 30, width), float) / np.sqrt(width) / 30
    log10_scale, expected = 0.0, []
    for layer in range(depth, 0, -1):
        size = np.sqrt(np.mean(g**2))
        expected.append(np.log10(size) + log10_scale)
        g, log10_scale = g / size @ unit[layer - 1][0].T, log10_scale + np.log10(size) - 2
    # The first layer's tanh is not quite linear (a of RMS 0.1): 1% of it.
    np.testing.assert_allclose(preact[0, 0, 1:], expected[::-1][1:], atol=2e-3)
    assert preact[0, 0, 0] == pytest.approx(expected[-1], abs=1e-2)


@pytest.mark.slow
def test_a_way_back_from_a_random_direction_measures_the_jacobian():
    # E |J^T c|^2 = E |J v|^2 for unit c and v; each mean is over 400 inputs and one network.
    width, depth, samples = 60, 6, 400
    x = inputs(samples=samples, features=width)
    forward = jacobian(x, "identity", [1.0 / np.sqrt(width)], width=width, depth=depth)[-1, 0]
    preact, _, _ = way_back(x, "identity", [1.0 / np.sqrt(width)], [0.0], (depth,), width=width)
    back = preact[0, 0, 0] + np.log10(samples) + 0.5 * np.log10(width)
    # |J v|^2 of one direction has a relative variance below 2 m4 / (n m2^2), about 0.5 here.
    assert abs(forward - back) < 5 * np.sqrt(2 * 0.5 / samples) / (2 * np.log(10))


def test_histograms_of_gradients_count_every_gradient_in_units_of_the_rms():
    x = inputs()
    edges = np.linspace(-4, 4, 9)
    preact, _, counts = way_back(x, "tanh", [0.4, 1e-8], [0.1, 0.0], (2, 3), edges=edges)
    assert counts.shape == (2, 3, 11)
    assert np.all(counts.sum(axis=-1) == x.shape[0] * WIDTH)
    assert np.all(counts[..., -1] == 0)
    # The layer's own RMS: a count beyond 4 RMS cannot hold more than a sixteenth of the mean square.
    assert np.all((counts[..., 0] + counts[..., -2]) / 600 <= 1 / 16)
    assert np.all(np.isfinite(preact[:, 1]))


@pytest.mark.slow
def test_cutting_networks_into_blocks_changes_no_gradient():
    x, stds, biases = inputs(), np.geomspace(0.1, 2, 5), np.zeros(5)
    whole = way_back(x, "gelu", stds, biases, (1, 3), block=5)
    for block in (1, 2):
        cut = way_back(x, "gelu", stds, biases, (1, 3), block=block)
        # Another shape of the same products: float32 rounding.
        np.testing.assert_allclose(cut[0], whole[0], atol=1e-5)
        np.testing.assert_allclose(cut[1], whole[1], atol=1e-5)


def test_a_network_that_overflows_has_no_gradient_and_its_neighbours_keep_theirs():
    growing = probe(lambda a: jnp.sinh(a), "sinh")
    x = inputs()
    found = {
        std: backward.gradients(
            as_inputs(x),
            networks([0.1, std], [0.0, 0.0]),
            shared.first_layer(0, "normal", WIDTH, 12),
            stack_of("normal", WIDTH, 2, 5),
            shared.directions(0, "cotangents", len(x), WIDTH),
            (6,),
            Settings(growing),
            block=2,
        )[0]
        for std in (0.1, 50.0)
    }
    np.testing.assert_array_equal(found[0.1][0], found[50.0][0])
    assert not np.any(np.isfinite(found[50.0][1, 0, 0]))


def singular(x, name, stds, biases, depths, shape="normal", width=20, normalization="none"):
    return backward.singular_values(
        as_inputs(x),
        networks(stds, biases),
        shared.first_layer(0, shape, width, x.shape[1]),
        stack_of(shape, width, 2, max(depths) - 1),
        depths,
        Settings(activation(name), NORMALIZATIONS[normalization]),
    )


@pytest.mark.parametrize(("name", "normalization"), slow_but([("gelu", "none")], [("tanh", "layer"), ("gelu", "none")]))
def test_singular_values_are_those_of_the_jacobian(name, normalization):
    x, width, depths = inputs(samples=3, features=12), 20, (1, 3, 5)
    stds, biases = [0.3, 1e-6], [0.1, 0.0]
    found = singular(x, name, stds, biases, depths, normalization=normalization)
    for network, (std, bias) in enumerate(zip(stds, biases, strict=True)):
        weights, offsets = plain.scaled_draws(std, bias, width, 12, 5)
        for at, depth in enumerate(depths):
            with jax.enable_x64(True):
                run = plain.network(name, normalization)

                def last(nudge, row, depth=depth, weights=weights, offsets=offsets, run=run):
                    nudges = [nudge[None]] + [0.0] * (depth - 1)
                    return run(row, weights[:depth], offsets[:depth], nudges)[0][-1][0]

                jacobians = [jax.jacrev(last)(jnp.zeros(width), jnp.asarray(x[i : i + 1])) for i in range(3)]
                values = np.concatenate([np.linalg.svd(np.asarray(j), compute_uv=False) for j in jacobians])
            expected = (values.min(), np.median(values), values.max(), np.mean(values**2), np.var(values**2))
            got = [column[at, network] for column in found.values()]
            # Slopes are float32; what lies below double precision's resolution counts as 0.
            np.testing.assert_allclose(got, expected, rtol=1e-4, atol=40 * 2.0**-52 * values.max())


@pytest.mark.slow
def test_the_mean_square_singular_value_is_the_measured_jacobian():
    width, depth = 60, 5
    x = inputs(samples=4, features=width)
    found = singular(x, "tanh", [0.15], [0.0], (depth,), width=width)
    many = [jacobian(np.repeat(x, 100, axis=0), "tanh", [0.15], width=width, depth=depth)[-1, 0]]
    # 400 directions, each |J v|^2 of relative variance below 2 here.
    tolerance = 5 * np.sqrt(2 / 400) / (2 * np.log(10))
    assert abs(0.5 * np.log10(found["sv_mean_square"][0, 0]) - many[0]) < tolerance


def test_orthogonal_identity_networks_are_isometries():
    found = singular(inputs(samples=2, features=20), "identity", [1 / np.sqrt(20)], [0.0], (1, 10), shape="orthogonal")
    for name, expected in (("sv_min", 1), ("sv_median", 1), ("sv_max", 1), ("sv_mean_square", 1), ("sv_var_square", 0)):
        np.testing.assert_allclose(found[name], expected, atol=1e-5)


def test_orthogonal_draws_are_orthogonal_at_width_1000():
    q = np.asarray(unit_weights(0, "orthogonal", 1000, 2, 1000), float) / np.sqrt(1000)
    # Householder QR in float32: each entry is a sum of 1000 products of rounding 6e-8.
    assert np.abs(q.T @ q - np.eye(1000)).max() < 1e-5
