"""Heatmaps: what stands in a cell, how it is coloured or hatched, and what the figure says of itself."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import SymLogNorm

from support.clocks import a_moment
from support.drawn import hatches, legend, meshes, said, texts
from support.tables import network_rows
from winit_jax.analysis import heatmap

GAINS = tuple(np.geomspace(0.1, 10, 9))


def test_cells_of_a_log_axis_end_at_geometric_midpoints():
    figure = heatmap(network_rows(gains=GAINS))
    corners = meshes(figure)[0].get_coordinates()
    np.testing.assert_allclose(corners[0, 1:-1, 0], np.sqrt(np.multiply(GAINS[1:], GAINS[:-1])))
    np.testing.assert_allclose(corners[:, 0, 1], [0.5, 1.5, 2.5, 3.5, 4.5])
    assert figure.axes[0].get_xscale() == "log"
    assert heatmap(network_rows(gains=GAINS), log_x=False).axes[0].get_xscale() == "linear"


@pytest.mark.parametrize(
    ("seeds", "extra"), [("median", 0.01), ("mean", 0.04), ("min", 0.0), ("max", 0.11), ("std", None)]
)
def test_seeds_are_put_together_by_the_rule_that_the_figure_names(seeds, extra):
    frame = network_rows(gains=GAINS, seeds=(0, 1, 11))
    figure = heatmap(frame, seeds=seeds)
    cells = meshes(figure)[0].get_array().reshape(4, len(GAINS))
    expected = np.std([0, 0.01, 0.11], ddof=1) if extra is None else 2 * np.log10(GAINS) + extra
    np.testing.assert_allclose(cells[1], np.broadcast_to(expected, len(GAINS)), atol=1e-12)
    assert f"{seeds} of 3 seeds" in said(figure)


def test_a_spread_over_seeds_is_sequential_and_named_so():
    figure = heatmap(network_rows(), seeds="std")
    assert not isinstance(meshes(figure)[0].norm, SymLogNorm)
    assert meshes(figure)[0].norm.vmin == 0
    assert "spread over seeds" in said(figure)
    with pytest.raises(ValueError, match="seeds = 'std' needs two seeds or more"):
        heatmap(network_rows(seeds=(0,)), seeds="std")


def test_cells_with_fewer_seeds_are_counted_in_the_subtitle():
    frame = network_rows()
    assert "median of 2 to 3 seeds" in said(heatmap(frame[(frame["seed"] < 2) | (frame["depth"] < 3)]))


def test_what_is_held_fixed_stands_in_the_caption_and_the_title_is_one_line():
    figure = heatmap(network_rows(), below="A sweep")
    assert figure.get_suptitle() == "Vanishing and exploding signals"
    held = "Held fixed: init normal, bias std 0, width 100."
    assert figure.caption.split("\n") == [f"{figure.get_suptitle()}.", "Sweep: A sweep.", held, "Median of 3 seeds."]


def test_points_asked_for_and_not_run_are_hatched():
    frame = network_rows(activations=("tanh",))
    asked = {"activation": ["tanh", "gelu"], "gain": [0.1, 1, 10, 100], "depth": [1, 2, 3, 4, 5, 6]}
    figure = heatmap(frame, expected=asked)
    assert legend(figure) == ["not run"]
    assert [axes.get_title() for axes in figure.axes[:2]] == ["tanh", "gelu"]
    tanh, gelu = (mesh.get_array().reshape(6, 4).mask for mesh in meshes(figure))
    assert gelu.all()
    assert tanh[4:].all()
    assert tanh[:, 3].all()
    assert not tanh[:4, :3].any()
    # One path for all of a panel's cells, however many: four of one cell, and two whole rows.
    assert len(hatches(figure.axes[0])["////"].codes) == 5 * 6
    assert legend(heatmap(frame)) == []


def test_a_ratio_of_zeros_is_not_defined_rather_than_not_run():
    frame = network_rows(inits=("normal", "zeros"), gains=(1.0,))
    assert legend(heatmap(frame, "input_correlation")) == ["not defined"]
    assert legend(heatmap(frame)) == ["exactly zero"]


def test_a_seed_that_overflows_marks_its_cell_and_leaves_the_others():
    frame = network_rows(gains=GAINS)
    before = meshes(heatmap(frame))[0].get_array().reshape(4, -1)
    hit = (frame["seed"] == 1) & (frame["depth"] == 4) & (frame["gain"] > 9)
    frame.loc[hit, ["nonfinite", "log10_act_rms"]] = [0.5, np.nan]
    figure = heatmap(frame)
    after = meshes(figure)[0].get_array().reshape(4, -1)
    assert legend(figure) == ["overflow"]
    assert after.mask.sum() == 1
    assert after.mask[3, -1]
    np.testing.assert_array_equal(after[~after.mask], before[~after.mask])


def test_a_table_that_overflowed_altogether_is_drawn():
    frame = network_rows().assign(nonfinite=1.0, log10_act_rms=np.nan)
    assert legend(heatmap(frame)) == ["overflow"]


def test_colours_hold_500_orders_of_magnitude_beside_2():
    frame = network_rows(gains=GAINS)
    frame["log10_act_rms"] = np.where(frame["gain"] > 1, 400.0, np.where(frame["gain"] < 0.5, -500.0, 0.3))
    figure = heatmap(frame)
    norm = meshes(figure)[0].norm
    assert norm.vmin == -norm.vmax == -500
    assert norm(0) == pytest.approx(0.5)
    assert norm(0.3) - norm(0) > 0.05
    assert any("float32" in words for words in legend(figure))


def test_one_stray_cell_does_not_wash_out_the_rest():
    frame = network_rows(gains=tuple(np.geomspace(0.5, 2, 41)), depths=tuple(range(1, 21)), seeds=(0,))
    frame.loc[0, "log10_act_rms"] = -500.0
    figure = heatmap(frame)
    assert meshes(figure)[0].norm.vmax < 10
    assert figure.axes[-1].get_ylabel().startswith("log₁₀ RMS activation, last layer")


def test_a_colour_bar_names_its_column_the_layer_and_the_unit():
    bars = {value: heatmap(network_rows(), value).axes[-1].get_ylabel() for value in ("saturated", "log10_act_rms")}
    assert bars == {
        "saturated": "saturated share, last layer\n(of input-unit pairs)",
        "log10_act_rms": "log₁₀ RMS activation, last layer\n(0: unchanged)",
    }


def test_many_activations_run_on_over_several_rows():
    names = ("identity", "sigmoid", "tanh", "relu", "elu", "selu", "gelu")
    figure = heatmap(network_rows(activations=names))
    assert [axes.get_title() for axes in figure.axes[:7]] == list(names)
    assert figure.get_figwidth() < 15
    labelled = [bool(axes.get_xlabel()) for axes in figure.axes[:7]]
    assert labelled == [False, False, False, False, False, True, False]  # once, below the last row


@pytest.mark.parametrize(
    "frame",
    [
        network_rows(gains=GAINS),
        network_rows(inits=("he_normal", "xavier_normal", "zeros")),
        network_rows(activations=("tanh",), depths=(3,), gains=(1.0,)),
        network_rows(inits=("normal", "orthogonal"), widths=(50,), depths=tuple(range(1, 30))),
    ],
    ids=["gains", "schemes", "one point", "two inits"],
)
def test_no_text_is_clipped_and_panel_titles_do_not_overlap(frame):
    frame.loc[frame["depth"] == 3, "nonfinite"] = 1.0
    figure = heatmap(frame, below="A title of a sweep that goes on for rather longer than one would like it to be")
    figure.draw_without_rendering()
    page = figure.bbox
    boxes = [text.get_window_extent() for text in texts(figure)]
    assert all(box.x0 >= page.x0 - 1 and box.x1 <= page.x1 + 1 for box in boxes)
    assert all(box.y0 >= page.y0 - 1 and box.y1 <= page.y1 + 1 for box in boxes)
    headings = [axes.title.get_window_extent() for axes in figure.axes if axes.get_title()]
    headings.append(figure._suptitle.get_window_extent())
    assert not any(one.overlaps(other) for i, one in enumerate(headings) for other in headings[:i])


def test_a_name_and_an_empty_table_get_a_sentence():
    with pytest.raises(ValueError, match="init is a name, not a number"):
        heatmap(network_rows(), "init")
    with pytest.raises(ValueError, match="There are no rows to draw"):
        heatmap(network_rows().iloc[:0])
    with pytest.raises(ValueError, match="chi is empty in this table"):
        heatmap(network_rows(), "chi")


def test_a_figure_shows_itself_in_a_notebook_without_pyplot():
    figure = heatmap(network_rows(activations=("tanh",)))
    assert figure._repr_png_().startswith(b"\x89PNG")
    assert not plt.get_fignums()


def test_scattered_hatches_and_a_large_table_take_seconds_not_minutes():
    frame = network_rows(gains=tuple(np.geomspace(0.1, 10, 64)), depths=tuple(range(1, 51)), seeds=(0, 1, 2, 3))
    frame = pd.concat([frame.assign(seed=frame["seed"] + 4 * i) for i in range(10)], ignore_index=True)
    scattered = (frame["depth"] * 7 + np.round(30 * np.log10(frame["gain"])).astype(int)) % 3 == 0
    frame.loc[scattered, "nonfinite"] = 1.0
    with a_moment():
        heatmap(frame).draw_without_rendering()
