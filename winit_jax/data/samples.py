"""Samples as files hold them: images, labels, a test set, and the SHA-256 of every file that was read."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from winit_jax.data.bounded import InputError


@dataclass(frozen=True)
class Source:
    """Raw data. images: [samples, ...]. labels: int64 or words [samples], or None.

    files: (name, SHA-256) of every file read, in the order images, labels, test images, test labels.
    test: the source's own test set, or None.
    """

    images: np.ndarray
    labels: np.ndarray | None
    files: tuple[tuple[str, str], ...]
    test: "Source | None" = None

    @property
    def sha256(self) -> str:
        """Of all that was read: of the one file, or of the list of the files' SHA-256, each on a line of its own."""
        digests = [digest for _, digest in dict.fromkeys(self.files)]
        if len(digests) == 1:
            return digests[0]
        return hashlib.sha256("".join(f"{digest}\n" for digest in digests).encode()).hexdigest()


def as_images(images: np.ndarray) -> np.ndarray:
    """Truth values as whole numbers, the rest as it is."""
    return images.astype(np.uint8) if images.dtype.kind == "b" else images


def as_labels(labels: np.ndarray, count: int, path: Path) -> np.ndarray:
    """One class for each of `count` samples, as int64 [samples]; words, which tables may hold, stay words.

    Taken are numbers of shape [samples] or [samples, 1], truth values, and one-hot rows [samples, classes].
    Errors: InputError for other shapes and for NaN and fractions, which a cast would turn into numbers.
    """
    if labels.shape[:1] != (count,) or labels.ndim > 2 or 0 in labels.shape:
        raise InputError(f"{path}: labels of shape {labels.shape} for {count:,} samples.")
    if labels.dtype.kind == "U" and labels.ndim == 1:
        return labels
    with np.errstate(invalid="ignore"):
        whole = labels.dtype.kind in "biu" or (labels.dtype.kind == "f" and bool(np.all(np.mod(labels, 1) == 0)))
    if not whole:
        raise InputError(f"{path}: the labels are not whole numbers.")
    if labels.ndim == 2 and labels.shape[1] > 1:
        if not (np.all((labels == 0) | (labels == 1)) and np.all(np.sum(labels != 0, axis=1) == 1)):
            raise InputError(f"{path}: labels of shape {labels.shape} are not one-hot; a sample has one class here.")
        classes: np.ndarray = labels.argmax(axis=1).astype(np.int64)
        return classes
    return labels.reshape(count).astype(np.int64)
