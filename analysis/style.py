"""How figures look: words for columns, colours, number formats, and what goes under a title."""

from collections.abc import Iterable
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.colors import Normalize, SymLogNorm
from matplotlib.figure import Figure

LABELS = {
    "preact_mean": "mean pre-activation",
    "preact_std": "std of pre-activations",
    "act_mean": "mean activation",
    "act_std": "std of activations",
    "act_min": "least activation",
    "act_max": "greatest activation",
    "log10_act_rms": "log10 RMS activation",
    "saturated": "saturated share of (input, unit) pairs",
    "dead": "dead share of units",
    "zero": "share of activations that are 0",
    "unit_similarity": "similarity of units (1: all say the same)",
    "input_correlation": "correlation of inputs (1: all look the same)",
    "nonfinite": "share of activations not finite",
    "log10_jacobian": "log10 of RMS singular value of the Jacobian",
    "gain": "gain, std x sqrt(fan-in)",
    "std": "std of weights",
    "bias_std": "std of biases",
    "depth": "depth (layers)",
    "width": "width (units)",
    "layer": "layer",
}
SHARES = ("saturated", "dead", "zero", "nonfinite")
CORRELATIONS = ("unit_similarity", "input_correlation")
GROWTHS = ("log10_act_rms", "log10_jacobian", "theory_log10_act_rms", "theory_log10_jacobian")

# The span of float32: signals beyond it exist only because their scale is carried beside them.
FLOAT32_LOG10 = 38.0

HATCHES: dict[str, dict[str, Any]] = {
    "overflow": {"facecolor": "#fff3c4", "edgecolor": "#a3742b", "hatch": "xxxx"},
    "zero": {"facecolor": "#e3e3e3", "edgecolor": "#777777", "hatch": "...."},
    "missing": {"facecolor": "#ffffff", "edgecolor": "#b5b5b5", "hatch": "////"},
}
HATCH_WORDS = {"overflow": "overflow", "zero": "exactly zero", "missing": "not run"}

RC = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "figure.titlesize": 11,
    "axes.grid": False,
    "hatch.linewidth": 0.5,
    "svg.hashsalt": "winit",
}


def themed():
    """A context in which figures are made: seaborn's ticks theme with small type."""
    settings: dict[Any, Any] = {**sns.axes_style("ticks"), **sns.plotting_context("paper"), **RC}
    return mpl.rc_context(settings)


def label(name: str) -> str:
    """Words for a column."""
    return LABELS.get(name, name.replace("_", " "))


def number(value: object) -> str:
    """A value of a key, short."""
    return f"{value:.3g}" if isinstance(value, float | np.floating) else str(value)


def colours(value: str, numbers: np.ndarray) -> tuple[Normalize, mpl.colors.Colormap, str]:
    """(norm, map, which ends of the colour bar run on) shared by every panel of a figure.

    Growth is diverging about 0 (unchanged) and symmetric-logarithmic, so that a factor of 2 and one of
    1e50 both show; shares run from 0 to 1; the rest from least to greatest.
    """
    finite = numbers[np.isfinite(numbers)]
    if value in GROWTHS:
        largest = float(np.quantile(np.abs(finite), 0.995)) if finite.size else 1.0
        limit = max(1.0, largest)
        ends = "neither" if not finite.size or np.abs(finite).max() <= limit else "both"
        return (
            SymLogNorm(0.3, linscale=0.6, vmin=-limit, vmax=limit),
            sns.color_palette("vlag", as_cmap=True),
            ends,
        )
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
    return Normalize(low, high), sns.color_palette("viridis", as_cmap=True), ends


def held(frame: pd.DataFrame, shown: Iterable[str | None]) -> str:
    """What a figure holds fixed, in words: 'init normal, width 100, bias_std 0'."""
    words = []
    for key in ("init", "gain", "std", "bias_std", "normalization", "width", "depth", "activation"):
        if key in shown or key not in frame or frame[key].nunique() != 1:
            continue
        value = frame[key].iloc[0]
        if (key == "bias_std" and value == 0) or (key == "normalization" and value == "none"):
            continue
        if key == "std" and frame["gain"].nunique() == 1:
            continue
        words.append(f"{key} {number(value)}")
    return ", ".join(words)


def title(figure: Figure, text: str, below: str) -> None:
    """A title, and a line under it that says what is fixed and how seeds are put together."""
    figure.suptitle(f"{text}\n{below}" if below else text, x=0.5, ha="center")


def sentence(text: str) -> str:
    """With a capital first letter, the rest as it is."""
    return text[:1].upper() + text[1:]


def integer_ticks(low: float, high: float, most: int = 6) -> list[int]:
    """Whole numbers from low to high: the first one, then round ones: 1, 10, 20, ..."""
    first, last = round(low), round(high)
    step = next(s * 10**p for p in range(9) for s in (1, 2, 5) if (last - first) / (s * 10**p) <= most)
    round_ones = range(first // step * step, last + 1, step)
    return [first, *(tick for tick in round_ones if tick - first > step / 3)]


def spaced(ticks: list[float], low: float, high: float, log: bool, least: float = 0.11) -> list[float]:
    """The ticks less those whose labels would touch: at least `least` of the axis apart."""
    place = np.log if log else np.asarray
    at = (place(np.asarray(ticks, float)) - place(low)) / (place(high) - place(low))
    kept: list[int] = []
    for i, position in enumerate(at):
        if not kept or position - at[kept[-1]] >= least:
            kept.append(i)
    return [ticks[i] for i in kept]
