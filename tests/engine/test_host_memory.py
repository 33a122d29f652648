"""Runs that this machine's memory does not hold: smaller batches, one sentence, the same rows."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from support.runs import run, run_apart, table
from winit_jax.engine.planning import planner as plan
from winit_jax.engine.running.record import MOST_HALVINGS, Record
from winit_jax.numerics import halving
from winit_jax.system import machine

WORDS = ["activation=tanh", "gain=0.5,1", "width=8", "depth=2", "seed=0,1", "inputs.samples=20", "learning_rate=0.1"]
TRAINED = [*WORDS, "train.steps=4", "train.eval_every=2", "train.batch_size=10", "train.train_samples=60"]
TRAINED += ["train.test_samples=50"]
FORWARD = [*WORDS[:-1], "measure.gradients=true"]


@pytest.mark.parametrize(
    ("words", "names"),
    [(TRAINED, ("networks", "training")), pytest.param(FORWARD, ("networks", "layers"), marks=pytest.mark.slow)],
)
def test_a_run_with_next_to_no_memory_free_ends_with_the_same_rows(tmp_path, monkeypatch, words, names):
    run(tmp_path / "whole", *words)
    monkeypatch.setattr(halving, "LOOK_MIB", 0.0)
    monkeypatch.setattr(machine, "takable_bytes", lambda: 0)
    said = run(tmp_path / "run", *words)
    assert said.count("note: this machine's memory does not hold") == 1
    assert "networks at once" in said
    for name in names:
        # Of programs of another size, last digits differ.
        pd.testing.assert_frame_equal(table(tmp_path / "run", name), table(tmp_path / "whole", name), rtol=1e-4)


# The process is killed while its batches are as large as they were planned, as the kernel does it.
KILLED = """
import os, signal
from winit_jax.engine.computing.executor import Executor
from winit_jax.engine.running import supervise
supervise._Memory.ran_out = lambda self, number: {ran_out}
compute = Executor.run
def run(self, *arguments, **options):
    if self.halved < 2: os.kill(os.getpid(), signal.SIGKILL)
    return compute(self, *arguments, **options)
Executor.run = run
"""


@pytest.mark.slow
@pytest.mark.parametrize("ran_out", [True, False])
def test_where_the_kernel_killed_for_memory_batches_are_halved_before_a_job_is_blamed(tmp_path, monkeypatch, ran_out):
    ended = run_apart(tmp_path / "run", *FORWARD, supervised=True, before=KILLED.format(ran_out=ran_out))
    assert ended.returncode == (0 if ran_out else 1), ended.stderr
    said = "The process was killed, and memory had run out. What was finished is kept; going on with half as many"
    assert ended.stderr.count(said) == (2 if ran_out else 0)
    if ran_out:
        monkeypatch.setattr(plan, "PART_SECONDS", 1e-12)
        run(tmp_path / "whole", *FORWARD)
        pd.testing.assert_frame_equal(table(tmp_path / "run"), table(tmp_path / "whole"), rtol=1e-4)


def test_after_so_many_deaths_for_memory_a_job_is_blamed():
    record = Record()
    assert [record.ran_out() for _ in range(MOST_HALVINGS + 1)] == [True] * MOST_HALVINGS + [False]
    assert record.halved == MOST_HALVINGS


def limited(place, names, most, used, files, kills):
    place.mkdir(parents=True)
    (place / names[0]).write_text(f"{most}\n")
    (place / names[1]).write_text(f"{used}\n")
    (place / "memory.stat").write_text(f"anon 5\ninactive_file {files}\ntotal_inactive_file {files}\n")
    (place / names[2]).write_text(f"low 0\noom_kill {kills}\n")


@pytest.mark.parametrize(
    ("place", "names"),
    [
        ("", ("memory.max", "memory.current", "memory.events")),
        ("memory", ("memory.limit_in_bytes", "memory.usage_in_bytes", "memory.oom_control")),
    ],
)
def test_what_a_container_leaves_is_free_in_either_version_of_control_groups(tmp_path, monkeypatch, place, names):
    limited(tmp_path / "cgroup" / place, names, 50 << 20, 30 << 20, 10 << 20, 3)
    monkeypatch.setattr(machine, "CGROUP", tmp_path / "cgroup")
    assert machine.memory_bytes() == 50 << 20
    assert machine.free_bytes() == 30 << 20
    assert machine.memory_kills() == 3


def test_a_limit_on_addresses_is_a_limit_on_what_is_free():
    script, most = "from winit_jax.system import machine; print(machine.free_bytes())", 3 << 30
    script = f"import resource; resource.setrlimit(resource.RLIMIT_AS, ({most}, {most})); {script}"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert 0 < int(found.stdout) < most, found.stderr


def test_freed_memory_that_is_kept_counts_as_free():
    machine.keep_freed_memory()
    taken = [np.ones(1 << 17) for _ in range(64)]  # 64 MiB
    before = machine._kept_bytes()
    del taken
    assert machine._kept_bytes() - before > 32 << 20
