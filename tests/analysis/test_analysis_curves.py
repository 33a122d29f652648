"""Training curves, trainability maps and rankings: what is drawn is what the tables say."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.lines import Line2D
from scipy import stats

from support.drawn import named_lines
from support.tables import STEPS, as_table, history, trained_networks
from winit_jax.analysis import best_learning_rate, curves, heatmap, ranking
from winit_jax.analysis.figures.places import Places, of_training
from winit_jax.analysis.statistics.seeds import aggregate
from winit_jax.analysis.tables import chance, init_words, untrained


@pytest.fixture
def training():
    rows = []
    for seed in range(3):
        rows += history([2.3, 2.3, 2.3, 2.3], init="normal", seed=seed)
        rows += history(
            [2.3, 1.0 + 0.1 * seed, 0.5, 0.1 + 0.01 * seed], init="he_normal", std=0.14, gain=1.4, seed=seed
        )
        rows += history([2.3, 3.0, None if seed else 5.0, None], init="lecun_normal", gain=1.0, seed=seed)
    return as_table(rows)


def test_a_line_is_the_median_over_seeds_and_its_band_their_range(training):
    axes = curves(training, "train_loss").axes[0]
    he = named_lines(axes)[1]
    np.testing.assert_allclose(he.get_xdata(), STEPS)
    np.testing.assert_allclose(he.get_ydata(), [2.3, 1.1, 0.5, 0.11])
    band = axes.collections[1].get_paths()[0].vertices
    assert band[:, 1].min() == pytest.approx(0.1)
    assert axes.get_yscale() == "log"


def test_a_line_ends_where_half_of_its_seeds_have_diverged_with_a_mark(training):
    figure = curves(training, "train_loss")
    ended = named_lines(figure.axes[0])[2]
    np.testing.assert_allclose(ended.get_xdata(), [0, 10])
    marks = [line for line in figure.axes[0].lines if line.get_marker() == "x"]
    assert [float(mark.get_xdata()[0]) for mark in marks] == [20.0]
    words = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    assert words == [
        "normal, std 0.1",
        "He\n(he_normal)",
        "Xavier, 1/fan_in\n(lecun_normal)",
        "guessing: ln 10",
        "half of the seeds diverged before this step",
    ]


def test_networks_that_have_diverged_guess():
    rows = [*history([2, 2, 2, 2], seed=0), *history([2, 2, 2, 2], seed=1), *history([2, None, None, None], seed=2)]
    axes = curves(as_table(rows, classes=4), "test_accuracy").axes[0]
    low = axes.collections[0].get_paths()[0].vertices[:, 1].min()
    assert low == pytest.approx(0.25)
    np.testing.assert_allclose(named_lines(axes)[0].get_ydata(), 0.5)
    guessing = [line for line in axes.lines if isinstance(line, Line2D) and line.get_lw() == 0.8]
    assert guessing[0].get_ydata()[0] == 0.25


def test_normalisation_at_sixteen_stds_is_a_figure_of_four_by_four():
    rows = []
    for std in np.geomspace(1e-4, 1, 16):
        for norm in ("none", "batch"):
            rows += history([2.3, 2.0, 1.0, 0.5], std=std, gain=10 * std, normalization=norm)
    frame = as_table(rows)
    assert of_training(frame, {}) == Places(hue="normalization", col="std")
    figure = curves(frame, "train_accuracy")
    grid = figure.axes[0].get_subplotspec().get_gridspec()
    assert (grid.nrows, grid.ncols) == (4, 4)
    assert [axes.get_title() for axes in figure.axes][::15] == ["std 0.0001", "std 1"]
    assert figure.get_supylabel() == "training accuracy"
    assert {axes.get_ylabel() for axes in figure.axes} == {""}


def test_keys_without_a_place_are_named(training):
    both = pd.concat([training, training.assign(depth=9, learning_rate=0.5, width=3)])
    both.attrs = training.attrs
    with pytest.raises(ValueError, match="depth, learning_rate take more than one value"):
        curves(both, hue="init", col="width")
    with pytest.raises(ValueError, match="hue = 'layer' is not a key"):
        curves(training, hue="layer")
    with pytest.raises(ValueError, match="saturated is not in this table"):
        curves(training, "saturated")


def test_the_learning_rate_is_chosen_on_the_other_seeds():
    """Each seed's best is a fluke of that seed alone: a choice on the seed itself would report 0.9."""
    scores = {(seed, rate): 0.9 if seed == i else 0.5 for seed in range(3) for i, rate in enumerate((0.1, 0.2, 0.3))}
    found = best_learning_rate(as_table(trained_networks(scores)))
    assert found["mean"].tolist() == [0.5]
    assert found["seeds"].tolist() == [3]


