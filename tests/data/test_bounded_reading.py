"""Files that never end, or promise more than they have or than fits, get a sentence before they are read."""

import gzip
import io
import os
import struct
import tracemalloc
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_inputs import idx

from winit_jax.data import bounded
from winit_jax.data.inputs import load_inputs
from winit_jax.data.sources import InputError, read
from winit_jax.spec.sweep import Inputs

MIB = 2**20


def refused(path):
    """The sentence, and that nothing large was allocated on the way to it."""
    tracemalloc.start()
    try:
        with pytest.raises(InputError) as caught:
            read(str(path))
        assert tracemalloc.get_traced_memory()[1] < 40 * MIB
    finally:
        tracemalloc.stop()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def small_machine(monkeypatch):
    """One with 2 MiB of free memory, half of which may be taken."""
    monkeypatch.setattr(bounded, "free_bytes", lambda: 2 * MIB)


def npy_header(shape, dtype="<f8"):
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": dtype, "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def zip_of(path, **members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return path


def test_a_pipe_and_a_device_are_refused_without_being_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert refused(tmp_path / "pipe").endswith("is not a regular file but a pipe.")
    assert refused("/dev/zero") == "/dev/zero is not a regular file but a device."
    (tmp_path / "train-images-idx3-ubyte").symlink_to("/dev/zero")
    assert "is not a regular file but a device." in refused(tmp_path / "train-images-idx3-ubyte")


def test_a_gzip_bomb_is_unpacked_no_further_than_its_header_promises(tmp_path):
    path = tmp_path / "bomb.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(struct.pack(">BBBB2I", 0, 0, 8, 2, 10, 10))
        for _ in range(300):
            file.write(bytes(MIB))
    assert "has more than 112 bytes where its header promises 112." in refused(path)


def test_a_bomb_that_promises_what_it_holds_is_refused_by_its_promise(tmp_path, small_machine):
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(struct.pack(">BBBB2I", 0, 0, 8, 2, 2**10, 2**12) + bytes(4 * MIB)))
    assert "an array of shape (1024, 4096), takes 4.0 MiB; half of the free memory here is 1.0 MiB." in refused(path)


@pytest.mark.parametrize("name", ["bomb.csv.gz", "bomb.arff.gz"])
def test_compressed_text_is_unpacked_no_further_than_fits(tmp_path, small_machine, name):
    (tmp_path / name).write_bytes(gzip.compress(b"@DATA\n" + b"0,0,0,0\n" * MIB, compresslevel=1))
    assert "unpacks to more than 102 KiB, which is what fits here." in refused(tmp_path / name)


def test_text_that_does_not_fit_is_not_read(tmp_path, small_machine):
    (tmp_path / "a.csv").write_text("1,2\n" * 2**16)
    assert "with what is made of it takes 2.5 MiB;" in refused(tmp_path / "a.csv")


def test_an_idx_header_that_promises_more_than_the_file_has_is_told_so(tmp_path):
    path = tmp_path / "a.idx"
    path.write_bytes(struct.pack(">BBBB3I", 0, 0, 8, 3, 2**32 - 1, 2**20, 2**20) + bytes(10))
    assert f"has 26 bytes where its header promises {16 + (2**32 - 1) * 2**40:,}." in refused(path)
    path.write_bytes(gzip.compress(path.read_bytes(), mtime=0))
    assert "takes 4.0 ZiB;" in refused(path)


def test_an_array_of_72_tib_is_refused_by_its_header(tmp_path):
    shape = (9_895_604_649_984, 1)
    expected = ", an array of shape (9895604649984, 1) of float64, takes 72.0 TiB;"
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", npy_header(shape) + bytes(100))
    assert "has 228 bytes where its header promises 79,164,837,200,000." in refused(tmp_path / "a.npz")
    (tmp_path / "a.npy").write_bytes(npy_header(shape))
    assert "has 128 bytes where its header promises 79,164,837,200,000." in refused(tmp_path / "a.npy")
    with gzip.open(tmp_path / "b.npy.gz", "wb") as file:
        file.write(npy_header(shape))
    assert expected in refused(tmp_path / "b.npy.gz")


def test_an_array_that_nobody_asked_for_is_not_unpacked(tmp_path):
    arrays = {"x": np.arange(8.0).reshape(4, 2), "y": np.arange(4)}
    path = tmp_path / "a.npz"
    np.savez_compressed(path, **arrays)
    with (
        zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("embeddings.npy", "w") as member,
    ):
        member.write(npy_header((20 * MIB,)))
        for _ in range(160):
            member.write(bytes(MIB))
    tracemalloc.start()
    found = read(str(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(found.images, arrays["x"])
    assert peak < 10 * MIB


def test_an_array_that_is_wanted_and_does_not_fit_is_told_its_size(tmp_path, small_machine):
    np.savez_compressed(tmp_path / "a.npz", x=np.zeros((1000, 200)))
    assert "x.npy, an array of shape (1000, 200) of float64, takes 1.5 MiB; half" in refused(tmp_path / "a.npz")


def test_a_header_that_goes_on_for_ever_is_cut(tmp_path):
    endless = b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**31) + b" " * 50 * MIB
    assert "cannot be read as .npz" in refused(zip_of(tmp_path / "a.npz", x=endless))


def test_parquet_is_measured_before_it_is_read(tmp_path, small_machine):
    pq.write_table(pa.table({"x": np.zeros(100_000), "z": np.zeros(100_000)}), tmp_path / "a.parquet")
    assert "with 200,000 values takes 3.1 MiB;" in refused(tmp_path / "a.parquet")


def test_what_double_precision_takes_counts_too(tmp_path, monkeypatch):
    (tmp_path / "a.idx").write_bytes(idx(np.zeros((50, 1000), int), 0x08))
    monkeypatch.setattr(bounded, "free_bytes", lambda: MIB)
    with pytest.raises(InputError, match=r"50 samples in double precision takes 781 KiB; half"):
        load_inputs(Inputs(source=str(tmp_path / "a.idx"), samples=50), width=1)
    assert load_inputs(Inputs(source=str(tmp_path / "a.idx"), samples=10), width=1).x.shape == (10, 1000)


def test_the_limit_is_half_of_what_is_free():
    assert 0 < bounded.memory_limit() < 2**46
