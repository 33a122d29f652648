"""Rounding to formats of fewer bits, and networks rounded at every step, against NumPy and ml_dtypes."""

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from support.formats import cast, dtype, rms, shares
from winit_jax.columns.formats import FORMATS
from winit_jax.numerics import draws, narrow
from winit_jax.numerics.activations import ACTIVATIONS, activation
from winit_jax.numerics.blocks import BLOCKS
from winit_jax.numerics.measure import backward, families
from winit_jax.numerics.measure import forward as forward_pass
from winit_jax.numerics.measure.family import Family
from winit_jax.numerics.measure.networks import Settings, as_inputs
from winit_jax.numerics.normalization import NORMALIZATIONS
from winit_jax.numerics.scaled import Scaled

EACH = pytest.mark.parametrize("to", FORMATS.values(), ids=list(FORMATS))
ROUND, COUNT = jax.jit(narrow.rounded), jax.jit(narrow.rounded_and_lost)


def numbers(to):
    """Every finite number of the format, in order, by its bits."""
    of_bits = {1: np.uint8, 2: np.uint16}[dtype(to).itemsize]
    with np.errstate(invalid="ignore"):
        every = np.arange(2 ** (8 * dtype(to).itemsize)).astype(of_bits).view(dtype(to)).astype(np.float64)
    return np.unique(every[np.isfinite(every)])


def rounded(x, exponent, to):
    """x * 2^-exponent rounded beside that exponent, at its true scale."""
    limits = jax.tree.map(lambda number: number[0], narrow.limits(to, 1))
    found = ROUND(Scaled(jnp.asarray(np.ldexp(x, -exponent), jnp.float32), jnp.int32(exponent)), limits)
    return np.ldexp(np.asarray(found, np.float64), exponent)


@EACH
def test_a_record_says_the_limits_that_ml_dtypes_has(to):
    info = ml_dtypes.finfo(dtype(to))
    assert to.largest == float(info.max)
    assert to.least_normal == float(info.smallest_normal)
    assert to.least_subnormal == float(info.smallest_subnormal)
    assert to.fraction_bits == info.nmant
    assert to.has_infinity == (to.name != "float8_e4m3fn")
    assert (cast(to.overflow, to) > to.largest) == (to.has_infinity)  # a tie goes up to an even fraction
    assert np.all(cast(to.overflow * (1 - 2**-20), to) == to.largest)


@EACH
@pytest.mark.parametrize("exponent", [0, -20, 17, -130, 120])
def test_numbers_ties_and_their_neighbours_round_as_ml_dtypes_does(to, exponent):
    """At any carried exponent: normal and subnormal numbers, what lies half way between them, and beside that."""
    every = numbers(to)
    ties = (every[1:] + every[:-1]) / 2
    beyond = np.array([to.largest * factor for factor in (1.01, 1.07, 1.5, 100)])
    x = np.concatenate([every, ties, ties * (1 + 2**-20), ties * (1 - 2**-20), beyond, -beyond])
    with np.errstate(over="ignore", under="ignore"):
        held = np.ldexp(x, -exponent)
    x = x[(x == 0) | ((np.abs(held) >= 2.0**-126) & (np.abs(held) < 2.0**127))]
    x = np.ldexp(np.ldexp(x, -exponent).astype(np.float32).astype(np.float64), exponent)
    if to.name == "bfloat16":  # ml_dtypes comes to it by way of float32, and so rounds twice what that has not
        with np.errstate(over="ignore"):
            x = x[np.float32(x) == x]
    np.testing.assert_array_equal(rounded(x, exponent, to), cast(x, to))


@EACH
def test_what_is_not_finite_stays_so_but_where_there_is_no_infinity(to):
    found = rounded(np.array([np.inf, -np.inf, np.nan]), 3, to)
    np.testing.assert_array_equal(found, [np.inf, -np.inf, np.nan] if to.has_infinity else [448, -448, np.nan])


# FACTS: shares of N(0, 1) below the least normal number.
BELOW_NORMAL = {"float16": 4.869901e-5, "float8_e4m3fn": 1.246644e-2, "float8_e5m2": 4.869901e-5, "bfloat16": 0.0}


