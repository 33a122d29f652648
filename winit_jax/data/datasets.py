"""What networks learn: a data set cut into training and test samples, or the bytes that follow those of a text."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from winit_jax.data import text
from winit_jax.data.positions import cut
from winit_jax.data.sources import (
    InputError,
    Source,
    largest_pixel,
    pixels,
    read,
    samples_known,
    samples_of,
    shape_of,
)
from winit_jax.spec.problems import Problem
from winit_jax.spec.sources import BYTES, TEXT_POSITIONS, TEXT_WINDOWS
from winit_jax.spec.sweep import Train

# Of the samples of a source without a test set of its own, unless train_samples says otherwise.
TRAINING_SHARE = 0.8
# The share of a text, at its end, whose windows test: one byte in so many.
TEST_BYTES = 5


@dataclass(frozen=True)
class Dataset:
    """x_*: float32 [samples, features], or [samples, positions, features]. sha256: of the bytes read.

    y_*: int32 [samples], classes 0 .. classes - 1; of a text int64 [samples, positions], the byte that follows each.
    files: the (name, SHA-256) of each file that was read. grid: the (height, width) of the positions, or None.
    """

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    classes: int
    source: str
    sha256: str
    files: tuple[tuple[str, str], ...] = ()
    grid: tuple[int, int] | None = None

    @property
    def positions(self) -> int:
        """Of a sample; 1 where the data have none."""
        return self.x_train.shape[1] if self.x_train.ndim == 3 else 1

    @property
    def features(self) -> int:
        return int(self.x_train.shape[-1])

    def describe(self) -> dict[str, Any]:
        """For run.json."""
        return {
            "source": self.source,
            "sha256": self.sha256,
            "files": dict(self.files),
            "classes": self.classes,
            "features": self.features,
            **({"positions": self.positions} if self.x_train.ndim == 3 else {}),
            "train_samples": len(self.x_train),
            "test_samples": len(self.x_test),
        }


def load_dataset(train: Train) -> Dataset:
    """The data of a training sweep.

    A permutation by train.seed puts the samples in order; the first ones train and the next ones test. A source with a
    test set of its own is drawn from in the same way, each part by itself. Whole-number pixels are divided by the
    largest of the data set; train.standardize subtracts the mean of the training pixels and divides by their std.
    Errors: InputError.
    """
    return _of_text(train) if train.is_text else _of_arrays(train)


def _of_arrays(train: Train) -> Dataset:
    name = train.source
    source = read(name)
    learn, test = _split(source, train)
    x_train, x_test = (pixels(part.images, largest_pixel(source), name) for part in (learn, test))
    if train.standardize:
        mean, spread = x_train.mean(), x_train.std()
        if spread == 0:
            raise InputError(f"{name}: all values are equal, so they cannot be standardized.")
        x_train, x_test = (x_train - mean) / spread, (x_test - mean) / spread
    labels = [part.labels for part in (learn, test) if part.labels is not None]
    if len({part.dtype.kind == "U" for part in labels}) > 1:
        raise InputError(f"{name}: the labels of the test set are words where the others are numbers, or the reverse.")
    classes, codes = np.unique(np.concatenate(labels), return_inverse=True)
    if len(classes) < 2:
        raise InputError(f"{name}: all labels are {classes[0]}; there is nothing to tell apart.")
    y_train, y_test = np.split(codes.astype(np.int32), [len(x_train)])
    grid = None
    if isinstance(train.positions, str):
        shape = shape_of(source, name)
        (x_train, grid), (x_test, _) = (
            cut(x, shape, train.positions, "train.positions", name) for x in (x_train, x_test)
        )
    return Dataset(
        np.ascontiguousarray(x_train, np.float32),
        y_train,
        np.ascontiguousarray(x_test, np.float32),
        y_test,
        len(classes),
        name,
        source.sha256,
        source.files,
        grid,
    )


def _of_text(train: Train) -> Dataset:
    """Windows of a text, and for each of their bytes the one that follows it.

    The last fifth of the bytes is for tests, and no window reaches from one part into the other. In each part windows
    start at different bytes by a draw of train.seed, and where more are asked for than there are, some come again.
    Errors: InputError.
    """
    source = text.read_text(train.source)
    length = train.positions if isinstance(train.positions, int) else TEXT_POSITIONS
    learn, test = np.split(source.content, [len(source.content) - len(source.content) // TEST_BYTES])
    if not text.count_windows(test, length + 1):
        raise InputError(
            f"{train.source} has {len(source.content):,} bytes; train.positions = {length:,} takes "
            f"{TEST_BYTES * (length + 1):,}, the last fifth of them for tests."
        )
    encoding, rng = (
        text.encoding(train.encoding, train.features or BYTES, train.seed),
        np.random.default_rng(train.seed),
    )

    def drawn(part: np.ndarray, asked: int | None, most: int) -> tuple[np.ndarray, np.ndarray]:
        there = text.count_windows(part, length + 1)
        count = asked or min(len(part) // (length + 1), most)
        starts = rng.permutation(there)[:count] if count <= there else rng.integers(0, there, count)
        codes = text.windows(part, length + 1, starts)
        return encoding.encode(codes[:, :-1], train.source), codes[:, 1:].astype(np.int64)

    x_train, y_train = drawn(learn, train.train_samples, TEXT_WINDOWS[0])
    x_test, y_test = drawn(test, train.test_samples, TEXT_WINDOWS[1])
    return Dataset(x_train, y_train, x_test, y_test, BYTES, train.source, source.sha256, source.files)


def check_dataset(train: Train) -> list[Problem]:
    """What can be said without reading the data."""
    count = samples_known(train.source)
    if count is None:
        return []
    learn = train.train_samples or int(TRAINING_SHARE * count)
    if learn >= count:
        return [Problem("train.train_samples", _none_left(learn, train.source, count))]
    if train.test_samples and learn + train.test_samples > count:
        return [Problem("train.test_samples", _too_many(train.test_samples, train.source, count - learn))]
    return []


def _split(source: Source, train: Train) -> tuple[Source, Source]:
    """(Training samples, test samples), in the order of a seeded draw."""
    name, rng = train.source, np.random.default_rng(train.seed)
    count = samples_of(source, name)
    if source.labels is None or (source.test is not None and source.test.labels is None):
        raise InputError(f"{name} has no labels, and training needs them.")
    order = rng.permutation(count)
    if source.test is not None:
        shapes = [images.shape[1:] for images in (source.test.images, source.images)]
        if shapes[0] != shapes[1]:
            raise InputError(f"{name}: test images of shape {shapes[0]}, others of {shapes[1]}.")
        learn, others = train.train_samples or count, samples_of(source.test, name)
        if learn > count:
            raise InputError(f"train.train_samples: {_too_many(learn, name, count)}")
        if (tested := train.test_samples or others) > others:
            raise InputError(f"train.test_samples: {_too_many(tested, name, others)}")
        return _chosen(source, order[:learn]), _chosen(source.test, rng.permutation(others)[:tested])
    learn = train.train_samples or int(TRAINING_SHARE * count)
    if not 0 < learn < count:
        raise InputError(f"train.train_samples: {_none_left(learn, name, count)}")
    if (tested := train.test_samples or count - learn) > count - learn:
        raise InputError(f"train.test_samples: {_too_many(tested, name, count - learn)}")
    return _chosen(source, order[:learn]), _chosen(source, order[learn : learn + tested])


def _chosen(source: Source, index: np.ndarray) -> Source:
    assert source.labels is not None
    return Source(source.images[index], source.labels[index], source.files)


def _none_left(learn: int, name: str, count: int) -> str:
    return f"{learn:,} of the {count:,} samples of {name} leave none to test or to learn from."


def _too_many(asked: int, name: str, there: int) -> str:
    return f"{asked:,} asked for, {name} has {there:,} left."
