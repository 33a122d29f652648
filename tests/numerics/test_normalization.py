"""Normalizations against their definition in float64, and their derivatives against autodiff."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from winit_jax.numerics.activations import activation
from winit_jax.numerics.normalization import NORMALIZATIONS, epsilon_of
from winit_jax.numerics.scaled import Scaled
from winit_jax.numerics.signals import Preactivation

SAMPLES, WIDTH = 40, 30


def preactivation(exponent=0, offset=0.7):
    rng = np.random.default_rng(1)
    product = rng.standard_normal((SAMPLES, WIDTH)).astype(np.float32)
    offsets = np.full(WIDTH, offset, np.float32) * rng.standard_normal(WIDTH).astype(np.float32)
    scale = Scaled(jnp.float32(0.8), jnp.int32(1))
    return Preactivation(
        jnp.asarray(product), jnp.asarray(product.mean(axis=0)), scale, jnp.asarray(offsets), jnp.int32(exponent)
    )


def by_definition(a, name, epsilon):
    if name == "none":
        return a
    axis = {"batch": 0, "layer": 1, "rms": 1}[name]
    centred = a - a.mean(axis=axis, keepdims=True) if name != "rms" else a
    return centred / np.sqrt((centred**2).mean(axis=axis, keepdims=True) + epsilon)


@pytest.mark.parametrize("exponent", [-60, -7, 0, 40])
@pytest.mark.parametrize("name", list(NORMALIZATIONS))
def test_arguments_are_those_of_the_definition_at_any_scale(name, exponent):
    given = preactivation(exponent)
    argument = NORMALIZATIONS[name].argument(given, activation("tanh"), epsilon_of(1e-5))
    found = np.ldexp(np.asarray(argument.value, float), int(argument.exponent))
    a = np.ldexp(np.asarray(given.value, float), exponent)
    # A mean of SAMPLES or WIDTH terms and a quotient: some roundoffs of the largest entry of a line.
    expected = by_definition(a, name, 1e-5)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("name", ["batch", "layer", "rms"])
def test_the_derivative_is_that_of_autodiff_forward_and_back(name):
    given, normalization = preactivation(), NORMALIZATIONS[name]
    argument = normalization.argument(given, activation("tanh"), epsilon_of(0.3))
    change = jnp.asarray(np.random.default_rng(2).standard_normal((SAMPLES, WIDTH)), jnp.float32)
    with jax.enable_x64(True):
        a, t = jnp.asarray(np.asarray(given.value), float), jnp.asarray(np.asarray(change), float)
        axis = normalization.axis

        def u(a):
            centred = a - jnp.mean(a, axis=axis, keepdims=True) if name != "rms" else a
            return centred / jnp.sqrt(jnp.mean(centred**2, axis=axis, keepdims=True) + 0.3)

        forward, (back,) = jax.jvp(u, (a,), (t,))[1], jax.vjp(u, a)[1](t)
    np.testing.assert_allclose(forward, back, rtol=1e-9, atol=1e-12)  # N is symmetric
    nothing = jnp.zeros((1, 1), bool)
    for removed in (None, nothing):
        found = normalization.through(change, argument, removed)
        true = np.ldexp(np.asarray(found.value, float), int(found.exponent))
        # Float32 means over a line, and a difference of nearly equal terms.
        np.testing.assert_allclose(true, forward, rtol=1e-4, atol=1e-5 * np.abs(np.asarray(forward)).max())


@pytest.mark.parametrize("name", ["batch", "layer", "rms"])
def test_where_the_projection_leaves_nothing_epsilon_alone_goes_on(name):
    given, normalization = preactivation(), NORMALIZATIONS[name]
    argument = normalization.argument(given, activation("tanh"), epsilon_of(1e-5))
    change = argument.value  # along u itself
    found = normalization.through(change, argument, jnp.ones((1, 1), bool))
    with jax.enable_x64(True):
        a = jnp.asarray(np.asarray(given.value), float)

        def u(a):
            centred = a - jnp.mean(a, axis=normalization.axis, keepdims=True) if name != "rms" else a
            return centred / jnp.sqrt(jnp.mean(centred**2, axis=normalization.axis, keepdims=True) + 1e-5)

        expected = jax.jvp(u, (a,), (u(a),))[1]
    true = np.ldexp(np.asarray(found.value, float), int(found.exponent))
    # What is left is epsilon / (variance + epsilon) of a change: 1e-5 of it, with float32 rounding of the change.
    np.testing.assert_allclose(true, expected, rtol=1e-3, atol=1e-9)


def test_what_is_removed_whatever_the_scales_follows_from_the_axis():
    names = {name: [entry.removes(constant) for constant in (False, True)] for name, entry in NORMALIZATIONS.items()}
    assert names == {"none": ["", ""], "batch": ["offset", "offset"], "layer": ["", "product"], "rms": ["", ""]}
