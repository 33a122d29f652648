"""A column layer by layer: lines over depth, with bands over seeds."""

from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator

from winit_jax.analysis.figures import style
from winit_jax.analysis.figures.lines import (
    LINES,
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
from winit_jax.analysis.figures.page import Panel, Size, facets, open_page
from winit_jax.analysis.figures.places import MAX_LINES, of_profiles
from winit_jax.analysis.statistics.cells import cells_of
from winit_jax.analysis.tables import at_each_site, in_order, measured, of_last_site, of_the_deepest, sites_of, tidy

SIZE = Size(width=2.5, height=2.05, beside=2.2, narrowest=6.2)
# Panels whose numbers span so many times as much as others' have y axes of their own.
APART = 20.0
MARKS = {
    "overflow": ("x", "first overflow of any seed"),
    "zero": ("v", "exactly zero from here on"),
    "zero back": ("v", "exactly zero from here back"),
}
# Over all lines, and darker than its own, so that a prediction shows on the line that it agrees with.
PREDICTED: dict[str, Any] = {"ls": (0, (3, 1.8)), "lw": 0.9, "zorder": 2.6}


def profiles(
    frame: pd.DataFrame,
    value: str = "log10_act_rms",
    *,
    hue: str | None = None,
    col: str | None = None,
    most: int = MAX_LINES,
    band: str = "range",
    title: str | None = None,
    below: str = "",
) -> Figure:
    """A column of the layers table against the layer: median over seeds, and a band.

    hue: the key that tells lines apart (default: the scale, else the init), at most `most` of its values,
    evenly chosen; more than MAX_LINES numbers are told by a color bar. col: the key of the panels (default:
    activation). Of layers with several sites the last one is drawn at which the column is measured, unless hue or col
    is `site`. band: range (least to greatest of seeds) or quantiles (10% to 90%).
    below: put under the title, before what is held fixed.
    A mark at the edge tells where any seed first overflows, which then leaves the median and the band, and
    where the median becomes exactly zero; gradients go backwards, so theirs is the last such layer.
    Where the table has theory_<value>, what mean field predicts is drawn over it, thin and dashed.
    The axis of growth is linear in the logarithm, so that what grows by one factor a layer is straight.
    Of a scale that depends on the depth the layers of the deepest network are drawn.
    Errors: ValueError for a column that is empty or a key that varies without a place.
    """
    if not measured(frame, value):
        raise ValueError(f"{value} is not measured in this table.")
    check_band(band)
    frame = of_the_deepest(tidy(frame))
    frame = (
        at_each_site(frame, value) if "site" in (hue, col) and sites_of(frame, value) else of_last_site(frame, value)
    )
    places = of_profiles(frame, {"hue": hue, "col": col}).checked()
    hue, col = places.hue or "init", places.col
    frame = with_scales_of_inits(frame, hue, (col,))
    theory = f"theory_{value}" if measured(frame, f"theory_{value}") else None
    lines = lines_of(frame, hue, most, plain=theory is not None)
    keys = [*([col] if col else []), hue, "layer"]
    numbers = _over_seeds(frame[frame[hue].isin(lines.values)], value, keys, band, theory)
    with style.themed():
        alike = _alike(numbers, col, value)
        page = open_page(facets(None, (), col, in_order(frame, col) if col else ()), SIZE, sharey=alike)
        marks: set[str] = set()
        for panel in page.panels:
            part = panel.rows(numbers)
            _scale(panel, frame, value)
            for level, look in enumerate(lines.looks):
                marks |= _draw(panel.axes, part[part[hue] == look.value], look, value, level % MAX_LINES)
        page.name_panels()
        page.label("layer", style.label(value))
        explain(page, lines)
        notes = [Line2D([], [], label="mean field", color="#333333", **PREDICTED)] if theory else []
        notes += [
            Line2D([], [], color="#555555", marker=mark, ls="", ms=5, label=words)
            for kind, (mark, words) in MARKS.items()
            if kind in marks
        ]
        held = style.held(frame, (lines.told_apart, col, "depth"))
        own = "" if alike else "each panel has a y axis of its own"
        facts = (held, band_rule(frame, band), lines.left_out, own)
        what = f"{style.label(value).partition(' (')[0]}, layer by layer"
        return page.finish(title or style.heading(what, frame, (hue, col)), below, facts, notes)


def _over_seeds(frame: pd.DataFrame, value: str, keys: list[str], band: str, theory: str | None) -> pd.DataFrame:
    """One row a panel, line and layer: median, low, high over seeds, the prediction, and whether any overflowed."""
    cells = cells_of(frame, keys, (value, "nonfinite", *([theory] if theory else [])))
    return cells.keys.assign(**over_seeds(cells, cells.rows[value], band, theory))


def _alike(numbers: pd.DataFrame, col: str | None, value: str) -> bool:
    """Whether panels may have one y axis: on that of the widest, lines of the narrowest would be one."""
    if col is None or value in (*style.SHARES, *style.CORRELATIONS):
        return True
    drawn = numbers[["low", "high"]].replace([-np.inf, np.inf], np.nan).groupby(numbers[col], observed=True)
    spans = drawn["high"].max() - drawn["low"].min()
    return bool(spans.max() <= APART * spans.min())


def _draw(axes: Axes, part: pd.DataFrame, look: Look, value: str, level: int) -> set[str]:
    """One line with its band and prediction, and a mark where it cannot be drawn; the kinds of marks made.

    level: how many lines may have marks below this one's.
    """
    layer = part["layer"].to_numpy()
    median, low, high = (part[name].replace([-np.inf, np.inf], np.nan) for name in ("median", "low", "high"))
    axes.plot(layer, median, color=look.color, ls=look.dash, lw=look.width, label=look.name, zorder=LINES)
    draw_band(axes, layer, low, high, look)
    alone: dict[str, Any] = {}
    if len(layer) == 1:
        draw_dot(axes, layer, median, low, high, look.color)
        alone = {"marker": "_", "ms": 12}
    if part["predicted"].notna().any():
        axes.plot(layer, part["predicted"], color=darker(look.color), **PREDICTED, **alone)
    return _mark(axes, part, look, value, level)


def _mark(axes: Axes, part: pd.DataFrame, look: Look, value: str, level: int) -> set[str]:
    """Marks at the edge where a line overflows or is exactly zero, and as far as it is zero a line; the kinds made."""
    zero = "zero back" if value in style.GRADIENTS else "zero"
    lost = {"overflow": part["overflow"].to_numpy(), zero: np.isneginf(part["median"].to_numpy())}
    kinds = {kind for kind, there in lost.items() if there.any()}
    for kind in kinds:
        layers = part["layer"].to_numpy()[lost[kind]]
        at = layers[-1 if kind == "zero back" else 0]
        height = 0.97 if kind == "overflow" else 0.03 + 0.035 * level
        edge: dict[str, Any] = {"color": look.color, "transform": axes.get_xaxis_transform(), "clip_on": False}
        axes.plot([at], [height], MARKS[kind][0], ms=6, zorder=4, **edge)
        if kind != "overflow" and len(layers) > 1:
            axes.plot(layers[[0, -1]], [height] * 2, ls=look.dash, lw=look.width, zorder=3.9, label="_zero", **edge)
    return kinds


def _scale(panel: Panel, frame: pd.DataFrame, value: str) -> None:
    """Limits, scales and ticks of a panel."""
    axes, low, high = panel.axes, frame["layer"].min(), frame["layer"].max()
    axes.xaxis.set_major_locator(FixedLocator(style.counted(in_order(frame, "layer"), 5)))
    axes.set_xlim(*((low, high) if low < high else (low - 0.5, low + 0.5)))
    if value in style.GROWTHS:
        axes.axhline(0, color="#999999", lw=0.6, zorder=0)
    elif value in style.SHARES:
        axes.set_ylim(-0.03, 1.03)
    sns.despine(ax=axes)
