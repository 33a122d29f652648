"""Which initialization is best: each at its best learning rate, with confidence intervals over seeds."""

from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from winit_jax.analysis.figures import style
from winit_jax.analysis.figures.needs import require
from winit_jax.analysis.figures.page import LETTER, TITLE_LETTER, Size, facets, open_page
from winit_jax.analysis.figures.places import of_ranking
from winit_jax.analysis.statistics.ranking import best_learning_rate
from winit_jax.analysis.tables import chance, in_order, init_words, tidy

GUESSING: dict[str, Any] = {"color": "#555555", "ls": (0, (1, 1.5)), "lw": 1.0}


def ranking(
    networks: pd.DataFrame, value: str = "test_accuracy", *, title: str | None = None, below: str = ""
) -> Figure:
    """Accuracies of initializations at their best learning rates: a row of panels for each depth, one an activation.

    Dots are means over seeds and bars 95% intervals (see `best_learning_rate`), the highest mean of a panel in
    orange where it is well above guessing, the dotted line.
    networks: with one value of every key but the init and its scale, the activation, the depth, the learning rate and
    the seed. Errors: ValueError, also where others vary.
    """
    require(networks, "ranking")
    networks = tidy(networks)
    of_ranking(networks, {}).checked()
    best = best_learning_rate(networks, value)
    best = best.assign(name=init_words(best))
    names = list(dict.fromkeys(best.sort_values(["init", "std"])["name"]))
    activations = in_order(best, "activation")
    holds = facets("depth", in_order(best, "depth"), "activation", activations)
    with style.themed():
        page = open_page(holds, _size(names, activations))
        for panel in page.panels:
            _dots(panel.axes, panel.rows(best), names, chance(networks))
        for panel in page.rows[0]:
            panel.axes.set_title(str(panel.holds["activation"]))
        for row in page.rows:
            row[0].axes.set_ylabel(f"depth {row[0].holds['depth']}")
        first = page.axes[0]
        first.set_yticks(range(len(names)), names)
        first.set_ylim(len(names) - 0.4, -0.6)
        first.set_xlim(0, 1.03)
        first.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
        for panel in page.lowest:
            panel.axes.set_xlabel(style.label(value))
        seeds = int(best["seeds"].max())
        rule = f"means of {seeds} seeds with 95% intervals, learning rates chosen on the other seeds"
        return page.finish(
            title or f"Initializations at their best learning rates: {style.label(value)}",
            below,
            (style.held(networks, ("init",)), rule if seeds > 1 else "one seed"),
            _notes(),
        )


def _size(names: list[str], activations: list[Any]) -> Size:
    """Room for the names at the left, and over each panel for an activation's."""
    beside = 0.75 + LETTER * max(map(len, names))
    each = max(1.45, 0.1 + TITLE_LETTER * max(len(str(activation)) for activation in activations))
    return Size(width=each, height=max(0.6, 0.17 * len(names)) + 0.1, beside=beside, narrowest=5.0, least=each)


def _dots(axes: Axes, part: pd.DataFrame, names: list[str], guess: float) -> None:
    """Means and intervals of one panel, the highest in orange."""
    at = np.array([names.index(name) for name in part["name"]])
    best = part["mean"] >= max(part["mean"].max() - 1e-9, 1.5 * guess)
    colors = sns.color_palette("colorblind")
    for chosen, color in ((~best, colors[0]), (best, colors[3])):
        rows = part[chosen]
        half = [rows["mean"] - rows["low"], rows["high"] - rows["mean"]]
        axes.errorbar(rows["mean"], at[chosen], xerr=np.nan_to_num(half), fmt="o", ms=3.2, lw=1.1, color=color)
    axes.axvline(guess, zorder=0, **GUESSING)
    axes.grid(axis="y", color="#e6e6e6", lw=0.6)
    axes.set_axisbelow(True)
    sns.despine(ax=axes, left=True)
    axes.tick_params(axis="y", length=0)


def _notes() -> list[Line2D]:
    """Handles for a legend."""
    best = Line2D([], [], color=sns.color_palette("colorblind")[3], marker="o", ms=3.2, lw=1.1, label="highest mean")
    return [best, Line2D([], [], label="guessing", **GUESSING)]
