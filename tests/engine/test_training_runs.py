"""Training sweeps through the command line: what is in the tables, and what survives."""

import json
import re
import signal

import numpy as np
import pandas as pd
import pytest

from support import runs
from support.runs import KEYS, run, run_apart, table, winit
from winit_jax.columns import EVALUATED, LEARNT, MEASURED, of_role
from winit_jax.engine.computing import before_training as before
from winit_jax.engine.computing.tables import Learnt
from winit_jax.engine.planning.batches import LEAST_BATCHES
from winit_jax.numerics.training import trainer
from winit_jax.store import checkpoints, schema

WORDS = [
    "activation=relu",
    "init=normal,he_normal",
    "gain=0.5,1.5",
    "width=8",
    "depth=1,3",
    "seed=0,1",
    "learning_rate=0.05,0.5",
    "normalization=none,batch",
    "inputs.samples=20",
    "train.steps=7",
    "train.eval_every=3",
    "train.batch_size=10",
    "train.train_samples=60",
    "train.test_samples=50",
]
NETWORKS = 3 * 2 * 2 * 2 * 2
LEARNER_KEYS = [*KEYS, "learning_rate"]


@pytest.fixture
def small_batches(monkeypatch):
    """Three networks at a time: many commits, so that there is something to interrupt."""
    monkeypatch.setattr(trainer, "CPU_BLOCK", 3)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("training") / "undisturbed"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "CPU_BLOCK", 3)
        run(folder, *WORDS)
    return folder


def assert_same_bits(one, other):
    runs.assert_same_bits(one, other, ("networks", "training", "layers"))


@pytest.mark.slow
def test_there_is_one_row_a_network_and_evaluation(undisturbed):
    networks, training = table(undisturbed), table(undisturbed, "training")
    assert len(networks) == NETWORKS
    assert not networks.duplicated(LEARNER_KEYS).any()
    never = {*of_role("rule", "training"), "stem_scale", "readout_scale"}
    assert list(training.columns) == [name for name in schema.TABLES["training"] if name not in never]
    assert len(training) == NETWORKS * 4
    assert sorted(training["step"].unique()) == [0, 3, 6, 7]


def test_networks_hold_the_last_evaluation_beside_what_was_measured_before_training(undisturbed):
    networks, training = table(undisturbed), table(undisturbed, "training")
    last = training[training["step"] == 7].reset_index(drop=True)
    for name in LEARNT[:5]:
        np.testing.assert_array_equal(networks[name], last[name])
    assert networks["act_std"].notna().all()
    untrained = [key for key in KEYS if key != "learning_rate"]
    assert (networks.groupby(untrained)["act_std"].nunique() == 1).all()


def test_layers_describe_each_network_once_whatever_its_learning_rates(undisturbed):
    layers = table(undisturbed, "layers")
    assert set(layers["depth"]) == {3}
    assert not layers.duplicated([*KEYS, "layer"]).any()
    assert len(layers) == NETWORKS // 2 // 2 * 3


@pytest.mark.slow
def test_batches_of_any_size_give_the_same_numbers(undisturbed, tmp_path):
    """Every network by itself, and all together."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "CPU_BLOCK", 1000)
        run(tmp_path / "whole", *WORDS)
    files = [len(list((folder / "networks").iterdir())) for folder in (tmp_path / "whole", undisturbed)]
    assert files[0] < files[1]
    for name in ("networks", "training"):
        pd.testing.assert_frame_equal(table(tmp_path / "whole", name), table(undisturbed, name), rtol=2e-4, atol=2e-5)


@pytest.mark.usefixtures("small_batches")
def test_resumed_is_undisturbed(undisturbed, tmp_path):
    run(tmp_path / "cut", *WORDS)
    for file in sorted((tmp_path / "cut" / "networks").iterdir())[::3]:
        file.unlink()  # its training file is now the trace of a kill
    run(tmp_path / "cut", *WORDS)
    assert_same_bits(undisturbed, tmp_path / "cut")


KILL = """
import os, signal
from winit_jax.numerics.training import trainer
trainer.CPU_BLOCK = 3
whole, left = os.replace, 25
def replace(source, target):
    global left
    left -= 'part-' in str(target)
    if left == 0:
        os.kill(os.getpid(), signal.{signal})
    whole(source, target)
os.replace = replace
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", ["SIGKILL", "SIGINT"])
@pytest.mark.usefixtures("small_batches")
def test_killed_is_undisturbed(undisturbed, tmp_path, how):
    folder = tmp_path / "killed"
    killed = run_apart(folder, *WORDS, before=KILL.format(signal=how))
    assert killed.returncode == (-signal.SIGKILL if how == "SIGKILL" else 128 + signal.SIGINT), killed.stderr
    there = len(list((folder / "networks").glob("*.parquet")))
    assert 0 < there < len(list((undisturbed / "networks").glob("*.parquet")))
    run(folder, *WORDS)
    assert_same_bits(undisturbed, folder)


