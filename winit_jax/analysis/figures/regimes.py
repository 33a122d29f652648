"""A map of the regimes: overflowed, vanishing, exploding, saturated, collapsed or healthy."""

import numpy as np
import pandas as pd
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from winit_jax.analysis.columns import OF_REGIMES
from winit_jax.analysis.figures import style
from winit_jax.analysis.figures.critical import Handles, overlay
from winit_jax.analysis.figures.mesh import hatched, sheet
from winit_jax.analysis.figures.places import on_a_map
from winit_jax.analysis.statistics.cells import cells_of, n_seeds
from winit_jax.analysis.statistics.regimes import DEFAULT, REGIMES, Thresholds, regime_codes
from winit_jax.analysis.tables import Expected, tidy

BLOCK = 2**20
# Blue vanishes and red explodes, as in the heatmaps; dark and light alternate for eyes that see no red or green.
COLOURS = {
    "overflowed": "#4d3319",
    "vanishing": "#3f6fb5",
    "exploding": "#b2383b",
    "saturated": "#f0b13c",
    "collapsed": "#a58fc4",
    "healthy": "#eef3e6",
}


def regime_map(
    frame: pd.DataFrame,
    *,
    x: str | None = None,
    y: str | None = None,
    row: str | None = None,
    col: str | None = None,
    thresholds: Thresholds = DEFAULT,
    expected: Expected | None = None,
    title: str | None = None,
    below: str = "",
    log_x: bool | None = None,
    log_y: bool | None = None,
    mean_field: pd.DataFrame | None = None,
) -> Figure:
    """The regime of most seeds over two keys, in panels by two more; what was not run is hatched.

    Places, expected, below and the critical line of mean_field as in `heatmap`. Of regimes with equally many seeds
    the one that REGIMES names first is shown.
    Errors: ValueError in a sentence for unknown keys and keys that vary but have no place.
    """
    if frame.empty:
        raise ValueError("There are no rows to draw.")
    frame = tidy(frame)
    places = on_a_map(frame, {"x": x, "y": y, "row": row, "col": col}, expected).checked()
    cells = _votes(frame, places.shown, thresholds)
    colors, norm = ListedColormap([COLOURS[name] for name in REGIMES]), BoundaryNorm(np.arange(len(REGIMES) + 1), 6)
    with style.themed():
        panels = sheet(frame, places, expected, log_x, log_y)
        hatches: set[str] = set()
        lines: Handles = {}
        for panel in panels.page.panels:
            here = panel.rows(cells)
            numbers = np.full((len(panels.up.values), len(panels.across.values)), np.nan)
            kinds = np.full(numbers.shape, "missing", object)
            numbers[panels.at(here)], kinds[panels.at(here)] = here["code"], ""
            hatches |= panels.fill(panel.axes, numbers, kinds, norm, colors)
            lines |= overlay(panel.axes, panel.rows(frame), panels.across, panels.up, "regime", mean_field)
        names = [name for code, name in enumerate(REGIMES) if code in {*cells["code"]}]
        patches = [Patch(facecolor=COLOURS[name], edgecolor="#888888", linewidth=0.5, label=name) for name in names]
        return panels.page.finish(
            title or style.heading("Regimes of the last layer", frame, places.shown),
            below,
            (style.held(frame, places.shown), *_rules(frame, places.shown, thresholds)),
            [*patches, *hatched(hatches), *lines.values()],
            panels.names_below,
        )


def _votes(frame: pd.DataFrame, keys: list[str], thresholds: Thresholds) -> pd.DataFrame:
    """One row a cell: its keys, and the code of the regime that most of its networks are in."""
    cells = cells_of(frame, keys, OF_REGIMES)
    rows = cells.rows
    # By blocks, so that what rules are made of takes no memory of millions of rows.
    blocks = [rows.iloc[at : at + BLOCK] for at in range(0, len(rows), BLOCK)]
    codes = np.concatenate([regime_codes(block, thresholds) for block in blocks])
    votes = np.stack([cells.count(codes == code) for code in range(len(REGIMES))], axis=1)
    # argmax takes the first of equal counts.
    return cells.keys.assign(code=votes.argmax(axis=1))


def _rules(frame: pd.DataFrame, shown: list[str], thresholds: Thresholds) -> tuple[str, str]:
    """How seeds were put together, and the thresholds, in words."""
    count = n_seeds(frame)
    limits = (f"{thresholds.decades:g} decades", f"{thresholds.saturated:.0%} saturated", f"{thresholds.alike:g} alike")
    seeds = "" if "seed" in shown or count == 1 else f"most of {count} seeds"
    return seeds, f"thresholds: {', '.join(limits)}"
