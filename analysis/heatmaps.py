"""Heatmaps of a column over two axes of a sweep, facetted by two more."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, PathPatch
from matplotlib.path import Path
from matplotlib.ticker import FixedLocator, NullLocator

from analysis import style
from analysis.axes import Axis, cell_edges, is_log_spaced, make_axis
from analysis.cells import AGGREGATES, aggregate, defaults, on_grid, place, seeds_rule
from analysis.load import NAMES, Expected, in_order, tidy

__all__ = ["AGGREGATES", "cell_edges", "defaults", "heatmap", "is_log_spaced"]

COLUMNS = 5


@dataclass(frozen=True)
class Panel:
    """One panel: where it is, which rows are in it (key -> value), and its name."""

    axes: Axes
    holds: dict[str, object]
    name: str


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
) -> Figure:
    """A column of the networks table over two keys, in panels by two more, with one colour bar.

    frame: the networks table or rows of it. x, y, row, col: keys; those left out come from `defaults`.
    seeds: how seeds are put together (one of AGGREGATES), unless seed is an axis.
    expected: key -> values that were asked for (`Run.expected`); cells of them without rows are hatched.
    below: put under the title, before what is held fixed. log_x, log_y: None decides by the spacing.
    A cell is hatched as overflow if any of its networks has activations that are not finite, as exactly
    zero if its log10 is -inf, as not defined if its networks ran and it is no number, else as not run.
    Errors: ValueError in a sentence for unknown columns and for keys that vary but have no place.
    """
    _check(frame, value, seeds)
    frame = tidy(frame)
    places = place(frame, {"x": x, "y": y, "row": row, "col": col}, expected)
    cells = aggregate(frame, value, places.shown, seeds)
    across, up = (
        make_axis(key, in_order(frame, key, expected), key in NAMES, log)
        for key, log in ((places.x, log_x), (places.y, log_y))
    )
    rows = in_order(frame, places.row, expected) if places.row else []
    columns = in_order(frame, places.col, expected) if places.col else []
    spread = seeds == "std" and "seed" not in places.shown
    norm, colour_map, ends = style.colours(value, cells["value"].to_numpy(), spread=spread)
    with style.themed():
        figure, panels = _panels(places.row, rows, places.col, columns)
        used: set[str] = set()
        for panel in panels:
            here = cells
            for key, chosen in panel.holds.items():
                here = here[here[key] == chosen]
            numbers, kinds = on_grid(here, across, up, value)
            used |= _draw(panel.axes, numbers, kinds, across, up, norm, colour_map)
            if value in style.GROWTHS and not spread and _limits(panel.axes, numbers, kinds, across, up):
                used.add("float32")
            panel.axes.set_title(panel.name)
            if style.is_first_col(panel.axes):
                panel.axes.set_ylabel(style.label(places.y))
            if panel.axes.xaxis.get_tick_params()["labelbottom"]:
                panel.axes.set_xlabel(style.label(places.x))
        _colour_bar(figure, [panel.axes for panel in panels], norm, colour_map, ends, value, spread)
        _legend(figure, used)
        rule = "" if "seed" in places.shown else seeds_rule(cells, frame, seeds)
        held = ", ".join(text for text in (style.held(frame, places.shown), rule) if text)
        heading = style.sentence(f"spread over seeds: {style.label(value)}" if spread else style.label(value))
        style.title(figure, title or heading, below, held)
    return figure


def _check(frame: pd.DataFrame, value: str, seeds: str) -> None:
    if value not in frame:
        raise ValueError(f"{value!r} is not a column of this table.")
    if frame.empty:
        raise ValueError("There are no rows to draw.")
    if frame[value].dtype.kind not in "fiub":
        raise ValueError(f"{value} is a name, not a number that colours could show.")
    if frame[value].isna().all() and not ("nonfinite" in frame and (frame["nonfinite"] > 0).any()):
        raise ValueError(f"{value} is empty in this table: the run did not measure it.")
    if seeds not in AGGREGATES:
        raise ValueError(f"seeds = {seeds!r} is not one of {', '.join(AGGREGATES)}.")
    if seeds == "std" and frame["seed"].nunique() == 1:
        raise ValueError("seeds = 'std' needs two seeds or more, and this table has one.")


def _panels(row: str | None, rows: Sequence, col: str | None, columns: Sequence) -> tuple[Figure, list[Panel]]:
    """A panel for each pair of values; the panels of one key alone run on over several rows."""
    facets: list[dict[str, object]] = [
        {key: v for key, v in ((row, row_value), (col, column_value)) if key}
        for row_value in (rows or [None])
        for column_value in (columns or [None])
    ]
    n_columns = len(columns) or 1 if row else style.in_rows_of(len(facets), COLUMNS)
    n_rows = -(-len(facets) // n_columns)
    # More panels than fit a page beside each other become narrower.
    each = 2.5 if n_columns <= COLUMNS else max(1.35, 2.5 * COLUMNS / n_columns)
    width = 1.9 + each * n_columns if n_columns > 1 else 5.2
    figure = style.NotebookFigure(figsize=(width, 1.3 + 2.3 * n_rows), layout="constrained")
    axes = figure.subplots(n_rows, n_columns, sharex=True, sharey=True, squeeze=False).ravel().tolist()
    style.close_gaps(axes, len(facets), n_columns)
    return figure, [Panel(each, holds, _name(holds)) for each, holds in zip(axes, facets, strict=False)]


def _name(holds: dict[str, object]) -> str:
    return ", ".join(str(v) if key in NAMES else f"{key} {style.number(v)}" for key, v in holds.items())


def _draw(
    axes: Axes, numbers: np.ndarray, kinds: np.ndarray, across: Axis, up: Axis, norm: Normalize, colour_map: Colormap
) -> set[str]:
    """Fill one panel from [up, across] arrays; the kinds of hatched cell that it has."""
    masked = np.ma.masked_where(kinds != "", numbers)
    axes.pcolormesh(across.edges, up.edges, masked, norm=norm, cmap=colour_map, rasterized=True)
    used = {kind for kind in style.HATCHES if (kinds == kind).any()}
    for kind in used:
        axes.add_patch(PathPatch(_outline(kinds == kind, across, up), linewidth=0, zorder=2.5, **style.HATCHES[kind]))
    for name, spec in (("x", across), ("y", up)):
        _scale(axes, name, spec)
    return used


def _outline(mask: np.ndarray, across: Axis, up: Axis) -> Path:
    """The cells of a mask as one path, a rectangle for each run of cells along x: thousands draw as one."""
    padded = np.pad(mask.astype(int), ((0, 0), (1, 1)))
    line, start = np.nonzero(np.diff(padded, axis=1) == 1)
    stop = np.nonzero(np.diff(padded, axis=1) == -1)[1]
    left, right, low, high = across.edges[start], across.edges[stop], up.edges[line], up.edges[line + 1]
    corners = np.stack([left, low, right, low, right, high, left, high, left, low], axis=1).reshape(-1, 2)
    codes = np.tile([Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY], len(left))
    return Path(corners, codes)


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


def _scale(axes: Axes, name: str, spec: Axis) -> None:
    own = getattr(axes, f"{name}axis")
    if spec.named:
        own.set_major_locator(FixedLocator(range(len(spec.values))))
        own.set_ticklabels(spec.values)
        if name == "x" and max(len(str(v)) for v in spec.values) * len(spec.values) > 24:
            axes.tick_params(axis="x", labelrotation=90)
    elif spec.log:
        getattr(axes, f"set_{name}scale")("log")
        low, high = spec.edges[0], spec.edges[-1]
        if len(spec.values) <= 10 or high / low < 30:
            ticks = spec.values if len(spec.values) <= 10 else style.round_ticks(low, high)
            _ticks(own, style.spaced(ticks, low, high, log=True))
    elif len(spec.values) <= 6:
        _ticks(own, style.spaced(spec.values, spec.edges[0], spec.edges[-1], log=False))
    elif spec.key in ("depth", "width", "seed"):
        own.set_major_locator(FixedLocator(style.integer_ticks(spec.values[0], spec.values[-1])))


def _ticks(own: mpl.axis.Axis, ticks: list[float]) -> None:
    own.set_major_locator(FixedLocator(ticks))
    own.set_minor_locator(NullLocator())
    own.set_ticklabels([style.number(tick) for tick in ticks])


def _colour_bar(
    figure: Figure, axes: list[Axes], norm: Normalize, colour_map: Colormap, ends: str, value: str, spread: bool
) -> None:
    bar = style.colour_bar(figure, axes, mpl.cm.ScalarMappable(norm, colour_map), ends)
    name, bracket, note = style.label(value).partition(" (")
    words = f"{name}, last layer" + (f"\n({note}" if bracket else "")
    if spread:
        words = f"std over seeds: {words}"
    elif value in style.GROWTHS:
        words += "\n(0: unchanged)"
        bar.set_ticks(ticks := style.growth_ticks(norm.vmax or 1.0, 0.3, 5), labels=[f"{t:g}" for t in ticks])
        bar.ax.minorticks_off()
    bar.set_label(style.wrapped(words, 38), linespacing=1.2)


def _legend(figure: Figure, used: set[str]) -> None:
    handles: list = [
        Patch(linewidth=0, label=style.HATCH_WORDS[kind], **style.HATCHES[kind])
        for kind in style.HATCHES
        if kind in used
    ]
    if "float32" in used:
        handles.append(Line2D([], [], color="black", lw=0.8, ls="--", label=r"limits of float32, $10^{\pm 38}$"))
    if handles:
        ncols = max(1, min(len(handles), int(figure.get_figwidth() / 1.6)))
        figure.legend(handles=handles, loc="outside lower center", ncols=ncols, frameon=False)
