"""Texts, byte by byte: windows, what stands for a byte, and the byte that follows."""

import gzip
import hashlib

import numpy as np
import pytest

from winit_jax.data import bounded
from winit_jax.data.datasets import load_dataset
from winit_jax.data.inputs import InputError, load_all_inputs, load_inputs
from winit_jax.spec.sweep import Inputs, Train

# No two of its windows of five bytes are equal.
TEXT = bytes(np.random.default_rng(0).integers(32, 127, 1200).tolist())


@pytest.fixture
def path(tmp_path):
    (tmp_path / "fruit.txt").write_bytes(TEXT)
    return tmp_path / "fruit.txt"


def decoded(x):
    """The bytes of one-hot windows."""
    assert set(np.unique(x)) == {0, 1}
    np.testing.assert_array_equal(x.sum(axis=-1), 1)
    return [bytes(window.tolist()) for window in x.argmax(axis=-1)]


def test_samples_are_windows_that_start_at_different_bytes(path):
    data = load_inputs(Inputs(source=str(path), positions=7, samples=200), 1)
    assert (data.x.shape, data.x.dtype, data.labels, data.grid) == ((200, 7, 256), np.float32, None, None)
    found = decoded(data.x)
    there = [TEXT[i : i + 7] for i in range(len(TEXT) - 6)]
    assert set(found) <= set(there)
    assert len(set(found)) == 200
    assert found != decoded(load_inputs(Inputs(source=str(path), positions=7, samples=200, seed=1), 1).x)
    assert found[:50] == decoded(load_inputs(Inputs(source=str(path), positions=7, samples=50), 1).x)


def test_all_windows_keep_their_order(path):
    count = len(TEXT) - 7 + 1
    data = load_inputs(Inputs(source=str(path), positions=7, samples=count), 1)
    assert decoded(data.x) == [TEXT[i : i + 7] for i in range(count)]
    long = load_inputs(Inputs(source=str(path), positions=len(TEXT) - 1), 1)  # of fewer than the default of 1000
    assert decoded(long.x) == [TEXT[:-1], TEXT[1:]]


def test_a_window_has_64_bytes_unless_the_sweep_says_otherwise(path):
    assert load_inputs(Inputs(source=str(path), samples=3), 1).x.shape == (3, 64, 256)
    assert load_dataset(Train(source=str(path))).x_train.shape[1:] == (64, 256)


def test_a_random_encoding_is_one_row_of_normal_numbers_for_each_byte(path):
    one_hot, random = (
        load_inputs(Inputs(source=str(path), positions=7, samples=300, encoding=encoding), 400)
        for encoding in ("one_hot", "random")
    )
    assert random.x.shape == (300, 7, 400)
    codes = one_hot.x.argmax(axis=-1)
    table = {code: random.x[codes == code][0] for code in np.unique(codes)}
    np.testing.assert_array_equal(random.x, [[table[code] for code in window] for window in codes])
    numbers = np.array(list(table.values()))
    assert abs(numbers.mean()) < 5 / np.sqrt(numbers.size)
    assert abs(numbers.var() - 1) < 5 * np.sqrt(2 / numbers.size)
    products = numbers @ numbers.T / 400  # of different bytes: independent rows
    assert np.abs(products - np.diag(np.diag(products))).max() < 6 / np.sqrt(400)
    other = load_inputs(Inputs(source=str(path), positions=7, samples=300, encoding="random", seed=1), 400)
    assert abs(np.mean(other.x[:, :, 0] * random.x[:, :, 0])) < 5 / np.sqrt(len(table))


def test_random_encodings_follow_the_width_unless_features_are_given(path):
    keys = {"source": str(path), "positions": 3, "samples": 2, "encoding": "random"}
    found = load_all_inputs(Inputs(**keys), [4, 5], infinite=False)
    assert [found[width].features for width in (4, 5)] == [4, 5]
    found = load_all_inputs(Inputs(**keys, features=9), [4, 5], infinite=True)
    assert {key: data.features for key, data in found.items()} == {4: 9, 5: 9, "inf": 9}


def test_a_text_is_known_by_its_ending_or_by_the_mark_before_its_path(tmp_path, path):
    keys = {"positions": 5, "samples": 4}
    expected = load_inputs(Inputs(source=str(path), **keys), 1)
    (tmp_path / "fruit.text").write_bytes(TEXT)
    (tmp_path / "fruit.npy").write_bytes(TEXT)
    (tmp_path / "fruit.txt.gz").write_bytes(gzip.compress(TEXT, mtime=0))
    for source in (f"{tmp_path}/fruit.text", f"text:{tmp_path}/fruit.npy", f"{tmp_path}/fruit.txt.gz"):
        np.testing.assert_array_equal(load_inputs(Inputs(source=source, **keys), 1).x, expected.x)


def test_the_digest_is_that_of_the_file(path):
    sha256 = hashlib.sha256(TEXT).hexdigest()
    for data in (load_inputs(Inputs(source=str(path)), 1), load_dataset(Train(source=str(path)))):
        assert (data.sha256, data.files) == (sha256, (("fruit.txt", sha256),))
        assert data.describe()["files"] == {"fruit.txt": sha256}


