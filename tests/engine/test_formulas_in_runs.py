"""Formulas on the axes of a grid: each depth its own network, keys as numbers and as they are written."""

import numpy as np
import pandas as pd
import pytest

from support.runs import assert_same_bits, run, table, winit
from support.sweeps import problems
from winit_jax.numerics.measure.family import Family

GPT2 = ["block=residual", "activation=relu", "inputs.samples=10", "width=16", "depth=2,4,8", "seed=0,1"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("formulas") / "run"
    run(folder, *GPT2, "std=0.02/sqrt(2*depth),0.02", "branch_scale=1/sqrt(depth),1", "measure.gradients=true")
    return folder


def test_each_depth_has_the_scale_that_its_formula_says(folder):
    networks = table(folder)
    assert len(networks) == 2 * 2 * 3 * 2
    for column, formula, value in (
        ("std", "0.02/sqrt(2*depth)", 0.02 / np.sqrt(2 * networks["depth"])),
        ("branch_scale", "1/sqrt(depth)", 1 / np.sqrt(networks["depth"])),
    ):
        rule = networks[f"{column}_rule"]
        assert set(rule.dropna()) == {formula}
        np.testing.assert_allclose(networks[column], np.where(rule == formula, value, {"std": 0.02}.get(column, 1.0)))
    np.testing.assert_allclose(networks["gain"], networks["std"] * 4)


def test_a_network_of_a_formula_is_the_network_of_its_number(folder, tmp_path):
    run(tmp_path / "number", *GPT2[:4], "depth=4", "seed=0,1", f"std={float(0.02 / np.sqrt(8))!r}", "branch_scale=0.5")
    networks = table(folder)
    chosen = (networks["depth"] == 4) & networks["std_rule"].notna() & networks["branch_scale_rule"].notna()
    measured = ["log10_act_rms", "log10_jacobian", "saturated", "theory_log10_act_rms", "chi", "unit_similarity"]
    expected = table(tmp_path / "number")[measured]
    pd.testing.assert_frame_equal(networks.loc[chosen, measured].reset_index(drop=True), expected, check_exact=True)


def test_each_depth_of_a_formula_has_its_own_layers_and_the_others_those_of_the_deepest(folder):
    layers = pd.read_parquet(folder / "layers")
    by_rule = layers.groupby([layers["std_rule"].isna() & layers["branch_scale_rule"].isna(), "depth"]).size()
    assert by_rule[False].to_dict() == {2: 3 * 2 * 2, 4: 3 * 2 * 4, 8: 3 * 2 * 8}
    assert by_rule[True].to_dict() == {8: 2 * 8}


def test_networks_of_every_depth_are_of_one_draw_and_so_of_one_program(tmp_path, monkeypatch):
    drawn, draw = set(), Family.stack
    monkeypatch.setattr(Family, "stack", lambda family, *layers: drawn.add(layers) or draw(family, *layers))
    beside = ("gain=1", "branch_scale=1/sqrt(depth),1", "measure.gradients=true", "measure.singular_values=true")
    run(tmp_path, *GPT2[:4], "depth=2,3,8", "seed=0", *beside)
    assert drawn == {(2, 7)}


def test_plan_counts_what_is_written(folder):
    planned = winit("plan", *GPT2, "std=0.02/sqrt(2*depth),0.02", "branch_scale=1/sqrt(depth),1", "--json")[0]
    rows = pd.read_json(pd.io.common.StringIO(planned), typ="series")["rows_by_table"]
    assert rows["networks"] == len(pd.read_parquet(folder / "networks"))
    assert rows["layers"] == len(pd.read_parquet(folder / "layers"))
    assert "sound" in winit("verify", folder)[0] + winit("verify", folder)[1] or winit("verify", folder)


def test_a_sweep_grown_by_depths_and_formulas_has_the_rows_of_the_whole(folder, tmp_path):
    few = ["std=0.02/sqrt(2*depth),0.02", "measure.gradients=true"]
    run(tmp_path / "grown", *GPT2[:4], "depth=2,4", "seed=0,1", "branch_scale=1", *few)
    run(tmp_path / "grown", *GPT2, "branch_scale=1", *few)
    run(tmp_path / "grown", *GPT2, "branch_scale=1/sqrt(depth),1", *few)
    assert_same_bits(tmp_path / "grown", folder)


@pytest.mark.slow
def test_networks_of_a_formula_are_trained_each_with_its_own_scales(tmp_path):
    words = [*GPT2[:2], "width=8", "depth=2,3", "seed=0", "gain=1", "branch_scale=1/depth,1", "inputs.samples=10"]
    learning = ["learning_rate=0.1", "train.source=digits", "train.steps=4", "train.eval_every=2"]
    sizes = ["train.batch_size=8", "train.train_samples=40", "train.test_samples=9"]
    run(tmp_path / "run", *words, *learning, *sizes)
    networks = table(tmp_path / "run")
    halves = networks.set_index(["depth", "branch_scale"])
    assert halves.index.is_unique
    assert sorted(halves.index) == [(2, 0.5), (2, 1.0), (3, 1 / 3), (3, 1.0)]
    assert networks["train_loss"].notna().all()
    assert networks["train_loss"].nunique() == 4


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["gain=1/(depth-2)"], "'1/(depth-2)' is -1 at depth = 1, which is less than 0."),
        (["gain=1/(width-10)", "width=10"], "'1/(width-10)' is no finite number at width = 10."),
        (["gain=1/fan"], "'1/fan': 'fan' is not a name that a formula may hold"),
        (["gain=1", "bias_std=1/fan_in"], "'1/fan_in': bias_std is of no weights"),
        (["gain=1/width", "width=inf"], "'1/width' has no value at infinite width."),
        (["gain=2//3"], "'2//3' is not a formula"),
        (["gain=-depth"], "'-depth' is -1 at depth = 1, which is less than 0."),
        (["gain=1", "depth=2*3"], "'2*3' is not a whole number"),
    ],
)
def test_a_formula_that_cannot_be_gets_a_sentence(words, sentence):
    assert any(sentence in said for said in problems("activation=relu", "depth=1,2,3", *words))


def test_a_formula_of_numbers_alone_is_a_number(tmp_path):
    run(tmp_path / "run", "activation=relu", "gain=sqrt(2),1/3", "width=4", "depth=2", "inputs.samples=5")
    networks = table(tmp_path / "run")
    assert sorted(networks["gain"]) == [1 / 3, 2**0.5]
    assert "gain_rule" not in networks
