"""Inits that are named after a library against what its layers begin with; skipped where it is not installed."""

import os

import jax
import numpy as np
import pytest

from winit_jax.numerics.initializers import unit_biases, unit_weight_stack
from winit_jax.numerics.schemes import own_bias_law, own_bias_std, scheme_std, shape_of

FAN_IN, FAN_OUT, TAPS = 80, 400, 3
KEY = jax.random.key(0)


def torch():
    library = pytest.importorskip("torch")
    library.manual_seed(0)
    layers = library.nn.Linear(FAN_IN, FAN_OUT), library.nn.Conv1d(FAN_OUT, FAN_OUT, TAPS)
    return [(layer.weight.detach().numpy(), layer.bias.detach().numpy()) for layer in layers]


def keras():
    os.environ.setdefault("KERAS_BACKEND", "jax")
    library = pytest.importorskip("keras")
    library.utils.set_random_seed(0)
    layers = library.layers.Dense(FAN_OUT), library.layers.Conv1D(FAN_OUT, TAPS)
    for layer, shape in zip(layers, [(1, FAN_IN), (1, TAPS, FAN_OUT)], strict=True):
        layer.build(shape)
    return [(np.asarray(layer.kernel), np.asarray(layer.bias)) for layer in layers]


def flax():
    library = pytest.importorskip("flax.linen")
    layers = library.Dense(FAN_OUT), library.Conv(FAN_OUT, (TAPS,))
    inputs = np.zeros((1, FAN_IN)), np.zeros((1, TAPS, FAN_OUT))
    made = [layer.init(KEY, x)["params"] for layer, x in zip(layers, inputs, strict=True)]
    return [(layer["kernel"], layer["bias"]) for layer in made]


def nnx():
    library = pytest.importorskip("flax.nnx")
    rngs = library.Rngs(0)
    layers = library.Linear(FAN_IN, FAN_OUT, rngs=rngs), library.Conv(FAN_OUT, FAN_OUT, (TAPS,), rngs=rngs)
    return [(layer.kernel[...], layer.bias[...]) for layer in layers]


def haiku():
    library = pytest.importorskip("haiku")
    makers = (lambda x: library.Linear(FAN_OUT)(x)), (lambda x: library.Conv1D(FAN_OUT, TAPS)(x))
    inputs = np.zeros((1, FAN_IN), np.float32), np.zeros((1, TAPS, FAN_OUT), np.float32)
    made = [library.transform(maker).init(KEY, x) for maker, x in zip(makers, inputs, strict=True)]
    return [(layer["w"], layer["b"]) for of_maker in made for layer in of_maker.values()]


def equinox():
    library = pytest.importorskip("equinox")
    one, other = jax.random.split(KEY)
    layers = library.nn.Linear(FAN_IN, FAN_OUT, key=one), library.nn.Conv1d(FAN_OUT, FAN_OUT, TAPS, key=other)
    return [(layer.weight, layer.bias) for layer in layers]


LIBRARIES = {
    torch: ("torch_linear", "torch_conv"),
    keras: ("keras_dense", "keras_conv"),
    flax: ("flax_dense", "flax_conv"),
    nnx: ("flax_dense", "flax_conv"),
    haiku: ("haiku_linear", "haiku_conv"),
    equinox: ("equinox_linear", "equinox_conv"),
}


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda library: library.__name__)
def test_an_init_is_what_layers_of_its_library_begin_with(library):
    """Variances to 5 standard errors of both sides, and the largest entries, to which 30,000 draws come near."""
    places = [(FAN_IN, FAN_OUT, 1), (TAPS * FAN_OUT, FAN_OUT, TAPS)]
    for init, (weights, biases), (fan_in, fan_out, taps) in zip(LIBRARIES[library], library(), places, strict=True):
        std, of_biases = scheme_std(init, fan_in, taps * fan_out), own_bias_std(init, fan_in, taps * fan_out)
        ours = std * np.asarray(unit_weight_stack(0, shape_of(init), 2, 1, fan_in, fan_out)[0], float)
        weights, biases = np.asarray(weights, float), np.asarray(biases, float)
        assert weights.size == ours.size
        # E[z^4] < 3 for both uniform and truncated normal entries.
        assert abs(np.mean(weights**2) - std**2) < 5 * std**2 * np.sqrt(2 / weights.size)
        assert np.abs(weights).max() == pytest.approx(np.abs(ours).max(), rel=0.01)
        drawn = of_biases * np.asarray(unit_biases(0, fan_out, 2, 1, law=own_bias_law(init))[0], float)
        assert abs(np.mean(biases**2) - of_biases**2) <= 5 * of_biases**2 * np.sqrt(2 / biases.size)
        assert np.abs(biases).max() == pytest.approx(np.abs(drawn).max(), rel=0.02)


@pytest.mark.parametrize(
    ("init", "maker"),
    [
        ("he_truncated", "he_normal"),
        ("he_uniform", "he_uniform"),
        ("lecun_truncated", "lecun_normal"),
        ("lecun_uniform", "lecun_uniform"),
        ("xavier_truncated", "glorot_normal"),
        ("xavier_uniform", "glorot_uniform"),
    ],
)
def test_truncated_and_uniform_inits_are_those_of_jax(init, maker):
    theirs = np.asarray(getattr(jax.nn.initializers, maker)()(KEY, (FAN_IN, FAN_OUT)), float)
    std = scheme_std(init, FAN_IN, FAN_OUT)
    ours = std * np.asarray(unit_weight_stack(0, shape_of(init), 2, 1, FAN_IN, FAN_OUT)[0], float)
    assert abs(np.mean(theirs**2) - std**2) < 5 * std**2 * np.sqrt(2 / theirs.size)
    assert np.abs(theirs).max() == pytest.approx(np.abs(ours).max(), rel=0.01)


@pytest.mark.parametrize("distribution", ["normal", "truncated_normal", "uniform"])
@pytest.mark.parametrize("mode", ["fan_in", "fan_out", "fan_avg"])
@pytest.mark.parametrize("taps", [1, TAPS])
def test_variance_scaling_is_that_of_jax_of_a_matrix_and_of_a_kernel(mode, distribution, taps):
    width = FAN_OUT // 2
    theirs = jax.nn.initializers.variance_scaling(1.7, mode, distribution)(KEY, (taps, width, width))
    std = scheme_std(f"variance_scaling(1.7, {mode}, {distribution})", taps * width, taps * width)
    assert abs(np.mean(np.square(theirs)) - std**2) < 5 * std**2 * np.sqrt(2 / theirs.size)
