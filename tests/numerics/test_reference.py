"""The self-check: silent wherever float32 is all that is wrong, and not where a sum, a product or a function is."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

from support.networks import fast, inputs, stack_of
from winit_jax.numerics import draws, folding
from winit_jax.numerics.activations import ACTIVATIONS, activation
from winit_jax.numerics.activations.probing import probe
from winit_jax.numerics.draws import Layer
from winit_jax.numerics.measure import comparison, families, statistics
from winit_jax.numerics.measure.family import Family
from winit_jax.numerics.measure.networks import Settings, as_inputs
from winit_jax.numerics.normalization import NORMALIZATIONS

DEPTH = 3


def layers_of(shape, width, features, seed=0):
    first, ((hidden,),) = draws.first_layer(seed, shape, width, features), stack_of(shape, width, 2, DEPTH - 1, seed)
    layers = [first] + [Layer(*parts) for parts in zip(*(np.asarray(part) for part in hidden), strict=True)]
    return [((layer,),) for layer in layers]


def found_wrong(x, name, stds, bias, columns, *, width, normalization="none", shape="normal", **others):
    """What the self-check says of each network, of the columns of [DEPTH, networks] that are said to be its own."""
    tangents = np.asarray(draws.directions(0, "tangents", len(x), width), float)
    return [
        comparison.compare(
            {column: values[:, network] for column, values in columns.items()},
            x,
            comparison.Network(first, bias, [hidden]),
            layers_of(shape, width, x.shape[1]),
            tangents,
            activation(name) if isinstance(name, str) else name,
            others.get("saturation_threshold", 0.05),
            normalization,
        ).wrong
        for network, (first, hidden) in enumerate(stds)
    ]


def check(x, name, gains, bias=0.0, *, width, shape="normal", measured=None, **settings):
    """What the self-check says of networks of those gains. measured: what takes the place of the activation's pass."""
    stds = [(gain / np.sqrt(x.shape[1]), gain / np.sqrt(width)) for gain in gains]
    firsts, hidden = zip(*stds, strict=True)
    options = {"width": width, "depth": DEPTH, "shape": shape, "jacobian": True, **settings}
    columns = fast(x, measured or name, hidden, [bias] * len(gains), first_stds=firsts, **options)
    return found_wrong(x, name, stds, bias, columns, width=width, shape=shape, **settings)


def of_kind(kind, samples, features, seed=0):
    """Inputs as people have them, and as only tests do."""
    generator = np.random.default_rng(seed)
    x = generator.standard_normal((samples, features))
    return {
        "normal": lambda: x,
        "constant columns": lambda: np.where(np.arange(features) % 2, x, 3.0),
        "equal samples": lambda: np.repeat(x[:1], samples, axis=0),
        "offset of 1e4": lambda: x + 1e4,
        "offset of 1e6": lambda: x + 1e6,
        "zeros": lambda: np.zeros_like(x),
        "one hot": lambda: np.eye(features)[np.arange(samples) % features],
        "scale of 1e-20": lambda: 1e-20 * x,
        "scale of 1e20": lambda: 1e20 * x,
        "whole numbers": lambda: np.round(x),
        "samples of many scales": lambda: x * np.geomspace(1e-30, 1, samples)[:, None],
    }[kind]()


KINDS = (
    "normal",
    "constant columns",
    "equal samples",
    "offset of 1e4",
    "offset of 1e6",
    "zeros",
    "one hot",
    "scale of 1e-20",
    "scale of 1e20",
    "whole numbers",
    "samples of many scales",
)
GAINS = (1e-8, 1e-3, 0.5, 1.5, 15.0, 1e3, 1e8)
USUAL_GAINS = GAINS[1:5]


@pytest.mark.parametrize(("gain", "std"), [(15.0, None), (None, 3.0)])
def test_zeros_that_only_rounding_makes_are_not_counted(gain, std):
    x = inputs(samples=200, features=100)
    stds = [(std, std)] if std else [(gain / 10, gain / 10)]
    columns = fast(x, "sigmoid", [stds[0][1]], first_stds=[stds[0][0]], width=100, depth=DEPTH)
    assert found_wrong(x, "sigmoid", stds, 0.0, columns, width=100) == [[]]


