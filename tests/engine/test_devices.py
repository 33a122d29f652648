"""Several devices: networks are dealt over them by one program, and no row depends on how many there are."""

import json
import re
import signal
from collections import Counter

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
    "measure.gradients=true",
]
# What XLA simplifies otherwise on several devices, if it may: divisions that share what they divide by.
TRAINED = [
    "activation=gelu",
    "normalization=layer",
    "block=residual",
    "train.optimizer=adam",
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
    "forward": (FORWARD, ("networks", "layers", "gradients")),
    "training": (TRAINED, ("networks", "layers", "training")),
}

# Two networks are trained at once, so that every device has some. What comes back says which devices it lay on, and
# each compilation and each draw of weights says that it was.
WHERE = """
import sys
import jax
from winit_jax.numerics.training import trainer
trainer.CPU_BLOCK = 2

def telling(function):
    def told(tree):
        for each in jax.tree.leaves(tree):
            if isinstance(each, jax.Array):
                shards = each.addressable_shards
                assert len(shards) == 1 or sum(shard.data.size for shard in shards) == each.size
                print(*(f"[result of {shard.device}]" for shard in shards), file=sys.stderr)
        return function(tree)
    return told

jax.device_get, jax.block_until_ready = telling(jax.device_get), telling(jax.block_until_ready)

def heard(event, seconds, **about):
    if event.endswith("backend_compile_duration"):
        print(f"[compiled {about['fun_name']}]", file=sys.stderr)

jax.monitoring.register_event_duration_secs_listener(heard)
from winit_jax.numerics import draws
draw = draws.unit_weight_stack
def drawing(*drawn):
    print(f"[drawn {drawn}]", file=sys.stderr)
    return draw(*drawn)
draws.unit_weight_stack = drawing
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
    """(Words of a sweep, its tables, the folder of a run of it on one device, that process.)"""
    words, tables = KINDS[request.param]
    folder = tmp_path_factory.mktemp("devices") / request.param
    process = run_apart(folder, *words, before=WHERE)
    assert_used(process, folder, 1)
    return words, tables, folder, process


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


def programs(process):
    """How often each program of the passes was compiled; two threads may compile a small operation of JAX's twice."""
    ours = ("_all_layers", "_gradients", "_draw_layers", "scaled", "_begin", "learn", "evaluate", "_multi_slice")
    names = re.findall(r"\[compiled jit\((\w+)\)\]", process.stderr)
    return Counter(name for name in names if name in ours)


@pytest.mark.slow
@pytest.mark.parametrize("devices", [2, 4])
def test_networks_are_dealt_over_all_devices_by_the_programs_and_draws_of_one_with_its_rows(alone, tmp_path, devices):
    words, tables, one, process = alone
    ran = run_apart(tmp_path / "dealt", *words, before=WHERE, devices=devices)
    assert_used(ran, tmp_path / "dealt", devices)
    assert_same_bits(one, tmp_path / "dealt", tables)
    assert programs(ran) == programs(process) != Counter()
    drawn = re.findall(r"\[drawn .*?\]", ran.stderr)
    assert len(drawn) == len(set(drawn)) > 0


@pytest.mark.slow
def test_killed_and_resumed_with_another_count_of_devices_a_run_has_the_rows_of_one(alone, tmp_path):
    words, tables, one, _ = alone
    devices, then = (1, 2) if "training" in tables else (3, 1)
    folder = tmp_path / "killed"
    killed = run_apart(folder, *words, before=WHERE + KILL, devices=devices)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert 0 < len(list((folder / "networks").iterdir())) < len(list((one / "networks").iterdir()))
    resumed = run_apart(folder, *words, before=WHERE, devices=then)
    assert_used(resumed, folder, then)
    assert [len(each["devices"]) for each in info(folder)["made_by"]] == [devices, then]
    assert_same_bits(one, folder, tables)
