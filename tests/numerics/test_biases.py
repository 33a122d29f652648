"""Biases with standard deviations of their own at each place, and drawn in other ways, in every pass."""

import numpy as np
import pytest

from support import architectures
from support import numpy_training as plain
from support.architectures import Setting
from support.networks import inputs
from winit_jax.numerics import draws, theory
from winit_jax.numerics.activations import ACTIVATIONS, activation
from winit_jax.numerics.blocks import BLOCKS
from winit_jax.numerics.initializers import unit_biases, unit_readout
from winit_jax.numerics.measure import comparison, families
from winit_jax.numerics.measure.family import Family
from winit_jax.numerics.measure.networks import Settings, as_inputs
from winit_jax.numerics.normalization import NORMALIZATIONS
from winit_jax.numerics.schemes import own_bias_std, scheme_std
from winit_jax.numerics.training import classifier, trainer

WIDTH, DEPTH, SAMPLES, FEATURES = 12, 3, 10, 5
CASES = [
    ("dense", "uniform", Setting("tanh", skip=0.0)),
    ("mlp(2)", "uniform", Setting("gelu", "layer")),
    ("mlp(2)", "constant", Setting("sigmoid")),
]


def family(name, law):
    """Two networks: one with other biases at each place, and one whose stem alone has some."""
    block = BLOCKS.find(name)
    places = sum(len(update.places(WIDTH)) for update in block.updates)
    of_block = np.stack([np.linspace(0.2, 0.5, places), np.zeros(places)], axis=1)
    stds = (np.array([0.4, 0.8]), np.array([0.2, 0.4]), np.array([0.7, 0.3]))
    skip = None if name == "dense" else np.ones(2)
    return Family(0, "normal", WIDTH, *stds, None, block, skip, block_bias_std=of_block, bias_init=law)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "law", "setting"), CASES)
def test_each_place_has_its_own_biases_on_the_way_forth_and_back(name, law, setting):
    of_family, x = family(name, law), inputs(SAMPLES, FEATURES)
    settings = Settings(ACTIVATIONS[setting.activation], NORMALIZATIONS[setting.normalization], block=of_family.block)
    columns, _ = families.forward(of_family, as_inputs(x), DEPTH, settings, budget_mib=64, platform="cpu")
    gradients, _ = families.gradients(of_family, as_inputs(x), None, (DEPTH,), settings, budget_mib=64, platform="cpu")
    layers = of_family.first_layers(FEATURES, DEPTH, 64, DEPTH)
    tangents = np.asarray(draws.directions(0, "tangents", len(x), WIDTH), float)
    for at in range(2):
        found = comparison.compare(
            {column: values[:, at] for column, values in columns.items()},
            x, of_family.network(at), layers, tangents, settings.activation, 0.05, setting.normalization,
            block=of_family.block,
        )  # fmt: skip
        assert (found.layers, found.wrong) == (settings.rows(DEPTH), [])
        expected = architectures.log10_jacobian(of_family, at, x, DEPTH, setting)
        np.testing.assert_allclose(columns["log10_jacobian"][:, at], expected, atol=3e-5)
        expected = architectures.gradients(of_family, at, x, DEPTH, setting)
        for column, values in zip(("log10_preact_grad_rms", "log10_weight_grad_rms"), expected, strict=True):
            np.testing.assert_allclose(gradients[column][at, 0], values, atol=2e-4)


def test_only_networks_without_any_bias_are_others_rescaled():
    of_family = family("dense", "uniform")
    assert not families.can_share(of_family).any()
    bare = Family(0, "normal", WIDTH, *(np.ones(2), np.ones(2), np.zeros(2)), block_bias_std=np.array([[0.0, 0.1]]))
    assert families.can_share(bare).tolist() == [True, False]


def torch_network(seed=0, width=WIDTH, classes=4):
    """One network of PyTorch's layers: its features, and of each layer the width, give its weights and biases."""
    fans = [(FEATURES, width), (width, width), (width, classes)]
    first, hidden, last = (scheme_std("torch_linear", *fan) for fan in fans)
    biases = tuple(own_bias_std("torch_linear", *fan) for fan in fans)
    return trainer.Trainee(seed, "uniform", first, hidden, last, biases, 0.2, bias_init="uniform")


