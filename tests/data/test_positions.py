"""Inputs with positions: correlated normal samples, and images as rows and as pixels."""

import hashlib

import numpy as np
import pytest

from winit_jax.data.datasets import load_dataset
from winit_jax.data.inputs import InputError, load_all_inputs, load_inputs
from winit_jax.data.normal import mixed
from winit_jax.data.sources import read
from winit_jax.spec.sweep import Inputs, Train


def digest(array):
    return hashlib.sha256(array.tobytes()).hexdigest()[:16]


def target(samples, positions, correlation, position_correlation):
    """The Kronecker product of the two matrices, written out entry by entry."""
    rows = [(i, s) for i in range(samples) for s in range(positions)]
    return np.array(
        [[(1 if i == j else correlation) * (1 if s == t else position_correlation) for j, t in rows] for i, s in rows]
    )


def gram(x):
    rows = np.asarray(x, np.float64).reshape(-1, x.shape[-1])
    return rows @ rows.T / x.shape[-1]


@pytest.mark.parametrize(
    ("keys", "width", "before"),
    [
        ({"samples": 7}, 5, "85f7fcf34f11525c"),
        ({"samples": 3, "features": 4, "seed": 9}, 5, "16750308418a14f9"),
        ({"source": "digits", "samples": 20}, 5, "c31b91d2018053f6"),
        ({"source": "digits", "samples": 20, "seed": 3, "standardize": True}, 5, "38ec5b15ed720abb"),
    ],
)
def test_flat_inputs_have_the_bits_that_they_had_before_there_were_positions(keys, width, before):
    data = load_inputs(Inputs(**keys), width)
    assert digest(data.x) == before
    assert (data.positions, data.grid) == (1, None)
    assert data.rows is data.x or np.shares_memory(data.rows, data.x)


@pytest.mark.parametrize(
    ("keys", "before"),
    [
        ({}, ["6d786333644f57a2", "59474749af1dbf63", "01bd491a29bd9f72", "cae89a830a523025"]),
        (
            {"standardize": True, "train_samples": 100, "seed": 4},
            ["036a86fedc92b7f5", "3e3b324041d13c67", "dbcd9206dbee5ffc", "ad81120421fc01f0"],
        ),
    ],
)
def test_flat_training_data_have_the_bits_that_they_had_before_there_were_positions(keys, before):
    data = load_dataset(Train(**keys))
    assert [digest(array) for array in (data.x_train, data.y_train, data.x_test, data.y_test)] == before
    assert (data.positions, data.grid, "positions" in data.describe()) == (1, None, False)


def test_normal_positions_are_the_draw_of_as_many_flat_samples():
    flat = load_inputs(Inputs(samples=12, seed=3), 5)
    data = load_inputs(Inputs(samples=3, positions=4, seed=3), 5)
    assert data.x.shape == (3, 4, 5)
    assert (data.samples, data.positions, data.features) == (3, 4, 5)
    np.testing.assert_array_equal(data.rows, flat.x)
    np.testing.assert_array_equal(data.rows[5], data.x[1, 1])
    assert data.describe()["shape"] == [3, 4, 5]


@pytest.mark.parametrize(("positions", "grid"), [(1, (1, 1)), (9, (3, 3)), (8, None), (None, None)])
def test_a_square_number_of_normal_positions_is_a_grid(positions, grid):
    assert load_inputs(Inputs(samples=2, positions=positions), 3).grid == grid


@pytest.mark.parametrize(
    ("samples", "positions", "correlation", "position_correlation"),
    [
        (6, 5, 0.6, 0.3),
        (6, None, 0.6, 0.0),
        (4, 5, 0.0, 0.9),
        (4, 3, -1 / 3, -0.5),
        (5, 4, 1.0, 0.2),
        (3, 2, 0.5, -1.0),
    ],
)
def test_normal_samples_are_correlated_as_asked_within_standard_errors(
    samples, positions, correlation, position_correlation
):
    features = 40_000
    keys = {"samples": samples, "positions": positions, "correlation": correlation}
    data = load_inputs(Inputs(**keys, position_correlation=position_correlation, features=features), 1)
    expected = target(samples, positions or 1, correlation, position_correlation)
    # The variance of x_a x_b of normal numbers is 1 + E[x_a x_b]^2.
    standard_error = np.sqrt((1 + expected**2) / features)
    assert np.all(np.abs(gram(data.x) - expected) < 5 * standard_error)
    assert data.x.dtype == np.float32


