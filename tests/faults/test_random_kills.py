"""Processes that are killed at random moments: of one machine, of shards, of a cluster. The same rows, to the bit.

`WINIT_KILLS=40` for a night: so many rounds of each kind. What it counts as a kill ended a process that was alive.
"""

import json
import os
import random
import shutil
import signal
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from processes import finished
from processes import python as script

from support import clusters
from support.runs import TINY_PARTS, assert_same_bits, in_tiny_parts, winit
from winit_jax.store import lock

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc"),
    pytest.mark.xdist_group("random-kills"),
]
# How often a folder is filled by processes that are killed.
ROUNDS = int(os.environ.get("WINIT_KILLS", "3"))
SEED = int(os.environ.get("WINIT_KILLS_SEED", "0"))
WORDS = ["activation=tanh,relu", "gain=0.5,1.5", "width=8", "depth=int:1:3", "seed=int:0:11", "inputs.samples=20"]
TABLES = ("networks", "layers", "mean_field")
# From when a run has its folder to its end, about: kills come in the middle of it.
RUN_SECONDS = 3.0


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return in_tiny_parts(tmp_path_factory.mktemp("whole") / "run", *WORDS)


def killed(pid):
    """Whether a process was alive, and is killed."""
    try:
        is_alive = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        os.kill(pid, signal.SIGKILL)
    except (OSError, IndexError):
        return False
    return is_alive


def children(pid):
    """Of whichever of its threads."""
    found = []
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            found += map(int, file.read_text().split())
    return found


def begun(process, is_at_work):
    """Wait until a run has its folder, or has ended."""
    clusters.waited_for(lambda: process.poll() is not None or is_at_work())


def assert_whole(whole, folder):
    assert_same_bits(whole, folder, TABLES)
    assert json.loads((folder / "run.json").read_text())["state"] == "done"
    assert winit("verify", folder)[0].endswith("144 of 144 networks: all as written\n")
    assert os.listdir(folder / "staging") == ["lock"]


# One machine: the process that computes, or the one that watches it.


def locally(place, folder):
    (place / "said").write_bytes(b"")
    code = f"{TINY_PARTS}from winit_jax.cli.main import main\nmain()"
    process = clusters.python(place, "-c", code, "run", *WORDS, "--out", folder, "--no-figures")
    begun(process, lambda: lock.look(folder / "staging" / "lock").held)
    return process


def kill_locally(place, folder, moments, tally):
    """One command, of which one process is killed; how it ends."""
    process = locally(place, folder)
    time.sleep(moments.uniform(0, RUN_SECONDS))
    victim = moments.choice(["supervisor", "computing process"])
    # Twice in one command, a kill would be held against the part that was in flight.
    pids = [process.pid] if victim == "supervisor" else children(process.pid)
    if process.poll() is None and any(map(killed, pids)):
        tally[victim] = tally.get(victim, 0) + 1
    code, said = clusters.code_of(process), (place / "said").read_text()
    assert code in (0, -signal.SIGKILL) or "while nothing was being computed" in said, said


def test_a_run_of_one_machine_killed_at_random_moments_ends_with_the_same_rows(tmp_path, whole):
    moments, tally = random.Random(SEED), {}
    for _ in range(ROUNDS):
        folder = tmp_path / "run"
        for _ in range(moments.choice([1, 2, 3])):
            kill_locally(tmp_path, folder, moments, tally)
        assert clusters.code_of(locally(tmp_path, folder)) == 0, (tmp_path / "said").read_text()
        assert_whole(whole, folder)
        shutil.rmtree(folder)
    report("one machine", tally)


# Shards: forks of one process that hand recorded tables out, so that there are many kills in little time.


@pytest.mark.parametrize("scenario", ["forward", "training"])
def test_shards_killed_at_random_moments_end_with_the_rows_of_one_process(tmp_path, scenario):
    finished(script("record.py", tmp_path / "tables", tmp_path, scenario))
    rounds = 3 * ROUNDS
    found = json.loads(finished(script("shards.py", tmp_path / "tables", tmp_path / "killed", scenario, rounds, SEED)))
    assert found["killed"] >= rounds
    assert found["wrong"] == []
    report(f"shards, {scenario}", {"shard": found["killed"]})


# A cluster: a worker, the launcher or the scheduler. With which code a command ends then, and what it says.
ENDS = {
    "worker": (0, ""),
    "launcher": (1, "while nothing was being computed. What was finished is kept."),
    "launcher's supervisor": (-signal.SIGKILL, ""),
    "scheduler": (1, "cannot be reached any more. What was finished is kept"),
}


class Cluster:
    """A scheduler with two workers, made anew after its scheduler was killed."""

    def __init__(self, place):
        self.place, self._stack = place, ExitStack()
        self.address = ""

    def __enter__(self):
        self.scheduler, self.address = self._stack.enter_context(clusters.scheduler(self.place))
        self._watching = self._stack.enter_context(clusters.workers(self.place, self.address))
        return self

    def __exit__(self, *error):
        self._stack.close()

    def workers(self):
        """The processes that compute, whatever they are at."""
        spawned = [pid for pid in children(self._watching.pid) if b"spawn_main" in _command(pid)]
        return sorted(spawned)

    def again(self):
        self._stack.close()
        self._stack = ExitStack()
        self.__enter__()


def _command(pid):
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def launches(process, folder):
    """Whether a launcher has its lease, and so its cluster; leases of those before it may be there too."""
    names = [path.name for path in folder.glob("staging/writers/*.json")]
    return any(f"-{pid}-" in name for pid in children(process.pid) for name in names)


def kill_of_cluster(cluster, folder, moments, tally):
    """One command on a cluster, of which one process is killed; how it ends."""
    place = cluster.place
    launcher = clusters.launcher(place, *WORDS, "--out", folder, cluster=cluster.address)
    begun(launcher, lambda: launches(launcher, folder))
    time.sleep(moments.uniform(0, RUN_SECONDS))
    victim = moments.choice(list(ENDS))
    pids = {
        "worker": cluster.workers(),
        "launcher": children(launcher.pid),
        "launcher's supervisor": [launcher.pid],
        "scheduler": [cluster.scheduler.pid],
    }[victim]
    assert pids or launcher.poll() is not None
    is_in_its_middle = launcher.poll() is None and bool(pids)
    if is_in_its_middle and killed(moments.choice(pids)):
        tally[victim] = tally.get(victim, 0) + 1
    code, said = clusters.code_of(launcher), (place / "said").read_text()
    expected, sentence = ENDS[victim]
    assert code == 0 or (code == expected and sentence in said), f"{victim}: {code}: {said}"
    if victim == "scheduler" and is_in_its_middle:
        cluster.again()


def test_a_cluster_killed_at_random_moments_ends_with_the_same_rows(tmp_path, whole):
    pytest.importorskip("distributed")
    moments, tally = random.Random(SEED), {}
    with Cluster(tmp_path) as cluster:
        for _ in range(ROUNDS):
            folder = tmp_path / "run"
            for _ in range(moments.choice([1, 2, 3])):
                kill_of_cluster(cluster, folder, moments, tally)
            last = clusters.launcher(tmp_path, *WORDS, "--out", folder, cluster=cluster.address)
            assert clusters.code_of(last) == 0, (tmp_path / "said").read_text()
            assert_whole(whole, folder)
            shutil.rmtree(folder)
    report("a cluster", tally)


def report(where, tally):
    """For `pytest -s`: how many processes were killed while they were at work."""
    print(f"{where}: {sum(tally.values())} killed in their work: {tally}")
    assert tally
