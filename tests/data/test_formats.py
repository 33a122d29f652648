"""Formats that data come in: what is images, what labels, what a test set, and what is refused and why."""

import gzip
import pickle
import zipfile

import numpy as np
import pandas as pd
import pytest
from test_inputs import idx

from winit_jax.data.datasets import load_dataset
from winit_jax.data.inputs import check_inputs, load_inputs
from winit_jax.data.sources import InputError, read
from winit_jax.spec.sweep import Inputs, Train

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (12, 6))
LABELS = np.arange(12) % 3
TESTS, ANSWERS = IMAGES[::-1][:5], LABELS[::-1][:5]


def same(found, images=IMAGES, labels=LABELS):
    np.testing.assert_array_equal(found.images.reshape(len(images), -1), images)
    if labels is None:
        assert found.labels is None
    else:
        np.testing.assert_array_equal(found.labels, labels)


def names(found):
    return [name for name, _ in found.files]


@pytest.mark.parametrize(
    ("images", "labels"),
    [("x", "y"), ("X", "y"), ("images", "labels"), ("x_train", "y_train"), ("train_images", "train_labels")],
)
def test_npy_files_have_their_labels_beside_them(tmp_path, images, labels):
    np.save(tmp_path / f"{images}.npy", IMAGES)
    same(read(str(tmp_path / f"{images}.npy")), labels=None)
    np.save(tmp_path / f"{labels}.npy", LABELS)
    same(read(str(tmp_path / f"{images}.npy")))
    same(read(str(tmp_path)))


def test_npy_files_of_a_test_set_are_found(tmp_path):
    for name, array in {"x_train": IMAGES, "y_train": LABELS, "x_test": TESTS, "y_test": ANSWERS}.items():
        np.save(tmp_path / f"{name}.npy", array)
    found = read(str(tmp_path / "x_train.npy"))
    same(found)
    same(found.test, TESTS, ANSWERS)
    assert names(found) == ["x_train.npy", "y_train.npy", "x_test.npy", "y_test.npy"]


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f4", ">f8", "<i2", "u1", "f2"])
def test_npy_files_of_any_order_and_number_are_read(tmp_path, order, dtype):
    array = np.asarray(RNG.normal(0, 20, (4, 3, 2)).astype(dtype), order=order)
    np.save(tmp_path / "a.npy", array)
    np.savez_compressed(tmp_path / "a.npz", array)
    for name in ("a.npy", "a.npz"):
        found = read(str(tmp_path / name)).images
        np.testing.assert_array_equal(found, array)
        assert found.dtype.isnative


def test_medmnists_names_are_known(tmp_path):
    np.savez(
        tmp_path / "pathmnist.npz",
        train_images=IMAGES.reshape(12, 2, 3).astype(np.uint8),
        train_labels=LABELS[:, None].astype(np.uint8),
        val_images=IMAGES[:2],
        val_labels=LABELS[:2],
        test_images=TESTS.reshape(5, 2, 3).astype(np.uint8),
        test_labels=ANSWERS[:, None].astype(np.uint8),
    )
    for source in (tmp_path, tmp_path / "pathmnist.npz"):
        found = read(str(source))
        same(found)
        same(found.test, TESTS, ANSWERS)


@pytest.mark.parametrize(
    "labels",
    [LABELS[:, None], np.eye(3)[LABELS], np.eye(3, dtype=bool)[LABELS], LABELS.astype(float), LABELS.astype(np.uint8)],
    ids=["column", "one-hot", "one-hot truth values", "floats", "bytes"],
)
def test_labels_of_these_forms_are_classes(tmp_path, labels):
    np.savez(tmp_path / "a.npz", x=IMAGES, y=labels)
    same(read(str(tmp_path / "a.npz")))


