"""Many parts joined into few: the same rows in the same order, whatever comes after it, and at any kill."""

import os

import pandas as pd
import pytest

from support.runs import assert_same_bits, run, winit
from support.stored import FEW, ROWS, files, flip, status
from winit_jax import folders
from winit_jax.analysis import load
from winit_jax.columns import NAMES
from winit_jax.engine.computing.vocabulary import vocabulary
from winit_jax.engine.running import ledger
from winit_jax.errors import Refused
from winit_jax.spec.reading import load_sweep
from winit_jax.store import compacting, journal
from winit_jax.store.compacting import groups
from winit_jax.store.folder import RunFolder


def rows(folder, name="networks"):
    """A table as pandas reads the folder, names as text: the order of rows counts."""
    frame = pd.read_parquet(folder / name)
    return frame.astype({column: str for column in NAMES if column in frame})


def test_a_compacted_run_has_the_same_rows_in_the_same_order(made, folder):
    said = winit("compact", folder)[1]
    assert said == "6 parts are 1 now, in one journal instead of 1\n"
    for name in ("networks", "layers"):
        pd.testing.assert_frame_equal(rows(folder, name), rows(made, name), check_exact=True)
        assert len(files(folder, name)) == 1
    assert status(folder)["state"] == "done"
    assert winit("verify", folder)[0].endswith("12 of 12 networks: all as written\n")
    assert len(load(folder).networks) == ROWS
    assert os.listdir(folder / "staging") == ["lock"]
    assert len(list((folder / "parts").iterdir())) == 1


def test_joined_parts_have_about_as_many_rows_as_asked_for(made, folder):
    assert str(folders.compact(folder, rows=4)) == "6 parts are 3 now, in one journal instead of 1"
    assert [len(pd.read_parquet(path)) for path in files(folder)] == [4, 4, 4]
    pd.testing.assert_frame_equal(rows(folder), rows(made), check_exact=True)
    with pytest.raises(Refused, match="rows: 0 is less than 1"):
        folders.compact(folder, rows=0)


def test_a_compacted_run_goes_on_grows_and_is_compacted_again(made, folder):
    winit("compact", folder)
    assert run(folder, *FEW).startswith("0 networks")
    run(folder, *FEW, "seed=0,1,2,3")
    assert status(folder)["done"] == f"{ROWS // 3 * 4} of {ROWS // 3 * 4} networks"
    winit("compact", folder)
    run(folder, *FEW, "seed=0,1,2,3", "depth=1,2,3")
    assert status(folder)["state"] == "done"
    assert winit("verify", folder)[0].endswith("24 of 24 networks: all as written\n")
    old = rows(folder)
    pd.testing.assert_frame_equal(
        old[(old["depth"] < 3) & (old["seed"] < 3)].reset_index(drop=True), rows(made), check_exact=True
    )


def test_damage_to_a_joined_part_is_made_anew(made, folder):
    winit("compact", folder)
    flip(files(folder)[0])
    assert status(folder)["state"] == "damaged"
    assert f"{ROWS} networks in " in run(folder, *FEW)
    assert_same_bits(made, folder)


def test_only_a_folder_that_is_whole_and_at_rest_is_compacted(folder):
    with RunFolder(folder).lock():
        assert "in use by another winit run" in winit("compact", folder, code=2)[1]
    flip(files(folder)[0])
    assert "was damaged: networks/" in winit("compact", folder, code=1)[1]


def test_a_run_of_very_many_parts_is_compacted_at_its_end(made, folder, monkeypatch):
    monkeypatch.setattr(ledger.compacting, "MANY_PARTS", 7)
    assert "parts are" not in run(folder, *FEW)
    said = run(folder, *FEW, "seed=0,1,2,3")
    assert "8 parts are 2 now, in one journal instead of 2" in said  # those of each grid by themselves
    assert status(folder)["done"] == f"{ROWS // 3 * 4} of {ROWS // 3 * 4} networks"


def test_a_reader_whose_journal_is_written_anew_meanwhile_sees_the_same(folder, monkeypatch):
    listed, names = [], journal.disk.names

    def compacted_meanwhile(path):
        found = names(path)
        if path.name == "parts" and not listed:
            listed.append(path)
            winit("compact", folder)
        return found

    monkeypatch.setattr(journal.disk, "names", compacted_meanwhile)
    assert len(journal.read(folder).parts()) == 1


def test_parts_of_one_place_in_the_grid_are_not_torn_apart(made):
    records = list(journal.read(made).parts().values())
    place = records[1].stem[:17]
    named = [f"{place}-part-{number:016x}" for number in range(3)]
    moved = [record.model_copy(update={"stem": stem}) for stem, record in zip(named, records[1:4], strict=True)]
    assert [len(group) for group in groups([records[0], *moved], 4)] == [4]


def test_a_joined_part_is_taken_apart_before_its_networks_are_made_deeper(made, folder, monkeypatch):
    monkeypatch.setattr(compacting, "FAMILIES", 2)
    winit("compact", folder)
    run(folder, *FEW, "depth=1,2,3")
    assert [len(pd.read_parquet(path)) for path in files(folder)] == [6, 6, 6]
    found = rows(folder)
    pd.testing.assert_frame_equal(found[found["depth"] < 3].reset_index(drop=True), rows(made), check_exact=True)
    assert status(folder)["state"] == "done"
    assert winit("verify", folder)[0].endswith("18 of 18 networks: all as written\n")


def test_what_was_taken_apart_and_never_computed_anew_is_all_there(made, folder, monkeypatch):
    """A kill between the two."""
    monkeypatch.setattr(compacting, "FAMILIES", 2)
    winit("compact", folder)
    held = RunFolder(folder)
    deeper = load_sweep(None, [*FEW, "depth=1,2,3"], vocabulary())
    with held.lock():
        compacting.take_apart(held, deeper)
    for name in ("networks", "layers"):
        assert len(files(folder, name)) == 3
        pd.testing.assert_frame_equal(rows(folder, name), rows(made, name), check_exact=True)
    assert status(folder)["done"] == f"{ROWS} of {ROWS} networks"
    assert winit("verify", folder)[0].endswith("12 of 12 networks: all as written\n")
    assert run(folder, *FEW).startswith("0 networks")
