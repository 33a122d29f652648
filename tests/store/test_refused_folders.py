"""What lies in place of a file of a run folder, or is of another version, gets one sentence."""

import hashlib
import os
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from support.clocks import a_moment
from support.runs import run, winit
from support.stored import FEW, files
from winit_jax.analysis import RunFolderError, load
from winit_jax.store import journal


def test_of_another_version_a_folder_is_refused_in_a_sentence(folder):
    path = folder / "parts" / "000001.jsonl"
    body = b'{"version":99,"stem":"x"}'
    path.write_bytes(journal._LINE % (hashlib.sha256(body).hexdigest().encode(), body))
    sentence = f"{path} has table version 99; this is version 5."
    assert winit("status", folder, code=2)[1] == sentence + "\n"
    with pytest.raises(RunFolderError, match="has table version 99"):
        load(folder)
    shutil.rmtree(folder / "parts")
    old = files(folder)[0]
    found = pq.read_table(old)
    pq.write_table(found.replace_schema_metadata({b"winit": b'{"version": 3}'}), old)
    assert f"{old} has table version 3; this is version 5." in run(folder, *FEW, code=2)


@pytest.mark.parametrize("name", ["sweep.toml", "staging/lock"])
def test_folders_in_place_of_files_get_a_sentence(folder, name):
    (folder / name).unlink()
    (folder / name).mkdir()
    said = run(folder, *FEW, code=2)
    assert said.count("\n") <= 3
    assert name in said


def a_gigabyte(path):
    with path.open("wb") as file:
        file.truncate(2**30)


@pytest.mark.parametrize(
    ("put", "sentence"),
    [
        (a_gigabyte, "has 1,073,741,824 bytes; a sweep file may have 16,777,216: write ranges."),
        (os.mkfifo, "is a pipe or a device, not a file."),
        (lambda path: path.symlink_to("/dev/zero"), "is a pipe or a device, not a file."),
        (Path.mkdir, "is a folder, not a sweep file."),
        (lambda path: path.write_bytes(b"\xff"), "is not a text file in UTF-8."),
        (lambda path: path.write_text("a" + ".b" * 20_000 + " = 1"), "has a key of 20,001 parts; a sweep file has"),
    ],
    ids=["1 GB", "pipe", "device", "folder", "no text", "deep"],
)
def test_whatever_lies_in_place_of_a_stored_sweep_gets_one_sentence_from_every_command(folder, put, sentence):
    (folder / "sweep.toml").unlink()
    put(folder / "sweep.toml")
    with a_moment():
        told = [winit(command, folder, code=2)[1] for command in ("status", "plot", "verify")]
        told += [run(folder, *FEW, code=2), winit("plan", *FEW, "--out", folder, code=2)[1]]
    for said in told:
        assert said.startswith(f"{folder / 'sweep.toml'} {sentence}")
        assert said.count("\n") == 1


def test_a_file_in_place_of_a_table_gets_a_sentence(folder):
    shutil.rmtree(folder / "layers")
    (folder / "layers").write_text("")
    assert run(folder, *FEW, code=2) == f"{folder / 'layers'} is not a folder. Move it away.\n"
