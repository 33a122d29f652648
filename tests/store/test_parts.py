"""Parts that were copied, lost or damaged are noticed by every reader, and made anew."""

import os
import shutil
import warnings
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from support.runs import assert_same_bits, run, winit
from support.stored import FEW, ROWS, files, flip, status
from winit_jax.analysis import RunFolderError, load
from winit_jax.store import journal, verify
from winit_jax.store.folder import RunFolder


def test_a_copied_part_is_foreign_and_counts_for_nothing(folder):
    shutil.copy(files(folder)[0], folder / "networks" / "copy.parquet")
    told = status(folder)
    assert told["done"] == f"{ROWS} of {ROWS} networks"
    assert told["foreign"].startswith("networks/copy.parquet: no part of this run")
    with pytest.warns(UserWarning, match=r"networks/copy\.parquet no part of this run"):
        assert len(load(folder).networks) == ROWS
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        load(folder)
    assert [Path(each.filename).name for each in caught] == [Path(__file__).name]
    assert "copy.parquet" in run(folder, *FEW)
    assert (folder / "networks" / "copy.parquet").exists()
    assert "networks/copy.parquet is no part of this run" in winit("verify", folder, code=1)[0]


def test_a_deleted_part_beside_a_copy_is_missed_and_made_anew(made, folder):
    gone, kept = files(folder)[:2]
    shutil.copy(kept, folder / "networks" / "copy.parquet")
    gone.unlink()
    told = status(folder)
    assert told["done"] == f"{ROWS - 2} of {ROWS} networks"
    assert told["state"] == "damaged"
    assert told["damaged"] == f"networks/{gone.name} is missing"
    run(folder, *FEW)
    (folder / "networks" / "copy.parquet").unlink()
    assert_same_bits(made, folder)


def test_a_foreign_file_in_a_table_is_never_deleted_and_never_a_reason_to_stop(made, folder):
    (folder / "layers" / "mine.parquet").write_bytes(b"precious")
    (folder / "networks" / "notes.txt").write_text("also precious")
    os.symlink(folder / "nowhere", folder / "networks" / "dangling.parquet")
    (folder / "networks" / "folder.parquet").mkdir()
    said = run(folder, *FEW, "seed=0,1,2,3")
    assert "layers/mine.parquet" in said
    assert (folder / "layers" / "mine.parquet").read_bytes() == b"precious"
    assert (folder / "networks" / "notes.txt").exists()
    with pytest.warns(UserWarning, match="no part of this run"):
        assert len(load(folder).networks) == ROWS // 3 * 4


@pytest.mark.slow
@pytest.mark.parametrize("name", ["networks", "layers"])
@pytest.mark.parametrize(
    ("hurt", "sentence"),
    [
        (flip, "has other bytes than were written (SHA-256)"),
        (lambda path: path.write_bytes(path.read_bytes()[:-100]), "bytes and was written with"),
        (lambda path: path.unlink(), "is missing"),
        (lambda path: path.write_bytes(files(path.parent.parent, path.parent.name)[-1].read_bytes()), "was written"),
        (lambda path: (path.unlink(), path.mkdir()), "is not a file"),
        (lambda path: (path.unlink(), path.symlink_to("nowhere")), "is missing"),
        (lambda path: pq.write_table(pq.read_table(path).slice(0, 0), path), "bytes and was written with"),
    ],
    ids=["flipped", "truncated", "missing", "swapped", "a folder", "a dangling link", "of no rows"],
)
def test_damage_is_noticed_by_every_reader_and_made_anew(made, folder, name, hurt, sentence):
    path = files(folder, name)[0]
    hurt(path)
    told = status(folder)
    assert told["done"] == f"{ROWS - 2} of {ROWS} networks"
    assert told["damaged"].startswith(f"{name}/{path.name} ")
    with pytest.raises(RunFolderError, match=f"is damaged: {name}/{path.name}"):
        load(folder)
    assert f"{name}/{path.name} " in winit("verify", folder, code=1)[0]
    said = run(folder, *FEW)
    assert f"damaged: {name}/{path.name} " in said
    assert "quarantine/" in said
    assert "2 networks in " in said
    assert any((folder / "quarantine").iterdir())
    assert_same_bits(made, folder)
    assert winit("verify", folder)[0].endswith("12 of 12 networks: all as written\n")


def test_verify_repairs_by_setting_damaged_parts_aside(made, folder):
    flip(files(folder)[2])
    times = os.stat(files(made)[2])
    os.utime(files(folder)[2], ns=(times.st_atime_ns, times.st_mtime_ns))  # what only reading every byte shows
    assert "damaged" not in status(folder)
    said = winit("verify", folder, "--repair", code=1)[0]
    assert f"Make them anew with: winit run {folder}/sweep.toml --out {folder}" in said
    assert len(files(folder)) == 5
    assert status(folder)["missing"] == "2"
    run(folder, folder / "sweep.toml")
    assert_same_bits(made, folder)


def test_a_file_that_cannot_have_been_written_is_found_by_reading_it(folder):
    """Contents that their own checksum covers: rows that are not the part's."""
    record = next(record for record in journal.read(folder).committed() if record.jobs)
    path = folder / "layers" / f"{record.stem}.parquet"
    other = pq.read_table(path)
    seed = other.schema.get_field_index("seed")
    moved = other.set_column(seed, other.schema.field(seed), [[7] * other.num_rows])
    tables = {"networks": pq.read_table(folder / "networks" / path.name), "layers": moved}
    store = RunFolder(folder)
    with store.lock():
        store.plans_for(record.grid, record.settings)
        store.write(record.stem, record.part, record.depths, tables)
    assert "has rows of 1 networks that its part's networks table does not have" in winit("verify", folder, code=1)[0]


def test_tables_of_theory_in_quarantine_are_missed(made, folder):
    flip(files(folder, "mean_field")[0])
    winit("verify", folder, "--repair", code=1)
    told = status(folder)
    assert (told["state"], told["missing"]) == ("unfinished", "0, and the tables of theory")
    assert winit("verify", folder)[0].endswith("all as written; the tables of theory are to be made anew\n")
    run(folder, *FEW)
    assert status(folder)["state"] == "done"
    assert_same_bits(made, folder)


def test_what_moves_while_it_is_verified_is_not_damage(folder, monkeypatch):
    """Another process replaces a part, and moves another one, between the reading of the journal and of the files."""
    look, path, place = verify._look, files(folder)[0], files(folder)[1]

    def beside_a_run(*arguments):
        monkeypatch.setattr(verify, "_look", look)
        hidden = path.rename(folder / "hidden")
        shutil.copy(place, folder / "networks" / "new.parquet")
        try:
            return look(*arguments)
        finally:
            hidden.rename(path)
            (folder / "networks" / "new.parquet").unlink()

    monkeypatch.setattr(verify, "_look", beside_a_run)
    assert winit("verify", folder)[0].endswith("all as written\n")


def test_no_empty_folders_of_tables_are_made(made):
    assert not (made / "gradients").exists()
    assert not (made / "training").exists()
    assert all(any(path.iterdir()) for path in made.iterdir() if path.is_dir())
