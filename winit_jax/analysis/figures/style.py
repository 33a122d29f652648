"""How figures look: colors, hatches, ticks, and the theme that they are drawn and saved in."""

import io
import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from copy import copy
from typing import Any

import matplotlib as mpl
import numpy as np
import seaborn as sns
from matplotlib.colors import LogNorm, Normalize, SymLogNorm
from matplotlib.figure import Figure

from winit_jax.analysis.columns import (
    ACCURACIES,
    CORRELATIONS,
    FACTORS,
    GRADIENTS,
    GROWTHS,
    LEARNT,
    LOSSES,
    SHARES,
    STEPS,
)
from winit_jax.analysis.figures import settings
from winit_jax.analysis.figures.settings import current
from winit_jax.analysis.figures.words import HATCHED as HATCH_WORDS
from winit_jax.analysis.figures.words import digits, heading, held, label, sentence

# The span of float32: signals beyond it exist only because their scale is carried beside them.
FLOAT32_LOG10 = 38.0

HATCHES: dict[str, dict[str, Any]] = {
    "overflow": {"facecolor": "#fff3c4", "edgecolor": "#a3742b", "hatch": "xxxx"},
    "zero": {"facecolor": "#e3e3e3", "edgecolor": "#777777", "hatch": "...."},
    "undefined": {"facecolor": "#f1e6f5", "edgecolor": "#8a5f9e", "hatch": "\\\\\\\\"},
    "diverged": {"facecolor": "#f7d9d4", "edgecolor": "#b0503c", "hatch": "xxxx"},
    "infinite": {"facecolor": "#fbeeea", "edgecolor": "#b0503c", "hatch": "\\\\\\\\"},
    "unreached": {"facecolor": "#e9edf2", "edgecolor": "#8695a8", "hatch": "...."},
    "stable": {"facecolor": "#eef3e6", "edgecolor": "#8aa06a", "hatch": "...."},
    "missing": {"facecolor": "#ffffff", "edgecolor": "#b5b5b5", "hatch": "////"},
}
__all__ = [
    "ACCURACIES",
    "CORRELATIONS",
    "FACTORS",
    "GRADIENTS",
    "GROWTHS",
    "HATCH_WORDS",
    "LEARNT",
    "LOSSES",
    "SHARES",
    "STEPS",
    "heading",
    "held",
    "label",
    "sentence",
]

# Points, and what files are made of: text that stays text in SVG and PDF.
POINTS = {"font.size": 9, "axes.titlesize": 10, "axes.labelsize": 9, "figure.titlesize": 11, "hatch.linewidth": 0.5}
RC: dict[Any, Any] = {
    "axes.grid": False,
    "axes.unicode_minus": True,
    "svg.hashsalt": "winit",
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
}


class NotebookFigure(Figure):
    """A figure that shows itself in a notebook without pyplot, which would keep every figure alive.

    caption: what stands beside it, a sentence a line. It keeps the settings that it was made with, and is saved with
    them and with its caption wherever it is saved.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.caption = ""
        self.settings = current()

    def savefig(self, fname: Any, **options: Any) -> None:
        """As of matplotlib, with the figure's own dots an inch, and its caption in the file."""
        kind = options.get("format") or str(fname).rpartition(".")[2].lower()
        own = _METADATA.get(kind)
        if own and "metadata" not in options:
            words = {"Title": self.caption.partition("\n")[0], own: self.caption}
            options["metadata"] = {name: text for name, text in words.items() if text} | _UNDATED.get(kind, {})
        with settings.holding(self.settings), themed():
            super().savefig(fname, **{"dpi": self.settings.dots, **options})

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=110)
        return buffer.getvalue()


# Where a format keeps a caption; the time of drawing would make every file of the same figure different.
_METADATA = {"png": "Description", "svg": "Description", "pdf": "Subject"}
_UNDATED: dict[str, dict[str, None]] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}


def themed() -> AbstractContextManager[None]:
    """A context in which figures are made and saved: seaborn's ticks theme with small type, as the settings want it."""
    points: dict[Any, Any] = {**sns.plotting_context("paper"), **POINTS}
    scaled = {name: size * current().look.type_scale for name, size in points.items()}
    return mpl.rc_context({**sns.axes_style("ticks"), **scaled, **RC})


def points(size: float) -> float:
    """A size in points on a screen, as the settings want it."""
    return size * current().look.type_scale


