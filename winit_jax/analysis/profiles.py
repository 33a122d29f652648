"""A column layer by layer: lines over depth, with bands over seeds."""

import itertools
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FixedLocator, NullLocator

from winit_jax.analysis import style
from winit_jax.analysis.axes import is_log_spaced
from winit_jax.analysis.histograms import evenly
from winit_jax.analysis.load import KEYS, NAMES, follows_init, in_order, tidy, varying

MAX_LINES = 8
COLUMNS = 5
BANDS = {"range": (0.0, 1.0, "band from least to greatest"), "quantiles": (0.1, 0.9, "band from 10% to 90%")}
DASHES = ("-", (0, (4, 1.5)), (0, (1, 1)), (0, (6, 1.5, 1, 1.5)))
MARKS = {
    "overflow": ("x", "first overflow of any seed"),
    "zero": ("v", "exactly zero from here on"),
    "zero back": ("v", "exactly zero from here back"),
}
# So that a prediction shows on the line that it agrees with.
HALO = [withStroke(linewidth=2.0, foreground="white", alpha=0.9)]
PREDICTED_DASH = (0, (3, 1.5))


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
    evenly chosen; more than MAX_LINES numbers are told by a colour bar. col: the key of the panels (default:
    activation). band: range (least to greatest of seeds) or quantiles (10% to 90%).
    below: put under the title, before what is held fixed.
    A mark at the edge tells where any seed first overflows, which then leaves the median and the band, and
    where the median becomes exactly zero; gradients go backwards, so theirs is the last such layer.
    Where the table has theory_<value>, what mean field predicts is drawn over it, thin and dashed.
    Errors: ValueError for a column that is empty or a key that varies without a place.
    """
    if value not in frame or frame[value].isna().all():
        raise ValueError(f"{value} is not measured in this table.")
    if band not in BANDS:
        raise ValueError(f"band = {band!r} is not one of {', '.join(BANDS)}.")
    frame = tidy(frame)
    hue, col = _places(frame, hue, col)
    panels = in_order(frame, col) if col else [None]
    values = in_order(frame, hue)
    lines = evenly(values, most)
    numeric = hue not in NAMES
    with style.themed():
        n_columns = style.in_rows_of(len(panels), COLUMNS)
        n_rows = -(-len(panels) // n_columns)
        size = (2.2 + 2.5 * max(n_columns, 1.6), 1.1 + 2.5 * n_rows)
        figure = style.NotebookFigure(figsize=size, layout="constrained")
        axes = figure.subplots(n_rows, n_columns, sharex=True, sharey=True, squeeze=False).ravel().tolist()
        style.close_gaps(axes, len(panels), n_columns)
        axes = axes[: len(panels)]
        norm, shades = palette(lines, numeric)
        theory = f"theory_{value}" if f"theory_{value}" in frame and frame[f"theory_{value}"].notna().any() else None
        dashes = itertools.repeat("-") if numeric or theory else itertools.cycle(DASHES)
        looks = dict(zip(lines, zip(shades, dashes, strict=False), strict=False))
        spread = _spread(frame[frame[hue].isin(lines)], value, col, hue, band, theory)
        used: set[str] = set()
        for panel_axes, chosen in zip(axes, panels, strict=True):
            part = spread if col is None else spread[spread[col] == chosen]
            for line, (colour, dash) in looks.items():
                used |= _line(panel_axes, part[part[hue] == line], colour, dash, style.number(line), value)
            _finish(panel_axes, frame, value)
            if chosen is not None:
                style.panel_title(panel_axes, str(chosen) if col in NAMES else f"{col} {style.number(chosen)}")
            if style.is_first_col(panel_axes):
                panel_axes.set_ylabel(style.wrapped(style.label(value), 34))
        if numeric and len(lines) > MAX_LINES:
            _colour_bar(figure, axes, norm, hue)
        elif len(values) > 1:
            handles, words = axes[0].get_legend_handles_labels()
            figure.legend(handles, words, title=hue, loc="outside right center", frameon=False)
        _legend(figure, used, theory is not None)
        texts = [style.held(frame, (hue if len(values) > 1 else None, col, "depth")), _rule(frame, band)]
        if len(lines) < len(values):
            texts.append(f"{len(lines)} of {len(values)} values of {hue}")
        heading = title or f"Layer by layer: {style.label(value)}"
        style.title(figure, heading, below, ", ".join(text for text in texts if text))
    return figure


def _places(frame: pd.DataFrame, hue: str | None, col: str | None) -> tuple[str, str | None]:
    """The keys of lines and panels. Errors: ValueError for unknown keys, and keys that vary without a place."""
    for name, key in (("hue", hue), ("col", col)):
        if key is not None and key not in KEYS:
            raise ValueError(f"{name} = {key!r} is not a key. Keys: {', '.join(KEYS)}.")
    keys = [key for key in varying(frame) if key not in ("seed", "depth")]
    if "init" in keys and follows_init(frame):
        keys = [key for key in keys if key not in ("std", "gain")]
    hue = hue or next((key for key in ("gain", "std", "init", *keys) if key in keys and key != col), "init")
    col = col or next((key for key in ("activation", *keys) if key in keys and key != hue), None)
    same = {"std": "gain", "gain": "std"}
    left = [key for key in keys if key not in (hue, col, same.get(hue), same.get(col or ""))]
    if left:
        raise ValueError(f"{', '.join(left)} take more than one value: keep one of each, or make it hue or col.")
    return hue, col


def _spread(frame: pd.DataFrame, value: str, col: str | None, hue: str, band: str, theory: str | None) -> pd.DataFrame:
    """One row a panel, line and layer: median, low, high over seeds, the prediction, and whether any overflowed."""
    keys = [*([col] if col else []), hue, "layer"]
    broken = frame["nonfinite"] > 0 if "nonfinite" in frame else False
    numbers = frame[value].where(frame[value] < np.inf)
    predicted = frame[theory].where(np.isfinite(frame[theory])) if theory else np.nan
    groups = frame[keys].assign(number=numbers, broken=broken, predicted=predicted).groupby(keys, observed=True)
    low, high, _ = BANDS[band]
    columns = {
        "median": groups["number"].median(),
        "overflow": groups["broken"].any(),
        "predicted": groups["predicted"].mean(),
    }
    if band == "range":
        columns |= {"low": groups["number"].min(), "high": groups["number"].max()}
    else:
        columns |= {"low": groups["number"].quantile(low), "high": groups["number"].quantile(high)}
    return pd.DataFrame(columns).reset_index()


def palette(lines: list, numeric: bool) -> tuple[Normalize, list]:
    """(Norm of a colour bar, a colour for each line): shades in order for numbers, else colours far apart."""
    if not numeric:
        return Normalize(), sns.color_palette("colorblind", len(lines))
    log = is_log_spaced(np.asarray(lines, float))
    norm = (LogNorm if log else Normalize)(float(lines[0]), float(lines[-1]))
    if len(lines) > MAX_LINES:
        return norm, list(mpl.colormaps["viridis"](norm(np.asarray(lines, float))))
    return norm, sns.color_palette("viridis", len(lines))


def _line(axes: Axes, part: pd.DataFrame, colour: object, dash: object, label: str, value: str) -> set[str]:
    """One line with its band and prediction, and a mark where it cannot be drawn; the kinds of marks made."""
    layer = part["layer"].to_numpy()
    median, low, high = (part[name].replace([-np.inf, np.inf], np.nan) for name in ("median", "low", "high"))
    axes.plot(layer, median, color=colour, ls=dash, lw=1.3, label=label)
    axes.fill_between(layer, low, high, color=colour, alpha=0.22, lw=0)
    alone = len(layer) == 1  # a line of one point is not seen
    if alone:
        axes.vlines(layer, low, high, color=colour, alpha=0.4, lw=4)
        axes.plot(layer, median, "o", color=colour, ms=4)
    if part["predicted"].notna().any():
        look: dict[str, Any] = {"marker": "_", "ms": 12} if alone else {}
        axes.plot(layer, part["predicted"], color=colour, ls=PREDICTED_DASH, lw=1.0, path_effects=HALO, **look)
    used = set()
    zero = "zero back" if value in style.GRADIENTS else "zero"
    for kind, where in (("overflow", part["overflow"].to_numpy()), (zero, np.isneginf(part["median"].to_numpy()))):
        if where.any():
            at = layer[np.nonzero(where)[0][-1 if kind == "zero back" else 0]]
            height = 0.97 if kind == "overflow" else 0.03
            place = axes.get_xaxis_transform()
            axes.plot([at], [height], MARKS[kind][0], color=colour, ms=5, transform=place, clip_on=False)
            used.add(kind)
    return used


def _legend(figure: Figure, used: set[str], theory: bool) -> None:
    look: dict[str, Any] = {"color": "#555555", "ls": PREDICTED_DASH, "lw": 1.0}
    handles = [Line2D([], [], label="mean field", **look)] if theory else []
    handles += [
        Line2D([], [], color="#555555", marker=mark, ls="", ms=5, label=words)
        for kind, (mark, words) in MARKS.items()
        if kind in used
    ]
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 2), frameon=False)


def _colour_bar(figure: Figure, axes: list[Axes], norm: Normalize, hue: str) -> None:
    bar = style.colour_bar(figure, axes, mpl.cm.ScalarMappable(norm, "viridis"), "neither")
    bar.set_label(style.label(hue))
    low, high = norm.vmin or 0.0, norm.vmax or 1.0
    if isinstance(norm, LogNorm):
        ticks = style.spaced(style.round_ticks(low, high), low, high, log=True)
        bar.set_ticks(ticks, labels=[style.number(tick) for tick in ticks])
        bar.ax.yaxis.set_minor_locator(NullLocator())


def _rule(frame: pd.DataFrame, band: str) -> str:
    count = frame["seed"].nunique()
    return f"median of {count} seeds, {BANDS[band][2]}" if count > 1 else "one seed"


def _finish(axes: Axes, frame: pd.DataFrame, value: str) -> None:
    low, high = frame["layer"].min(), frame["layer"].max()
    axes.xaxis.set_major_locator(FixedLocator(style.integer_ticks(low, high, 5)))
    if axes.xaxis.get_tick_params()["labelbottom"]:
        axes.set_xlabel("layer")
    axes.set_xlim(*((low, high) if low < high else (low - 0.5, low + 0.5)))
    if value in style.GROWTHS:
        numbers = frame[value].to_numpy()
        largest = np.abs(numbers[np.isfinite(numbers)]).max(initial=1.0)
        if largest > 5:
            axes.set_yscale("symlog", linthresh=1.0, linscale=0.6)
            ticks = style.growth_ticks(largest, 1.0, 4)
            axes.yaxis.set_major_locator(FixedLocator(ticks))
            axes.set_yticklabels([f"{t:g}" for t in ticks])
            axes.minorticks_off()
        axes.axhline(0, color="#999999", lw=0.6, zorder=0)
    elif value in style.SHARES:
        axes.set_ylim(-0.03, 1.03)
    sns.despine(ax=axes)
