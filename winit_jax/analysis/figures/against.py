"""A column of networks against a key: lines over depth or gain, with bands over seeds and what theory predicts."""

from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, LogLocator, NullFormatter, NullLocator

from winit_jax.analysis.axes import is_log_spaced
from winit_jax.analysis.figures import style
from winit_jax.analysis.figures.lines import (
    LINES,
    REFERENCE,
    Look,
    band_rule,
    check_band,
    darker,
    draw_band,
    draw_dot,
    explain,
    lines_of,
    over_seeds,
    with_scales_of_inits,
)
from winit_jax.analysis.figures.page import Page, Size, facets, open_page
from winit_jax.analysis.figures.places import MAX_LINES, of_lines
from winit_jax.analysis.figures.profiles import PREDICTED
from winit_jax.analysis.figures.words import key_words
from winit_jax.analysis.statistics.cells import cells_of
from winit_jax.analysis.statistics.seeds import after_training
from winit_jax.analysis.tables import chance, in_order, is_named, measured, tidy

SIZE = Size(width=2.5, height=2.05, beside=2.2, narrowest=6.2)
OVERFLOW: dict[str, Any] = {"marker": "x", "ls": "", "ms": 5}
GUESSING = REFERENCE
# Positive numbers that span so many times are drawn on a logarithmic axis.
WIDE = 100.0
# At most so many values of a logarithmic x are its ticks, and so many points of a line have dots.
FEW_TICKS, FEW_POINTS = 10, 5


def against(
    frame: pd.DataFrame,
    value: str = "log10_act_rms",
    *,
    x: str | None = None,
    hue: str | None = None,
    row: str | None = None,
    col: str | None = None,
    most: int = MAX_LINES,
    band: str = "range",
    title: str | None = None,
    below: str = "",
) -> Figure:
    """A column of the networks table against a key of numbers: median over seeds, and a band.

    x: the key along x (default: depth). hue: the key that tells lines apart, at most `most` of its values, evenly
    chosen. row, col: the keys of the panels; those left out are chosen as `places.of_lines` says. band: range (least
    to greatest of seeds) or quantiles (10% to 90%). below: put under the title, before what is held fixed.
    Each point is a network of its own: of a scale that depends on the depth, that of the depth.
    The axis of growth is linear in the logarithm; other positive numbers that span a factor of WIDE are drawn on a
    logarithmic one. A mark at the top tells where any seed first overflows, which then leaves the median and the band.
    Columns of what was learnt count networks that diverged as `seeds.after_training` says.
    Where the table has theory_<value>, what mean field predicts is drawn over it, thin and dashed.
    Errors: ValueError for a column that is empty, for an x of names and for a key that varies without a place.
    """
    if not measured(frame, value):
        raise ValueError(f"{value} is not measured in this table.")
    check_band(band)
    frame = tidy(frame)
    places = of_lines(frame, {"x": x, "hue": hue, "row": row, "col": col}).checked()
    x, hue, row, col = places.x or "depth", places.hue or "init", places.row, places.col
    frame = with_scales_of_inits(frame, hue, (x, row, col))
    if is_named(frame, x):
        raise ValueError(f"x = {x!r} has names, or formulas, and lines run along numbers: make it hue, row or col.")
    theory = f"theory_{value}" if measured(frame, f"theory_{value}") else None
    lines = lines_of(frame, hue, most, plain=theory is not None)
    keys = [*(key for key in (row, col) if key), hue, x]
    numbers = _over_seeds(frame[frame[hue].isin(lines.values)], value, keys, band, theory)
    holds = facets(row, in_order(frame, row) if row else (), col, in_order(frame, col) if col else ())
    with style.themed():
        page = open_page(holds, SIZE)
        overflowed = False
        for panel in page.panels:
            part = panel.rows(numbers)
            for look in lines.looks:
                overflowed |= _draw(panel.axes, part[part[hue] == look.value], x, look)
        page.name_panels()
        page.label(style.label(x), style.label(value))
        _scale_x(page, in_order(frame, x))
        notes = [Line2D([], [], label="mean field", color="#333333", **PREDICTED)] if theory else []
        if overflowed:
            notes.append(Line2D([], [], color="#555555", label="first overflow of any seed", **OVERFLOW))
        if value in style.ACCURACIES:
            notes.append(Line2D([], [], label=f"guessing: {chance(frame):.0%}", **GUESSING))
        _scale_y(page, numbers, value, chance(frame))
        explain(page, lines)
        held = style.held(frame, (lines.told_apart, x, row, col))
        what = f"{style.label(value).partition(' (')[0]} by {key_words(x)}"
        heading = style.heading(what, frame, (x, hue, row, col))
        return page.finish(title or heading, below, (held, band_rule(frame, band), lines.left_out), notes)


