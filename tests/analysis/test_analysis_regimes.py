"""Regimes: which rule names a network, where they end, and how they look."""

import numpy as np
import pandas as pd
import pytest

from support.drawn import legend, said
from support.tables import network_rows
from winit_jax.analysis import Thresholds, boundary, counts, regime_map, regimes
from winit_jax.analysis.figures.regimes import COLOURS
from winit_jax.analysis.statistics.regimes import REGIMES


def one(**columns):
    """The regime of a network that is healthy but for some columns."""
    healthy = {
        "nonfinite": 0.0,
        "log10_act_rms": 0.0,
        "saturated": 0.1,
        "log10_jacobian": 0.0,
        "input_correlation": 0.5,
        "unit_similarity": 0.1,
    }
    return regimes(pd.DataFrame([healthy | columns]))[0]


@pytest.mark.parametrize(
    ("columns", "name"),
    [
        ({}, "healthy"),
        ({"nonfinite": 1e-3}, "overflowed"),
        ({"log10_act_rms": -3.1}, "vanishing"),
        ({"log10_act_rms": -np.inf}, "vanishing"),
        ({"log10_act_rms": 3.1}, "exploding"),
        ({"saturated": 0.76}, "saturated"),
        ({"log10_jacobian": -3.1}, "vanishing"),
        ({"log10_jacobian": 3.1}, "exploding"),
        ({"input_correlation": 0.995}, "collapsed"),
        ({"unit_similarity": 0.995}, "collapsed"),
    ],
)
def test_each_rule_names_its_regime(columns, name):
    assert one(**columns) == name


@pytest.mark.parametrize(
    ("columns", "name"),
    [
        ({"nonfinite": 1.0, "log10_act_rms": 40.0}, "overflowed"),
        ({"log10_act_rms": -5.0, "saturated": 1.0}, "vanishing"),
        ({"saturated": 0.9, "log10_jacobian": 8.0}, "saturated"),
        ({"log10_jacobian": -8.0, "input_correlation": 1.0}, "vanishing"),
    ],
)
def test_of_two_rules_the_first_decides(columns, name):
    assert one(**columns) == name


def test_a_sigmoid_at_a_half_and_a_relu_with_half_its_units_off_are_healthy():
    assert one(log10_act_rms=-0.3) == "healthy"
    assert one(saturated=0.5) == "healthy"


def test_columns_that_are_nan_or_absent_take_no_part():
    assert one(log10_jacobian=np.nan, input_correlation=np.nan, unit_similarity=np.nan) == "healthy"
    assert one(input_correlation=np.nan, unit_similarity=1.0) == "collapsed"
    assert list(regimes(pd.DataFrame({"log10_act_rms": [0.0, 9.0]}))) == ["healthy", "exploding"]


def test_thresholds_move_the_limits():
    frame = pd.DataFrame({"log10_act_rms": [-1.5]})
    assert list(regimes(frame, Thresholds(decades=1))) == ["vanishing"]


def test_regimes_are_named_by_row_whatever_the_index():
    frame = network_rows().sample(frac=1, random_state=0)
    found = regimes(frame)
    assert found.index.equals(frame.index)
    assert list(found.cat.categories) == list(REGIMES)
    assert (found[frame["log10_act_rms"] < -3] == "vanishing").all()


def test_counts_have_a_row_for_every_regime_and_shares_that_add_up():
    table = counts(network_rows(), by=["activation", "depth"])
    assert list(table.columns) == ["activation", "depth", "regime", "networks", "share"]
    assert len(table) == 2 * 4 * len(REGIMES)
    np.testing.assert_allclose(table.groupby(["activation", "depth"], observed=True)["share"].sum(), 1)
    deep = table[(table["activation"] == "tanh") & (table["depth"] == 4)].set_index("regime")["networks"]
    found = ("vanishing", "exploding", "healthy")
    assert deep.to_dict() == {name: 3 if name in found else 0 for name in REGIMES}
    assert counts(network_rows(), by=[])["networks"].sum() == 72
    with pytest.raises(ValueError, match="colour: no column of this table"):
        counts(network_rows(), by=["colour"])


