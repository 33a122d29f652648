"""Mean field's lines over the maps of a page: what figures draw over a panel, as places along its axes."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from winit_jax.analysis.axes import Axis, make_axis
from winit_jax.analysis.figures.critical import dashes_of, overlay
from winit_jax.analysis.report.sheets import Sheet
from winit_jax.analysis.statistics.critical import SCALES
from winit_jax.analysis.tables import evenly, in_order, is_named

# The pairs of keys that have lines, across and up; a page turns them.
PAIRS = (("gain", "depth"), ("std", "depth"), ("bias_std", "depth"), ("gain", "bias_std"), ("std", "bias_std"))
# As many as a line needs to look smooth.
MOST_PLACES = 80


def speaks_of(column: str) -> str:
    """Which lines a column has: those of its depth scale, or the critical ones alone."""
    return SCALES.get(column, "critical")


def theory_lines(sheet: Sheet, mean_field: pd.DataFrame | None) -> list[dict[str, Any]]:
    """The lines of each map of a sheet.

    mean_field: as of `critical.overlay`, whose rules these are; None has no lines.
    Each line: x, y, the keys across and up; at, key -> code of the others; scale, as of `speaks_of`; words for a
    legend; dash, width; xs, ys, places along the axes in units of the keys.
    """
    frame = sheet.frame
    if mean_field is None or frame is None:
        return []
    names = [key.name for key in sheet.keys]
    columns = {speaks_of(column): column for column in sheet.columns}
    lines = []
    for x, y in PAIRS:
        if x not in names or y not in names or is_named(frame, x) or is_named(frame, y):
            continue
        across, up = (make_axis(key, in_order(frame, key), False) for key in (x, y))
        others = [name for name in names if name not in (x, y)]
        grouped = frame.groupby(others, observed=True) if others else [((), frame)]
        for values, part in grouped:
            at = {name: in_order(frame, name).index(value) for name, value in zip(others, values, strict=True)}
            for scale, column in columns.items():
                drawn = _drawn(part, across, up, column, mean_field)
                lines += [line | {"x": x, "y": y, "at": at, "scale": scale} for line in drawn]
    return lines


def _drawn(part: pd.DataFrame, across: Axis, up: Axis, column: str, mean_field: pd.DataFrame) -> list[dict[str, Any]]:
    """What a figure would draw over one panel, line by line."""
    axes = Figure().subplots()
    axes.set_xscale("log" if across.log else "linear")
    axes.set_yscale("log" if up.log else "linear")
    axes.set_xlim(across.edges[0], across.edges[-1])
    axes.set_ylim(up.edges[0], up.edges[-1])
    handles = overlay(axes, part, across, up, column, mean_field)
    lines: list[dict[str, Any]] = []
    for line in axes.lines:
        name = line.get_gid()
        if name is None:  # a mark at the frame
            continue
        xs, ys = np.broadcast_arrays(*(np.asarray(of, float) for of in line.get_data(orig=False)))
        if line.get_transform() != axes.transData:  # from end to end of the other axis
            upright = line.get_transform() == axes.get_xaxis_transform(which="grid")
            xs, ys = (xs, up.edges[[0, -1]]) if upright else (across.edges[[0, -1]], ys)
        width = float(line.get_linewidth())
        inside = np.flatnonzero(
            (xs >= across.edges[0]) & (xs <= across.edges[-1]) & (ys >= up.edges[0]) & (ys <= up.edges[-1])
        )
        kept = evenly(inside.tolist(), MOST_PLACES)
        if len(kept) < 2:
            continue
        lines.append(
            {
                "words": str(handles[name].get_label()),
                "dash": [length * width for length in dashes_of(name)],
                "width": max(1.5, width),
                "xs": [float(f"{value:.6g}") for value in np.asarray(xs)[kept]],
                "ys": [float(f"{value:.6g}") for value in np.asarray(ys)[kept]],
            }
        )
    return lines
