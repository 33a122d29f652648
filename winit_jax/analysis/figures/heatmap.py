"""Heatmaps of a column over two axes of a sweep, facetted by two more."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import Normalize, SymLogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.ndimage import distance_transform_edt

from winit_jax.analysis.figures import style
from winit_jax.analysis.figures.critical import Handles, overlay
from winit_jax.analysis.figures.dots import dots
from winit_jax.analysis.figures.mesh import Sheet, hatched, on_grid, sheet
from winit_jax.analysis.figures.page import Panel
from winit_jax.analysis.figures.places import Given, Places, on_a_map
from winit_jax.analysis.figures.words import TITLES, plain
from winit_jax.analysis.statistics.cells import n_seeds
from winit_jax.analysis.statistics.seeds import AGGREGATES, aggregate, seeds_rule
from winit_jax.analysis.tables import SCALES, Expected, chance, in_order, tidy

# Numbers nearer than this are the same color, and the same statement.
SAME = 2e-3
NEVER = {
    "diverged_at": "No network of this table diverged.",
    "steps_to_accuracy": "No network of this table reached the target accuracy.",
}
FLOAT32: dict[str, Any] = {"color": "black", "lw": 0.8, "ls": "--", "label": r"limits of float32, $10^{\pm 38}$"}


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
    mean_field: pd.DataFrame | None = None,
) -> Figure:
    """A column of the networks table over two keys, in panels by two more, with one color bar.

    frame: the networks table or rows of it; or one layer of the layers or gradients table.
    x, y, row, col: keys; those left out are chosen as `places.on_a_map` says.
    seeds: how seeds are put together (one of AGGREGATES), unless seed is an axis.
    expected: key -> values that were asked for (`Run.expected`); cells of them without rows are hatched.
    below: put under the title, before what is held fixed. log_x, log_y: None decides by the spacing.
    Where only one key varies beside the seed, each seed is a dot over it instead of a cell (see `dots`).
    A cell is hatched as overflow if any of its networks has activations that are not finite, as exactly zero
    if its log10 is -inf, as not defined if its networks ran and it is no number, else as not run. Columns of what
    was learnt are hatched as diverged where most networks did; elsewhere those that did count as guessing, or as an
    infinite loss (see `seeds.after_training`). The color bar of accuracies and losses has a dotted line at guessing.
    mean_field: the run's table of fixed points; its critical line and depth scales are drawn over the cells
    (see `critical.overlay`).
    Errors: ValueError in a sentence for unknown columns and for keys that vary but have no place.
    """
    _check(frame, value, seeds)
    frame = tidy(frame)
    asked = {"x": x, "y": y, "row": row, "col": col}
    places = on_a_map(frame, asked, expected).checked()
    if (spare := _spare(frame, places, asked, expected)) and seeds in ("median", "mean"):
        return dots(frame, value, places, spare, seeds, expected, title, below)
    cells = aggregate(frame, value, places.shown, seeds)
    spread = seeds == "std" and "seed" not in places.shown
    norm, colors, ends = style.color_scale(value, cells["value"].to_numpy(), spread=spread)
    with style.themed():
        panels = sheet(frame, places, expected, log_x, log_y)
        hatches: set[str] = set()
        lines: Handles = {}
        same: list[Panel] = []
        for panel in panels.page.panels:
            numbers, kinds = on_grid(panels, panel.rows(cells), value)
            hatches |= panels.fill(panel.axes, numbers, kinds, norm, colors)
            panels.write(panel.axes, numbers, kinds, norm, colors)
            if value in style.FACTORS:
                _name_phases(panel.axes, numbers, panels)
            if _is_same_across(numbers, panels):
                same.append(panel)
            if value in style.GROWTHS and not spread and _float32_limits(panel.axes, panels, numbers, kinds):
                lines["float32"] = Line2D([], [], **FLOAT32)
            lines |= overlay(panel.axes, panel.rows(frame), panels.across, panels.up, value, mean_field)
        bar = panels.page.color_bar(ScalarMappable(norm, colors), _bar_words(frame, value, spread), ends)
        _ticks(bar, norm, value, spread)
        if value in (*style.ACCURACIES, *style.LOSSES) and not spread:
            _mark_guessing(bar, norm, chance(frame) if value in style.ACCURACIES else -np.log(chance(frame)))
        order = sorted(lines, key=lambda name: (name != "float32", name))
        rule = "" if "seed" in places.shown else seeds_rule(cells, frame, seeds)
        what = f"Spread over seeds: {_short(value)}" if spread else TITLES.get(value, _short(value))
        return panels.page.finish(
            title or style.heading(what, frame, places.shown),
            below,
            (style.held(frame, places.shown), rule, _beyond(ends), *_say_same(same, value, places)),
            [*hatched(hatches), *(lines[name] for name in order)],
            panels.names_below,
        )


def _spare(frame: pd.DataFrame, places: Places, asked: Given, expected: Expected | None) -> str | None:
    """The axis of a map that is there for want of a second key that varies, x or y; None where two vary."""

    def count(key: str | None) -> int:
        return len(in_order(frame, key, expected)) if key else 0

    for spare, other in (("y", "x"), ("x", "y")):
        key, along = getattr(places, spare), getattr(places, other)
        if not asked[spare] and (key == "seed" or count(key) < 2) and along != "seed" and count(along) > 1:
            return spare
    return None


def _name_phases(axes: Axes, numbers: np.ndarray, panels: Sheet) -> None:
    """Write `ordered` where a small difference shrinks and `chaotic` where it grows, in the middle of each region."""
    if min(numbers.shape) < 4 or panels.across.named or panels.up.named:
        return
    look: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 8, "color": "#222222", "fontstyle": "italic"}
    for name, there in (("ordered", numbers < 1), ("chaotic", numbers > 1)):
        depth = distance_transform_edt(np.pad(there, 1))[1:-1, 1:-1]
        if depth.max() >= 2:
            up, across = np.unravel_index(depth.argmax(), depth.shape)
            axes.text(float(panels.across.centers[across]), float(panels.up.centers[up]), name, **look)


def _short(value: str) -> str:
    """A column in the words of a title, without what explains it."""
    return style.label(value).partition(" (")[0]


def _beyond(ends: str) -> str:
    """Words for colors that do not reach all numbers."""
    return "" if ends == "neither" else "numbers beyond the pointed ends of the color bar have the color of that end"


def _is_same_across(numbers: np.ndarray, panels: Sheet) -> bool:
    """Whether a scale along x changes nothing: each row of a panel has one number, and rows differ."""
    if panels.across.key not in SCALES or min(numbers.shape) < 2 or not np.isfinite(numbers).all():
        return False
    return bool(np.ptp(numbers, axis=1).max() < SAME and np.ptp(numbers) > SAME)


def _say_same(same: list[Panel], value: str, places: Places) -> list[str]:
    """A word in panels that only show draws, and the sentence for the caption."""
    for panel in same:
        look = {"facecolor": "white", "alpha": 0.85, "linewidth": 0, "pad": 1.5}
        words = f"the same at every {places.x}"
        panel.axes.text(
            0.5, 0.5, words, transform=panel.axes.transAxes, ha="center", va="center", fontsize=8, bbox=look
        )
    if not same:
        return []
    names = ", ".join(panel.name for panel in same if panel.name)
    of = f"in {names} " if names else ""
    instead = "; `--value dead` shows units that are lost" if value == "saturated" else ""
    return [f"{of}bands are draws that all {places.x}s share, for the {places.x} changes nothing there{instead}"]


def _check(frame: pd.DataFrame, value: str, seeds: str) -> None:
    """Errors: ValueError in a sentence for a column that cannot be drawn."""
    if value not in frame:
        raise ValueError(f"{value!r} is not a column of this table.")
    if frame.empty:
        raise ValueError("There are no rows to draw.")
    if frame[value].dtype.kind not in "fiub":
        raise ValueError(f"{value} is a name, not a number that colors could show.")
    broken = "nonfinite" in frame and bool((frame["nonfinite"] > 0).any())
    diverged = value not in style.STEPS and "diverged_at" in frame and bool(frame["diverged_at"].notna().any())
    if frame[value].isna().all() and not (broken or diverged):
        raise ValueError(NEVER.get(value, f"{value} is empty in this table: the run did not measure it."))
    if seeds not in AGGREGATES:
        raise ValueError(f"seeds = {seeds!r} is not one of {', '.join(AGGREGATES)}.")
    if "layer" in frame and frame["layer"].nunique() > 1:
        raise ValueError("layer takes more than one value: keep one of them.")
    if seeds == "std" and "seed" in frame and n_seeds(frame) == 1:
        raise ValueError("seeds = 'std' needs two seeds or more, and this table has one.")


def _float32_limits(axes: Axes, panels: Sheet, numbers: np.ndarray, kinds: np.ndarray) -> bool:
    """Draw where a signal leaves the range of float32; whether it does."""
    if min(numbers.shape) < 2 or panels.across.named or panels.up.named:
        return False
    limit = style.FLOAT32_LOG10
    # Exact zeros lie beyond the lower limit; their -inf would break the interpolation.
    signal = np.clip(np.where(kinds == "missing", np.nan, numbers), -3 * limit, 3 * limit)
    finite = numbers[np.isfinite(numbers)]
    levels = [level for level in (-limit, limit) if np.any(finite > level) and np.any(finite < level)]
    if not levels:
        return False
    look: dict[str, Any] = {"colors": "black", "linewidths": 0.8, "linestyles": "--"}
    axes.contour(panels.across.centers, panels.up.centers, np.ma.masked_invalid(signal), levels=levels, **look)
    return True


def _bar_words(frame: pd.DataFrame, value: str, spread: bool) -> str:
    """What the color bar shows: the column, at which layer, and its unit."""
    name, bracket, note = style.label(value).partition(" (")
    where = f"layer {frame['layer'].iloc[0]}" if "layer" in frame else "last layer"
    if value in style.LEARNT:
        where = "after training"
    # What compares two layers is at neither, and a step is a time of its own.
    nowhere = "first layer over last" in name or value in style.STEPS
    words = (name if nowhere else f"{name}, {where}") + (f"\n({note}" if bracket else "")
    if spread:
        return f"std over seeds: {words}"
    unchanged = "1" if value == "chi" else "0" if value in style.GROWTHS else None
    return f"{words}\n({unchanged}: unchanged)" if unchanged else words


def _ticks(bar: Colorbar, norm: Normalize, value: str, spread: bool) -> None:
    """Round ticks on symmetric logarithmic color bars."""
    if spread or not isinstance(norm, SymLogNorm):
        return
    low, high = norm.vmin or 0.0, norm.vmax or 1.0
    if value in style.GROWTHS:
        ticks = style.growth_ticks(high, 0.3, 5)
    else:
        ticks = style.spaced(style.round_ticks(max(low, 1.0), high), max(low, 1.0), high, log=True)
        ticks = [0.0] * (low == 0) + ticks
    bar.set_ticks(ticks, labels=[plain(tick) for tick in ticks])
    bar.ax.minorticks_off()


def _mark_guessing(bar: Colorbar, norm: Normalize, guess: float) -> None:
    """A dotted line on the color bar, and a word for it."""
    if (norm.vmin or 0.0) < guess < (norm.vmax or 1.0):
        bar.ax.axhline(guess, color="white", ls=(0, (1, 1)), lw=1.5)
        words = bar.ax.get_ylabel()
        noted = f"{words[:-1]}; dotted: guessing)" if words.endswith(")") else f"{words}\n(dotted: guessing)"
        bar.set_label(noted, linespacing=1.2)
