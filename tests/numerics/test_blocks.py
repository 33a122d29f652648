"""What every block must hold: its derivatives, its float64 definition and its mean-field map say the same."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from winit_jax.numerics import draws
from winit_jax.numerics.activations import ACTIVATIONS
from winit_jax.numerics.blocks import BLOCKS
from winit_jax.numerics.blocks.protocol import pull_linear, push_linear
from winit_jax.numerics.changes import Tangent
from winit_jax.numerics.measure import comparison, families
from winit_jax.numerics.measure.networks import Settings, as_inputs
from winit_jax.numerics.scaled import as_scaled
from winit_jax.numerics.theory import correlation_map, length_map, propagate

WIDTH, SAMPLES = 24, 30
EACH_BLOCK = pytest.mark.parametrize("block", BLOCKS.values(), ids=list(BLOCKS))


def arrays(seed=0):
    rng = np.random.default_rng(seed)
    return (jnp.asarray(rng.standard_normal((SAMPLES, WIDTH)), jnp.float32) for _ in range(2))


def layer_of(block):
    return jax.tree.map(lambda x: x[0], block.draws(0, "normal", WIDTH, 2, 1))


@EACH_BLOCK
def test_the_linear_part_is_linear_and_that_of_its_definition(block):
    h, other = arrays()
    weights = layer_of(block).weights
    found = block.linear(h, weights, "highest")
    expected = block.naive(np.asarray(h, float), np.asarray(weights, float), np.matmul)
    # A sum of WIDTH products, each rounded once and added: errors of sqrt(WIDTH) roundoffs of the norms.
    scale = np.linalg.norm(h, axis=1, keepdims=True) * np.linalg.norm(weights, axis=0)
    assert np.all(np.abs(found - expected) <= 2.0**-24 * np.sqrt(WIDTH) * scale)
    doubled = block.linear(2 * h - other, weights, "highest")
    # Sums of WIDTH products in float32 on both sides: entries of order WIDTH, some roundoffs of 6e-8 of those.
    np.testing.assert_allclose(doubled, 2 * found - block.linear(other, weights, "highest"), atol=1e-4)


@EACH_BLOCK
def test_derivatives_of_the_linear_part_are_adjoint(block):
    change, gradient = arrays()
    layer, weight = layer_of(block), as_scaled([0.3])
    weight = jax.tree.map(lambda x: jnp.asarray(x[0]), weight)
    pushed = push_linear(block, Tangent(change, jnp.int32(5), jnp.float32(1.0)), layer, weight, "highest")
    assert int(pushed.exponent) == 5 + int(weight.exponent)
    assert float(pushed.factor) == float(weight.value)
    pulled = pull_linear(block, gradient, layer.weights, "highest")
    one, other = np.vdot(gradient, pushed.value), np.vdot(pulled, change)
    # Two sums of SAMPLES * WIDTH float32 products that cancel to about their square root.
    assert one == pytest.approx(other, rel=1e-4)


@EACH_BLOCK
def test_the_weight_gradient_is_that_of_autodiff(block):
    h, gradient = arrays()
    weights = layer_of(block).weights
    expected = jax.vjp(lambda weights: block.linear(h, weights, "highest"), weights)[1](gradient)[0]
    # Float32 sums over SAMPLES in two orders.
    np.testing.assert_allclose(block.weight_gradient(h, gradient, "highest"), expected, rtol=1e-4, atol=1e-4)


@EACH_BLOCK
def test_costs_are_those_of_the_draws(block):
    assert layer_of(block).weights.size == block.entries(WIDTH)
    assert block.multiplications(WIDTH) >= block.entries(WIDTH)


@EACH_BLOCK
def test_draws_of_a_layer_do_not_depend_on_the_stack_they_are_in(block):
    together, apart = block.draws(3, "normal", WIDTH, 2, 3), block.draws(3, "normal", WIDTH, 4, 1)
    np.testing.assert_array_equal(together.weights[2], apart.weights[0])
    np.testing.assert_array_equal(together.biases[2], apart.biases[0])


@EACH_BLOCK
@pytest.mark.parametrize("name", ["tanh", "sigmoid"])
def test_the_fast_pass_is_that_of_the_definition(block, name):
    x = np.random.default_rng(3).standard_normal((SAMPLES, 12))
    stds = np.array([0.2, 0.4])
    family = families.Family(0, "normal", WIDTH, stds, stds, np.array([0.1, 0.1]), block=block)
    settings = families.of_draws(Settings(ACTIVATIONS[name]), "normal", block)
    columns, _ = families.forward(family, as_inputs(x), 3, settings, budget_mib=64, platform="cpu")
    layers = family.first_layers(12, 3, 64, 3)
    tangents = np.asarray(draws.directions(0, "tangents", SAMPLES, WIDTH), float)
    for at, std in enumerate(stds):
        measured = {column: values[:, at] for column, values in columns.items()}
        how = (layers, tangents, ACTIVATIONS[name], 0.05, "none")
        found = comparison.compare(measured, x, (std, std, 0.1), *how, block=block)
        assert found.layers == 3
        assert found.wrong == []


@EACH_BLOCK
@pytest.mark.parametrize(("name", "phi"), [("tanh", jnp.tanh), ("sigmoid", jax.nn.sigmoid)])
def test_gradients_are_those_of_autodiff_in_float64(block, name, phi):
    x, depth, std, bias = np.random.default_rng(4).standard_normal((SAMPLES, 12)), 3, 0.3, 0.2
    scales = (np.array([std]), np.array([std]), np.array([bias]))
    family = families.Family(0, "normal", WIDTH, *scales, block=block)
    settings = families.of_draws(Settings(ACTIVATIONS[name]), "normal", block)
    columns, _ = families.gradients(family, as_inputs(x), None, (depth,), settings, budget_mib=64, platform="cpu")
    directions = np.asarray(draws.directions(0, "cotangents", SAMPLES, WIDTH), float) / np.sqrt(WIDTH)
    first, *hidden = family.first_layers(12, depth, 64, depth)
    with jax.enable_x64(True):
        weights = [jnp.asarray(np.asarray(layer.weights), float) for layer in (first, *hidden)]
        biases = [jnp.asarray(np.asarray(layer.biases), float) for layer in (first, *hidden)]

        def loss(weights, shifts):
            a = jnp.asarray(x) @ (std * weights[0]) + bias * biases[0] + shifts[0]
            for weight, offset, shift in zip(weights[1:], biases[1:], shifts[1:], strict=True):
                a = block.linear(phi(a), std * weight, "highest") + bias * offset + shift
            return jnp.mean(jnp.sum(jnp.asarray(directions) * phi(a), axis=1))

        shifts = [jnp.zeros((SAMPLES, WIDTH))] * depth
        of_weights, of_preactivations = jax.grad(loss, argnums=(0, 1))(weights, shifts)
    for layer in range(depth):
        for column, gradient in (
            ("log10_preact_grad_rms", of_preactivations[layer]),
            ("log10_weight_grad_rms", of_weights[layer] / std),
        ):
            expected = np.log10(np.sqrt(np.mean(np.square(np.asarray(gradient)))))
            # Float32 through a few layers: 1e-6 of a value is 4e-7 of its log10, a few times amplified.
            assert columns[column][0, 0, layer] == pytest.approx(expected, abs=1e-5), (column, layer)


def test_one_layer_of_dense_networks_is_the_length_and_the_correlation_map():
    act, q, c, weight_var, bias_var = ACTIVATIONS["tanh"], 1.7, 0.4, 1.5, 0.2
    found = propagate(act, np.log10(weight_var), np.log10(bias_var), np.log10(q), c, 2, BLOCKS["dense"])
    # One map in logarithms and one without: rounding of float64, amplified where 10 ** log10 is taken.
    assert found.input_correlation[1, 0] == pytest.approx(correlation_map(c, q, act, weight_var, bias_var), rel=1e-9)
    following = propagate(act, -np.inf, np.log10(length_map(q, act, weight_var, bias_var)), 0.0, 0.0, 2)
    assert found.log10_act_rms[1, 0] == pytest.approx(following.log10_act_rms[1, 0], rel=1e-9)
