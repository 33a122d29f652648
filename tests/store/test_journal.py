"""A journal that is lost or damaged is mended, and what it said is made anew; so is run.json."""

import errno
import json
import shutil

import pytest

from support.runs import assert_same_bits, run, winit
from support.stored import FEW, ROWS, flip, status
from winit_jax.analysis import RunFolderError, load
from winit_jax.store import journal
from winit_jax.system import disk, provenance


@pytest.mark.parametrize("lose", [shutil.rmtree, lambda parts: [path.write_bytes(b"") for path in parts.iterdir()]])
def test_a_lost_journal_is_damage_and_not_somebody_elses_files(made, folder, lose):
    lose(folder / "parts")
    (folder / "networks" / "notes.txt").write_text("precious")
    told = status(folder)
    assert told["state"] == "damaged"
    assert told["damaged"].startswith("parts/ names no part, though winit wrote ")
    with pytest.raises(RunFolderError, match="is damaged: parts/ names no part"):
        load(folder)
    assert "parts/ names no part, though winit wrote " in winit("verify", folder, code=1)[0]
    said = run(folder, *FEW)
    assert "damaged: parts/ names no part" in said
    assert f"{ROWS} networks in " in said
    assert said.count("note: ") == 1
    assert f"note: networks/notes.txt in {folder}: no part of this run, and left alone\n" in said
    (folder / "networks" / "notes.txt").unlink()
    assert_same_bits(made, folder)


def test_what_a_lost_line_named_is_made_anew_and_said_to_be(made, folder):
    (file,) = (folder / "parts").iterdir()
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:-1]))
    gone = json.loads(lines[-1])["record"]["stem"]
    path = folder / "layers" / f"{gone}.parquet"
    path.write_bytes(path.read_bytes() + b"x")
    assert f"layers/{gone}.parquet" in status(folder)["foreign"]
    said = run(folder, *FEW)
    assert f"note: layers/{gone}.parquet in {folder}: no part of this run, and in quarantine/ now\n" in said
    assert "left alone" not in said
    assert_same_bits(made, folder)


def test_a_damaged_line_of_the_predictions_is_mended_without_a_word_of_strangers(made, folder):
    (file,) = (folder / "parts").iterdir()
    data = bytearray(file.read_bytes())
    data[data.index(b'"stem":"predictions"') + 9] ^= 1
    file.write_bytes(bytes(data))
    said = run(folder, *FEW)
    assert "damaged: parts/000001.jsonl, line " in said
    assert "no part of this run" not in said
    assert_same_bits(made, folder)


@pytest.mark.parametrize("garbage", [b"\x00" * 50 + b"\n", b"{}\n", b'{"sha256":"', b"\n\n", b"[" * 5000 + b"\n"])
def test_garbage_in_a_journal_is_named_and_what_it_said_is_made_anew(made, folder, garbage):
    path = folder / "parts" / "000001.jsonl"
    *lines, _ = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines) + garbage)
    told = status(folder)
    assert told["done"] == f"{ROWS - 2} of {ROWS} networks"
    assert ("damaged" in told) == garbage.endswith(b"\n")
    assert ("damaged" in told["state"]) == garbage.endswith(b"\n")
    run(folder, *FEW)
    assert_same_bits(made, folder)
    told = status(folder)
    assert ("damaged" in told, told["state"]) == (False, "done")
    assert len(load(folder).networks) == ROWS
    winit("verify", folder)


@pytest.mark.slow
@pytest.mark.parametrize("line", range(8))
def test_one_flipped_byte_in_a_journal_costs_one_line_and_is_mended_by_the_next_run(made, folder, line):
    path = folder / "parts" / "000001.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    assert len(lines) == 8
    flip(path, at=sum(map(len, lines[:line])) + 90)
    damaged = path.read_bytes()
    assert status(folder)["state"] == "damaged"
    assert f"damaged: parts/000001.jsonl, line {line + 1} cannot be read" in run(folder, *FEW)
    assert (folder / "quarantine" / "parts-000001.jsonl").read_bytes() == damaged
    assert_same_bits(made, folder)
    assert winit("verify", folder)[0].endswith("12 of 12 networks: all as written\n")
    assert "0 networks in" in run(folder, *FEW)


def test_a_folder_in_place_of_a_journal_is_set_aside(made, folder):
    (folder / "parts" / "000002.jsonl").mkdir()
    assert status(folder)["state"] == "damaged"
    run(folder, *FEW)
    assert status(folder)["state"] == "done"


def test_a_journal_file_that_the_system_refuses_to_read_is_not_taken_for_lost(folder, monkeypatch):
    run(folder, *FEW, "seed=0,1,2,3")  # a second journal file beside the first
    first, second = sorted((folder / journal.FOLDER).iterdir())
    flip(second, 100)  # damage in one does not make the other's parts nobody's
    read, stored = disk.read, {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    def refuse(path):
        if path == first:
            raise PermissionError(errno.EACCES, "Permission denied")
        return read(path)

    monkeypatch.setattr(disk, "read", refuse)
    said = run(folder, *FEW, "seed=0,1,2,3", code=2)
    sentence = f"{folder}: {journal.FOLDER}/{first.name} cannot be read: Permission denied. Nothing was changed."
    assert said.splitlines()[-1] == sentence
    assert not (folder / "quarantine").exists()
    assert all(path.read_bytes() == raw for path, raw in stored.items())


def test_a_repair_mends_a_journal(made, folder):
    flip(folder / "parts" / "000001.jsonl", at=2000)
    assert "Make them anew with" in winit("verify", folder, "--repair", code=1)[0]
    assert "damaged" not in status(folder)
    run(folder, *FEW)
    assert_same_bits(made, folder)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"[1, 2]", "Input should be an object"),
        (b"\x00\xff\xfe", "not what winit writes"),
        (b"[" * 100_000, "not what winit writes"),
        (b'{"failures": [3], "state": 7}', "not what winit writes: state"),
        (b'{"inputs": {"8": []}, "seconds": "x"}', "not what winit writes"),
    ],
)
def test_a_run_json_that_is_none_gets_a_sentence_and_is_written_anew(folder, text, told):
    (folder / "run.json").write_bytes(text)
    assert told in status(folder)["damaged"]
    assert told in winit("verify", folder, code=1)[0]
    with pytest.warns(UserWarning, match="not what winit writes"):
        assert len(load(folder).networks) == ROWS
    said = run(folder, *FEW)
    assert f"damaged: {folder / 'run.json'} is {told if told.startswith('not') else 'not what winit writes'}" in said
    assert (folder / "quarantine" / f"{folder.name}-run.json").read_bytes() == text
    assert json.loads((folder / "run.json").read_text())["state"] == "done"


def test_each_part_says_what_it_was_made_with_and_nothing_is_forgotten(folder, monkeypatch):
    monkeypatch.setattr(provenance, "commit", lambda: "another")
    run(folder, *FEW, "seed=0,1,2,3")
    made_by = json.loads((folder / "run.json").read_text())["made_by"]
    assert [one["commit"] == "another" for one in made_by] == [False, True]
    found = journal.read(folder)
    names = [record.made_by for record in found.committed() if record.jobs]
    assert sorted(names.count(one["id"]) for one in made_by) == [2, 6]
    assert set(found.environments) == {one["id"] for one in made_by}
