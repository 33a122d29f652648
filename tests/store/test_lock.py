"""One process at a time: who holds the lock of a run folder, and how the last one ended."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from support.runs import run
from support.stored import FEW, empty, files, status
from winit_jax.spec.shards import Shard
from winit_jax.store import lock
from winit_jax.store.folder import RunFolder


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


@pytest.fixture
def without_locks(monkeypatch):
    def refuse(handle, how):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", refuse)
    monkeypatch.setattr(lock, "WAIT_SECONDS", 0.1)
    monkeypatch.setattr(lock, "SETTLE_SECONDS", 0.0)


def test_without_locks_a_fresh_heartbeat_keeps_others_out(folder, without_locks):
    with RunFolder(folder).lock():
        assert lock.look(folder / "staging" / "lock").held
        assert "is in use by another winit run" in run(folder, *FEW, code=2)
        assert "is in use by another winit run" in run(folder, *FEW, "--shard", "1/2", code=2)
    assert not lock.look(folder / "staging" / "lock").held
    said = run(folder, *FEW)
    assert "0 networks" in said
    assert f"note: the file system of {folder} has no locks. A heartbeat tells other processes" in said
    with RunFolder(folder).share(Shard(1, 2)):
        assert "is in use by shard 1/2" in run(folder, *FEW, code=2)


def test_without_locks_a_dead_process_of_this_host_keeps_nobody_out(folder, without_locks):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    note = lock.new_note().model_copy(update={"pid": gone.pid})
    (folder / "staging" / "lock").write_text(note.model_dump_json())
    assert not lock.look(folder / "staging" / "lock").held
    assert "0 networks" in run(folder, *FEW)
    (folder / "staging" / "lock").write_text(note.model_copy(update={"host": "elsewhere"}).model_dump_json())
    assert f"in use by another winit run (process {gone.pid} on elsewhere)" in run(folder, *FEW, code=2)


def test_of_two_that_begin_at_once_without_locks_one_has_the_folder(folder, without_locks, monkeypatch):
    other = lock.new_note().model_copy(update={"host": "elsewhere"})

    def writes_too(seconds):
        if seconds == lock.SETTLE_SECONDS:
            (folder / "staging" / "lock").write_text(other.model_dump_json())

    monkeypatch.setattr(lock.time, "sleep", writes_too)
    assert f"in use by another winit run (process {other.pid} on elsewhere)" in run(folder, *FEW, code=2)


def test_a_lock_that_cannot_be_asked_for_stops_the_run(folder, monkeypatch):
    def broken(handle, how):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(fcntl, "flock", broken)
    assert f"the lock {folder / 'staging' / 'lock'} cannot be asked for: Input/output error." in run(
        folder, *FEW, code=2
    )


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