ColorScale = tuple[Normalize, mpl.colors.Colormap, str]


def color_scale(value: str, numbers: np.ndarray, spread: bool = False) -> ColorScale:
    """`usual_colors`, or as the settings want them: (norm, map, which ends of the color bar run on)."""
    return as_wanted(usual_colors(value, numbers, spread), numbers)


def as_wanted(usual: ColorScale, numbers: np.ndarray) -> ColorScale:
    """Colors with the map and the ends that the settings ask for. Errors: ValueError for ends that cannot be."""
    wanted = current()
    norm, colors, ends = usual
    if wanted.cmap is not None:
        colors = mpl.colormaps[wanted.cmap]
    if wanted.vmin is None and wanted.vmax is None:
        return norm, colors, ends
    low = norm.vmin if wanted.vmin is None else wanted.vmin
    high = norm.vmax if wanted.vmax is None else wanted.vmax
    if low is None or high is None or low >= high:
        raise ValueError(f"vmin = {low:g} is not less than vmax = {high:g}, where the other end of the colors is.")
    if isinstance(norm, LogNorm) and low <= 0:
        raise ValueError(f"vmin = {low:g} has no place on the logarithmic colors of this figure.")
    norm = copy(norm)
    norm.vmin, norm.vmax = low, high
    finite = numbers[np.isfinite(numbers)]
    beyond = (bool((finite < low).any()), bool((finite > high).any()))
    return norm, colors, ENDS[beyond]


# Whether numbers are (less than the colors reach, more) -> which ends of a color bar are pointed.
ENDS = {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}


def usual_colors(value: str, numbers: np.ndarray, spread: bool = False) -> ColorScale:
    """(norm, map, which ends of the color bar run on) shared by every panel of a figure.

    Growth is diverging about 0 (unchanged) and symmetric-logarithmic, so that a factor of 2 and one of
    1e50 both show; chi is diverging about 1 on a logarithmic scale from 1/10 to 10, the same for all maps; shares run
    from 0 to 1; the rest from least to greatest, losses and steps on a logarithmic scale where they span a factor of
    ten or more. spread: the numbers are standard deviations over seeds, which run from 0.
    """
    finite = numbers[np.isfinite(numbers)]
    if spread:
        top = float(np.quantile(finite, 0.995)) if finite.size else 1.0
        limits = Normalize(0, top or 1.0)
        return limits, sns.color_palette("viridis", as_cmap=True), "max" if finite.max(initial=0) > top else "neither"
    if value in GROWTHS:
        largest = float(np.quantile(np.abs(finite), 0.995)) if finite.size else 1.0
        limit = max(1.0, largest)
        ends = "neither" if not finite.size or np.abs(finite).max() <= limit else "both"
        return (
            SymLogNorm(0.3, linscale=0.6, vmin=-limit, vmax=limit),
            sns.color_palette("vlag", as_cmap=True),
            ends,
        )
    if value in FACTORS:
        ends = ENDS[bool((finite < 0.1).any()), bool((finite > 10).any())]
        # 0, which a logarithm leaves out, is as far below as colors go.
        diverging = sns.color_palette("vlag", as_cmap=True)
        shown = diverging.with_extremes(bad=diverging(0.0))
        return LogNorm(0.1, 10), shown, ends
    if value in ACCURACIES:
        return Normalize(0, 1), sns.color_palette("viridis", as_cmap=True), "neither"
    if value in SHARES:
        return Normalize(0, 1), sns.color_palette("rocket_r", as_cmap=True), "neither"
    if value in CORRELATIONS:
        low = min(0.0, float(finite.min())) if finite.size else 0.0
        return Normalize(low, 1), sns.color_palette("mako_r", as_cmap=True), "neither"
    low, high = np.quantile(finite, [0.005, 0.995]) if finite.size else (0.0, 1.0)
    if low == high:
        low, high = low - 0.5, high + 0.5
    beyond = (finite.min() < low, finite.max() > high) if finite.size else (False, False)
    ends = ENDS[bool(beyond[0]), bool(beyond[1])]
    if value in STEPS and high >= 10 * max(low, 1):
        # Step 0 is before training, and a step like any other.
        return SymLogNorm(1, linscale=0.3, vmin=low, vmax=high), sns.color_palette("viridis", as_cmap=True), ends
    if value in LOSSES and high >= 10 * low > 0:
        return LogNorm(low, high, clip=True), sns.color_palette("viridis", as_cmap=True), ends
    return Normalize(low, high), sns.color_palette("viridis", as_cmap=True), ends


