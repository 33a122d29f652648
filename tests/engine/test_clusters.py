"""Workers of dask that fill one run folder: the rows of one process, to the bit, and who is refused and why."""

import json
import os
import sys
from types import ModuleType

import pytest

import winit_jax as winit_face
from support.runs import SMALL, assert_same_bits, in_tiny_parts, run, winit
from winit_jax.engine.clusters import connecting, likeness, working
from winit_jax.engine.clusters.deck import Deck
from winit_jax.engine.computing.vocabulary import planner, vocabulary
from winit_jax.engine.planning import planner as plan
from winit_jax.engine.planning.dealing import Costs
from winit_jax.engine.running import beside
from winit_jax.engine.running.suspects import by_program
from winit_jax.engine.running.tasks import missing
from winit_jax.errors import Refused
from winit_jax.spec.clusters import read_address, read_cluster
from winit_jax.spec.reading import load_sweep
from winit_jax.spec.shards import Shard
from winit_jax.store.folder import RunFolder

pytestmark = pytest.mark.xdist_group("clusters")

SHORT = ["activation=tanh", "gain=0.5,1.5", "width=8", "depth=int:1:3", "seed=0,1", "inputs.samples=20"]
GIVEN = {"activation": "tanh", "gain": [0.5, 1.5], "width": 8, "depth": "int:1:3", "seed": [0, 1]}
GIVEN |= {"inputs": {"samples": 20}}


@pytest.fixture(scope="module")
def client():
    """Two workers in this process."""
    distributed = pytest.importorskip("distributed")
    options = {"processes": False, "n_workers": 2, "threads_per_worker": 1, "dashboard_address": ":0"}
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster, set_as_default=False) as client:
        yield client


@pytest.fixture
def tiny_parts(monkeypatch):
    monkeypatch.setattr(plan, "PART_SECONDS", 1e-12)


def told(folder, client, say=lambda line: None, **more):
    return winit_face.run({**GIVEN, **more}, out=folder, cluster=client, say=say, progress=False)


@pytest.mark.usefixtures("tiny_parts")
def test_workers_have_the_bits_of_one_process(tmp_path, client):
    whole, lines = in_tiny_parts(tmp_path / "whole", *SHORT), []
    found = told(tmp_path / "run", client, lines.append)
    assert_same_bits(whole, tmp_path / "run", ("networks", "layers", "mean_field"))
    assert len(found.networks) == 12
    assert lines[-1].startswith("12 networks in ")
    info, alone = (json.loads((folder / "run.json").read_text()) for folder in (tmp_path / "run", whole))
    assert (info["state"], info["networks_done"]) == ("done", 12)
    assert info["self_check"] == alone["self_check"]
    assert info["made_by"] == alone["made_by"]
    assert os.listdir(tmp_path / "run" / "staging") == ["lock"]
    assert winit("verify", tmp_path / "run")[0].endswith("12 of 12 networks: all as written\n")
    assert not working._sessions
    told(tmp_path / "run", client, lines.append)
    assert lines[-1].startswith("0 networks in ")


def test_a_folder_that_one_process_began_and_points_that_are_added_go_on_with_workers(tmp_path, client):
    run(tmp_path, *SHORT[:-2], "seed=0", "inputs.samples=20")
    found = told(tmp_path, client, seed=[0, 1, 2])
    assert len(found.networks) == 18
    assert json.loads((tmp_path / "run.json").read_text())["state"] == "done"


@pytest.mark.slow
def test_training_on_workers_has_the_bits_of_one_process(tmp_path, client):
    words = ["activation=tanh", "gain=1,2", "width=8", "depth=2", "inputs.source=digits"]
    words += ["train.steps=4", "learning_rate=0.1", "train.batch_size=16"]
    run(tmp_path / "whole", *words)
    asked = {"activation": "tanh", "gain": [1, 2], "width": 8, "depth": 2, "inputs": {"source": "digits"}}
    asked |= {"learning_rate": 0.1, "train": {"steps": 4, "batch_size": 16}}
    winit_face.run(asked, out=tmp_path / "run", cluster=client, progress=False, say=lambda line: None)
    assert_same_bits(tmp_path / "whole", tmp_path / "run", ("networks", "training"))


def test_a_part_that_raises_is_cut_and_named_and_the_rest_is_done(tmp_path, client, monkeypatch):
    (tmp_path / "fragile.py").write_text(
        "def act(a):\n    if a.shape[-1] == 13:\n        raise RuntimeError('thirteen units')\n    return a\n"
    )
    monkeypatch.chdir(tmp_path)
    with pytest.warns(winit_face.FailedNetworks, match="width 13, seed 1.*RuntimeError: thirteen units"):
        found = told(tmp_path / "run", client, activation="fragile:act", width=[8, 13])
    assert set(found.networks["width"]) == {8}