@EACH
def test_shares_of_normal_numbers_are_those_of_the_distribution(to):
    x = np.random.default_rng(1).standard_normal((1000, 1000)).astype(np.float32)
    limits = jax.tree.map(lambda number: number[0], narrow.limits(to, 1))
    _, counts = COUNT(Scaled(jnp.asarray(x), jnp.int32(0)), limits)
    found = narrow.shares(counts)
    share = BELOW_NORMAL[to.name]
    error = np.sqrt(share / x.size)  # of a count of independent numbers
    # What rounds up to the least normal number, of the last half place below it, is not subnormal.
    last = share * 2.0 ** -(to.fraction_bits + 1)
    assert abs(found["underflow"] + found["subnormal"] + last - share) <= 5 * error
    assert found["overflow"] == 0
    twice = COUNT(Scaled(jnp.asarray(x), jnp.int32(20)), limits)[1]
    expected = np.mean(np.abs(np.ldexp(x.astype(float), 20)) > to.overflow)
    assert narrow.shares(twice)["overflow"] == pytest.approx(expected, abs=5 / x.size)


SAMPLES, WIDTH, DEPTH = 60, 32, 5
# Of each network: skip_scale, branch_scale, std times the root of the width.
KINDS = ((0.0, 1.0, 1.5), (0.8, 0.7, 1.0))


def family(to, kind, block="residual"):
    skip, branch, gain = (np.array([value]) for value in kind)
    stds = gain / np.sqrt(WIDTH)
    return Family(
        3, "normal", WIDTH, stds, stds, 0.3 * stds, block=BLOCKS.find(block), skip=skip, branch=branch, format=to
    )


def all_networks(settings):
    """Networks of every format and kind, which one program computes."""
    groups = (
        group.networks
        for to in FORMATS.values()
        for kind in KINDS
        for group in families.groups(family(to, kind), WIDTH, settings, shared=False)
    )
    # Every network has a skip, which may be 0.
    each = [networks._replace(skip=networks.skip or Scaled(*map(np.array, ([0.0], [0])))) for networks in groups]
    return jax.tree.map(lambda *parts: np.concatenate(parts), *each)


@pytest.fixture(scope="module")
def inputs():
    """Numbers that every format has."""
    x = np.random.default_rng(5).standard_normal((SAMPLES, WIDTH))
    return cast(np.where(np.abs(x) < 2**-5, 0.5, x), FORMATS["float8_e5m2"])


class Plain:
    """A network in NumPy, rounded after every step, with its change and its gradients."""

    def __init__(self, x, to, kind, normalization="none", phi="tanh"):
        self.near = lambda values: cast(values, to)
        self.to, self.kind, self.norm = to, kind, normalization
        self.phi = lambda u: np.asarray(ACTIVATIONS[phi](jnp.asarray(u, jnp.float32)), np.float64)
        self.slope = lambda u: np.asarray(ACTIVATIONS[phi].slope(jnp.asarray(u, jnp.float32)), np.float64)
        of = family(to, kind)
        std = of.first_std[0]
        first, rest = of.first_layer(WIDTH), of.stack(2, DEPTH - 1)[0][0]
        layers = [(first.weights, first.biases), *zip(rest.weights, rest.biases, strict=True)]
        self.weights = [
            (self.near(std * np.asarray(w, float)), self.near(0.3 * std * np.asarray(b, float))) for w, b in layers
        ]
        self.x = x
        self.forth()

    def normalized(self, a):
        """norm(a), and what multiplies the change of it."""
        if self.norm == "none":
            return a, None
        spread = np.sqrt(a.var(axis=1, keepdims=True) + 1e-5)
        return self.near((a - a.mean(axis=1, keepdims=True)) / spread), spread

    def through(self, t, u, spread):
        if spread is None:
            return t
        return (t - t.mean(axis=1, keepdims=True) - u * np.mean(u * t, axis=1, keepdims=True)) / spread

    def forth(self):
        skip, branch, _ = self.kind
        self.a, self.u, self.h, self.spread, self.exact = [], [], [], [], []
        h = self.x
        for layer, (w, b) in enumerate(self.weights):
            product = h @ w + b
            a = self.near(product)
            if layer:
                a = self.near(branch * a)
                product = branch * product + skip * self.a[-1]
                a = self.near(skip * self.a[-1] + a)
            u, spread = self.normalized(a)
            h = self.near(self.phi(u))
            for kept, value in zip(
                (self.a, self.u, self.h, self.spread, self.exact), (a, u, h, spread, product), strict=True
            ):
                kept.append(value)

    def changes(self, t):
        """The RMS of the change at each layer, over that of the first."""
        skip, branch, _ = self.kind
        stream, sizes = self.near(t), []
        for layer in range(DEPTH):
            sizes.append(np.sqrt(np.mean(stream**2)))
            slopes = self.slope(self.u[layer])
            change = self.near(slopes * self.through(stream, self.u[layer], self.spread[layer]))
            if layer + 1 < DEPTH:
                pushed = self.near(branch * self.near(change @ self.weights[layer + 1][0]))
                stream = self.near(skip * stream + pushed)
        return np.array(sizes) / sizes[0]

    def gradients(self, c):
        """(dLoss/da, dLoss/dW, what rounding dLoss/da lost) of each layer."""
        skip, branch, _ = self.kind
        g, above = self.near(c / (SAMPLES * np.sqrt(WIDTH))), None
        found = []
        for layer in reversed(range(DEPTH)):
            exact = self.through(self.slope(self.u[layer]) * g, self.u[layer], self.spread[layer])
            at_stream = self.near(exact)
            if above is not None:
                exact = exact + skip * above
                at_stream = self.near(at_stream + skip * above)
            of_branch = self.near(branch * at_stream) if layer else at_stream
            below = self.h[layer - 1] if layer else self.x
            found.append((at_stream, self.near(below.T @ of_branch), shares(exact, self.to)))
            g, above = self.near(of_branch @ self.weights[layer][0].T), at_stream
        return found[::-1]


