"""Every entry of the activation table against SciPy, and the probing of functions by import path."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from support import references
from winit_jax.numerics.activations import ACTIVATIONS, activation
from winit_jax.numerics.activations.probing import probe

EPSILON = np.finfo(np.float32).eps
EVERY = pytest.mark.parametrize("name", sorted(ACTIVATIONS))
POINTS = np.concatenate([-np.geomspace(30, 1e-6, 200), [0.0], np.geomspace(1e-6, 30, 200)])


@EVERY
def test_phi_agrees_with_scipy_to_a_few_roundings(name):
    a = POINTS.astype(np.float32)
    got = np.asarray(ACTIVATIONS[name](jnp.asarray(a)), float)
    expected = references.PHI[name](a.astype(float))
    np.testing.assert_allclose(got, expected, rtol=16 * EPSILON, atol=8 * EPSILON)


@EVERY
def test_response_keeps_its_digits_near_zero(name):
    a = np.geomspace(1e-7, 1e-3, 50).astype(np.float32)
    with jax.enable_x64(True):
        wide = jnp.asarray(a, jnp.float64)
        exact = np.asarray(ACTIVATIONS[name](wide)) - ACTIVATIONS[name].at_zero
    got = np.asarray(ACTIVATIONS[name].response(jnp.asarray(a)), float)
    # exact itself lost digits to phi(0), in float64: 1e-16 of 1 against responses of 1e-8.
    np.testing.assert_allclose(got, exact, rtol=8 * EPSILON + 1e-7)


@EVERY
def test_slope_is_the_derivative(name):
    points = POINTS[np.abs(np.abs(POINTS) - 1) > 1e-3]  # off hard_tanh's kinks
    points = points[points != 0]
    with jax.enable_x64(True):
        a = jnp.asarray(points)
        derivative = jax.vmap(jax.grad(lambda x: ACTIVATIONS[name](x)))(a)
        # Two formulas in float64; far out both are small differences.
        np.testing.assert_allclose(ACTIVATIONS[name].slope(a), derivative, rtol=1e-9, atol=1e-12)
    expected = references.SLOPE[name](POINTS.astype(np.float32).astype(float))
    got = ACTIVATIONS[name].slope(jnp.asarray(POINTS, jnp.float32))
    np.testing.assert_allclose(np.asarray(got, float), expected, rtol=32 * EPSILON, atol=16 * EPSILON)


@pytest.mark.slow
@EVERY
def test_the_table_says_what_probing_finds(name):
    entry, found = ACTIVATIONS[name], probe(ACTIVATIONS[name], name)
    assert found.at_zero == pytest.approx(entry.at_zero, abs=1e-15)
    assert found.degree_at_zero == entry.degree_at_zero
    assert found.degree_at_infinity == entry.degree_at_infinity
    assert found.homogeneous == entry.homogeneous
    # The reference looks at points 2e-5 apart.
    assert references.max_slope(name) == pytest.approx(entry.max_slope, rel=1e-5)


@EVERY
def test_saturated_and_zero_agree_with_their_definitions(name):
    entry = ACTIVATIONS[name]
    a = np.linspace(-60, 60, 24_001).astype(np.float32)
    slope = np.abs(references.SLOPE[name](a.astype(float)))
    limit = 0.05 * entry.max_slope
    clear = np.abs(slope - limit) > 1e-5  # rounding may move what lies on the threshold
    got = entry.is_saturated(jnp.asarray(a), entry.response(jnp.asarray(a)), 0.05)
    np.testing.assert_array_equal(np.asarray(got)[clear], (slope < limit)[clear])
    zero = entry.is_zero(jnp.asarray(a), entry.response(jnp.asarray(a)))
    underflow = np.abs(a + 37.68) > 0.01
    expected = references.PHI[name](a.astype(float)) == 0
    np.testing.assert_array_equal(np.asarray(zero)[underflow], expected[underflow])


def test_leaky_relu_takes_its_slope():
    a = jnp.asarray([-2.0, 3.0])
    np.testing.assert_allclose(activation("leaky_relu(0.2)")(a), [-0.4, 3.0], rtol=EPSILON)
    assert activation("leaky_relu(0.2)").homogeneous
    assert activation("leaky_relu(0.2)") is activation("leaky_relu(0.2)")


@pytest.mark.parametrize("omega", [0.5, 30.0])
def test_sin_takes_its_frequency(omega):
    phi, a = activation(f"sin({omega:g})"), np.linspace(-3, 3, 601).astype(np.float32)
    rounding = 2 * EPSILON * max(1, 3 * omega)  # of omega a
    np.testing.assert_allclose(phi(jnp.asarray(a)), np.sin(omega * a.astype(float)), rtol=0, atol=rounding)
    np.testing.assert_allclose(
        phi.slope(jnp.asarray(a)), omega * np.cos(omega * a.astype(float)), rtol=0, atol=omega * rounding
    )
    assert phi.max_slope == omega
    assert phi.name == f"sin({omega:g})"
    # Where pre-activations are clipped, it is omega a to float32.
    lowest = 2.0**phi.min_exponent
    assert abs(np.sin(omega * lowest) / (omega * lowest) - 1) < EPSILON / 16
    assert activation("sin(1)").name == "sin"


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("sin(0)", "sin(0): the omega must be from 0.001 to 1000."),
        ("rellu", "'rellu' is not an activation."),
        ("tanh(2)", "'tanh(2)': tanh takes no argument."),
        ("leaky_relu(x)", "'leaky_relu(x)': 'x' is not a number."),
        ("leaky_relu(inf)", "'leaky_relu(inf)': the argument must be finite."),
        ("nowhere.acts:snake", "'nowhere.acts:snake': importing nowhere.acts failed: ModuleNotFoundError"),
        ("jax.numpy:no_such", "'jax.numpy:no_such': jax.numpy has no function 'no_such'."),
        ("jax.numpy:", "'jax.numpy:' is not an import path: write 'package.module:function'."),
        ("jax.nn:softmax", "'jax.nn:softmax' does not act on each element alone."),
        ("jax.numpy:log", "'jax.numpy:log': phi(0) is -inf; an activation must be finite at 0."),
    ],
)
def test_a_wrong_name_gets_a_sentence(name, sentence):
    with pytest.raises(ValueError, match="^" + sentence.replace("(", r"\(").replace(")", r"\)")):
        activation(name)


def test_probing_finds_powers_and_says_what_it_cannot_know():
    square = probe(lambda a: a * a, "square")
    assert (square.degree_at_zero, square.degree_at_infinity) == (2, (2, 2))
    snake = probe(lambda a: a + jnp.sin(a) ** 2, "snake")
    assert (snake.degree_at_zero, snake.degree_at_infinity, snake.homogeneous) == (1, (1, 1), False)
    assert not snake.notes
    exponential = probe(jnp.exp, "exp")
    assert exponential.degree_at_infinity is None
    assert "exp: no power law found far out; signals beyond 1e+38 count as overflow." in exponential.notes
    logarithm = probe(lambda a: jnp.sign(a) * jnp.log1p(jnp.abs(a)), "log")
    assert logarithm.degree_at_infinity is None


def test_a_function_of_the_users_own_is_found_in_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / "my_own_acts.py").write_text("import jax.numpy as jnp\ndef snake(a):\n    return a + jnp.sin(a) ** 2\n")
    monkeypatch.chdir(tmp_path)
    snake = activation("my_own_acts:snake")
    np.testing.assert_allclose(snake(jnp.asarray([0.5])), 0.5 + np.sin(0.5) ** 2, rtol=4 * EPSILON)
