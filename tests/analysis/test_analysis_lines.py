"""Lines of networks over a key: what they follow, their bands and predictions, and what is said in words."""

import numpy as np
import pandas as pd
import pytest

from support.drawn import legend, named_lines, outside, said
from support.meanfield import with_theory
from support.tables import keys, network_rows, write_run
from winit_jax.analysis import against, load
from winit_jax.analysis.figures.lines import darker
from winit_jax.analysis.figures.places import Places, of_lines


def rows_of_a_rule(depths=(2, 10, 50, 200)):
    """Networks whose branches are 1, or 1/sqrt(depth): a formula is a number of its own at each depth."""
    rows = [
        keys(depth=depth, seed=seed, branch_scale=1.0 if rule is None else depth**-0.5)
        | {"branch_scale_rule": rule, "log10_act_rms": depth * (0.15 if rule is None else 0.001), "nonfinite": 0.0}
        for depth in depths
        for seed in (0, 1)
        for rule in (None, "1/sqrt(depth)")
    ]
    return pd.DataFrame(rows)


def test_a_line_is_the_median_over_depth_and_the_band_the_range_of_seeds():
    frame = network_rows(("tanh",), gains=(10.0,), seeds=(0, 1, 2, 3, 100))
    figure = against(frame)
    (line,) = named_lines(figure.axes[0])
    np.testing.assert_allclose(line.get_xdata(), [1, 2, 3, 4])
    np.testing.assert_allclose(line.get_ydata(), np.arange(1, 5) + 0.02)
    band = figure.axes[0].collections[0].get_paths()[0].vertices
    at_two = band[band[:, 0] == 2, 1]
    assert (at_two.min(), at_two.max()) == (2.0, 3.0)
    assert figure.axes[0].get_xlabel() == "depth (layers)"
    assert "median of 5 seeds, band from least to greatest" in said(figure)


def test_a_formula_of_the_depth_is_one_line_by_its_own_words():
    figure = against(rows_of_a_rule())
    assert legend(figure) == ["1", "1/sqrt(depth)"]
    lines = named_lines(figure.axes[0])
    assert [len(line.get_xdata()) for line in lines] == [4, 4]
    np.testing.assert_allclose(lines[1].get_ydata(), [0.002, 0.01, 0.05, 0.2])
    assert figure.axes[0].get_xscale() == "log"
    assert figure.axes[0].get_yscale() == "linear"
    assert outside(figure) == []


def test_a_prediction_is_thin_and_dashed_over_its_line_in_a_darker_shade():
    figure = against(with_theory(network_rows(("tanh",), gains=(0.5, 2.0))), "log10_jacobian", x="depth")
    drawn = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 4]
    assert len(drawn) == 4
    for line, prediction in (drawn[:2], drawn[2:]):
        assert darker(line.get_color()) == prediction.get_color()
        assert prediction.get_zorder() > line.get_zorder()
        assert prediction.get_linewidth() < line.get_linewidth()
        assert prediction.is_dashed()
    assert legend(figure)[-1] == "mean field"


def test_lines_run_along_any_numbers_and_panels_are_of_any_key():
    frame = network_rows(inits=("normal", "uniform"), depths=(1, 4))
    assert of_lines(frame, {}) == Places(x="depth", hue="init", col="activation", row="gain")
    assert of_lines(frame, {"x": "gain"}) == Places(x="gain", hue="init", col="activation", row="depth")
    figure = against(frame, x="gain", hue="depth", row="init")
    assert figure.axes[0].get_xscale() == "log"
    assert legend(figure) == ["1", "4"]
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles == [f"{init}, {phi}" for init in ("normal", "uniform") for phi in ("tanh", "relu")]


def test_an_overflow_is_marked_where_it_begins_and_leaves_the_line():
    frame = network_rows(("tanh",), gains=(10.0,))
    frame.loc[(frame["depth"] == 3) & (frame["seed"] == 0), ["nonfinite", "log10_act_rms"]] = [1.0, np.nan]
    figure = against(frame)
    assert [line.get_xdata()[0] for line in figure.axes[0].lines if line.get_marker() == "x"] == [3]
    assert legend(figure) == ["first overflow of any seed"]


def test_positive_numbers_over_decades_have_a_logarithmic_axis():
    frame = network_rows(("tanh",), gains=(10.0,)).assign(position_decorrelation=1.0)
    assert against(frame, "position_decorrelation").axes[0].get_yscale() == "linear"
    frame["position_decorrelation"] = 10.0 ** -(frame["depth"].astype(float) ** 2)
    assert against(frame, "position_decorrelation").axes[0].get_yscale() == "log"


def test_how_far_positions_are_apart_is_made_of_their_similarity(tmp_path):
    frame = network_rows(("tanh",), gains=(1.0,), seeds=(0,))
    apart = 10.0 ** -(frame["depth"].astype(float) ** 2)
    frame = frame.assign(position_similarity=1 - apart, theory_position_similarity=1 - 2 * apart)
    run = load(write_run(tmp_path / "run", frame, gain=[1.0], depth="int:1:3"))
    measured, predicted = run.lines("position_decorrelation").axes[0].lines[:2]
    np.testing.assert_allclose(measured.get_ydata(), apart, rtol=1e-6, atol=1e-15)
    np.testing.assert_allclose(predicted.get_ydata(), 2 * apart, rtol=1e-6, atol=1e-15)


def test_what_no_line_can_show_gets_a_sentence():
    frame = network_rows(inits=("normal", "uniform"))
    with pytest.raises(ValueError, match="saturation is not measured in this table"):
        against(frame, "saturation")
    with pytest.raises(ValueError, match="x = 'init' has names, or formulas, and lines run along numbers"):
        against(frame, x="init")
    with pytest.raises(ValueError, match="gain takes more than one value"):
        against(network_rows(inits=("normal", "uniform"), widths=(10, 20)), row="width")
