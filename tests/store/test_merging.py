"""Run folders that grew apart put together."""

import json
import os
import shutil

import pytest

from support.runs import assert_same_bits, run, winit
from support.stored import FEW, ROWS, files, flip, status
from winit_jax import folders
from winit_jax.store.folder import RunFolder

WITHOUT_SEEDS = [word for word in FEW if not word.startswith("seed")]


@pytest.fixture
def halves(made, tmp_path, monkeypatch):
    """The folder of one half of the parts, and that of the other."""
    some, others = tmp_path / "some", tmp_path / "others"
    for folder, gone in ((some, slice(0, 3)), (others, slice(3, 6))):
        shutil.copytree(made, folder)
        names = {path.name for path in files(folder)[gone]}
        (journal,) = (folder / "parts").iterdir()
        lines = journal.read_bytes().splitlines(keepends=True)
        journal.write_bytes(b"".join(line for line in lines if not any(name[:-8].encode() in line for name in names)))
        for table in ("networks", "layers"):
            for name in names:
                (folder / table / name).unlink()
    return some, others


def test_two_halves_are_the_whole(made, halves, tmp_path):
    out = tmp_path / "both"
    said = winit("merge", *halves, "--out", out)[1]
    assert said == f"6 parts taken: {ROWS} of {ROWS} networks\n"
    assert_same_bits(made, out, ("networks", "layers", "mean_field"))
    assert status(out)["state"] == "done"
    assert json.loads((out / "run.json").read_text())["state"] == "done"
    assert winit("verify", out)[0].endswith("12 of 12 networks: all as written\n")
    assert run(out, *FEW).startswith("0 networks")
    assert os.stat(files(out)[0]).st_nlink == 2  # no room is taken twice
    assert str(folders.merge(*halves, out=out)).splitlines()[0] == f"0 parts taken: {ROWS} of {ROWS} networks"


def test_files_are_copied_where_they_cannot_be_linked(made, halves, tmp_path, monkeypatch):
    def refuse(*paths):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    winit("merge", *halves, "--out", tmp_path / "both")
    assert_same_bits(made, tmp_path / "both")


def test_a_part_that_both_have_is_kept_once(made, halves, tmp_path):
    said = winit("merge", halves[0], made, "--out", tmp_path / "both")[1]
    assert said.splitlines()[1] == "3 parts were there already, with the same bytes: kept once"
    assert_same_bits(made, tmp_path / "both")


def test_networks_that_were_computed_twice_are_kept_once(made, halves, tmp_path):
    """The other folder has the same networks in one part."""
    other = tmp_path / "joined"
    shutil.copytree(halves[0], other)
    winit("compact", other)
    said = winit("merge", halves[0], other, halves[1], "--out", tmp_path / "both")[1]
    assert "1 parts were left out: an earlier folder has their networks" in said
    assert_same_bits(made, tmp_path / "both")


def test_sweeps_that_differ_in_points_become_one_that_has_all(made, tmp_path):
    for seeds in ("0", "1,2"):
        run(tmp_path / seeds, *WITHOUT_SEEDS, f"seed={seeds}")
    out = tmp_path / "all"
    said = winit("merge", tmp_path / "0", tmp_path / "1,2", "--out", out)[1]
    assert f"go on     winit run {out / 'sweep.toml'} --out {out}" in said  # for the tables of theory
    run(out, *FEW)
    assert_same_bits(made, out, ("networks", "layers", "mean_field"))
    assert status(out)["state"] == "done"


def test_the_sweep_of_one_folder_may_ask_for_all(made, tmp_path):
    run(tmp_path / "few", *WITHOUT_SEEDS, "seed=1")
    winit("merge", tmp_path / "few", made, "--out", tmp_path / "all")
    assert_same_bits(made, tmp_path / "all")


def test_what_cannot_be_merged_is_named_at_once(made, halves, tmp_path):
    joined, other = tmp_path / "joined", tmp_path / "other"
    shutil.copytree(made, joined)
    winit("compact", joined)
    said = winit("merge", halves[0], joined, "--out", tmp_path / "both", code=2)[1]
    assert said.startswith("parts hold networks of which only some are there already; nothing was taken:\n  ")
    assert f"{joined}: 00-0000-000000000-part-" in said
    assert "has 6 networks that an earlier folder has, and 6 that it has not" in said
    run(other, *FEW, "inputs.samples=30", "activation=relu")
    said = winit("merge", made, other, "--out", tmp_path / "both", code=2)[1]
    assert said == (f"the folders differ in more than points:\n  inputs.samples: 20 in {made}, 30 in {other}\n")
    flip(files(halves[0])[0])
    os.utime(files(halves[0])[0])
    flip(files(halves[1], "layers")[1])
    with RunFolder(halves[1]).lock():
        said = winit("merge", *halves, "--out", tmp_path / "both", code=2)[1]
    assert said.startswith("3 things stand in the way of merging:\n")
    assert f"{halves[1]} is being written" in said
    assert said.count("has other bytes than were written (SHA-256)") == 2
    assert not (tmp_path / "both").exists()


def test_folders_are_named_once_and_nothing_else_is_written_over(made, halves, tmp_path):
    assert "is named twice" in winit("merge", made, made, "--out", tmp_path / "both", code=2)[1]
    assert "is named twice" in winit("merge", made, "--out", made, code=2)[1]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("precious")
    assert "is not empty and not a run folder" in winit("merge", *halves, "--out", tmp_path / "mine", code=2)[1]
    run(tmp_path / "few", *WITHOUT_SEEDS, "seed=7")
    assert "is another run. Choose another --out." in winit("merge", *halves, "--out", tmp_path / "few", code=2)[1]
