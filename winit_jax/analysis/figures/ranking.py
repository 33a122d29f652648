"""Which initialization is best: each at its best learning rate, with confidence intervals over seeds."""

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from winit_jax.analysis.figures import style
from winit_jax.analysis.figures.lines import REFERENCE
from winit_jax.analysis.figures.needs import require
from winit_jax.analysis.figures.page import LETTER, TITLE_LETTER, Page, Size, facets, open_page
from winit_jax.analysis.figures.places import of_ranking
from winit_jax.analysis.figures.words import value_words
from winit_jax.analysis.statistics.ranking import best_learning_rate
from winit_jax.analysis.tables import chance, in_order, init_words, tidy

GUESSING = REFERENCE
# Accuracies above this are told apart by their errors, on a logarithmic axis.
HIGH = 0.8
TICKS = (0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999)


def ranking(
    networks: pd.DataFrame, value: str = "test_accuracy", *, title: str | None = None, below: str = ""
) -> Figure:
    """Accuracies of initializations at their best learning rates: a row of panels for each depth, one an activation.

    Dots are means over seeds and bars 95% intervals (see `best_learning_rate`), the highest mean of a panel in
    orange where it is well above guessing, the grey line. The best of all panels together stands at the top. Where any
    mean is above HIGH, the axis is logarithmic in the error, 1 - accuracy, so that 97% and 99% are apart.
    networks: with one value of every key but the init and its scale, the activation, the depth, the learning rate and
    the seed. Errors: ValueError, also where others vary.
    """
    require(networks, "ranking")
    networks = tidy(networks)
    of_ranking(networks, {}).checked()
    best = best_learning_rate(networks, value)
    best = best.assign(name=init_words(best).map(lambda words: value_words("init", words)))
    panels = best.groupby(["depth", "activation"], observed=True)
    ranks = best.assign(rank=panels["mean"].rank(ascending=False)).sort_values(["init", "std"])
    names = list(ranks.groupby("name", sort=False)["rank"].mean().sort_values(kind="stable").index)
    activations = in_order(best, "activation")
    holds = facets("depth", in_order(best, "depth"), "activation", activations)
    with style.themed():
        page = open_page(holds, _size(names, activations))
        for panel in page.panels:
            _dots(panel.axes, panel.rows(best), names, chance(networks))
        for panel in page.rows[0] if len(activations) > 1 else ():
            panel.axes.set_title(str(panel.holds["activation"]))
        for row in page.rows:
            row[0].axes.set_ylabel(f"depth {row[0].holds['depth']}")
        page.axes[0].set_yticks(range(len(names)), names)
        page.axes[0].set_ylim(len(names) - 0.4, -0.6)
        by_error = value in style.ACCURACIES and best["mean"].max() > HIGH
        _scale(page, best, chance(networks), by_error)
        page.label_x(style.label(value) + (" (logarithmic in the error)" if by_error else ""))
        seeds = int(best["seeds"].max())
        rule = f"means of {seeds} seeds with 95% intervals, learning rates chosen on the other seeds"
        return page.finish(
            title or style.heading(f"{style.label(value)} at the best learning rate", networks),
            below,
            (
                style.held(networks, ("init", "depth")),
                rule if seeds > 1 else "one seed",
                "the best at the top, by the mean of its ranks in all panels",
                "x is logarithmic in the error, 1 \u2212 accuracy" if by_error else "",
            ),
            _notes(),
        )


def _size(names: list[str], activations: list[Any]) -> Size:
    """Room for the names at the left, and over each panel for an activation's."""
    beside = 0.85 + LETTER * max(map(len, names))
    each = max(1.7, 0.1 + TITLE_LETTER * max(len(str(activation)) for activation in activations))
    return Size(width=each, height=max(0.7, 0.19 * len(names)) + 0.15, beside=beside, narrowest=5.6, least=each)


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


def _scale(page: Page, best: pd.DataFrame, guess: float, by_error: bool) -> None:
    """Limits, scale and ticks along x, of all panels."""
    ends = best[["mean", "low", "high"]].to_numpy(float)
    low, high = min(np.nanmin(ends), guess), float(np.nanmax(ends))
    for axes in page.axes:
        if not by_error:
            room = 0.05 * max(high - low, 0.05)
            axes.set_xlim(max(low - room, 0.0), min(high + room, 1.03))
            axes.xaxis.set_major_locator(MaxNLocator(4))
            continue
        # An accuracy of 1 has no place on the axis: it stands at its end.
        least = min(0.5 * (1 - best.loc[best["mean"] < 1, "mean"].max()), 0.1)
        axes.set_xscale("function", functions=(partial(_of_error, least=least), partial(_of_accuracy, least=least)))
        axes.set_xlim(max(low - 0.02, 0.0), 1 - least)
        ticks = [tick for tick in TICKS if low - 0.02 <= tick <= 1 - least]
        places = (_of_error(np.array(ticks), least) - _of_error(low, least)) * page.panel_width
        reach = _of_error(1 - least, least) - _of_error(low, least)
        kept = [len(ticks) - 1]
        for i in range(len(ticks) - 2, -1, -1):
            if (places[kept[-1]] - places[i]) / reach > 0.42:
                kept.append(i)
        axes.xaxis.set_major_locator(FixedLocator([ticks[i] for i in kept]))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(lambda tick, _: f"{100 * tick:.3g}%")


def _of_error(accuracy: Any, least: float) -> Any:
    return -np.log10(np.clip(1 - np.asarray(accuracy, float), least, None))


def _of_accuracy(place: Any, least: float) -> Any:
    return 1 - 10.0 ** -np.minimum(np.asarray(place, float), -np.log10(least))


def _notes() -> list[Line2D]:
    """Handles for a legend."""
    best = Line2D([], [], color=sns.color_palette("colorblind")[3], marker="o", ms=3.2, lw=1.1, label="highest mean")
    return [best, Line2D([], [], label="guessing", **GUESSING)]
