"""Singular values of the Jacobian against depth: how nearly a network keeps every direction's length."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, LogLocator, NullFormatter

from winit_jax.analysis.figures import style
from winit_jax.analysis.figures.lines import LINES, Lines, Look, draw_band, draw_dot, explain, lines_of
from winit_jax.analysis.figures.needs import require
from winit_jax.analysis.figures.page import Holds, Page, Size, open_page
from winit_jax.analysis.figures.places import Places, of_isometry
from winit_jax.analysis.figures.words import left_out
from winit_jax.analysis.tables import evenly, in_order, is_named, tidy

SINGULAR_VALUES = ("sv_min", "sv_median", "sv_max")
SIZE = Size(width=2.3, height=1.7, narrowest=5.4)
MAX_PANELS = 4
# Least singular values are no smaller than rounding leaves them: beyond this a float32 says nothing of them.
FLOOR = 1e-7
NO_LINE = "a median of 0 has no place on a logarithmic axis: there is no line"


def isometry(
    frame: pd.DataFrame,
    *,
    hue: str | None = None,
    row: str | None = None,
    col: str | None = None,
    most: int = MAX_PANELS,
    title: str | None = None,
    below: str = "",
) -> Figure:
    """Singular values of d a_L / d a_1 against depth L: a line for the median, a band from least to greatest.

    frame: rows of the networks table with sv_min, sv_median, sv_max; of each the median over seeds is drawn.
    hue: the key that tells lines apart (default: init). row, col: keys of panels; left out, the scale goes across and
    the activation down. Of a key with more values at most `most` are drawn: evenly chosen, but numbers across are
    those of each row whose deepest networks come nearest to a median of 1, since the rest only grow or shrink.
    A band that runs on below FLOOR times the greatest of its figure's lower medians is cut off there, and a median of
    0, as of relu networks, has no line; the figure says so.
    Errors: ValueError in a sentence where nothing is measured and for keys that vary without a place.
    """
    require(frame, "isometry")
    frame = tidy(frame[frame[list(SINGULAR_VALUES)].notna().all(axis=1)])
    places = of_isometry(frame, {"hue": hue, "row": row, "col": col}).checked()
    hue = places.hue or "init"
    holds = _panels(frame, places, most)
    with style.themed():
        page = open_page(holds, SIZE)
        drawn = pd.concat([panel.rows(frame) for panel in page.panels])
        lines = lines_of(drawn, hue, None)
        for panel in page.panels:
            part = panel.rows(frame)
            for look in lines.looks:
                _band(panel.axes, part[part[hue] == look.value], look)
            _say_zero(panel.axes, part, hue, lines)
        page.name_panels()
        page.label(style.label("depth"), "singular value")
        _scale(page, drawn)
        explain(page, lines)
        count = drawn["seed"].nunique()
        return page.finish(
            title or style.heading("Singular values of the Jacobian, last layer by first", drawn, places.shown),
            below,
            (
                style.held(drawn, (lines.told_apart, places.row, places.col, "depth")),
                "line: median, band: least to greatest",
                f"medians of {count} seeds" if count > 1 else "one seed",
                *_left_out(frame, places, holds),
                NO_LINE if (drawn["sv_median"] == 0).any() else "",
            ),
        )


def _panels(frame: pd.DataFrame, places: Places, most: int) -> list[list[Holds]]:
    """What the panels of each row hold; rows may differ in their values across."""
    rows: list[Holds] = (
        [{places.row: value} for value in evenly(in_order(frame, places.row), most)] if places.row else [{}]
    )
    holds: list[list[Holds]] = []
    for held in rows:
        part = frame
        for key, value in held.items():
            part = part[part[key] == value]
        across = _nearest(part, places.col, most) if places.col else []
        holds.append([{**held, places.col: value} for value in across] if places.col else [held])
    return holds


def _nearest(frame: pd.DataFrame, key: str, most: int) -> list[Any]:
    """At most so many values of a key, in order."""
    values = in_order(frame, key)
    deepest = frame[(frame["depth"] == frame["depth"].max()) & (frame["sv_median"] > 0)]
    if is_named(frame, key) or len(values) <= most or deepest.empty:
        return evenly(values, most)
    distance = np.log(deepest["sv_median"]).abs().groupby(deepest[key]).median()
    return sorted(distance.sort_values(kind="stable").index[:most])


def _left_out(frame: pd.DataFrame, places: Places, holds: list[list[Holds]]) -> list[str]:
    """Words for values of the panels' keys that are not drawn."""
    words = []
    for key, count in ((places.row, len(holds)), (places.col, max(map(len, holds)))):
        if key and count < frame[key].nunique():
            nearest = "" if is_named(frame, key) or key == places.row else ", nearest to 1"
            words.append(f"{left_out(count, frame[key].nunique(), key)}{nearest}")
    return words


def _band(axes: Axes, part: pd.DataFrame, look: Look) -> None:
    medians = part.groupby("depth")[list(SINGULAR_VALUES)].median()
    least, middle, greatest = (medians[name].to_numpy() for name in SINGULAR_VALUES)
    axes.plot(
        medians.index,
        np.where(middle > 0, middle, np.nan),
        color=look.color,
        ls=look.dash,
        lw=look.width,
        label=look.name,
        zorder=LINES,
    )
    # A least singular value of 0 has no place on a log axis: its band reaches the bottom.
    bottom = np.where(least > 0, least, np.finfo(float).tiny)
    draw_band(axes, medians.index, bottom, greatest, replace(look, pale=True))
    if len(medians) == 1:
        draw_dot(axes, medians.index, middle, bottom, greatest, look.color)


def _say_zero(axes: Axes, part: pd.DataFrame, hue: str, lines: Lines) -> None:
    """Say of which lines the median is 0, and from which depth on."""
    words = []
    for look in lines.looks:
        medians = part[part[hue] == look.value].groupby("depth")["sv_median"].median()
        if (zero := medians[medians == 0]).size:
            words.append((look.name, f"median 0 from depth {zero.index.min()}"))
    if words:
        same = len({text for _, text in words}) == 1
        said = words[0][1] if same else "\n".join(f"{name}: {text}" for name, text in words)
        box = {"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 1.0}
        axes.text(0.03, 0.05, said, transform=axes.transAxes, fontsize=7, color="#a33b20", bbox=box, zorder=4)


def _scale(page: Page, frame: pd.DataFrame) -> None:
    """Limits, scales and ticks of all panels."""
    middle, greatest, least = (frame[name].to_numpy(float) for name in ("sv_median", "sv_max", "sv_min"))
    top = greatest[np.isfinite(greatest)].max(initial=1.0)
    low = middle[middle > 0].min(initial=1.0)
    bottom = max(least[least > 0].min(initial=low), FLOOR * low)
    first, last = frame["depth"].min(), frame["depth"].max()
    for axes in page.axes:
        axes.set_yscale("log")
        axes.set_ylim(bottom / 1.5, top * 1.5)
        axes.yaxis.set_major_locator(LogLocator(numticks=6))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_xlim(*((first, last) if first < last else (first - 0.5, first + 0.5)))
        axes.xaxis.set_major_locator(FixedLocator(style.counted(in_order(frame, "depth"), 5)))
        axes.axhline(1, color="#999999", lw=0.6, zorder=0)
        sns.despine(ax=axes)