@pytest.mark.slow
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("shape", ["normal", "constant"])
def test_a_correct_pass_is_let_through_whatever_it_is_fed(normalization, shape):
    turn = list(NORMALIZATIONS).index(normalization) + (shape == "constant")
    for place, kind in enumerate(KINDS):
        bias = (0.0, 0.3, 1e3)[(place + turn) % 3]
        found = check(of_kind(kind, 40, 12), "sigmoid", GAINS, bias, width=10, shape=shape, normalization=normalization)
        assert found == [[]] * len(GAINS), (kind, bias)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_a_correct_pass_of_any_activation_is_let_through(name):
    sizes, place = ((40, 12, 10), (1, 5, 3), (30, 1, 1)), sorted(ACTIVATIONS).index(name)
    # Each activation with one normalization and size, and each of these with every kind.
    normalization, (samples, features, width) = list(NORMALIZATIONS)[place % 3], sizes[place // 3 % 3]
    for seed, kind in enumerate(KINDS):
        x, shape = of_kind(kind, samples, features, seed), ("normal", "constant")[seed % 2]
        bias = (0.0, 0.3, 1e3)[seed % 3]
        found = check(x, name, USUAL_GAINS, bias, width=width, shape=shape, normalization=normalization)
        assert found == [[]] * len(USUAL_GAINS), (normalization, samples, kind)


def one_of_many_scales(kind):
    x = np.random.default_rng(1).normal(size=(6, 5))
    changed = np.arange(6) == {"one of 1e6": 2, "one of zeros": 0}.get(kind, -1)
    factor = {"one of 1e6": 1e6, "one of zeros": 0.0, "1e30": 1e30, "zeros": 0.0}.get(kind, 1.0)
    if kind == "nearly equal":
        return x[:1] + 1e-6 * x
    return x * np.where(changed[:, None] | (kind in ("1e30", "zeros")), factor, 1.0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "normalization", "shape", "kind", "gain", "bias", "epsilon", "seed", "width"),
    [
        ("hard_tanh", "batch", "uniform", "nearly equal", 2.0, 0.001, 1.0, 96, 5),
        ("elu", "batch", "uniform", "nearly equal", 2.0, 0.001, 1e-5, 96, 5),
        ("sin", "none", "normal", "one of 1e6", 0.7 * 5**0.5, 0.0, 1e-5, 68, 5),
        ("elu", "layer", "constant", "one of 1e6", 3.0, 10.0, 1e-3, 72, 5),
        ("relu", "none", "normal", "1e30", 1e10, 1e-12, 1e-5, 19, 5),
        ("sigmoid", "none", "normal", "one of zeros", 1e30 * 5**0.5, 40.0, 1e-5, 18, 5),
        ("sigmoid", "batch", "normal", "zeros", 1e30, 0.3, 1e-5, 1, 5),
        ("elu", "layer", "orthogonal", "one of zeros", 2.6, 0.0, 1e-5, 183, 2),
        ("gelu", "none", "normal", "1e30", 40.0, 1.0, 1e-5, 1, 1),
        ("sigmoid", "layer", "constant", "usual", 0.001, 1e-8, 1e-12, 87, 5),
        ("tanh", "layer", "constant", "usual", 1.0, 1e-4, 1e-5, 0, 10),
    ],
)
def test_numbers_that_only_float32_or_its_scale_change_are_let_through(
    name, normalization, shape, kind, gain, bias, epsilon, seed, width
):
    x = one_of_many_scales(kind)
    first, hidden = gain / np.sqrt(5), gain / np.sqrt(width)
    family = Family(seed, shape, width, *(np.array([value]) for value in (first, hidden, bias, epsilon)))
    settings = Settings(activation(name), NORMALIZATIONS[normalization])
    columns, _ = families.forward(family, as_inputs(x), DEPTH, settings, budget_mib=64, platform="cpu")
    found = comparison.compare(
        {column: values[:, 0] for column, values in columns.items()},
        x,
        comparison.Network(first, bias, [hidden], epsilon),
        layers_of(shape, width, 5, seed),
        np.asarray(draws.directions(seed, "tangents", len(x), width), float),
        settings.activation,
        0.05,
        normalization,
    )
    assert found.wrong == []


