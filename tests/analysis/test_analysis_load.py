"""Run folders read back: tables, the points that were asked for, and sentences for what is no run."""

import json
import math

import numpy as np
import pandas as pd
import pytest

from support.folders import commit
from support.runs import run
from support.tables import bin_rows, layer_rows, network_rows, write_run
from winit_jax import columns
from winit_jax.analysis import RunFolderError, load, reading
from winit_jax.analysis.axes import AxisError, expand
from winit_jax.analysis.figures import files
from winit_jax.analysis.tables import KEYS as LEARNER_KEYS
from winit_jax.analysis.tables import NAMES, NETWORK_KEYS, follows_init, in_order, tidy, varying
from winit_jax.system import machine


@pytest.mark.parametrize(
    ("expression", "values"),
    [
        (3, [3]),
        (0.5, [0.5]),
        ([1, 2.5], [1, 2.5]),
        ("lin:0:1:5", [0, 0.25, 0.5, 0.75, 1]),
        ("log:0.1:10:3", [0.1, 1, 10]),
        ("int:1:5", [1, 2, 3, 4, 5]),
        ("int:1:6:2", [1, 3, 5]),
        (["int:1:3", 10], [1, 2, 3, 10]),
        ("1, 2", [1, 2]),
    ],
)
def test_ranges_include_both_ends(expression, values):
    np.testing.assert_allclose(expand(expression), values, rtol=1e-12)


def test_names_are_never_ranges_and_keep_their_arguments():
    assert expand(["tanh", "leaky_relu(0.2)"], names=True) == ["tanh", "leaky_relu(0.2)"]
    assert expand("my.acts:snake,prelu(0.1, 2)", names=True) == ["my.acts:snake", "prelu(0.1, 2)"]


@pytest.mark.parametrize("expression", ["lin:0:1", "log:0:1:5", "int:1:x", "int:1:5:0", "nan", "abc", True, None, {}])
def test_an_axis_that_is_none_gets_a_sentence(expression):
    with pytest.raises(AxisError, match=r"is not (a number, a range or a formula|an axis|lin:|a whole)|must be"):
        expand(expression)


def test_a_run_reads_its_tables_when_asked_and_names_as_categories(tmp_path):
    frame = network_rows()
    run = load(write_run(tmp_path / "run", frame, layer_rows(frame), gain=[0.1, 1.0, 10.0]))
    assert "layers" not in vars(run)
    assert len(run.networks) == len(frame)
    assert list(run.networks["activation"].cat.categories) == ["tanh", "relu"]
    assert "layers" not in vars(run)
    assert len(run.layers) == len(frame)
    assert run.histograms is None
    assert (run.title, run.info, run.scale_axis) == ("A sweep", {"state": "done"}, "gain")


def test_a_run_knows_the_points_that_it_was_asked_for(tmp_path):
    run = load(write_run(tmp_path / "run", network_rows(), gain="log:0.1:10:3", depth="int:1:4", activation="tanh"))
    assert run.expected["depth"] == [1, 2, 3, 4]
    assert run.expected["activation"] == ["tanh"]
    np.testing.assert_allclose(run.expected["gain"], [0.1, 1, 10])
    assert "width" not in run.expected
    with pytest.raises(RunFolderError, match=r"sweep\.toml: 'log:0:1:3': both ends of a log range must be"):
        _ = load(write_run(tmp_path / "odd", network_rows(), gain="log:0:1:3")).expected


def test_keys_and_names_are_defined_once():
    assert NETWORK_KEYS is columns.KEYS
    assert LEARNER_KEYS is columns.LEARNER_KEYS
    assert NAMES is columns.NAMES


