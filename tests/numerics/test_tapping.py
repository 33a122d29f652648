"""What a tap measures in functions of every kind of control flow, against the same loops by hand in float64 NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from support.marks import slow_but
from support.tapped import (
    LAYERS,
    SAMPLES,
    WIDTH,
    called,
    chosen,
    one_by_one,
    plain,
    rematerialized,
    rms,
    scanned,
    tapped_inputs,
    tapped_weights,
)
from winit_jax.numerics.tapping.loss import loss_of
from winit_jax.numerics.tapping.passes import Tapped
from winit_jax.numerics.tapping.segments import fixed
from winit_jax.numerics.tapping.statistics import columns_of, log10_of_gradient, squares_of_gradient, sums_of

KEY = jax.random.key(5)


@pytest.fixture(scope="module")
def weights():
    return tapped_weights()


@pytest.fixture(scope="module")
def inputs():
    return tapped_inputs()


def by_hand(x):
    """The columns of an array [rows, units] whose rows are samples, from their definitions in float64."""
    x = np.asarray(x, np.float64)
    rows, units = x.shape
    squares = np.sum(x**2)
    singular = np.linalg.svd(x, compute_uv=False)
    return {
        "mean": x.mean(),
        "std": x.std(),
        "log10_rms": np.log10(np.sqrt(np.mean(x**2))),
        "kurtosis": np.mean((x - x.mean()) ** 4) / np.var(x) ** 2,
        "zero": np.mean(x == 0),
        "nonfinite": np.mean(~np.isfinite(x)),
        "unit_similarity": (np.sum(x.sum(axis=1) ** 2) - squares) / ((units - 1) * squares),
        "input_correlation": (np.sum(x.sum(axis=0) ** 2) - squares) / ((rows - 1) * squares),
        "effective_rank": np.sum(singular**2) ** 2 / np.sum(singular**4),
    }


def layers_by_hand(weights, x):
    """(Pre-activations, activations, gradients of both and of weights) of h = tanh(h W) under the loss of `loss_of`."""
    weights, h = np.asarray(weights, np.float64), np.asarray(x, np.float64)
    before, after = [], [h]
    for matrix in weights:
        before.append(after[-1] @ matrix)
        after.append(np.tanh(before[-1]))
    directions = np.asarray(jax.random.normal(jax.random.fold_in(KEY, 0), after[-1].shape), np.float64)
    cotangent = directions / np.linalg.norm(directions, axis=1, keepdims=True) / len(h)
    of_before, of_after, of_weights = [], [], []
    for matrix, a, below in list(zip(weights, before, after[:-1], strict=True))[::-1]:
        of_after.append(cotangent)
        of_before.append(cotangent * (1 - np.tanh(a) ** 2))
        of_weights.append(below.T @ of_before[-1])
        cotangent = of_before[-1] @ matrix.T
    return before, after[1:], of_before[::-1], of_after[::-1], of_weights[::-1]


def measured(apply, params, x, key=KEY):
    tapped = Tapped(apply, params, x)
    sums, gradients = tapped.measured(params, x, key)
    return tapped, tapped.columns(sums), tapped.columns_of_parameters(params, gradients)


@pytest.mark.parametrize(
    "apply", slow_but([scanned, chosen], [plain, scanned, rematerialized, one_by_one, chosen, called])
)
def test_signals_and_gradients_are_those_of_the_loop_by_hand(apply, weights, inputs):
    """A cond that is not taken has sites that were not executed, and a vmapped function those of the batch."""
    tapped, sites, parameters = measured(apply, weights, inputs)
    before, after, of_before, of_after, of_weights = layers_by_hand(weights, inputs)
    for kind, op, values, gradients in (
        ("contraction", "dot_general", before, of_before),
        ("nonlinearity", "tanh", after, of_after),
    ):
        found = [
            {name: np.asarray(column)[turn] for name, column in sites[site.key].items()}
            for site in tapped.sites
            if site.kind == kind and site.op == op
            for turn in np.ndindex(*site.loops)
            if sites[site.key]["executed"][turn]
        ]
        assert len(found) == LAYERS
        for columns, value, gradient in zip(found, values, gradients, strict=True):
            for name, expected in by_hand(value).items():
                assert columns[name] == pytest.approx(expected, rel=2e-4, abs=2e-5), name
            assert columns["log10_grad_rms"] == pytest.approx(np.log10(np.sqrt(np.mean(gradient**2))), abs=1e-5)
            if kind == "nonlinearity":
                flat = 1 - np.asarray(value) ** 2 < 0.05
                assert columns["saturated"] == pytest.approx(flat.mean(), abs=1e-3)
                assert columns["dead"] == flat.all(axis=0).mean()
    (columns,) = parameters.values()
    everything = np.sqrt(np.mean(np.square(of_weights)))
    assert columns["log10_grad_rms"] == pytest.approx(np.log10(everything), abs=1e-5)
    assert columns["std"] == pytest.approx(np.asarray(weights, np.float64).std(), rel=1e-5)


@pytest.mark.slow
def test_a_tapped_function_returns_what_it_returned(weights, inputs):
    for apply in (plain, scanned, rematerialized, one_by_one, chosen, called):
        tapped = Tapped(apply, weights, inputs)
        np.testing.assert_allclose(tapped.forward(weights, inputs)[0], apply(weights, inputs), rtol=2e-6, atol=2e-6)


def test_a_loop_of_unknown_length_is_measured_at_its_last_turn(weights, inputs):
    def apply(matrix, x):
        return jax.lax.while_loop(lambda state: state[0] < 5, lambda s: (s[0] + 1, jnp.tanh(s[1] @ matrix)), (0, x))[1]

    _, sites, _ = measured(apply, weights[0], inputs, key=None)
    h = np.asarray(inputs, np.float64)
    for _ in range(5):
        a = h @ np.asarray(weights[0], np.float64)
        h = np.tanh(a)
    columns = next(iter(sites.values()))
    assert columns["log10_rms"][0] == pytest.approx(by_hand(a)["log10_rms"], abs=1e-5)


def test_a_custom_derivative_holds(weights, inputs):
    """What is inside is measured on the way forth; on the way back the function's own derivative passes it by."""

    @jax.custom_vjp
    def halved(h, matrix):
        return jnp.tanh(h @ matrix)

    halved.defvjp(lambda h, m: (halved(h, m), (h, m)), lambda kept, c: (0.5 * c, jnp.zeros_like(kept[1])))

    def apply(weights, x):
        return halved(jnp.tanh(x @ weights[0]), weights[1])

    tapped, sites, _ = measured(apply, weights, inputs)
    before, *_ = layers_by_hand(weights[:2], inputs)
    columns = [sites[site.key] for site in tapped.sites if site.op == "dot_general"]
    for found, value in zip(columns, before, strict=True):
        assert found["log10_rms"] == pytest.approx(by_hand(value)["log10_rms"], abs=1e-5)
    assert "log10_grad_rms" not in columns[1]
    directions = np.asarray(jax.random.normal(jax.random.fold_in(KEY, 0), (SAMPLES, WIDTH)), np.float64)
    cotangent = 0.5 * directions / np.linalg.norm(directions, axis=1, keepdims=True) / SAMPLES
    expected = cotangent * (1 - np.tanh(before[0]) ** 2)
    assert columns[0]["log10_grad_rms"] == pytest.approx(np.log10(np.sqrt(np.mean(expected**2))), abs=1e-5)


