"""SIREN, sin(omega a) of weights within sqrt(6 / fan_in) / omega: Sitzmann et al. 2020, arXiv:2006.09661."""

import numpy as np
import pytest

from winit_jax.numerics import theory
from winit_jax.numerics.activations import activation
from winit_jax.numerics.measure import families
from winit_jax.numerics.measure.family import Family
from winit_jax.numerics.measure.networks import Settings, as_inputs
from winit_jax.numerics.schemes import scheme_gain, scheme_std

OMEGA, FEATURES, WIDTH, DEPTH, SEEDS = 30.0, 8, 128, 5, 8
INIT, SIN = "siren(30)", "sin(30)"


def squares(first, layers):
    """Q_l = omega^2 q_l at infinite width, from that of the first layer: Q' = 2 E sin^2 = 1 - e^-2Q."""
    found = [first]
    for _ in range(layers - 1):
        found.append(1 - np.exp(-2 * found[-1]))
    return np.array(found)


def test_mean_field_has_the_paper_s_recursion_and_its_fixed_point():
    std = scheme_std(INIT, FEATURES, WIDTH, role="stem")
    found = theory.from_inputs(
        activation(SIN), np.array([std]), np.array([scheme_gain(INIT, WIDTH, WIDTH)]), np.array([0.0]), layers=40,
        square=FEATURES / 3, correlation=0.0,
    )  # fmt: skip
    sizes = OMEGA**2 * 10 ** (2 * found.log10_preact_rms[:, 0])
    first = OMEGA**2 / 9 / FEATURES  # uniform inputs in [-1, 1] and weights within 1 / features
    np.testing.assert_allclose(sizes, squares(first, 40), rtol=1e-9)
    assert sizes[1] == pytest.approx(1, rel=1e-9)  # the paper's N(0, 1), of phases that go round many times
    assert np.sqrt(sizes[-1]) == pytest.approx(0.8926, abs=1e-4)


@pytest.mark.slow
def test_pre_activations_of_sirens_are_those_of_the_paper_within_standard_errors():
    """The paper has a standard deviation of 1 of omega a behind every sine; it is .93, .91 and .90 further on."""
    x = np.random.default_rng(0).uniform(-1, 1, (200, FEATURES))
    first, hidden = scheme_std(INIT, FEATURES, WIDTH, role="stem"), scheme_std(INIT, WIDTH, WIDTH)
    measured = []
    for seed in range(SEEDS):
        of_seed = Family(seed, "uniform", WIDTH, np.array([first]), np.array([hidden]), np.zeros(1))
        columns, _ = families.forward(
            of_seed, as_inputs(x), DEPTH, Settings(activation(SIN)), budget_mib=64, platform="cpu", jacobian=False
        )
        measured.append(OMEGA**2 * 10 ** (2 * columns["log10_preact_rms"][:, 0]))
        np.testing.assert_allclose(columns["act_max"], 1, atol=1e-3)
    mean, error = np.mean(measured, axis=0), np.std(measured, axis=0, ddof=1) / np.sqrt(SEEDS)
    expected = squares(OMEGA**2 * np.mean(np.sum(x**2, axis=1)) / 3 / FEATURES**2, DEPTH)
    assert np.all(abs(mean - expected) < 5 * error + 1 / WIDTH)  # at finite width moments differ by some 1 / width
    assert np.all(error < 0.03 * mean)
    np.testing.assert_allclose(np.sqrt(mean[1:]), 1, atol=0.12)
