"""What `winit theory` prints, the table mean_field, and maps."""

import json
import math

import numpy as np
import pandas as pd
import pytest

from support.runs import run, table, winit
from winit_jax.engine.computing.advice import gains_around, power
from winit_jax.numerics import theory
from winit_jax.numerics.activations import activation

FUNCTIONS = """
import jax.numpy as jnp
def relu_squared(a): return jnp.maximum(a, 0) ** 2
def nan_far_out(a): return a * jnp.exp(a) / jnp.exp(a)
def bump(a): return jnp.exp(-a * a)
"""


@pytest.fixture
def functions(tmp_path, monkeypatch):
    (tmp_path / "steep_functions.py").write_text(FUNCTIONS)
    monkeypatch.syspath_prepend(tmp_path)


def row_of(said, mark="critical"):
    return next(line for line in said.splitlines() if line.endswith(mark)).split()


def test_theory_prints_the_critical_gain_and_how_deep_it_reaches():
    said = winit("theory", "tanh", "--bias-std", "0.2")[0]
    assert "critical gain  1.30415: weights of std 1.30415 / sqrt(fan_in)" in said
    assert row_of(said)[:3] == ["1.304", "0.5121", "1"]
    assert "any depth" in said


def test_theory_says_why_there_is_no_critical_gain():
    said = winit("theory", "gelu")[0]
    assert "critical gain  none\n" in said
    assert "gelu with bias std 0 has no critical gain: from q = 1 on, chi1 jumps at gain 1.53353" in said
    assert "no usual gain is critical" in winit("theory", "sigmoid")[0]


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("tanh", ["1", "0", "1", "1", "inf", "inf", "500,006", "706,080", "critical"]),
        ("elu", ["1", "0", "1", "1", "inf", "inf", "2,515", "2,830", "critical"]),
        ("relu", ["1.414", "1", "1", "1", "inf", "inf", "any", "depth", "c", "any", "depth", "critical"]),
    ],
)
def test_the_row_of_the_critical_gain_follows_the_map_itself(name, row):
    said = winit("theory", name)[0]
    assert row_of(said) == row
    printed = [line.split()[0] for line in said.splitlines() if line[:9].strip().replace(".", "").isdecimal()]
    rows = printed[: len(printed) // 2]
    assert len(rows) == len(set(rows)) >= 7


def test_no_gain_is_printed_twice():
    assert gains_around(1.49996) == [0.5, 0.8, 1.0, 1.2, 1.49996, 2.0, 3.0]
    assert gains_around(1.0) == gains_around(math.nan) == [0.5, 0.8, 1.0, 1.2, 1.5, 2.0, 3.0]


def test_theory_starts_where_it_is_told():
    digits = winit("theory", "gelu", "--inputs", "digits")[0]
    assert "jumps at gain 1.598" in digits
    assert "jumps at gain 1.468" in winit("theory", "gelu", "--inputs", "normal")[0]
    rows = {start: winit("theory", "gelu", "--gain", "1.5", "--start", start, "--json")[0] for start in ("1", "2.25")}
    assert json.loads(rows["1"])["gains"][0]["q_star"] == 0
    found = json.loads(rows["2.25"])["gains"][0]
    assert (found["q_star"], found["chi1"], found["start"]) == (None, pytest.approx(1.125), pytest.approx(2.25))


def test_theory_lists_fixed_points_basins_and_the_half_stable_point():
    said = winit("theory", "gelu", "--gain", "1.5")[0]
    line = "     1.5 0 stable, from q below 1.402; 1.402 unstable; inf stable, from q above 1.402"
    assert line in said.splitlines()
    assert "half-stable: q = 3.56155281 at gain" in said
    assert "(variances 1.98305826 and 0.172922391)" in said
    assert "1.440740084 two fixed points meet at q = 3.07066" in winit("theory", "silu", "--bias-std", "0.6")[0]
    found = json.loads(winit("theory", "gelu", "--gain", "1.5", "--json")[0])
    assert [one["stability"] for one in found["gains"][0]["fixed_points"]] == ["stable", "unstable", "stable"]
    assert found["half_stable"][0]["q"] == pytest.approx(3.56155281)


def test_theory_answers_in_json():
    found = json.loads(winit("theory", "relu", "--gain", "2", "--json")[0])
    assert found["critical_gain"] == pytest.approx(np.sqrt(2))
    row = found["gains"][0]
    assert (row["chi1"], row["q_star"], row["signal_by"]) == (pytest.approx(2), None, "rms")
    assert json.loads(winit("theory", "silu", "--bias-std", "0.75", "--json")[0])["critical_gain"] == pytest.approx(
        1.4096, abs=3e-6
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ["steep_functions:relu_squared"],
        ["steep_functions:nan_far_out"],
        ["steep_functions:bump", "--bias-std", "0.1"],
        ["tanh", "--gain", "5e-324"],
        ["relu", "--bias-std", "1e155"],
        ["leaky_relu(1e300)"],
        ["gelu", "--bias-std", "1e308", "--gain", "1e308", "--start", "1e-300"],
    ],
)
def test_theory_has_an_answer_to_extreme_numbers_and_functions(functions, words):
    assert "gradient to" in winit("theory", *words)[0]
    json.loads(winit("theory", *words, "--json")[0], parse_constant=lambda name: pytest.fail(name))


