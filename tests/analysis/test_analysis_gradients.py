"""Gradients and singular values: growth, densities in true units, and bands against depth."""

import numpy as np
import pandas as pd
import pytest

from support.drawn import named_lines, said
from support.tables import bin_rows, gradient_rows, network_rows
from winit_jax.analysis import gradient_growth, gradient_histograms, heatmap, isometry, profiles
from winit_jax.analysis.tables import tidy


def test_growth_is_the_first_layer_over_the_last_of_networks_of_every_depth():
    table = gradient_growth(gradient_rows())
    assert len(table) == len(network_rows())
    growth = (table["depth"] - 1) * np.log10(table["gain"])
    np.testing.assert_allclose(table["log10_preact_grad_growth"], growth, atol=1e-12)
    np.testing.assert_allclose(table["log10_weight_grad_rms"], -5 + growth)
    assert (table.loc[table["depth"] == 1, "log10_preact_grad_growth"] == 0).all()


def test_growth_keeps_the_formulas_that_scales_were_written_as():
    rows = gradient_rows().assign(skip_scale=lambda frame: frame["depth"] ** 0.25, skip_scale_rule="depth**0.25")
    table = gradient_growth(rows)
    assert (table["skip_scale_rule"] == "depth**0.25").all()
    assert tidy(table)["skip_scale"].nunique() == 1


def test_gradients_that_are_exactly_zero_have_grown_by_minus_infinity():
    rows = gradient_rows(activations=("relu",))
    rows.loc[(rows["layer"] == 1) & (rows["depth"] > 1), "log10_preact_grad_rms"] = -np.inf
    table = gradient_growth(rows)
    assert np.isneginf(table.loc[table["depth"] > 1, "log10_preact_grad_growth"]).all()
    (legend,) = heatmap(table, "log10_preact_grad_growth").legends
    assert [text.get_text() for text in legend.get_texts()] == ["exactly zero"]


def test_tables_without_gradients_get_a_sentence():
    rows = gradient_rows()
    with pytest.raises(ValueError, match="Gradients are not measured in this table"):
        gradient_growth(rows.assign(log10_preact_grad_rms=np.nan, log10_weight_grad_rms=np.nan))
    with pytest.raises(ValueError, match="lacks the first or the last layer"):
        gradient_growth(rows[rows["layer"] > 1])
    with pytest.raises(ValueError, match="layer takes more than one value"):
        heatmap(rows, "log10_preact_grad_rms")


def test_heatmaps_say_at_which_layer_and_growth_is_diverging():
    table = gradient_growth(gradient_rows())
    growth = heatmap(table, "log10_preact_grad_growth")
    words = growth.axes[-1].get_ylabel().replace("\n", " ")
    assert words == "log₁₀ RMS gradient of pre-activations, first layer over last (0: unchanged)"
    assert growth.axes[0].collections[0].norm.vmin == -growth.axes[0].collections[0].norm.vmax
    size = heatmap(table, "log10_weight_grad_rms")
    assert size.axes[-1].get_ylabel().replace("\n", " ") == "log₁₀ RMS gradient of weights, layer 1"
    assert "last layer" in heatmap(network_rows()).axes[-1].get_ylabel()


def test_profiles_mark_the_layer_from_which_back_gradients_are_zero():
    rows = gradient_rows(activations=("tanh",), gains=(0.1, 1.0), depths=(4,))
    rows.loc[(rows["gain"] < 1) & (rows["layer"] <= 2), "log10_preact_grad_rms"] = -np.inf
    figure = profiles(rows, "log10_preact_grad_rms")
    (mark,) = (line for line in figure.axes[0].lines if line.get_marker() == "v")
    assert mark.get_xdata()[0] == 2
    assert figure.legends[-1].get_texts()[0].get_text() == "exactly zero from here back"


def gradient_bins(rms=None, **options):
    frame = bin_rows(network_rows(activations=("tanh",), gains=(1.0, 2.0)), **options)
    scale = frame["layer"] * 0.5 - 6 if rms is None else frame["layer"].map(rms)
    return frame.assign(log10_preact_grad_rms=scale)


def steps(axes):
    return [patch.get_data() for patch in axes.patches]


def test_densities_of_all_gradients_integrate_to_the_share_inside():
    figure = gradient_histograms(gradient_bins(counts=(1, 2, 3, 4), above=10))
    true, own = figure.axes[:2]
    for stair in (*steps(true), *steps(own)):
        assert np.sum(stair.values * np.diff(stair.edges)) == pytest.approx(0.5)
    assert [len(steps(axes)) for axes in figure.axes] == [4, 4, 4, 4]


