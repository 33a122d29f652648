"""Maps of what was learnt: networks that failed are counted, and mean field says how deep networks may learn."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import LogNorm, SymLogNorm

from support.drawn import legend, meshes, named_lines
from support.meanfield import mean_field
from support.tables import as_table, history, keys, trained_networks
from winit_jax.analysis import curves, heatmap
from winit_jax.analysis.figures.places import Places, of_training
from winit_jax.analysis.statistics.seeds import after_training, aggregate

GAINS = tuple(np.geomspace(0.5, 3, 13))


def trained(column, numbers, diverged=()):
    """Networks of two gains from {depth: [number a seed]}; diverged: (depth, seed) of those that did, at step 0."""
    rows = [
        keys(depth=depth, seed=seed, gain=gain, std=gain / 10)
        | {column: number, "diverged_at": 0.0 if (depth, seed) in diverged else np.nan}
        for depth, seeds in numbers.items()
        for seed, number in enumerate(seeds)
        for gain in (1.0, 2.0)
    ]
    return as_table(rows, "gain")


def test_a_lucky_seed_does_not_stand_for_those_that_never_reached_the_target():
    frame = trained("steps_to_accuracy", {2: [50, 70, np.nan], 4: [50, np.nan, np.nan]})
    cells = aggregate(frame, "steps_to_accuracy", ["depth"], "median")
    assert cells["value"].tolist() == [70, np.inf]
    figure = heatmap(frame, "steps_to_accuracy")
    assert legend(figure) == ["target accuracy not reached"]
    assert meshes(figure)[0].get_array().mask.reshape(2, 2)[:, 0].tolist() == [False, True]
    assert figure.axes[-1].get_ylabel() == "steps to the target accuracy"


def test_a_mean_loss_is_infinite_where_a_seed_diverged_and_a_median_is_not():
    frame = trained("train_loss", {2: [0.1, 0.2, np.nan], 4: [0.1, np.nan, np.nan]}, {(2, 2), (4, 1), (4, 2)})
    assert after_training(frame, "train_loss").notna().all()
    assert aggregate(frame, "train_loss", ["depth"], "median")["value"].tolist() == [0.2, np.inf]
    assert legend(heatmap(frame, "train_loss")) == ["most seeds diverged"]
    assert legend(heatmap(frame, "train_loss", seeds="mean")) == ["most seeds diverged", "some seeds diverged"]


def test_where_most_seeds_did_not_diverge_there_is_no_step_of_it():
    frame = trained("train_loss", {2: [np.nan] * 3, 4: [np.nan, 0.1, 0.1]}, {(2, 0), (2, 1), (2, 2), (4, 0)})
    figure = heatmap(frame, "diverged_at")
    assert legend(figure) == ["did not diverge"]
    assert meshes(figure)[0].get_array().reshape(2, 2)[0].tolist() == [0, 0]


def test_networks_that_all_diverged_before_the_first_step_are_drawn():
    frame = trained("test_accuracy", {2: [np.nan], 4: [np.nan]}, {(2, 0), (4, 0)})
    assert legend(heatmap(frame, "test_accuracy")) == ["most seeds diverged"]


def test_a_network_that_diverged_is_one_of_those_that_never_reached_the_target():
    frame = as_table(trained_networks({(0, 0.1): None, (1, 0.1): 0.95})).assign(steps_to_accuracy=[np.nan, 40])
    assert after_training(frame, "steps_to_accuracy").tolist() == [np.inf, 40]


def test_losses_and_steps_over_decades_have_logarithmic_colours():
    losses = {2: [0.01], 4: [300.0], 8: [2.0]}
    assert isinstance(meshes(heatmap(trained("test_loss", losses), "test_loss"))[0].norm, LogNorm)
    narrow = {2: [1.0], 4: [2.0]}
    assert not isinstance(meshes(heatmap(trained("test_loss", narrow), "test_loss"))[0].norm, LogNorm)
    steps = trained("steps_to_accuracy", {2: [0.0], 4: [10.0], 8: [500.0]})
    (mesh,) = meshes(heatmap(steps, "steps_to_accuracy"))
    assert isinstance(mesh.norm, SymLogNorm)
    assert not np.ma.getmaskarray(mesh.get_array()).any()


@pytest.mark.parametrize(("value", "at"), [("test_accuracy", 0.1), ("test_loss", np.log(10))])
def test_guessing_is_marked_on_the_colour_bar(value, at):
    bar = heatmap(trained(value, {2: [0.05], 4: [2.5]}), value).axes[-1]
    assert bar.lines[-1].get_ydata()[0] == pytest.approx(at)
    assert bar.get_ylabel().endswith("dotted: guessing)")


def learnt_over_depth(activation, bias):
    rows = [
        keys(activation=activation, gain=gain, std=gain / 10, depth=depth, bias_std=bias)
        | {"test_accuracy": 0.5, "diverged_at": np.nan}
        for gain in GAINS
        for depth in range(1, 41)
    ]
    table = mean_field((activation,), GAINS, (bias,))
    return heatmap(as_table(rows, "gain"), "test_accuracy", mean_field=table, log_y=False), table


def contours(figure):
    return [line for line in figure.axes[0].lines if line.get_linewidth() == 0.8]


def test_networks_learn_as_deep_as_gradients_reach_where_inputs_never_look_alike():
    figure, _ = learnt_over_depth("relu", 0.0)
    assert legend(figure) == ["mean field: χ₁ = 1", "depth = ξ of correlation or gradient", "3 ξ", "6 ξ"]
    for factor, line in zip((1, 3, 6), contours(figure), strict=True):
        gain, depth = line.get_data()
        rate = np.abs(np.log(gain**2 / 2))
        inside = (depth < 40) & (rate > 0.3)
        assert inside.sum() > 50
        np.testing.assert_allclose(depth[inside], factor / rate[inside], rtol=0.02)


def test_networks_learn_six_depth_scales_of_the_correlation_deep():
    figure, table = learnt_over_depth("tanh", 0.3)
    assert legend(figure)[1:] == ["depth = ξ of the correlation", "3 ξ", "6 ξ"]
    gain, depth = contours(figure)[-1].get_data()
    known = table[table["xi_c"] * 6 < 40]
    assert len(known) > 3
    np.testing.assert_allclose(np.interp(known["gain"], gain, depth), 6 * known["xi_c"], rtol=0.05)


def test_the_band_of_a_loss_runs_off_the_top_where_a_seed_diverged():
    rows = [*history([2.3, 1.2, 1.0, 0.8], seed=0), *history([2.3, 1.3, 1.1, 0.9], seed=1)]
    figure = curves(as_table([*rows, *history([2.3, 2.0, None, None], seed=2)]))
    axes = figure.axes[0]
    band = axes.collections[0].get_paths()[0].vertices
    assert band[band[:, 0] == 10, 1].max() == 2.0
    assert band[band[:, 0] == 20, 1].max() > axes.get_ylim()[1] > 2.3
    assert named_lines(axes)[0].get_ydata().tolist() == [2.3, 1.3, 1.1, 0.9]
    assert legend(figure) == ["guessing: ln 10", "band to the top: some seeds diverged"]


def few_inits():
    rows = []
    for depth in (2, 4):
        for init, std in (("normal", 1.0), ("normal", 0.01), ("xavier_normal", 0.1), ("he_normal", 0.14)):
            rows += history([2.3, 2.0, 1.0, 0.5], init=init, std=std, gain=10 * std, depth=depth)
    return as_table(rows)


def test_inits_and_their_scales_are_lines_beside_each_other():
    frame = few_inits()
    assert of_training(frame, {}) == Places(hue="init", col="depth")
    figure = curves(frame)
    assert legend(figure)[:4] == ["normal, std 0.01", "normal, std 1", "Glorot\n(xavier_normal)", "He\n(he_normal)"]
    assert [axes.get_title() for axes in figure.axes] == ["depth 2", "depth 4"]
    looks = {(str(line.get_color()), str(line.get_linestyle())) for line in named_lines(figure.axes[0])}
    assert len(looks) == 4


@pytest.mark.parametrize(("factor", "copies"), [(2.0, 9), (1.00001, 2)])
def test_scales_that_are_too_many_or_read_the_same_are_no_lines_of_one_panel(factor, copies):
    frame = few_inits()
    many = pd.concat([frame.assign(std=frame["std"] * factor**i) for i in range(copies)])
    many.attrs = frame.attrs
    assert of_training(many, {}).left == ("depth",)


def test_panels_of_two_keys_make_a_table_of_rows_and_columns():
    frame = few_inits()
    both = pd.concat([frame, frame.assign(learning_rate=1.0)])
    both.attrs = frame.attrs
    assert of_training(both, {}).left == ("learning_rate",)
    figure = curves(both, row="depth", col="learning_rate")
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == [f"depth {depth}, learning rate {rate}" for depth in (2, 4) for rate in (0.1, 1)]
    assert figure.axes[0].get_subplotspec().get_gridspec().ncols == 2