def test_truth_values_are_numbers(tmp_path):
    np.savez(tmp_path / "a.npz", x=IMAGES > 100, y=LABELS > 1)
    same(read(str(tmp_path / "a.npz")), IMAGES > 100, LABELS > 1)
    data = load_inputs(Inputs(source=str(tmp_path / "a.npz")), width=1)
    np.testing.assert_array_equal(data.x, IMAGES > 100)


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (np.ones((12, 3)), ": labels of shape (12, 3) are not one-hot; a sample has one class here."),
        (np.zeros((12, 3)), ": labels of shape (12, 3) are not one-hot; a sample has one class here."),
        (np.zeros((12, 2, 2)), ": labels of shape (12, 2, 2) for 12 samples."),
        (np.zeros((12, 0)), ": labels of shape (12, 0) for 12 samples."),
        (np.full(12, np.inf), ": the labels are not whole numbers."),
        (np.full(12, 1j), ": the labels are not whole numbers."),
    ],
)
def test_labels_of_other_forms_get_a_sentence(tmp_path, labels, sentence):
    np.savez(tmp_path / "a.npz", x=IMAGES, y=labels)
    with pytest.raises(InputError) as caught:
        read(str(tmp_path / "a.npz"))
    assert str(caught.value) == f"{tmp_path / 'a.npz'}{sentence}"


@pytest.mark.parametrize("header", ["label,a,b,c,d,e,f", "Class;a;b;c;d;e;f", "target\ta\tb\tc\td\te\tf"])
@pytest.mark.parametrize("ending", [".csv", ".csv.gz", ".tsv"])
def test_a_csv_names_its_labels(tmp_path, header, ending):
    separator = next(mark for mark in ",;\t" if mark in header)
    rows = [separator.join(map(str, [label, *image])) for label, image in zip(LABELS, IMAGES, strict=True)]
    text = "\n".join([header, *rows]).encode()
    (tmp_path / f"a{ending}").write_bytes(gzip.compress(text) if ending.endswith("gz") else text)
    found = read(str(tmp_path / f"a{ending}"))
    same(found)
    assert found.images.dtype.kind == "i"


@pytest.mark.parametrize("place", [0, 6])
def test_a_csv_without_names_has_its_labels_last_or_first(tmp_path, place):
    np.savetxt(tmp_path / "a.csv", np.insert(IMAGES, place, LABELS, axis=1), fmt="%d", delimiter=",")
    same(read(str(tmp_path / "a.csv")))


def test_a_csv_whose_columns_do_not_look_like_labels_has_none(tmp_path):
    np.savetxt(tmp_path / "a.csv", IMAGES / 7, delimiter=",")
    found = read(str(tmp_path / "a.csv"))
    np.testing.assert_allclose(found.images, IMAGES / 7)
    assert found.labels is None


def test_a_csv_whose_first_and_last_columns_look_like_labels_is_not_guessed_at(tmp_path):
    np.savetxt(tmp_path / "a.csv", IMAGES % 2, fmt="%d", delimiter=",")
    with pytest.raises(InputError, match="the first column and the last both look like labels; name the columns"):
        read(str(tmp_path / "a.csv"))


def test_words_are_classes(tmp_path):
    species = np.array(["setosa", "virginica", "versicolor"])[LABELS]
    frame = pd.DataFrame(IMAGES / 10, columns=list("abcdef")).assign(species=species)
    for name, header in (("iris.csv", False), ("named.csv", True)):
        frame.to_csv(tmp_path / name, index=header, header=header)  # pandas' index is no feature
        found = read(str(tmp_path / name))
        same(found, IMAGES / 10, species)
        data = load_inputs(Inputs(source=str(tmp_path / name)), width=1)
        np.testing.assert_array_equal(data.labels, [0, 2, 1] * 4)
        dataset = load_dataset(Train(source=str(tmp_path / name)))
        assert (dataset.classes, set(dataset.y_train)) == (3, {0, 1, 2})


def test_a_name_that_is_more_of_a_label_wins(tmp_path):
    pd.DataFrame({"x": IMAGES[:, 0], "y": IMAGES[:, 1], "label": LABELS}).to_csv(tmp_path / "a.csv", index=False)
    same(read(str(tmp_path / "a.csv")), IMAGES[:, :2])


