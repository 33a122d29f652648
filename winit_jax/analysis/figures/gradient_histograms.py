"""How gradients of the loss are spread, layer by layer: in true units, and in units of each layer's RMS."""

from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from winit_jax.analysis.figures import style
from winit_jax.analysis.figures.layers import choose, held, seeds_together
from winit_jax.analysis.figures.page import Size, open_page
from winit_jax.analysis.figures.words import plain
from winit_jax.analysis.tables import of_last_site, tidy

SIZE = Size(width=2.9, height=1.65, narrowest=7.6)
MAX_LAYERS, MAX_ROWS = 5, 4
# Half the axis, in RMS of the layer whose gradients are largest; and in each layer's own.
REACH = 4.0
# log10 of the bottom of both axes of densities, and of how small a layer's RMS may be to be drawn beside another's.
LEAST = -4
HIDDEN = 3
UNITS = "left: densities × largest RMS, each row with axes of its own"
NORMAL: dict[str, Any] = {"color": "#777777", "ls": ":", "lw": 1.0}

# Of one layer: edges and density in units of its RMS, and log10 of the RMS, None where there is nothing to draw.
Density = tuple[np.ndarray, np.ndarray, float | None]


def gradient_histograms(frame: pd.DataFrame, *, title: str | None = None, below: str = "") -> Figure:
    """Densities of pre-activation gradients, a line a layer: left in true units, right in each layer's RMS.

    frame: rows of the gradient_histograms table with one activation, width, bias_std and normalization; at most
    MAX_ROWS initializations (a row each) and MAX_LAYERS layers, evenly chosen; all seeds together. A seed's edges
    are its own: the left shows them at the layer's median RMS over seeds.
    Left (as in Glorot & Bengio 2010): x reaches REACH RMS of the layer with the largest gradients, so that layers
    whose gradients vanish stand as spikes at 0; those below 10^-HIDDEN of it are named and not drawn. Right:
    shapes alone, beside a standard normal. Densities are logarithmic, and of all gradients, those beyond the
    bins too.
    Errors: ValueError for a key that varies and has no place, and for a table without bins.
    """
    frame = of_last_site(tidy(frame))
    chosen = choose(frame, MAX_ROWS, MAX_LAYERS, "gain")
    if not np.isfinite(frame["bin_low"]).any():
        raise ValueError("The gradient_histograms table has no bins.")
    with style.themed():
        page = open_page([[{}, {}] for _ in chosen.inits], SIZE, sharex=False, sharey=False)
        colors = dict(
            zip(chosen.layers, mpl.colormaps["viridis"](np.linspace(0, 0.9, len(chosen.layers))), strict=True)
        )
        for (true, in_rms), init in zip(page.rows, chosen.inits, strict=True):
            part = frame[(frame["init"] == init[0]) & (frame[chosen.scale] == init[1])]
            _draw(true.axes, in_rms.axes, {layer: _density(part[part["layer"] == layer]) for layer in colors}, colors)
            true.axes.set_ylabel(f"{chosen.name(init)}\ndensity")
        for side, name, x in (
            (0, "true units", "gradient of a pre-activation"),
            (1, "units of each layer's RMS", "gradient / RMS gradient of its layer"),
        ):
            page.rows[0][side].axes.set_title(name)
            page.rows[-1][side].axes.set_xlabel(x)
        page.figure.align_ylabels([row[0].axes for row in page.rows])
        handles = [Line2D([], [], color=color, label=f"{layer}") for layer, color in colors.items()]
        page.lines_legend([*handles, Line2D([], [], label="normal", **NORMAL)], "layer")
        return page.finish(
            title or style.heading("Gradients layer by layer", frame),
            below,
            (
                held(frame),
                seeds_together(frame),
                UNITS,
                *chosen.left_out,
            ),
        )


def _draw(true: Axes, in_rms: Axes, densities: dict[int, Density], colors: dict[int, Any]) -> None:
    """Both panels of one initialization."""
    scales = {layer: rms for layer, (*_, rms) in densities.items() if rms is not None}
    if not scales:
        for axes in (true, in_rms):
            axes.text(0.5, 0.5, "exactly zero or not finite", transform=axes.transAxes, ha="center", fontsize=8)
            axes.set(xticks=[], yticks=[])
        return
    # The true scale may lie beyond float64, so all is drawn relative to the largest layer's.
    largest = max(scales.values())
    peak, small = 1.0, []
    for layer, scale in scales.items():
        edges, density, _ = densities[layer]
        heights = np.where(density > 0, density, np.nan)
        in_rms.stairs(heights, edges, color=colors[layer], lw=1.1, baseline=None)
        if scale < largest - HIDDEN:
            small.append(layer)
            continue
        factor = 10.0 ** (scale - largest)
        true.stairs(heights / factor, edges * factor, color=colors[layer], lw=1.1, baseline=None)
        peak = max(peak, np.nanmax(heights) / factor)
    x = np.linspace(-REACH - 1, REACH + 1, 201)
    in_rms.plot(x, np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi), **NORMAL)
    for axes, reach, top in ((in_rms, REACH + 1, 2.0), (true, REACH, 3 * peak)):
        axes.set(xlim=(-reach, reach), yscale="log", ylim=(10.0**LEAST, top))
        axes.yaxis.set_major_locator(LogLocator(numticks=5))
        axes.yaxis.set_minor_locator(NullLocator())
    _true_ticks(true, largest)
    if small:
        _note_small(true, small)


def _note_small(axes: Axes, layers: list[int]) -> None:
    """Name the layers whose gradients are too small to be drawn beside the largest."""
    words = (
        f"layer{'s' if len(layers) > 1 else ''} {', '.join(map(str, layers))}:\nRMS below $10^{{{-HIDDEN}}}$ of this"
    )
    look = {"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 0.8}
    axes.text(0.03, 0.95, words, transform=axes.transAxes, va="top", fontsize=7, color="#a33b20", bbox=look)


def _true_ticks(axes: Axes, largest: float) -> None:
    """Ticks in true units on an axis in units of 10^largest, and their common power of ten."""
    power = int(np.floor(largest))
    unit = 10.0 ** (largest - power)
    ticks = [tick for tick in MaxNLocator(5).tick_values(-REACH * unit, REACH * unit) if abs(tick) <= REACH * unit]
    axes.set_xticks([tick / unit for tick in ticks], [plain(tick) for tick in ticks])
    words = rf"$\times 10^{{{power}}}$"
    axes.text(0.985, 0.03, words, transform=axes.transAxes, ha="right", va="bottom", fontsize=8)


def _density(part: pd.DataFrame) -> Density:
    """(edges, density, log10 RMS) of one layer in units of its RMS; log10 RMS None where there is nothing to draw."""
    inside = part[np.isfinite(part["bin_low"]) & np.isfinite(part["bin_high"])]
    bins = inside.groupby("bin_low").agg(high=("bin_high", "max"), count=("count", "sum"))
    edges = np.append(bins.index.to_numpy(float), bins["high"].max() if len(bins) else [])
    rms = part.loc[np.isfinite(part["log10_preact_grad_rms"]), "log10_preact_grad_rms"]
    total = part["count"].sum()
    if not len(bins) or not bins["count"].sum() or rms.empty:
        return edges, np.zeros(len(bins)), None
    return edges, bins["count"].to_numpy(float) / total / np.diff(edges), float(rms.median())
