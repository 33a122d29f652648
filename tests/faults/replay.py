"""Runs without numerics: the tables of every part were computed once, and are handed out again.

What is tested with them is all the rest, from the command line to the disk. No JAX backend is started, so that a
process may fork.
"""

import json
from types import SimpleNamespace
from typing import ClassVar

import numpy as np

from winit_jax.engine.computing import devices
from winit_jax.engine.computing.executor import Executor
from winit_jax.engine.planning import planner as plan
from winit_jax.engine.running import launch, runner
from winit_jax.numerics.training import trainer
from winit_jax.store import checkpoints
from winit_jax.store.asked import settings_digest
from winit_jax.system import provenance

FORWARD = ["activation=tanh,relu", "gain=0.5,1.5", "width=8", "depth=int:1:4", "seed=0", "inputs.samples=20"]
GRADIENTS = ["activation=tanh", *FORWARD[1:], "measure.gradients=true", "measure.histogram.bins=4"]
TRAINING = ["activation=relu", "gain=1,2", "width=8", "depth=1,2", "seed=0", "learning_rate=0.1,0.5"]
TRAINING += ["inputs.samples=20", "train.steps=4", "train.eval_every=2", "train.batch_size=10"]
TRAINING += ["train.train_samples=60", "train.test_samples=50"]


CPU = SimpleNamespace(platform="cpu", device_kind="cpu", id=0)


def _other(words, **axes):
    return [f"{name}={axes[name]}" if (name := word.partition("=")[0]) in axes else word for word in words]


# Sweeps that are run into one folder, one after another; the last one is disturbed.
SCENARIOS = {
    "forward": [FORWARD],
    "gradients": [GRADIENTS],
    "growing": [_other(FORWARD, depth="2", gain="0.5"), FORWARD],
    "training": [TRAINING],
    "shards": [[*FORWARD, "--shard", "1/2"], [*FORWARD, "--shard", "2/2"]],
    "compacting": [FORWARD, ["compact", "--rows", "10"]],
    "growing-training": [_other(TRAINING, depth="1", learning_rate="0.5"), TRAINING],
}


def key(sweep, part, depths):
    return json.dumps([settings_digest(sweep), part.to_json(), list(depths)])


def cut_small():
    """Every family its own part, two networks a batch: many commits."""
    plan.PART_SECONDS = 1e-12
    trainer.CPU_BLOCK = 2


class Recording(Executor):
    """Computes, and keeps what it computed in `kept`: key -> tables, and the tables of theory by the sweep's file."""

    kept: ClassVar[dict] = {}

    def run(self, part, depths, lane=0, watch=lambda share: None, checkpoint=None):
        tables = super().run(part, depths, lane, watch, checkpoint)
        self.kept[key(self.sweep, part, depths)] = tables
        return tables

    def predictions(self):
        tables = super().predictions()
        self.kept[self.sweep.to_toml()] = tables
        return tables


def _half_way(watch, checkpoint, name):
    """Go on from a checkpoint or from nothing, and keep one in the middle."""
    belongs_to, standing = checkpoints.fingerprint(name), {"step": np.array(1), "weights": np.arange(100.0)}
    found = checkpoint.load(belongs_to)
    if found is not None and not (found["weights"] == standing["weights"]).all():
        raise ValueError("the checkpoint is of something else")
    checkpoints.between(watch, 2, checkpoint, belongs_to)(1, lambda: standing)


class Replaying(Executor):
    """Hands out what was kept. A part that was not is a KeyError, and so a failure of the run."""

    kept: ClassVar[dict] = {}

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **{**options, "devices": [CPU]})

    def run(self, part, depths, lane=0, watch=lambda share: None, checkpoint=None):
        name = key(self.sweep, part, depths)
        if part.is_training:
            _half_way(watch, checkpoint, name)
        else:
            watch(0.5)
        return self.kept[name]

    def predictions(self):
        return self.kept.get(self.sweep.to_toml(), {})


def replay(kept):
    """From now on, runs of this process are replayed, in one lane."""
    cut_small()
    checkpoints.SECONDS = 0.0
    Replaying.kept = kept
    launch.Executor = Replaying
    devices.of_this_process = lambda: [CPU]  # without starting a backend
    runner.LANES_A_DEVICE = 1
    provenance.commit = lambda: "0" * 40  # asks git, which is another process
