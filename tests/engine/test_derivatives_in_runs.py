"""Gradients, singular values and predictions as rows of a run."""

import numpy as np
import pandas as pd
import pytest

from support.runs import KEYS, ONLY_ASKED, run, table, winit
from winit_jax.columns import GRADIENTS, PREDICTED, SINGULAR_VALUES, of_role
from winit_jax.engine.computing import theory_tables
from winit_jax.store import schema

WORDS = [
    "activation=relu,tanh",
    "init=normal,orthogonal,he_normal",
    "gain=0.5,1.5",
    "width=8",
    "depth=1,3,4",
    "seed=0,1",
    "inputs.samples=20",
    "measure.gradients=true",
    "measure.singular_values=true",
]
NETWORKS = 2 * (2 * 2 + 1) * 3 * 2


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("derivatives") / "run"
    run(folder, *WORDS)
    return folder


@pytest.mark.slow
def test_gradients_have_a_row_for_every_depth_and_every_layer_up_to_it(measured):
    frame = table(measured, "gradients")
    absent = {"site", *ONLY_ASKED, *of_role("rule", "gradients")}
    assert list(frame.columns) == [name for name in schema.TABLES["gradients"] if name not in absent]
    assert len(frame) == NETWORKS // 3 * (1 + 3 + 4)
    assert np.all(frame["layer"] <= frame["depth"])
    assert not frame.duplicated([*KEYS, "layer"]).any()
    assert frame[["log10_preact_grad_rms", "log10_weight_grad_rms"]].notna().all(axis=None)


def test_the_layers_table_holds_the_gradients_of_the_deepest_networks(measured):
    layers, gradients = table(measured, "layers"), table(measured, "gradients")
    deepest = gradients[gradients["depth"] == 4].reset_index(drop=True)
    for name in GRADIENTS:
        np.testing.assert_array_equal(layers[name], deepest[name])


def test_singular_values_fill_their_columns(measured):
    frame = table(measured)
    one = frame[frame["depth"] == 1]
    assert (one[["sv_min", "sv_median", "sv_max", "sv_mean_square"]] == 1).all(axis=None)
    assert (one["sv_var_square"] == 0).all()
    assert (frame["sv_min"] <= frame["sv_median"]).all()
    assert (frame["sv_median"] <= frame["sv_max"]).all()


def test_one_pass_for_all_gains_gives_the_derivatives_of_each(measured, tmp_path):
    """A bias too small to matter takes the shortcut away."""
    run(tmp_path / "plain", *(w for w in WORDS if "activation" not in w), "activation=relu", "bias_std=1e-30")
    for name, columns in (
        ("gradients", GRADIENTS),
        ("layers", ("log10_jacobian",)),
        ("networks", SINGULAR_VALUES),
    ):
        fast, plain = table(measured, name), table(tmp_path / "plain", name)
        fast = fast[fast["activation"] == "relu"].reset_index(drop=True)
        assert len(fast) == len(plain)
        for column in columns:
            np.testing.assert_allclose(fast[column], plain[column], rtol=2e-4, atol=2e-5, err_msg=column)


def test_predictions_stand_beside_independent_and_orthogonal_weights_and_nowhere_else(measured, tmp_path):
    frame = table(measured)
    of_rows = [column for column in PREDICTED if column != "theory_position_similarity"]
    for column in of_rows:
        assert frame[column].notna().all(), column
    same = [frame.loc[frame["init"] == init, of_rows].to_numpy() for init in ("normal", "orthogonal")]
    np.testing.assert_array_equal(*same)
    run(tmp_path, "activation=tanh", "init=constant,zeros", "gain=1", "width=8", "depth=2", "inputs.samples=20")
    assert not set(PREDICTED) & set(table(tmp_path))
    assert not (tmp_path / "mean_field").exists()
    he = frame[(frame["init"] == "he_normal") & (frame["activation"] == "relu")]
    np.testing.assert_allclose(he["chi"], 1.0, rtol=1e-9)
    np.testing.assert_allclose(he["theory_log10_jacobian"], 0.0, atol=1e-9)


def test_fixed_points_of_the_scales_are_in_a_table_of_their_own(measured):
    frame = pd.read_parquet(measured / "mean_field")
    assert list(frame.columns) == list(schema.PREDICTIONS["mean_field"])
    # Two gains and He's, for each of two activations.
    assert len(frame) == 2 * 3
    assert set(frame.loc[frame["activation"] == "relu", "critical_gain"].round(9)) == {round(np.sqrt(2), 9)}


