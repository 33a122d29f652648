"""Sweeps over blocks: the same bits however they are cut, continued or interrupted, and every table in its shape."""

import numpy as np
import pandas as pd
import pytest

import winit_jax as winit
from support.runs import assert_same_bits, table

BLOCKS = (
    "dense", "residual", "mlp(2)", "gated(2)", "conv(3)", "conv2d(2)", "residual_conv(3)", "attention(2)",
    "transformer(2, 2)",
)  # fmt: skip
AXES = {"block": list(BLOCKS), "activation": "tanh", "gain": [0.8, 1.2], "depth": [1, 3], "width": 12, "seed": [0, 1]}
BESIDE = {"inputs": {"samples": 10, "positions": 4}, "measure": {"gradients": True}, "progress": False}
TABLES = ("networks", "layers", "gradients")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return winit.run(AXES, tmp_path_factory.mktemp("whole") / "run", **BESIDE)


@pytest.mark.slow
def test_every_network_has_its_row_and_a_transformer_two_rows_a_layer(whole):
    assert len(whole.networks) == len(BLOCKS) * 2 * 2 * 2
    rows = whole.layers.groupby("block", observed=True).size()
    assert set(rows.drop("transformer(2, 2)")) == {2 * 2 * 3}
    assert rows["transformer(2, 2)"] == 2 * 2 * 5
    sites = whole.layers.query("block == 'transformer(2, 2)' and gain == 0.8 and seed == 0")
    assert sites["layer"].tolist() == [1, 2, 2, 3, 3]
    assert sites["site"].tolist() == [np.nan, "attention", "mlp", "attention", "mlp"]
    assert whole.layers[whole.layers["block"] != "transformer(2, 2)"]["site"].isna().all()
    attention = whole.layers[(whole.layers["block"] == "attention(2)") & (whole.layers["layer"] > 1)]
    assert attention["log10_act_rms"].isna().all()
    assert attention["attention_entropy"].between(0, 1).all()
    assert winit.verify(whole.path).is_whole


@pytest.mark.slow
def test_a_run_that_is_continued_has_the_bits_of_one_that_was_not(whole, tmp_path):
    winit.run({**AXES, "seed": 0, "gain": 0.8}, tmp_path / "run", **BESIDE)
    continued = winit.run(AXES, tmp_path / "run", **BESIDE)
    assert_same_bits(whole.path, continued.path, TABLES)


@pytest.mark.slow
def test_networks_have_the_same_bits_in_batches_of_another_size(whole, tmp_path):
    one = winit.run({**AXES, "gain": 1.2, "seed": 1}, tmp_path / "one", compute={"batch_mib": 16}, **BESIDE)
    for name in TABLES:
        frame = table(whole.path, name)
        frame = frame[(frame["gain"] == 1.2) & (frame["seed"] == 1)].reset_index(drop=True)
        pd.testing.assert_frame_equal(frame, table(one.path, name), check_exact=True)


@pytest.mark.slow
def test_blocks_learn_digits(tmp_path):
    axes = {"block": ["residual_conv(3)", "transformer(2, 2)"], "activation": "relu"}
    train = {"source": "digits", "steps": 100, "eval_every": 50, "optimizer": "adam", "test_samples": 200}
    run = winit.run(
        {**axes, "normalization": "layer", "gain": 1.0, "depth": 3, "width": 16, "learning_rate": 0.01},
        tmp_path / "run",
        train={**train, "positions": "rows"},
        inputs={"samples": 50},
        progress=False,
    )
    accuracy = run.networks.set_index("block")["test_accuracy"]
    # Guessing is right once in ten times.
    assert (accuracy > 0.4).all(), accuracy


@pytest.mark.slow
def test_causal_attention_learns_the_bytes_of_a_text(tmp_path):
    text = "the quick brown fox jumps over the lazy dog. " * 200
    (tmp_path / "text.txt").write_text(text, encoding="utf-8")
    run = winit.run(
        {"block": "transformer(2, 2, causal)", "activation": "gelu", "gain": 1.0, "depth": 2, "width": 32},
        tmp_path / "run",
        normalization="layer",
        learning_rate=0.01,
        train={"source": str(tmp_path / "text.txt"), "positions": 16, "steps": 200, "eval_every": 100,
               "optimizer": "adam", "batch_size": 16, "train_samples": 200, "test_samples": 50},
        inputs={"samples": 20},
        progress=False,
    )  # fmt: skip
    losses = run.training.sort_values("step")["test_loss"]
    assert losses.iloc[0] == pytest.approx(np.log(256), abs=1.5)
    assert losses.iloc[-1] < 1.5