def steps(leave, seeds=None, gains=None):
    """Networks of one depth; that of seed s vanishes below gain leave[s]."""
    gains = np.geomspace(0.1, 10, 41) if gains is None else gains
    frame = network_rows(("tanh",), gains=tuple(gains), depths=(5,), seeds=tuple(range(len(leave))))
    limits = np.asarray(leave)[frame["seed"]]
    return frame.assign(log10_act_rms=np.where(frame["gain"] < limits, -5.0, 0.0))


def test_the_boundary_lies_geometrically_between_the_cells_where_half_of_the_seeds_leave():
    (row,) = boundary(steps([1.0, 1.0, 1.0]), from_="vanishing").to_dict("records")
    step = (10 / 0.1) ** (1 / 40)
    assert row["boundary"] == pytest.approx(1 / np.sqrt(step))
    # Where in the cell the seeds leave is not known.
    assert (row["low"], row["high"]) == pytest.approx((1 / step, 1))
    assert (row["depth"], row["n_seeds"]) == (5, 3)


def test_the_band_is_of_seeds():
    leave = np.geomspace(0.5, 2, 9)
    (row,) = boundary(steps(leave), from_="vanishing").to_dict("records")
    assert row["boundary"] == pytest.approx(np.median(leave), rel=0.1)
    assert 0.5 < row["low"] < row["boundary"] < row["high"] < 2
    (wide,) = boundary(steps(leave), from_="vanishing", level=0.98).to_dict("records")
    assert wide["low"] <= row["low"] < row["high"] <= wide["high"]


@pytest.mark.parametrize("options", [{"from_": "vanishing"}, {"into": "healthy"}])
def test_of_an_even_number_of_seeds_the_boundary_is_in_the_middle_of_the_two_in_the_middle(options):
    fine = np.geomspace(0.1, 10, 2001)
    (row,) = boundary(steps([0.5, 0.8, 1.25, 4.0], gains=fine), **options).to_dict("records")
    assert row["boundary"] == pytest.approx(1, rel=5e-3)  # of the logarithms, since gains are spaced so
    even = np.linspace(0, 10, 2001)
    (row,) = boundary(steps([1.0, 2.0, 6.0, 9.0], gains=even), **options).to_dict("records")
    assert row["boundary"] == pytest.approx(4, abs=5e-3)


def test_seeds_that_never_leave_count_as_leaving_beyond_the_range():
    (row,) = boundary(steps([1.0, 1.0, 50.0]), from_="vanishing").to_dict("records")
    assert row["boundary"] == pytest.approx(1, rel=0.12)
    assert np.isnan([row["low"], row["high"]]).all()
    (row,) = boundary(steps([1.0, 1.0, 50.0, 50.0]), from_="vanishing").to_dict("records")
    assert np.isnan(row["boundary"])
    (row,) = boundary(steps([0.01, *[1.0] * 6, 50.0]), from_="vanishing").to_dict("records")
    assert row["low"] < row["boundary"] < row["high"]


def test_a_seed_that_was_not_run_everywhere_is_taken_from_where_it_was():
    frame = steps([1.0, 1.0, 1.0])
    frame = frame[(frame["seed"] != 2) | (frame["gain"] < 0.2) | (frame["gain"] > 5)]
    (row,) = boundary(frame, from_="vanishing").to_dict("records")
    assert row["n_seeds"] == 3
    assert row["boundary"] == pytest.approx(1, rel=0.12)
    assert row["low"] < 0.3
    assert row["high"] > 3