def _over_seeds(frame: pd.DataFrame, value: str, keys: list[str], band: str, theory: str | None) -> pd.DataFrame:
    """One row a panel, line and point: median, low, high over seeds, the prediction, and whether any overflowed."""
    cells = cells_of(frame, keys, (value, "nonfinite", "diverged_at", *([theory] if theory else [])))
    rows = cells.rows
    learnt = value in style.LEARNT and "diverged_at" in rows
    numbers = after_training(rows, value) if learnt else rows[value]
    return cells.keys.assign(**over_seeds(cells, numbers, band, theory, overflows=not learnt))


def _draw(axes: Axes, part: pd.DataFrame, x: str, look: Look) -> bool:
    """One line with its band and prediction; whether it is marked because a seed overflowed."""
    at = part[x].to_numpy()
    median, low, high = (part[name].replace([-np.inf, np.inf], np.nan) for name in ("median", "low", "high"))
    dot = "o" if len(at) <= FEW_POINTS else None
    look_of: dict[str, Any] = {"color": look.color, "ls": look.dash, "lw": look.width, "marker": dot, "ms": 3}
    axes.plot(at, median, **look_of, clip_on=dot is None, label=look.name, zorder=LINES)
    draw_band(axes, at, low, high, look)
    alone: dict[str, Any] = {}
    if len(at) == 1:
        draw_dot(axes, at, median, low, high, look.color)
        alone = {"marker": "_", "ms": 12}
    if part["predicted"].notna().any():
        axes.plot(at, part["predicted"], color=darker(look.color), **PREDICTED, **alone)
    if not part["overflow"].any():
        return False
    first = part.loc[part["overflow"], x].min()
    axes.plot([first], [0.97], color=look.color, transform=axes.get_xaxis_transform(), clip_on=False, **OVERFLOW)
    return True


def _scale_x(page: Page, values: list[Any]) -> None:
    """Limits, scale and ticks along x, of all panels."""
    low, high = float(values[0]), float(values[-1])
    log = is_log_spaced(np.asarray(values, float))
    for axes in page.axes:
        if log:
            axes.set_xscale("log")
            few = values if len(values) <= FEW_TICKS else style.round_ticks(low, high) or [low]
            ticks, labels = style.below(few, low, high, True, page.panel_width)
            axes.set_xticks(ticks, labels=labels)
            axes.xaxis.set_minor_locator(NullLocator())
        elif isinstance(values[0], int | np.integer):
            axes.xaxis.set_major_locator(FixedLocator(style.counted(values, 5)))
        axes.set_xlim(*((low, high) if low < high else (low - 0.5, low + 0.5)))


def _scale_y(page: Page, numbers: pd.DataFrame, value: str, guess: float) -> None:
    """Limits, scale and ticks along y, which all panels share."""
    drawn = numbers[["median", "low", "high", "predicted"]].to_numpy(float)
    drawn = drawn[np.isfinite(drawn)]
    first = page.axes[0]
    if value in (*style.ACCURACIES, *style.SHARES):
        first.set_ylim(-0.03, 1.03)
    elif value not in (*style.GRADIENTS, *style.GROWTHS) and _is_wide(drawn):
        # What is exactly 0 has no place on a logarithmic axis: its line ends.
        first.set_yscale("log", nonpositive="mask")
        first.yaxis.set_major_locator(LogLocator(numticks=7))
        first.yaxis.set_minor_formatter(NullFormatter())
    for axes in page.axes:
        if value in style.GROWTHS:
            axes.axhline(0, color="#999999", lw=0.6, zorder=0)
        if value in style.ACCURACIES:
            axes.axhline(guess, zorder=0, **GUESSING)
        sns.despine(ax=axes)


def _is_wide(drawn: np.ndarray) -> bool:
    """Whether numbers of one sign span a factor of WIDE."""
    positive = drawn[drawn > 0]
    return bool(positive.size and drawn.min() >= 0 and positive.max() > WIDE * positive.min())
