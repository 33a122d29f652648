"""Singular values of the Jacobian against depth: how nearly a network keeps every direction's length."""

import itertools

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, LogLocator, NullFormatter

from winit_jax.analysis import style
from winit_jax.analysis.histograms import evenly
from winit_jax.analysis.load import KEYS, NAMES, follows_init, in_order, tidy, varying
from winit_jax.analysis.profiles import DASHES

SINGULAR_VALUES = ("sv_min", "sv_median", "sv_max")
MAX_PANELS = 4
# Least singular values are no smaller than rounding leaves them: beyond this a float32 says nothing of them.
FLOOR = 1e-7


def isometry(
    frame: pd.DataFrame,
    *,
    hue: str = "init",
    row: str | None = None,
    col: str | None = None,
    most: int = MAX_PANELS,
    title: str | None = None,
    below: str = "",
) -> Figure:
    """Singular values of d a_L / d a_1 against depth L: a line for the median, a band from least to greatest.

    frame: rows of the networks table with sv_min, sv_median, sv_max; of each the median over seeds is drawn.
    hue: the key that tells lines apart. row, col: keys of panels; left out, the scale goes across and the
    activation down. Of a key with more values at most `most` are drawn: evenly chosen, but numbers across are
    those of each row whose deepest networks come nearest to a median of 1, since the rest only grow or shrink.
    A band that runs on below FLOOR times the greatest of its figure's lower medians is cut off there.
    Errors: ValueError in a sentence where nothing is measured and for keys that vary without a place.
    """
    if any(name not in frame or frame[name].isna().all() for name in SINGULAR_VALUES):
        raise ValueError("Singular values are not measured in this table.")
    for name, key in (("hue", hue), ("row", row), ("col", col)):
        if key is not None and key not in KEYS:
            raise ValueError(f"{name} = {key!r} is not a key. Keys: {', '.join(KEYS)}.")
    frame = tidy(frame[frame[list(SINGULAR_VALUES)].notna().all(axis=1)])
    keys = places(frame, hue, row, col)
    free = iter(keys)
    # The first key goes across, the second down.
    col = col or next(free, None)
    row = row or next(free, None)
    if left := [*free]:
        raise ValueError(f"{', '.join(left)} take more than one value: keep one of each, or make it hue, row or col.")
    rows = evenly(in_order(frame, row), most) if row else [None]
    parts = [frame[frame[row] == value] if row else frame for value in rows]
    columns = [_nearest(part, col, most) if col else [None] for part in parts]
    drawn = [
        (i, j, part[part[col] == value] if col else part)
        for i, part in enumerate(parts)
        for j, value in enumerate(columns[i])
    ]
    counted = {key: frame[key].nunique() for key in (row, col) if key}
    frame = pd.concat([part for *_, part in drawn])
    lines = in_order(frame, hue)
    with style.themed():
        n_columns = max(len(values) for values in columns)
        size = (1.9 + 2.3 * max(n_columns, 1.5), 1.0 + 2.0 * len(rows))
        figure = style.NotebookFigure(figsize=size, layout="constrained")
        axes = figure.subplots(len(rows), n_columns, sharex=True, sharey=True, squeeze=False)
        colours = sns.color_palette("colorblind" if hue in NAMES else "viridis", len(lines))
        looks = list(zip(lines, colours, itertools.cycle(DASHES), strict=False))
        for i, j, part in drawn:
            for line, colour, dash in looks:
                _band(axes[i, j], part[part[hue] == line], colour, dash, style.number(line))
            names = (_word(key, value) for key, value in ((row, rows[i]), (col, columns[i][j])) if key)
            style.panel_title(axes[i, j], ", ".join(names))
        for i, values in enumerate(columns):
            for spare in axes[i, len(values) :]:
                spare.set_axis_off()
        _finish(axes, frame)
        if len(lines) > 1:
            handles, words = axes[0, 0].get_legend_handles_labels()
            figure.legend(handles, words, title=hue, loc="outside right center", frameon=False)
        count = frame["seed"].nunique()
        texts = [
            style.held(frame, (hue if len(lines) > 1 else None, row, col, "depth")),
            "line: median, band: least to greatest",
            f"medians of {count} seeds" if count > 1 else "one seed",
        ]
        for key, count in ((row, len(rows)), (col, n_columns)):
            if key and count < counted[key]:
                nearest = "" if key in NAMES or key == row else ", nearest to 1"
                texts.append(f"{count} of {counted[key]} values of {key}{nearest}")
        heading = title or "Singular values of the Jacobian, last layer by first"
        style.title(figure, heading, below, ", ".join(text for text in texts if text))
    return figure


