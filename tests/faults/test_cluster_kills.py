"""A worker, a launcher, a scheduler that is killed in the middle of a run: the same rows in the end, to the bit."""

import json
import os
import signal

import pytest

from support.clusters import code_of, launcher, parts, pids, scheduler, waited_for, workers
from support.runs import assert_same_bits, in_tiny_parts, table, winit

pytest.importorskip("distributed")
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("cluster-kills")]

WORDS = ["activation=tanh,relu", "gain=0.5,1.5", "width=8", "depth=int:1:3", "seed=int:0:11", "inputs.samples=20"]
LETHAL = """import os
def act(a):
    if a.shape[-1] == 13:
        os._exit(7)
    return a
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return in_tiny_parts(tmp_path_factory.mktemp("whole") / "run", *WORDS)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("cluster")


@pytest.fixture(scope="module")
def address(place):
    """Of a scheduler with two workers."""
    (place / "lethal.py").write_text(LETHAL)
    with scheduler(place) as (_, address), workers(place, address):
        yield address


def said(place):
    return (place / "said").read_text()


def assert_whole(whole, folder):
    assert_same_bits(whole, folder, ("networks", "layers", "mean_field"))
    assert json.loads((folder / "run.json").read_text())["state"] == "done"
    assert winit("verify", folder)[0].endswith("144 of 144 networks: all as written\n")
    assert os.listdir(folder / "staging") == ["lock"]


def test_a_worker_that_is_killed_costs_the_part_that_it_was_at(whole, place, address):
    folder = place / "worker"
    process = launcher(place, *WORDS, "--out", folder, cluster=address)
    waited_for(lambda: parts(folder) >= 2 and len(pids(folder)) == 2)
    told = winit("status", folder)[0]
    assert "launcher" in told
    assert told.count("worker ") == 2
    os.kill(pids(folder)[0], signal.SIGKILL)
    assert code_of(process) == 0, said(place)
    assert_whole(whole, folder)


def test_a_launcher_that_is_killed_goes_on_by_the_same_command(whole, place, address):
    folder = place / "launcher"
    process = launcher(place, *WORDS, "--out", folder, cluster=address)
    waited_for(lambda: parts(folder) >= 2)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    there = parts(folder)
    process = launcher(place, *WORDS, "--out", folder, cluster=address)
    assert code_of(process) == 0, said(place)
    assert there < 24
    assert_whole(whole, folder)


def test_an_interrupted_launcher_keeps_what_is_finished_and_says_how_to_go_on(whole, place, address):
    folder = place / "interrupted"
    process = launcher(place, *WORDS, "--out", folder, cluster=address)
    waited_for(lambda: parts(folder) >= 2)
    process.send_signal(signal.SIGINT)
    assert code_of(process) == 130, said(place)
    assert f"Go on with: winit run {folder}/sweep.toml --out {folder} --cluster {address}" in said(place)
    assert json.loads((folder / "run.json").read_text())["state"] == "interrupted"
    assert os.listdir(folder / "staging") == ["lock"]
    winit("run", *WORDS, "--out", folder, "--no-figures")  # one process does the rest
    assert len(table(folder)) == 144


def test_a_part_that_kills_its_workers_is_named_and_the_rest_is_done(place, address):
    folder = place / "lethal"
    words = ["activation=lethal:act", "gain=0.5,1.5", "width=8,13", "depth=2", "seed=0", "inputs.samples=9"]
    process = launcher(place, *words, "--out", folder, cluster=address)
    assert code_of(process) == 1, said(place)
    assert said(place).count("failed: lethal:act, normal 0.5") == 1
    assert "width 13, seed 0, all depths: killed the process twice (a worker, process" in said(place)
    assert list(table(folder)["width"]) == [8, 8]
    info = json.loads((folder / "run.json").read_text())
    assert (info["state"], len(info["failures"])) == ("failed", 1)


def test_a_scheduler_that_is_killed_ends_the_launcher_and_another_one_goes_on(whole, place):
    folder = place / "scheduler"
    with scheduler(place) as (process, address), workers(place, address, 1):
        running = launcher(place, *WORDS, "--out", folder, cluster=address)
        waited_for(lambda: parts(folder) >= 2)
        process.kill()
        assert code_of(running) == 1, said(place)
        assert f"The scheduler of {address} cannot be reached any more. What was finished is kept" in said(place)
        assert "Traceback" not in said(place)
    process = launcher(place, *WORDS, "--out", folder, cluster="local:2")
    assert code_of(process) == 0, said(place)
    assert_whole(whole, folder)


def test_a_worker_that_ends_in_order_is_not_held_against_its_part(whole, place):
    folder = place / "ordered"
    with scheduler(place) as (_, address), workers(place, address, 1) as first:
        process = launcher(place, *WORDS, "--out", folder, cluster=address)
        waited_for(lambda: parts(folder) >= 2)
        with workers(place, address, 1):
            first.terminate()
            assert code_of(process) == 0, said(place)
    assert "died" not in said(place)
    assert_whole(whole, folder)
