"""Panels of cells: one figure over two keys, facetted by two more, whatever its colours mean."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch, PathPatch
from matplotlib.path import Path
from matplotlib.ticker import FixedLocator, NullLocator

from winit_jax.analysis import style
from winit_jax.analysis.axes import Axis, make_axis
from winit_jax.analysis.cells import Places
from winit_jax.analysis.load import NAMES, Expected, in_order

COLUMNS = 5


@dataclass(frozen=True)
class Panel:
    """One panel: where it is, which rows are in it (key -> value), and its name."""

    axes: Axes
    holds: dict[str, object]
    name: str

    def rows(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The rows of a frame that belong here."""
        for key, value in self.holds.items():
            frame = frame[frame[key] == value]
        return frame


@dataclass(frozen=True)
class Sheet:
    """A figure of panels over the same two axes."""

    figure: Figure
    panels: list[Panel]
    across: Axis
    up: Axis


def sheet(
    frame: pd.DataFrame,
    places: Places,
    expected: Expected | None = None,
    log_x: bool | None = None,
    log_y: bool | None = None,
) -> Sheet:
    """Empty panels with names, ticks and labels, for the values there and those asked for."""
    across, up = (
        make_axis(key, in_order(frame, key, expected), key in NAMES, log)
        for key, log in ((places.x, log_x), (places.y, log_y))
    )
    rows = in_order(frame, places.row, expected) if places.row else []
    columns = in_order(frame, places.col, expected) if places.col else []
    figure, panels = _panels(places.row, rows, places.col, columns)
    for panel in panels:
        for name, axis in (("x", across), ("y", up)):
            _scale(panel.axes, name, axis)
            getattr(panel.axes, f"set_{name}lim")(axis.edges[0], axis.edges[-1])
        style.panel_title(panel.axes, panel.name)
        if style.is_first_col(panel.axes):
            panel.axes.set_ylabel(style.label(places.y))
        if panel.axes.xaxis.get_tick_params()["labelbottom"]:
            panel.axes.set_xlabel(style.label(places.x))
    return Sheet(figure, panels, across, up)


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


def fill(
    axes: Axes, numbers: np.ndarray, kinds: np.ndarray, across: Axis, up: Axis, norm: Normalize, colour_map: Colormap
) -> set[str]:
    """Fill one panel from [up, across] arrays; the kinds of hatched cell that it has."""
    masked = np.ma.masked_where(kinds != "", numbers)
    axes.pcolormesh(across.edges, up.edges, masked, norm=norm, cmap=colour_map, rasterized=True)
    used = {kind for kind in style.HATCHES if (kinds == kind).any()}
    for kind in used:
        axes.add_patch(PathPatch(_outline(kinds == kind, across, up), linewidth=0, zorder=2.5, **style.HATCHES[kind]))
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


def hatched(used: Iterable[str]) -> list[Patch]:
    """Handles for a legend of the hatches used, in their order."""
    kinds = {*used}
    return [
        Patch(linewidth=0, label=style.HATCH_WORDS[kind], **style.HATCHES[kind])
        for kind in style.HATCHES
        if kind in kinds
    ]


def legend(figure: Figure, handles: Sequence[Artist]) -> None:
    """One legend under the panels, in as many columns as fit."""
    if handles:
        # A letter is about 0.07 inches wide, and what stands before a label 0.6; markup takes no place.
        wide = [0.6 + 0.07 * len(re.sub(r"[$^{}]|\\pm", "", str(handle.get_label()))) for handle in handles]
        fits = sum(wide) <= figure.get_figwidth()
        ncols = len(handles) if fits else max(1, int(figure.get_figwidth() / max(wide)))
        figure.legend(handles=list(handles), loc="outside lower center", ncols=ncols, frameon=False)