# What a wrong program does, each to columns that were right or to what they are made of.
ORDINARY = [
    ("tanh", "none", 1.2),
    ("relu", "none", 1.4),
    ("sigmoid", "none", 4.0),
    ("gelu", "batch", 1.0),
    ("softplus", "layer", 1.0),
]
EACH = pytest.mark.parametrize(("name", "normalization", "gain"), ORDINARY)


def changed(columns, **changes):
    return {name: changes[name](values) if name in changes else values for name, values in columns.items()}


@pytest.mark.slow
@EACH
def test_wrong_columns_are_caught(name, normalization, gain):
    x, width, bias = inputs(), 10, 0.1
    stds = [(gain / np.sqrt(12), gain / np.sqrt(10))]
    options = {"width": width, "depth": DEPTH, "normalization": normalization}
    right = fast(x, name, [stds[0][1]], [bias], first_stds=[stds[0][0]], jacobian=True, **options)

    def caught(columns):
        return found_wrong(x, name, stds, bias, columns, width=width, normalization=normalization)[0]

    assert not caught(right)
    assert caught(right | {"act_min": right["act_max"], "act_max": right["act_min"]})
    assert caught(changed(right, log10_jacobian=lambda log10: log10 + np.log10(1.01) * (np.arange(DEPTH) > 0)[:, None]))
    assert caught(changed(right, preact_std=lambda std: 1.001 * std))
    assert caught(changed(right, input_decorrelation=lambda share: 0.99 * share))
    assert caught(changed(right, unit_similarity=lambda c: c + 0.01))
    if np.any(right["saturated"] > 0.1):
        assert caught(changed(right, saturated=lambda share: 1.02 * share))


@pytest.mark.slow
@EACH
def test_wrong_draws_are_caught(name, normalization, gain):
    """A row of a product that is dropped, and biases of one layer that are missing (where they do not cancel)."""
    x, width, bias = inputs(), 10, 0.3
    stds = (gain / np.sqrt(12), gain / np.sqrt(10))
    own = layers_of("normal", width, 12)
    tangents = np.asarray(draws.directions(0, "tangents", len(x), width), float)
    options = {"width": width, "depth": DEPTH, "normalization": normalization}
    columns = fast(x, name, [stds[1]], [bias], first_stds=[stds[0]], jacobian=True, **options)
    columns = {column: values[:, 0] for column, values in columns.items()}
    for layer in range(DEPTH):
        ((right,),) = own[layer]
        weights, biases = np.array(right.weights), np.zeros(width, np.float32)
        weights[3] = 0
        for other in (right._replace(weights=weights), right._replace(biases=biases)):
            several = [*own[:layer], ((other,),), *own[layer + 1 :]]
            network = comparison.Network(stds[0], bias, [stds[1]])
            found = comparison.compare(columns, x, network, several, tangents, activation(name), 0.05, normalization)
            assert found.wrong, layer


@pytest.mark.slow
@EACH
def test_a_sum_over_samples_that_drops_a_slice_is_caught(name, normalization, gain, monkeypatch):
    whole = folding.over_samples

    def dropping(x, combine=jnp.add):  # as jaxlib 0.10.2's vectorized loops do
        return whole(x[: -(len(x) // folding.FOLD)], combine)

    for module in (folding, statistics):
        monkeypatch.setattr(module, "over_samples", dropping)
    # Another name is another program.
    wrong = replace(activation(name), name=f"{name} of a wrong program")
    assert all(check(inputs(), name, [gain], 0.1, width=10, normalization=normalization, measured=wrong))


@pytest.mark.slow
@EACH
def test_a_wrong_constant_in_an_activation_is_caught(name, normalization, gain):
    entry = activation(name)
    wrong = replace(entry, name=f"{name} of a wrong constant", response=lambda a: 1.01 * entry.response(a))
    assert all(check(inputs(), name, [gain], 0.1, width=10, normalization=normalization, measured=wrong))


@pytest.mark.slow
def test_a_function_that_rounds_on_its_own_is_not_blamed_on_the_program():
    def rough(a):  # loses half its digits to cancellation, as it is written
        return jnp.log1p(1e4 + jnp.tanh(a)) - jnp.log1p(1e4)

    found = check(inputs(), probe(rough, "rough"), [0.5, 1.5, 4.0], 0.1, width=10)
    assert found == [[]] * 3