def test_biases_belong_to_the_product_that_they_are_added_to(weights, inputs):
    def apply(params, x):
        return jnp.tanh(x @ params["w"] + params["b"])

    params = {"w": weights[0], "b": jnp.full(WIDTH, 3.0)}
    tapped, sites, _ = measured(apply, params, inputs)
    (first, phi) = tapped.sites
    assert (first.parameter, first.fan_in, first.fan_out, phi.follows) == ("w", WIDTH, WIDTH, first.key)
    expected = np.asarray(inputs, np.float64) @ np.asarray(weights[0], np.float64) + 3
    assert sites[first.key]["mean"] == pytest.approx(expected.mean(), rel=1e-5)


def test_a_branch_that_is_added_to_a_stream_is_a_site(weights, inputs):
    def apply(weights, x):
        x = x @ weights[0]
        return x + jax.nn.relu(x @ weights[1]) @ weights[2]

    tapped, sites, _ = measured(apply, weights, inputs)
    _, _, relu, last, total = tapped.sites
    assert (relu.op, total.op, total.follows) == ("relu", "sum", last.key)
    w = np.asarray(weights, np.float64)
    a = np.asarray(inputs, np.float64) @ w[0]
    expected = a + np.maximum(a @ w[1], 0) @ w[2]
    assert sites[total.key]["log10_rms"] == pytest.approx(by_hand(expected)["log10_rms"], abs=1e-5)