def test_a_csv_for_training_has_a_test_set_beside_it_if_that_has_labels(tmp_path):
    columns = list("abcdef")
    pd.DataFrame(IMAGES, columns=columns).assign(label=LABELS).to_csv(tmp_path / "mnist_train.csv", index=False)
    pd.DataFrame(TESTS, columns=columns).to_csv(tmp_path / "mnist_test.csv", index=False)
    assert read(str(tmp_path)).test is None
    pd.DataFrame(TESTS, columns=columns).assign(label=ANSWERS).to_csv(tmp_path / "mnist_test.csv", index=False)
    same(read(str(tmp_path)).test, TESTS, ANSWERS)


def test_parquet_holds_a_column_a_feature_or_a_list_a_sample(tmp_path):
    wide = pd.DataFrame(IMAGES, columns=list("abcdef")).assign(label=LABELS)
    wide.set_index(pd.Index(range(5, 17))).to_parquet(tmp_path / "wide.parquet")
    same(read(str(tmp_path / "wide.parquet")))
    lists = pd.DataFrame({"pixels": list(IMAGES.astype(np.uint8)), "y": LABELS})
    lists.to_parquet(tmp_path / "lists.parquet")
    found = read(str(tmp_path / "lists.parquet"))
    same(found)
    assert found.images.dtype == np.uint8
    nested = pd.DataFrame({"image": [image.reshape(2, 3).tolist() for image in IMAGES], "y": LABELS})
    nested.to_parquet(tmp_path / "nested.parquet")
    same(read(str(tmp_path / "nested.parquet")))


def cifar(path, images, *labels):
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(np.concatenate([np.stack(labels, axis=1), images], axis=1).astype(np.uint8).tobytes())


COLOURS = RNG.integers(0, 256, (12, 3072))