def test_a_worker_of_other_versions_is_refused_and_named(tmp_path, client, monkeypatch):
    original = working.introduce

    def introduce(folder, launcher):
        about = original(folder, launcher)
        return about | {"versions": about["versions"] | {"jax": "0.10.0"}, "commit": "c" * 40}

    monkeypatch.setattr(working, "introduce", introduce)
    with pytest.raises(Refused) as refused:
        told(tmp_path, client)
    said = str(refused.value)
    assert said.startswith("worker inproc://")
    assert f"(process {os.getpid()} on {os.uname().nodename}) runs other software than this process: " in said
    assert ": jax 0.10.0, not " in said
    assert not (tmp_path / "networks").exists()
    assert refused.value.code == 2


def test_a_worker_that_does_not_see_the_folder_is_refused(tmp_path, client, monkeypatch):
    monkeypatch.setattr(working, "PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(working, "_reads", lambda token: False)
    with pytest.raises(Refused, match=rf"^worker \S+ \(process .*\) does not see {tmp_path}: a file that was just"):
        told(tmp_path, client)


def test_a_worker_with_other_data_is_refused(tmp_path, client, monkeypatch):
    original = working._Session.__post_init__

    def of_other_data(session):
        original(session)
        session.made_of = {"inputs": {"8": {**session.made_of["inputs"]["8"], "sha256": "0" * 64}}}

    monkeypatch.setattr(working._Session, "__post_init__", of_other_data)
    with pytest.raises(Refused, match=r"^worker .* reads other data as normal than this process \(SHA-256 0000"):
        told(tmp_path, client)


def test_a_shard_and_a_launcher_do_not_work_in_one_folder(tmp_path, client):
    run(tmp_path, *SHORT, "--shard", "1/2")
    sweep, other = load_sweep(tmp_path / "sweep.toml", [], vocabulary()), RunFolder(tmp_path)
    with other.share(None, "tcp://elsewhere:8786"):
        other.lease.tell_now(has_begun=True, sweep=beside.digest(sweep), cut=beside.way())
        sentence = f"{tmp_path} is being filled by the launcher of tcp://elsewhere:8786 (process {os.getpid()} on "
        assert run(tmp_path, *SHORT, "--shard", "2/2", code=2).startswith(sentence)
        with pytest.raises(Refused, match="would repeat what the others do"):
            told(tmp_path, client)
    with other.share(Shard(2, 2)):
        other.lease.tell_now(has_begun=True, sweep=beside.digest(sweep), cut=beside.way())
        with pytest.raises(Refused, match=r"is being filled by shard 2/2 \(process"):
            told(tmp_path, client)


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("", "cluster: '' is none of tcp://HOST:8786"),
        ("node7:8786", "cluster: 'node7:8786' is none of tcp://HOST:8786 (a dask scheduler), local:4"),
        ("tcp://node7", "cluster: 'tcp://node7' is not the address of a scheduler, such as tcp://node7:8786."),
        ("tcp://node7:99999", "cluster: 'tcp://node7:99999' is not the address"),
        ("local", "cluster: say how many processes, as in local:4."),
        ("local:0", "cluster: 'local:0' asks for 0; there are 1 to 10,000."),
        ("local:two", "cluster: 'local:two' does not say how many: write a whole number, as in local:4."),
        ("slurm:", "cluster: 'slurm:' does not say how many"),
        ("pbs:4", "cluster: 'pbs:4' is none of"),
    ],
)
def test_what_is_no_cluster_gets_a_sentence(tmp_path, word, sentence):
    said = run(tmp_path / "run", *SHORT, f"--cluster={word}", code=2)
    assert said.startswith(sentence)
    assert said.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_cluster_is_written_as_it_is_asked_for():
    for word in ("tcp://node7:8786", "tls://[::1]:8786", "local:4", "slurm:16"):
        assert str(read_cluster(word, [])) == word
    assert read_cluster("slurm", []).count == 1
    assert read_address(" tcp://node7:8786 ") == "tcp://node7:8786"


