"""A run folder tells the truth about what is in it, whatever became of it."""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from support.runs import assert_same_bits, run, table, winit
from winit_jax.analysis import RunFolderError, load
from winit_jax.columns import NAMES
from winit_jax.engine.planning import planner as plan
from winit_jax.store import journal, lock, schema
from winit_jax.store.folder import RunFolder

FEW = ["activation=tanh", "gain=0.5,1.5", "width=8", "depth=1,2", "seed=0,1,2", "inputs.samples=20"]
ROWS = 2 * 2 * 3


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Six parts, of one family each."""
    folder = tmp_path_factory.mktemp("folder") / "made"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "PART_SECONDS", 1e-12)
        run(folder, *FEW)
    return folder


@pytest.fixture
def folder(made, tmp_path, monkeypatch):
    """The same, to be damaged."""
    monkeypatch.setattr(plan, "PART_SECONDS", 1e-12)
    return Path(shutil.copytree(made, tmp_path / "run"))


def files(folder, name="networks"):
    return sorted((folder / name).iterdir())


def empty(folder):
    """Nothing is done."""
    for name in ("parts", *schema.TABLES, *schema.PREDICTIONS):
        shutil.rmtree(folder / name, ignore_errors=True)


def status(folder, code=0):
    lines = (line.split(None, 1) for line in winit("status", folder, code=code)[0].splitlines())
    return {line[0]: line[1] if len(line) > 1 else "" for line in lines}


def flip(path, at=300):
    data = bytearray(path.read_bytes())
    data[at] ^= 255
    path.write_bytes(bytes(data))


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
    assert [Path(each.filename).name for each in caught] == ["test_folder.py"]
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


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (("1.5", "2.5"), "was edited: the folder holds 6 networks that it does not ask for."),
        (("samples = 20", "samples = 30"), "was edited: parts in the folder were made with other inputs"),
    ],
)
def test_a_sweep_edited_by_hand_is_told_and_refused(folder, edit, sentence):
    path = folder / "sweep.toml"
    path.write_text(path.read_text().replace(*edit))
    assert sentence in status(folder)["edited"]
    assert sentence in run(folder, path, code=2)
    if "2.5" in edit:
        assert status(folder)["done"] == f"{ROWS // 2} of {ROWS} networks"


def test_the_smaller_sweep_in_a_folder_that_has_grown_is_done_already(folder):
    run(folder, *FEW, "seed=0,1,2,3")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != "lock"}
    assert "0 networks in " in run(folder, *FEW, "depth=1")
    assert {path: path.read_bytes() for path in before} == before
    assert status(folder)["state"] == "done"


def test_a_part_of_the_grown_sweep_can_be_asked_for_and_the_rest_later(made, folder, tmp_path):
    """What is missing of the smaller sweep is made with the categories and depths of the folder's."""
    for path in files(folder):
        path.unlink()
    said = run(folder, *FEW, "gain=1.5", "depth=1")
    assert "3 networks in " in said
    assert "(3 of 3 in " in said
    told = status(folder)
    assert told["done"] == f"6 of {ROWS} networks"
    assert told["state"] == "unfinished"
    assert set(table(folder)["depth"]) == {1, 2}
    run(folder, *FEW)
    assert_same_bits(made, folder)


def test_two_supersets_do_not_overwrite_each_other(folder, monkeypatch):
    """The second launcher has looked at the folder before the first one grows it."""
    from winit_jax.engine.running import launch

    whole = launch._executor

    def grown_meanwhile(sweep, say):
        monkeypatch.setattr(launch, "_executor", whole)
        run(folder, *FEW, "gain=0.5,1.5,2")
        return whole(sweep, say)

    monkeypatch.setattr(launch, "_executor", grown_meanwhile)
    said = run(folder, *FEW, "seed=0,1,2,3", code=2)
    assert "grid.gain: 1 of 3 values of the folder are not in the new sweep: 2" in said
    assert "gain = " in (folder / "sweep.toml").read_text()
    told = status(folder)
    assert (told["done"], told["state"]) == (f"{ROWS // 2 * 3} of {ROWS // 2 * 3} networks", "done")


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


