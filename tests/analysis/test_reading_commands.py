"""ls, compare and export: what they say and write is what the tables hold."""

import numpy as np
import pandas as pd
import pytest

import winit_jax as winit
from support.runs import run
from support.runs import winit as command
from winit_jax.analysis import comparison, exporting

WORDS = ["activation=tanh,relu", "gain=1,2", "width=4", "inputs.samples=6"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("several")
    run(folder / "a", *WORDS, "depth=1,2", "seed=0,1", "title=First")
    run(folder / "b", *WORDS, "depth=1,2,3", "seed=0", "inputs.seed=1")
    return folder


def test_ls_names_every_run_with_its_state_and_networks(runs):
    lines = command("ls", runs)[0].splitlines()
    assert [line.split() for line in lines] == [
        [str(runs / "a"), "done", "16", "of", "16", "First"],
        [str(runs / "b"), "done", "12", "of", "12"],
    ]


def test_ls_names_all_folders_without_runs_at_once(tmp_path):
    _, stderr = command("ls", tmp_path / "x", tmp_path / "y", code=2)
    assert (
        stderr == "".join(f"{tmp_path / name} is no run folder, and has none in it. " for name in "xy").rstrip() + "\n"
    )


def test_a_run_beside_itself_has_the_same_bits(runs):
    text = command("compare", runs / "a", runs / "a")[0]
    assert "The sweeps ask for the same." in text
    assert "16 networks are in both.\nAll that was measured of them has the same bits." in text


def test_differences_are_those_of_the_common_networks(runs):
    one, other = winit.load(runs / "a"), winit.load(runs / "b")
    found = comparison.compare(one, other)
    assert (found.common, found.only) == (8, (8, 4))
    assert found.sweeps["inputs.seed"] == (0, 1)
    keys = ["activation", "gain", "depth", "seed"]
    pair = [of.networks.astype({"activation": str}).set_index(keys)["log10_act_rms"] for of in (one, other)]
    apart = (pair[0] - pair[1]).abs().dropna()
    (named,) = [each for each in found.differences if each.column == "log10_act_rms"]
    assert named.most == pytest.approx(apart.max(), rel=1e-12)
    assert named.median == pytest.approx(apart.median(), rel=1e-12)
    assert tuple(named.where[key] for key in keys) == apart.idxmax()
    assert "log10_act_rms" in command("compare", runs / "a", runs / "b")[0]


def test_shares_of_regimes_are_those_of_each_run(runs):
    found = comparison.compare(winit.load(runs / "a"), winit.load(runs / "b"))
    for place, name in enumerate("ab"):
        shares = winit.load(runs / name).regimes()["regime"].value_counts(normalize=True)
        for regime, share in shares.items():
            assert found.regimes.loc[regime, place] == pytest.approx(share)


def test_csv_has_every_row_with_all_its_digits(runs, tmp_path):
    stdout, _ = command("export", runs / "a", "--csv", "--out", tmp_path)
    assert stdout.split() == [
        str(tmp_path / "networks.csv"),
        str(tmp_path / "layers.csv"),
        str(tmp_path / "mean_field.csv"),
    ]
    back, networks = pd.read_csv(tmp_path / "networks.csv"), winit.load(runs / "a").networks
    assert list(back) == list(networks)
    assert back["activation"].tolist() == networks["activation"].astype(str).tolist()
    np.testing.assert_array_equal(back["log10_act_rms"], networks["log10_act_rms"])


def test_excel_has_a_sheet_for_each_table(runs, tmp_path):
    pytest.importorskip("openpyxl")
    command("export", runs / "a", "--xlsx", "--table", "networks", "--table", "layers", "--out", tmp_path / "a.xlsx")
    back = pd.read_excel(tmp_path / "a.xlsx", sheet_name=None)
    assert list(back) == ["networks", "layers"]
    np.testing.assert_allclose(back["networks"]["log10_act_rms"], winit.load(runs / "a").networks["log10_act_rms"])


def test_a_table_too_long_for_excel_is_a_sentence(runs, monkeypatch, tmp_path):
    monkeypatch.setattr(exporting, "MOST_ROWS", 10)
    _, stderr = command("export", runs / "a", "--xlsx", "--out", tmp_path / "a.xlsx", code=2)
    assert "A sheet of Excel has 10 rows, fewer than networks (16)" in stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--csv", "--table", "network"], "Did you mean 'networks'?"),
        (["--csv", "--table", "training"], "has no table training. It has: networks, layers, mean_field."),
        ([], "Give one of --csv and --xlsx."),
        (["--csv", "--xlsx"], "Give one of --csv and --xlsx."),
    ],
)
def test_what_cannot_be_exported_is_said(runs, words, sentence):
    assert sentence in command("export", runs / "a", *words, code=2)[1]
