"""Layer-by-layer histograms of activations, as the teaching texts draw them."""

from typing import Any, cast

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator

from winit_jax.analysis import style
from winit_jax.analysis.load import tidy, varying

MAX_LAYERS, MAX_ROWS = 5, 5
STATS = {"share": "share of activations in each bin", "density": "density of activations", "count": "activations"}
SHARE_Y = ("row", "all", "none")
# A bin this much taller than any other of its row is cut off, or it would hide them.
SPIKE = 5.0


def evenly(values: list, most: int) -> list:
    """At most `most` of the values, first and last among them, evenly spaced."""
    if len(values) <= most:
        return list(values)
    return [values[i] for i in np.unique(np.linspace(0, len(values) - 1, most).round().astype(int))]


def histograms(frame: pd.DataFrame, *, stat: str = "share", share_y: str = "row", title: str | None = None) -> Figure:
    """One panel a layer and initialisation, all seeds together.

    frame: rows of the histograms table with one activation, width, bias_std and normalization; at most
    MAX_ROWS initialisations and MAX_LAYERS layers are drawn, evenly chosen.
    stat: height of a bar: share of all activations, density (share over bin width) or count.
    share_y: which panels have the same y axis: those of a row, all, or none.
    Shares below and above the bins, and of values that are not finite, stand in the panel, as does the share
    of a bin that is cut off: one more than SPIKE times as tall as any other.
    Errors: ValueError for unknown options, for a key that varies and has no place, and for a table without bins.
    """
    if stat not in STATS or share_y not in SHARE_Y:
        raise ValueError(f"stat is one of {', '.join(STATS)}, and share_y one of {', '.join(SHARE_Y)}.")
    frame = tidy(frame)
    scale = next((key for key in varying(frame) if key in ("std", "gain")), frame.attrs.get("scale_axis") or "std")
    left = [key for key in varying(frame) if key not in ("init", "std", "gain", "seed", "depth")]
    if left:
        raise ValueError(f"{', '.join(left)} take more than one value: keep one of each for a histogram figure.")
    inits = frame[["init", scale]].drop_duplicates().sort_values(["init", scale])
    all_layers = sorted(frame["layer"].unique())
    rows, layers = inits.iloc[evenly(list(range(len(inits))), MAX_ROWS)], evenly(all_layers, MAX_LAYERS)
    edges = _edges(frame)
    drawn = frame[frame["layer"].isin(layers)]
    grouped = drawn.groupby(["init", scale, "layer", "bin_low"], observed=True, dropna=False)["count"].sum()
    with style.themed():
        figure = style.NotebookFigure(figsize=(1.0 + 1.55 * len(layers), 1.3 + 1.15 * len(rows)), layout="constrained")
        axes = figure.subplots(len(rows), len(layers), sharex=True, sharey=cast(Any, share_y), squeeze=False)
        found = [
            [_counts(grouped, (init, at, layer), edges) for layer in layers]
            for init, at in rows.itertuples(index=False)
        ]
        for i, (init, at) in enumerate(rows.itertuples(index=False)):
            for j, layer in enumerate(layers):
                same = {"row": found[i], "all": [c for line in found for c in line], "none": [found[i][j]]}[share_y]
                top = _top([_heights(counts, edges, stat) for counts in same])
                _panel(axes[i, j], found[i][j], top, edges, stat)
                if i == 0:
                    axes[i, j].set_title(f"layer {layer}")
            axes[i, 0].set_ylabel(f"{init}\n{scale} {style.number(at)}")
        figure.align_ylabels(axes[:, 0])
        for panel_axes in axes[-1]:
            panel_axes.set_xlabel("activation")
        style.title(
            figure,
            title or f"Activations of {frame['activation'].iloc[0]} networks, layer by layer",
            ", ".join(_below(frame, stat, scale, (len(rows), len(inits)), (len(layers), len(all_layers)))),
        )
    return figure


