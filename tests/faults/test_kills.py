"""Runs with all their numerics, killed from outside at some moment or other, again and again until they are done."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from processes import environment
from replay import FORWARD, TRAINING

from support.runs import run, table
from winit_jax.engine.planning import planner as plan
from winit_jax.numerics.training import trainer
from winit_jax.store import lock

pytestmark = pytest.mark.slow
# Blocks of every kind, measured and trained.
BLOCKS = (
    "block=residual, mlp(2), gated(2), conv(3), residual_conv2d(2), attention(2), transformer(2, 2, causal)",
    "activation=tanh", "gain=0.8", "depth=1,2", "width=8", "seed=0,1",
)  # fmt: skip
MEASURED = (*BLOCKS, "inputs.samples=6", "inputs.positions=4")
TRAINED = (
    "block=residual, transformer(2, 2)", *BLOCKS[1:], "inputs.source=digits", "inputs.samples=20",
    "train.source=digits", "train.steps=4", "train.eval_every=2", "train.train_samples=40", "train.test_samples=20",
)  # fmt: skip
SMALL_PARTS = "from replay import cut_small; cut_small()\n"
KILLS = 6


def is_held(folder):
    """Whether the computing process has the folder, and so is past its imports."""
    return lock.look(folder / "staging" / "lock").held


def computing(process):
    """The process that computes for another one, or that itself where nothing watches."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return int(children[0]) if children else process.pid


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize(
    ("words", "names"),
    [
        (FORWARD, ("networks", "layers")),
        (TRAINING, ("networks", "training")),
        (MEASURED, ("networks", "layers")),
        (TRAINED, ("networks", "training")),
    ],
)
def test_a_run_whose_computing_process_is_killed_goes_on_to_the_same_rows(tmp_path, monkeypatch, words, names):
    monkeypatch.setattr(plan, "PART_SECONDS", 1e-12)
    monkeypatch.setattr(trainer, "CPU_BLOCK", 2)
    run(tmp_path / "whole", *words)
    folder = tmp_path / "killed"
    script = f"{SMALL_PARTS}from winit_jax.cli.main import main\nmain()"
    command = [sys.executable, "-c", script, "run", *words, "--out", str(folder), "--no-figures"]
    process = subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    while process.poll() is None and not list(folder.glob("networks/*.parquet")):
        time.sleep(0.01)
    os.kill(computing(process), signal.SIGKILL)
    said = process.communicate(timeout=300)[1]
    assert process.returncode == 0, said
    assert "The process was killed (SIGKILL" in said
    for name in names:
        assert table(folder, name).equals(table(tmp_path / "whole", name))


@pytest.mark.parametrize(("words", "names"), [(FORWARD, ("networks", "layers")), (TRAINING, ("networks", "training"))])
def test_killed_again_and_again_ends_with_the_rows_of_an_undisturbed_run(tmp_path, monkeypatch, words, names):
    monkeypatch.setattr(plan, "PART_SECONDS", 1e-12)
    monkeypatch.setattr(trainer, "CPU_BLOCK", 2)
    run(tmp_path / "whole", *words)
    folder, moments, killed = tmp_path / "killed", random.Random(0), 0
    script = f"{SMALL_PARTS}from winit_jax.cli.main import main\nmain()"
    command = [sys.executable, "-c", script, "run", *words, "--out", str(folder), "--no-figures"]
    for _ in range(KILLS):
        process = subprocess.Popen(command, env=environment(), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while process.poll() is None and not is_held(folder) and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 3))
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
    assert killed
    run(folder, *words)
    for name in names:
        assert table(folder, name).equals(table(tmp_path / "whole", name))