def places(frame: pd.DataFrame, hue: str, row: str | None, col: str | None) -> list[str]:
    """The keys that vary and want a place beside those given: the scale, the activation, the rest."""
    keys = [key for key in varying(frame) if key not in ("seed", "depth", hue, row, col)]
    if "init" in varying(frame) and follows_init(frame):
        keys = [key for key in keys if key not in ("std", "gain")]
    return sorted(keys, key=lambda key: {"std": 0, "gain": 0, "activation": 1}.get(key, 2))


def _nearest(frame: pd.DataFrame, key: str, most: int) -> list:
    """At most so many values of a key, in order."""
    values = in_order(frame, key)
    if key in NAMES or len(values) <= most:
        return evenly(values, most)
    deepest = frame[(frame["depth"] == frame["depth"].max()) & (frame["sv_median"] > 0)]
    distance = np.log(deepest["sv_median"]).abs().groupby(deepest[key]).median()
    return sorted(distance.sort_values(kind="stable").index[:most])


def _word(key: str, value: object) -> str:
    return str(value) if key in NAMES else f"{key} {style.number(value)}"


def _band(axes: Axes, part: pd.DataFrame, colour: object, dash: object, label: str) -> None:
    medians = part.groupby("depth")[list(SINGULAR_VALUES)].median()
    least, middle, greatest = (medians[name].to_numpy() for name in SINGULAR_VALUES)
    axes.plot(medians.index, np.where(middle > 0, middle, np.nan), color=colour, ls=dash, lw=1.4, label=label)
    # A least singular value of 0 has no place on a log axis: its band reaches the bottom.
    bottom = np.where(least > 0, least, np.finfo(float).tiny)
    axes.fill_between(medians.index, bottom, greatest, color=colour, alpha=0.22, lw=0)
    if len(medians) == 1:  # a line of one point is not seen
        axes.vlines(medians.index, bottom, greatest, color=colour, alpha=0.4, lw=4)
        axes.plot(medians.index, middle, "o", color=colour, ms=4)


def _finish(axes: np.ndarray, frame: pd.DataFrame) -> None:
    middle, greatest = (frame[name].to_numpy(float) for name in ("sv_median", "sv_max"))
    positive = frame["sv_min"].to_numpy(float)
    positive = positive[positive > 0]
    top = greatest[np.isfinite(greatest)].max(initial=1.0)
    low = middle[middle > 0].min(initial=1.0)
    bottom = max(positive.min(initial=low), FLOOR * low)
    first, last = frame["depth"].min(), frame["depth"].max()
    for panel in axes.flat:
        panel.set_yscale("log")
        panel.set_ylim(bottom / 1.5, top * 1.5)
        panel.yaxis.set_major_locator(LogLocator(numticks=6))
        panel.yaxis.set_minor_formatter(NullFormatter())
        panel.set_xlim(*((first, last) if first < last else (first - 0.5, first + 0.5)))
        panel.xaxis.set_major_locator(FixedLocator(style.integer_ticks(first, last, 5)))
        panel.axhline(1, color="#999999", lw=0.6, zorder=0)
        sns.despine(ax=panel)
    for panel in axes[-1]:
        panel.set_xlabel(style.label("depth"))
    for panel in axes[:, 0]:
        panel.set_ylabel("singular value")