def test_a_repair_mends_a_journal(made, folder):
    flip(folder / "parts" / "000001.jsonl", at=2000)
    assert "Make them anew with" in winit("verify", folder, "--repair", code=1)[0]
    assert "damaged" not in status(folder)
    run(folder, *FEW)
    assert_same_bits(made, folder)


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
    from winit_jax.store import verify

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


def test_of_another_version_a_folder_is_refused_in_a_sentence(folder):
    path = folder / "parts" / "000001.jsonl"
    body = b'{"version":99,"stem":"x"}'
    import hashlib

    path.write_bytes(journal._LINE % (hashlib.sha256(body).hexdigest().encode(), body))
    sentence = f"{path} has table version 99; this is version 4."
    assert winit("status", folder, code=2)[1] == sentence + "\n"
    with pytest.raises(RunFolderError, match="has table version 99"):
        load(folder)
    shutil.rmtree(folder / "parts")
    old = files(folder)[0]
    found = pq.read_table(old)
    pq.write_table(found.replace_schema_metadata({b"winit": b'{"version": 3}'}), old)
    assert f"{old} has table version 3; this is version 4." in run(folder, *FEW, code=2)


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
    started = time.process_time()
    told = [winit(command, folder, code=2)[1] for command in ("status", "plot", "verify")]
    told += [run(folder, *FEW, code=2), winit("plan", *FEW, "--out", folder, code=2)[1]]
    for said in told:
        assert said.startswith(f"{folder / 'sweep.toml'} {sentence}")
        assert said.count("\n") == 1
    assert time.process_time() - started < 2


def test_a_file_in_place_of_a_table_gets_a_sentence(folder):
    shutil.rmtree(folder / "layers")
    (folder / "layers").write_text("")
    assert run(folder, *FEW, code=2) == f"{folder / 'layers'} is not a folder. Move it away.\n"


def test_status_says_running_only_while_the_lock_is_held(folder):
    files(folder)[0].unlink()
    with RunFolder(folder).lock():
        assert status(folder)["state"].startswith(f"running (process {os.getpid()} on ")
    note = {"host": "elsewhere", "pid": 1, "started": 1.0, "heartbeat": time.time()}
    empty(folder)
    (folder / "run.json").write_text('{"state": "running"}')
    (folder / "staging" / "lock").write_text(json.dumps(note))
    assert status(folder)["state"].startswith("killed (process 1 on elsewhere, last seen ")
    (folder / "staging" / "lock").write_text(json.dumps({**note, "state": "failed", "reason": "No space left"}))
    assert status(folder)["state"] == "failed (No space left)"
    (folder / "staging" / "lock").write_bytes(b"\x00\xff")
    assert status(folder)["state"] == "unfinished"


@pytest.mark.parametrize(
    ("error", "state"), [(KeyboardInterrupt(), "interrupted"), (OSError(28, "No space left"), "failed (No space left)")]
)
def test_how_a_run_ended_is_written_down(folder, error, state):
    files(folder)[0].unlink()
    with pytest.raises(type(error)), RunFolder(folder).lock():
        raise error
    empty(folder)
    assert status(folder)["state"] == state


def test_without_locks_a_fresh_heartbeat_keeps_others_out(folder, monkeypatch):
    def refuse(handle, how):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", refuse)
    monkeypatch.setattr(lock, "WAIT_SECONDS", 0.1)
    with RunFolder(folder).lock():
        assert lock.look(folder / "staging" / "lock").held
        assert "is in use by another winit run" in run(folder, *FEW, code=2)
    assert not lock.look(folder / "staging" / "lock").held
    assert "0 networks" in run(folder, *FEW)


