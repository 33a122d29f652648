"""The pages for teachers: their numbers of histograms are medians of the sweep that stands beside them."""

import re

import pytest

import winit_jax as winit
from support.pages import ROOT
from support.runs import run

PAGES = ["docs/teaching.md", "docs/teaching-ko.md"]
ROW = re.compile(r"^\| (sigmoid|tanh|relu) \| ([\d.]+)[^|]*\| ([\d.]+) \| ([\d.]+) \| ([^|]+) \|$", re.MULTILINE)


@pytest.fixture(scope="module")
def layers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("teaching") / "run"
    run(folder, "book-histograms")
    frame = winit.load(folder).layers
    return frame.groupby(["activation", "std", "layer"], observed=True)[["act_std", "saturated"]].median()


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_stds_of_activations_are_those_of_the_sweep(page, layers):
    rows = ROW.findall((ROOT / page).read_text("utf-8"))
    assert len(rows) == 9
    for activation, std, first, fifth, saturated in rows:
        scale = next(std_ for std_ in layers.loc[activation].index.unique("std") if abs(std_ - float(std)) < 1e-3)
        for layer, words in ((1, first), (5, fifth)):
            value = layers.loc[(activation, scale, layer), "act_std"]
            digits = len(words.replace(".", "").lstrip("0"))
            assert float(f"{value:.{digits}g}") == pytest.approx(float(words), rel=1e-9), (activation, std, layer)
        share = layers.loc[(activation, scale, 5), "saturated"]
        wanted = f"{share:.0%}" if activation != "relu" else None
        assert wanted in (None, saturated.strip()), (activation, std)
        assert activation != "relu" or abs(share - 0.5) < 0.05


def test_both_languages_have_the_same_numbers():
    tables = [[row[:4] for row in ROW.findall((ROOT / page).read_text("utf-8"))] for page in PAGES]
    assert tables[0] == tables[1]