def integer_ticks(low: float, high: float, most: int = 6) -> list[int]:
    """Whole numbers from low to high: the first one, then round ones: 1, 10, 20, ..."""
    first, last = round(low), round(high)
    step = next(s * 10**p for p in range(9) for s in (1, 2, 5) if (last - first) / (s * 10**p) <= most)
    round_ones = range(first // step * step, last + 1, step)
    return [first, *(tick for tick in round_ones if tick - first > step / 3)]


def counted(values: Sequence[float], most: int) -> list[float]:
    """Ticks of counts, as depths: each of a few that are there, less those that would touch, or round ones."""
    low, high = float(values[0]), float(values[-1])
    if 1 < len(values) <= most + 3:
        return spaced(values, low, high, log=False)
    return [*map(float, integer_ticks(low, high, most))]


def spaced(ticks: Sequence[float], low: float, high: float, log: bool, least: float = 0.11) -> list[float]:
    """The ticks less those whose labels would touch: at least `least` of the axis apart."""
    places = positions(ticks, low, high, log)
    kept: list[int] = []
    for i, position in enumerate(places):
        if not kept or position - places[kept[-1]] >= least:
            kept.append(i)
    return [ticks[i] for i in kept]


def beside(ticks: Sequence[float], low: float, high: float, log: bool, inches: float) -> list[float]:
    """Every tick, or every second, third, ... where labels beside each other on so many inches would touch."""
    places = positions(ticks, low, high, log) * inches
    # A digit is about 0.078 inches wide, a point half of that.
    widths = np.array([0.078 * len(digits(tick)) - 0.039 * digits(tick).count(".") for tick in ticks])
    for stride in range(1, len(ticks)):
        at, wide = places[::stride], widths[::stride]
        if (np.diff(at) >= (wide[1:] + wide[:-1]) / 2 + 0.04).all():
            return list(ticks[::stride])
    return list(ticks[:1])


def below(ticks: Sequence[float], low: float, high: float, log: bool, inches: float) -> tuple[list[float], list[str]]:
    """(Ticks, labels) along x: every tick where labels fit beside each other, or on two lines; else some of them."""
    ticks = list(ticks)
    kept = beside(ticks, low, high, log, inches)
    if len(kept) == len(ticks) or len(ticks) > 8:
        return kept, [digits(tick) for tick in kept]
    lines = [beside(ticks[first::2], low, high, log, inches) for first in (0, 1)]
    if sum(map(len, lines)) == len(ticks):
        return ticks, ["\n" * (index % 2) + digits(tick) for index, tick in enumerate(ticks)]
    return kept, [digits(tick) for tick in kept]


def positions(ticks: Sequence[float], low: float, high: float, log: bool) -> np.ndarray:
    """Where ticks stand, as shares of the axis from low to high."""
    place = np.log if log else np.asarray
    shares: np.ndarray = (place(np.asarray(ticks, float)) - place(low)) / (place(high) - place(low))
    return shares


def round_ticks(low: float, high: float) -> list[float]:
    """1, 2, 5 times powers of ten within a range."""
    powers = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    return [m * 10.0**p for p in powers for m in (1, 2, 5) if low <= m * 10.0**p <= high]


def growth_ticks(limit: float, least: float, most: int) -> list[float]:
    """Ticks of a symmetric logarithmic axis: 0, and powers of ten and 3 times them from `least` up to the limit.

    Of more than `most` on a side every second is left out, then all but powers of ten, then all but some of these.
    """
    powers = range(math.floor(math.log10(least)), math.floor(math.log10(limit * 1.001)) + 1)
    ticks = [m * 10.0**p for p in powers for m in (1, 3) if least * 0.999 <= m * 10.0**p <= limit * 1.001]
    if len(ticks) > 2 * most:
        ticks = [10.0**p for p in powers if least * 0.999 <= 10.0**p]
        ticks = ticks[:: -(-len(ticks) // most)]
    elif len(ticks) > most:
        ticks = ticks[1::2] if len(ticks) % 2 == 0 else ticks[::2]
    return [*(-tick for tick in reversed(ticks)), 0.0, *ticks]