@pytest.mark.parametrize(
    ("phi", "name"),
    [
        (jax.nn.relu, "relu"),
        (lambda a: jnp.where(a > 0, a, 0), "relu"),
        (lambda a: 0.5 * a * (1 + jax.lax.erf(a / np.sqrt(2))), "gelu"),
        (jax.nn.gelu, "gelu_tanh"),
        (jax.nn.relu6, "relu6"),
        (lambda a: jnp.maximum(a, 0) ** 2, "relu_squared"),
        (jax.nn.silu, "silu"),
        (lambda a: a * jax.nn.sigmoid(a), "silu"),
        (lambda a: jnp.maximum(a, 0.2 * a), "leaky_relu"),
        (jax.nn.selu, "selu"),
        (lambda a: jnp.tanh(a) ** 3, "integer_pow"),
    ],
)
def test_an_elementwise_function_is_known_by_what_it_computes(phi, name, weights, inputs):
    tapped = Tapped(lambda matrix, x: phi(x @ matrix) @ matrix, weights[0], inputs)
    assert [site.op for site in tapped.sites if site.kind == "nonlinearity"] == [name]


def test_normalization_and_affine_steps_are_no_nonlinearity(weights, inputs):
    def apply(matrix, x):
        x = x @ matrix
        x = (x - x.mean(axis=1, keepdims=True)) * jax.lax.rsqrt(x.var(axis=1, keepdims=True) + 1e-5)
        return (2 * x + 1) @ matrix

    assert [site.kind for site in Tapped(apply, weights[0], inputs).sites] == ["contraction"] * 2


@pytest.mark.slow
def test_attention_has_its_softmax_and_entropy(weights, inputs):
    x = inputs.reshape(4, 10, WIDTH)

    def apply(weights, x):
        q, k, v = (x @ matrix for matrix in weights)
        return jax.nn.softmax(q @ k.swapaxes(1, 2) / np.sqrt(WIDTH), axis=-1) @ v

    tapped, sites, _ = measured(apply, weights, x)
    (site,) = [site for site in tapped.sites if site.kind == "softmax"]
    q, k, _ = (np.asarray(x, np.float64) @ np.asarray(matrix, np.float64) for matrix in weights)
    logits = q @ k.swapaxes(1, 2) / np.sqrt(WIDTH)
    shares = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    expected = np.mean(-np.sum(shares * np.log(shares), axis=-1)) / np.log(10)
    assert sites[site.key]["attention_entropy"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_convolutions_have_the_fans_of_their_taps_and_units_along_channels(layout):
    shape = {"NHWC": (6, 8, 8, 5), "NCHW": (6, 5, 8, 8)}[layout]
    x = jax.random.normal(jax.random.key(0), shape)
    kernel = jax.random.normal(jax.random.key(1), (3, 3, 5, 7))

    def apply(kernel, x):
        return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=(layout, "HWIO", layout))

    tapped, sites, _ = measured(apply, kernel, x)
    (site,) = tapped.sites
    assert (site.fan_in, site.fan_out, site.units) == (45, 63, ({"NHWC": 3, "NCHW": 1}[layout],))
    out = np.moveaxis(np.asarray(apply(kernel, x), np.float64), site.units[0], -1).reshape(-1, 7)
    expected = by_hand(out)
    for name in ("mean", "log10_rms", "unit_similarity", "kurtosis"):
        assert sites[site.key][name] == pytest.approx(expected[name], rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1.0, 1e12, 1e30, 2e38])
def test_sums_hold_their_digits_at_any_scale(scale):
    x = scale * (0.5 + 0.001 * np.asarray(jax.random.normal(jax.random.key(3), (50, 20)), np.float64))
    columns = columns_of(jax.device_get(sums_of(jnp.asarray(x, jnp.float32), (1,), 50)), 20, 50)
    for name, expected in by_hand(np.float32(x)).items():
        assert columns[name] == pytest.approx(expected, rel=1e-3), name


