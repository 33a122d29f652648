"""Values that were asked for are the values that are stored: rows are found by the numbers that one types."""

import math

import pytest

from support.runs import run, table
from winit_jax.analysis import load

TINY = ["activation=tanh", "depth=1,2", "seed=0", "inputs.samples=3", "inputs.features=2"]


def gains(folder, name="networks"):
    return sorted(set(getattr(load(folder), name)["gain"]))


@pytest.mark.slow
def test_a_log_range_of_gains_is_stored_as_it_is_written(tmp_path):
    run(tmp_path, *TINY, "width=4,100", "gain=log:0.5:8:5")
    assert gains(tmp_path) == gains(tmp_path, "mean_field") == [0.5, 1.0, 2.0, 4.0, 8.0]
    frame = load(tmp_path).networks
    assert len(frame[frame["gain"] == 2]) == 4
    assert set(frame[(frame["width"] == 100) & (frame["gain"] == 2)]["std"]) == {0.2}
    assert load(tmp_path).expected["gain"] == [0.5, 1, 2, 4, 8]


@pytest.mark.slow
def test_an_axis_of_std_has_the_gains_that_one_computes_on_paper(tmp_path):
    run(tmp_path, *TINY, "width=9,100", "std=0.1,0.2")
    assert gains(tmp_path) == gains(tmp_path, "mean_field") == [0.3, 0.6, 1.0, 2.0]


@pytest.mark.slow
def test_schemes_have_one_gain_whatever_the_width(tmp_path):
    run(tmp_path, *TINY, "width=3,49", "init=he_normal,xavier_uniform,lecun_normal,zeros")
    found = {name: set(rows["gain"]) for name, rows in table(tmp_path).groupby("init")}
    assert found == {"he_normal": {math.sqrt(2)}, "xavier_uniform": {1.0}, "lecun_normal": {1.0}, "zeros": {0.0}}
    assert gains(tmp_path, "mean_field") == [1.0, math.sqrt(2)]


@pytest.mark.parametrize("axis", ["gain=lin:0.1:1:10", "std=log:0.001:1:13", "gain=0.1,log:0.2:20:9"])
def test_what_figures_expect_is_in_the_rows_to_the_bit(tmp_path, axis):
    run(tmp_path, *TINY, "width=5", axis)
    found = load(tmp_path)
    key = axis.partition("=")[0]
    assert sorted(found.expected[key]) == sorted(set(found.networks[key]))
