"""Parts that raise, hang or end the process: they are named, their neighbours are computed, and signals are obeyed."""

import json
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from support.runs import module_of_ones_own, run, run_apart, table, winit
from winit_jax.engine.running.supervise import Record, Watched
from winit_jax.engine.running.suspects import Queue, Task, by_program, key
from winit_jax.spec.parts import Job, Part, Point
from winit_jax.store.folder import RunFolder

WORDS = ["gain=1", "width=4", "depth=2", "inputs.samples=8"]
# Each does its worst where a network of eight samples and four units is traced, and not while it is looked at.
POISON = """
import os, signal, sys, threading, time
import jax, jax.numpy as jnp, numpy as np

def _in_a_network(a): return a.shape[-2:] == (8, 4)

def _worst(what):
    def act(a):
        if _in_a_network(a): what()
        return jnp.tanh(a)
    return act

def _raise(error):
    def what(): raise error
    return what

def _hang():
    while True: time.sleep(0.05)

exits, interrupts = _worst(_raise(SystemExit(0))), _worst(_raise(KeyboardInterrupt()))
disk, memory = _worst(_raise(OSError(28, "No space left on device"))), _worst(_raise(MemoryError()))
deep = _worst(_raise(RecursionError()))

class Bare(BaseException): pass
class Mute(Exception):
    def __str__(self): raise RuntimeError("its text fails")

bare, mute = _worst(_raise(Bare("of its own"))), _worst(_raise(Mute()))
stays = _worst(lambda: threading.Thread(target=time.sleep, args=(600,)).start())
dies = _worst(lambda: os.kill(os.getpid(), signal.SIGSEGV))
hangs = _worst(_hang)

@jax.custom_jvp
def hangs_below(a):
    def block(value):  # in float32 where JAX calls it in a thread of its own
        if _in_a_network(value): _hang()
        return np.asarray(value, a.dtype)
    return jax.pure_callback(block, jax.ShapeDtypeStruct(a.shape, a.dtype), jnp.tanh(a), vmap_method="sequential")

hangs_below.defjvp(lambda p, t: (hangs_below(p[0]), t[0] * (1 - jnp.tanh(p[0]) ** 2)))

def off(a): return jnp.tanh(a) + (0.5 if a.dtype == jnp.float32 else 0.0)
"""


@pytest.fixture
def poison(tmp_path, monkeypatch):
    """The name of a module in the working directory."""
    yield from module_of_ones_own(POISON, tmp_path, monkeypatch)


def job(activation, seed=0):
    return Job(activation, "normal", "none", 4, seed, (Point("normal", 1.0, 0.0),))


def test_a_job_in_flight_at_two_deaths_is_set_aside_and_its_neighbour_is_not():
    record, bad, good = Record(), job("bad"), job("good")
    record.note({"what": "start", "jobs": by_program(Part((bad, good))), "divisible": True})
    record.died("SIGSEGV")
    record.restarted()
    assert not record.set_aside
    assert set(record.deaths) == {key(bad), key(good)}
    for one in (good, bad):
        record.note({"what": "start", "jobs": by_program(Part((one,))), "divisible": False})
        if one is good:
            record.note({"what": "end", "jobs": by_program(Part((one,))), "well": True})
    record.died("SIGSEGV")
    assert record.set_aside == {key(bad): "killed the process twice (SIGSEGV)"}
    assert key(good) not in record.deaths


def test_a_program_that_only_ever_killed_is_not_tried_for_ever():
    record = Record()
    for seed in range(3):
        one = {"jobs": by_program(Part((job("bad", seed),)))}
        record.note({"what": "start", "divisible": False} | one)
        record.note({"what": "late", "reason": "took long", "final": True} | one)
        record.restarted()
    assert record.hopeless == {"bad, none, width 4"}
    record.note({"what": "end", "jobs": by_program(Part((job("bad", 9),))), "well": True})
    assert not record.hopeless


def test_networks_that_are_trained_together_are_cut_apart_at_the_second_death_only():
    points = (Point("normal", 1.0, 0.0, learning_rate=0.1),)
    trained = tuple(replace(job("tanh", seed), depth=2, points=points) for seed in (0, 1))
    task = Task("stem", Part(trained), 2, ("00-0000", 0))
    record = Record()

    def next_of_a_new_process():
        record.restarted()
        suspects = {key: deaths for key, deaths in record.deaths.items() if key not in record.set_aside}
        queue = Queue(iter([task]), {2}, Watched(suspects=suspects, set_aside=dict(record.set_aside)))
        found = queue.next(is_idle=True)
        record.note({"what": "start", "jobs": by_program(found.part), "divisible": found.can_be_cut})
        return found, queue

    assert next_of_a_new_process()[0] is task
    record.died("SIGKILL")
    assert next_of_a_new_process()[0] is task
    record.died("SIGKILL")
    assert not record.set_aside
    found, _ = next_of_a_new_process()
    assert found.part.jobs == trained[:1]
    record.died("SIGKILL")
    assert record.set_aside == {key(trained[0]): "killed the process 3 times (SIGKILL)"}
    found, queue = next_of_a_new_process()
    assert found.part.jobs == trained[1:]
    assert [failed for failed, _ in queue.failures] == [trained[0]]