def test_rows_that_are_zero_leave_the_others_theirs():
    """Every row that the effective rank looks at is 0, as where each sample begins with the same padding."""
    x = np.asarray(jax.random.normal(jax.random.key(3), (1024, 20)), np.float64)
    x[::4] = 0
    columns = columns_of(jax.device_get(sums_of(jnp.asarray(x, jnp.float32), (1,), 1024)), 20, 1024)
    for name, expected in by_hand(np.float32(x)).items():
        if name != "effective_rank":
            assert columns[name] == pytest.approx(expected, rel=1e-3, abs=1e-6), name


@pytest.mark.parametrize("scale", [1e-36, 1e-25, 1e-3, 1.0, 1e10, 1e30])
def test_gradients_of_any_size_have_theirs(scale):
    gradient = scale * np.asarray(jax.random.normal(jax.random.key(4), (30, 20)), np.float64)
    found = log10_of_gradient(np.asarray(squares_of_gradient(jnp.asarray(gradient, jnp.float32))))
    assert found == pytest.approx(np.log10(np.sqrt(np.mean(gradient**2))), abs=1e-4)
    assert log10_of_gradient(np.asarray(squares_of_gradient(jnp.zeros((3, 3))))) == -np.inf
    assert np.isnan(log10_of_gradient(np.zeros(4)))


def test_what_is_not_finite_is_a_share_and_nothing_else_is_said():
    x = jnp.ones((4, 5)).at[0, 0].set(jnp.nan).at[1, 1].set(jnp.inf)
    columns = columns_of(jax.device_get(sums_of(x, (1,), 4)), 5, 4)
    assert columns["nonfinite"] == pytest.approx(2 / 20)
    assert all(np.isnan(value) for name, value in columns.items() if name != "nonfinite")


def test_a_function_of_one_number_is_its_own_loss():
    assert loss_of(jnp.float32(3.5), KEY) == 3.5
    out = jax.random.normal(jax.random.key(0), (10, 4))
    directions = jax.random.normal(jax.random.fold_in(KEY, 0), (10, 4))
    directions /= jnp.linalg.norm(directions, axis=1, keepdims=True)
    assert loss_of(out, KEY) == pytest.approx(float(jnp.mean(jnp.sum(out * directions, axis=1))), rel=1e-6)


def test_layers_that_are_alike_are_compiled_once(weights, inputs):
    """Whatever their activation, and whether its derivative is its own or that of JAX."""

    def programs(depth, phi, is_rounded=False):
        def apply(weights, x):
            for number in range(depth):
                x = phi(x @ weights[number % LAYERS])
            return x

        tapped = Tapped(apply, weights, inputs)
        places = tapped._rounds if is_rounded else None
        return len({id(step.program) for step in tapped._steps(tapped.jaxpr.jaxpr, tapped._survey, places)})

    for phi in (jax.nn.relu, jax.nn.gelu, jax.nn.silu, jax.nn.softmax, jnp.tanh):
        assert programs(9, phi) == programs(6, phi)
    assert programs(9, jax.nn.gelu, is_rounded=True) == programs(6, jax.nn.gelu, is_rounded=True)


def test_constants_are_alike_where_their_bits_are(weights, inputs):
    """0.0 equals -0.0, and 1 over it does not; NaN does not equal itself, and makes no other program."""

    def tapped(*constants):
        def apply(weights, x):
            for number, constant in enumerate(constants):
                u = x @ weights[number]
                x = jnp.arctan(1 / jnp.where(u > 1e9, u, constant)) + u
            return x

        return Tapped(apply, list(weights), inputs), apply

    def programs(*constants):
        of, _ = tapped(*constants)
        return len({id(step.program) for step in of._steps(of.jaxpr.jaxpr, of._survey)})

    for of_type in (float, np.float32):
        zero, nan = of_type(0.0), of_type(np.nan)
        assert programs(zero, -zero, zero) > programs(zero, zero, zero)
        assert programs(nan, nan, nan) == programs(nan, nan)
    of, apply = tapped(0.0, -0.0)
    found, expected = of.forward(list(weights), inputs)[0], apply(weights, inputs)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)  # the two zeros lie pi apart


