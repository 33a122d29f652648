"""How far a run is, at a glance and again and again."""

import dataclasses
import json
import subprocess
import sys

import pytest

from support.runs import module_of_ones_own, run, winit
from support.stored import FEW, ROWS, empty, files, flip
from winit_jax import folders
from winit_jax.engine.computing.vocabulary import vocabulary
from winit_jax.spec.shards import Shard
from winit_jax.store import glance, shards_at_work, status
from winit_jax.store.asked import Short, grid_digest, settings_digest
from winit_jax.store.folder import RunFolder
from winit_jax.store.joining import stored_sweep
from winit_jax.store.watching import Watch


def glanced(folder):
    """(The status at a glance, None where it says nothing; the status from a close look)."""
    held = RunFolder(folder)
    given = (status.lock.look(folder / "staging" / "lock"), shards_at_work.look(folder))
    asks = Short.of(stored_sweep(held, vocabulary()))
    return status._glanced(held, asks, *given), status._looked(held, vocabulary(), *given)


def test_a_glance_at_a_run_that_is_whole_says_what_a_close_look_says(folder):
    quick, close = glanced(folder)
    assert quick == close
    assert quick.done == ROWS
    folders.compact(folder)
    quick, close = glanced(folder)
    assert quick == close


def test_a_status_imports_no_jax_where_run_json_tells_what_the_sweep_asks_for(folder):
    code = "import sys; from winit_jax import folders; print(folders.status(sys.argv[1])); print('jax' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code, str(folder)], check=True, capture_output=True, text=True).stdout
    *lines, has_jax = said.splitlines()
    assert "\n".join(lines) == str(glanced(folder)[1])
    assert has_jax == "False"


def test_a_status_after_sweep_toml_was_edited_does_not_believe_run_json(folder):
    sweep = folder / "sweep.toml"
    sweep.write_text(sweep.read_text() + "\n# by hand\n")
    held = RunFolder(folder)
    assert held.asks(held.info()) is None


def test_a_status_of_a_folder_of_before_run_json_told_of_its_sweep_is_the_same(folder):
    told, path = str(folders.status(folder)), folder / "run.json"
    info = json.loads(path.read_text())
    del info["asks"]
    path.write_text(json.dumps(info))
    assert str(folders.status(folder)) == told


def test_a_table_without_its_folder_is_not_whole_whatever_lies_in_the_working_directory(folder, monkeypatch):
    assert glanced(folder)[0] is not None
    (folder / "networks").rename(folder.parent / "elsewhere")
    monkeypatch.chdir(folder.parent / "elsewhere")
    assert glanced(folder)[0] is None


def test_a_glance_at_a_run_that_is_not_done_too(tmp_path):
    run(tmp_path, *FEW, "--shard", "1/2")
    quick, close = glanced(tmp_path)
    assert quick.go_on
    assert quick.done < ROWS
    assert dataclasses.replace(quick, shards=close.shards) == close


@pytest.mark.parametrize(
    "hurt",
    [
        lambda folder: files(folder)[0].unlink(),
        lambda folder: flip(files(folder)[0]),
        lambda folder: (folder / "networks" / "mine.parquet").write_bytes(b""),
        lambda folder: flip(folder / "parts" / "000001.jsonl", 3000),
        lambda folder: folders.repair(folder) or RunFolder(folder),
        lambda folder: (folder / "run.json").write_text("{"),
        empty,
    ],
)
def test_a_glance_says_nothing_where_something_is_odd(folder, hurt):
    whole, _ = glanced(folder)
    assert whole is not None
    hurt(folder)
    quick, close = glanced(folder)
    assert quick is None or quick == close


def test_a_glance_at_a_grown_run_says_nothing(folder):
    run(folder, *FEW, "seed=0,1,2,3")
    assert glanced(folder)[0] is None


def test_parts_that_may_overlap_are_counted_closely(folder):
    seen = glance.Glance(folder)
    assert seen.more()
    sweep = stored_sweep(RunFolder(folder), vocabulary())
    digests = grid_digest(sweep), settings_digest(sweep)
    assert seen.done(*digests) == ROWS
    stem = next(stem for stem in seen.lines if stem.startswith("00-"))
    seen.lines["again"] = seen.lines[stem]
    assert seen.done(*digests) is None


def test_watching_reads_on_and_ends_when_all_is_done(tmp_path):
    run(tmp_path, *FEW, "--shard", "1/2")
    watch = Watch(tmp_path, vocabulary())
    first = watch.look()
    assert (first.networks, first.rate, first.workers, first.is_over) == (ROWS, None, 0, False)
    assert 0 < first.done < ROWS
    with RunFolder(tmp_path).share(Shard(2, 2)):
        assert watch.look().workers == 1
    run(tmp_path, *FEW, "--shard", "2/2")
    last = watch.look()
    assert (last.done, last.is_over) == (ROWS, True)
    assert f"{ROWS} of {ROWS} networks (100.0%)" in str(last)
    assert str(last).endswith("0 failed, 0 at work")


def test_without_a_terminal_watching_says_a_line_each_time(folder):
    assert winit("status", folder, "--watch")[0] == f"{ROWS} of {ROWS} networks (100.0%), 0 failed, 0 at work\n"
    assert "is not a run folder" in winit("status", folder / "nowhere", "--watch", code=2)[1]


FAILING = "def act(a):\n    if a.shape[-1] == 13:\n        raise RuntimeError('thirteen units')\n    return a\n"


def test_watching_ends_with_a_run_that_ended_with_failures(tmp_path, monkeypatch):
    for name in module_of_ones_own(FAILING, tmp_path, monkeypatch):
        run(tmp_path / "run", f"activation={name}:act", "gain=1", "width=8,13", "depth=2", "seed=0", code=1)
    said = "1 of 2 networks (50.0%), 1 failed, 0 at work; failed\n"
    assert winit("status", tmp_path / "run", "--watch")[0] == said


def test_watching_waits_for_shards_that_may_be_begun_again(tmp_path):
    sight = Watch(tmp_path, vocabulary())
    run(tmp_path, *FEW, "--shard", "1/2")
    one = sight.look()
    assert one.state == "unfinished"
    begun = dataclasses.replace(one.shards, not_begun=())
    for state, is_over in (("done", True), ("failed", True), ("killed", False), ("interrupted", False)):
        all_of = (dataclasses.replace(begun.all[0], state=state),)
        shards = dataclasses.replace(begun, all=all_of)
        assert dataclasses.replace(one, shards=shards).is_over == is_over
    assert not dataclasses.replace(one, shards=dataclasses.replace(begun, not_begun=(2,))).is_over
    assert not dataclasses.replace(one, shards=begun, state="running").is_over  # between two processes of one run


def test_numbers_of_shards_are_said_in_ranges():
    assert shards_at_work.in_ranges([1, 3, 4, 5, 9]) == "1, 3-5, 9"
    assert shards_at_work.in_ranges([]) == ""