def _below(frame: pd.DataFrame, stat: str, scale: str, rows: tuple[int, int], layers: tuple[int, int]) -> list[str]:
    count = frame["seed"].nunique()
    texts = [
        STATS[stat],
        style.held(frame, ("init", "std", "gain", "activation", "depth")),
        f"{count} seeds together" if count > 1 else "one seed",
    ]
    if rows[0] < rows[1]:
        texts.append(f"{rows[0]} of {rows[1]} {'inits' if frame[scale].nunique() == 1 else scale + 's'}")
    if layers[0] < layers[1]:
        texts.append(f"{layers[0]} of {layers[1]} layers")
    return [text for text in texts if text]


def _edges(frame: pd.DataFrame) -> np.ndarray:
    """Edges of the bins, [bins + 1]. Errors: ValueError if there are none."""
    finite = np.isfinite(frame["bin_low"]) & np.isfinite(frame["bin_high"])
    if not finite.any():
        raise ValueError("The histograms table has no bins.")
    return np.append(np.sort(frame.loc[finite, "bin_low"].unique()), frame.loc[finite, "bin_high"].max())


def _counts(grouped: pd.Series, key: tuple, edges: np.ndarray) -> pd.Series:
    """Counts by the low edge of their bin, -inf (below), the top edge (above) and NaN (not finite); 0 if absent."""
    counts = grouped.loc[key] if key in grouped.index else pd.Series(dtype=float)
    return counts.groupby(level=0, dropna=False).sum().reindex([-np.inf, *edges, np.nan], fill_value=0)


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


def _panel(axes: Axes, counts: pd.Series, top: float, edges: np.ndarray, stat: str) -> None:
    shares, heights = _shares(counts), _heights(counts, edges, stat)
    axes.stairs(heights, edges, fill=True, color="#3a6ea5")
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(0, top)
    axes.xaxis.set_major_locator(FixedLocator([edges[0], (edges[0] + edges[-1]) / 2, edges[-1]]))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_major_locator(MaxNLocator(3))
    notes = {
        f"< {edges[0]:g}": shares[0],
        f"> {edges[-1]:g}": shares[-2],
        "not finite": shares[-1],
    }
    lines = [f"{_percent(share)} {words}" for words, share in notes.items() if share]
    if not counts.sum():
        lines = ["not run"]
    note: dict[str, Any] = {"transform": axes.transAxes, "va": "top", "fontsize": 7, "color": "#a33b20"}
    if lines:
        look = {"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 0.8}
        axes.text(0.97, 0.95, "\n".join(lines), ha="right", linespacing=1.1, bbox=look, **note)
    if heights.max() > top:
        spike = int(np.argmax(heights))
        left, right = (edges[spike : spike + 2] - edges[0]) / (edges[-1] - edges[0])
        at, side = (left - 0.03, "right") if left > 0.35 else (right + 0.03, "left")
        axes.text(at, 0.95, f"{_percent(shares[1 + spike])} here", ha=side, **(note | {"fontsize": 6.5}))
    axes.tick_params(labelsize=7)


def _percent(share: float) -> str:
    return "<1%" if share < 0.01 else ">99%" if 0.995 <= share < 1 else f"{share:.0%}"


def histogram_parts(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The rows of each figure: one for every activation, width, bias_std and normalization, named by what varies."""
    keys = [
        "activation",
        *(
            key
            for key in ("width", "bias_std", "normalization", "norm_epsilon")
            if key in frame and frame[key].nunique() > 1
        ),
    ]
    parts = {}
    for (activation, *values), part in frame.groupby(keys, observed=True):
        part.attrs = frame.attrs
        fixed = "".join(f"-{key}-{style.word(value)}" for key, value in zip(keys[1:], values, strict=True))
        parts[f"{activation}{fixed}"] = part
    return parts


def histogram_figures(frame: pd.DataFrame) -> dict[str, Figure]:
    """A figure for each combination of the keys that `histograms` wants fixed; named by their values."""
    return {name: histograms(part) for name, part in histogram_parts(frame).items()}
