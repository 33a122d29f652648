"""A column layer by layer: lines over depth, with bands over seeds."""

from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FixedLocator

from winit_jax.analysis.figures import style
from winit_jax.analysis.figures.lines import Look, band_rule, check_band, draw_dot, explain, lines_of, over_seeds
from winit_jax.analysis.figures.page import Panel, Size, facets, open_page
from winit_jax.analysis.figures.places import MAX_LINES, of_profiles
from winit_jax.analysis.statistics.cells import all_numbers, cells_of
from winit_jax.analysis.tables import at_each_site, in_order, measured, of_last_site, of_the_deepest, sites_of, tidy

SIZE = Size(width=2.5, height=2.05, beside=2.2, narrowest=6.2)
MARKS = {
    "overflow": ("x", "first overflow of any seed"),
    "zero": ("v", "exactly zero from here on"),
    "zero back": ("v", "exactly zero from here back"),
}
# So that a prediction shows on the line that it agrees with.
HALO = [withStroke(linewidth=2.0, foreground="white", alpha=0.9)]
PREDICTED: dict[str, Any] = {"ls": (0, (3, 1.5)), "lw": 1.0}


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
    theory = f"theory_{value}" if measured(frame, f"theory_{value}") else None
    lines = lines_of(frame, hue, most, plain=theory is not None)
    keys = [*([col] if col else []), hue, "layer"]
    numbers = _over_seeds(frame[frame[hue].isin(lines.values)], value, keys, band, theory)
    with style.themed():
        page = open_page(facets(None, (), col, in_order(frame, col) if col else ()), SIZE)
        marks: set[str] = set()
        for panel in page.panels:
            part = panel.rows(numbers)
            for look in lines.looks:
                marks |= _draw(panel.axes, part[part[hue] == look.value], look, value)
            _scale(panel, frame, value)
        page.name_panels()
        page.label("layer", style.label(value))
        explain(page, lines)
        notes = [Line2D([], [], label="mean field", color="#555555", **PREDICTED)] if theory else []
        notes += [
            Line2D([], [], color="#555555", marker=mark, ls="", ms=5, label=words)
            for kind, (mark, words) in MARKS.items()
            if kind in marks
        ]
        held = style.held(frame, (lines.told_apart, col, "depth"))
        facts = (held, band_rule(frame, band), lines.left_out)
        return page.finish(title or f"Layer by layer: {style.label(value)}", below, facts, notes)


def _over_seeds(frame: pd.DataFrame, value: str, keys: list[str], band: str, theory: str | None) -> pd.DataFrame:
    """One row a panel, line and layer: median, low, high over seeds, the prediction, and whether any overflowed."""
    cells = cells_of(frame, keys, (value, "nonfinite", *([theory] if theory else [])))
    return cells.keys.assign(**over_seeds(cells, cells.rows[value], band, theory))


def _draw(axes: Axes, part: pd.DataFrame, look: Look, value: str) -> set[str]:
    """One line with its band and prediction, and a mark where it cannot be drawn; the kinds of marks made."""
    layer = part["layer"].to_numpy()
    median, low, high = (part[name].replace([-np.inf, np.inf], np.nan) for name in ("median", "low", "high"))
    axes.plot(layer, median, color=look.color, ls=look.dash, lw=1.3, label=look.name)
    axes.fill_between(layer, low, high, color=look.color, alpha=0.22, lw=0)
    alone: dict[str, Any] = {}
    if len(layer) == 1:
        draw_dot(axes, layer, median, low, high, look.color)
        alone = {"marker": "_", "ms": 12}
    if part["predicted"].notna().any():
        axes.plot(layer, part["predicted"], color=look.color, path_effects=HALO, **PREDICTED, **alone)
    return _mark(axes, part, look, value)


def _mark(axes: Axes, part: pd.DataFrame, look: Look, value: str) -> set[str]:
    """Marks at the edge where a line overflows or is exactly zero; the kinds made."""
    zero = "zero back" if value in style.GRADIENTS else "zero"
    lost = {"overflow": part["overflow"].to_numpy(), zero: np.isneginf(part["median"].to_numpy())}
    kinds = {kind for kind, there in lost.items() if there.any()}
    for kind in kinds:
        at = part["layer"].to_numpy()[np.nonzero(lost[kind])[0][-1 if kind == "zero back" else 0]]
        height = 0.97 if kind == "overflow" else 0.03
        place = axes.get_xaxis_transform()
        axes.plot([at], [height], MARKS[kind][0], color=look.color, ms=5, transform=place, clip_on=False)
    return kinds


def _scale(panel: Panel, frame: pd.DataFrame, value: str) -> None:
    """Limits, scales and ticks of a panel."""
    axes, low, high = panel.axes, frame["layer"].min(), frame["layer"].max()
    axes.xaxis.set_major_locator(FixedLocator(style.integer_ticks(low, high, 5)))
    axes.set_xlim(*((low, high) if low < high else (low - 0.5, low + 0.5)))
    if value in style.GROWTHS:
        numbers = all_numbers(frame, value)
        largest = np.abs(numbers[np.isfinite(numbers)]).max(initial=1.0)
        if largest > 5:
            axes.set_yscale("symlog", linthresh=1.0, linscale=0.6)
            ticks = style.growth_ticks(largest, 1.0, 4)
            axes.yaxis.set_major_locator(FixedLocator(ticks))
            axes.set_yticklabels([f"{tick:g}" for tick in ticks])
            axes.minorticks_off()
        axes.axhline(0, color="#999999", lw=0.6, zorder=0)
    elif value in style.SHARES:
        axes.set_ylim(-0.03, 1.03)
    sns.despine(ax=axes)
