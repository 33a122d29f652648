"""Lines over seeds: which values are drawn, how they look, their bands, and the legend that tells them apart."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize, to_rgb
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from winit_jax.analysis.axes import is_log_spaced
from winit_jax.analysis.figures import style
from winit_jax.analysis.figures.page import Page
from winit_jax.analysis.figures.places import MAX_LINES
from winit_jax.analysis.figures.words import digits, key_words, left_out, value_words
from winit_jax.analysis.statistics.cells import Cells, n_seeds
from winit_jax.analysis.tables import NAMES, SCALES, evenly, in_order, init_words, is_named

# Quantiles over seeds of the ends of a band, and its words.
BANDS = {"range": (0.0, 1.0, "band from least to greatest"), "quantiles": (0.1, 0.9, "band from 10% to 90%")}
# None is dotted, as nothing else in a figure is: lines of reference are solid, thin and grey.
DASHES = ("-", (0, (4, 1.5)), (0, (6, 1.5, 1, 1.5)), (0, (1.8, 1.2)))
REFERENCE: dict[str, Any] = {"color": "#8a8a8a", "ls": "-", "lw": 0.8}
# Bands of more lines than this would blend into colors that no line has: they are pale, with edges.
FEW_BANDS = 3
NARROWEST, WIDER = 1.2, 0.17
# Lines stand over all bands.
LINES = 2.2


@dataclass(frozen=True)
class Look:
    """How one line is drawn."""

    value: Any
    color: Any
    dash: Any
    name: str = ""
    # Lines drawn before others are wider, so that they are seen where they run under them.
    width: float = 1.3
    pale: bool = False
    edged: bool = True


@dataclass(frozen=True)
class Lines:
    """The lines of a figure: one for each drawn value of a key.

    asked: how many values the key has. named: whether they are words.
    """

    key: str
    looks: tuple[Look, ...]
    norm: Normalize
    asked: int
    named: bool

    @property
    def values(self) -> list[Any]:
        return [look.value for look in self.looks]

    @property
    def told_apart(self) -> str | None:
        """The key, if it takes more than one value."""
        return self.key if self.asked > 1 else None

    @property
    def left_out(self) -> str:
        """Words for the values that are not drawn, if any are not."""
        return left_out(len(self.looks), self.asked, self.key)


def lines_of(frame: pd.DataFrame, key: str, most: int | None, plain: bool = False) -> Lines:
    """A line for each value of a key, at most so many, evenly chosen.

    Numbers have shades in order, names colors far apart and dashes; plain: no dashes.
    """
    values = in_order(frame, key)
    drawn = evenly(values, most) if most else values
    named = is_named(frame, key)
    norm, colors = _shades(drawn, named)
    dashes = itertools.cycle(DASHES) if named and not plain else itertools.repeat("-")
    names = [value_words(key, value) for value in drawn]
    wider = WIDER if len(drawn) <= MAX_LINES else 0.0
    widths = [NARROWEST + wider * below for below in range(len(drawn))][::-1]
    pale = len(drawn) > FEW_BANDS
    looks = tuple(
        Look(*look, pale, len(drawn) <= MAX_LINES)
        for look in zip(drawn, colors, dashes, names, map(float, widths), strict=False)
    )
    return Lines(key, looks, norm, len(values), named)


def _shades(values: list[Any], named: bool) -> tuple[Normalize, Sequence[Any]]:
    """(Norm of a color bar, a color for each value)."""
    if named:
        return Normalize(), sns.color_palette("colorblind", len(values))
    norm = (LogNorm if is_log_spaced(np.asarray(values, float)) else Normalize)(float(values[0]), float(values[-1]))
    if len(values) > MAX_LINES:
        return norm, list(mpl.colormaps["viridis"](norm(np.asarray(values, float))))
    return norm, sns.color_palette("viridis", len(values))


def explain(page: Page, lines: Lines) -> None:
    """A legend of the lines beside the panels; a color bar for more numbers than one reads."""
    if not lines.named and len(lines.looks) > MAX_LINES:
        bar = page.color_bar(ScalarMappable(lines.norm, "viridis"), style.label(lines.key))
        low, high = lines.norm.vmin or 0.0, lines.norm.vmax or 1.0
        if isinstance(lines.norm, LogNorm):
            ticks = style.spaced(style.round_ticks(low, high), low, high, log=True)
            bar.set_ticks(ticks, labels=[digits(tick) for tick in ticks])
            bar.ax.yaxis.set_minor_locator(NullLocator())
    elif lines.told_apart:
        handles = [
            Line2D([], [], color=look.color, ls=look.dash, lw=look.width, label=look.name.replace(" (", "\n("))
            for look in lines.looks
        ]
        page.lines_legend(handles, key_words(lines.key) if lines.key in NAMES else style.label(lines.key))


def darker(color: Any) -> tuple[float, float, float]:
    """The color of what is predicted for a line."""
    red, green, blue = to_rgb(color)
    return (0.45 * red, 0.45 * green, 0.45 * blue)


def with_scales_of_inits(frame: pd.DataFrame, hue: str, others: Iterable[str | None]) -> pd.DataFrame:
    """Rows whose inits, where they are lines, are said with their scale: `normal, std 0.1` beside `zeros`."""
    if hue != "init" or {*SCALES} & {*others}:
        return frame
    words, scale = init_words(frame), frame.attrs.get("scale_axis") or "std"
    order = frame[["init", scale]].assign(words=words).sort_values(["init", scale])["words"]
    return frame.assign(init=pd.Categorical(words, categories=list(dict.fromkeys(order))))


def check_band(band: str) -> None:
    """Errors: ValueError for a band that is none of BANDS."""
    if band not in BANDS:
        raise ValueError(f"band = {band!r} is not one of {', '.join(BANDS)}.")


def spread(numbers: pd.Series, by: Any, band: str) -> dict[str, pd.Series]:
    """Over seeds in each group: median, and low and high, the ends of the band. by: as of `Series.groupby`."""
    low, high, _ = BANDS[band]
    groups = numbers.groupby(by, observed=True)
    # Between two numbers of which one is infinite there is none.
    between = "linear" if np.isfinite(numbers.dropna()).all() else "nearest"
    ends = {"low": groups.quantile(low, between), "high": groups.quantile(high, between)}
    if band == "range":
        ends = {"low": groups.min(), "high": groups.max()}
    return {"median": groups.median(), **ends}


def over_seeds(
    cells: Cells, numbers: pd.Series, band: str, theory: str | None, overflows: bool = True
) -> dict[str, np.ndarray]:
    """Of each cell: median, low, high over seeds that are not infinite, the prediction, and whether any overflowed.

    numbers: of the rows of the cells. theory: the column of predictions, None without. overflows: whether a row that
    is not finite says so.
    """
    rows = cells.rows
    broken = rows["nonfinite"].to_numpy() > 0 if overflows and "nonfinite" in rows else np.zeros(len(rows), bool)
    predicted = np.full(len(cells.keys), np.nan)
    if theory:
        known = rows[theory].where(np.isfinite(rows[theory]))
        predicted = known.groupby(cells.of, observed=False).mean().to_numpy()
    columns = {name: of.to_numpy() for name, of in spread(numbers.where(numbers < np.inf), cells.of, band).items()}
    return columns | {"overflow": cells.count(broken) > 0, "predicted": predicted}


def band_rule(frame: pd.DataFrame, band: str) -> str:
    """How seeds were put together, in words."""
    count = n_seeds(frame)
    return f"median of {count} seeds, {BANDS[band][2]}" if count > 1 else "one seed"


def draw_band(axes: Axes, at: Any, low: Any, high: Any, look: Look) -> None:
    """The band of a line: a shade, and where many blend, its edges."""
    has_edges = look.pale and look.edged
    edge: dict[str, Any] = {"edgecolor": (*to_rgb(look.color), 0.5), "lw": 0.4} if has_edges else {"lw": 0.0}
    axes.fill_between(at, low, high, facecolor=(*to_rgb(look.color), 0.08 if look.pale else 0.2), zorder=1.5, **edge)


def draw_dot(axes: Axes, at: Any, middle: Any, low: Any, high: Any, color: Any) -> None:
    """One point of a line with its band, where a line would have no length."""
    axes.vlines(at, low, high, color=color, alpha=0.4, lw=4)
    axes.plot(at, middle, "o", color=color, ms=4, zorder=2.3)
