"""LSUV: each matrix multiplied by what gives its products variance 1 on the inputs, in one forward pass."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_blocks import UPDATES, One, layout_of

from support import architectures
from support.architectures import SIDE, Setting, positions_of
from support.networks import inputs
from support.references import PHI
from winit_jax.numerics import draws
from winit_jax.numerics.activations import activation
from winit_jax.numerics.blocks import BLOCKS, Layout
from winit_jax.numerics.blocks.affine import unit_factor
from winit_jax.numerics.draws import Layer
from winit_jax.numerics.measure import comparison, families
from winit_jax.numerics.measure.family import Family
from winit_jax.numerics.measure.networks import Settings, as_inputs
from winit_jax.numerics.measure.reference import of_factors
from winit_jax.numerics.naive import Naive, NaiveSignal, functions_of
from winit_jax.numerics.scaled import Scaled

WIDTH, FEATURES, SAMPLES, DEPTH = 16, 6, 40, 4


def family(width=WIDTH, features=FEATURES, seed=0, networks=1, block="dense"):
    """Orthonormal weights, before their factors."""
    known = BLOCKS.find(block)
    places = [place for update in known.updates for place in update.places(width)]
    stds = [np.full(networks, max(place.fan_in, place.fan_out) ** -0.5) for place in places]
    hidden = stds[0] if len(stds) == 1 else np.array(stds)
    first = np.full(networks, max(features, width) ** -0.5)
    return Family(seed, "lsuv", width, first, hidden, np.zeros(networks), block=known)


def measured(of_family, x, name="tanh", depth=DEPTH, **settings):
    of_settings = Settings(activation(name), block=of_family.block, **settings)
    columns, _ = families.forward(
        of_family, as_inputs(x), depth, of_settings, budget_mib=64, platform="cpu", room=DEPTH
    )
    return columns


def by_definition(of_family, x, name, depth=DEPTH):
    """(The factors, the pre-activations) of each layer of a dense network: W of orthonormal columns or rows, then W
    times 1 / std(h W) over all samples and units together."""
    stem, hidden = of_family.first_layer(x.shape[1]).weights, of_family.stack(2, depth - 1)[0][0].weights
    h, found = np.asarray(x, float), []
    for unit in (stem, *hidden):
        q = np.asarray(unit, float) / np.sqrt(max(unit.shape))
        products = h @ q
        factor = 1 / np.std(products)
        found.append((factor, factor * products))
        h = PHI[name](factor * products)
    return found


@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e30])
def test_every_layer_has_unit_variance_and_the_factor_of_its_definition_at_any_scale_of_the_inputs(scale):
    """One program serves them all, and two seeds. Sums of 640 float32 products: a few roundoffs of 6e-8."""
    x = inputs(SAMPLES, FEATURES)
    for seed in (0, 1):
        columns = measured(family(seed=seed), scale * x, "sigmoid")
        expected = by_definition(family(seed=seed), x, "sigmoid")
        factors = np.array([factor for factor, _ in expected])
        factors[0] /= scale
        np.testing.assert_allclose(columns[families.FACTORS][:, 0, 0], factors, rtol=2e-6)
        np.testing.assert_allclose(columns["preact_std"][:, 0], 1, rtol=2e-6)
        means = [np.mean(products) for _, products in expected]
        np.testing.assert_allclose(columns["preact_mean"][:, 0], means, atol=1e-5)


@pytest.mark.slow
def test_a_scale_of_the_stem_multiplies_what_has_unit_variance_and_the_reference_says_so():
    x, unscaled = inputs(SAMPLES, FEATURES), family()
    for stem_scale in (0.0, 3.0):
        of_family = replace(unscaled, first_std=stem_scale * unscaled.first_std)
        columns = measured(of_family, x)
        assert columns["preact_std"][0, 0] == pytest.approx(stem_scale, rel=1e-6)
        columns = {name: values[:, 0] for name, values in columns.items() if name != families.FACTORS}
        columns |= {name: values[:, 0] for name, values in of_factors(measured(of_family, x)[families.FACTORS]).items()}
        directions = np.asarray(draws.directions(0, "tangents", SAMPLES, WIDTH), float)
        network, layers = of_family.network_by_layer(0, DEPTH), of_family.first_layers(FEATURES, DEPTH, 64, DEPTH)
        compared = comparison.compare(
            columns, x, network, layers, directions, activation("tanh"), 0.05, "none", unit_variance=True
        )
        assert not compared.wrong
        assert compared.layers == DEPTH


def test_the_weights_begin_as_those_of_orthogonal():
    one, other = family(), Family(0, "orthogonal", WIDTH, *[np.ones(1)] * 3)
    np.testing.assert_array_equal(one.first_layer(FEATURES).weights, other.first_layer(FEATURES).weights)
    np.testing.assert_array_equal(one.stack(2, 2)[0][0].weights, other.stack(2, 2)[0][0].weights)


QUICK = ("dense", "mlp(4)", "gated(3)", "attention(2)")


@pytest.mark.parametrize(
    ("name", "at"), [pytest.param(*case, marks=[] if case[0] in QUICK else [pytest.mark.slow]) for case in UPDATES]
)
def test_factors_at_every_place_of_every_block_are_those_of_float64(name, at):
    one = One(name, at)
    one.draws = jax.tree.map(lambda x: x[0], replace(one.family, shape="orthogonal").stack(2, 1)[at])
    places = one.update.places(8)
    weights = [Scaled(jnp.float32(max(place.fan_in, place.fan_out) ** -0.5), jnp.int32(0)) for place in places]
    scales = one.scales._replace(weights=tuple(weights))
    found = one.update.unit_variance(one.signal, one.draws, scales, one.context)
    layout = layout_of(name)
    naive = Naive(
        functions_of(one.activation), positions=layout.positions, grid=layout.grid, sharpness=1.3, unit_variance=True
    )
    orthonormal = [
        (
            float(weight.value) * np.asarray(layer.weights, float),
            np.ldexp(float(bias.value), bias.exponent) * layer.biases,
        )
        for weight, bias, layer in zip(weights, one.scales.biases, one.draws, strict=True)
    ]
    expected = one.update.naive(NaiveSignal(one.psi.astype(float), one.at_zero), orthonormal, naive).factors
    assert len(found) == len(expected) == len(places)
    got = [float(factor.value) * 2.0 ** int(factor.exponent) for factor in found]
    np.testing.assert_allclose(got, expected, rtol=1e-5)  # of hundreds of products of sums of dozens
    if one.at_zero == 0:  # all that is linear in the signal has a factor that is inverse to it
        tiny = one.signal._replace(response=Scaled(jnp.asarray(one.psi), jnp.int32(-300)))
        again = one.update.unit_variance(tiny, one.draws, scales, one.context)
        linear = len(places) - 1 or 1
        for here, there in list(zip(found, again, strict=True))[:linear]:
            assert float(there.value) == float(here.value)
            assert int(there.exponent) == int(here.exponent) + 300


@pytest.mark.parametrize("products", [np.zeros((3, 4)), np.full((3, 4), 0.3), np.full((3, 4), np.inf)])
def test_what_does_not_vary_keeps_its_weights(products):
    layer = Layer(jnp.ones((2, 4)), jnp.full(4, 2.0), jnp.zeros(4))
    factor = unit_factor(Scaled(jnp.asarray(products, jnp.float32), jnp.int32(7)), layer)
    assert float(factor.value) * 2.0 ** int(factor.exponent) == 1


def test_columns_tell_the_last_weights_of_a_row_from_those_before():
    nan = np.nan
    found = of_factors(np.array([[2.0, nan, nan], [3.0, 12.0, 5.0], [4.0, 7.0, nan]]))
    np.testing.assert_array_equal(found["lsuv_factor"], [2, 5, 7])
    np.testing.assert_allclose(found["lsuv_inner_factor"], [nan, 6, 4])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dense", "mlp(2)"])
def test_the_other_passes_are_given_the_weights_that_the_forward_pass_found(name):
    """A forward pass of a family with the factors in its scales finds the same, and gradients are those of autodiff."""
    x, of_family = inputs(SAMPLES, FEATURES), family(networks=2, block=name)
    columns = measured(of_family, x)
    rescaled = of_family.rescaled(columns.pop(families.FACTORS))
    assert (rescaled.shape, rescaled.layers) == ("orthogonal", DEPTH)
    for column, values in measured(rescaled, x).items():
        np.testing.assert_allclose(values, columns[column], rtol=1e-4, atol=1e-5, err_msg=column)
    if name != "dense":
        return
    settings = Settings(activation("tanh"))
    found, _ = families.gradients(
        rescaled, as_inputs(x), None, (DEPTH,), settings, budget_mib=64, platform="cpu", room=DEPTH
    )
    _, *layers = by_definition(of_family, x, "tanh")
    units = of_family.stack(2, DEPTH - 1)[0][0].weights
    matrices = [factor * np.asarray(unit, float) / 4 for (factor, _), unit in zip(layers, units, strict=True)]
    direction = np.asarray(draws.directions(0, "cotangents", SAMPLES, WIDTH), float)
    a = by_definition(of_family, x, "tanh")[0][1]

    def loss(a):
        h = jnp.tanh(a)
        for matrix in matrices:
            h = jnp.tanh(h @ matrix)
        return jnp.sum(h * direction) / SAMPLES / np.sqrt(WIDTH)

    with jax.enable_x64(True):
        expected = np.asarray(jax.grad(loss)(jnp.asarray(a)))
    log10_rms = np.log10(np.sqrt(np.mean(expected**2)))
    assert found["log10_preact_grad_rms"][0, 0, 0] == pytest.approx(log10_rms, abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["residual", "mlp(2)", "gated(2)", "conv(3)", "attention(2)", "transformer(2, 1)"])
def test_gradients_of_every_block_under_its_factors_are_those_of_autodiff(name):
    """Of float64 networks that share only phi and the draws, with the factors that the forward pass found."""
    setting, positions, samples = Setting("tanh", skip=0.8, branch=0.7, gain=1.5), positions_of(name), 12
    x = inputs(samples * positions, FEATURES)
    of_family = replace(family(block=name), skip=np.full(1, 0.8), branch=np.full(1, 0.7), sharpness=np.full(1, 1.5))
    layout = Layout(positions, (SIDE, SIDE) if positions > 1 else None)
    factors = measured(of_family, x, layout=layout)[families.FACTORS]
    assert np.nanmax(np.abs(np.log(factors[1:]))) > 0.1
    rescaled = of_family.rescaled(factors)
    found, _ = families.gradients(
        rescaled,
        as_inputs(x),
        None,
        (DEPTH,),
        Settings(activation("tanh"), layout=layout, block=of_family.block),
        budget_mib=64,
        platform="cpu",
    )
    expected = architectures.gradients(rescaled, 0, x, DEPTH, setting)
    for column, values in zip(("log10_preact_grad_rms", "log10_weight_grad_rms"), expected, strict=True):
        # Layers of float32 products: a few 1e-6 of the size, 4e-7 of log10 each.
        np.testing.assert_allclose(found[column][0, 0][: len(values)], values, atol=1e-4, err_msg=column)


@pytest.mark.slow
def test_draws_in_stacks_and_networks_in_blocks_have_the_same_factors():
    x, one = inputs(SAMPLES, 64), family(width=64, features=64, networks=3)
    whole = measured(one, x, "relu", depth=12)
    settings = Settings(activation("relu"), block=one.block)
    small = families.forward(one, as_inputs(x), 12, settings, budget_mib=0.3, platform="cpu")[0]
    assert one.stacked_layers(11, 0.3) < 11
    for column in (families.FACTORS, "preact_std", "log10_jacobian"):
        np.testing.assert_allclose(small[column], whole[column], rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_one_sample_and_one_unit_keep_their_weights():
    columns = measured(family(width=1, features=1), np.array([[3.0]]), "tanh", depth=2)
    np.testing.assert_array_equal(columns[families.FACTORS][:, 0, 0], [1, 1])
