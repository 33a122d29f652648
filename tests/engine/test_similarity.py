"""How alike inputs are: against every product written out, and where there is nothing to compare."""

import math

import numpy as np
import pytest

from winit_jax.data.inputs import load_inputs
from winit_jax.engine.computing.theories import expected_similarity, similarity
from winit_jax.engine.computing.vocabulary import vocabulary
from winit_jax.engine.computing.work import read_work
from winit_jax.engine.planning import shapes
from winit_jax.spec.reading import load_sweep
from winit_jax.spec.sweep import Inputs, Train


def of_products(x):
    """The same by every product of two rows."""
    samples, positions, _ = x.shape
    rows = [(i, s) for i in range(samples) for s in range(positions)]
    by_kind = {(same_i, same_s): [] for same_i in (True, False) for same_s in (True, False)}
    for i, s in rows:
        for j, t in rows:
            by_kind[i == j, s == t].append(float(np.dot(x[i, s], x[j, t])))
    square = np.mean(by_kind[True, True])
    others = (by_kind[kind] for kind in ((False, True), (True, False), (False, False)))
    return (square, *(np.mean(products) / square if products else math.nan for products in others))


@pytest.mark.parametrize(("samples", "positions"), [(4, 3), (2, 2), (1, 5), (5, 1), (1, 1)])
def test_similarity_is_the_mean_of_all_products(samples, positions):
    x = np.random.default_rng(0).normal(0.3, 1, (samples, positions, 6))
    np.testing.assert_allclose(similarity(x), of_products(x), rtol=1e-12)
    assert similarity(x.astype(np.float32))[0] == pytest.approx(of_products(x)[0], rel=1e-6)


def test_flat_samples_have_no_positions_to_compare():
    x = np.random.default_rng(0).normal(0.3, 1, (7, 6))
    found = similarity(x)
    products = x @ x.T
    assert found.square == pytest.approx(np.trace(products) / 7, rel=1e-14)
    assert found.correlation == pytest.approx((products.sum() - np.trace(products)) / 6 / np.trace(products), rel=1e-12)
    assert math.isnan(found.position_correlation)
    assert math.isnan(found.cross_correlation)


def test_nothing_but_zeros_are_alike_in_no_way():
    assert similarity(np.zeros((3, 2, 4))).square == 0
    assert np.all(np.isnan(similarity(np.zeros((3, 2, 4)))[1:]))


def test_exact_normal_inputs_have_the_similarity_that_is_expected_of_them():
    keys = {"samples": 5, "positions": 4, "correlation": 0.6, "position_correlation": -0.2, "exact_correlation": True}
    inputs = Inputs(**keys)
    found, expected = similarity(load_inputs(inputs, 20).x), expected_similarity(inputs)
    assert expected == (1, 0.6, -0.2, pytest.approx(-0.12))
    np.testing.assert_allclose([found.square / 20, *found[1:]], expected, atol=1e-6)


def test_the_theory_of_infinite_width_starts_from_the_correlation_of_the_inputs():
    from winit_jax.engine.computing.predicting import predictions

    def correlations(*words):
        grid = ["activation=identity", "gain=1", "width=inf", "depth=1,3", *words]
        tables = predictions(read_work(load_sweep(None, grid, vocabulary())), print)
        return tables["theory"].column("theory_input_correlation").to_pylist()

    assert correlations() == [0, 0]
    # The identity keeps every correlation.
    assert correlations("inputs.correlation=0.4", "inputs.positions=3") == pytest.approx([0.4, 0.4])


@pytest.mark.parametrize(
    ("data", "shape"),
    [
        (Inputs(), (1000, 1, 30)),
        (Inputs(positions=16, features=7), (1000, 16, 7)),
        (Inputs(source="digits"), (1000, 1, 64)),
        (Inputs(source="mnist", positions="rows"), (1000, 28, 28)),
        (Inputs(source="digits", positions="pixels"), (1000, 64, 1)),
        (Inputs(source="a.txt"), (1000, 64, 256)),
        (Inputs(source="a.txt", positions=8, encoding="random"), (1000, 8, 30)),
    ],
)
def test_plans_know_the_shape_of_inputs(data, shape):
    assert shapes.of_inputs(data, 30) == shape
    assert shapes.of_inputs(data, 30).rows == shape[0] * shape[1]


@pytest.mark.parametrize(
    ("data", "shape"),
    [
        (Train(), (1797, 1, 64)),
        (Train(source="mnist", positions="rows"), (70_000, 28, 28)),
        (Train(source="a.txt", train_samples=100, positions=8), (1124, 8, 256)),
        (Train(source="a.txt", encoding="random", features=9), (5120, 64, 9)),
    ],
)
def test_plans_know_the_shape_of_training_data(data, shape):
    assert shapes.of_training(data) == shape
