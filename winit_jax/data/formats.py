"""The formats that data are read from, how each is recognized, and what of a folder is read."""

import os
import re
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

import pyarrow as pa

from winit_jax.data.arrays import NPY_MAGIC, PICKLE_ENDINGS, WHY_NO_PICKLES, read_npy, read_npz
from winit_jax.data.beside import packed_or_not, tests_beside
from winit_jax.data.binaries import cifar_batches, is_idx, labels_of_cifar, read_cifar, read_idx
from winit_jax.data.bounded import File, InputError, look_at
from winit_jax.data.samples import Source
from winit_jax.data.tabular import read_arff, read_csv, read_parquet


@dataclass(frozen=True)
class Format:
    """name: in sentences. recognized: from a file's name and head. read: one file, with labels, without a test set."""

    name: str
    recognized: Callable[[File], bool]
    read: Callable[[File], Source]


def _is_pickle(file: File) -> bool:
    # Protocols 2 and up start with the opcode PROTO and their number; older ones are told by their names.
    starts = len(file.head) > 1 and file.head[0] == 0x80 and 2 <= file.head[1] <= 5
    return starts or file.name.lower().endswith((*PICKLE_ENDINGS, ".joblib"))


def _refuse_pickle(file: File) -> NoReturn:
    raise InputError(f"{file.path} is {WHY_NO_PICKLES}.")


def _is_arff(file: File) -> bool:
    # scikit-learn keeps OpenML's files under their numbers.
    return file.name.lower().endswith(".arff") or (file.packed and file.path.parent.name == "download")


FORMATS = (
    Format("a pickle", _is_pickle, _refuse_pickle),
    Format(".npy", lambda file: file.head.startswith(NPY_MAGIC), read_npy),
    Format(".npz", lambda file: file.head.startswith(b"PK"), read_npz),
    Format("parquet", lambda file: file.head.startswith(b"PAR1"), read_parquet),
    Format("IDX (MNIST's format)", lambda file: is_idx(file.head), read_idx),
    Format("CIFAR's binary form", lambda file: labels_of_cifar(file.name) is not None, lambda f: read_cifar([f])),
    Format("ARFF", _is_arff, read_arff),
    Format("CSV", lambda file: file.name.lower().endswith((".csv", ".tsv")), read_csv),
)
READ_ERRORS = (
    *(ValueError, OSError, EOFError, KeyError, NotImplementedError, RuntimeError, OverflowError, MemoryError),
    *(zipfile.BadZipFile, zlib.error, pa.ArrowException),
)
# Files of a folder that are samples to train on, the first kind there is; CIFAR's batches come before them.
IN_A_FOLDER = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"(.*[-_.])?train[-_.]images[-_.]idx3[-_.]ubyte(\.gz)?",
        r"(fashion[-_])?mnist\.npz",
        r"(.*[-_.])?train([-_.].*)?\.npz",
        r".*\.npz",
        r"(x|images|data)([-_]train)?\.npy|train[-_](x|images|data)\.npy",
        r"(.*[-_.])?train([-_.].*)?\.(parquet|[ct]sv|[ct]sv\.gz)",
        r".*\.(parquet|[ct]sv|[ct]sv\.gz)",
        r".*\.(pkl|pickle)|data_batch_1",
    )
)


def read_path(path: Path) -> Source:
    """The data of a file, or of the files of a folder that belong together, and their test set. Errors: InputError."""
    if path.is_dir():
        if batches := cifar_batches(path):
            return _with_tests(batches[0], _cifar(batches))
        path = _main_file(path)
    return _with_tests(path, _read(path))


def _with_tests(path: Path, source: Source) -> Source:
    if source.test is not None:
        return source
    beside = packed_or_not(path.with_name("test_batch.bin")) if path.name.startswith("data_batch") else None
    beside = beside or tests_beside(path)
    if beside is None:
        return source
    test = _read(beside)
    if test.labels is None and source.labels is not None and beside.name.removesuffix(".gz").endswith(("csv", "tsv")):
        return source  # as competitions hand out their test sets
    return replace(source, test=test, files=(*source.files, *test.files))


def _cifar(paths: Sequence[Path]) -> Source:
    return _told(paths[0], "CIFAR's binary form", lambda: read_cifar([look_at(path) for path in paths]))


def _read(path: Path) -> Source:
    file = look_at(path)
    known_format = next((known for known in FORMATS if known.recognized(file)), None)
    if known_format is None:
        names = ", ".join(known.name for known in FORMATS[1:])
        raise InputError(f"{path} is in none of the formats that are read: {names}.")
    return _told(path, known_format.name, lambda: known_format.read(file), file.packed)


def _told(path: Path, name: str, read: Callable[[], Source], packed: bool = False) -> Source:
    """What is read, and a sentence where a library gives up."""
    try:
        return read()
    except READ_ERRORS as error:
        what = "is a damaged gzip file" if packed and isinstance(error, OSError | EOFError | zlib.error) else ""
        why = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise InputError(f"{path} {what or f'cannot be read as {name}'}: {why}.") from None


def _main_file(folder: Path) -> Path:
    """The file of a folder to train on. Errors: InputError if there is none, or if there are several."""
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise InputError(f"{folder} cannot be read: {error.strerror}.") from None
    for pattern in IN_A_FOLDER:
        matching = [name for name in names if pattern.fullmatch(name)]
        different = sorted({name.removesuffix(".gz") for name in matching})
        if len(different) > 1:
            raise InputError(f"{folder} has {', '.join(different[:8])}; name one of these files.")
        if matching:
            return folder / matching[0]
    raise InputError(f"{folder} has no data with usual names, such as train-images-idx3-ubyte; name a file.")
