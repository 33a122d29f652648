"""Training data: where it is found, how it is cut, and sentences for what cannot be learnt."""

import gzip

import numpy as np
import pytest
from test_inputs import idx

from winit_jax.data.datasets import check_dataset, load_dataset
from winit_jax.data.sources import InputError, read
from winit_jax.spec.sweep import Train

IMAGES = np.random.default_rng(0).integers(0, 256, (50, 4, 4))
LABELS = np.arange(50) % 10
TEST_IMAGES, TEST_LABELS = IMAGES[::-1][:20], LABELS[::-1][:20]


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty home, away from real caches."""
    for name in ("TORCH_HOME", "KERAS_HOME", "SCIKIT_LEARN_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path


def write_idx(folder, packed=False):
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in (
        ("train-images-idx3-ubyte", IMAGES),
        ("train-labels-idx1-ubyte", LABELS),
        ("t10k-images-idx3-ubyte", TEST_IMAGES),
        ("t10k-labels-idx1-ubyte", TEST_LABELS),
    ):
        data = idx(array, 0x08)
        (folder / f"{name}{'.gz' * packed}").write_bytes(gzip.compress(data, mtime=0) if packed else data)


def write_npz(path, **arrays):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)
    return path


def write_arff(path, quote):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = "".join(f"@ATTRIBUTE pixel{i} real\n" for i in range(16))
    rows = "\n".join(
        ",".join(map(str, [*image.ravel(), f"{quote}{label}{quote}"]))
        for image, label in zip(IMAGES, LABELS, strict=True)
    )
    text = f"% a comment\n@RELATION mnist_784\n{pixels}@ATTRIBUTE class {{0,1,2,3,4,5,6,7,8,9}}\n@DATA\n{rows}\n"
    path.write_bytes(gzip.compress(text.encode(), mtime=0))


@pytest.mark.parametrize("standardize", [False, True])
def test_a_split_is_a_seeded_permutation(standardize):
    train = Train(source="digits", train_samples=1000, standardize=standardize)
    one, again = load_dataset(train), load_dataset(train)
    np.testing.assert_array_equal(one.x_train, again.x_train)
    assert one.x_train.shape == (1000, 64)
    assert one.x_test.shape == (797, 64)
    assert (one.x_train.dtype, one.y_train.dtype, one.classes) == (np.float32, np.int32, 10)
    whole = read("digits")
    x = whole.images / 16
    if standardize:
        order = np.random.default_rng(0).permutation(1797)[:1000]
        x = (x - x[order].mean()) / x[order].std()
        assert abs(one.x_train.mean()) < 1e-6
        assert one.x_train.std() == pytest.approx(1, abs=1e-6)
    rows = np.concatenate([one.x_train, one.x_test]).astype(np.float32)
    labels = np.concatenate([one.y_train, one.y_test])
    both = [np.lexsort(values.T) for values in (rows, x.astype(np.float32))]
    np.testing.assert_allclose(rows[both[0]], x[both[1]], atol=1e-5)
    np.testing.assert_array_equal(np.bincount(labels), np.bincount(whole.labels))
    assert (load_dataset(train.model_copy(update={"seed": 1})).x_train != one.x_train).any()


def test_images_keep_their_labels():
    found, whole = load_dataset(Train(source="digits")), read("digits")
    assert len(found.x_train) == 1437
    known = {image.tobytes(): label for image, label in zip(whole.images, whole.labels, strict=True)}
    for x, y in zip(found.x_train[:50], found.y_train[:50], strict=True):
        assert known[np.rint(x * 16).astype(np.int64).tobytes()] == y


def test_a_source_with_a_test_set_keeps_it(tmp_path):
    write_idx(tmp_path / "raw")
    found = load_dataset(Train(source=str(tmp_path / "raw")))
    assert (len(found.x_train), len(found.x_test)) == (50, 20)
    np.testing.assert_array_equal(np.bincount(found.y_test, minlength=10), np.bincount(TEST_LABELS, minlength=10))
    some = load_dataset(Train(source=str(tmp_path / "raw"), train_samples=30, test_samples=5))
    assert (len(some.x_train), len(some.x_test)) == (30, 5)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("root", ["work/data", "work", "data", "datasets"])
def test_torchvisions_files_are_found(home, root, packed):
    write_idx(home / root / "MNIST" / "raw", packed)
    write_idx(home / root / "FashionMNIST" / "raw", packed)
    for name in ("mnist", "fashion_mnist"):
        found = read(name)
        np.testing.assert_array_equal(found.images, IMAGES)
        np.testing.assert_array_equal(found.test.labels, TEST_LABELS)


def test_keras_files_are_found(home, monkeypatch):
    arrays = {"x_train": IMAGES, "y_train": LABELS, "x_test": TEST_IMAGES, "y_test": TEST_LABELS}
    write_npz(home / ".keras" / "datasets" / "mnist.npz", **arrays)
    write_idx(home / ".keras" / "datasets" / "fashion-mnist", packed=True)
    for name in ("mnist", "fashion_mnist"):
        np.testing.assert_array_equal(read(name).images, IMAGES)
        np.testing.assert_array_equal(read(name).test.images, TEST_IMAGES)
    monkeypatch.setenv("KERAS_HOME", str(home / "elsewhere"))
    with pytest.raises(InputError, match="'mnist' is in no cache of torchvision, Keras or OpenML"):
        read("mnist")


@pytest.mark.parametrize("quote", ["", "'"])
@pytest.mark.parametrize("file", ["52667/mnist_784.arff.gz", "52667.gz"])
def test_openmls_files_are_found(home, file, quote):
    write_arff(home / "scikit_learn_data/openml/openml.org/data/v1/download" / file, quote)
    found = read("mnist")
    np.testing.assert_array_equal(found.images, IMAGES.reshape(50, 16))
    np.testing.assert_array_equal(found.labels, LABELS)
    assert found.images.dtype.kind == "i"


def test_a_name_that_no_cache_has_says_where_it_was_looked_for(home):
    with pytest.raises(InputError) as caught:
        load_dataset(Train(source="fashion_mnist"))
    assert "data/FashionMNIST/raw" in str(caught.value)
    assert str(home / ".keras" / "datasets") in str(caught.value)
    assert str(caught.value).endswith("give the path of its files instead.")


def test_a_folder_may_hold_keras_npz(tmp_path):
    write_npz(tmp_path / "mnist.npz", x_train=IMAGES, y_train=LABELS)
    assert load_dataset(Train(source=str(tmp_path))).x_train.shape == (40, 16)


@pytest.mark.parametrize(
    ("arrays", "options", "sentence"),
    [
        ({"x": IMAGES}, {}, "has no labels, and training needs them."),
        ({"x": IMAGES, "y": LABELS * 0 + 3}, {}, "all labels are 3; there is nothing to tell apart."),
        ({"x": IMAGES, "y": LABELS}, {"train_samples": 50}, "train.train_samples: 50 of the 50 samples of"),
        ({"x": IMAGES, "y": LABELS}, {"train_samples": 45, "test_samples": 6}, "train.test_samples: 6 asked for,"),
        ({"x": IMAGES * 0.0, "y": LABELS}, {"standardize": True}, "all values are equal, so they cannot"),
        ({"x": IMAGES + np.inf, "y": LABELS}, {}, "values are NaN or infinite."),
        ({"x": IMAGES, "y": LABELS + 0.5}, {}, "the labels are not whole numbers."),
        (
            {"x_train": IMAGES, "y_train": LABELS, "x_test": TEST_IMAGES[:, 1:], "y_test": TEST_LABELS},
            {},
            "test images of shape (3, 4), others of (4, 4).",
        ),
        (
            {"x_train": IMAGES, "y_train": LABELS, "x_test": TEST_IMAGES, "y_test": TEST_LABELS},
            {"test_samples": 21},
            "train.test_samples: 21 asked for,",
        ),
        (
            {"x_train": IMAGES, "y_train": LABELS, "x_test": TEST_IMAGES, "y_test": TEST_LABELS},
            {"train_samples": 51},
            "train.train_samples: 51 asked for,",
        ),
    ],
    ids=lambda value: None if isinstance(value, dict) else value[:20],
)
def test_data_that_cannot_be_learnt_get_a_sentence(tmp_path, arrays, options, sentence):
    with pytest.raises(InputError) as caught, np.errstate(invalid="ignore"):
        load_dataset(Train(source=str(write_npz(tmp_path / "data.npz", **arrays)), **options))
    assert sentence in str(caught.value)


def test_what_a_plan_can_say_without_reading():
    assert check_dataset(Train(source="digits", train_samples=1796)) == []
    assert [p.message for p in check_dataset(Train(source="digits", train_samples=1797))] == [
        "1,797 of the 1,797 samples of digits leave none to test or to learn from."
    ]
    assert [p.place for p in check_dataset(Train(source="mnist5k", test_samples=1001))] == ["train.test_samples"]