@pytest.mark.parametrize("seeds", [2, 4, 5])
def test_the_band_covers_what_it_says(seeds):
    trials, gains = 100, np.geomspace(0.1, 10, 61)
    leave = np.exp(np.random.default_rng(seeds).normal(0, 0.3, (trials, seeds)))
    # A trial in the place of a depth: all of them at once.
    trial, seed, gain = (axis.ravel() for axis in np.meshgrid(range(trials), range(seeds), gains, indexing="ij"))
    frame = pd.DataFrame({"depth": trial, "seed": seed, "gain": gain, "init": "normal", "activation": "tanh"})
    frame = frame.assign(log10_act_rms=np.where(gain < leave[trial, seed], -5.0, 0.0))
    found = boundary(frame, from_="vanishing")
    inside = (found["low"] <= 1) & (found["high"] >= 1)
    assert len(found) == trials
    assert inside.mean() > 0.9 - 3 * np.sqrt(0.9 * 0.1 / trials)


def test_entering_a_regime_is_the_mirror_of_leaving_it():
    frame = steps([1.0, 1.0]).assign(log10_act_rms=lambda rows: np.where(rows["gain"] > 2, 5.0, 0.0))
    into = boundary(frame, into="exploding")["boundary"][0]
    left = boundary(frame, from_="healthy")["boundary"][0]
    assert into == left == pytest.approx(2, rel=0.13)


def test_a_boundary_that_is_not_crossed_or_has_one_seed_is_nan():
    (row,) = boundary(steps([20.0, 20.0]), from_="vanishing").to_dict("records")
    assert np.isnan([row["boundary"], row["low"], row["high"]]).all()
    (row,) = boundary(steps([1.0]), from_="vanishing").to_dict("records")
    assert np.isfinite(row["boundary"])
    assert np.isnan(row["low"])


def test_each_other_key_that_varies_has_its_boundaries():
    table = boundary(network_rows(gains=tuple(np.geomspace(0.1, 10, 9)), depths=(2, 4)), from_="vanishing")
    assert list(table.columns) == ["activation", "depth", "boundary", "low", "high", "n_seeds"]
    assert table[["activation", "depth"]].values.tolist() == [["tanh", 2], ["tanh", 4], ["relu", 2], ["relu", 4]]
    assert table["boundary"].isna().tolist() == [True, False, True, False]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({}, "Give one of from_"),
        ({"from_": "healthy", "into": "vanishing"}, "Give one of from_"),
        ({"from_": "dying"}, "'dying' is not a regime. Regimes: overflowed, vanishing,"),
        ({"x": "size", "from_": "healthy"}, "size: no column of this table. Keys: activation, init,"),
    ],
)
def test_wrong_words_get_a_sentence(options, sentence):
    with pytest.raises(ValueError, match=r"regime|column") as caught:
        boundary(network_rows(), **options)
    assert sentence in str(caught.value)


def test_a_map_shows_the_regime_of_most_seeds_and_hatches_what_was_not_run():
    frame = steps([1.0, 1.0, 20.0], gains=np.array([0.1, 0.5, 2.0, 4.0]))
    figure = regime_map(frame, x="gain", y="depth", expected={"depth": [5, 6]})
    (mesh,) = (each for each in figure.axes[0].collections if type(each).__name__ == "QuadMesh")
    cells = mesh.get_array().reshape(2, 4)
    assert [REGIMES[int(code)] for code in cells[0]] == ["vanishing", "vanishing", "healthy", "healthy"]
    assert cells.mask[1].all()
    assert legend(figure) == ["vanishing", "healthy", "not run"]
    assert "most of 3 seeds, thresholds: 3 decades, 75% saturated, 0.99 alike" in said(figure).replace("\n", " ")


def test_of_equally_many_seeds_the_worse_regime_is_shown():
    figure = regime_map(steps([1.0, 20.0], gains=np.array([2.0, 4.0])), x="gain", y="depth")
    assert legend(figure) == ["vanishing"]


def test_every_regime_has_a_colour_of_its_own():
    assert list(COLOURS) == list(REGIMES)
    assert len({*COLOURS.values()}) == len(REGIMES)
