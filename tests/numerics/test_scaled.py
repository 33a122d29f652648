"""value * 2^exponent against exact fractions."""

from fractions import Fraction

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from winit_jax.numerics.scaled import (
    EXPONENT_LIMIT,
    Scaled,
    as_scaled,
    exponent_of,
    log10_root,
    log10_sum,
    power_of_two,
    root_exponent,
)

MANTISSAS = st.floats(-2, 2, width=32).filter(lambda x: x == 0 or abs(x) > 2**-20)
EXPONENTS = st.integers(-5000, 5000)
SCALED = st.builds(lambda value, exponent: Scaled(jnp.float32(value), jnp.int32(exponent)), MANTISSAS, EXPONENTS)


def exactly(x):
    return Fraction(float(x.value)) * Fraction(2) ** int(x.exponent)


@given(SCALED, SCALED)
@settings(deadline=None, max_examples=60)
def test_a_product_is_rounded_once_at_any_scale(a, b):
    expected, found = exactly(a) * exactly(b), exactly(a.times(b))
    assert abs(found - expected) <= abs(expected) / 2**24


@given(SCALED, SCALED)
@settings(deadline=None, max_examples=60)
def test_a_sum_is_aligned_to_the_larger_exponent(a, b):
    expected, found = exactly(a) + exactly(b), exactly(a.plus(b))
    # Rounded once, and what is 2^-126 of the larger unit or less is lost.
    unit = Fraction(2) ** max(int(a.exponent), int(b.exponent))
    assert abs(found - expected) <= abs(expected) / 2**24 + 2 * unit / 2**126


@given(SCALED)
@settings(deadline=None, max_examples=60)
def test_rescaling_changes_no_number(x):
    rescaled = x.rescaled(jnp.square(x.value))
    assert exactly(rescaled) == exactly(x)
    assert x.value == 0 or 0.5 <= abs(float(rescaled.value)) <= 1


@pytest.mark.parametrize("exponent", [-127, -126, -3, 0, 1, 127])
def test_powers_of_two_are_exact_and_0_below_what_float32_holds(exponent):
    assert float(power_of_two(jnp.int32(exponent))) == (2.0**exponent if exponent >= -126 else 0.0)


@pytest.mark.parametrize("x", [1.0, 0.75, 1e-30, 3e37, -5.0])
def test_the_exponent_of_a_number_is_the_least_that_bounds_it(x):
    assert int(exponent_of(jnp.float32(x))) == np.frexp(abs(x))[1]
    assert int(root_exponent(jnp.float32(x))) == (-EXPONENT_LIMIT if x < 0 else -(-np.frexp(abs(x))[1] // 2))


def test_what_has_no_size_has_the_exponent_of_0():
    for x in (0.0, np.inf, np.nan):
        assert int(exponent_of(jnp.float32(x))) == -EXPONENT_LIMIT
    sizes = as_scaled([0.0, 4.0]).size_exponent()
    assert sizes.tolist() == [-EXPONENT_LIMIT, 3]


def test_float64_survives_as_mantissa_and_exponent():
    scaled = as_scaled(np.array([1e-300, 3.0, 1e300]))
    whole = scaled.value.astype(np.float64) * np.exp2(scaled.exponent.astype(np.float64))
    np.testing.assert_allclose(whole, [1e-300, 3.0, 1e300], rtol=2.0**-24)


def test_logarithms_of_roots_are_right_far_outside_floats():
    squares = Scaled(np.float32([0.25, 0.0, np.inf]), np.int32([-4000, 7, 0]))
    found = log10_root(squares, 1.0)
    assert found[0] == pytest.approx(1.0 + np.log10(0.5) - 2000 * np.log10(2), rel=1e-12)
    assert found[1] == -np.inf
    assert np.isnan(found[2])


def test_sums_of_logarithms_neither_overflow_nor_lose_a_lone_term():
    assert log10_sum(np.array(5000.0), np.array(5000.0)) == pytest.approx(5000 + np.log10(2), rel=1e-12)
    assert log10_sum(np.array(-3.7), np.array(-np.inf)) == -3.7
