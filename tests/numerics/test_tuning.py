"""The factors that give each product of a function unit size, against the same layers by hand in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from support.tapped import (
    LAYERS,
    called,
    chosen,
    plain,
    rematerialized,
    rms,
    scanned,
    tapped_inputs,
    tapped_weights,
)
from winit_jax.numerics.tapping.passes import Tapped


@pytest.fixture(scope="module")
def weights():
    return tapped_weights()


@pytest.fixture(scope="module")
def inputs():
    return tapped_inputs()


@pytest.mark.parametrize("apply", [plain, scanned, rematerialized, called, chosen])
def test_factors_make_every_product_of_unit_size(apply, weights, inputs):
    """In one pass, whatever the control flow: as many factors as layers."""
    split = list(weights) if apply is not scanned else weights
    factors = Tapped(apply, split, inputs).factors(split, inputs)
    found = np.concatenate([np.ravel(of) for of in factors.values()])
    h = np.asarray(inputs, np.float64)
    for matrix, factor in zip(np.asarray(weights, np.float64), found, strict=True):
        a = h @ matrix
        assert factor == pytest.approx(1 / rms(a), rel=1e-5)
        h = np.tanh(factor * a)


def test_weights_that_are_used_twice_have_the_factor_of_the_first_use(weights, inputs):
    def apply(w, x):
        return jnp.tanh(x @ w) @ w

    (factor,) = Tapped(apply, weights[0], inputs).factors(weights[0], inputs).values()
    assert factor == pytest.approx(
        1 / rms(np.asarray(inputs, np.float64) @ np.asarray(weights[0], np.float64)), rel=1e-5
    )


def test_a_loop_in_a_loop_has_a_factor_for_each_turn_of_the_loop_that_its_weights_lie_along(weights, inputs):
    def apply(weights, x):
        def outer(x, matrix):
            return jax.lax.fori_loop(0, 2, lambda _, h: jnp.tanh(h @ matrix), x), None

        return jax.lax.scan(outer, x, weights)[0]

    (factors,) = Tapped(apply, weights, inputs).factors(weights, inputs).values()
    assert factors.shape == (LAYERS,)
    h = np.asarray(inputs, np.float64)
    for matrix, factor in zip(np.asarray(weights, np.float64), factors, strict=True):
        assert factor == pytest.approx(1 / rms(h @ matrix), rel=1e-5)
        for _ in range(2):
            h = np.tanh(factor * (h @ matrix))


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_factors_are_right_at_any_scale(scale, weights, inputs):
    (factor,) = Tapped(lambda w, x: x @ w, weights[0] * scale, inputs).factors(weights[0] * scale, inputs).values()
    expected = 1 / (scale * rms(np.asarray(inputs, np.float64) @ np.asarray(weights[0], np.float64)))
    assert factor == pytest.approx(expected, rel=1e-4)


def test_a_product_of_zero_is_left_as_it_is(weights, inputs):
    (factor,) = Tapped(lambda w, x: x @ w, weights[0] * 0, inputs).factors(weights[0] * 0, inputs).values()
    assert factor == 1