def test_folders_that_are_no_runs_get_a_sentence(tmp_path):
    with pytest.raises(RunFolderError, match="there is no such folder"):
        load(tmp_path / "nowhere")
    run = write_run(tmp_path / "run", network_rows())
    (run / "networks" / "part-1.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(RunFolderError, match=r"is damaged: networks/part-1\.parquet has 16 bytes and was written with"):
        _ = load(run).networks
    bare = write_run(tmp_path / "bare", network_rows().drop(columns=["gain", "seed"]))
    with pytest.raises(RunFolderError, match="has no column gain, seed"):
        _ = load(bare).networks
    (run / "sweep.toml").write_text("title = ")
    with pytest.raises(RunFolderError, match=r"sweep\.toml is not TOML: Invalid value"):
        load(run)


def test_a_table_that_has_no_room_in_memory_gets_a_sentence_before_it_is_read(tmp_path, monkeypatch):
    write_run(tmp_path, network_rows())
    monkeypatch.setattr(reading, "LEAST_LARGE", 0)
    monkeypatch.setattr(machine, "free_bytes", lambda: 2**10)
    with pytest.raises(
        RunFolderError, match=r"rows, which take about .* GiB of memory .* are free\. Read fewer columns"
    ):
        _ = load(tmp_path).networks
    assert load(tmp_path).points("networks", ["log10_act_rms"]) is not None


def test_values_asked_for_join_those_there_without_twins():
    frame = network_rows(activations=("relu",), gains=(0.1, 1.0))
    nearly = 0.1 * (1 + 1e-15)
    assert in_order(frame, "gain", {"gain": [nearly, 1, 10]}) == [0.1, 1.0, 10]
    assert in_order(frame, "activation", {"activation": ["relu", "gelu"]}) == ["relu", "gelu"]
    assert varying(frame, {"activation": ["relu", "gelu"]}) == ["activation", "gain", "depth", "seed"]


def test_a_scheme_has_one_scale_whatever_rounding_says():
    frame = network_rows(inits=("he_normal", "xavier_normal"), widths=(30, 100))
    frame.loc[frame["width"] == 30, "gain"] *= 1 + 2e-16
    assert not follows_init(frame)
    assert follows_init(tidy(frame))
    assert not follows_init(network_rows())


def test_tables_of_gradients_and_of_theory_load_and_absent_ones_are_none(tmp_path):
    path = write_run(tmp_path / "run", network_rows())
    tables = {
        "gradients": layer_rows(network_rows()),
        "gradient_histograms": bin_rows(network_rows()),
        "mean_field": pd.DataFrame({"activation": ["tanh"], "gain": [1.0], "bias_std": [0.0], "chi1": [1.0]}),
        "theory": pd.DataFrame({"activation": ["tanh"], "gain": [1.0], "bias_std": [0.0], "depth": [3], "chi": [1.0]}),
    }
    assert all(getattr(load(path), name) is None for name in tables)
    for name, table in tables.items():
        (path / name).mkdir()
        table.to_parquet(path / name / "part-0.parquet", index=False)
    run = load(commit(path))
    assert all(len(getattr(run, name)) == len(table) for name, table in tables.items())
    assert not run.is_theory
    tables["theory"].drop(columns="gain").to_parquet(path / "theory" / "part-0.parquet")
    commit(path)
    with pytest.raises(RunFolderError, match="theory has no column gain: it is not a table of a sweep"):
        _ = load(path).theory


@pytest.mark.parametrize(
    ("width", "widths"), [("inf", None), (math.inf, None), ("100, inf", [100]), ([10, "inf"], [10])]
)
def test_an_infinite_width_is_no_networks_width(tmp_path, width, widths):
    path = write_run(tmp_path / "run", network_rows(), depth="int:1:2")
    shown = "inf" if width == math.inf else json.dumps(width)
    (path / "sweep.toml").write_text(f'[grid]\ndepth = "int:1:2"\nwidth = {shown}\n')
    assert load(path).expected == {"depth": [1, 2]} | ({"width": widths} if widths else {})


def test_a_scheme_at_infinite_width_has_a_gain_and_no_std():
    frame = network_rows(inits=("he_normal", "xavier_normal")).assign(std=np.nan).drop(columns=["width", "seed"])
    assert follows_init(tidy(frame))
    assert varying(frame) == ["activation", "init", "gain", "depth"]


def test_a_figure_whose_table_does_not_fit_leaves_the_others(tmp_path, monkeypatch):
    run(tmp_path, "activation=tanh", "gain=1,2", "depth=1,2", "width=4", "inputs.samples=5")
    whole = reading.Tables._table

    def without_layers(self, name, *rest, **more):
        if name == "layers":
            raise reading.NoRoom("layers: too large")
        return whole(self, name, *rest, **more)

    monkeypatch.setattr(reading.Tables, "_table", without_layers)
    monkeypatch.setattr(reading.Tables, "points", lambda self, name, *rest, **more: without_layers(self, name))
    said = []
    paths = files.draw_standard(reading.read_folder(tmp_path, reading.Tables), report=said.append)
    assert {"vanishing-exploding", "saturation", "jacobian"} <= {path.stem for path in paths}
    assert any("layers: too large" in sentence for sentence in said)