def test_cifar_10_is_read_from_its_batches(tmp_path):
    folder = tmp_path / "cifar-10-batches-bin"
    for i in range(3):
        cifar(folder / f"data_batch_{i + 1}.bin", COLOURS[4 * i : 4 * i + 4], LABELS[4 * i : 4 * i + 4])
    cifar(folder / "test_batch.bin", COLOURS[::-1][:5], ANSWERS)
    found = read(str(folder))
    same(found, COLOURS)
    assert found.images.shape == (12, 3, 32, 32)
    same(found.test, COLOURS[::-1][:5], ANSWERS)
    assert names(found) == ["data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "test_batch.bin"]
    one = read(str(folder / "data_batch_2.bin"))
    same(one, COLOURS[4:8], LABELS[4:8])
    assert load_inputs(Inputs(source=str(folder)), width=1).x.shape == (12, 3072)


def test_cifar_100_has_its_fine_labels(tmp_path):
    folder = tmp_path / "cifar-100-binary"
    cifar(folder / "train.bin", COLOURS, LABELS % 2, LABELS)
    cifar(folder / "test.bin", COLOURS[:5], ANSWERS % 2, ANSWERS)
    found = read(str(folder))
    same(found, COLOURS)
    same(found.test, COLOURS[:5], ANSWERS)


def test_what_only_looks_like_cifar_gets_a_sentence(tmp_path):
    (tmp_path / "data_batch_1.bin").write_bytes(bytes(3072))
    with pytest.raises(InputError, match=r"has 3,072 bytes, no whole number of records of 3,073\."):
        read(str(tmp_path))
    (tmp_path / "data_batch_1.bin").write_bytes(bytes([77]) * 3073)
    with pytest.raises(InputError, match=r"is not CIFAR's binary form: it has a label 77\."):
        read(str(tmp_path))


@pytest.mark.parametrize("split", ["", "letters-", "digits-"])
@pytest.mark.parametrize("packed", [False, True])
def test_emnists_own_test_file_is_found(tmp_path, split, packed):
    prefix = f"emnist-{split}"
    parts = {"train": (IMAGES, LABELS), "test": (TESTS, ANSWERS)}
    for part, (images, labels) in parts.items():
        for name, content in (("images-idx3", images.reshape(-1, 2, 3)), ("labels-idx1", labels)):
            data = idx(content, 0x08)
            path = tmp_path / f"{prefix}{part}-{name}-ubyte{'.gz' * packed}"
            path.write_bytes(gzip.compress(data) if packed else data)
    for source in (tmp_path, tmp_path / f"{prefix}train-images-idx3-ubyte{'.gz' * packed}"):
        found = read(str(source))
        same(found)
        same(found.test, TESTS, ANSWERS)


def test_a_folder_of_several_data_sets_is_not_guessed_at(tmp_path):
    for split in ("letters", "digits"):
        path = tmp_path / f"emnist-{split}-train-images-idx3-ubyte"
        path.write_bytes(idx(IMAGES.reshape(12, 2, 3), 0x08))
    with pytest.raises(InputError, match=r"emnist-digits-train-images-idx3-ubyte, emnist-letters-.*; name one of"):
        read(str(tmp_path))


class Trap:
    """What runs code as it is unpickled."""

    def __reduce__(self):
        return (pytest.fail, ("code of a pickle was run",))


def test_pickles_are_refused_with_the_reason(tmp_path):
    for name in ("a.pkl", "data_batch_1", "whatever"):
        (tmp_path / name).write_bytes(pickle.dumps(Trap()))
    (tmp_path / "old.pickle").write_bytes(pickle.dumps(Trap(), protocol=0))
    np.save(tmp_path / "a.npy", np.array([[Trap()]], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "a.npz", x=np.array([[Trap()]], dtype=object))
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Trap()))
    for name in ("a.pkl", "data_batch_1", "whatever", "old.pickle", "a.npy", "a.npz", "a.pt"):
        with pytest.raises(InputError) as caught:
            read(str(tmp_path / name))
        assert "a pickle, which runs whatever code it names as it is read" in str(caught.value)
        assert "\n" not in str(caught.value)
    (tmp_path / "cifar-10-batches-py").mkdir()
    (tmp_path / "cifar-10-batches-py" / "data_batch_1").write_bytes(pickle.dumps({}))
    with pytest.raises(InputError, match="is a pickle"):
        read(str(tmp_path / "cifar-10-batches-py"))


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.csv", "", " has no rows."),
        ("a.csv", "a,b\n", " has no rows."),
        ("a.csv", "a,b\n1\n", " has 2 names for 1 columns."),
        ("a.csv", "a,b\n1,2\n3\n", " cannot be read as CSV: CSV parse error: Expected 2 columns, got 1: 3."),
        ("a.csv", "a,b,c\n1,x,u\n2,y,v\n", ": column 'b' holds words, not numbers."),
        ("a.csv", "label\n1\n", " has no columns of numbers beside the labels."),
        ("a.csv", "a,label\n1,2\n3,\n", ": the labels are not whole numbers."),
        ("a.parquet", "PAR1PAR1", " cannot be read as parquet: "),
    ],
)
def test_tables_that_cannot_be_used_get_a_sentence(tmp_path, name, content, sentence):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError) as caught:
        read(str(tmp_path / name))
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_numbers_of_a_table_are_counted(tmp_path):
    (tmp_path / "a.csv").write_text("a,b,label\n1,2,0\n3,,1\n")
    with pytest.raises(InputError, match=r"a\.csv: 1 values are NaN or infinite\."):
        load_inputs(Inputs(source=str(tmp_path / "a.csv")), width=1)


def test_fewer_samples_than_the_default_are_all_used_and_fewer_than_asked_for_are_not(tmp_path):
    np.savez(tmp_path / "a.npz", x=IMAGES, y=LABELS)
    data = load_inputs(Inputs(source=str(tmp_path / "a.npz")), width=1)
    np.testing.assert_array_equal(data.labels, LABELS)
    for asked in (13, 1000):
        with pytest.raises(InputError, match=f"inputs.samples: {asked:,} asked for, .* has 12"):
            load_inputs(Inputs(source=str(tmp_path / "a.npz"), samples=asked), width=1)
    assert check_inputs(Inputs(source="digits", samples=1798))
    assert check_inputs(Inputs(source="digits")) == []
    assert load_inputs(Inputs(source="digits"), width=1).x.shape == (1000, 64)
