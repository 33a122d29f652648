"""Inits that are named after a library against what its layers begin with; skipped where it is not installed."""

import os

import jax
import numpy as np
import pytest

from winit_jax.numerics.initializers import unit_biases, unit_weight_stack
from winit_jax.numerics.schemes import SCHEMES, own_bias_law, own_bias_std, scheme_std, shape_of

FAN_IN, FAN_OUT, TAPS, SIDE = 80, 400, 3, 2
KEY = jax.random.key(0)


def torch():
    library = pytest.importorskip("torch")
    library.manual_seed(0)
    layers = (
        library.nn.Linear(FAN_IN, FAN_OUT),
        library.nn.Conv1d(FAN_OUT, FAN_OUT, TAPS),
        library.nn.Conv2d(FAN_OUT, FAN_OUT, SIDE),
    )
    return [(layer.weight.detach().numpy(), layer.bias.detach().numpy()) for layer in layers]


def keras():
    os.environ.setdefault("KERAS_BACKEND", "jax")
    library = pytest.importorskip("keras")
    library.utils.set_random_seed(0)
    layers = library.layers.Dense(FAN_OUT), library.layers.Conv1D(FAN_OUT, TAPS), library.layers.Conv2D(FAN_OUT, SIDE)
    for layer, shape in zip(layers, [(1, FAN_IN), (1, TAPS, FAN_OUT), (1, SIDE, SIDE, FAN_OUT)], strict=True):
        layer.build(shape)
    return [(np.asarray(layer.kernel), np.asarray(layer.bias)) for layer in layers]


# What a dense layer and convolutions along one and two dimensions are given where they are made by calling them.
INPUTS = [np.zeros(shape, np.float32) for shape in ((1, FAN_IN), (1, TAPS, FAN_OUT), (1, SIDE, SIDE, FAN_OUT))]


def flax():
    library = pytest.importorskip("flax.linen")
    layers = library.Dense(FAN_OUT), library.Conv(FAN_OUT, (TAPS,)), library.Conv(FAN_OUT, (SIDE, SIDE))
    made = [layer.init(KEY, x)["params"] for layer, x in zip(layers, INPUTS, strict=True)]
    return [(layer["kernel"], layer["bias"]) for layer in made]


def nnx():
    library = pytest.importorskip("flax.nnx")
    rngs = library.Rngs(0)
    layers = (
        library.Linear(FAN_IN, FAN_OUT, rngs=rngs),
        library.Conv(FAN_OUT, FAN_OUT, (TAPS,), rngs=rngs),
        library.Conv(FAN_OUT, FAN_OUT, (SIDE, SIDE), rngs=rngs),
    )
    return [(layer.kernel[...], layer.bias[...]) for layer in layers]


def haiku():
    library = pytest.importorskip("haiku")
    makers = (
        lambda x: library.Linear(FAN_OUT)(x),
        lambda x: library.Conv1D(FAN_OUT, TAPS)(x),
        lambda x: library.Conv2D(FAN_OUT, SIDE)(x),
    )
    made = [library.transform(maker).init(KEY, x) for maker, x in zip(makers, INPUTS, strict=True)]
    return [(layer["w"], layer["b"]) for of_maker in made for layer in of_maker.values()]


def equinox():
    library = pytest.importorskip("equinox")
    keys = jax.random.split(KEY, 3)
    layers = (
        library.nn.Linear(FAN_IN, FAN_OUT, key=keys[0]),
        library.nn.Conv1d(FAN_OUT, FAN_OUT, TAPS, key=keys[1]),
        library.nn.Conv2d(FAN_OUT, FAN_OUT, SIDE, key=keys[2]),
    )
    return [(layer.weight, layer.bias) for layer in layers]


LIBRARIES = {
    torch: ("torch_linear", "torch_conv"),
    keras: ("keras_dense", "keras_conv"),
    flax: ("flax_dense", "flax_conv"),
    nnx: ("flax_dense", "flax_conv"),
    haiku: ("haiku_linear", "haiku_conv"),
    equinox: ("equinox_linear", "equinox_conv"),
}
# Inits that are named after a library, all of which are held against it here.
NAMED = {init for inits in LIBRARIES.values() for init in inits}


def kurtosis(x):
    """(E x^4 / (E x^2)^2 of entries of mean 0, its standard error by the delta method)."""
    square, fourth = np.mean(x**2), np.mean(x**4)
    ratio = fourth / square**2
    return ratio, np.std(x**4 / square**2 - 2 * ratio * x**2 / square) / np.sqrt(x.size)


def assert_of_one_law(theirs, ours, std):
    """Mean 0 and the variance to 5 standard errors; kurtosis to as many of both sides; the same largest entries.

    The edge of a law that is cut is d / n above the largest of n draws, d exponential of mean 1 for uniform entries and
    of mean 4.4 where a normal is cut at 2 sigma, as a share of the edge: d is above 80 once in 10^8.
    """
    theirs, ours = (np.asarray(x, float).ravel() for x in (theirs, ours))
    assert abs(np.mean(theirs)) <= 5 * std / np.sqrt(theirs.size)
    # E z^4 < 3 for both uniform and truncated normal entries.
    assert abs(np.mean(theirs**2) - std**2) <= 5 * std**2 * np.sqrt(2 / theirs.size)
    if std == 0:
        assert not theirs.any()
        return
    (one, of_one), (other, of_other) = kurtosis(theirs), kurtosis(ours)
    assert abs(one - other) <= 5 * np.hypot(of_one, of_other)
    largest = [np.abs(x).max() / std for x in (theirs, ours)]
    assert largest[0] == pytest.approx(largest[1], rel=80 / min(theirs.size, ours.size))


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda library: library.__name__)
def test_an_init_is_what_layers_of_its_library_begin_with(library):
    """Of a dense layer, and of convolutions along one and two dimensions."""
    (dense, convolution), made = LIBRARIES[library], library()
    places = [(dense, FAN_IN, 1), (convolution, TAPS * FAN_OUT, TAPS), (convolution, SIDE**2 * FAN_OUT, SIDE**2)]
    for (init, fan_in, taps), (weights, biases) in zip(places, made, strict=True):
        std, of_biases = scheme_std(init, fan_in, taps * FAN_OUT), own_bias_std(init, fan_in, taps * FAN_OUT)
        ours = std * np.asarray(unit_weight_stack(0, shape_of(init), 2, 1, fan_in, FAN_OUT)[0], float)
        assert np.size(weights) == ours.size
        assert_of_one_law(weights, ours, std)
        drawn = of_biases * np.asarray(unit_biases(0, FAN_OUT, 2, 1, law=own_bias_law(init))[0], float)
        assert_of_one_law(biases, drawn, of_biases)


def test_every_init_that_is_named_after_a_library_is_held_against_it():
    of_libraries = ("torch", "keras", "flax", "haiku", "equinox")
    assert {init for init in SCHEMES if init.partition("_")[0] in of_libraries} == NAMED


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