@pytest.mark.slow
def test_histograms_of_gradients_are_counted_when_histograms_are(tmp_path):
    run(
        tmp_path,
        "activation=tanh",
        "gain=1",
        "width=8",
        "depth=3",
        "inputs.samples=20",
        "measure.gradients=true",
        "measure.histogram={bins = 10}",
    )
    frame = table(tmp_path, "gradient_histograms")
    absent = {"site", *ONLY_ASKED, *of_role("rule", "gradient_histograms")}
    assert list(frame.columns) == [name for name in schema.TABLES["gradient_histograms"] if name not in absent]
    assert len(frame) == 3 * 13
    assert (frame.groupby("layer")["count"].sum() == 160).all()
    assert frame.groupby("layer")["log10_preact_grad_rms"].nunique().eq(1).all()


@pytest.mark.slow
def test_labels_make_the_loss_a_cross_entropy(tmp_path):
    words = ["activation=relu", "gain=1", "width=8", "depth=2", "measure.gradients=true", "inputs.samples=50"]
    run(tmp_path, *words, "inputs.source=digits")
    frame = table(tmp_path, "gradients")
    assert np.isfinite(frame["log10_weight_grad_rms"]).all()


def test_without_the_jacobian_there_is_no_column_of_it(tmp_path):
    run(tmp_path, "activation=tanh", "gain=1", "width=8", "depth=2", "inputs.samples=20", "measure.jacobian=false")
    assert "log10_jacobian" not in table(tmp_path)


def test_gradients_that_would_not_fit_are_refused_in_a_sentence():
    words = ["activation=tanh", "gain=1", "depth=1000", "width=1000", "measure.gradients=true"]
    _, said = winit("plan", *words, code=2)
    assert "measure.gradients: a network of 1,000 layers, 1,000 units and 1,000 samples needs 11,444 MiB" in said


def test_an_infinite_width_is_theory_alone(tmp_path):
    words = ["activation=relu,tanh", "init=normal,he_normal,orthogonal", "gain=1,2", "depth=1,5", "width=inf"]
    said = winit("run", *words, "--out", tmp_path / "limit", "--no-figures")[1]
    assert said == "20 predictions at infinite width\n"
    frame = pd.read_parquet(tmp_path / "limit" / "theory")
    absent = {"theory_position_similarity", *ONLY_ASKED, *of_role("rule", "theory")}
    assert list(frame.columns) == [name for name in schema.PREDICTIONS["theory"] if name not in absent]
    assert len(frame) == 2 * (2 * 2 + 1) * 2
    he = frame[(frame["init"] == "he_normal") & (frame["activation"] == "relu")]
    np.testing.assert_allclose(he["gain"], np.sqrt(2))
    np.testing.assert_allclose(he["theory_log10_act_rms"], 0, atol=1e-12)
    np.testing.assert_allclose(he["theory_input_correlation"], [0, 0.680954], atol=1e-6)
    orthogonal, normal = (frame.loc[frame["init"] == init, "chi"] for init in ("orthogonal", "normal"))
    np.testing.assert_array_equal(orthogonal, normal)
    assert not (tmp_path / "limit" / "networks").exists()


def test_infinite_and_finite_widths_run_together_and_a_sweep_without_inf_takes_nothing_away(tmp_path):
    words = ["activation=tanh", "gain=1,2", "depth=2", "inputs.samples=20"]
    run(tmp_path, *words, "width=8,inf")
    assert len(table(tmp_path)) == 2
    assert len(pd.read_parquet(tmp_path / "theory")) == 2
    run(tmp_path, *words, "width=8")
    assert len(pd.read_parquet(tmp_path / "theory")) == 2


@pytest.mark.slow
def test_data_start_the_theory_of_infinite_width(tmp_path):
    words = ["activation=identity", "gain=1", "depth=3", "inputs.source=digits", "inputs.samples=200"]
    run(tmp_path, *words, "width=2000,inf")
    limit, wide = pd.read_parquet(tmp_path / "theory"), table(tmp_path)
    # One linear network of width 2000: 3 layers, relative fluctuations of the mean square of sqrt(2 / width).
    assert abs(limit["theory_log10_act_rms"][0] - wide["log10_act_rms"][0]) < 5 * np.sqrt(3 * 2 / 2000) / 2 / np.log(10)
    assert limit["theory_input_correlation"][0] == pytest.approx(wide["theory_input_correlation"][0])


def test_too_many_points_at_infinite_width_are_refused():
    words = ["activation=tanh", "gain=lin:1:2:1001", "bias_std=lin:0:1:1000", "depth=1", "width=inf"]
    assert "1,001,000 points at infinite width; a sweep may have 1,000,000" in winit("plan", *words, code=2)[1]


def test_a_sweep_of_very_many_scales_has_no_table_of_fixed_points(monkeypatch, tmp_path):
    monkeypatch.setattr(theory_tables, "MAX_FIXED_POINTS", 3)
    run(tmp_path, "activation=tanh", "gain=1,2,3,4", "depth=2", "width=inf")
    assert not (tmp_path / "mean_field").exists()


def test_an_std_at_infinite_width_is_refused():
    _, said = winit("plan", "activation=tanh", "std=0.1", "width=inf", code=2)
    assert "grid.width: at infinite width any std is an infinite gain" in said
