"""Gradients of the loss: how they grow from the last layer back to the first, and how they are spread."""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from winit_jax.analysis import style
from winit_jax.analysis.histograms import evenly
from winit_jax.analysis.load import KEYS, tidy, varying

MAX_LAYERS, MAX_ROWS = 5, 4
# Half the axis, in RMS of the layer whose gradients are largest; and in each layer's own.
REACH = 4.0
# log10 of the bottom of both axes of densities, and of how small a layer's RMS may be to be drawn beside another's.
LEAST = -4
HIDDEN = 3
NORMAL: dict[str, Any] = {"color": "#777777", "ls": ":", "lw": 1.0}
NAMES = {"log10_preact_grad_rms": "log10_preact_grad_growth", "log10_weight_grad_rms": "log10_weight_grad_growth"}


def gradient_growth(frame: pd.DataFrame) -> pd.DataFrame:
    """How much larger gradients are at the first layer than at the last: one row a network.

    frame: the gradients table (or, for the deepest networks only, layers). Columns: the keys,
    log10_preact_grad_growth, log10_weight_grad_growth = log10 RMS at layer 1 - log10 RMS at layer depth, and
    log10_preact_grad_rms, log10_weight_grad_rms at layer 1, and layer = 1. A growth of 0 is unchanged, -inf exactly
    zero at the first layer, NaN where the last layer's gradient is zero too.
    Errors: ValueError if gradients are not measured or a layer is missing.
    """
    columns = [name for name in NAMES if name in frame and frame[name].notna().any()]
    if not columns:
        raise ValueError("Gradients are not measured in this table.")
    keys = [key for key in KEYS if key in frame]
    first, last = (frame[frame["layer"] == at] for at in (1, frame["depth"]))
    both = first[[*keys, *columns]].merge(last[[*keys, *columns]], on=keys, suffixes=("", "_last"))
    if both.empty:
        raise ValueError("This table lacks the first or the last layer.")
    with np.errstate(invalid="ignore"):
        growth = {NAMES[name]: both[name] - both[f"{name}_last"] for name in columns}
    table = both[[*keys, *columns]].assign(**growth, layer=1)
    table.attrs = frame.attrs
    return table


def gradient_histograms(frame: pd.DataFrame, *, title: str | None = None, below: str = "") -> Figure:
    """Densities of pre-activation gradients, a line a layer: left in true units, right in each layer's RMS.

    frame: rows of the gradient_histograms table with one activation, width, bias_std and normalization; at most
    MAX_ROWS initialisations (a row each) and MAX_LAYERS layers, evenly chosen; all seeds together. A seed's edges
    are its own: the left shows them at the layer's median RMS over seeds.
    Left (as in Glorot & Bengio 2010): x reaches REACH RMS of the layer with the largest gradients, so that layers
    whose gradients vanish stand as spikes at 0; those below 10^-HIDDEN of it are named and not drawn. Right:
    shapes alone, beside a standard normal. Densities are logarithmic, and of all gradients, those beyond the
    bins too.
    Errors: ValueError for a key that varies and has no place, and for a table without bins.
    """
    frame = tidy(frame)
    scale = next((key for key in varying(frame) if key in ("std", "gain")), frame.attrs.get("scale_axis") or "gain")
    left = [key for key in varying(frame) if key not in ("init", "std", "gain", "seed", "depth")]
    if left:
        raise ValueError(f"{', '.join(left)} take more than one value: keep one of each for a histogram figure.")
    if not np.isfinite(frame["bin_low"]).any():
        raise ValueError("The gradient_histograms table has no bins.")
    inits = frame[["init", scale]].drop_duplicates().sort_values(["init", scale])
    rows = inits.iloc[evenly(list(range(len(inits))), MAX_ROWS)]
    all_layers = sorted(frame["layer"].unique())
    layers = evenly(all_layers, MAX_LAYERS)
    with style.themed():
        figure = style.NotebookFigure(figsize=(7.6, 1.3 + 1.75 * len(rows)), layout="constrained")
        axes = figure.subplots(len(rows), 2, squeeze=False)
        colours = list(mpl.colormaps["viridis"](np.linspace(0, 0.9, len(layers))))
        for (true, own), (init, at) in zip(axes, rows.itertuples(index=False), strict=True):
            part = frame[(frame["init"] == init) & (frame[scale] == at)]
            _row(true, own, part, layers, colours)
            true.set_ylabel(f"{init}\n{scale} {style.number(at)}\ndensity")
        axes[0, 0].set_title("true units")
        axes[0, 1].set_title("units of each layer's RMS")
        axes[-1, 0].set_xlabel("gradient of a pre-activation")
        axes[-1, 1].set_xlabel("gradient / RMS gradient of its layer")
        figure.align_ylabels(axes[:, 0])
        handles = [
            Line2D([], [], color=colour, label=f"{layer}") for colour, layer in zip(colours, layers, strict=True)
        ]
        handles.append(Line2D([], [], label="normal", **NORMAL))
        figure.legend(handles=handles, title="layer", loc="outside right center", frameon=False)
        count = frame["seed"].nunique()
        texts = [
            style.held(frame, ("init", "std", "gain", "activation")),
            f"{count} seeds together" if count > 1 else "one seed",
            "left: densities × largest RMS",
            f"{len(rows)} of {len(inits)} {scale}s" if len(rows) < len(inits) else "",
            f"{len(layers)} of {len(all_layers)} layers" if len(layers) < len(all_layers) else "",
        ]
        heading = title or f"Gradients of {frame['activation'].iloc[0]} networks, layer by layer"
        style.title(figure, heading, below, ", ".join(text for text in texts if text))
    return figure