@pytest.mark.parametrize("positions", [None, 6])
def test_exact_correlations_are_exact(positions):
    keys = {"samples": 8, "positions": positions, "correlation": 0.7, "exact_correlation": True}
    keys |= {"position_correlation": -0.1} if positions else {}
    data = load_inputs(Inputs(**keys), 8 * (positions or 1))  # as few features as there may be
    expected = target(8, positions or 1, 0.7, -0.1)
    np.testing.assert_allclose(gram(data.x), expected, atol=1e-6)
    # Only on average without it: the products of so few features stray by a tenth and more.
    assert np.abs(gram(load_inputs(Inputs(**keys | {"exact_correlation": False}), 48).x) - expected).max() > 0.1


def test_exact_uncorrelated_samples_are_orthogonal_and_still_the_same_draw():
    free, exact = (load_inputs(Inputs(samples=4, exact_correlation=exact), 1000).x for exact in (False, True))
    np.testing.assert_allclose(gram(exact), np.eye(4), atol=1e-6)
    np.testing.assert_allclose(exact[0], free[0] * np.sqrt(1000) / np.linalg.norm(free[0]), rtol=1e-5)
    assert np.all(np.sum(exact * free, axis=1) > 0.9 * 1000)  # near 1 - samples / features, were it not for a sign


def test_exact_correlations_need_features():
    with pytest.raises(InputError, match="13 rows need at least that many features, not 12"):
        load_inputs(Inputs(samples=13, exact_correlation=True), 12)


