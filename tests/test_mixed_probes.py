"""Probes of networks that compute in bfloat16 or float16 by themselves, against the same ones in float32."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import winit_jax as winit
from support import nets
from support.marks import slow_but
from support.mixed import MIXED, computed_in
from winit_jax.numerics.tapping.passes import Tapped
from winit_jax.numerics.tapping.statistics import attention_entropy

NARROW = (jnp.bfloat16, jnp.float16)
SAME = ["site", "op", "kind", "parameter", "shape", "fan_in", "fan_out", "follows"]
W = nets.lecun(jax.random.key(1), 16, 16)
STACKED = jnp.stack([W, 1.1 * W, 0.9 * W])
POSITIONS = jax.random.normal(jax.random.key(2), (4, 8, 16))


def sites_of(apply, params=W, inputs=POSITIONS):
    """What a survey says of each site, and the name of its phi."""
    tapped = Tapped(apply, params, inputs)
    order = {site.key: number for number, site in enumerate(tapped.sites)}
    return [
        (
            site.kind, site.op, site.parameter, site.units, site.fan_in, site.fan_out, site.shape,
            order.get(site.follows), getattr(tapped.taps[site.key].phi, "name", None),
        )
        for site in tapped.sites
    ]  # fmt: skip


def check_alike(make):
    """A function of a type that makes a function of parameters and inputs, in both types of fewer bits."""
    exact = sites_of(make(jnp.float32))
    for dtype in NARROW:
        assert sites_of(make(dtype)) == exact
    return exact


def normalized(x, wide):
    y = x.astype(wide)
    return ((y - y.mean(-1, keepdims=True)) * jax.lax.rsqrt(y.var(-1, keepdims=True) + 1e-5)).astype(x.dtype)


@pytest.mark.parametrize(
    ("phi", "name"),
    [
        (jax.nn.relu, "relu"),
        (jax.nn.gelu, "gelu_tanh"),
        (lambda a: jax.nn.gelu(a, approximate=False), "gelu"),
        (lambda a: 0.5 * a * (1 + jax.lax.erf(a / np.sqrt(2).astype(a.dtype))), "gelu"),
        (lambda a: 0.5 * a * (1 + jnp.tanh(jnp.asarray(0.7978846, a.dtype) * (a + 0.044715 * a**3))), "gelu_tanh"),
        (jax.nn.silu, "silu"),
        (lambda a: jax.nn.silu(a.astype(jnp.float32)).astype(a.dtype), "silu"),
        (jax.nn.selu, "selu"),
        (lambda a: jax.nn.leaky_relu(a, 0.2), "leaky_relu"),
        (jax.nn.mish, "mish"),
        (jax.nn.squareplus, "squareplus"),
        (lambda a: jnp.clip(a, -1, 1), "hard_tanh"),
        (lambda a: 1.25 * jax.nn.relu(a), "product"),
    ],
)
def test_a_function_is_the_same_in_fewer_bits(phi, name):
    sites = check_alike(lambda dtype: lambda w, x: phi(x.astype(dtype) @ w.astype(dtype)) @ w.astype(dtype))
    assert [site[1] for site in sites] == ["dot_general", name, "dot_general"]


@pytest.mark.parametrize("wide", ["as it is", "float32"])
def test_casts_normalization_and_logits_are_no_functions(wide):
    def make(dtype):
        inner = jnp.float32 if wide == "float32" else dtype

        def apply(w, x):
            w, x = w.astype(dtype), (2 * x - 1).astype(dtype)
            x = normalized(x @ w, inner)
            return -jax.nn.log_softmax((x @ w).astype(inner), axis=-1)[..., 0].mean()

        return apply

    assert [site[1] for site in check_alike(make)] == ["dot_general"] * 2


def test_a_value_that_goes_on_in_several_types_is_one_site():
    """A stream in float32 beside a branch in fewer bits."""

    def make(dtype):
        def apply(w, x):
            h = jax.nn.gelu((x.astype(dtype) @ w.astype(dtype)).astype(jnp.float32))
            return h + h.astype(dtype) @ w.astype(dtype) + normalized(h, jnp.float32).astype(dtype)

        return apply

    assert [site[1] for site in check_alike(make)] == ["dot_general", "gelu_tanh", "dot_general", "sum", "sum"]


def softmax_by_hand(a):
    exp = jnp.exp(a - a.max(-1, keepdims=True))
    return exp / exp.sum(-1, keepdims=True)


@pytest.mark.parametrize(
    "softmax",
    [
        jax.nn.softmax,
        softmax_by_hand,
        lambda a: jax.nn.softmax(a.astype(jnp.float32)).astype(a.dtype),
        lambda a: jax.nn.softmax(a, where=jnp.tril(jnp.ones((8, 16), bool))),
    ],
)
def test_a_softmax_is_one_whatever_its_sum_is_computed_in(softmax):
    sites = check_alike(lambda dtype: lambda w, x: softmax(x.astype(dtype) @ w.astype(dtype)) @ w.astype(dtype))
    assert [site[1] for site in sites] == ["dot_general", "softmax", "dot_general"]


@pytest.mark.parametrize("dtype", [jnp.float32, *NARROW])
def test_weights_that_are_parts_of_a_parameter_keep_its_path(dtype):
    def iterated(weights, x):
        for matrix in weights.astype(dtype):
            x = jnp.tanh(x.astype(dtype) @ matrix)
        return x

    def split(weights, x):
        gate, up = jnp.split(weights[0].astype(dtype), 2, axis=1)
        return jax.nn.silu(x.astype(dtype) @ gate) * (x.astype(dtype) @ up)

    for apply, count in ((iterated, 3), (split, 2)):
        assert [site[2] for site in sites_of(apply, STACKED) if site[0] == "contraction"] == ["params"] * count


def test_the_halves_of_a_product_are_of_that_product():
    sites = check_alike(lambda dtype: lambda w, x: jax.nn.glu(x.astype(dtype) @ w.astype(dtype)))
    assert [(site[1], site[7]) for site in sites] == [("dot_general", None), ("sigmoid", 0)]


def test_entropies_of_shares_in_bfloat16_are_computed_in_float32():
    shares = jax.nn.softmax(jax.random.normal(jax.random.key(0), (50, 300))).astype(jnp.bfloat16)
    given = np.asarray(shares, np.float64)
    expected = np.mean(np.sum(-given * np.log(given), axis=-1)) / np.log(300)
    # Sums of 300 terms in float32: an error of the order of its roundoff, 2^-24, each.
    assert attention_entropy(shares)["attention_entropy"] == pytest.approx(expected, rel=300 * 2.0**-24)


def check_is_that_of_float32(make, dtype=jnp.bfloat16):
    """Sites, paths and laws of a network in a type, its columns within roundoff, and that nothing is said of it.

    A number that is rounded is off by 2^-9 of itself in bfloat16 (root mean square), and n sites have about four
    roundings each: two operands, a product, a function. Their errors are independent, so that a signal is off by
    sqrt(4n) 2^-9, as is its RMS at most; as many entries of a ReLU change their side, and so do shares and gradients.
    """
    exact, narrow = winit.probe(lambda: make(jnp.float32)), winit.probe(lambda: make(dtype))
    assert [finding.text for finding in narrow.audit()] == []
    assert narrow.sites[SAME].equals(exact.sites[SAME])
    assert list(narrow.parameters["law"]) == list(exact.parameters["law"])
    tolerance = np.sqrt(len(exact.sites)) * float(jnp.finfo(dtype).eps) / 2
    within = {"log10_rms": np.log10(1 + tolerance), "log10_grad_rms": np.log10(1 + tolerance)}
    within |= dict.fromkeys(("saturated", "dead", "input_correlation", "unit_similarity"), tolerance)
    within |= {"attention_entropy": tolerance} if "attention_entropy" in exact.sites else {}
    for column, off in within.items():
        found, expected = narrow.sites[column], exact.sites[column]
        np.testing.assert_allclose(found, expected, rtol=0, atol=off, err_msg=column)


@pytest.mark.parametrize("name", slow_but(["tanh"], MIXED))
def test_a_network_in_bfloat16_is_that_of_float32(name):
    check_is_that_of_float32(MIXED[name])


@pytest.mark.slow
def test_a_network_in_float16_is_that_of_float32():
    check_is_that_of_float32(MIXED["language_model"], jnp.float16)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["linen", "nnx", "nnx_images"])
def test_a_network_of_flax_in_bfloat16_is_that_of_float32(name):
    pytest.importorskip("flax")
    from support.mixed_flax import IN_FLAX

    check_is_that_of_float32(IN_FLAX[name])


@pytest.mark.slow
def test_factors_and_formats_are_those_of_the_network_in_float32():
    """`tune`, and numbers rounded to bfloat16 that are bfloat16 already: nothing more is lost."""
    make = MIXED["tanh"]
    exact, narrow = (winit.tune(lambda dtype=dtype: make(dtype)).by_path for dtype in (jnp.float32, jnp.bfloat16))
    assert exact.keys() == narrow.keys()
    for path, factor in exact.items():
        np.testing.assert_allclose(narrow[path], factor, rtol=np.sqrt(7) * 2.0**-8)
    sites = winit.probe(lambda: make(jnp.bfloat16), dtype=["float32", "bfloat16"]).sites
    as_it_is, rounded = (sites[sites["dtype"] == name].reset_index() for name in ("float32", "bfloat16"))
    np.testing.assert_allclose(rounded["log10_rms"], as_it_is["log10_rms"], atol=1e-6)


@pytest.mark.parametrize(
    ("phi", "is_flat"),
    [
        (lambda a: jnp.exp(jax.nn.log_softmax(a, axis=-1)), lambda a: np.zeros(a.shape, bool)),
        (lambda a: jnp.square(jax.nn.relu(a)), lambda a: a <= 0),
    ],
)
def test_a_function_whose_slope_grows_on_is_flat_where_it_is_0(phi, is_flat):
    """Else the slope at the end of a grid, of exp 5e21, would make all units dead."""
    found = winit.probe(lambda w, x: phi(x @ w) @ w, W, POSITIONS, gradients=False).sites
    flat = is_flat(np.asarray(POSITIONS @ W)).reshape(-1, 16)
    (site,) = found[found["kind"] == "nonlinearity"].to_dict("records")
    assert (site["saturated"], site["dead"]) == (pytest.approx(flat.mean()), flat.all(axis=0).mean())


@pytest.mark.slow
def test_of_squared_relus_nothing_is_said():
    """He's gain of them: E relu(z)^4 = 3 / 2."""
    net = nets.stack(lambda *sizes: np.sqrt(1 / 3) * nets.he(*sizes), lambda a: jnp.square(jax.nn.relu(a)), depth=3)
    for dtype in (jnp.float32, jnp.bfloat16):
        assert [finding.text for finding in winit.probe(lambda dtype=dtype: computed_in(dtype, net)).audit()] == []