def test_zeros_of_other_signs_are_not_alike_wherever_they_stand():
    """Of Python, of NumPy and complex, as operands and as parameters of an equation."""
    for zero in (0.0, np.float32(0), np.array(0.0, np.float32), 0j, np.complex64(0)):
        assert fixed(-zero) != fixed(zero) == fixed(+zero)


LOOP = (lambda state: state[0] < 3, lambda state: (state[0] + 1, jnp.tanh(state[1])))


@pytest.mark.parametrize(
    ("name", "apply", "has_way_back"),
    [
        ("none", lambda w, x: x @ w[0], True),
        ("of a product", lambda w, x: jax.lax.while_loop(*LOOP, (0, x @ w[0]))[1], False),
        ("of the inputs", lambda w, x: jax.lax.while_loop(*LOOP, (0, x))[1] @ w[0], True),
        ("of a weight", lambda w, x: x @ jax.lax.while_loop(*LOOP, (0, w[0]))[1], False),
        ("of a site without weights", lambda w, x: jax.lax.while_loop(*LOOP, (0, x @ x.T))[1] @ x @ w[0], False),
        ("in a turn of a scan", lambda w, x: jax.lax.scan(
            lambda h, v: (jax.lax.while_loop(*LOOP, (0, h @ v))[1], None), x, w)[0], False),
        ("carried by a scan", lambda w, x: jax.lax.scan(
            lambda h, v: ((h[0] @ v, jax.lax.while_loop(*LOOP, (0, h[0]))[1]), None), (x, x), w)[0], False),
        ("in a branch", lambda w, x: jax.lax.cond(
            x[0, 0] > 0, lambda u: jax.lax.while_loop(*LOOP, (0, u))[1], jnp.sin, x @ w[0]), False),
        ("in a call", lambda w, x: jax.jit(lambda u: jax.lax.while_loop(*LOOP, (0, u))[1])(x @ w[0]), False),
        ("behind a stop", lambda w, x: jax.lax.while_loop(
            *LOOP, (0, jax.lax.stop_gradient(w[0])))[1] + jnp.sum(x @ w[1]), True),
        ("of whole numbers", lambda w, x: jax.lax.while_loop(
            lambda n: n < 9, lambda n: n + 1, jnp.sum(x @ w[0] > 0)) * (x @ w[1]), True),
        ("of known length", lambda w, x: jax.lax.fori_loop(0, 3, lambda _, u: jnp.tanh(u), x @ w[0]), True),
    ],
)  # fmt: skip
def test_a_way_back_is_known_before_it_is_gone(name, apply, has_way_back, weights, inputs):
    """As JAX says when it is asked for a gradient."""
    tapped = Tapped(apply, weights, inputs)
    assert tapped.has_way_back == has_way_back
    if has_way_back:
        jax.eval_shape(tapped.measured, weights, inputs, KEY)
    else:
        with pytest.raises(ValueError, match="while_loop"):
            jax.eval_shape(tapped.measured, weights, inputs, KEY)


def test_two_functions_with_other_derivatives_are_not_alike(weights, inputs):
    """The same value, and a rule that was made with another number."""

    def step_with(slope):
        @jax.custom_jvp
        def step(a):
            return (a > 0).astype(a.dtype)

        step.defjvp(lambda primals, tangents: (step(*primals), slope * tangents[0]))
        return step

    def apply(weights, x):
        return step_with(2.0)(step_with(3.0)(x @ weights[0]) @ weights[1]) @ weights[2]

    tapped, sites, _ = measured(apply, weights, inputs)
    by_op = [sites[site.key]["log10_grad_rms"] for site in tapped.sites if site.kind == "contraction"]
    c = np.asarray(jax.random.normal(jax.random.fold_in(KEY, 0), (SAMPLES, WIDTH)), np.float64)
    c /= np.linalg.norm(c, axis=1, keepdims=True) * SAMPLES
    w = np.asarray(weights, np.float64)
    expected = [6 * (c @ w[2].T) @ w[1].T, 2 * (c @ w[2].T), c]
    np.testing.assert_allclose(by_op, [np.log10(rms(one)) for one in expected], atol=1e-5)