def test_inputs_of_different_correlations_are_made_of_the_same_numbers():
    apart, alike = (load_inputs(Inputs(samples=50, correlation=c), 30).x for c in (0.0, 0.64))
    # What deviates from the mean of all samples is sqrt(1 - c) times as large, and the mean as much larger.
    np.testing.assert_allclose(alike - alike.mean(axis=0), 0.6 * (apart - apart.mean(axis=0)), atol=1e-5)
    np.testing.assert_allclose(alike.mean(axis=0), np.sqrt(1 + 49 * 0.64) * apart.mean(axis=0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("correlation", [-0.25, 0.0, 0.3, 1.0])
def test_mixing_is_the_square_root_of_the_matrix(correlation):
    matrix = (1 - correlation) * np.eye(5) + correlation
    root = mixed(np.eye(5), correlation, axis=0)
    np.testing.assert_allclose(root @ root, matrix, atol=1e-12)
    np.testing.assert_allclose(root, root.T, atol=1e-12)
    np.testing.assert_allclose(mixed(np.eye(5), correlation, axis=1), root, atol=1e-12)


def test_inputs_follow_the_width_unless_features_are_given():
    data = load_all_inputs(Inputs(samples=2, positions=3), [4, 5], infinite=True)
    assert {width: each.features for width, each in data.items()} == {4: 4, 5: 5}


IMAGES = np.random.default_rng(0).integers(0, 256, (6, 4, 5))
COLORS = np.random.default_rng(1).integers(0, 256, (6, 4, 5, 3))


def test_gray_images_are_rows_or_pixels(tmp_path):
    np.savez(tmp_path / "a.npz", x=IMAGES)
    flat, rows, pixels = (
        load_inputs(Inputs(source=str(tmp_path / "a.npz"), positions=cut), 1) for cut in (None, "rows", "pixels")
    )
    np.testing.assert_array_equal(flat.x, (IMAGES / IMAGES.max()).astype(np.float32).reshape(6, 20))
    np.testing.assert_array_equal(rows.x, flat.x.reshape(6, 4, 5))
    np.testing.assert_array_equal(pixels.x, flat.x.reshape(6, 20, 1))
    assert (flat.grid, rows.grid, pixels.grid) == (None, None, (4, 5))
    assert (rows.samples, rows.positions, rows.features) == (6, 4, 5)


@pytest.mark.parametrize("first", [False, True])
def test_channels_go_last_wherever_they_stand(tmp_path, first):
    np.save(tmp_path / "a.npy", COLORS.transpose(0, 3, 1, 2) if first else COLORS)
    rows, pixels = (load_inputs(Inputs(source=str(tmp_path / "a.npy"), positions=cut), 1) for cut in ("rows", "pixels"))
    x = (COLORS / COLORS.max()).astype(np.float32)
    np.testing.assert_array_equal(rows.x, x.reshape(6, 4, 15))
    np.testing.assert_array_equal(pixels.x, x.reshape(6, 20, 3))
    np.testing.assert_array_equal(pixels.x[2, 7], x[2, 1, 2])
    assert pixels.grid == (4, 5)


@pytest.mark.parametrize("file", ["a.npy", "a.npz"])
def test_arrays_that_have_positions_are_read_as_rows(tmp_path, file):
    array = np.random.default_rng(0).normal(size=(5, 7, 3))
    (np.save if file == "a.npy" else np.savez)(tmp_path / file, array)
    data = load_inputs(Inputs(source=str(tmp_path / file), positions="rows"), 1)
    np.testing.assert_array_equal(data.x, array.astype(np.float32))


def test_digits_which_are_held_flat_have_rows_and_pixels_of_their_own():
    data = load_inputs(Inputs(source="digits", positions="pixels", samples=1797), 1)
    assert (data.x.shape, data.grid) == ((1797, 64, 1), (8, 8))
    rows = load_inputs(Inputs(source="digits", positions="rows", samples=1797), 1)
    np.testing.assert_array_equal(rows.x[3], read("digits").images[3].reshape(8, 8) / np.float32(16))


def test_every_row_has_the_label_of_its_sample():
    data = load_inputs(Inputs(source="digits", positions="rows", samples=3), 1)
    np.testing.assert_array_equal(data.row_labels, [label for label in data.labels for _ in range(8)])
    flat = load_inputs(Inputs(source="digits", samples=3), 1)
    assert flat.row_labels is flat.labels
    assert load_inputs(Inputs(samples=3, positions=2), 1).row_labels is None


@pytest.mark.parametrize(
    ("array", "sentence"),
    [
        (np.zeros((4, 6)), "inputs.positions: 'rows' cuts images, and the samples of {path} are rows of 6 values."),
        (
            np.zeros((4, 6, 7, 8)),
            "inputs.positions: samples of {path} have the shape (6, 7, 8), of which neither the last axis nor the "
            "first holds channels, 4 at most.",
        ),
        (
            np.zeros((4, 2, 2, 2, 2)),
            "inputs.positions: 'rows' cuts images, and the samples of {path} are of the shape (2, 2, 2, 2).",
        ),
    ],
)
def test_samples_that_are_no_images_get_a_sentence(tmp_path, array, sentence):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(InputError) as caught:
        load_inputs(Inputs(source=str(tmp_path / "a.npy"), positions="rows"), 1)
    assert str(caught.value) == sentence.format(path=tmp_path / "a.npy")


def test_plain_rows_of_a_table_have_no_positions(tmp_path):
    (tmp_path / "a.csv").write_text("a,b\n0.5,1.5\n2.5,3.5\n")
    with pytest.raises(InputError, match=r"'pixels' cuts images, and the samples of .* are rows of 2 values"):
        load_inputs(Inputs(source=str(tmp_path / "a.csv"), positions="pixels"), 1)


def test_more_activations_than_can_be_counted_get_a_sentence(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((200, 30, 30)))
    keys = {"source": str(tmp_path / "a.npy"), "positions": "pixels"}
    with pytest.raises(InputError, match="200 samples of 900 positions through 6,000 units are 1,080,000,000 activ"):
        load_all_inputs(Inputs(**keys), [10, 6000], infinite=False)


@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize(("how", "shape", "grid"), [("rows", (8, 8), None), ("pixels", (64, 1), (8, 8))])
def test_images_to_learn_from_are_the_same_cut(how, shape, grid, standardize):
    flat, cut = (load_dataset(Train(positions=positions, standardize=standardize)) for positions in (None, how))
    assert cut.x_train.shape[1:] == cut.x_test.shape[1:] == shape
    assert (cut.positions, cut.features, cut.grid) == (*shape, grid)
    assert cut.describe()["positions"] == shape[0]
    for one, other in ((flat.x_train, cut.x_train), (flat.x_test, cut.x_test)):
        np.testing.assert_array_equal(other.reshape(one.shape), one)
    np.testing.assert_array_equal(cut.y_train, flat.y_train)


def test_plain_rows_to_learn_from_get_a_sentence(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.arange(20.0).reshape(10, 2), y=np.arange(10) % 2)
    with pytest.raises(InputError, match=r"train\.positions: 'rows' cuts images, and the samples of .* are rows of 2"):
        load_dataset(Train(source=str(tmp_path / "a.npz"), positions="rows"))
