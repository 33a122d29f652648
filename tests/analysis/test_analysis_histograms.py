"""Histogram figures: heights, what lies outside, and bars that would hide the others."""

import numpy as np
import pytest

from support.drawn import bars, notes, said
from support.tables import bin_rows, network_rows
from winit_jax.analysis import histogram_figures, histograms


def one_activation(**options):
    return bin_rows(network_rows(activations=("tanh",), gains=(1.0, 3.0)), **options)


def test_heights_are_shares_of_all_activations_over_all_seeds():
    figure = histograms(one_activation(counts=(1, 2, 3, 4), below=6, above=3, lost=1))
    np.testing.assert_allclose(bars(figure.axes[0]), np.array([1, 2, 3, 4]) / 20)
    assert notes(figure.axes[0]) == ["30% < −1\n15% > 1\n5% not finite"]
    assert "3 seeds together" in said(figure)


def test_densities_integrate_to_the_share_inside_and_counts_are_counts():
    frame = one_activation(counts=(1, 2, 3, 4), above=10)
    assert bars(histograms(frame, stat="density").axes[0]).sum() * 0.5 == pytest.approx(0.5)
    np.testing.assert_allclose(bars(histograms(frame, stat="count").axes[0]), [3, 6, 9, 12])


def test_a_spike_is_cut_off_and_its_share_told():
    figure = histograms(one_activation(counts=(2, 2, 90, 6)))
    panel = figure.axes[0]
    assert panel.get_ylim()[1] < 0.9
    assert panel.get_ylim()[1] > 0.06
    assert notes(panel) == ["↑ 90%\nin this bin"]
    flat = histograms(one_activation(counts=(0, 0, 90, 0))).axes[0]
    assert flat.get_ylim()[1] > 1
    assert notes(flat) == []


def test_rows_of_panels_share_an_axis_or_all_or_none_do():
    frame = one_activation()
    frame.loc[(frame["gain"] > 2) & (frame["bin_low"] == 0.5), "count"] = 40
    frame.loc[(frame["layer"] == 1) & (frame["bin_low"] == 0.5), "count"] = 1
    for share_y, distinct in (("row", 2), ("all", 1), ("none", 3)):
        figure = histograms(frame, share_y=share_y)
        assert len({round(axes.get_ylim()[1], 9) for axes in figure.axes}) == distinct


def test_layers_that_were_not_run_say_so():
    frame = one_activation()
    figure = histograms(frame[(frame["layer"] < 4) | (frame["gain"] < 2)])
    assert notes(figure.axes[-1]) == ["not run"]


def test_a_choice_of_layers_and_gains_is_told():
    frame = bin_rows(
        network_rows(activations=("relu",), gains=tuple(np.geomspace(0.1, 10, 9)), depths=tuple(range(1, 21)))
    )
    figure = histograms(frame)
    assert len(figure.axes) == 25
    assert "5 of 9 gains, 5 of 20 layers" in said(figure)


def test_each_activation_and_width_has_its_figure():
    names = set(histogram_figures(bin_rows(network_rows(widths=(10, 20), depths=(1,), gains=(1.0,)))))
    assert names == {"tanh-width-10", "tanh-width-20", "relu-width-10", "relu-width-20"}


def test_wrong_options_and_tables_get_a_sentence():
    with pytest.raises(ValueError, match="stat is one of share, density, count"):
        histograms(one_activation(), stat="shares")
    with pytest.raises(ValueError, match="activation takes more than one value"):
        histograms(bin_rows(network_rows()))
    frame = one_activation()
    with pytest.raises(ValueError, match="has no bins"):
        histograms(frame[~np.isfinite(frame["bin_low"])])


def test_drawn_weights_have_the_name_of_the_books_and_equal_ones_have_none():
    frame = one_activation()
    for init, name in (("normal", "(Xavier, 1/fan_in)"), ("constant", "")):
        figure = histograms(frame[frame["gain"] == 1.0].assign(init=init))
        assert ("(Xavier" in figure.axes[0].get_ylabel()) is bool(name)