def test_true_units_are_told_by_ticks_and_a_power_of_ten():
    figure = gradient_histograms(gradient_bins({1: -5.0, 2: -4.5, 3: -4.2, 4: np.log10(2e-4)}))
    true, own = figure.axes[:2]
    widths = [stair.edges[-1] for stair in steps(true)]
    np.testing.assert_allclose(widths, np.array([1e-5, 10**-4.5, 10**-4.2, 2e-4]) / 2e-4)
    assert [stair.edges[-1] for stair in steps(own)] == [1, 1, 1, 1]
    ticks = {label.get_text(): at for at, label in zip(true.get_xticks(), true.get_xticklabels(), strict=True)}
    assert ticks["8"] == pytest.approx(4)
    assert [text.get_text() for text in true.texts] == [r"$\times 10^{-4}$"]
    assert true.get_yscale() == own.get_yscale() == "log"


def test_layers_far_below_the_largest_are_named_and_not_drawn():
    figure = gradient_histograms(gradient_bins({1: -400.0, 2: -9.0, 3: -5.0, 4: -4.0}))
    true, own = figure.axes[:2]
    assert (len(steps(true)), len(steps(own))) == (2, 4)
    assert true.texts[-1].get_text() == "layers 1, 2:\nRMS below $10^{-3}$ of this"


def test_the_legend_has_layers_and_the_normal_and_the_title_says_what_was_chosen():
    frame = bin_rows(network_rows(("tanh",), gains=tuple(np.geomspace(0.1, 10, 9)), depths=tuple(range(1, 21))))
    figure = gradient_histograms(frame.assign(log10_preact_grad_rms=-3.0))
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["1", "6", "11", "15", "20", "normal"]
    assert "4 of 9 gains, 5 of 20 layers" in said(figure)
    assert len(figure.axes) == 8


def test_rows_without_a_gradient_say_so_and_wrong_tables_get_a_sentence():
    frame = gradient_bins()
    frame.loc[frame["gain"] > 1, "log10_preact_grad_rms"] = -np.inf
    notes = [[text.get_text() for text in axes.texts] for axes in gradient_histograms(frame).axes[2:]]
    assert notes == [["exactly zero or not finite"]] * 2
    with pytest.raises(ValueError, match="activation takes more than one value"):
        gradient_histograms(bin_rows(network_rows()).assign(log10_preact_grad_rms=0.0))
    with pytest.raises(ValueError, match="has no bins"):
        gradient_histograms(frame[~np.isfinite(frame["bin_low"])])


def singular(gains=(1.0,), activations=("tanh",), inits=("normal", "orthogonal")):
    """Networks whose Jacobians grow as gain^(depth - 1), the normal ones with a band of two decades."""
    frame = network_rows(activations, inits, gains)
    middle = frame["gain"] ** (frame["depth"] - 1.0) * (1 + frame["seed"] / 100)
    wide = np.where(frame["init"] == "normal", 10.0, 1.1)
    return frame.assign(sv_min=middle / wide, sv_median=middle, sv_max=middle * wide)


def test_isometry_draws_the_median_of_seeds_and_a_band_from_least_to_greatest():
    figure = isometry(singular())
    (panel,) = figure.axes
    normal, orthogonal = named_lines(panel)
    np.testing.assert_allclose(normal.get_ydata(), 1.01)
    corners = panel.collections[0].get_paths()[0].vertices[:, 1]
    assert (corners.min(), corners.max()) == pytest.approx((0.101, 10.1))
    assert panel.get_yscale() == "log"
    assert normal.get_linestyle() != orthogonal.get_linestyle()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["normal", "orthogonal"]
    words = said(figure)
    assert "held fixed: gain 1, bias std 0, width 100, activation tanh, " in words
    assert "line: median, band: least to greatest, medians of 3 seeds" in words


def test_each_activation_shows_the_gains_whose_singular_values_stay_nearest_to_one():
    gains = tuple(np.geomspace(0.1, 10, 9))
    figure = isometry(singular(gains, ("tanh", "relu")), most=3)
    titles = [axes.get_title() for axes in figure.axes]
    near = ["gain 0.562", "gain 1", "gain 1.78"]
    assert titles == [f"{name}, {gain}" for name in ("tanh", "relu") for gain in near]
    assert "3 of 9 values of gain, nearest to 1" in said(figure)


def test_a_least_singular_value_of_zero_reaches_the_bottom():
    frame = singular()
    figure = isometry(frame.assign(sv_min=np.where(frame["init"] == "normal", 0.0, frame["sv_min"])))
    low, _ = figure.axes[0].get_ylim()
    assert 0.1 < low < 1
    assert figure.axes[0].collections[0].get_paths()[0].vertices[:, 1].min() < low


def test_tables_without_singular_values_and_keys_without_a_place_get_a_sentence():
    with pytest.raises(ValueError, match="Singular values are not measured in this table"):
        isometry(network_rows())
    with pytest.raises(ValueError, match="row = 'colour' is not a key"):
        isometry(singular(), row="colour")
    frame = pd.concat([singular((1.0, 2.0), ("tanh", "relu")).assign(width=width) for width in (10, 20)])
    with pytest.raises(ValueError, match="width takes more than one value"):
        isometry(frame)
