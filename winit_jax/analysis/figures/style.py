"""How figures look: words for columns, colors, hatches, ticks, and what a figure holds fixed."""

import io
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.colors import LogNorm, Normalize, SymLogNorm
from matplotlib.figure import Figure

from winit_jax.analysis.columns import (
    ACCURACIES,
    CORRELATIONS,
    FACTORS,
    GRADIENTS,
    GROWTHS,
    LABELS,
    LEARNT,
    LOSSES,
    SHARES,
    STEPS,
)
from winit_jax.analysis.tables import is_named, number, said
from winit_jax.columns import AXES, own_skip

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
HATCH_WORDS = {
    "overflow": "overflow",
    "zero": "exactly zero",
    "undefined": "not defined",
    "diverged": "most seeds diverged",
    "infinite": "some seeds diverged",
    "unreached": "target accuracy not reached",
    "stable": "did not diverge",
    "missing": "not run",
}
__all__ = [
    "ACCURACIES",
    "CORRELATIONS",
    "FACTORS",
    "GRADIENTS",
    "GROWTHS",
    "LABELS",
    "LEARNT",
    "LOSSES",
    "SHARES",
    "STEPS",
]

RC = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "figure.titlesize": 11,
    "axes.grid": False,
    "hatch.linewidth": 0.5,
    "svg.hashsalt": "winit",
    "pdf.fonttype": 42,
}


class NotebookFigure(Figure):
    """A figure that shows itself in a notebook without pyplot, which would keep every figure alive."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        with themed():
            self.savefig(buffer, format="png", dpi=110)
        return buffer.getvalue()


def themed() -> AbstractContextManager[None]:
    """A context in which figures are made and saved: seaborn's ticks theme with small type."""
    settings: dict[Any, Any] = {**sns.axes_style("ticks"), **sns.plotting_context("paper"), **RC}
    return mpl.rc_context(settings)


def label(name: str) -> str:
    """Words for a column."""
    return LABELS.get(name, name.replace("_", " "))


def color_scale(value: str, numbers: np.ndarray, spread: bool = False) -> tuple[Normalize, mpl.colors.Colormap, str]:
    """(norm, map, which ends of the color bar run on) shared by every panel of a figure.

    Growth is diverging about 0 (unchanged) and symmetric-logarithmic, so that a factor of 2 and one of
    1e50 both show; chi is diverging about 1 on a logarithmic scale; shares run from 0 to 1; the rest from least to
    greatest, losses and steps on a logarithmic scale where they span a factor of ten or more. spread: the numbers are
    standard deviations over seeds, which run from 0.
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
        sizes = np.abs(np.log10(finite[finite > 0]))
        limit = max(1.0, float(np.quantile(sizes, 0.995))) if sizes.size else 1.0
        ends = "both" if (finite == 0).any() or sizes.max(initial=0) > limit else "neither"
        # 0, which a logarithm leaves out, is as far below as colors go.
        diverging = sns.color_palette("vlag", as_cmap=True)
        shown = diverging.with_extremes(bad=diverging(0.0))
        return LogNorm(10**-limit, 10**limit), shown, ends
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
    ends = {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}[beyond]
    if value in STEPS and high >= 10 * max(low, 1):
        # Step 0 is before training, and a step like any other.
        return SymLogNorm(1, linscale=0.3, vmin=low, vmax=high), sns.color_palette("viridis", as_cmap=True), ends
    if value in LOSSES and high >= 10 * low > 0:
        return LogNorm(low, high, clip=True), sns.color_palette("viridis", as_cmap=True), ends
    return Normalize(low, high), sns.color_palette("viridis", as_cmap=True), ends


def held(frame: pd.DataFrame, shown: Iterable[str | None]) -> str:
    """What a figure holds fixed, in words: 'init normal, width 100, bias_std 0'; nothing of what is as it usually is.

    Of a layer with several sites it says which one is shown.
    """
    words = []
    scales, sizes = ("init", "gain", "std", "bias_std", "normalization", "norm_epsilon"), ("width", "depth")
    others = (axis for axis in AXES if axis != "seed")  # how seeds are put together is said beside
    for key in dict.fromkeys((*scales, *sizes, *others)):
        if key in shown or key not in frame or frame[key].nunique() != 1:
            continue
        value = frame[key].iloc[0]
        if _goes_without_saying(frame, key, value) or (key == "std" and frame["gain"].nunique() == 1):
            continue
        words.append(f"{key} {value}" if is_named(frame, key) else said(key, value))
    if "site" in frame and "site" not in shown and frame["site"].nunique() == 1:
        words.append(f"site {frame['site'].dropna().iloc[0]}")
    return ", ".join(words)


def _goes_without_saying(frame: pd.DataFrame, key: str, value: Any) -> bool:
    """Whether the only value of a key is that which networks have unless a sweep says otherwise.

    A skip is each block's own, and what a normalization is told matters to networks that have one.
    """
    axis = AXES[key]
    if key == "normalization":
        return bool(value == "none")
    if axis.given_with == "normalization" and set(frame["normalization"]) == {"none"}:
        return True
    if key == "skip_scale" and "block" in frame:
        return {own_skip(block) for block in frame["block"].unique()} == {value}
    usual = axis.default if axis.given_with == "normalization" else axis.before
    return usual is not None and bool(value == usual)


def sentence(text: str) -> str:
    """With a capital first letter, unless it is a logarithm or a symbol; the rest as it is."""
    return text if text.startswith(("log", "χ")) else text[:1].upper() + text[1:]


def integer_ticks(low: float, high: float, most: int = 6) -> list[int]:
    """Whole numbers from low to high: the first one, then round ones: 1, 10, 20, ..."""
    first, last = round(low), round(high)
    step = next(s * 10**p for p in range(9) for s in (1, 2, 5) if (last - first) / (s * 10**p) <= most)
    round_ones = range(first // step * step, last + 1, step)
    return [first, *(tick for tick in round_ones if tick - first > step / 3)]


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
    widths = np.array([0.078 * len(number(tick)) - 0.039 * number(tick).count(".") for tick in ticks])
    for stride in range(1, len(ticks)):
        at, wide = places[::stride], widths[::stride]
        if (np.diff(at) >= (wide[1:] + wide[:-1]) / 2 + 0.04).all():
            return list(ticks[::stride])
    return list(ticks[:1])


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
    """Ticks of a symmetric logarithmic axis: 0, and 1 or 3 times powers of ten from `least` up to the limit."""
    ticks = [m * 10.0**p for p in range(-3, 6) for m in (1, 3) if least <= m * 10.0**p <= limit * 1.001]
    if len(ticks) > most:
        ticks = ticks[1::2] if len(ticks) % 2 == 0 else ticks[::2]
    return [*(-tick for tick in reversed(ticks)), 0.0, *ticks]
