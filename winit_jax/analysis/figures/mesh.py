"""Panels of cells: a page over two keys, facetted by two more, whatever its colors mean."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, Normalize
from matplotlib.patches import Patch, PathPatch
from matplotlib.path import Path
from matplotlib.ticker import FixedLocator, NullLocator

from winit_jax.analysis.axes import Axis, make_axis
from winit_jax.analysis.figures import style
from winit_jax.analysis.figures.page import LETTER, Page, Size, facets, open_page
from winit_jax.analysis.figures.places import Places
from winit_jax.analysis.figures.words import minus, value_words
from winit_jax.analysis.tables import Expected, in_order, is_named

SIZE = Size(width=2.5, height=1.95)
ALONE = Size(width=2.5, height=2.3)
# At most so many values of a logarithmic axis are its ticks, and cells of a figure have their numbers in them.
FEW, FEW_CELLS = 10, 48
# What it means that a step is infinite.
INFINITE = {"steps_to_accuracy": "unreached", "diverged_at": "stable"}


# Where no cell is hatched, a mark says the same.
HATCH_MARKS: dict[str, dict[str, Any]] = {
    "overflow": {"marker": "x", "ms": 5},
    "zero": {"marker": "v", "ms": 5},
    "undefined": {"marker": "$?$", "ms": 5},
    "diverged": {"marker": "x", "ms": 5},
    "infinite": {"marker": "^", "ms": 5},
    "unreached": {"marker": "^", "ms": 5},
    "stable": {"marker": "^", "ms": 5},
    "missing": {"marker": "$/$", "ms": 6},
}


@dataclass(frozen=True)
class Sheet:
    """A page of panels over the same two axes."""

    page: Page
    across: Axis
    up: Axis

    @property
    def names_below(self) -> float:
        """Inches that names along x want below the panels: of one line more, or where they stand upright."""
        if not self.across.named:
            return 0.0
        lines = _lines_of_names(self.across)
        upright = _upright(self.across, self.page.panel_width)
        return LETTER * _longest(lines) if upright else 0.16 * max(name.count("\n") for name in lines)

    def fill(self, axes: Axes, numbers: np.ndarray, kinds: np.ndarray, norm: Normalize, colors: Colormap) -> set[str]:
        """Fill one panel from [up, across] arrays; the kinds of hatched cell that it has."""
        masked = np.ma.masked_where(kinds != "", numbers)
        axes.pcolormesh(self.across.edges, self.up.edges, masked, norm=norm, cmap=colors, rasterized=True)
        used = {kind for kind in style.HATCHES if (kinds == kind).any()}
        for kind in used:
            outline = _outline(kinds == kind, self.across, self.up)
            axes.add_patch(PathPatch(outline, linewidth=0, zorder=2.5, **style.HATCHES[kind]))
        return used

    def write(self, axes: Axes, numbers: np.ndarray, kinds: np.ndarray, norm: Normalize, colors: Colormap) -> None:
        """The number of each cell in it, where cells are few and wide enough: colors alone tell few apart."""
        wide, high = (_least_share(axis) for axis in (self.across, self.up))
        if numbers.size * len(self.page.panels) > FEW_CELLS or high * self.page.size.height < 0.2:
            return
        texts = {at: minus(f"{number:.3g}") for at, number in np.ndenumerate(numbers) if kinds[at] == ""}
        if not texts or 0.065 * max(map(len, texts.values())) > wide * self.page.panel_width:
            return
        for (up, across), text in texts.items():
            red, green, blue, _ = colors(norm(numbers[up, across]))
            color = "white" if 0.299 * red + 0.587 * green + 0.114 * blue < 0.5 else "#222222"
            place: dict[str, Any] = {"ha": "center", "va": "center", "clip_on": True}
            at = (float(self.across.centers[across]), float(self.up.centers[up]))
            axes.text(*at, text, color=color, fontsize=7, **place)

    def at(self, cells: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """(Row, column) of each cell in arrays [up, across]."""
        up, across = (pd.Index(axis.values).get_indexer(cells[axis.key]) for axis in (self.up, self.across))
        return up, across


def sheet(
    frame: pd.DataFrame,
    places: Places,
    expected: Expected | None = None,
    log_x: bool | None = None,
    log_y: bool | None = None,
) -> Sheet:
    """Empty panels with names, ticks and labels, for the values there and those asked for."""
    across, up = (
        make_axis(key, in_order(frame, key, expected), is_named(frame, key), log)
        for key, log in ((places.x or "", log_x), (places.y or "", log_y))
    )
    rows, columns = (in_order(frame, key, expected) if key else [] for key in (places.row, places.col))
    holds = facets(places.row, rows, places.col, columns)
    page = open_page(holds, SIZE if len(holds[0]) > 1 or len(holds) > 1 else ALONE)
    for panel in page.panels:
        scale_axis(panel.axes, "x", across, page.panel_width)
        scale_axis(panel.axes, "y", up, page.size.height)
        panel.axes.set_xlim(across.edges[0], across.edges[-1])
        panel.axes.set_ylim(up.edges[0], up.edges[-1])
    page.name_panels()
    page.label(style.label(across.key), style.label(up.key))
    return Sheet(page, across, up)


def on_grid(sheet: Sheet, cells: pd.DataFrame, value: str) -> tuple[np.ndarray, np.ndarray]:
    """(numbers, kinds) of one panel, both [up, across].

    kinds: "" for a number to be colored; overflow where any network is not finite; zero where a log10 is
    -inf; undefined where networks ran and the value is no number, as 0/0; missing where none ran. Of what was
    learnt: diverged where most networks did, infinite where some did and the value is infinite for it; unreached and
    stable where the step of reaching the target, or of diverging, is.
    """
    shape, at = (len(sheet.up.values), len(sheet.across.values)), sheet.at(cells)
    numbers, kinds = np.full(shape, np.nan), np.full(shape, "missing", object)
    numbers[at] = cells["value"]
    kinds[at] = ""
    lost = (kinds == "") & ~np.isfinite(numbers)
    kinds[lost] = "undefined"
    if value in style.LEARNT:
        kinds[np.isposinf(numbers)] = INFINITE.get(value, "infinite")
    if value in (*style.GROWTHS, *style.GRADIENTS, "log10_grad_norm"):
        kinds[lost & np.isneginf(numbers)] = "zero"
    overflow = np.zeros(shape, bool)
    overflow[at] = cells["overflow"]
    kinds[overflow] = "diverged" if value in style.LEARNT else "overflow"
    return numbers, kinds


def hatched(used: Iterable[str]) -> list[Patch]:
    """Handles for a legend of the hatches used, in their order."""
    kinds = {*used}
    return [
        Patch(linewidth=0, label=style.HATCH_WORDS[kind], **style.HATCHES[kind])
        for kind in style.HATCHES
        if kind in kinds
    ]


def _least_share(axis: Axis) -> float:
    """The share of an axis that its narrowest cell takes."""
    edges = np.log(axis.edges) if axis.log else axis.edges
    return float(np.diff(edges).min() / (edges[-1] - edges[0]))


def _outline(mask: np.ndarray, across: Axis, up: Axis) -> Path:
    """The cells of a mask as one path, a rectangle for each run of cells along x: thousands draw as one."""
    padded = np.pad(mask.astype(int), ((0, 0), (1, 1)))
    line, start = np.nonzero(np.diff(padded, axis=1) == 1)
    stop = np.nonzero(np.diff(padded, axis=1) == -1)[1]
    left, right, low, high = across.edges[start], across.edges[stop], up.edges[line], up.edges[line + 1]
    corners = np.stack([left, low, right, low, right, high, left, high, left, low], axis=1).reshape(-1, 2)
    codes = np.tile([Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY], len(left))
    return Path(corners, codes)


def _lines_of_names(axis: Axis) -> list[str]:
    """The values of a named axis in words, what is in brackets on a line of its own."""
    return [value_words(axis.key, value).replace(" (", "\n(") for value in axis.values]


def _longest(names: Iterable[str]) -> int:
    return max(len(line) for name in names for line in name.split("\n"))


def _upright(axis: Axis, inches: float) -> bool:
    """Whether names along x stand upright, for lack of room beside each other."""
    return axis.named and LETTER * (_longest(_lines_of_names(axis)) + 1) * len(axis.values) > inches


def scale_axis(axes: Axes, name: str, axis: Axis, inches: float) -> None:
    """Scale and ticks of one axis of so many inches."""
    shown = getattr(axes, f"{name}axis")
    low, high = axis.edges[0], axis.edges[-1]
    if axis.named:
        shown.set_major_locator(FixedLocator(range(len(axis.values))))
        shown.set_ticklabels(_lines_of_names(axis))
        if name == "x" and _upright(axis, inches):
            axes.tick_params(axis="x", labelrotation=90)
    elif axis.log:
        getattr(axes, f"set_{name}scale")("log")
        if len(axis.values) <= FEW or high / low < 30:
            ticks = axis.values if len(axis.values) <= FEW else style.round_ticks(low, high)
            _few_ticks(shown, ticks, name, axis, inches)
    elif len(axis.values) <= 6:
        _few_ticks(shown, axis.values, name, axis, inches)
    elif axis.key in ("depth", "width", "seed"):
        shown.set_major_locator(FixedLocator(style.integer_ticks(axis.values[0], axis.values[-1])))


def _few_ticks(shown: mpl.axis.Axis, ticks: Sequence[float], name: str, axis: Axis, inches: float) -> None:
    """Every tick where labels do not touch, also on two lines below x; else some of them."""
    low, high = axis.edges[0], axis.edges[-1]
    if name == "y":
        kept = style.spaced(ticks, low, high, axis.log)
        _ticks(shown, kept, [value_words(axis.key, tick) for tick in kept])
        return
    _ticks(shown, *style.below(ticks, low, high, axis.log, inches))


def _ticks(axis: mpl.axis.Axis, ticks: Sequence[float], labels: Sequence[str]) -> None:
    axis.set_major_locator(FixedLocator(list(ticks)))
    axis.set_minor_locator(NullLocator())
    axis.set_ticklabels(labels)