@pytest.mark.parametrize("code", [0, 1, 75])
def test_code_that_ends_the_process_before_anything_is_computed_is_a_death(tmp_path, monkeypatch, code):
    (tmp_path / "ends.py").write_text(f"import os\nos._exit({code})\n")
    monkeypatch.chdir(tmp_path)
    ended = run_apart(tmp_path / "run", "activation=ends:act", *WORDS, supervised=True)
    assert ended.returncode == 1
    assert f"The process was killed (os._exit({code})) while nothing was being computed." in ended.stderr


def test_a_program_is_named_by_all_that_is_compiled_for_it():
    dense, mlp = job("tanh"), replace(job("tanh"), block="mlp(2)")
    behind = replace(job("tanh"), normalization="rms", norm_position="post", depth=3)
    names = [next(iter(by_program(Part((each,))))) for each in (dense, mlp, behind)]
    assert names == ["tanh, none, width 4", "mlp(2), tanh, none, width 4", "tanh, rms post, width 4, depth 3"]


def test_suspects_run_alone_and_last_and_keep_their_place_in_the_grid():
    jobs = tuple(job(name, seed) for seed in (0, 1) for name in ("bad", "good", "worse"))
    place = ("00-0000", 10)
    tasks = [Task(f"stem-{i}", Part(jobs[i : i + 3]), 3, place) for i in (0, 3)]
    watched = Watched(suspects={key(jobs[0]): 1}, set_aside={key(jobs[2]): "killed the process twice"})
    queue = Queue(iter(tasks), {1}, watched)
    first, second = queue.next(True), queue.next(False)
    assert first.part.jobs == (jobs[1],)
    assert first.stem.startswith("00-0000-000000011-part-")
    assert second == tasks[1]
    assert queue.next(is_idle=False) is None
    assert queue.next(is_idle=True).part.jobs == (jobs[0],)
    assert queue.next(is_idle=True) is None
    assert queue.failures == [(jobs[2], "killed the process twice")]


@pytest.mark.slow
def test_what_is_raised_in_a_part_is_that_parts_failure(poison, tmp_path):
    names = {
        "exits": f"RuntimeError: {poison}:exits raised SystemExit: 0",
        "interrupts": f"RuntimeError: {poison}:interrupts raised KeyboardInterrupt",
        "disk": f"RuntimeError: {poison}:disk raised OSError: [Errno 28] No space left on device",
        "memory": f"RuntimeError: {poison}:memory raised MemoryError",
        "deep": "RecursionError",
        "bare": f"RuntimeError: {poison}:bare raised Bare: of its own",
        "mute": "Mute",
    }
    activations = ",".join([*(f"{poison}:{name}" for name in names), "tanh"])
    said = run(tmp_path / "run", f"activation={activations}", *WORDS, code=1)
    for name, reason in names.items():
        assert f"failed: {poison}:{name}, normal 1, none, width 4, seed 0, all depths: {reason}\n" in said
    assert list(table(tmp_path / "run")["activation"]) == ["tanh"]
    assert "failed    7" in winit("status", tmp_path / "run")[0]


@pytest.mark.slow
def test_a_thread_that_a_function_leaves_behind_keeps_no_finished_run_open(poison, tmp_path):
    ended = run_apart(tmp_path / "run", f"activation={poison}:stays,tanh", *WORDS, supervised=True)
    assert (ended.returncode, ended.stdout) == (0, f"{tmp_path / 'run'}\n")
    assert "Traceback" not in ended.stderr


def test_a_lane_that_raises_keyboard_interrupt_is_no_user(tmp_path, monkeypatch):
    from winit_jax.engine.computing.measuring import Measuring

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Measuring, "measure", interrupt)
    said = run(tmp_path / "run", "activation=tanh", *WORDS, code=1)
    assert said.endswith("all depths: KeyboardInterrupt\n")


