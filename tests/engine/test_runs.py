"""Run folders: exactly one row a point, whatever happens on the way."""

import json
import math
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from support.runs import (
    KEYS,
    ONLY_ASKED,
    SMALL,
    TINY_PARTS,
    assert_same_bits,
    in_tiny_parts,
    run,
    run_apart,
    table,
    winit,
)
from winit_jax.columns import LEARNT, SINGULAR_VALUES, of_role
from winit_jax.engine.planning import planner as plan
from winit_jax.numerics.measure import families
from winit_jax.spec import parts
from winit_jax.store import schema
from winit_jax.store.folder import RunFolder

# he_normal has no scale of its own: (2 gains + 1 scheme) x 2 activations x 2 biases x 4 depths x 2 seeds.
SMALL_ROWS = 3 * 2 * 2 * 4 * 2


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The small sweep, every family its own part."""
    return in_tiny_parts(tmp_path_factory.mktemp("runs") / "undisturbed", *SMALL)


@pytest.fixture
def tiny_parts(monkeypatch):
    monkeypatch.setattr(plan, "PART_SECONDS", 1e-12)


def test_there_is_exactly_one_row_for_each_point(undisturbed):
    frame = pd.read_parquet(undisturbed / "networks")
    assert len(frame) == SMALL_ROWS
    assert not frame.duplicated(KEYS).any()
    of_positions = ("position_similarity", "attention_entropy", "theory_position_similarity")
    never = {"learning_rate", *LEARNT, *SINGULAR_VALUES, *of_positions, *ONLY_ASKED, *of_role("rule", "networks")}
    assert list(frame.columns) == [name for name in schema.TABLES["networks"] if name not in never]
    assert len(list((undisturbed / "networks").iterdir())) > 10
    layers = pd.read_parquet(undisturbed / "layers")
    assert len(layers) == SMALL_ROWS
    assert set(layers["depth"]) == {4}
    assert sorted(layers["layer"].unique()) == [1, 2, 3, 4]


def test_tables_hold_parquet_only_and_names_are_dictionaries_with_every_category(undisturbed):
    for name in ("networks", "layers"):
        files = list((undisturbed / name).iterdir())
        assert all(file.suffix == ".parquet" for file in files)
        for file in files:
            column = pq.read_table(file).column("activation").combine_chunks()
            assert column.dictionary.to_pylist() == ["tanh", "relu"]
            assert json.loads(pq.read_schema(file).metadata[b"winit"])["version"] == schema.VERSION
    frame = pd.read_parquet(undisturbed / "networks")
    assert isinstance(frame["init"].dtype, pd.CategoricalDtype)


def test_std_and_gain_are_those_of_hidden_layers(undisturbed):
    frame = table(undisturbed)
    np.testing.assert_allclose(frame["gain"], frame["std"] * math.sqrt(8), rtol=1e-15)
    assert set(frame.loc[frame["init"] == "normal", "gain"]) == {0.5, 1.5}
    np.testing.assert_allclose(frame.loc[frame["init"] == "he_normal", "std"], math.sqrt(2 / 8))


def test_a_layers_row_is_the_network_of_that_depth(undisturbed):
    networks, layers = table(undisturbed), table(undisturbed, "layers")
    shallow = [key for key in KEYS if key != "depth"]
    joined = networks.merge(layers.drop(columns="depth"), left_on=[*shallow, "depth"], right_on=[*shallow, "layer"])
    assert len(joined) == len(networks)
    np.testing.assert_array_equal(joined["act_std_x"], joined["act_std_y"])


def test_chunked_is_whole(undisturbed, tmp_path):
    run(tmp_path / "whole", *SMALL, "compute.batch_mib=1024")
    whole, chunked = table(tmp_path / "whole"), table(undisturbed)
    files = [len(list((folder / "networks").iterdir())) for folder in (tmp_path / "whole", undisturbed)]
    assert files[0] < files[1]
    pd.testing.assert_frame_equal(whole, chunked, rtol=2e-5, atol=2e-6)


@pytest.mark.usefixtures("tiny_parts")
def test_the_same_sweep_gives_the_same_bits(undisturbed, tmp_path):
    run(tmp_path / "again", *SMALL)
    assert_same_bits(undisturbed, tmp_path / "again")


@pytest.mark.usefixtures("tiny_parts")
def test_a_finished_run_has_nothing_left_to_do(undisturbed):
    before = {file.name: file.stat().st_mtime_ns for file in (undisturbed / "networks").iterdir()}
    said = run(undisturbed, *SMALL)
    assert said.startswith("0 networks in ")
    assert before == {file.name: file.stat().st_mtime_ns for file in (undisturbed / "networks").iterdir()}


@pytest.mark.usefixtures("tiny_parts")
def test_resumed_is_undisturbed(undisturbed, tmp_path):
    run(tmp_path / "cut", *SMALL)
    for file in sorted((tmp_path / "cut" / "networks").iterdir())[::3]:
        file.unlink()  # its layers file is now the trace of a kill
    done = int(winit("status", tmp_path / "cut")[0].splitlines()[2].split()[1])
    assert 0 < done < SMALL_ROWS
    run(tmp_path / "cut", *SMALL)
    assert_same_bits(undisturbed, tmp_path / "cut")


KILL = """
import os, signal
whole, left = os.replace, {left}
def replace(source, target):
    global left
    if 'part-' in str(target):
        left -= 1
        if left == 0 and {before}:
            os.kill(os.getpid(), signal.SIGKILL)
        whole(source, target)
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
    else:
        whole(source, target)