@pytest.mark.parametrize(
    ("content", "keys", "sentence"),
    [
        (b"four", {"positions": 5}, "has 4 bytes; a window takes 5 (inputs.positions)."),
        (b"", {}, "has 0 bytes; a window takes 64 (inputs.positions)."),
        (b"abcdef", {"positions": 5, "samples": 3}, "inputs.samples: 3 asked for, {path} has 2 windows of 5 bytes."),
        (gzip.compress(TEXT, mtime=0)[:-9], {}, "is a damaged gzip file: "),
    ],
)
def test_texts_that_cannot_be_used_get_a_sentence(tmp_path, content, keys, sentence):
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(InputError) as caught:
        load_inputs(Inputs(source=str(tmp_path / "a.txt"), **keys), 1)
    assert sentence.format(path=tmp_path / "a.txt") in str(caught.value)


def test_a_folder_is_no_text(tmp_path):
    with pytest.raises(InputError, match="is not a regular file but a folder"):
        load_inputs(Inputs(source=f"text:{tmp_path}"), 1)


def test_texts_are_read_only_as_far_as_memory_goes(path, monkeypatch):
    monkeypatch.setattr(bounded, "free_bytes", lambda: 2 * 8 * len(TEXT))
    with pytest.raises(InputError, match="with what is made of it takes"):
        load_inputs(Inputs(source=str(path), samples=1), 1)
    monkeypatch.setattr(bounded, "free_bytes", lambda: 2 * 10 * len(TEXT))
    assert load_inputs(Inputs(source=str(path), samples=1, positions=2), 1).samples == 1
    with pytest.raises(InputError, match="64,000 bytes by 256 numbers each takes"):
        load_inputs(Inputs(source=str(path), samples=1000), 1)


def test_the_next_byte_is_learnt_and_no_window_reaches_from_one_part_into_the_other(path):
    data = load_dataset(Train(source=str(path), positions=7, train_samples=900, test_samples=200))
    assert (data.x_train.shape, data.x_train.dtype) == ((900, 7, 256), np.float32)
    assert (data.y_train.shape, data.y_train.dtype, data.classes) == ((900, 7), np.int64, 256)
    assert (data.x_test.shape, data.y_test.shape) == ((200, 7, 256), (200, 7))
    cut = len(TEXT) - len(TEXT) // 5
    for part, x, y in ((TEXT[:cut], data.x_train, data.y_train), (TEXT[cut:], data.x_test, data.y_test)):
        there = [part[i : i + 8] for i in range(len(part) - 7)]
        found = [window + bytes([following[-1]]) for window, following in zip(decoded(x), y, strict=True)]
        assert set(found) <= set(there)
        assert len(set(found)) == len(found)
        np.testing.assert_array_equal(x.argmax(axis=-1)[:, 1:], y[:, :-1])


def test_all_windows_of_a_part_can_be_had_and_then_some_come_again(path):
    cut = len(TEXT) - len(TEXT) // 5
    there = cut - 7
    every = load_dataset(Train(source=str(path), positions=7, train_samples=there))
    assert len(set(decoded(every.x_train))) == there
    more = load_dataset(Train(source=str(path), positions=7, train_samples=there + 1))
    assert len(more.x_train) == there + 1
    assert len(set(decoded(more.x_train))) < there


def test_without_a_number_as_many_windows_as_lie_side_by_side_are_learnt_from(tmp_path, path):
    data = load_dataset(Train(source=str(path), positions=7))
    assert (len(data.x_train), len(data.x_test)) == (960 // 8, 240 // 8)
    (tmp_path / "long.txt").write_bytes(bytes(100_000))
    data = load_dataset(Train(source=str(tmp_path / "long.txt"), positions=2, encoding="random", features=3))
    assert (len(data.x_train), len(data.x_test)) == (4096, 1024)


def test_training_windows_are_drawn_by_the_seed_and_encoded_as_the_inputs_are(path):
    keys = {"source": str(path), "positions": 7, "train_samples": 20}
    one, again, other = (load_dataset(Train(**keys, seed=seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.x_train, again.x_train)
    assert decoded(one.x_train) != decoded(other.x_train)
    random = load_dataset(Train(**keys, encoding="random", features=6, seed=4))
    assert (random.features, random.classes) == (6, 256)
    codes = load_dataset(Train(**keys, seed=4)).x_train.argmax(axis=-1)
    measured = load_inputs(Inputs(source=str(path), positions=len(TEXT), encoding="random", features=6, seed=4), 1)
    expected = [measured.x[0, TEXT.index(bytes([code]))] for code in codes[0].tolist()]
    np.testing.assert_array_equal(random.x_train[0], expected)
    assert load_dataset(Train(**keys, encoding="random")).features == 256


def test_a_text_too_short_to_learn_from_gets_a_sentence(tmp_path):
    (tmp_path / "a.txt").write_bytes(bytes(39))
    with pytest.raises(InputError) as caught:
        load_dataset(Train(source=str(tmp_path / "a.txt"), positions=7))
    assert str(caught.value) == (
        f"{tmp_path / 'a.txt'} has 39 bytes; train.positions = 7 takes 40, the last fifth of them for tests."
    )
    (tmp_path / "a.txt").write_bytes(bytes(40))
    data = load_dataset(Train(source=str(tmp_path / "a.txt"), positions=7))
    assert (len(data.x_train), len(data.x_test)) == (4, 1)