def _row(true: Axes, own: Axes, part: pd.DataFrame, layers: Sequence[int], colours: Sequence) -> None:
    """Both panels of one initialisation."""
    densities = {layer: _density(part[part["layer"] == layer]) for layer in layers}
    scales = {layer: rms for layer, (*_, rms) in densities.items() if rms is not None}
    if not scales:
        for panel in (true, own):
            panel.text(0.5, 0.5, "exactly zero or not finite", transform=panel.transAxes, ha="center", fontsize=8)
            panel.set(xticks=[], yticks=[])
        return
    # The true scale may lie beyond float64, so all is drawn relative to the largest layer's.
    largest = max(scales.values())
    peak, small = 1.0, []
    for layer, colour in zip(layers, colours, strict=True):
        edges, density, rms = densities[layer]
        if rms is None:
            continue
        heights = np.where(density > 0, density, np.nan)
        own.stairs(heights, edges, color=colour, lw=1.1, baseline=None)
        if rms < largest - HIDDEN:
            small.append(layer)
            continue
        factor = 10.0 ** (rms - largest)
        true.stairs(heights / factor, edges * factor, color=colour, lw=1.1, baseline=None)
        peak = max(peak, np.nanmax(heights) / factor)
    x = np.linspace(-REACH - 1, REACH + 1, 201)
    own.plot(x, np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi), **NORMAL)
    for panel, reach, top in ((own, REACH + 1, 2.0), (true, REACH, 3 * peak)):
        panel.set(xlim=(-reach, reach), yscale="log", ylim=(10.0**LEAST, top))
        panel.yaxis.set_major_locator(LogLocator(numticks=5))
        panel.yaxis.set_minor_locator(NullLocator())
    _true_ticks(true, largest)
    if small:
        words = (
            f"layer{'s' if len(small) > 1 else ''} {', '.join(map(str, small))}:\nRMS below $10^{{{-HIDDEN}}}$ of this"
        )
        look = {"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 0.8}
        true.text(0.03, 0.95, words, transform=true.transAxes, va="top", fontsize=7, color="#a33b20", bbox=look)


def _true_ticks(axes: Axes, largest: float) -> None:
    """Ticks in true units on an axis in units of 10^largest, and their common power of ten."""
    power = int(np.floor(largest))
    unit = 10.0 ** (largest - power)
    ticks = [tick for tick in MaxNLocator(5).tick_values(-REACH * unit, REACH * unit) if abs(tick) <= REACH * unit]
    axes.set_xticks([tick / unit for tick in ticks], [f"{tick:g}" for tick in ticks])
    words = rf"$\times 10^{{{power}}}$"
    axes.text(0.985, 0.03, words, transform=axes.transAxes, ha="right", va="bottom", fontsize=8)


def _density(part: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, float | None]:
    """(edges, density, log10 RMS) of one layer in units of its RMS; log10 RMS None where there is nothing to draw."""
    inside = part[np.isfinite(part["bin_low"]) & np.isfinite(part["bin_high"])]
    bins = inside.groupby("bin_low").agg(high=("bin_high", "max"), count=("count", "sum"))
    edges = np.append(bins.index.to_numpy(float), bins["high"].max() if len(bins) else [])
    rms = part.loc[np.isfinite(part["log10_preact_grad_rms"]), "log10_preact_grad_rms"]
    total = part["count"].sum()
    if not len(bins) or not bins["count"].sum() or rms.empty:
        return edges, np.zeros(len(bins)), None
    return edges, bins["count"].to_numpy(float) / total / np.diff(edges), float(rms.median())