def test_a_scheduler_that_does_not_answer_and_a_shard_of_a_cluster_get_a_sentence(tmp_path, monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr(connecting, "ANSWER_SECONDS", 0.2)
    said = run(tmp_path, *SHORT, "--cluster=tcp://127.0.0.1:1", code=2)
    assert said.startswith("No dask scheduler answers at tcp://127.0.0.1:1 (")
    assert said.count("\n") == 1
    said = run(tmp_path, *SHORT, "--cluster=local:2", "--shard=1/2", code=2)
    assert said == "shard and cluster: a launcher gives all parts out by itself. Choose one of the two.\n"
    with pytest.raises(Refused, match="cluster: 3 is neither text, such as 'local:4'"):
        told(tmp_path, 3)
    said = winit("worker", "node7:8786", code=2)[1]
    assert said == "'node7:8786' is not the address of a scheduler, such as tcp://node7:8786.\n"


@pytest.mark.parametrize(("module", "word"), [("distributed", "local:2"), ("dask_jobqueue", "slurm")])
def test_what_is_not_installed_is_named_with_what_to_install(tmp_path, monkeypatch, module, word):
    pytest.importorskip("distributed")
    monkeypatch.setitem(sys.modules, module, None)
    said = run(tmp_path, *SHORT, f"--cluster={word}", code=2)
    assert "is not installed: pip install 'winit-jax[" in said
    assert said.count("\n") == 1


def test_slurm_jobs_are_asked_for_as_many_as_it_says(tmp_path, monkeypatch, client):
    asked = []

    class SLURMCluster:
        scheduler_address = client.scheduler.address

        def __enter__(self):
            return self

        def __exit__(self, *error):
            asked.append("closed")

        def scale(self, jobs):
            asked.append(jobs)

    monkeypatch.setitem(sys.modules, "dask_jobqueue", ModuleType("dask_jobqueue"))
    monkeypatch.setattr(sys.modules["dask_jobqueue"], "SLURMCluster", SLURMCluster, raising=False)
    assert "3 jobs are submitted to SLURM" in run(tmp_path, *SHORT, "--cluster=slurm:3")
    assert asked == [3, "closed"]


def about(**more):
    versions = {"python": "3.11.7", "jax": "0.10.1", "jaxlib": "0.10.1", "numpy": "2.0", "optax": "1", "winit-jax": "1"}
    whole = {"versions": versions, "commit": None, "sees": True, "writes": True}
    return {**whole, "address": "tcp://n:1", "pid": 7, "host": "n", **more}


def test_devices_may_differ_and_versions_and_commits_may_not():
    assert likeness.unlike(about(), about(), "runs/x") == ""
    other = about(versions={**about()["versions"], "python": "3.12.1", "pandas": "9"}, commit="b" * 40 + "+")
    said = likeness.unlike(other, about(commit="a" * 40), "runs/x")
    assert said == (
        "worker tcp://n:1 (process 7 on n) runs other software than this process: python 3.12.1, not 3.11.7; "
        "commit bbbbbbbbbbbb+, not aaaaaaaaaaaa. Install the same on both, so that all rows are made alike."
    )
    assert "may not write into runs/x" in likeness.unlike(about(writes=False), about(), "runs/x")
    made = {"inputs": {}, "train": {"source": "digits", "sha256": "a"}, "activations": {"m:f": "1 2"}}
    assert likeness.made_otherwise(about(), made, made) == ""
    assert "reads other data as digits" in likeness.made_otherwise(about(), {**made, "train": {"sha256": "b"}}, made)
    assert "another function as m:f" in likeness.made_otherwise(about(), {**made, "activations": {"m:f": "1 3"}}, made)


def test_workers_stay_with_a_program_and_take_up_that_of_which_most_is_left(tiny_parts):
    sweep = load_sweep(None, [*SMALL, "width=8,9"], vocabulary())
    machine = planner(2)
    tasks = list(missing(sweep, machine, {}))
    deck, got = Deck(tasks, Costs(machine, sweep)), {"a": [], "b": [], "c": []}
    while deck.holds_more:
        for worker, programs in got.items():
            if (task := deck.take(worker)) is not None:
                programs.append(tuple(by_program(task.part)))
    assert sum(map(len, got.values())) == len(tasks)
    compiled = [program for programs in got.values() for program in set(programs)]
    assert len(compiled) == len(set(compiled)) == 4  # what is left takes less long than to compile it once more


def test_a_worker_helps_where_those_who_have_the_program_would_take_longer_than_it_compiles(tiny_parts):
    words = ["activation=tanh", "gain=1", "width=2000", "depth=300", "seed=int:0:40", "inputs.samples=1000"]
    sweep, machine = load_sweep(None, words, vocabulary()), planner(2)
    tasks = list(missing(sweep, machine, {}))
    deck = Deck(tasks, Costs(machine, sweep))
    assert deck.take("a") is not None
    assert deck.take("b") is not None
    deck.leaves("a")
    deck.leaves("b")
    taken = 2
    while deck.take("c") is not None:
        taken += 1
    assert taken == len(tasks)
    assert deck.take("d") is None
