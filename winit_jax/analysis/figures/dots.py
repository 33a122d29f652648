"""A column over one key: a dot a seed, and a bar where they are put together, instead of a map of one stripe."""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from winit_jax.analysis.axes import Axis, make_axis
from winit_jax.analysis.figures import style
from winit_jax.analysis.figures.lines import REFERENCE
from winit_jax.analysis.figures.mesh import HATCH_MARKS, INFINITE, Sheet, scale_axis
from winit_jax.analysis.figures.page import Size, facets, open_page
from winit_jax.analysis.figures.places import Places
from winit_jax.analysis.figures.words import TITLES
from winit_jax.analysis.statistics.cells import n_seeds
from winit_jax.analysis.statistics.seeds import aggregate, seeds_rule
from winit_jax.analysis.tables import Expected, chance, in_order, is_named

SIZE = Size(width=2.6, height=1.95, beside=1.1, narrowest=5.0)
COLOR = "#31688e"


def dots(
    frame: pd.DataFrame,
    value: str,
    places: Places,
    spare: str,
    seeds: str,
    expected: Expected | None,
    title: str | None,
    below: str,
) -> Figure:
    """What a map of one stripe would show: the number of each seed over the only key that varies, in panels.

    frame: tidy rows. spare: the place of the map, x or y, whose key has no place here. seeds: how the bar puts them
    together. A value that is no number has a mark at the lower edge, which the legend names.
    """
    key = (places.x if spare == "y" else places.y) or ""
    across = make_axis(key, in_order(frame, key, expected), is_named(frame, key))
    shown = [each for each in (places.row, places.col, key) if each]
    apart = [*shown, "seed"] if "seed" in frame else shown
    alone, together = aggregate(frame, value, apart, seeds), aggregate(frame, value, shown, seeds)
    rows, columns = (in_order(frame, each, expected) if each else [] for each in (places.row, places.col))
    with style.themed():
        page = open_page(facets(places.row, rows, places.col, columns), SIZE)
        panels = Sheet(page, across, make_axis("seed", [0], False, log=False))
        lost: set[str] = set()
        for panel in page.panels:
            scale_axis(panel.axes, "x", across, page.panel_width)
            panel.axes.set_xlim(across.edges[0], across.edges[-1])
            lost |= _draw(panel.axes, panel.rows(alone), panel.rows(together), across, value)
        _scale(page.axes, value, chance(frame))
        page.name_panels()
        page.label(style.label(key), style.label(value))
        count = n_seeds(frame) if "seed" in frame else 1
        dot = Line2D([], [], marker="o", ls="", ms=3.6, mew=0, color=COLOR, alpha=0.75, label="one seed")
        bar = Line2D([], [], marker="_", ls="", ms=12, mew=1.6, color=COLOR, label=f"{seeds} of seeds")
        notes = [dot, bar] if count > 1 else []
        for kind in sorted(lost):
            notes.append(Line2D([], [], color="#555555", ls="", label=style.HATCH_WORDS[kind], **HATCH_MARKS[kind]))
        if value in style.ACCURACIES:
            notes.append(Line2D([], [], label=f"guessing: {chance(frame):.0%}", **REFERENCE))
        rule = "a dot a seed" if count > 1 else seeds_rule(together, frame, seeds)
        facts = (style.held(frame, shown), rule)
        heading = style.heading(TITLES.get(value, style.label(value).partition(" (")[0]), frame, shown)
        return page.finish(title or heading, below, facts, notes, panels.names_below)


def _draw(axes: Axes, alone: pd.DataFrame, together: pd.DataFrame, across: Axis, value: str) -> set[str]:
    """The dots and bars of one panel, and marks for what is no number; the kinds of these."""
    lost: set[str] = set()
    for at, center in enumerate(across.centers):
        here = alone[alone[across.key] == across.values[at]]
        numbers = here["value"].to_numpy(float)
        broken = here["overflow"].to_numpy(bool)
        good = np.isfinite(numbers) & ~broken
        place = _beside_each_other(across, at, int(good.sum()))
        axes.plot(place, numbers[good], "o", color=COLOR, ms=3.6, alpha=0.75, mew=0)
        middle = together.loc[together[across.key] == across.values[at], "value"]
        if good.sum() > 1 and np.isfinite(middle).all():
            axes.plot([center], middle, "_", color=COLOR, ms=16, mew=1.6)
        for kind in _kinds(numbers[~good], broken[~good], value) | ({"missing"} if here.empty else set()):
            axes.plot(
                [center],
                [0.03],
                color="#555555",
                transform=axes.get_xaxis_transform(),
                clip_on=False,
                **HATCH_MARKS[kind],
            )
            lost.add(kind)
    return lost


def _beside_each_other(axis: Axis, at: int, count: int) -> np.ndarray:
    """Places of dots about the middle of a cell, so that equal ones do not cover each other."""
    edges = np.log(axis.edges) if axis.log else axis.edges
    middle, width = (edges[at] + edges[at + 1]) / 2, edges[at + 1] - edges[at]
    places = middle + 0.15 * width * (np.linspace(-1, 1, count) if count > 1 else np.zeros(count))
    spread: np.ndarray = np.exp(places) if axis.log else places
    return spread


def _kinds(numbers: np.ndarray, broken: np.ndarray, value: str) -> set[str]:
    """What is to be said of values that are no numbers."""
    kinds = {"diverged" if value in style.LEARNT else "overflow"} if broken.any() else set()
    rest = numbers[~broken]
    if np.isneginf(rest).any():
        kinds.add("zero")
    if np.isposinf(rest).any():
        kinds.add(INFINITE.get(value, "infinite"))
    return kinds | ({"undefined"} if np.isnan(rest).any() else set())


def _scale(panels: list[Axes], value: str, guess: float) -> None:
    """Limits and lines of reference."""
    first = panels[0]
    if value in (*style.ACCURACIES, *style.SHARES):
        first.set_ylim(-0.03, 1.03)
    elif value in style.GROWTHS:
        low, high = first.get_ylim()
        first.set_ylim(min(low, -0.1), max(high, 0.1))
    first.yaxis.set_major_locator(MaxNLocator(5))
    for axes in panels:
        if value in style.GROWTHS:
            axes.axhline(0, color="#999999", lw=0.6, zorder=0)
        if value in style.ACCURACIES:
            axes.axhline(guess, zorder=0, **REFERENCE)
        sns.despine(ax=axes)
