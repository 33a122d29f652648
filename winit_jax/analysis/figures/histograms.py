"""Layer-by-layer histograms of activations, as the teaching texts draw them."""

from typing import Any, cast

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from winit_jax.analysis.figures import style
from winit_jax.analysis.figures.layers import choose, held, seeds_together
from winit_jax.analysis.figures.page import Page, Size, open_page
from winit_jax.analysis.figures.places import of_layers
from winit_jax.analysis.figures.words import plain
from winit_jax.analysis.selection import cut
from winit_jax.analysis.tables import of_last_site, tidy

SIZE = Size(width=1.55, height=1.1, beside=1.0, narrowest=3.6)
MAX_LAYERS, MAX_ROWS = 5, 5
STATS = {"share": "share of activations in a bin", "density": "density of activations", "count": "activations in a bin"}
# What of the y axes is said: of share_y.
SAME_Y = {
    "row": "each row has a y axis of its own",
    "all": "all panels have the same y axis",
    "none": "each panel has a y axis of its own",
}
SHARE_Y = ("row", "all", "none")
# A bin this much taller than any other of its row is cut off, or it would hide them.
SPIKE, CUT = 5.0, "\u2191"
NOTE: dict[str, Any] = {"va": "top", "fontsize": 7, "color": "#a33b20"}


def histograms(
    frame: pd.DataFrame, *, stat: str = "share", share_y: str = "row", title: str | None = None, below: str = ""
) -> Figure:
    """One panel a layer and initialization, all seeds together.

    frame: rows of the histograms table with one activation, width, bias_std and normalization; at most
    MAX_ROWS initializations and MAX_LAYERS layers are drawn, evenly chosen.
    stat: height of a bar: share of all activations, density (share over bin width) or count.
    share_y: which panels have the same y axis: those of a row, all, or none.
    x shows the bins that any panel has something in, and one beside them at each end.
    Shares below and above the bins, and of values that are not finite, stand in the panel, as does the share
    of a bin that is cut off: one more than SPIKE times as tall as any other.
    Errors: ValueError for unknown options, for a key that varies and has no place, and for a table without bins.
    """
    if stat not in STATS or share_y not in SHARE_Y:
        raise ValueError(f"stat is one of {', '.join(STATS)}, and share_y one of {', '.join(SHARE_Y)}.")
    frame = of_last_site(tidy(frame))
    chosen, edges = choose(frame, MAX_ROWS, MAX_LAYERS, "std"), _edges(frame)
    counts = _counts(frame[frame["layer"].isin(chosen.layers)], chosen.scale)
    low, high = _filled(counts, edges)
    bars = [[_bars(counts, (*init, layer), edges) for layer in chosen.layers] for init in chosen.inits]
    with style.themed():
        holds = [[{"layer": layer} for layer in chosen.layers] for _ in chosen.inits]
        page = open_page(holds, SIZE, sharey=cast(Any, share_y))
        for row, of_row, init in zip(page.rows, bars, chosen.inits, strict=True):
            for panel, panel_bars in zip(row, of_row, strict=True):
                same = {"row": of_row, "all": [each for line in bars for each in line], "none": [panel_bars]}[share_y]
                _scale_x(panel.axes, low, high)
                _draw(panel.axes, panel_bars, _top([_heights(each, edges, stat) for each in same]), edges, stat)
            row[0].axes.set_ylabel(chosen.name(init))
        for panel in page.rows[0]:
            panel.axes.set_title(panel.name)
        page.label_x("activation")
        page.figure.align_ylabels([row[0].axes for row in page.rows])
        page.label_y(STATS[stat] + (", each row to its own scale" if share_y == "row" and len(bars) > 1 else ""))
        cut_off = "a bar that is cut off at the top says what share its bin has" if _is_any_cut(page) else ""
        return page.finish(
            title or style.heading("Activations layer by layer", frame),
            below,
            (held(frame, "depth"), seeds_together(frame), *chosen.left_out, STATS[stat], SAME_Y[share_y], cut_off),
        )


def histogram_figures(frame: pd.DataFrame) -> dict[str, Figure]:
    """A figure for each combination of the keys that `histograms` wants fixed; named by their values."""
    keys = [key for key in of_layers(frame, {}).left if key != "activation"]
    figures = {}
    for activation, rows in cut(frame, ["activation"]).items():
        for suffix, part in cut(rows, keys).items():
            figures[activation.removeprefix("-activation-") + suffix] = histograms(part)
    return figures


def _edges(frame: pd.DataFrame) -> np.ndarray:
    """Edges of the bins, [bins + 1]. Errors: ValueError if there are none."""
    finite = np.isfinite(frame["bin_low"]) & np.isfinite(frame["bin_high"])
    if not finite.any():
        raise ValueError("The histograms table has no bins.")
    return np.append(np.sort(frame.loc[finite, "bin_low"].unique()), frame.loc[finite, "bin_high"].max())