@pytest.mark.parametrize("depth", [1, 3])
def test_networks_that_learn_begin_with_the_biases_of_each_layer(depth):
    network = classifier.Architecture(activation("relu"))
    settings = trainer.Settings(network, batch_size=16)
    trainee = torch_network()
    plainly = trainer.Trainee(1, "normal", 0.3, 0.3, 0.3, 0.0, 0.2)
    state = trainer.begin([trainee, plainly], WIDTH, depth, FEATURES, 4, settings)
    bias = np.asarray(state.parameters["bias"])
    units = np.asarray(unit_biases(0, WIDTH, 1, depth, law="uniform"))
    stds = np.array([FEATURES, *[WIDTH] * (depth - 1)]) ** -0.5 / np.sqrt(3)
    np.testing.assert_allclose(bias[:, 0], stds[:, None] * units, rtol=1e-6)
    of_readout = np.asarray(unit_readout(0, "uniform", WIDTH, 4, "uniform")[1])
    np.testing.assert_allclose(
        np.asarray(state.parameters["readout_bias"])[0], of_readout / np.sqrt(3 * WIDTH), rtol=1e-6
    )
    assert not bias[:, 1].any()


def test_a_network_of_torch_learns_as_float64_numpy_does():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((80, FEATURES)).astype(np.float32), rng.integers(0, 4, 80).astype(np.int32)
    settings = trainer.Settings(classifier.Architecture(activation("tanh")), batch_size=16)
    state = trainer.begin([torch_network()], WIDTH, DEPTH, FEATURES, 4, settings)
    own = {name: np.asarray(value, float) for name, value in state.parameters.items()}
    weights = [own["first"][:, 0], *own["hidden"][:, 0], own["readout"][0]]
    params = {"weights": weights, "biases": [*own["bias"][:, 0], own["readout_bias"][0]]}
    batches = [np.asarray(classifier.minibatch(0, step, 80, 16)) for step in range(20)]
    plain.train(params, x, y, batches, plain.Sgd(0.2), "tanh", "none")
    expected, _ = plain.evaluate(params, x, y, "tanh", "none", None)
    data = classifier.Data(x, y, x, y)
    found = list(
        trainer.train(
            [torch_network()], data, width=WIDTH, depth=DEPTH, classes=4, evaluated=[0, 20], settings=settings
        )
    )
    assert found[-1][0].train_loss[0] == pytest.approx(expected, abs=1e-4)


def relu_stack(depth, with_biases, width=500, seeds=6, samples=40):
    """(log10 RMS of a_l and correlations of sampled networks of PyTorch's layers, [seeds, depth] each; predictions)."""
    x = np.random.default_rng(0).standard_normal((samples, width))
    x *= np.sqrt(width) / np.linalg.norm(x, axis=1, keepdims=True)  # equal norms, as theory takes them
    stds = np.array([scheme_std("torch_linear", width, width)])
    biases = np.array([own_bias_std("torch_linear", width, width)]) * with_biases
    runs = []
    for seed in range(seeds):
        of_seed = Family(seed, "uniform", width, stds, stds, biases, bias_init="uniform")
        columns, _ = families.forward(
            of_seed, as_inputs(x), depth, Settings(activation("relu")), budget_mib=256, platform="cpu", jacobian=False
        )
        runs.append([columns[name][:, 0] for name in ("log10_preact_rms", "input_correlation")])
    gram = x @ x.T
    c0 = (gram.sum() - np.trace(gram)) / ((samples - 1) * np.trace(gram))
    gains = stds * np.sqrt(width)
    found = theory.from_inputs(activation("relu"), stds, gains, biases, float(width), c0, depth, block_bias_std=biases)
    return np.moveaxis(runs, 1, 0), (found.log10_preact_rms[:, 0], found.input_correlation[:, 0])


@pytest.mark.slow
@pytest.mark.parametrize("with_biases", [False, True])
def test_theory_of_torch_s_layers_is_that_of_wide_sampled_networks(with_biases):
    """15 layers of ReLU: 4 standard errors over 6 seeds, and 15 / width of what is left out at finite width."""
    depth, width = 15, 500
    sampled, predicted = relu_stack(depth, with_biases, width)
    for runs, theirs in zip(sampled, predicted, strict=True):
        standard_error = runs.std(axis=0, ddof=1) / np.sqrt(len(runs))
        assert np.all(np.abs(runs.mean(axis=0) - theirs) < 4 * standard_error + depth / width)
    if not with_biases:  # a factor of sqrt(1/6) a layer
        np.testing.assert_allclose(np.diff(predicted[0]), 0.5 * np.log10(1 / 6), atol=1e-9)
        assert 15 * 0.5 * np.log10(1 / 6) == pytest.approx(-5.836, abs=5e-4)
    else:  # q settles at q / 6 + 1 / (3 width)
        assert predicted[0][-1] == pytest.approx(0.5 * np.log10(0.4 / width), abs=1e-6)
        assert predicted[1][-1] == pytest.approx(1, abs=1e-3)
