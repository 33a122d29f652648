"""Heatmaps of a column over two axes of a sweep, facetted by two more."""

from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colorbar import Colorbar
from matplotlib.colors import Colormap, Normalize, SymLogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from winit_jax.analysis import style
from winit_jax.analysis.axes import Axis, cell_edges, is_log_spaced
from winit_jax.analysis.cells import AGGREGATES, aggregate, defaults, on_grid, place, seeds_rule
from winit_jax.analysis.critical import overlay
from winit_jax.analysis.load import Expected, chance, tidy
from winit_jax.analysis.panels import fill, hatched, legend, sheet

__all__ = ["AGGREGATES", "cell_edges", "defaults", "heatmap", "is_log_spaced"]

NEVER = {
    "diverged_at": "No network of this table diverged.",
    "steps_to_accuracy": "No network of this table reached the target accuracy.",
}
FLOAT32_WORDS = r"limits of float32, $10^{\pm 38}$"


def heatmap(
    frame: pd.DataFrame,
    value: str = "log10_act_rms",
    *,
    x: str | None = None,
    y: str | None = None,
    row: str | None = None,
    col: str | None = None,
    seeds: str = "median",
    expected: Expected | None = None,
    title: str | None = None,
    below: str = "",
    log_x: bool | None = None,
    log_y: bool | None = None,
    mean_field: pd.DataFrame | None = None,
) -> Figure:
    """A column of the networks table over two keys, in panels by two more, with one colour bar.

    frame: the networks table or rows of it; or one layer of the layers or gradients table.
    x, y, row, col: keys; those left out come from `defaults`.
    seeds: how seeds are put together (one of AGGREGATES), unless seed is an axis.
    expected: key -> values that were asked for (`Run.expected`); cells of them without rows are hatched.
    below: put under the title, before what is held fixed. log_x, log_y: None decides by the spacing.
    A cell is hatched as overflow if any of its networks has activations that are not finite, as exactly zero
    if its log10 is -inf, as not defined if its networks ran and it is no number, else as not run. Columns of what
    was learnt are hatched as diverged where most networks did; elsewhere those that did count as guessing, or as an
    infinite loss (see `cells.after_training`). The colour bar of accuracies and losses has a dotted line at guessing.
    mean_field: the run's table of fixed points; its critical line and depth scales are drawn over the cells
    (see `critical.overlay`).
    Errors: ValueError in a sentence for unknown columns and for keys that vary but have no place.
    """
    _check(frame, value, seeds)
    frame = tidy(frame)
    places = place(frame, {"x": x, "y": y, "row": row, "col": col}, expected)
    cells = aggregate(frame, value, places.shown, seeds)
    spread = seeds == "std" and "seed" not in places.shown
    norm, colour_map, ends = style.colours(value, cells["value"].to_numpy(), spread=spread)
    with style.themed():
        page = sheet(frame, places, expected, log_x, log_y)
        used: set[str] = set()
        lines: dict[str, Line2D] = {}
        for panel in page.panels:
            numbers, kinds = on_grid(panel.rows(cells), page.across, page.up, value)
            used |= fill(panel.axes, numbers, kinds, page.across, page.up, norm, colour_map)
            if value in style.GROWTHS and not spread and _limits(panel.axes, numbers, kinds, page.across, page.up):
                lines["float32"] = Line2D([], [], color="black", lw=0.8, ls="--", label=FLOAT32_WORDS)
            if mean_field is not None:
                lines |= overlay(panel.axes, panel.rows(frame), page.across, page.up, value, mean_field)
        where = f"layer {frame['layer'].iloc[0]}" if "layer" in frame else "last layer"
        if value in style.LEARNT:
            where = "after training"
        panels = [panel.axes for panel in page.panels]
        bar = _colour_bar(page.figure, panels, norm, colour_map, ends, value, where, spread)
        if value in (*style.ACCURACIES, *style.LOSSES) and not spread:
            _mark_guessing(bar, norm, chance(frame) if value in style.ACCURACIES else -np.log(chance(frame)))
        order = sorted(lines, key=lambda name: (name != "float32", name))
        legend(page.figure, [*hatched(used), *(lines[name] for name in order)])
        rule = "" if "seed" in places.shown else seeds_rule(cells, frame, seeds)
        held = ", ".join(text for text in (style.held(frame, places.shown), rule) if text)
        heading = style.sentence(f"spread over seeds: {style.label(value)}" if spread else style.label(value))
        style.title(page.figure, title or heading, below, held)
    return page.figure