def _filled(counts: pd.Series, edges: np.ndarray) -> tuple[float, float]:
    """Ends of x: a bin beside the outermost ones with anything in them; 0 stays in sight."""
    lows = counts[counts > 0].index.get_level_values("bin_low").to_numpy(float)
    inside = lows[np.isfinite(lows) & (lows < edges[-1])]
    width = float(np.diff(edges).max())
    if not inside.size:
        return float(edges[0]), float(edges[-1])
    first, last = np.searchsorted(edges, [inside.min(), inside.max()])
    low, high = min(edges[first], 0.0) - width, max(edges[min(last + 1, len(edges) - 1)], 0.0) + width
    return float(max(low, edges[0] - width)), float(min(high, edges[-1] + width))


def _scale_x(axes: Axes, low: float, high: float) -> None:
    """Limits and three ticks at most."""
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(lambda tick, _: plain(tick))


def _is_any_cut(page: Page) -> bool:
    return any(CUT in text.get_text() for axes in page.axes for text in axes.texts)


def _counts(frame: pd.DataFrame, scale: str) -> pd.Series:
    """Activations of all seeds by init, scale, layer and low edge of the bin."""
    return frame.groupby(["init", scale, "layer", "bin_low"], observed=True, dropna=False)["count"].sum()


def _bars(counts: pd.Series, key: tuple[Any, ...], edges: np.ndarray) -> pd.Series:
    """Counts by the low edge of their bin, -inf (below), the top edge (above) and NaN (not finite); 0 if absent."""
    counted = counts.loc[key] if key in counts.index else pd.Series(dtype=float)
    return counted.groupby(level=0, dropna=False).sum().reindex([-np.inf, *edges, np.nan], fill_value=0)


def _shares(counts: pd.Series) -> np.ndarray:
    """[1 + bins + 2]: below, in each bin, above, not finite."""
    return counts.to_numpy(float) / max(counts.sum(), 1)


def _heights(counts: pd.Series, edges: np.ndarray, stat: str) -> np.ndarray:
    """Heights of the bars, [bins]."""
    shares = _shares(counts)[1:-2]
    if stat == "density":
        return shares / np.diff(edges)
    return counts.to_numpy(float)[1:-2] if stat == "count" else shares


def _top(panels: list[np.ndarray]) -> float:
    """Top of the y axis of panels that have the same one: over the tallest bar, or through it if it is a spike."""
    bars = np.sort(np.stack(panels), axis=1)
    tallest, next_tallest = bars[:, -1].max(), bars[:, -2:-1].max(initial=0.0)
    if 0 < SPIKE * next_tallest < tallest:
        return float(1.6 * next_tallest)
    return float(1.3 * tallest) or 1.0


def _draw(axes: Axes, counts: pd.Series, top: float, edges: np.ndarray, stat: str) -> None:
    shares, heights = _shares(counts), _heights(counts, edges, stat)
    axes.stairs(heights, edges, fill=True, color="#3a6ea5")
    axes.set_ylim(0, top)
    axes.yaxis.set_major_locator(MaxNLocator(3))
    axes.tick_params(labelsize=style.points(7))
    _note_outside(axes, counts, shares, edges)
    if heights.max() > top:
        _note_spike(axes, int(np.argmax(heights)), shares, edges)


def _note_outside(axes: Axes, counts: pd.Series, shares: np.ndarray, edges: np.ndarray) -> None:
    """Say which shares lie outside the bins."""
    outside = {f"< {plain(edges[0])}": shares[0], f"> {plain(edges[-1])}": shares[-2], "not finite": shares[-1]}
    lines = [f"{_percent(share)} {words}" for words, share in outside.items() if share]
    if not counts.sum():
        lines = ["not run"]
    if lines:
        look = {"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 0.8}
        words = "\n".join(lines)
        axes.text(0.97, 0.95, words, transform=axes.transAxes, ha="right", linespacing=1.1, bbox=look, **NOTE)


def _note_spike(axes: Axes, spike: int, shares: np.ndarray, edges: np.ndarray) -> None:
    """Say the share of a bin that is cut off, beside it, and that it goes on."""
    low, high = axes.get_xlim()
    left, right = (edges[spike : spike + 2] - low) / (high - low)
    at, side = (left - 0.03, "right") if left > 0.35 else (right + 0.03, "left")
    look = NOTE | {"fontsize": 6.5}
    axes.text(at, 0.95, f"{CUT} {_percent(shares[1 + spike])}\nin this bin", transform=axes.transAxes, ha=side, **look)


def _percent(share: float) -> str:
    return "<1%" if share < 0.01 else ">99%" if 0.995 <= share < 1 else f"{share:.0%}"
