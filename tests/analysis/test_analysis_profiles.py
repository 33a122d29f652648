"""Profiles: medians and bands over seeds, and what is said where a signal cannot be drawn."""

import numpy as np
import pandas as pd
import pytest

from support.drawn import legend, named_lines, said
from support.tables import keys, layer_rows, network_rows
from winit_jax.analysis import profiles


def test_a_line_is_the_median_and_the_band_the_range_of_seeds():
    figure = profiles(layer_rows(network_rows(activations=("tanh",), gains=(10.0,), seeds=(0, 1, 2, 3, 100))))
    (line,) = named_lines(figure.axes[0])
    np.testing.assert_allclose(line.get_ydata(), np.arange(1, 5) + 0.02)
    band = figure.axes[0].collections[0].get_paths()[0].vertices
    at_two = band[band[:, 0] == 2, 1]
    assert (at_two.min(), at_two.max()) == (2.0, 3.0)
    assert "median of 5 seeds, band from least to greatest" in said(figure)


def test_a_band_may_leave_out_the_outermost_seeds_and_says_so():
    figure = profiles(
        layer_rows(network_rows(activations=("tanh",), gains=(10.0,), seeds=tuple(range(11)))), band="quantiles"
    )
    band = figure.axes[0].collections[0].get_paths()[0].vertices
    at_one = band[band[:, 0] == 1, 1]
    np.testing.assert_allclose((at_one.min(), at_one.max()), (1.01, 1.09))
    assert "band from 10% to 90%" in said(figure)
    with pytest.raises(ValueError, match="band = 'sd' is not one of range, quantiles"):
        profiles(layer_rows(network_rows()), band="sd")


def test_many_gains_are_told_by_a_logarithmic_colour_bar():
    frame = layer_rows(network_rows(gains=tuple(np.geomspace(0.1, 10, 33))))
    figure = profiles(frame, most=16)
    assert len(named_lines(figure.axes[0])) == 16
    assert legend(figure) == []
    assert figure.axes[-1].get_yscale() == "log"
    assert figure.axes[-1].get_ylabel().startswith("gain")
    assert "16 of 33 values of gain" in said(figure)
    assert len(legend(profiles(frame))) == 8


def test_inits_are_told_by_colour_and_dashes():
    figure = profiles(layer_rows(network_rows(inits=("he_normal", "xavier_normal", "zeros"))))
    looks = {(str(line.get_color()), str(line.get_linestyle())) for line in named_lines(figure.axes[0])}
    assert len(looks) == 3
    assert legend(figure)[:3] == ["He\n(he_normal)", "Glorot\n(xavier_normal)", "zeros"]


def test_zero_and_overflow_are_marked_where_they_begin():
    frame = layer_rows(network_rows(activations=("tanh",), gains=(0.1, 10.0)))
    frame.loc[(frame["gain"] < 1) & (frame["layer"] >= 3), "log10_act_rms"] = -np.inf
    lost = (frame["gain"] > 1) & (frame["layer"] == 4) & (frame["seed"] == 0)
    frame.loc[lost, ["nonfinite", "log10_act_rms"]] = [1.0, np.nan]
    figure = profiles(frame)
    marks = {line.get_marker(): line.get_xdata()[0] for line in figure.axes[0].lines if line.get_marker() in "xv"}
    assert marks == {"v": 3, "x": 4}
    assert legend(figure)[-2:] == ["first overflow of any seed", "exactly zero from here on"]
    assert legend(profiles(layer_rows(network_rows(activations=("tanh",), gains=(0.1, 10.0))))) == ["0.1", "10"]


def test_panels_may_be_of_any_key_and_many_of_them_wrap():
    frame = layer_rows(network_rows(activations=("tanh",), widths=(10, 20, 30, 40, 50, 60)))
    figure = profiles(frame, col="width")
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles == [f"width {width}" for width in (10, 20, 30, 40, 50, 60)]
    assert figure.get_figwidth() < 12


def test_columns_and_keys_without_a_place_get_a_sentence():
    frame = layer_rows(network_rows(widths=(10, 20)))
    with pytest.raises(ValueError, match="chi is not measured in this table"):
        profiles(frame, "chi")
    with pytest.raises(ValueError, match="width takes more than one value"):
        profiles(frame)
    with pytest.raises(ValueError, match="hue = 'colour' is not a key"):
        profiles(frame, hue="colour")


def test_of_a_scale_that_follows_the_depth_only_the_deepest_network_is_drawn():
    frame = pd.DataFrame(
        keys(depth=depth, seed=seed, branch_scale=1 / depth)
        | {"branch_scale_rule": "1/depth", "layer": layer, "log10_act_rms": layer / depth, "nonfinite": 0.0}
        for depth in (2, 4)
        for seed in (0, 1)
        for layer in range(1, depth + 1)
    )
    (line,) = named_lines(profiles(frame).axes[0])
    np.testing.assert_allclose(line.get_ydata(), [0.25, 0.5, 0.75, 1.0])