@pytest.mark.slow
def test_a_condemned_program_commits_nothing_and_its_neighbours_are_computed(poison, tmp_path):
    words = [f"activation={poison}:off,tanh", "seed=0,1,2", *WORDS]
    for _ in range(2):  # the second run checks it again
        said = run(tmp_path / "run", *words, code=1)
        assert said.count(f"failed: {poison}:off") == 3
        assert f"the self-check failed for {poison}:off at width 4: layer 1: " in said
        assert f"{poison}:off does not compute in float32 what it computes in float64" in said
        assert "jaxlib" not in said
        assert list(table(tmp_path / "run")["activation"]) == ["tanh"] * 3


def test_a_full_disk_stops_a_run_and_is_named(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(RunFolder, "write", full)
    said = run(tmp_path / "run", "activation=tanh", "seed=int:0:9", *WORDS, code=1)
    assert said == f"{tmp_path / 'run'}: No space left on device. What was finished is kept.\n"


DEADLY = "os.kill(os.getpid(), signal.SIGSEGV)"


@pytest.mark.slow
@pytest.mark.parametrize(("deadly", "how"), [(DEADLY, "SIGSEGV"), ("os._exit(0)", "os._exit(0)")])
def test_a_part_that_kills_the_process_is_set_aside_and_tried_again_by_the_next_command(poison, tmp_path, deadly, how):
    folder = tmp_path / "run"
    assert DEADLY in POISON
    (tmp_path / f"{poison}.py").write_text(POISON.replace(DEADLY, deadly))
    ended = run_apart(folder, f"activation={poison}:dies,tanh", *WORDS, supervised=True)
    assert ended.returncode == 1, ended.stderr
    assert ended.stderr.count(f"The process was killed ({how}) in the middle of: ") == 2
    assert f"failed: {poison}:dies, normal 1, none, width 4, seed 0, all depths: killed the process twice ({how})" in (
        ended.stderr
    )
    assert list(table(folder)["activation"]) == ["tanh"]
    assert re.search(r"^1 networks in (?!0.0 s).* \(1 of 2 in ", ended.stderr, re.MULTILINE)  # of three processes
    (tmp_path / f"{poison}.py").write_text(POISON.replace(DEADLY, "None"))
    ended = run_apart(folder, f"activation={poison}:dies,tanh", *WORDS, supervised=True)
    assert ended.returncode == 0, ended.stderr
    assert len(table(folder)) == 2


@pytest.mark.slow
def test_a_part_that_takes_too_long_is_given_up(poison, tmp_path):
    words = [f"activation={poison}:hangs_below,tanh", *WORDS, "compute.part_seconds=40"]
    ended = run_apart(tmp_path / "run", *words, supervised=True)
    assert ended.returncode == 1, ended.stderr
    assert "all depths: took longer than compute.part_seconds = 40" in ended.stderr
    assert list(table(tmp_path / "run")["activation"]) == ["tanh"]


def begin(folder, *words):
    """A run in a process of its own, once it has something in flight."""
    command = [sys.executable, "-c", "from winit_jax.cli.main import main; main()", "run", *words, "--out", str(folder)]
    process = subprocess.Popen([*command, "--no-figures"], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 180
    while not list(folder.glob("networks/*.parquet")):
        assert process.poll() is None, process.stderr.read()
        if time.monotonic() > deadline:
            process.kill()
            pytest.fail(f"no network was finished beside the other: {process.communicate()[1]}")
        time.sleep(0.1)
    time.sleep(0.5)
    return process


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "sent", "code"),
    [("hangs", [signal.SIGINT, signal.SIGINT], 130), ("hangs_below", [signal.SIGTERM], 143)],
)
def test_a_user_ends_a_run_that_hangs(poison, tmp_path, name, sent, code):
    process = begin(tmp_path / "run", f"activation={poison}:{name},tanh", *WORDS)
    for number in sent:
        process.send_signal(number)
        time.sleep(0.5)
    said = process.communicate(timeout=120)[1]
    assert process.returncode == code
    assert "networks are done. Go on with: winit run" in said
    assert json.loads((tmp_path / "run" / "run.json").read_text())["state"] == "interrupted"
    assert list(table(tmp_path / "run")["activation"]) == ["tanh"]


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_killing_the_watching_process_ends_both(poison, tmp_path):
    process = begin(tmp_path / "run", f"activation={poison}:hangs,tanh", *WORDS)
    (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.kill()
    process.wait()
    for _ in range(50):
        status = Path(f"/proc/{child}/status")
        if not status.exists() or "Z (zombie)" in status.read_text():
            break
        time.sleep(0.1)
    else:
        pytest.fail("the computing process lives on")
    process.stderr.close()
