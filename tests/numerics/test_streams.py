"""Blocks beside a stream: a_l = post(skip a_{l-1} + branch block(pre(a_{l-1}))), against plain float64 networks."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from support import plain
from support.marks import slow_but
from support.networks import inputs
from support.plain import Stream
from winit_jax.numerics import draws
from winit_jax.numerics.activations import ACTIVATIONS
from winit_jax.numerics.blocks import DENSE, RESIDUAL, Layout, mean_field
from winit_jax.numerics.measure import comparison, families
from winit_jax.numerics.measure.family import Family
from winit_jax.numerics.measure.networks import Settings, as_inputs
from winit_jax.numerics.normalization import NORMALIZATIONS
from winit_jax.numerics.theory import UNNORMALIZED, Norm, from_inputs, propagate
from winit_jax.numerics.training import classifier, trainer

WIDTH, DEPTH, SAMPLES, FEATURES = 32, 5, 40, 12
STREAMS = [Stream(1.0), Stream(0.5, 0.3), Stream(-2.0, 1.0, "post"), Stream(1.0, 1.0, "post"), Stream(0.0, 2.0, "post")]
# Each stream beside every other normalization; the first of each normalization in the quick run.
NORMALIZED = (("tanh", "none"), ("relu", "batch"), ("sigmoid", "layer"), ("gelu", "rms"))
CASES = [(*NORMALIZED[of], stream) for at, stream in enumerate(STREAMS) for of in range(4) if (at + of) % 2 == 0]
QUICK = [next(case for case in CASES if case[1] == normalization) for _, normalization in NORMALIZED[::2]]
EACH = pytest.mark.parametrize(("name", "normalization", "stream"), slow_but(QUICK, CASES))
STDS, BIASES = np.array([0.2, 0.6]), np.array([0.0, 0.3])
OF_THEORY = mean_field(RESIDUAL, Layout())


def family(stream, stds=STDS, biases=BIASES, width=WIDTH, block=RESIDUAL):
    scales = (np.full(len(stds), 1e-5), block, np.full(len(stds), stream.skip), np.full(len(stds), stream.branch))
    return Family(0, "normal", width, stds, stds, biases, *scales)


def settings(name, normalization, stream):
    return Settings(ACTIVATIONS[name], NORMALIZATIONS[normalization], norm_position=stream.position, block=RESIDUAL)


def measured(stream, name, normalization, x, depth=DEPTH, **of_family):
    columns, _ = families.forward(
        family(stream, **of_family),
        as_inputs(x),
        depth,
        settings(name, normalization, stream),
        budget_mib=64,
        platform="cpu",
    )
    return columns


@pytest.mark.slow
@EACH
def test_every_column_is_that_of_the_float64_reference(name, normalization, stream):
    x = inputs(SAMPLES, FEATURES)
    columns = measured(stream, name, normalization, x)
    layers = family(stream).first_layers(FEATURES, DEPTH, 64, DEPTH)
    tangents = np.asarray(draws.directions(0, "tangents", SAMPLES, WIDTH), float)
    for at, (std, bias) in enumerate(zip(STDS, BIASES, strict=True)):
        found = comparison.compare(
            {column: values[:, at] for column, values in columns.items()},
            x,
            comparison.Network(std, bias, [std], 1e-5, stream.skip, stream.branch),
            layers,
            tangents,
            ACTIVATIONS[name],
            0.05,
            normalization,
            block=RESIDUAL,
            norm_position=stream.position,
        )
        assert found.layers == DEPTH
        assert found.wrong == []


@EACH
def test_the_jacobian_is_that_of_autodiff(name, normalization, stream):
    x = inputs(SAMPLES, FEATURES)
    columns = measured(stream, name, normalization, x)
    for at, (std, bias) in enumerate(zip(STDS, BIASES, strict=True)):
        network = {"width": WIDTH, "depth": DEPTH, "normalization": normalization, "stream": stream}
        expected = plain.log10_jacobian(x, name, std, bias, **network)
        # Five layers of float32 products: a few 1e-6 of the size, 4e-7 of log10 each.
        np.testing.assert_allclose(columns["log10_jacobian"][:, at], expected, atol=2e-5)


@pytest.mark.slow
@EACH
def test_gradients_are_those_of_autodiff_at_every_layer_of_every_depth(name, normalization, stream):
    """Under both losses, of inputs with labels and of inputs without, in turn along the list of cases."""
    x = inputs(SAMPLES, FEATURES)
    labels = np.arange(SAMPLES) % 3 if CASES.index((name, normalization, stream)) % 2 else None
    depths, of_settings = (1, 2, DEPTH), settings(name, normalization, stream)
    columns, _ = families.gradients(
        family(stream), as_inputs(x), labels, depths, of_settings, budget_mib=64, platform="cpu"
    )
    for at, (std, bias) in enumerate(zip(STDS, BIASES, strict=True)):
        for place, depth in enumerate(depths):
            network = {"width": WIDTH, "depth": depth, "normalization": normalization, "stream": stream}
            preact, weight, *_ = plain.gradients(x, name, std, bias, labels=labels, **network)
            for column, expected in (("log10_preact_grad_rms", preact), ("log10_weight_grad_rms", weight)):
                # As above, and sums over samples that batch normalization makes cancel: ten times that.
                found = columns[column][at, place, :depth]
                np.testing.assert_allclose(found, expected, atol=1e-4, err_msg=f"{column} {depth}")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "normalization", "stream"), slow_but(QUICK, [case for case in CASES if case[1] != "batch"])
)
def test_singular_values_are_those_of_the_jacobian(name, normalization, stream):
    x = inputs(families.SPECTRUM_INPUTS, FEATURES)
    of_settings = settings(name, normalization, stream)
    found = families.singular_values(family(stream), x, (1, 2, DEPTH), of_settings)
    run = plain.network(name, normalization, stream)
    for at, (std, bias) in enumerate(zip(STDS, BIASES, strict=True)):
        weights, biases = plain.scaled_draws(std, bias, WIDTH, FEATURES, DEPTH)
        with jax.enable_x64(True):

            def last(nudge, sample, weights=weights, biases=biases):
                return run(sample[None], weights, biases, [nudge[None]] + [0.0] * (DEPTH - 1))[0][-1][0]

            jacobians = [np.asarray(jax.jacfwd(last)(np.zeros(WIDTH), sample)) for sample in x]
        values = np.linalg.svd(np.array(jacobians), compute_uv=False)
        # Slopes are float32's: 1e-7 each, over five layers.
        assert found["sv_max"][-1, at] == pytest.approx(values.max(), rel=1e-4)
        assert found["sv_mean_square"][-1, at] == pytest.approx(np.mean(values**2), rel=1e-4)
        assert found["sv_min"][0, at] == 1


@pytest.mark.slow
def test_a_thousand_blocks_that_double_the_mean_square_are_measured_far_above_float32():
    depth, width = 1000, 128
    std = np.array([np.sqrt(2 / width)])
    x = np.random.default_rng(0).standard_normal((20, width))
    columns = measured(Stream(1.0), "relu", "none", x, depth, stds=std, biases=np.zeros(1), width=width)
    doublings = np.arange(depth) * np.log10(2) / 2
    # One network's sum of products wanders: a variance of about 5 / width of each layer's factor adds up over layers.
    wander = np.sqrt(5 / width * np.arange(1, depth + 1)) / np.log(10) / 2
    found = columns["log10_act_rms"][:, 0] - columns["log10_act_rms"][0, 0]
    assert np.all(np.abs(found - doublings) < 5 * wander)
    assert found[-1] > 140


def test_a_skip_of_zero_is_the_dense_network_to_the_bit():
    x = inputs(SAMPLES, FEATURES)
    residual, dense = (measured(Stream(), "tanh", "none", x, block=block) for block in (RESIDUAL, DENSE))
    for name, values in dense.items():
        np.testing.assert_array_equal(residual[name], values)


@pytest.mark.parametrize(
    ("name", "layer", "q", "log_jacobian"),
    [
        ("tanh", 1, 1.3942944904, 0.3814475843),
        ("tanh", 2, 1.8492747821, 0.7228733533),
        ("tanh", 10, 6.7767983596, 2.6432063527),
        ("relu", 10, 2.0**10, 10 * np.log(2)),
    ],
)
def test_residual_recursions_have_the_values_of_yang_and_schoenholz(name, layer, q, log_jacobian):
    gain = {"tanh": 1.0, "relu": 2.0}[name]
    found = propagate(ACTIVATIONS[name], np.log10(gain), -np.inf, 0.0, 0.0, layer + 1, OF_THEORY, 0.0)
    grown = 1 + np.sum(gain * 10 ** (2 * found.log10_act_rms[:layer, 0]))
    assert grown == pytest.approx(q, rel=1e-9)
    assert 2 * np.log(10) * found.log10_jacobian[layer, 0] == pytest.approx(log_jacobian, rel=1e-9)


@pytest.mark.parametrize(
    ("branch", "layer", "c"), [(1.0, 10, 0.7075574803), (1.0, 50, 0.9597043306), (10**-0.5, 10, 0.2392526101)]
)
def test_residual_correlations_have_the_values_of_the_field(branch, layer, c):
    found = propagate(ACTIVATIONS["relu"], np.log10(2 * branch**2), -np.inf, 0.0, 0.0, layer + 1, OF_THEORY, 0.0)
    assert found.input_correlation[layer, 0] == pytest.approx(c, abs=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("normalization", "position"),
    slow_but([("none", "pre")], [("none", "pre"), ("rms", "pre"), ("layer", "pre"), ("layer", "post")]),
)
def test_wide_residual_networks_do_as_predicted(normalization, position):
    width, seeds, depth, gain = 512, 8, 12, 1.2
    x = np.random.default_rng(5).standard_normal((30, width))
    columns = {"log10_act_rms": [], "log10_jacobian": [], "input_correlation": []}
    std, bias = np.array([gain / np.sqrt(width)]), np.array([0.2])
    for seed in range(seeds):
        of_seed = Family(seed, "normal", width, std, std, bias, block=RESIDUAL)
        of_settings = settings("tanh", normalization, Stream(1.0, 1.0, position))
        found, _ = families.forward(of_seed, as_inputs(x), depth, of_settings, budget_mib=64, platform="cpu")
        for name, values in columns.items():
            values.append(found[name][:, 0])
    square = np.mean(np.sum(x**2, axis=1))
    correlation = (np.sum(x.sum(axis=0) ** 2) - np.sum(x**2)) / ((len(x) - 1) * np.sum(x**2))
    norm = UNNORMALIZED if normalization == "none" else Norm(position, -5.0)
    scales = (std, np.array([gain]), bias, square, correlation, depth, OF_THEORY, 1.0, 1.0, norm)
    predicted = from_inputs(ACTIVATIONS["tanh"], *scales)
    for name, values in columns.items():
        error = np.std(values, axis=0, ddof=1) / np.sqrt(seeds)
        # Five standard errors, and what a width of 512 is away from infinite: a few 1/512 in 12 layers.
        assert np.all(np.abs(np.mean(values, axis=0) - getattr(predicted, name)[:, 0]) < 5 * error + 0.01), name


def test_a_normalized_stream_grows_linearly_and_its_jacobian_telescopes():
    """De and Smith 2020, arXiv:2002.10444: p + v each layer, and the product of what changes grow by is p_L / p_1."""
    norm = Norm("pre", -math.inf)
    found = propagate(ACTIVATIONS["relu"], np.log10(2), -np.inf, np.log10(3.0), 0.0, 50, OF_THEORY, 0.0, norm)
    p = 3.0 + np.arange(50)  # E relu(z)^2 is 1/2, and the weights' variance 2
    np.testing.assert_allclose(10 ** (2 * found.log10_jacobian[:, 0]), p / p[0], rtol=1e-12)
    np.testing.assert_allclose(found.chi[:, 0], 1 + 1 / p, rtol=1e-12)
    np.testing.assert_allclose(found.log10_act_rms[:, 0], 0.5 * np.log10(0.5), rtol=1e-12)


def test_a_stream_normalized_behind_each_block_keeps_its_size():
    norm = Norm("post", -math.inf)
    found = propagate(ACTIVATIONS["relu"], np.log10(2), -np.inf, 0.0, 0.0, 20, OF_THEORY, 0.0, norm)
    # Twice the mean square, divided by it: He's ReLU beside a skip doubles both.
    np.testing.assert_allclose(found.chi[:, 0], 1.0, rtol=1e-12)
    np.testing.assert_allclose(found.log10_act_rms[:, 0], 0.5 * np.log10(0.5), rtol=1e-12)


@pytest.mark.slow
@EACH
def test_networks_are_trained_by_the_gradient_of_their_own_loss(name, normalization, stream):
    x, y = inputs(SAMPLES, FEATURES).astype(np.float32), np.arange(SAMPLES) % 3
    network = classifier.Architecture(
        ACTIVATIONS[name], NORMALIZATIONS[normalization], RESIDUAL, stream.position, "highest"
    )
    trainees = [trainer.Trainee(0, "normal", 0.4, 0.3, 0.2, 0.1, 0.1, 1e-5, stream.skip, stream.branch)] * 2
    chosen = trainer.Settings(network, batch_size=8)
    state = trainer.begin(trainees, WIDTH, 3, FEATURES, 3, chosen)
    loss, _, found = classifier.gradients(state.parameters, jnp.asarray(x), jnp.asarray(y), network, state.scales)
    run = plain.network(name, normalization, stream)
    with jax.enable_x64(True):
        own = {
            key: jnp.asarray(np.take(np.asarray(value, np.float64), 1, classifier.network_axis(key)))
            for key, value in state.parameters.items()
        }

        def expected(own):
            biases = own.get("bias", jnp.zeros((3, WIDTH)))
            _, h = run(jnp.asarray(x, float), [own["first"], *own["hidden"]], list(biases), [0.0] * 3)
            logits = h @ own["readout"] + own["readout_bias"]
            return -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(SAMPLES), y])

        value, gradients = jax.value_and_grad(expected)(own)
    assert float(loss[1]) == pytest.approx(float(value), rel=1e-5)
    for key, gradient in gradients.items():
        if key in ("scale", "shift"):  # which are 1 and 0, and not in the plain network
            continue
        one = np.take(np.asarray(found[key]), 1, classifier.network_axis(key))
        # Float32 sums over samples, of terms that cancel under batch normalization.
        np.testing.assert_allclose(one, gradient, rtol=1e-3, atol=2e-6, err_msg=key)
