"""What networks learn: a data set cut into training and test samples."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from winit_jax.data.sources import (
    InputError,
    Source,
    largest_pixel,
    pixels,
    read,
    samples_known,
    samples_of,
)
from winit_jax.spec.problems import Problem
from winit_jax.spec.sweep import Train

# Of the samples of a source without a test set of its own, unless train_samples says otherwise.
TRAINING_SHARE = 0.8


@dataclass(frozen=True)
class Dataset:
    """x_*: float32 [samples, features]. y_*: int32 [samples], classes 0 .. classes - 1. sha256: of the bytes read.

    files: the (name, SHA-256) of each file that was read.
    """

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    classes: int
    source: str
    sha256: str
    files: tuple[tuple[str, str], ...] = ()

    @property
    def features(self) -> int:
        return int(self.x_train.shape[1])

    def describe(self) -> dict[str, Any]:
        """For run.json."""
        return {
            "source": self.source,
            "sha256": self.sha256,
            "files": dict(self.files),
            "classes": self.classes,
            "features": self.features,
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
    return Dataset(
        np.ascontiguousarray(x_train, np.float32),
        y_train,
        np.ascontiguousarray(x_test, np.float32),
        y_test,
        len(classes),
        name,
        source.sha256,
        source.files,
    )


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
