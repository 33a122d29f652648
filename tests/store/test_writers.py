"""Several processes in one run folder: leases, the gate, and what a dead writer left."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from support.runs import run
from support.stored import FEW, files
from winit_jax.spec.parts import Part
from winit_jax.spec.shards import Shard
from winit_jax.store import gate, journal, leases, lock, recovery
from winit_jax.store.folder import RunFolder, StoreError
from winit_jax.store.journal import Record, Writer
from winit_jax.system import disk

ABOUT = {"version": journal.VERSION, "jobs": (), "depths": (), "made_by": "", "grid": "", "settings": "", "files": {}}


@pytest.fixture
def of_a_network(monkeypatch):
    """Folders lie on a file system whose locks end at the host."""
    monkeypatch.setattr(disk, "is_of_this_machine", lambda path: False)


def apart(folder, work, seconds=60):
    """A process that does some work in a folder that it shares, and then waits."""
    script = f"""if True:
        import time
        from pathlib import Path
        from winit_jax.spec.shards import Shard
        from winit_jax.store import journal
        from winit_jax.store.folder import RunFolder
        folder = RunFolder(Path({str(folder)!r}))
        with folder.share(Shard(2, 3)):
            {work}
            print("there", flush=True)
            time.sleep({seconds})
    """
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "there\n"
    return process


def end(process):
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()


def begin(folder):
    """What a shard says once it has joined."""
    folder.lease.tell_now(has_begun=True, sweep="the same", cut="the same")


def test_two_writers_that_commit_at_the_same_time_lose_no_line(tmp_path):
    script = """if True:
        import sys
        from pathlib import Path
        from winit_jax.store.journal import Record, VERSION, Writer
        writer, name = Writer(Path(sys.argv[1])), sys.argv[2]
        print("there", flush=True)
        sys.stdin.readline()
        about = {"version": VERSION, "jobs": (), "depths": (), "made_by": "", "grid": "", "settings": "", "files": {}}
        for number in range(100):
            writer.append(Record(stem=f"{name}-{number}", **about))
    """
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    names = ["a", "b", "c"]
    writers = [subprocess.Popen([sys.executable, "-c", script, str(tmp_path), name], **pipes) for name in names]
    for writer in writers:
        assert writer.stdout.readline() == "there\n"
    for writer in writers:  # only now, so that they make their files at the same moment
        writer.communicate("\n")
    found = journal.read(tmp_path)
    assert set(found.records) == {f"{name}-{number}" for name in names for number in range(100)}
    assert found.unreadable == []
    assert disk.names(tmp_path / "parts") == ["000001.jsonl", "000002.jsonl", "000003.jsonl"]


def test_a_number_that_another_process_took_is_not_written_to(tmp_path, monkeypatch):
    (tmp_path / "parts").mkdir()
    taken = tmp_path / "parts" / "000001.jsonl"
    taken.write_bytes(b"")
    monkeypatch.setattr(disk, "names", lambda path: [])  # it was made after the folder was listed
    Writer(tmp_path).append(Record(stem="part", **ABOUT))
    assert taken.read_bytes() == b""
    assert (tmp_path / "parts" / "000002.jsonl").exists()


def test_a_process_that_has_the_folder_alone_keeps_shards_out_and_they_it(folder, monkeypatch):
    monkeypatch.setattr(lock, "WAIT_SECONDS", 0.1)
    with RunFolder(folder).lock(), pytest.raises(StoreError, match="in use by another winit run"):
        RunFolder(folder).share(Shard(1, 2)).__enter__()
    with RunFolder(folder).share(Shard(1, 2)), RunFolder(folder).share(Shard(2, 2)):
        said = run(folder, *FEW, code=2)
        assert f"is in use by shard 1/2 (process {os.getpid()} on {os.uname().nodename}), shard 2/2 (" in said
    assert "0 networks" in run(folder, *FEW)
    assert disk.names(folder / "staging") == ["lock"]


def test_a_dead_owner_on_this_host_is_known_at_once(folder):
    process = apart(folder, "folder.lease.tell_now(has_begun=True)")
    assert [lease.shard for lease in leases.living(folder / "staging")] == [(2, 3)]
    end(process)
    assert leases.living(folder / "staging") == []
    with RunFolder(folder).share(Shard(2, 3)):
        pass


@pytest.mark.usefixtures("of_a_network")
def test_an_owner_on_another_host_is_dead_once_its_heartbeat_is_stale(folder, monkeypatch):
    mine = RunFolder(folder)
    with mine.share(Shard(2, 3)):
        (file,) = (folder / "staging" / "writers").glob("*.json")
        text = file.read_bytes()
    (folder / "staging" / "writers").mkdir()
    file.write_text(json.dumps({**json.loads(text), "host": "elsewhere"}))
    assert [lease.host for lease in leases.living(folder / "staging")] == ["elsewhere"]
    now = time.time
    monkeypatch.setattr(leases.time, "time", lambda: now() + lock.STALE_SECONDS + 1)
    assert leases.living(folder / "staging") == []


@pytest.mark.usefixtures("of_a_network")
def test_where_locks_end_at_the_host_a_run_elsewhere_keeps_others_out_until_it_is_stale(folder, monkeypatch):
    monkeypatch.setattr(lock, "WAIT_SECONDS", 0.1)
    note = {"host": "elsewhere", "pid": 1, "started": 1.0, "heartbeat": time.time()}
    (folder / "staging" / "lock").write_text(json.dumps(note))
    assert lock.look(folder / "staging" / "lock").held
    assert "in use by another winit run (process 1 on elsewhere)" in run(folder, *FEW, code=2)
    (folder / "staging" / "lock").write_text(json.dumps({**note, "heartbeat": time.time() - lock.STALE_SECONDS - 1}))
    assert "0 networks" in run(folder, *FEW)


def test_what_a_live_writer_staged_is_left_alone_and_of_a_dead_one_cleared_away(folder):
    process = apart(folder, "(folder.writer.staging / 'networks-part-0123456789abcdef.parquet').write_bytes(b'x')")
    (staged,) = (folder / "staging" / "writers").glob("*/networks-*")
    with RunFolder(folder).share(Shard(1, 3)) as _:
        other = RunFolder(folder)
        with other.share(Shard(3, 3)), other.gate():
            recovery.sweep_up(other)
            recovery.recover(other, thorough=False)
            assert staged.exists()
            end(process)
            recovery.sweep_up(other)
            assert not staged.exists()
    assert disk.names(folder / "staging") == ["lock"]


def test_a_writer_that_joins_while_dead_ones_are_looked_for_is_not_taken_for_one(folder, monkeypatch):
    process = apart(folder, "pass")
    end(process)
    first, second = RunFolder(folder), RunFolder(folder)
    whole, joined = leases.writers, second.share(Shard(3, 3))

    def after_another_joined(staging):
        monkeypatch.setattr(leases, "writers", whole)
        found = whole(staging)
        joined.__enter__()
        return found

    with first.share(Shard(1, 3)):
        monkeypatch.setattr(leases, "writers", after_another_joined)
        recovery.sweep_up(first)
        assert [lease.shard for lease in leases.living(folder / "staging")] == [(1, 3), (3, 3)]
        assert second.writer.staging.is_dir()
        joined.__exit__(None, None, None)


def test_what_a_writer_commits_while_others_are_swept_up_is_not_deleted(folder, monkeypatch):
    """It dies right after it was seen alive: the next one clears up after it."""
    process = apart(folder, "(folder.writer.staging / 'networks-part-0123456789abcdef.parquet').write_bytes(b'x')")
    other, whole = RunFolder(folder), leases.writers

    def and_then_it_dies(staging):
        found = whole(staging)
        end(process)
        return found

    with other.share(Shard(3, 3)):
        monkeypatch.setattr(leases, "writers", and_then_it_dies)
        recovery.sweep_up(other)
        monkeypatch.setattr(leases, "writers", whole)
        assert list((folder / "staging" / "writers").glob("*/networks-*"))
        recovery.sweep_up(other)
        assert not list((folder / "staging" / "writers").glob("*/networks-*"))


def test_a_part_that_a_dead_writer_committed_is_moved_by_others_and_read_meanwhile(folder):
    path = files(folder)[0]
    stem = path.stem
    work = f"""
            import pyarrow.parquet as pq
            record = folder.journal().records[{stem!r}]
            tables = dict((name, pq.read_table(journal.where(folder.path, name, record))) for name in record.files)
            folder.writer.apply = lambda record: None
            folder.plans_for(record.grid, record.settings)
            folder.write("x" + record.stem, record.part, record.depths, tables)
    """
    process = apart(folder, work)
    record = journal.read(folder).records[f"x{stem}"]
    assert journal.where(folder, "networks", record).parent.name == record.writer
    end(process)
    other = RunFolder(folder)
    with other.share(Shard(3, 3)), other.gate():
        recovery.sweep_up(other)
    assert journal.where(folder, "networks", record) == folder / "networks" / f"x{stem}.parquet"


def test_a_writer_that_was_taken_for_dead_commits_nothing_more(folder):
    record = journal.read(folder).records[files(folder)[0].stem]
    mine = RunFolder(folder)
    with mine.share(Shard(1, 2)):
        (folder / "staging" / "writers" / f"{mine.writer.id}.json").unlink()
        mine.plans_for(record.grid, record.settings)
        with pytest.raises(StoreError, match="took this process for dead"):
            mine.write("new", Part(record.jobs), record.depths, {})


def test_the_gate_lets_one_through_at_a_time(folder):
    script = """if True:
        import sys, time
        from pathlib import Path
        from winit_jax.store import gate
        path = Path(sys.argv[1])
        for _ in range(20):
            with gate.passed(path / "staging"):
                number = int((path / "number").read_text())
                time.sleep(0.002)
                (path / "number").write_text(str(number + 1))
    """
    (folder / "number").write_text("0")
    all_of_them = [subprocess.Popen([sys.executable, "-c", script, str(folder)]) for _ in range(3)]
    assert [process.wait() for process in all_of_them] == [0, 0, 0]
    assert (folder / "number").read_text() == "60"
    assert not (folder / "staging" / "gate").exists()


def test_a_gate_whose_maker_was_killed_is_passed_at_once(folder):
    process = apart(folder, "held = folder.gate(); held.__enter__()")
    assert (folder / "staging" / "gate").exists()
    end(process)
    before = time.monotonic()
    with gate.passed(folder / "staging"):
        pass
    assert time.monotonic() - before < 2


@pytest.mark.usefixtures("of_a_network")
def test_a_gate_from_another_host_is_passed_once_its_heartbeat_is_stale(folder, monkeypatch):
    note = {"host": "elsewhere", "pid": 1, "started": 1.0, "heartbeat": time.time() + 0.3 - lock.STALE_SECONDS}
    (folder / "staging" / "gate").write_text(json.dumps(note))
    before = time.monotonic()
    with gate.passed(folder / "staging"):
        assert time.monotonic() - before > 0.2


@pytest.mark.usefixtures("of_a_network")
def test_a_container_of_the_same_name_on_another_machine_is_another_host(folder):
    mine = RunFolder(folder)
    with mine.share(Shard(2, 3)):
        (file,) = (folder / "staging" / "writers").glob("*.json")
        text = file.read_bytes()
    (folder / "staging" / "writers").mkdir()
    file.write_bytes(text)
    assert leases.living(folder / "staging") == []
    file.write_text(json.dumps({**json.loads(text), "boot": "another"}))
    assert len(leases.living(folder / "staging")) == 1