# A sum of a few dozen products that float32 rounds to the other side of a tie moves one number in a thousand, or less,
# by one last place, 2^-3 of itself at most: 1e-4 of an RMS, and a pair or two of a share.
CLOSE, PAIRS = 5e-4, 3 / (SAMPLES * WIDTH)
WITH_NORMALIZATION = pytest.mark.parametrize("norm", ["none", "layer"])


@pytest.mark.slow  # every run holds a few layers against the same in quick tests (tests/engine/test_formats_in_runs.py)
@WITH_NORMALIZATION
def test_a_rounded_network_is_the_loop_that_rounds_after_every_step(inputs, norm):
    settings = Settings(activation("tanh"), NORMALIZATIONS[norm], block=BLOCKS.find("residual"), rounds=True)
    networks, of = all_networks(settings), family(None, KINDS[0])
    directions = draws.directions(3, "tangents", SAMPLES, WIDTH)
    given = (as_inputs(inputs), networks, of.first_layer(WIDTH), [of.stack(2, DEPTH - 1)], directions, settings)
    measured = forward_pass.forward(*given, block=len(FORMATS) * len(KINDS))
    columns = forward_pass.to_columns(measured, settings, samples=SAMPLES, width=WIDTH)
    at = 0
    for to in FORMATS.values():
        for kind in KINDS:
            plain = Plain(inputs, to, kind, norm)
            changes = plain.changes(np.asarray(directions, float))
            for layer in range(DEPTH):
                a, h = plain.a[layer], plain.h[layer]
                found = {name: values[layer, at] for name, values in columns.items()}
                assert found["log10_preact_rms"] == pytest.approx(np.log10(rms(a)), abs=CLOSE), (to.name, kind, layer)
                assert found["preact_mean"] == pytest.approx(a.mean(), abs=CLOSE * rms(a))
                assert found["log10_act_rms"] == pytest.approx(np.log10(rms(h)), abs=CLOSE)
                assert found["act_max"] == pytest.approx(h.max(), rel=2.0**-to.fraction_bits)
                assert found["zero"] == pytest.approx(np.mean(h == 0), abs=PAIRS)
                assert found["log10_jacobian"] == pytest.approx(np.log10(changes[layer]), abs=CLOSE)
                expected = shares(plain.exact[layer], to)
                lost = [found[name] for name in ("underflow", "subnormal", "overflow")]
                np.testing.assert_allclose(lost, expected, atol=PAIRS)
            at += 1


@pytest.mark.slow
@WITH_NORMALIZATION
def test_rounded_gradients_are_those_of_the_loop(inputs, norm):
    settings = Settings(activation("tanh"), NORMALIZATIONS[norm], block=BLOCKS.find("residual"), rounds=True)
    networks, of = all_networks(settings), family(None, KINDS[0])
    directions = draws.directions(3, "cotangents", SAMPLES, WIDTH)
    given = (as_inputs(inputs), networks, of.first_layer(WIDTH), of.stack(2, DEPTH - 1), directions, (DEPTH,), settings)
    preact, weight, _, lost = backward.gradients(*given, block=len(FORMATS) * len(KINDS))
    at = 0
    for to in FORMATS.values():
        for kind in KINDS:
            found = Plain(inputs, to, kind, norm).gradients(np.asarray(directions, float))
            for layer, (gradient, of_weights, expected) in enumerate(found):
                where = (to.name, kind, layer)
                with np.errstate(divide="ignore"):
                    assert preact[at, 0, layer] == pytest.approx(np.log10(rms(gradient)), abs=2 * CLOSE), where
                    assert weight[at, 0, layer, 0] == pytest.approx(np.log10(rms(of_weights)), abs=4 * CLOSE), where
                found_shares = [values[at, 0, layer] for values in lost.values()]
                np.testing.assert_allclose(found_shares, expected, atol=4 * PAIRS, err_msg=str(where))
            at += 1