os.replace = replace
"""


@pytest.mark.slow
@pytest.mark.parametrize(("left", "before"), [(1, True), (1, False), (6, True), (9, False)])
@pytest.mark.usefixtures("tiny_parts")
def test_killed_at_any_moment_ends_undisturbed(undisturbed, tmp_path, left, before):
    folder = tmp_path / "killed"
    killed = run_apart(folder, *SMALL, before=KILL.format(left=left, before=before))
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert len(list((folder / "networks").glob("*.parquet"))) < 24
    run(folder, *SMALL)
    assert_same_bits(undisturbed, folder)
    assert [file.name for file in (folder / "staging").iterdir()] == ["lock"]


@pytest.mark.slow
@pytest.mark.usefixtures("tiny_parts")
def test_an_interrupt_leaves_a_folder_that_goes_on(undisturbed, tmp_path):
    folder = tmp_path / "interrupted"
    slow = "import winit_jax.store.folder as s, time\nw = s.RunFolder.write\n"
    slow += "def write(*a):\n    w(*a)\n    time.sleep(0.5)\ns.RunFolder.write = write\n"
    script = f"{TINY_PARTS}{slow}\nfrom winit_jax.cli.main import main\nmain()"
    command = [sys.executable, "-c", script, "run", *SMALL, "--out", str(folder), "--no-figures"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while not list((folder / "networks").glob("*.parquet")):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert f"Go on with: winit run {folder / 'sweep.toml'} --out {folder}" in said
    assert json.loads((folder / "run.json").read_text())["state"] == "interrupted"
    run(folder, folder / "sweep.toml")
    assert_same_bits(undisturbed, folder)


@pytest.mark.usefixtures("tiny_parts")
def test_points_added_later_are_as_if_run_at_once(undisturbed, tmp_path):
    folder = tmp_path / "grown"
    words = {word.partition("=")[0]: word for word in SMALL}
    small = words | {"seed": "seed=0", "depth": "depth=2", "gain": "gain=1.5", "activation": "activation=tanh"}
    run(folder, *small.values())
    assert len(table(folder)) == 2 * 2
    run(folder, *(small | {"seed": words["seed"]}).values())
    run(folder, *(words | {"activation": "activation=tanh"}).values())
    assert set(table(folder, "layers")["depth"]) == {4}
    said = run(folder, *SMALL)
    assert said.startswith(f"{SMALL_ROWS // 2:,} networks in ")
    assert_same_bits(undisturbed, folder)


@pytest.mark.usefixtures("tiny_parts")
def test_another_sweep_in_the_folder_is_refused_and_nothing_is_lost(undisturbed):
    before = {file: file.read_bytes() for file in undisturbed.rglob("*") if file.is_file()}
    words = [word for word in SMALL if not word.startswith(("gain", "inputs"))]
    said = run(undisturbed, *words, "gain=0.5", "inputs.samples=21", code=2)
    assert "grid.gain: 1 of 2 values of the folder are not in the new sweep: 1.5" in said
    assert "inputs.samples: 20 in the folder, 21 in the new sweep" in said
    assert before == {file: file.read_bytes() for file in undisturbed.rglob("*") if file.is_file()}


def test_a_folder_that_is_no_run_is_left_alone(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("precious")
    said = run(tmp_path / "mine", *SMALL, code=2)
    assert said == (f"{tmp_path / 'mine'} is not empty and not a run folder (no sweep.toml). Choose another --out.\n")
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "precious"
    assert "is a file, not a folder" in run(tmp_path / "mine" / "thesis.tex", *SMALL, code=2)


def test_a_second_run_in_the_same_folder_is_refused(undisturbed):
    from winit_jax.store.folder import RunFolder

    with RunFolder(undisturbed).lock():
        said = run(undisturbed, *SMALL, code=2)
    who = f"process {os.getpid()} on {os.uname().nodename}"
    assert said == f"{undisturbed} is in use by another winit run ({who}).\n"


@pytest.mark.slow
def test_the_homogeneous_shortcut_is_the_plain_pass(tmp_path, monkeypatch):
    words = ["activation=relu,identity,leaky_relu(0.2)", "init=normal,he_normal,zeros", "gain=log:1e-3:1e3:5"]
    words += ["width=12", "depth=int:1:30", "seed=0", "inputs.samples=40"]
    run(tmp_path / "short", *words)
    monkeypatch.setattr(families, "can_share", lambda family: np.zeros(len(family.bias_std), bool))
    run(tmp_path / "plain", *words)
    pd.testing.assert_frame_equal(table(tmp_path / "short"), table(tmp_path / "plain"), rtol=1e-4, atol=1e-5)


def test_part_names_depend_on_what_is_in_them_alone():
    part = parts.Part((parts.Job("tanh", "normal", "none", 8, 0, (parts.Point("normal", 1.0, 0.0),)),))
    assert part.name == "part-" + part.name[5:]
    assert parts.Part.from_json(json.loads(json.dumps(part.to_json()))) == part
    assert part.name != parts.Part((parts.Job("tanh", "normal", "none", 8, 1, part.jobs[0].points),)).name


@pytest.mark.slow
def test_histograms_count_every_activation(tmp_path):
    words = ["activation=tanh,elu", "gain=0.1,30", "width=6", "depth=3", "seed=0", "inputs.samples=25"]
    run(tmp_path / "run", *words, "measure.histogram.bins=4", "measure.histogram.low=-0.5", "measure.jacobian=false")
    frame = pd.read_parquet(tmp_path / "run" / "histograms")
    assert len(frame) == 2 * 2 * 3 * (4 + 3)
    totals = frame.groupby(["activation", "gain", "layer"], observed=True)["count"].sum()
    assert (totals == 25 * 6).all()
    tanh = frame[(frame["activation"] == "tanh") & (frame["gain"] == 30) & (frame["layer"] == 3)]
    outer = tanh.set_index("bin_low")["count"]
    assert outer[-np.inf] > 50
    assert outer[1.0] == 0


def test_a_failing_activation_is_named_and_the_rest_is_done(tmp_path, monkeypatch):
    (tmp_path / "brittle.py").write_text(
        "def act(a):\n    if a.shape[-1] == 13:\n        raise RuntimeError('thirteen units')\n    return a\n"
    )
    monkeypatch.chdir(tmp_path)
    words = ["activation=brittle:act,tanh", "gain=1", "width=13", "depth=2", "seed=0", "inputs.samples=9"]
    monkeypatch.setattr(plan, "PART_SECONDS", 1e-12)
    said = run(tmp_path / "run", *words, code=1)
    assert "failed: brittle:act, normal 1, none, width 13, seed 0, all depths: RuntimeError: thirteen units" in said
    assert list(table(tmp_path / "run")["activation"]) == ["tanh"]
    shown = winit("status", tmp_path / "run")[0]
    assert "done      1 of 2 networks" in shown
    assert "failed    1" in shown
    said = run(tmp_path / "all", "activation=brittle:act", "seed=int:0:6", *words[1:4], "inputs.samples=9", code=1)
    assert said.count("failed: brittle:act") == 7


@pytest.mark.slow
def test_failures_stand_until_they_are_mended_or_met_again(tmp_path, monkeypatch):
    (tmp_path / "fickle.py").write_text(
        "import os\ndef act(a):\n    if a.shape[-1] == 13 and 'BROKEN' in os.environ:\n"
        "        raise RuntimeError('thirteen units')\n    return a\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BROKEN", "1")
    words = ["gain=1", "depth=2", "seed=0", "inputs.samples=9", "width=13,14"]
    run(tmp_path / "run", "activation=fickle:act,tanh", *words, code=1)
    written, write = [], RunFolder.write_info
    monkeypatch.setattr(
        RunFolder, "write_info", lambda self, found, *rest: (written.append(found), write(self, found, *rest))
    )
    run(tmp_path / "run", "activation=fickle:act,tanh", *words, "width=13,14,15", code=1)
    assert [(info["state"], len(info["failures"])) for info in written] == [("running", 1), ("failed", 1)]
    written.clear()
    run(tmp_path / "run", "activation=fickle:act,tanh", *words, "width=13,14,15,16", "seed=0,1", code=1)
    assert [len(info["failures"]) for info in written] == [1, 2]
    written.clear()
    monkeypatch.delenv("BROKEN")
    run(tmp_path / "run", "activation=fickle:act,tanh", *words, "width=13,14,15,16", "seed=0,1")
    assert [(info["state"], len(info["failures"])) for info in written] == [("running", 2), ("done", 0)]


def test_run_json_says_what_a_run_was_made_with(undisturbed):
    info = json.loads((undisturbed / "run.json").read_text())
    assert info["state"] == "done"
    assert info["networks"] == info["networks_done"] == SMALL_ROWS
    assert set(info["versions"]) >= {"python", "jax", "jaxlib", "numpy"}
    assert len(info["inputs"]["8"]["sha256"]) == 64
    assert any("tanh" in line and "agree" in line for line in info["self_check"])
    assert info["failures"] == []


def test_a_wrong_sum_stops_a_run(tmp_path, monkeypatch):
    from winit_jax.numerics.measure import forward as forward_pass

    right = forward_pass.to_columns
    monkeypatch.setattr(
        forward_pass,
        "to_columns",
        lambda *a, **k: {n: v * (1.01 if n == "act_std" else 1) for n, v in right(*a, **k).items()},
    )
    said = run(tmp_path / "run", "activation=tanh", "gain=1", "width=8", "depth=2", "inputs.samples=20", code=1)
    assert said.startswith("the self-check failed for tanh at width 8: layer 1: act_std is ")
    assert not (tmp_path / "run" / "networks").exists()


@pytest.mark.slow
def test_book_histograms_agree_with_the_mean_of_many_seeds(tmp_path):
    run(tmp_path / "book", "book-histograms", "measure.jacobian=false")
    frame = pd.read_parquet(tmp_path / "book" / "networks")
    assert len(frame) == 12 * 5 * 10
    # FACTS: activation std over layers 1 to 5, mean of many seeds in float64, to the digits given there.
    book = {
        ("sigmoid", 1.0): (0.459, 0.439, 0.436, 0.436, 0.437),
        ("sigmoid", 0.01): (0.0249, 0.0125, 0.0123, 0.0123, 0.0126),
        ("tanh", 1.0): (0.959, 0.958, 0.958, 0.958, 0.958),
        ("tanh", 0.01): (0.0990, 0.0099, 0.0010, 1.0e-4, 1.0e-5),
        ("relu", 1.0): (5.84, 41.6, 293, 2027, 14310),
        ("relu", 0.01): (0.0584, 0.0042, 2.9e-4, 2.0e-5, 1.4e-6),
    }
    for (activation, std), expected in book.items():
        rows = frame[(frame["activation"] == activation) & (frame["std"] == std)]
        by_depth = rows.groupby("depth")["act_std"]
        error = by_depth.std(ddof=1) / np.sqrt(10)
        rounding = np.array([0.5 * 10.0 ** (math.floor(math.log10(x)) - (2 if x >= 1 else 1)) for x in expected])
        assert np.all(np.abs(by_depth.mean() - np.array(expected)) < 5 * error + rounding), (activation, std)


@pytest.mark.slow
def test_units_are_equal_under_equal_weights(tmp_path):
    run(tmp_path / "run", "symmetry", "seed=0", "measure.histogram=", "measure.jacobian=false")
    frame = pd.read_parquet(tmp_path / "run" / "networks")
    constant = frame[frame["init"] == "constant"]
    np.testing.assert_allclose(constant["unit_similarity"], 1, atol=1e-5)
    assert (frame.loc[frame["init"] == "normal", "unit_similarity"] < 0.99).all()
    zeros = frame[(frame["init"] == "zeros") & (frame["activation"] != "sigmoid")]
    assert (zeros["zero"] == 1).all()
    assert np.isneginf(zeros["log10_act_rms"]).all()


def test_data_that_changed_under_a_run_are_not_mixed(tmp_path):
    words = [
        "activation=tanh",
        "gain=1",
        "width=8",
        "depth=2",
        "inputs.samples=5",
        f"inputs.source={tmp_path / 'x.npz'}",
    ]
    np.savez(tmp_path / "x.npz", x=np.eye(5))
    run(tmp_path / "run", *words)
    np.savez(tmp_path / "x.npz", x=2 * np.eye(5))
    said = run(tmp_path / "run", *words, "seed=0,1", code=2)
    assert said.startswith(f"{tmp_path / 'x.npz'} has changed since {tmp_path / 'run'} was begun (SHA-256 ")
    assert len(table(tmp_path / "run")) == 1