@pytest.mark.slow
def test_a_signal_ends_a_long_training_and_says_what_is_kept(tmp_path):
    long = ["activation=tanh", "gain=1", "width=8", "depth=1", "train.steps=1000000", "train.eval_every=1000000"]
    signal_at = STOP.format(step=1, signal="SIGINT", save="False")
    ended = run_apart(tmp_path / "long", *long, before=signal_at, timeout=100)
    assert ended.returncode == 128 + signal.SIGINT, ended.stderr
    said = re.search(
        r"Interrupted: 0 of 1 networks are done, and 1 in training are kept as of step ([0-9,]+)\.", ended.stderr
    )
    assert said, ended.stderr
    assert 0 < int(said[1].replace(",", "")) < 1_000_000
    assert not (tmp_path / "long" / "networks").exists()


# Ends a run by a signal where a training has come so far, with or without a checkpoint at every chance before that.
STOP = """
import os, signal
from winit_jax.numerics.training import trainer
from winit_jax.store import checkpoints
trainer.CPU_BLOCK = 3
trainer.STRETCH_SECONDS = 1e-9
if {save}:
    checkpoints.SECONDS = 0.0
learn = trainer.learn
def stopping(state, rates, data, start, stop, settings):
    if start >= {step}:
        os.kill(os.getpid(), signal.{signal})
    return learn(state, rates, data, start, stop, settings)
trainer.learn = stopping
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", ["SIGKILL", "SIGINT"])
@pytest.mark.usefixtures("small_batches")
def test_stopped_in_mid_training_goes_on_from_there_to_the_same_bits(undisturbed, tmp_path, how, monkeypatch):
    folder = tmp_path / "stopped"
    ended = run_apart(folder, *WORDS, before=STOP.format(step=5, signal=how, save=how == "SIGKILL"))
    assert ended.returncode == (-signal.SIGKILL if how == "SIGKILL" else 128 + signal.SIGINT), ended.stderr
    kept = list((folder / "staging" / "checkpoints").glob("*.npz"))
    assert kept
    loaded = []
    whole = checkpoints.Checkpoint.load

    def load(self, belongs_to):
        loaded.append(whole(self, belongs_to))
        return loaded[-1]

    monkeypatch.setattr(checkpoints.Checkpoint, "load", load)
    assert "trained from the start" not in run(folder, *WORDS)
    assert any(found is not None and found["step"] > 0 for found in loaded)
    assert_same_bits(undisturbed, folder)
    assert [file.name for file in (folder / "staging").iterdir()] == ["lock"]


@pytest.mark.usefixtures("small_batches")
def test_a_checkpoint_that_is_damaged_or_of_something_else_is_left_aside_with_a_note(undisturbed, tmp_path):
    folder = tmp_path / "damaged"
    run(folder, *WORDS)
    stems = sorted(file.stem for file in (folder / "networks").iterdir())[:3]
    place = folder / "staging" / "checkpoints"
    place.mkdir()
    for stem in stems:
        (folder / "networks" / f"{stem}.parquet").unlink()
    (place / f"{stems[0]}.npz").write_bytes(b"PK\x03\x04 and no more")
    (place / f"{stems[1]}.npz").write_bytes(b"")
    checkpoints.Checkpoint(place / f"{stems[2]}.npz").save({"step": np.array(3)}, "of something else")
    said = run(folder, *WORDS)
    assert said.count("is damaged") == 2
    assert said.count("is of another sweep or version") == 1
    assert_same_bits(undisturbed, folder)
    assert [file.name for file in (folder / "staging").iterdir()] == ["lock"]


@pytest.mark.usefixtures("small_batches")
def test_added_points_are_trained_and_the_others_kept(tmp_path):
    few = [w for w in WORDS if not w.startswith(("learning_rate", "depth", "normalization"))]
    folder = tmp_path / "grown"
    run(folder, *few, "learning_rate=0.05", "depth=1")
    before = {file.name: file.stat().st_mtime_ns for file in (folder / "networks").iterdir()}
    run(folder, *few, "learning_rate=0.005,0.05", "depth=1,3")
    after = {file.name: file.stat().st_mtime_ns for file in (folder / "networks").iterdir()}
    assert before.items() < after.items()
    run(tmp_path / "at-once", *few, "learning_rate=0.005,0.05", "depth=1,3")
    for name in ("networks", "training", "layers"):
        pd.testing.assert_frame_equal(table(folder, name), table(tmp_path / "at-once", name), rtol=2e-4, atol=2e-5)


@pytest.mark.slow
def test_networks_measured_in_small_sets_are_those_measured_together(undisturbed, tmp_path, monkeypatch):
    """Two points at a time, none kept: every batch measures its own again."""
    monkeypatch.setattr(before, "TOGETHER", 2)
    monkeypatch.setattr(before, "KEPT_LAYERS", 0)
    few = [w for w in WORDS if not w.startswith("normalization")]
    run(tmp_path / "small", *few)
    small, whole = table(tmp_path / "small"), table(undisturbed)
    whole = whole[whole["normalization"] == "none"].reset_index(drop=True)
    measured = [name for name in (*KEYS, *MEASURED) if name in small]
    pd.testing.assert_frame_equal(small[measured], whole[measured], rtol=2e-5, atol=2e-6)


def learnt(counts, target=0.9, samples=100, diverged_at=None):
    """Of networks by their counts of right answers, [networks, evaluations]."""
    counts = np.array(counts)
    found = {"train_right": counts, "test_right": counts}
    found |= {name: np.zeros(counts.shape, np.float32) for name in EVALUATED if "accuracy" not in name}
    diverged_at = np.full(counts.shape, -1) if diverged_at is None else np.array(diverged_at)
    steps = 10 * np.arange(counts.shape[1])
    return Learnt.of_counts(steps, found, diverged_at, {"train": samples, "test": samples}, target)


def test_steps_to_accuracy_are_those_of_the_first_evaluation_that_reaches_it():
    found = learnt(
        [[10, 95, 50, 99], [10, 20, 30, 40], [10, 99, 99, 99]], diverged_at=[[-1] * 4, [-1] * 4, [-1, 4, 4, 4]]
    )
    np.testing.assert_array_equal(found.steps_to_accuracy, [10, np.nan, np.nan])
    np.testing.assert_array_equal(found.diverged_at, [np.nan, np.nan, 4])
    np.testing.assert_array_equal(found.of(slice(0, 2)).steps_to_accuracy, [10, np.nan])


@pytest.mark.parametrize("samples", [7, 10, 50, 100, 359, 1000, 10_000])
@pytest.mark.parametrize("hundredths", [1, 7, 10, 28, 29, 55, 57, 90, 95, 99, 100])
def test_an_accuracy_that_equals_the_target_reaches_it_and_one_answer_less_does_not(samples, hundredths):
    needed = -(-hundredths * samples // 100)
    found = learnt([[0, needed - 1, needed]], target=hundredths / 100, samples=samples)
    np.testing.assert_array_equal(found.reached, [[False, False, True]])
    for name in ("train_accuracy", "test_accuracy"):
        np.testing.assert_array_equal(found.evaluated[name], [[0.0, (needed - 1) / samples, needed / samples]])


@pytest.mark.slow
def test_steps_to_accuracy_where_the_target_is_met_to_the_answer(tmp_path):
    words = ["activation=relu", "init=he_normal", "width=30", "depth=2", "seed=2,5,7", "learning_rate=0.1"]
    words += ["train.steps=150", "train.batch_size=64", "train.eval_every=5", "train.test_samples=100"]
    run(tmp_path / "run", *words)
    found, training = table(tmp_path / "run").set_index("seed"), table(tmp_path / "run", "training")
    assert found["steps_to_accuracy"].to_dict() == {2: 115, 5: 85, 7: 95}
    at = training[training["step"] == training["seed"].map(found["steps_to_accuracy"])]
    assert (at["test_accuracy"] == 0.9).sum() == 3
    counts = training["test_accuracy"] * 100
    np.testing.assert_array_equal(training["test_accuracy"], counts.round() / 100)


def test_run_json_names_the_data(undisturbed):
    found = json.loads((undisturbed / "run.json").read_text())["train"]
    assert found["source"] == "digits"
    assert found["classes"] == 10
    assert (found["train_samples"], found["test_samples"]) == (60, 50)
    assert len(found["sha256"]) == 64


@pytest.mark.usefixtures("small_batches")
def test_networks_that_overflow_are_recorded_and_their_neighbours_unchanged(tmp_path):
    """Batches with and without networks of std 1e30 among them."""
    words = [w for w in WORDS if not w.startswith(("init", "gain", "normalization"))]
    run(tmp_path / "with", *words, "std=0.1,1e30,0.2")
    run(tmp_path / "without", *words, "std=0.1,0.2")
    both, rest = table(tmp_path / "with", "training"), table(tmp_path / "without", "training")
    broken = both["std"] == 1e30
    assert both.loc[broken, list(EVALUATED)].isna().all(axis=None)
    whole = both[~broken].reset_index(drop=True)
    pd.testing.assert_frame_equal(whole, rest, rtol=1e-5, atol=1e-6)
    networks = table(tmp_path / "with")
    assert (networks.loc[networks["std"] == 1e30, "diverged_at"] == 0).all()
    assert networks.loc[networks["std"] != 1e30, "diverged_at"].isna().all()
    assert networks["steps_to_accuracy"].isna().all()


def test_a_sweep_that_trains_nothing_has_no_learning_rate():
    _, said = winit("plan", "activation=tanh", "gain=1", "learning_rate=0.1", code=2)
    assert "grid.learning_rate: nothing is trained: add a [train] table, or take it away." in said


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("train.optimizer=sdg", "train.optimizer: 'sdg' is not an optimizer. Did you mean 'sgd'?"),
        (
            "train.optimizer_options={momentun = 0.9}",
            "train.optimizer_options.momentun: sgd has no such option. Did you mean 'momentum'?",
        ),
        ("train.optimizer_options={momentum = inf}", "train.optimizer_options.momentum: inf is not finite."),
        ("train.steps=0", "train.steps: 0 is less than 1."),
        ("train.steps=100000000", "train.eval_every: 2,000,000 evaluations of each network; there may be 10,000."),
        ("train.step=3", "train.step: not an axis or a key. Did you mean 'train.steps'?"),
        ("learning_rate=-1", "grid.learning_rate: -1 is less than 0."),
    ],
)
def test_wrong_words_get_a_sentence(word, sentence):
    assert sentence in winit("plan", "activation=tanh", "gain=1", "train.batch_size=9", word, code=2)[1]


def test_another_training_is_refused_in_the_same_folder(undisturbed):
    _, said = winit("run", *WORDS, "train.steps=9", "--out", undisturbed, code=2)
    assert "train.steps: 7 in the folder, 9 in the new sweep" in said
    _, said = winit("run", *(w for w in WORDS if "rate" not in w and "train." not in w), "--out", undisturbed, code=2)
    assert "train: only the folder has this table" in said


def test_plan_counts_trainings():
    said = winit("plan", *WORDS)[0]
    assert f"networks      {NETWORKS}" in said
    assert "7 steps of 10 samples, each network by itself" in said


def test_parts_are_batches_of_one_program_and_cover_the_grid(monkeypatch):
    from winit_jax.engine.computing.vocabulary import planner, vocabulary
    from winit_jax.spec.reading import load_sweep

    sweep = load_sweep(None, WORDS, vocabulary())
    parts = list(planner(2, together=lambda width, depth: 5).parts(sweep))
    families = [family for part in parts for job in part.jobs for family in job.families()]
    assert len(families) == len(set(families)) == NETWORKS
    for part in parts:
        assert part.n_families <= 5
        assert len({(job.activation, job.normalization, job.width, job.depth) for job in part.jobs}) == 1
    assert len(parts) >= LEAST_BATCHES


def test_a_network_that_does_not_fit_is_refused_in_a_sentence(tmp_path):
    words = ["activation=tanh", "gain=1", "width=2000", "depth=5", "train.steps=1", "compute.batch_mib=16"]
    _, said = winit("run", *words, "--out", tmp_path / "large", code=2)
    assert "train: a network of 5 layers of 2,000 units needs about " in said
    assert "compute.batch_mib is 16: raise it." in said
    assert not (tmp_path / "large").exists()


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("training", ["--where", "init=normal", "--where", "depth=3", "--where", "learning_rate=0.05"]),
        ("training", ["--value", "test_accuracy", "--where", "normalization=none", "--where", "depth=1"]),
        ("trainability", ["--where", "init=normal", "--x", "gain", "--y", "learning_rate"]),
        ("heatmap", ["--value", "log10_grad_norm", "--where", "init=normal", "--seeds", "max"]),
        ("ranking", ["--where", "normalization=none"]),
    ],
)
def test_what_was_learnt_is_drawn(undisturbed, tmp_path, kind, options):
    paths = winit("plot", undisturbed, kind, *options, "--out", tmp_path)[0].split()
    assert paths
    assert all((tmp_path / path).stat().st_size > 5_000 for path in paths)


@pytest.mark.slow
def test_a_run_that_trains_nothing_has_no_curves(tmp_path):
    run(tmp_path / "run", "activation=tanh", "gain=1,2", "depth=1,2", "width=4", "inputs.samples=9")
    assert (
        "has no training table: its sweep does not measure it."
        in winit("plot", tmp_path / "run", "training", code=2)[1]
    )
    assert "Nothing was trained in this run" in winit("plot", tmp_path / "run", "ranking", code=2)[1]


def test_what_never_happened_is_said(undisturbed, tmp_path):
    for value, sentence in (("diverged_at", "No network of this table diverged."), ("steps_to_accuracy", "No network")):
        words = ("heatmap", "--value", value, "--where", "init=normal", "--out", tmp_path)
        assert sentence in winit("plot", undisturbed, *words, code=2)[1]