def _check(frame: pd.DataFrame, value: str, seeds: str) -> None:
    if value not in frame:
        raise ValueError(f"{value!r} is not a column of this table.")
    if frame.empty:
        raise ValueError("There are no rows to draw.")
    if frame[value].dtype.kind not in "fiub":
        raise ValueError(f"{value} is a name, not a number that colours could show.")
    broken = "nonfinite" in frame and bool((frame["nonfinite"] > 0).any())
    diverged = value not in style.STEPS and "diverged_at" in frame and bool(frame["diverged_at"].notna().any())
    if frame[value].isna().all() and not (broken or diverged):
        raise ValueError(NEVER.get(value, f"{value} is empty in this table: the run did not measure it."))
    if seeds not in AGGREGATES:
        raise ValueError(f"seeds = {seeds!r} is not one of {', '.join(AGGREGATES)}.")
    if "layer" in frame and frame["layer"].nunique() > 1:
        raise ValueError("layer takes more than one value: keep one of them.")
    if seeds == "std" and "seed" in frame and frame["seed"].nunique() == 1:
        raise ValueError("seeds = 'std' needs two seeds or more, and this table has one.")


def _limits(axes: Axes, numbers: np.ndarray, kinds: np.ndarray, across: Axis, up: Axis) -> bool:
    """Draw where a signal leaves the range of float32; whether it does."""
    if min(numbers.shape) < 2 or across.named or up.named:
        return False
    limit = style.FLOAT32_LOG10
    # Exact zeros lie beyond the lower limit; their -inf would break the interpolation.
    signal = np.clip(np.where(kinds == "missing", np.nan, numbers), -3 * limit, 3 * limit)
    finite = numbers[np.isfinite(numbers)]
    levels = [level for level in (-limit, limit) if np.any(finite > level) and np.any(finite < level)]
    if not levels:
        return False
    look: dict[str, Any] = {"colors": "black", "linewidths": 0.8, "linestyles": "--"}
    axes.contour(across.centres, up.centres, np.ma.masked_invalid(signal), levels=levels, **look)
    return True


def _colour_bar(
    figure: Figure,
    axes: list[Axes],
    norm: Normalize,
    colour_map: Colormap,
    ends: str,
    value: str,
    where: str,
    spread: bool,
) -> Colorbar:
    bar = style.colour_bar(figure, axes, mpl.cm.ScalarMappable(norm, colour_map), ends)
    name, bracket, note = style.label(value).partition(" (")
    # What compares two layers is at neither, and a step is a time of its own.
    nowhere = "first layer over last" in name or value in style.STEPS
    words = (name if nowhere else f"{name}, {where}") + (f"\n({note}" if bracket else "")
    if spread:
        words = f"std over seeds: {words}"
    elif value == "chi":
        words += "\n(1: unchanged)"
    elif value in style.GROWTHS:
        words += "\n(0: unchanged)"
        bar.set_ticks(ticks := style.growth_ticks(norm.vmax or 1.0, 0.3, 5), labels=[f"{t:g}" for t in ticks])
        bar.ax.minorticks_off()
    elif isinstance(norm, SymLogNorm):
        low, high = norm.vmin or 0.0, norm.vmax or 1.0
        ticks = style.spaced(style.round_ticks(max(low, 1.0), high), max(low, 1.0), high, log=True)
        bar.set_ticks([0.0] * (low == 0) + ticks, labels=["0"] * (low == 0) + [f"{t:g}" for t in ticks])
        bar.ax.minorticks_off()
    bar.set_label(style.wrapped(words, 38), linespacing=1.2)
    return bar


def _mark_guessing(bar: Colorbar, norm: Normalize, guess: float) -> None:
    """A dotted line on the colour bar, and a word for it."""
    if (norm.vmin or 0.0) < guess < (norm.vmax or 1.0):
        bar.ax.axhline(guess, color="white", ls=(0, (1, 1)), lw=1.5)
        words = bar.ax.get_ylabel()
        told = f"{words[:-1]}; dotted: guessing)" if words.endswith(")") else f"{words}\n(dotted: guessing)"
        bar.set_label(told, linespacing=1.2)