def test_intervals_are_students_over_seeds():
    values = [0.80, 0.84, 0.86, 0.90, 0.70]
    scores = {(seed, rate): value * (rate == 0.1) for seed, value in enumerate(values) for rate in (0.1, 1.0)}
    found = best_learning_rate(as_table(trained_networks(scores))).iloc[0]
    low, high = stats.t.interval(0.95, 4, np.mean(values), stats.sem(values))
    assert found["learning_rate"] == 0.1
    assert found["mean"] == pytest.approx(np.mean(values))
    assert (found["low"], found["high"]) == pytest.approx((low, high), rel=1e-9)


def test_diverged_networks_count_as_guesses_in_a_ranking():
    scores = {(seed, 0.1): None if seed == 0 else 0.9 for seed in range(2)}
    found = best_learning_rate(as_table(trained_networks(scores), classes=5)).iloc[0]
    assert found["mean"] == pytest.approx((0.2 + 0.9) / 2)
    assert found["diverged"] == 0.5


def test_cells_of_accuracies_count_guesses_and_are_called_diverged_where_most_did():
    rows = trained_networks({(0, 0.1): 0.9, (1, 0.1): None, (2, 0.1): 0.9})
    rows += trained_networks({(0, 0.1): 0.9, (1, 0.1): None, (2, 0.1): None}, depth=8)
    cells = aggregate(as_table(rows), "test_accuracy", ["depth"], "mean")
    assert cells["value"].tolist() == pytest.approx([(0.9 + 0.1 + 0.9) / 3, (0.9 + 0.1 + 0.1) / 3])
    assert cells["overflow"].tolist() == [False, True]


def test_a_map_of_accuracies_hatches_what_diverged_and_names_it():
    rows = []
    for std in (0.1, 0.2, 0.4):
        for rate in (0.01, 0.1, 1.0):
            rows += trained_networks({(0, rate): None if rate * std > 0.1 else 0.8}, std=std, gain=10 * std)
    figure = heatmap(as_table(rows), "test_accuracy", seeds="mean")
    assert figure.axes[0].get_ylabel() == "learning rate"
    assert figure.axes[0].get_yscale() == "log"
    words = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    assert "most seeds diverged" in words
    assert figure.axes[-1].get_ylabel() == "test accuracy, after training\n(dotted: guessing)"


def test_a_ranking_has_a_dot_for_each_initialisation_at_its_mean():
    rows = []
    for activation in ("tanh", "relu"):
        for init, std, score in (("normal", 0.01, 0.1), ("normal", 0.1, 0.7), ("he_normal", 0.14, 0.9)):
            scores = {(seed, rate): score for seed in range(3) for rate in (0.1, 0.2)}
            rows += trained_networks(scores, activation=activation, init=init, std=std, gain=10 * std)
    frame = as_table(rows)
    assert set(init_words(frame)) == {"normal, std 0.01", "normal, std 0.1", "he_normal"}
    figure = ranking(frame)
    panel = figure.axes[0]
    assert [text.get_text() for text in panel.get_yticklabels()] == [
        "He (he_normal)",
        "normal, std 0.1",
        "normal, std 0.01",
    ]
    dots = sorted(float(x) for line in panel.lines if line.get_marker() == "o" for x in line.get_xdata())
    assert dots == pytest.approx([0.1, 0.7, 0.9])


def test_before_training_each_network_is_one_row():
    frame = as_table(trained_networks({(seed, rate): 0.5 for seed in range(2) for rate in (0.1, 0.2, 0.3)}))
    assert len(untrained(frame)) == 2
    assert "learning_rate" not in untrained(frame)
    assert chance(frame) == 0.1
