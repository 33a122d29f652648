"""Data sets in the binary forms that they were published in: MNIST's IDX and CIFAR's batches."""

import math
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from winit_jax.data.beside import labels_beside
from winit_jax.data.bounded import File, InputError, look_at, refuse_beyond_memory
from winit_jax.data.samples import Source, as_images, as_labels

IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
MAX_DIMENSIONS = 32  # of an IDX file; NumPy's arrays end at 64
# Colors, rows, columns of a CIFAR image, a byte each; before them, by the name of the file, its labels.
CIFAR_SHAPE = (3, 32, 32)
CIFAR_LABELS = {"data_batch": 1, "test_batch": 1, "train": 2, "test": 2}  # CIFAR-100: coarse, then fine
CIFAR_CLASSES = {1: 10, 2: 100}


def is_idx(head: bytes) -> bool:
    """Whether a file starts as IDX does: 0 0 TYPE NDIM."""
    return len(head) >= 4 and head[:2] == b"\0\0" and head[2] in IDX_TYPES and 0 < head[3] <= MAX_DIMENSIONS


def read_idx(file: File) -> Source:
    """Images in MNIST's format, compressed or not, with the labels in the file named after it. Errors: InputError."""
    images, files = _idx_array(file), [(file.path.name, file.sha256())]
    labels = None
    if (beside := labels_beside(file.path)) is not None:
        labels_file = look_at(beside)
        if not is_idx(labels_file.head):
            raise InputError(f"{beside} is not IDX (MNIST's format).")
        labels = as_labels(_idx_array(labels_file), len(images), beside)
        files.append((beside.name, labels_file.sha256()))
    return Source(as_images(images), labels, tuple(files))


def _idx_array(file: File) -> np.ndarray:
    """An array in MNIST's format: magic 0 0 TYPE NDIM, sizes, values, big-endian."""
    path, head = file.path, file.head
    start = 4 + 4 * head[3]
    if len(head) < start:
        raise InputError(f"{path} ends within its header.")
    shape = struct.unpack(f">{head[3]}I", head[4:start])
    dtype = np.dtype(IDX_TYPES[head[2]])
    promised = math.prod(shape) * dtype.itemsize
    if not file.packed and file.n_bytes != start + promised:
        raise InputError(f"{path} has {file.n_bytes:,} bytes where its header promises {start + promised:,}.")
    refuse_beyond_memory(promised, f"{path}, an array of shape {shape},")
    with file.open() as stream:
        stream.read(start)
        # One more than there should be, so that what is compressed is read to its end and its checksum compared.
        content = stream.read(promised + 1)
    if len(content) != promised:
        n_bytes = f"more than {start + promised:,}" if len(content) > promised else f"{start + len(content):,}"
        raise InputError(f"{path} has {n_bytes} bytes where its header promises {start + promised:,}.")
    return np.frombuffer(content, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def labels_of_cifar(name: str) -> int | None:
    """How many bytes of labels come before each image of a file of that name; None if it is none of CIFAR's."""
    stem, dot, ending = name.rpartition(".")
    words = stem.rstrip("0123456789").removesuffix("_")
    return CIFAR_LABELS.get(words) if dot and ending == "bin" else None


def read_cifar(files: Sequence[File]) -> Source:
    """CIFAR's binary batches, one after the other; the fine labels of CIFAR-100. Errors: InputError."""
    label_bytes = labels_of_cifar(files[0].name)
    assert label_bytes is not None
    record = label_bytes + math.prod(CIFAR_SHAPE)
    refuse_beyond_memory(sum(file.n_bytes for file in files), f"{files[0].path.parent}, CIFAR's binary form,")
    tables = []
    for file in files:
        content = file.read()
        if not content or len(content) % record:
            raise InputError(f"{file.path} has {len(content):,} bytes, no whole number of records of {record:,}.")
        table = np.frombuffer(content, np.uint8).reshape(-1, record)
        if (top := int(table[:, label_bytes - 1].max())) >= CIFAR_CLASSES[label_bytes]:
            raise InputError(f"{file.path} is not CIFAR's binary form: it has a label {top}.")
        tables.append(table)
    table = np.concatenate(tables)
    names = tuple((file.path.name, file.sha256()) for file in files)
    return Source(table[:, label_bytes:].reshape(-1, *CIFAR_SHAPE), table[:, label_bytes - 1].astype(np.int64), names)


def cifar_batches(folder: Path) -> list[Path]:
    """CIFAR's training files in a folder, in their order."""
    several = sorted(folder.glob("data_batch_[0-9].bin"))
    return several or [path for path in (folder / "train.bin",) if path.is_file()]
