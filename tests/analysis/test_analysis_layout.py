"""Figures of one panel and of many, with short names and long ones: nothing is cut, covered or collapsed."""

import warnings

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from support.tables import as_table, bin_rows, history, layer_rows, network_rows, trained_networks
from winit_jax.analysis import (
    curves,
    deviation_map,
    gradient_histograms,
    heatmap,
    histograms,
    isometry,
    profiles,
    ranking,
    regime_map,
)
from winit_jax.analysis.figures import style

LONG = "mypackage.activations:snake"
INITS = (("normal", 0.1), ("truncated_normal", 0.2), ("xavier_uniform", 0.3))
SINGULAR = {"sv_min": 0.1, "sv_median": 1.0, "sv_max": 3.0, "sv_mean_square": 1.0, "sv_var_square": 0.1}


def ranked(activations, inits, depths, seeds=3):
    rows = []
    for depth in depths:
        for activation in activations:
            for i, (init, std) in enumerate(inits):
                scores = {(s, rate): 0.2 + 0.2 * i + 0.01 * s for s in range(seeds) for rate in (0.1, 1.0)}
                options = {"activation": activation, "init": init, "std": std, "gain": 10 * std, "depth": depth}
                rows += trained_networks(scores, **options)
    return as_table(rows)


def one(activation="tanh"):
    """Networks of one point and two seeds."""
    frame = network_rows((activation,), gains=(1.0,), depths=(1,), seeds=(0, 1))
    return frame.assign(theory_log10_act_rms=0.1, **SINGULAR)


def many():
    frame = network_rows(("tanh", "relu", LONG, "leaky_relu(0.123456)"), depths=(1, 2, 3))
    return frame.assign(theory_log10_act_rms=0.1, **SINGULAR)


def learnt(activation):
    return as_table([row for s in (0, 1) for row in history([2.3, 2.0, 1.9, 1.5], seed=s, activation=activation)])


DRAWN = {
    "ranking of one init": lambda: ranking(ranked(["tanh"], INITS[:1], [3])),
    "ranking of one panel": lambda: ranking(ranked([LONG], INITS, [3]), below="A sweep with a title of its own"),
    "ranking of one seed": lambda: ranking(ranked(["tanh"], INITS, [3, 5, 9], seeds=1)),
    "ranking of many panels": lambda: ranking(ranked(["tanh", "relu", "gelu", "elu", "selu", LONG], INITS, [2, 15])),
    "heatmap of one cell": lambda: heatmap(one(LONG), "log10_act_rms"),
    "heatmap of many panels": lambda: heatmap(many(), "log10_act_rms"),
    "regimes of one cell": lambda: regime_map(one()),
    "regimes of many panels": lambda: regime_map(many()),
    "deviations of one cell": lambda: deviation_map(one()),
    "z of one cell": lambda: deviation_map(one(), show="z"),
    "deviations of many panels": lambda: deviation_map(many()),
    "profiles of one layer": lambda: profiles(layer_rows(one(LONG))),
    "profiles of many panels": lambda: profiles(layer_rows(many())),
    "histograms of two scales": lambda: histograms(bin_rows(network_rows(("tanh",), gains=(1.0, 3.0)))),
    "histograms of one layer": lambda: histograms(bin_rows(one(LONG))),
    "singular values at one depth": lambda: isometry(one(LONG)),
    "singular values of many": lambda: isometry(many()),
    "gradient histograms": lambda: gradient_histograms(bin_rows(one(LONG)).assign(log10_preact_grad_rms=-3.0)),
    "curves of one line": lambda: curves(learnt("tanh")),
    "curves of a long name": lambda: curves(learnt(LONG)),
}


@pytest.mark.parametrize("name", DRAWN)
def test_nothing_of_a_figure_is_cut_covered_or_collapsed(name):
    figure = DRAWN[name]()
    canvas = FigureCanvasAgg(figure)
    with warnings.catch_warnings(), style.themed():
        warnings.simplefilter("error")  # such as: constrained_layout not applied, axes sizes collapsed to zero
        canvas.draw()
    width, height = figure.get_size_inches() * figure.dpi
    renderer = canvas.get_renderer()
    texts = [text for text in (*figure.texts, figure._suptitle, getattr(figure, "_supxlabel", None)) if text]
    texts += [axes.title for axes in figure.axes if axes.get_title()]
    for text in texts:
        box = text.get_window_extent(renderer)
        assert box.x0 >= -1, text.get_text()
        assert box.x1 <= width + 1, text.get_text()
        assert box.y0 >= -1, text.get_text()
        assert box.y1 <= height + 1, text.get_text()
    top = figure._suptitle.get_window_extent(renderer).y0
    for axes in figure.axes:
        box = axes.get_tightbbox(renderer)
        assert axes.get_window_extent(renderer).height > 0.3 * figure.dpi
        assert box.y1 <= top + 2
        assert box.x0 >= -1
        assert box.x1 <= width + 1
    titles = [axes.title.get_window_extent(renderer) for axes in figure.axes if axes.get_title()]
    assert not any(a.overlaps(b) for i, a in enumerate(titles) for b in titles[:i])


def test_one_point_of_a_line_is_seen():
    for figure in (isometry(one()), profiles(layer_rows(one()))):
        (axes,) = figure.axes
        dots = [line for line in axes.lines if line.get_marker() == "o"]
        assert len(dots) == 1
        left, right = axes.get_xlim()
        assert left < dots[0].get_xdata()[0] < right
        assert np.isfinite(dots[0].get_ydata()).all()
