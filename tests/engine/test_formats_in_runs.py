"""Sweeps with formats: what their tables have, that float32 stays what it was, and what is refused."""

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from support.runs import assert_same_bits, run, winit
from support.sweeps import problems, sweep
from winit_jax.analysis import load
from winit_jax.columns import COLUMNS
from winit_jax.engine.computing.vocabulary import planner
from winit_jax.engine.planning import planner as plan
from winit_jax.store.asked import grid_digest

WORDS = ["activation=relu", "gain=0.5,1,1e4", "width=8", "depth=1,3", "inputs.samples=20", "measure.jacobian=false"]
BOTH = "dtype=float32,float16"
LOST = ("underflow", "subnormal", "overflow")
pytestmark = pytest.mark.xdist_group("formats")


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    folder = tmp_path_factory.mktemp("formats") / "plain"
    run(folder, *WORDS)
    return folder


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    folder = tmp_path_factory.mktemp("formats") / "both"
    run(folder, *WORDS, BOTH)
    return folder


def rows(folder, name="networks"):
    return pd.read_parquet(folder / name).sort_values(["gain", "depth"], ignore_index=True)


def test_a_sweep_without_formats_has_none_of_their_columns(plain):
    of_formats = {column.name for column in COLUMNS if "formats" in column.needs}
    for name in ("networks", "layers"):
        assert not of_formats & set(rows(plain, name).columns)
        assert not of_formats & set(getattr(load(plain), name).columns)
    assert "dtype" not in (plain / "sweep.toml").read_text()
    assert grid_digest(sweep(*WORDS)) == grid_digest(sweep(*WORDS, "dtype=float32"))


def test_float32_has_the_same_bits_beside_other_formats(plain, both):
    frame = rows(both)
    alone = frame[frame["dtype"] == "float32"]
    assert alone[list(LOST)].isna().all(axis=None)
    there = [name for name in rows(plain) if name not in ("activation", "init")]
    pd.testing.assert_frame_equal(alone[there].reset_index(drop=True), rows(plain)[there], check_exact=True)


def test_rounded_networks_lose_what_the_format_does_not_hold(both):
    frame = rows(both, "layers")
    narrow = frame[frame["dtype"] == "float16"].set_index(["gain", "layer"])
    assert narrow.loc[(0.5, 1), "overflow"] == narrow.loc[(0.5, 1), "underflow"] == 0
    assert narrow.loc[(1e4, 1), "overflow"] == 0
    assert narrow.loc[(1e4, 2), "overflow"] > 0.9
    assert narrow.loc[(1e4, 2), "nonfinite"] > 0.3  # relu lets half of what is infinite through
    exact = frame[frame["dtype"] == "float32"].set_index(["gain", "layer"])
    for place in ((0.5, 1), (0.5, 3), (1.0, 2)):
        off = abs(narrow.loc[place, "log10_preact_rms"] - exact.loc[place, "log10_preact_rms"])
        assert 0 < off < 2e-3  # 2^-11 of each number, less in the mean of many
    assert narrow.loc[(0.5, 2), "theory_log10_act_rms"] == exact.loc[(0.5, 2), "theory_log10_act_rms"]


def test_a_sweep_cut_into_single_networks_and_grown_has_the_bits_of_the_whole(both, plain, tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "PART_SECONDS", 1e-12)
    folder = tmp_path / "grown"
    run(folder, *WORDS, "gain=1")
    run(folder, *WORDS, "gain=1,0.5", BOTH)
    for path in (folder / "networks").iterdir():
        assert {"dtype", *LOST} <= set(pq.read_schema(path).names)
    assert set(load(folder).networks["dtype"]) == {"float32", "float16"}
    run(folder, *WORDS, BOTH)
    assert winit("verify", folder)[0].endswith("12 of 12 networks: all as written\n")
    for name in ("networks", "layers"):
        keys = ["dtype", "gain", "depth", *(["layer"] if name == "layers" else [])]
        found, whole = (
            pd.read_parquet(path / name).astype({"dtype": str, "activation": str, "init": str}).set_index(keys)
            for path in (folder, both)
        )
        pd.testing.assert_frame_equal(found.sort_index(), whole.sort_index(), check_exact=True)


def test_a_rounded_run_goes_on_where_it_was_cut(both, tmp_path):
    folder = tmp_path / "cut"
    run(folder, *WORDS, BOTH)
    for table in ("networks", "layers"):
        for path in sorted((folder / table).iterdir())[1:]:
            path.unlink()
    run(folder, *WORDS, BOTH)
    assert_same_bits(both, folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("block", "more"),
    [
        ("gated(2)", ["normalization=rms", "norm_position=post", "measure.gradients=true"]),
        ("mlp(2)", ["normalization=rms"]),
        ("residual_conv(3)", ["inputs.positions=4", "normalization=batch"]),
        ("attention(2)", ["inputs.positions=4", "normalization=layer", "attention_gain=3"]),
        ("transformer(4, 2, causal)", ["inputs.positions=4", "normalization=rms", "measure.gradients=true"]),
    ],
)
def test_the_self_check_holds_every_block_against_float64_and_ml_dtypes(block, more, tmp_path):
    """A run of a program that these contradict ends with a sentence."""
    words = ["activation=gelu", f"block={block}", "gain=1.2", "bias_std=0.1", "width=16", "depth=3", "branch_scale=0.7"]
    run(tmp_path, *words, *more, "dtype=bf16,e4m3", "inputs.samples=24")
    frame = load(tmp_path).layers
    assert np.isfinite(frame["log10_preact_rms"]).all()
    assert frame["underflow"].notna().all()
    if "measure.gradients=true" in more:
        assert np.isfinite(frame["log10_weight_grad_rms"]).all()
        assert frame["grad_underflow"].notna().all()


def test_other_words_for_formats_are_understood():
    assert sweep("activation=tanh", "gain=1", "format=bf16, FP16, e4m3, e5m2, fp32").grid.dtype == [
        "bfloat16", "float16", "float8_e4m3fn", "float8_e5m2", "float32",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["dtype=flaot16"], "grid.dtype: 'flaot16' is not a dtype. Did you mean 'float16'?"),
        (
            ["train.steps=1"],
            "grid.dtype: networks are trained in float32 alone. Take float16 away, or the [train] table.",
        ),
        (
            ["measure.singular_values=true"],
            "measure.singular_values: singular values are taken in float32 alone. Take them away, or float16.",
        ),
        (["init=normal,lsuv"], "grid.dtype: lsuv is measured in float32 alone. Take it away, or float16."),
    ],
)
def test_what_is_computed_in_float32_alone_is_refused_in_a_sentence(words, sentence):
    given = [] if words[0].startswith("dtype") else ["dtype=float32,float16"]
    assert problems("activation=tanh", "gain=1", *given, *words)[0].startswith(sentence)


def test_a_rounded_network_is_never_another_one_rescaled():
    """Of four gains of ReLU float32 takes one pass, and each format four."""
    words = ["activation=relu", "gain=0.5,1,2,4", "depth=1,2"]
    of = planner(2)
    assert of.summary(sweep(*words))["passes"] == 1
    summary = of.summary(sweep(*words, BOTH))
    assert (summary["passes"], summary["networks"]) == (5, 16)
    assert summary["compilations"] == 2 * of.summary(sweep(*words))["compilations"]
    jobs = [job for part in of.parts(sweep(*words, BOTH)) for job in part.jobs]
    assert {job.dtype for job in jobs} == {"float32", "float16"}