def test_what_is_no_number_gets_a_sentence(functions):
    assert "note: steep_functions:nan_far_out: where chi1 is nan" in winit("theory", "steep_functions:nan_far_out")[0]
    assert power(math.log10(2.0) + 310) == "2.000e+310"
    assert "2.000e+310" in winit("theory", "relu", "--bias-std", "1e155")[0]


def test_a_run_of_extreme_biases_has_its_predictions(tmp_path):
    run(tmp_path, "activation=relu", "gain=1", "bias_std=1e155", "depth=3", "width=4", "inputs.samples=5")
    assert np.isfinite(table(tmp_path)["theory_log10_act_rms"]).all()
    assert pd.read_parquet(tmp_path / "mean_field")["chi1"][0] == 0.5


@pytest.mark.slow
def test_mean_field_starts_where_the_networks_start(tmp_path):
    words = ["activation=gelu", "gain=1.5,1.65", "depth=40", "inputs.samples=50"]
    run(tmp_path / "normal", *words, "width=60")
    run(tmp_path / "digits", *words, "width=60", "inputs.source=digits")
    normal, digits = (pd.read_parquet(tmp_path / name / "mean_field") for name in ("normal", "digits"))
    # From N(0, 1) both gains explode, from digits only the second; their flip is at 1.598.
    assert normal["q_star"].tolist() == [math.inf, math.inf]
    assert digits["q_star"].tolist() == [0, math.inf]
    assert digits["jump_gain"].iloc[0] == pytest.approx(1.6, abs=0.01)
    assert math.isnan(digits["jump_gain"].iloc[1])
    networks = table(tmp_path / "normal")
    assert (networks["theory_log10_jacobian"] > 0).all()
    first = networks[networks["gain"] == 1.5].iloc[0]
    start = theory.propagate(activation("gelu"), math.log10(2.25), -np.inf, math.log10(normal["start"][0]), 0.0, 40)
    assert start.log10_act_rms[-1, 0] == pytest.approx(first["theory_log10_act_rms"], abs=1e-9)


@pytest.mark.slow
def test_mean_field_has_a_row_for_each_start(tmp_path):
    words = [
        "activation=tanh",
        "init=normal,xavier_normal",
        "std=0.1",
        "width=16,64",
        "depth=2",
        "inputs.source=digits",
    ]
    run(tmp_path, *words, "inputs.samples=50")
    frame = pd.read_parquet(tmp_path / "mean_field")
    # std 0.1 is a gain of 0.4 and of 0.8; Xavier's is 1 at both widths, from first layers of two stds.
    assert frame["gain"].round(9).tolist().count(1.0) == 2
    assert not frame.duplicated(["activation", "gain", "bias_std", "start"]).any()
    assert len(frame) == 4
    of_std = frame[frame["gain"].round(9).isin([0.4, 0.8])]
    assert of_std["start"].nunique() == 1  # the first layer is the same


def test_theory_draws_a_phase_diagram_and_writes_its_data(tmp_path):
    axes = ["gain=lin:1.2:1.6:5", "bias_std=0,0.3"]
    said = winit("theory", "gelu", *axes, "--map", "--out", tmp_path / "gelu.svg")[0]
    assert said.splitlines()[-2:] == [str(tmp_path / "gelu.svg"), str(tmp_path / "gelu.csv")]
    assert (tmp_path / "gelu.svg").stat().st_size > 10_000
    frame = pd.read_csv(tmp_path / "gelu.csv")
    assert len(frame) == 10
    assert frame["jump_gain"].min() == pytest.approx(1.44, abs=0.03)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["rellu"], "'rellu' is not an activation. Did you mean 'relu'?"),
        (["tanh", "--gain", "0"], "the gain greater than 0"),
        (["tanh", "--out", "x.png"], "add --map"),
        (["tanh", "gain=1"], "gain=1 says what --map draws; add --map"),
        (["tanh", "--start", "0"], "greater than 0"),
        (["gelu", "--start", "-0.5"], "greater than 0"),
        (["tanh", "--start", "-1", "--gain", "1"], "greater than 0"),
        (["tanh", "--start", "1", "--inputs", "normal"], "give one of them"),
        (["tanh", "--inputs", "digitz"], "Did you mean 'digits'?"),
        (["tanh", "width=5", "--map"], "--map spans gain and bias_std of one activation"),
        (["tanh", "--map", "--out", "x.jpg"], "--out: the ending: 'jpg' is not known. Known: png, svg, pdf."),
    ],
)
def test_wrong_words_to_theory_get_a_sentence(words, sentence):
    assert sentence in winit("theory", *words, code=2)[1]
