"""Several devices: each gets parts, run.json names them, and no row depends on how many there are."""

import json
import re
import signal

import pytest

from support.runs import assert_same_bits, run_apart

FORWARD = [
    "activation=tanh",
    "gain=0.5,1.5",
    "bias_std=0,0.1",
    "width=8",
    "depth=1,3",
    "seed=0,1,2,3",
    "inputs.samples=20",
]
TRAINED = [
    "activation=relu",
    "gain=0.5,1.5",
    "width=8",
    "depth=2",
    "seed=0,1,2,3",
    "learning_rate=0.05,0.5",
    "inputs.samples=20",
    "train.steps=4",
    "train.eval_every=3",
    "train.batch_size=8",
    "train.train_samples=40",
    "train.test_samples=9",
]
KINDS = {
    "forward": (FORWARD, ("networks", "layers")),
    "training": (TRAINED, ("networks", "layers", "training")),
}

# Two networks are trained at once, so that every lane has a part. What comes back from a device says which one it was.
WHERE = """
import sys
import jax
from winit_jax.numerics.training import trainer
trainer.CPU_BLOCK = 2

def telling(function):
    def told(tree):
        for each in jax.tree.leaves(tree):
            if isinstance(each, jax.Array):
                print(*(f"[result of {device}]" for device in each.devices()), file=sys.stderr)
        return function(tree)
    return told

jax.device_get, jax.block_until_ready = telling(jax.device_get), telling(jax.block_until_ready)
"""
# A process that is killed once three parts are in their places.
KILL = """
import os, signal
replace, placed = os.replace, 0
def placing(source, target):
    global placed
    replace(source, target)
    placed += os.path.basename(os.path.dirname(target)) == "networks"
    if placed == 3:
        os.kill(os.getpid(), signal.SIGKILL)
os.replace = placing
"""


@pytest.fixture(scope="module", params=sorted(KINDS))
def alone(request, tmp_path_factory):
    """(Words of a sweep, its tables, the folder of a run of it on one device.)"""
    words, tables = KINDS[request.param]
    folder = tmp_path_factory.mktemp("devices") / request.param
    assert_used(run_apart(folder, *words, before=WHERE), folder, 1)
    return words, tables, folder


def used(process):
    """The devices that results of a run came from."""
    return set(re.findall(r"\[result of (\S+)\]", process.stderr))


def info(folder):
    return json.loads((folder / "run.json").read_text())


def assert_used(process, folder, count):
    """A run ended well, run.json names so many devices, and results came from each of them."""
    assert process.returncode == 0, process.stderr
    named = info(folder)["devices"]
    assert len(named) == len(set(named)) == count
    assert used(process) == set(named)


@pytest.mark.slow
def test_every_device_gets_parts_and_the_rows_are_those_of_one_device(alone, tmp_path):
    words, tables, one = alone
    ran = run_apart(tmp_path / "three", *words, before=WHERE, devices=3)
    assert_used(ran, tmp_path / "three", 3)
    assert_same_bits(one, tmp_path / "three", tables)


@pytest.mark.slow
def test_killed_and_resumed_with_another_count_of_devices_a_run_has_the_rows_of_one(alone, tmp_path):
    words, tables, one = alone
    devices, then = (1, 2) if "training" in tables else (3, 1)
    folder = tmp_path / "killed"
    killed = run_apart(folder, *words, before=WHERE + KILL, devices=devices)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert 0 < len(list((folder / "networks").iterdir())) < len(list((one / "networks").iterdir()))
    resumed = run_apart(folder, *words, before=WHERE, devices=then)
    assert_used(resumed, folder, then)
    assert [len(each["devices"]) for each in info(folder)["made_by"]] == [devices, then]
    assert_same_bits(one, folder, tables)