def test_no_heartbeat_writes_once_the_lock_is_let_go(folder, monkeypatch):
    now, pwrite, beating, let_go, late = time.time, os.pwrite, threading.Event(), threading.Event(), []

    def slow_in_the_heartbeat():
        if threading.current_thread().name == "heartbeat":
            beating.set()
            let_go.wait(0.5)
        return now()

    def watched(*what):
        if let_go.is_set():
            late.append(what)
        return pwrite(*what)

    monkeypatch.setattr(lock, "BEAT_SECONDS", 0.01)
    monkeypatch.setattr(lock.time, "time", slow_in_the_heartbeat)
    monkeypatch.setattr(lock.os, "pwrite", watched)
    with lock.hold(folder / "staging" / "lock"):
        assert beating.wait(10)
    let_go.set()
    for thread in threading.enumerate():
        if thread.name == "heartbeat":
            thread.join(10)
    assert late == []


def hold_apart(folder, seconds):
    """A process that holds the lock for so long."""
    script = f"""if True:
        import time
        from pathlib import Path
        from winit_jax.store.folder import RunFolder
        with RunFolder(Path({str(folder)!r})).lock():
            print("held", flush=True)
            time.sleep({seconds})
    """
    holder = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    return holder


def test_a_lock_that_is_just_let_go_is_waited_for(folder):
    holder = hold_apart(folder, 0.7)
    assert "0 networks" in run(folder, *FEW)
    holder.wait()


def test_a_killed_holder_is_told_as_killed(folder):
    empty(folder)
    holder = hold_apart(folder, 60)
    assert status(folder)["state"].startswith(f"running (process {holder.pid} on ")
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert status(folder)["state"].startswith(f"killed (process {holder.pid} on ")


def test_each_part_says_what_it_was_made_with_and_nothing_is_forgotten(folder, monkeypatch):
    from winit_jax.system import provenance

    monkeypatch.setattr(provenance, "commit", lambda: "another")
    run(folder, *FEW, "seed=0,1,2,3")
    made_by = json.loads((folder / "run.json").read_text())["made_by"]
    assert [one["commit"] == "another" for one in made_by] == [False, True]
    found = journal.read(folder)
    names = [record.made_by for record in found.committed() if record.jobs]
    assert sorted(names.count(one["id"]) for one in made_by) == [2, 6]
    assert set(found.environments) == {one["id"] for one in made_by}


def test_rows_come_in_grid_order_and_added_points_after_them(folder, tmp_path):
    def order(path):
        frame = pd.read_parquet(path / "networks")
        return list(frame[["seed", "gain", "depth"]].itertuples(index=False, name=None))

    first = [(seed, gain, depth) for seed in (0, 1, 2) for gain in (0.5, 1.5) for depth in (1, 2)]
    assert order(folder) == first
    run(folder, *FEW, "seed=3,0,1,2")
    assert order(folder) == [*first, *((3, gain, depth) for gain in (0.5, 1.5) for depth in (1, 2))]
    assert list(load(folder).networks["seed"]) == [seed for seed, *_ in order(folder)]


def test_columns_that_only_added_points_can_fill_come_with_them(tmp_path):
    words = ["activation=tanh", "gain=1", "width=8", "depth=2", "inputs.samples=20", "measure.jacobian=false"]
    run(tmp_path, *words, "init=constant")
    first = pd.read_parquet(tmp_path / "networks")
    never = ["chi", "theory_log10_act_rms", "log10_jacobian", "learning_rate", "test_loss", "sv_min"]
    assert not set(never) & set(first.columns)
    assert first.drop(columns="dead").notna().all(axis=None)
    run(tmp_path, *words, "init=constant,normal")
    for path in (tmp_path / "networks").iterdir():
        assert "chi" in pq.read_schema(path).names
    both = pd.read_parquet(tmp_path / "networks")
    assert both["chi"].isna().tolist() == [True, False]
    measured = [name for name in first if name not in NAMES]
    pd.testing.assert_frame_equal(both.iloc[:1][measured], first[measured], check_exact=True)
    assert winit("verify", tmp_path)[0].endswith("2 of 2 networks: all as written\n")


def test_no_empty_folders_of_tables_are_made(made):
    assert not (made / "gradients").exists()
    assert not (made / "training").exists()
    assert all(any(path.iterdir()) for path in made.iterdir() if path.is_dir())
