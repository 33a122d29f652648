"""A column layer by layer: lines over depth, with bands over seeds."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator

from analysis import style
from analysis.histograms import evenly
from analysis.load import drop_unused, in_order, varying

MAX_LINES = 8


def profiles(
    frame: pd.DataFrame,
    value: str = "log10_act_rms",
    *,
    hue: str | None = None,
    col: str | None = None,
    title: str | None = None,
) -> Figure:
    """A column of the layers table against the layer: median over seeds, and a band from least to greatest.

    hue: the key that tells lines apart (default: the scale, else the init), at most MAX_LINES of its values,
    evenly chosen; col: the key of the panels (default: activation).
    Errors: ValueError for a column that is empty or a key that varies without a place.
    """
    if value not in frame or frame[value].isna().all():
        raise ValueError(f"{value} is not measured in this table.")
    frame = drop_unused(frame)
    keys = [key for key in varying(frame) if key not in ("seed", "depth")]
    if "init" in keys and frame.groupby("init", observed=True)["std"].nunique().max() == 1:
        keys = [key for key in keys if key not in ("std", "gain")]
    hue = hue or next((key for key in ("gain", "std", "init", *keys) if key in keys and key != col), "init")
    col = col or next((key for key in ("activation", *keys) if key in keys and key != hue), None)
    left = [key for key in keys if key not in (hue, col)]
    if left:
        raise ValueError(f"{', '.join(left)} take more than one value: keep one of each, or make it hue or col.")
    panels = in_order(frame, col) if col else [None]
    lines = evenly(in_order(frame, hue), MAX_LINES)
    numeric = frame[hue].dtype.kind in "fi"
    palette = sns.color_palette("viridis", len(lines)) if numeric else sns.color_palette("colorblind", len(lines))
    with style.themed():
        figure = mpl.figure.Figure(figsize=(1.9 + 2.5 * len(panels), 3.6), layout="constrained")
        axes = figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
        for panel_axes, chosen in zip(axes, panels, strict=True):
            part = frame if chosen is None else frame[frame[col] == chosen]
            for line, colour in zip(lines, palette, strict=True):
                spread = (
                    part.loc[part[hue] == line, ["layer", value]]
                    .replace([np.inf, -np.inf], np.nan)
                    .groupby("layer")[value]
                    .agg(["median", "min", "max"])
                )
                panel_axes.plot(spread.index, spread["median"], color=colour, lw=1.3, label=style.number(line))
                panel_axes.fill_between(spread.index, spread["min"], spread["max"], color=colour, alpha=0.25, lw=0)
            _finish(panel_axes, frame, value)
            if chosen is not None:
                panel_axes.set_title(str(chosen) if col == "activation" else f"{col} {style.number(chosen)}")
        axes[0].set_ylabel(style.label(value))
        handles, words = axes[0].get_legend_handles_labels()
        figure.legend(handles, words, title=hue, loc="outside right center", frameon=False)
        count = frame["seed"].nunique()
        rule = f"median of {count} seeds, band from least to greatest" if count > 1 else "one seed"
        below = ", ".join(text for text in (style.held(frame, (hue, col, "depth")), rule) if text)
        style.title(figure, title or f"{style.sentence(style.label(value))}, layer by layer", below)
    return figure


def _finish(axes, frame: pd.DataFrame, value: str) -> None:
    low, high = frame["layer"].min(), frame["layer"].max()
    axes.xaxis.set_major_locator(FixedLocator(style.integer_ticks(low, high, 5)))
    axes.set_xlabel("layer")
    axes.set_xlim(low, max(high, low + 1))
    if value in style.GROWTHS:
        numbers = frame[value].to_numpy()
        largest = np.abs(numbers[np.isfinite(numbers)]).max(initial=1.0)
        if largest > 5:
            axes.set_yscale("symlog", linthresh=1.0, linscale=0.6)
            ticks = [t for t in (1, 3, 10, 30, 100, 300, 1000) if t <= largest * 1.05]
            ticks = ticks if len(ticks) <= 4 else [t for t in ticks if np.log10(t) % 1 == 0]
            signed = [-t for t in reversed(ticks)] + [0] + ticks
            axes.yaxis.set_major_locator(FixedLocator(signed))
            axes.set_yticklabels([f"{t:g}" for t in signed])
            axes.minorticks_off()
        axes.axhline(0, color="#999999", lw=0.6, zorder=0)
    elif value in style.SHARES:
        axes.set_ylim(-0.03, 1.03)
    sns.despine(ax=axes)
