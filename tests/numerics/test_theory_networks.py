"""Wide sampled networks against mean-field theory, and predictions from the inputs themselves."""

import numpy as np
import pytest

from support.networks import fast
from winit_jax.numerics import theory
from winit_jax.numerics.activations import activation


def test_predictions_start_from_the_inputs_own_moments():
    # a_1 has mean square std^2 |x|^2 + bias^2, and its correlation is that of the inputs diluted by the bias.
    std, gain, bias = np.array([0.3]), np.array([1.2]), np.array([0.5])
    found = theory.from_inputs(activation("tanh"), std, gain, bias, 20.0, 0.4, 3)
    q = 0.3**2 * 20.0 + 0.25
    expected = theory.propagate(activation("tanh"), np.log10(1.44), np.log10(0.25), np.log10(q), 0.3**2 * 8 + 0.25, 3)
    assert found.input_correlation[0, 0] == pytest.approx((0.3**2 * 8 + 0.25) / q)
    np.testing.assert_allclose(found.log10_act_rms, expected.log10_act_rms)


def test_predictions_of_scales_outside_float64_are_finite():
    one = np.ones(1)
    found = theory.from_inputs(activation("relu"), 1e-300 * one, 1e-300 * one, 0 * one, 100.0, 0.0, 4)
    np.testing.assert_allclose(np.diff(found.log10_act_rms[:, 0]), -300 + 0.5 * np.log10(0.5))
    silent = theory.from_inputs(activation("relu"), 0 * one, 0 * one, 0 * one, 100.0, 0.0, 2)
    assert np.all(np.isneginf(silent.log10_act_rms))


WIDE = [
    ("tanh", 0.8, 0.0),
    ("tanh", 1.5, 0.2),
    ("sigmoid", 2.0, 0.0),
    ("relu", 1.2, 0.1),
    ("gelu", 1.6, 0.0),
    ("selu", 1.0, 0.0),
    ("sin", 1.1, 0.1),
    ("softplus", 0.9, 0.0),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "gain", "bias_std", "shape"),
    [
        *((*point, "normal") for point in WIDE),
        ("tanh", 1.5, 0.2, "orthogonal"),
    ],
)
def test_wide_sampled_networks_agree_with_theory(name, gain, bias_std, shape):
    """Width 1000, 8 seeds, 60 inputs, 6 layers: 4 standard errors over seeds and 6 / width.

    What is left out at finite width is of order depth / width; a missing factor moves these by 0.01 and more.
    """
    width, seeds, depth = 1000, 8, 6
    x = np.random.default_rng(0).standard_normal((60, width))
    x *= np.sqrt(width) / np.linalg.norm(x, axis=1, keepdims=True)  # equal norms, as theory takes them
    names = ("log10_act_rms", "input_correlation", "log10_jacobian")
    runs = {column: [] for column in names}
    for seed in range(seeds):
        std = gain / np.sqrt(width)
        columns = fast(x, name, [std], [bias_std], width=width, depth=depth, seed=seed, shape=shape, jacobian=True)
        for column in names:
            runs[column].append(columns[column][:, 0])
    gram = x @ x.T
    c0 = (gram.sum() - np.trace(gram)) / ((len(x) - 1) * np.trace(gram))
    q = gain**2 + bias_std**2
    first = np.array([(gain**2 * c0 + bias_std**2) / q])
    with np.errstate(divide="ignore"):
        bias = np.log10([bias_std**2])
    found = theory.propagate(activation(name), np.log10([gain**2]), bias, np.log10([q]), first, depth)
    for column in names:
        sampled, predicted = np.array(runs[column]), getattr(found, column)[:, 0]
        standard_error = sampled.std(axis=0, ddof=1) / np.sqrt(seeds)
        difference = np.abs(sampled.mean(axis=0) - predicted)
        assert np.all(difference < 4 * standard_error + 6 / width), (column, difference / standard_error)
