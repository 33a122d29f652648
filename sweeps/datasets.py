"""What networks learn (temporary)."""

from dataclasses import dataclass

import numpy as np

from sweeps.inputs import _read
from sweeps.spec import Train


@dataclass(frozen=True)
class Dataset:
    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    classes: int
    source: str
    sha256: str

    @property
    def features(self) -> int:
        return self.x_train.shape[1]

    def describe(self) -> dict:
        """For run.json."""
        return {
            "source": self.source,
            "sha256": self.sha256,
            "classes": self.classes,
            "features": self.features,
            "train_samples": len(self.x_train),
            "test_samples": len(self.x_test),
        }


def load_dataset(train: Train) -> Dataset:
    images, labels, digest = _read(train.source)
    x = images.reshape(len(images), -1) / images.max()
    order = np.random.default_rng(train.seed).permutation(len(x))
    n = train.train_samples or len(x) * 4 // 5
    m = train.test_samples or len(x) - n
    a, b = order[:n], order[n : n + m]
    if train.standardize:
        mean, std = x[a].mean(), x[a].std()
        x = (x - mean) / std
    classes, y = np.unique(labels, return_inverse=True)
    x, y = x.astype(np.float32), y.astype(np.int32)
    return Dataset(x[a], y[a], x[b], y[b], len(classes), train.source, digest)


def check_dataset(train: Train) -> list:
    return []
