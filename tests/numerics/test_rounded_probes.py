"""Functions rounded to formats of fewer bits at their taps, against loops by hand in float64 NumPy with ml_dtypes."""

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from support.marks import slow_but
from support.tapped import called, one_by_one, plain, rematerialized, scanned
from winit_jax.columns.formats import FORMATS
from winit_jax.numerics import narrow
from winit_jax.numerics.tapping.loss import directions_of
from winit_jax.numerics.tapping.passes import Tapped

SAMPLES, WIDTH, LAYERS = 12, 8, 3
KEY = jax.random.key(5)


@pytest.fixture(scope="module")
def weights():
    return jax.random.normal(jax.random.key(1), (LAYERS, WIDTH, WIDTH)) * 1.3 / np.sqrt(WIDTH)


@pytest.fixture(scope="module")
def inputs():
    return jax.random.normal(jax.random.key(2), (SAMPLES, WIDTH))


def limits(name):
    return jax.tree.map(lambda array: jnp.asarray(array[0]), narrow.limits(FORMATS[name], 1))


def cast(x, name):
    """The nearest numbers of the format; the largest one where there is no infinity."""
    x = np.clip(x, -448, 448) if name == "float8_e4m3fn" else np.asarray(x)
    with np.errstate(over="ignore"):
        return x.astype(getattr(ml_dtypes, name, name)).astype(np.float64)


def lost(x, name):
    """underflow, subnormal, overflow of numbers before they are rounded."""
    near, to = np.abs(cast(x, name)), FORMATS[name]
    nonzero = np.asarray(x) != 0
    with np.errstate(invalid="ignore"):
        return (
            np.sum(nonzero & (near == 0)) / nonzero.sum(),
            np.sum((near > 0) & (near < to.least_normal)) / nonzero.sum(),
            np.sum(np.abs(x) >= to.overflow) / nonzero.sum(),
        )


def by_hand(weights, x, name):
    """(Values before they are rounded and gradients before they are, of each product and each tanh; gradients of
    weights, rounded) of h = tanh(h W) in float64, with casts of ml_dtypes at each step."""
    weights, h = cast(np.asarray(weights, np.float64), name), cast(np.asarray(x, np.float64), name)
    below, values, arguments = [], [], []
    for matrix in weights:
        below.append(h)
        values.append(h @ matrix)
        arguments.append(cast(values[-1], name))
        values.append(np.tanh(arguments[-1]))
        h = cast(values[-1], name)
    cotangent = np.asarray(directions_of(KEY, 0, h.shape), np.float64) / len(h)
    gradients, of_weights = [], []
    for matrix, a, given in list(zip(weights, arguments, below, strict=True))[::-1]:
        gradients.append(cotangent)
        gradients.append(cast(cotangent, name) * (1 - np.tanh(a) ** 2))
        rounded = cast(gradients[-1], name)
        of_weights.append(given.T @ rounded)
        cotangent = rounded @ matrix.T
    return values, gradients[::-1], of_weights[::-1]


def log10_rms(x):
    return np.log10(np.sqrt(np.mean(np.square(x))))


def measured(apply, params, x, name):
    tapped = Tapped(apply, params, x)
    found = tapped.rounded(params, x, KEY, limits(name))
    return tapped, tapped.columns(found.sites), tapped.columns_of_parameters(*found[1:])


def check(apply, weights, inputs, name):
    tapped, sites, parameters = measured(apply, weights, inputs, name)
    values, gradients, of_weights = by_hand(weights, inputs, name)
    found = sorted(
        (site.place(turn), {column: values[turn] for column, values in sites[site.key].items()})
        for site in tapped.sites
        for turn in np.ndindex(*site.loops)
    )
    assert len(found) == 2 * LAYERS
    # float32 and float64 sums round apart where they lie by a tie: one entry of all, by a place of the format.
    one_place = 2.0 ** -FORMATS[name].fraction_bits / values[0].size
    near = {"abs": max(1e-5, one_place if name in ("float16", "bfloat16") else 0)}
    share = {"abs": 1.5 / values[0].size if name == "float16" else 1e-6}
    for (_, columns), value, gradient in zip(found, values, gradients, strict=True):
        assert columns["log10_rms"] == pytest.approx(log10_rms(cast(value, name)), **near)
        assert columns["log10_grad_rms"] == pytest.approx(log10_rms(cast(gradient, name)), **near)
        for prefix, before in (("", value), ("grad_", gradient)):
            for column, expected in zip(("underflow", "subnormal", "overflow"), lost(before, name), strict=True):
                assert columns[prefix + column] == pytest.approx(expected, **share), (prefix, column)
    (columns,) = parameters.values()
    assert columns["std"] == pytest.approx(cast(np.asarray(weights), name).std(), rel=1e-6)
    assert columns["log10_grad_rms"] == pytest.approx(log10_rms(cast(np.array(of_weights), name)), **near)
    for prefix, before in (("", np.asarray(weights)), ("grad_", np.array(of_weights))):
        for column, expected in zip(("underflow", "subnormal", "overflow"), lost(before, name), strict=True):
            assert columns[prefix + column] == pytest.approx(expected, **share), (prefix, column)


@pytest.mark.parametrize("name", FORMATS)
def test_a_rounded_function_is_the_loop_that_rounds_after_every_step(name, weights, inputs):
    check(plain, weights, inputs, name)


@pytest.mark.parametrize("apply", slow_but([scanned], [scanned, rematerialized, one_by_one, called]))
def test_it_is_rounded_in_every_kind_of_control_flow(apply, weights, inputs):
    check(apply, weights, inputs, "float8_e5m2")
