"""NumPy's files, .npy and .npz: headers first, and of many arrays only those that are wanted."""

import gzip
import io
import math
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy

from winit_jax.data.beside import labels_beside
from winit_jax.data.bounded import File, InputError, look_at, refuse_beyond_memory
from winit_jax.data.samples import Source, as_images, as_labels

NPY_MAGIC = npy.MAGIC_PREFIX
# The names that arrays go by, compared without regard to capitals; the first one there is taken.
IMAGES = ("x", "data", "images", "x_train", "train_images", "train_x", "train_data")
LABELS = (
    *("y", "labels", "label", "target", "targets", "fine_labels"),
    *("y_train", "train_labels", "train_y", "train_targets"),
)
TEST_IMAGES = ("x_test", "test_images", "test_x", "test_data")
TEST_LABELS = ("y_test", "test_labels", "test_y", "test_targets")
# NumPy itself reads no header longer than this.
MAX_HEADER_BYTES = 10_000
MAX_MEMBERS = 10_000
# How files say that what they hold was pickled.
PICKLE_ENDINGS = (".pkl", ".pickle")
WHY_NO_PICKLES = "a pickle, which runs whatever code it names as it is read, so it is not; save plain arrays instead"


@dataclass(frozen=True)
class Header:
    """What an array promises. n_bytes: of its values. offset: where they start."""

    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype
    n_bytes: int
    offset: int


def read_npz(file: File) -> Source:
    """The arrays of an .npz that are called like images and labels; no others are unpacked. Errors: InputError."""
    path = file.path
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if len(members) > MAX_MEMBERS:
            raise InputError(f"{path} holds {len(members):,} files; {MAX_MEMBERS:,} are looked at.")
        inside = {member.filename.removesuffix(".npy"): member for member in members if _is_array(member)}
        if not inside and any(member.filename.endswith(PICKLE_ENDINGS) for member in members):
            raise InputError(f"{path} holds {WHY_NO_PICKLES}.")
        chosen = {name: _named(names, inside) for name, names in _WANTED.items()}
        if chosen["images"] is None:
            chosen["images"] = _only_large_one(archive, inside, path)

        def array(name: str | None) -> np.ndarray | None:
            return None if name is None else _member(archive, inside[name], path)

        images = array(chosen["images"])
        assert images is not None
        files = ((path.name, file.sha256()),)
        labels = array(chosen["labels"])
        whole = Source(as_images(images), None if labels is None else _labels(labels, images, path), files)
        tests, answers = (array(chosen[name]) for name in ("test_images", "test_labels"))
    if tests is None or answers is None:
        return whole
    test = Source(as_images(tests), _labels(answers, tests, path), files)
    return Source(whole.images, whole.labels, files, test)


_WANTED = {"images": IMAGES, "labels": LABELS, "test_images": TEST_IMAGES, "test_labels": TEST_LABELS}


def read_npy(file: File) -> Source:
    """An .npy of samples, with the labels in the file named after it. Errors: InputError."""
    images, files = _npy(file), [(file.path.name, file.sha256())]
    labels = None
    if (beside := labels_beside(file.path)) is not None:
        labels_file = look_at(beside)
        if not labels_file.head.startswith(NPY_MAGIC):
            raise InputError(f"{beside} is not an .npy file.")
        labels = _labels(_npy(labels_file), images, beside)
        files.append((beside.name, labels_file.sha256()))
    return Source(as_images(images), labels, tuple(files))


def _npy(file: File) -> np.ndarray:
    with file.open() as stream:
        header = _header(io.BytesIO(stream.read(MAX_HEADER_BYTES)), str(file.path))
    if not file.packed and file.n_bytes != header.offset + header.n_bytes:
        raise InputError(_broken_promise(str(file.path), file.n_bytes, header))
    with file.open() as stream:
        return _values(stream, header, str(file.path))


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> np.ndarray:
    where = f"{path}: {member.filename}"
    header = _member_header(archive, member, path)
    if member.file_size != header.offset + header.n_bytes:
        raise InputError(_broken_promise(where, member.file_size, header))
    with archive.open(member) as stream:
        return _values(stream, header, where)


def _member_header(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> Header:
    with archive.open(member) as stream:
        return _header(io.BytesIO(stream.read(MAX_HEADER_BYTES)), f"{path}: {member.filename}")


def _is_array(member: zipfile.ZipInfo) -> bool:
    return member.filename.endswith(".npy")


def _named(names: tuple[str, ...], inside: dict[str, zipfile.ZipInfo]) -> str | None:
    known = {name.lower(): name for name in inside}
    return next((known[name] for name in names if name in known), None)


def _only_large_one(archive: zipfile.ZipFile, inside: dict[str, zipfile.ZipInfo], path: Path) -> str:
    """The only array of two or more dimensions, whatever it is called. Errors: InputError."""
    large = [name for name, member in inside.items() if len(_member_header(archive, member, path).shape) >= 2]
    if len(large) != 1:
        names = ", ".join(sorted(inside)[:20]) or "nothing"
        raise InputError(f"{path}: no array called {', '.join(IMAGES)}; it has {names}.")
    return large[0]


def _labels(labels: np.ndarray, images: np.ndarray, path: Path) -> np.ndarray:
    if labels.dtype.kind not in "biuf":
        raise InputError(f"{path}: the labels are not whole numbers.")
    return as_labels(labels, len(images), path)


def _header(start: IO[bytes], where: str) -> Header:
    """The header of an array, from its first bytes. Errors: InputError for Python objects, ValueError if damaged."""
    version = npy.read_magic(start)
    if version not in ((1, 0), (2, 0)):
        raise InputError(f"{where} has records with named fields, not an array of numbers.")
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran_order, dtype = read(start)
    if dtype.hasobject:
        raise InputError(f"{where} holds Python objects: {WHY_NO_PICKLES}.")
    if any(length < 0 for length in shape):
        raise InputError(f"{where} promises a shape of {shape}.")
    return Header(shape, fortran_order, dtype, math.prod(shape) * dtype.itemsize, start.tell())


def _values(stream: IO[bytes] | gzip.GzipFile, header: Header, where: str) -> np.ndarray:
    refuse_beyond_memory(header.n_bytes, f"{where}, an array of shape {header.shape} of {header.dtype},")
    stream.read(header.offset)
    # One more than there should be, so that what is compressed is read to its end and its checksum compared.
    content = stream.read(header.n_bytes + 1)
    if len(content) != header.n_bytes:
        raise InputError(_broken_promise(where, header.offset + len(content), header))
    array = np.ndarray(header.shape, header.dtype, content, order="F" if header.fortran_order else "C")
    return array.astype(header.dtype.newbyteorder("="), order="C", copy=False)


def _broken_promise(where: str, n_bytes: int, header: Header) -> str:
    return f"{where} has {n_bytes:,} bytes where its header promises {header.offset + header.n_bytes:,}."
