"""Shards: many processes, one run folder, and the rows of one process, to the bit."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest

import winit_jax as winit_face
from support.runs import SMALL, TINY_PARTS, assert_same_bits, in_tiny_parts, run, table, winit
from winit_jax.engine.computing.vocabulary import planner, vocabulary
from winit_jax.engine.planning import dealing
from winit_jax.engine.planning import planner as plan
from winit_jax.engine.running import beside
from winit_jax.errors import Refused
from winit_jax.spec.problems import SpecError
from winit_jax.spec.reading import load_sweep
from winit_jax.spec.shards import Shard, read_shard
from winit_jax.store.folder import RunFolder

pytestmark = pytest.mark.xdist_group("shards")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """One process, each family its own part."""
    return in_tiny_parts(tmp_path_factory.mktemp("shards") / "whole", *SMALL)


@pytest.fixture
def tiny_parts(monkeypatch):
    monkeypatch.setattr(plan, "PART_SECONDS", 1e-12)


def status(folder):
    lines = (line.split(None, 1) for line in winit("status", folder)[0].splitlines())
    return {line[0]: line[1] if len(line) > 1 else "" for line in lines}


@pytest.mark.usefixtures("tiny_parts")
@pytest.mark.parametrize("of", [2, 3])
def test_shards_one_after_another_have_the_bits_of_one_process(whole, tmp_path, of):
    for number in reversed(range(1, of + 1)):
        said = run(tmp_path, *SMALL, "--shard", f"{number}/{of}")
        assert f" networks of shard {number}/{of} in " in said
        told, info = status(tmp_path), json.loads((tmp_path / "run.json").read_text())
        assert (told["state"] == "done") == (info["state"] == "done") == (number == 1)
        assert info["networks_done"] == len(table(tmp_path))
        assert (tmp_path / "mean_field").exists() == (number == 1)
    assert_same_bits(whole, tmp_path, ("networks", "layers", "mean_field"))
    assert told["shards"] == f"{of} done"
    assert winit("verify", tmp_path)[0].endswith("96 of 96 networks: all as written\n")
    assert os.listdir(tmp_path / "staging") == ["lock"]


@pytest.mark.slow
@pytest.mark.parametrize("of", [2, 3])
def test_shards_at_once_have_the_bits_of_one_process(whole, tmp_path, of):
    script = f"{TINY_PARTS}from winit_jax.cli.main import main; main()"
    words = ["run", *SMALL, "--out", str(tmp_path), "--no-figures", "--shard"]
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    shards = [
        subprocess.Popen([sys.executable, "-c", script, *words, f"{number}/{of}"], **pipes)
        for number in range(1, of + 1)
    ]
    said = [shard.communicate(timeout=300)[1] for shard in shards]
    assert [shard.returncode for shard in shards] == [0] * of, said
    assert_same_bits(whole, tmp_path, ("networks", "layers", "mean_field"))
    assert status(tmp_path)["state"] == "done"
    assert json.loads((tmp_path / "run.json").read_text())["state"] == "done"


@pytest.mark.usefixtures("tiny_parts")
def test_what_no_shard_did_is_named_and_done_by_a_process_without_one(whole, tmp_path):
    said = run(tmp_path, *SMALL, "--shard", "2/3")
    assert "no other process is at work: start the other shards, or have what is missing done" in said
    told = status(tmp_path)
    assert told["shards"] == "1 done; not begun: 1, 3"
    assert told["state"] == "unfinished"
    assert "0 networks of shard 2/3 in " in run(tmp_path, *SMALL, "--shard", "2/3")  # nobody steals
    run(tmp_path, *SMALL)
    assert_same_bits(whole, tmp_path)
    assert status(tmp_path)["state"] == "done"


@pytest.mark.usefixtures("tiny_parts")
def test_a_shard_that_is_at_work_is_not_begun_twice_nor_beside_others_of_another_number(tmp_path):
    run(tmp_path, *SMALL, "--shard", "1/2")
    sweep = load_sweep(tmp_path / "sweep.toml", [], vocabulary())
    other = RunFolder(tmp_path)
    with other.share(Shard(2, 2)):
        other.lease.tell_now(has_begun=True, sweep=beside.digest(sweep), cut=beside.way())
        who = f"process {os.getpid()} on {os.uname().nodename}"
        said = run(tmp_path, *SMALL, "--shard", "2/2", code=2)
        assert said == f"shard 2/2 of {tmp_path} is at work already ({who}).\n"
        said = run(tmp_path, *SMALL, "--shard", "1/3", code=2)
        assert said.startswith(f"{tmp_path} is being filled by shard 2/2 ({who}), and shards of 3 would repeat")
        said = run(tmp_path, *SMALL, "seed=0,1,2", "--shard", "1/2", code=2)
        assert f"{tmp_path} is being filled with another sweep by shard 2/2 ({who})" in said
        assert "still at work: shard 2/2" in run(tmp_path, *SMALL, "--shard", "1/2")
        told = status(tmp_path)
        assert told["state"] == "running (1 process)"
        assert told["shards"] == "1 done, 1 running"
        assert json.loads((tmp_path / "run.json").read_text())["state"] == "running"
        other.lease.tell_now(cut="another way")
        assert "another version of winit" in run(tmp_path, *SMALL, "--shard", "1/2", code=2)


@pytest.mark.usefixtures("tiny_parts")
def test_shards_grow_a_folder_by_points_when_nobody_is_at_work(whole, tmp_path):
    words = [word for word in SMALL if not word.startswith(("seed", "depth"))]
    for number in (1, 2):
        run(tmp_path, *words, "seed=0", "depth=2", "--shard", f"{number}/2")
    for number in (1, 2, 3):
        run(tmp_path, *SMALL, "--shard", f"{number}/3")
    assert_same_bits(whole, tmp_path)
    assert winit("verify", tmp_path)[0].endswith("96 of 96 networks: all as written\n")


@pytest.mark.usefixtures("tiny_parts")
def test_a_failure_in_a_shard_stands_in_run_json_beside_those_of_others(tmp_path, monkeypatch):
    (tmp_path / "brittle.py").write_text(
        "def act(a):\n    if a.shape[-1] == 13:\n        raise RuntimeError('thirteen units')\n    return a\n"
    )
    monkeypatch.chdir(tmp_path)
    words = ["activation=brittle:act", "gain=1", "width=13", "depth=2", "seed=0,1", "inputs.samples=9"]
    folder = tmp_path / "run"
    for number in (1, 2):
        run(folder, *words, "--shard", f"{number}/2", code=1)
    info = json.loads((folder / "run.json").read_text())
    assert (info["state"], len(info["failures"])) == ("failed", 2)
    assert status(folder)["shards"] == "2 failed"


@pytest.mark.slow
@pytest.mark.usefixtures("tiny_parts")
def test_an_interrupted_shard_says_how_to_go_on_and_does(whole, tmp_path):
    slow = "import winit_jax.store.folder as s, time\nw = s.RunFolder.write\n"
    slow += "def write(*a):\n    w(*a)\n    time.sleep(0.5)\ns.RunFolder.write = write\n"
    script = f"{TINY_PARTS}{slow}\nfrom winit_jax.cli.main import main\nmain()"
    command = [sys.executable, "-c", script, "run", *SMALL, "--out", str(tmp_path), "--no-figures", "--shard", "1/2"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    while not list((tmp_path / "networks").glob("*.parquet")):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert f"Go on with: winit run {tmp_path / 'sweep.toml'} --out {tmp_path} --shard 1/2" in said
    assert json.loads((tmp_path / "run.json").read_text())["state"] == "interrupted"
    assert status(tmp_path)["shards"] == "1 interrupted; not begun: 2"
    for number in (1, 2):
        run(tmp_path, tmp_path / "sweep.toml", "--shard", f"{number}/2")
    assert table(tmp_path).equals(table(whole))


@pytest.mark.slow
@pytest.mark.usefixtures("tiny_parts")
def test_a_shard_whose_computing_process_dies_goes_on_in_another(whole, tmp_path):
    """Its lease is that of a dead process of the same host, and is taken over at once."""
    die = "import os, winit_jax.store.folder as s\nw = s.RunFolder.write\n"
    die += f"def write(*a):\n    w(*a)\n    m = {str(tmp_path / 'died')!r}\n"
    die += "    if not os.path.exists(m):\n        open(m, 'w').close()\n        os.kill(os.getpid(), 9)\n"
    script = f"{TINY_PARTS}{die}s.RunFolder.write = write\nfrom winit_jax.cli.main import main\nmain()"
    folder = tmp_path / "run"
    command = [sys.executable, "-c", script, "run", *SMALL, "--out", str(folder), "--no-figures", "--shard", "1/2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "The process was killed (SIGKILL" in done.stderr
    run(folder, *SMALL, "--shard", "2/2")
    assert table(folder).equals(table(whole))


def test_a_shard_in_python(tmp_path):
    words = {"activation": "tanh", "gain": [0.5, 1.5], "width": 8, "depth": 2, "inputs": {"samples": 20}}
    for shard in ("1/2", (2, 2)):
        found = winit_face.run(words, out=tmp_path, shard=shard, progress=False, say=lambda line: None, seed=[0, 1])
    assert len(found.networks) == 4
    with pytest.raises(Refused, match="out=DIR"):
        winit_face.run(words, shard="1/2")


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("0/4", "0/4 is none of the 4 shards, which are numbered 1 to 4. An array that counts from 0 adds 1"),
        ("5/4", "5/4 is none of the 4 shards, which are numbered 1 to 4."),
        ("-1/4", "-1/4 is none of the 4 shards"),
        ("1/0", "1/0 has 0 shards; there are 1 to 100,000."),
        ("1/1000000", "1/1000000 has 1,000,000 shards"),
        ("3", "'3' is not of the form I/N, such as 3/64: the third of 64 shards."),
        ("", "'' is not of the form I/N"),
        ("/4", "'/4' is not of the form I/N"),
        ("1.5/4", "'1.5/4' is not of the form I/N"),
    ],
)
def test_what_is_no_shard_gets_a_sentence(tmp_path, value, sentence):
    said = run(tmp_path / "run", *SMALL, f"--shard={value}", code=2)
    assert said.startswith(f"shard: {sentence}")
    assert said.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("value", [3, (1,), (1, 2, 3), ("1", "2"), (True, 2), None])
def test_what_is_no_shard_in_python_gets_a_sentence(value):
    assert read_shard(value, problems := []) is None
    assert "neither I/N, such as '3/64', nor two whole numbers" in str(problems[0])


def test_all_that_is_wrong_is_said_at_once_with_what_is_wrong_in_the_sweep(tmp_path):
    said = run(tmp_path / "run", *SMALL, "activation=tanhh", "--shard=0/4", "--cluster=local:0", code=2)
    assert "\ncommand line: 4 problems\n" in said
    assert "  grid.activation" in said
    assert "  shard: 0/4 is none of the 4 shards, which are numbered 1 to 4. An array that counts from 0" in said
    assert "  cluster: 'local:0' asks for 0; there are 1 to 10,000.\n" in said
    assert "  shard and cluster: a launcher gives all parts out by itself." in said
    with pytest.raises(SpecError) as caught:
        winit_face.run({"activation": "tanh", "depth": 0}, shard="9/4", progress=False)
    assert [problem.place for problem in caught.value.problems] == ["grid.depth", "grid", "shard", "shard"]


def parts_of(sweep, shards):
    machine = planner(dealing.CORES, least_parts=dealing.LEAST_PARTS)
    return list(dealing.dealt(machine, sweep, shards))


@pytest.mark.parametrize("name", ["phase", "trainability", "which-init"])
def test_every_part_belongs_to_one_shard_and_shards_have_about_as_much_to_do(name):
    sweep, shards = load_sweep(name, [], vocabulary()), 4
    dealt = parts_of(sweep, shards)
    machine = planner(dealing.CORES, least_parts=dealing.LEAST_PARTS)
    assert [part for _, part in dealt] == list(machine.parts(sweep))
    costs, loads, programs = dealing.Costs(machine, sweep), Counter(), {}
    for number, part in dealt:
        loads[number] += costs.of(part)
        programs.setdefault(number, {}).update({dealing._program(job): costs.of_program(job) for job in part.jobs})
    whole = [loads[number] + sum(programs[number].values()) for number in range(1, shards + 1)]
    largest = max(costs.of(part) + sum(costs.of_program(job) for job in part.jobs[:1]) for _, part in dealt)
    assert max(whole) - min(whole) <= largest + 1e-9  # the greedy rule's bound


def test_equal_parts_are_dealt_round():
    words = ["activation=tanh", "init=normal", "gain=lin:0.5:2:400", "width=100", "depth=int:1:50", "seed=int:0:11"]
    sweep = load_sweep(None, words, vocabulary())
    numbers = [number for number, _ in parts_of(sweep, 3)]
    assert numbers[:6] == [1, 2, 3, 1, 2, 3]


def test_how_a_sweep_is_cut_for_shards_does_not_depend_on_the_machine(monkeypatch):
    from winit_jax.engine.computing.executor import Executor
    from winit_jax.engine.computing.work import read_work
    from winit_jax.engine.running import launch
    from winit_jax.system import provenance

    sweep = load_sweep(None, [*SMALL, "inputs.samples=5"], vocabulary())
    executor, found = Executor(read_work(sweep)), []
    for cores in (1, 64):
        monkeypatch.setattr(provenance, "cores", lambda cores=cores: cores)
        found.append(list(launch._shard_planner(executor).parts(sweep)))
    assert found[0] == found[1]


def test_a_shard_is_written_as_it_is_asked_for():
    assert [read_shard(value, []) for value in ("3/64", (3, 64), [3, 64], Shard(3, 64))] == 4 * [Shard(3, 64)]
    assert str(Shard(3, 64)) == "3/64"
