"""Layer-by-layer histograms of activations, as the teaching texts draw them."""

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis import style
from analysis.load import drop_unused, varying

MAX_LAYERS, MAX_ROWS = 5, 5


def evenly(values: list, most: int) -> list:
    """At most `most` of the values, first and last among them, evenly spaced."""
    if len(values) <= most:
        return list(values)
    return [values[i] for i in np.unique(np.linspace(0, len(values) - 1, most).round().astype(int))]


def histograms(frame: pd.DataFrame, *, title: str | None = None) -> Figure:
    """One panel a layer and initialisation: the share of activations in each bin, all seeds together.

    frame: rows of the histograms table with one activation, width, bias_std and normalization; at most
    MAX_ROWS initialisations and MAX_LAYERS layers are drawn, evenly chosen. Shares below and above the
    bins, and of values that are not finite, stand in the panel. A row of panels shares its y axis.
    Errors: ValueError if a key varies that has no place.
    """
    frame = drop_unused(frame)
    scale = next((key for key in varying(frame) if key in ("std", "gain")), frame.attrs.get("scale_axis") or "std")
    left = [key for key in varying(frame) if key not in ("init", "std", "gain", "seed")]
    if left:
        raise ValueError(f"{', '.join(left)} take more than one value: keep one of each for a histogram figure.")
    rows = frame[["init", "std", "gain"]].drop_duplicates().sort_values(["init", "std"])
    chosen = rows.iloc[evenly(list(range(len(rows))), MAX_ROWS)]
    layers = evenly(sorted(frame["layer"].unique()), MAX_LAYERS)
    edges = np.sort(np.unique(frame.loc[np.isfinite(frame["bin_low"]), "bin_low"]))
    low, high = edges[0], edges[-1]
    grouped = frame.groupby(["init", scale, "layer", "bin_low", "bin_high"], observed=True, dropna=False)["count"].sum()
    with style.themed():
        figure = mpl.figure.Figure(figsize=(1.0 + 1.55 * len(layers), 1.2 + 1.15 * len(chosen)), layout="constrained")
        axes = figure.subplots(len(chosen), len(layers), sharex=True, sharey="row", squeeze=False)
        for i, (_, init) in enumerate(chosen.iterrows()):
            for j, layer in enumerate(layers):
                counts = grouped.loc[(init["init"], init[scale], layer)].reset_index()
                _panel(axes[i, j], counts, low, high)
                if i == 0:
                    axes[i, j].set_title(f"layer {layer}")
            name = str(init["init"])
            axes[i, 0].set_ylabel(f"{name}\n{scale} {init[scale]:.3g}")
        for panel_axes in axes[-1]:
            panel_axes.set_xlabel("activation")
        count = frame["seed"].nunique()
        style.title(
            figure,
            title or f"Activations of {frame['activation'].iloc[0]} networks, layer by layer",
            f"width {frame['width'].iloc[0]}, share of activations a bin, seeds together: {count}",
        )
    return figure


def _panel(axes, counts: pd.DataFrame, low: float, high: float) -> None:
    total = counts["count"].sum()
    inside = counts[np.isfinite(counts["bin_low"]) & np.isfinite(counts["bin_high"])].sort_values("bin_low")
    edges = np.append(inside["bin_low"], high)
    axes.stairs(inside["count"] / total, edges, fill=True, color="#3a6ea5")
    axes.set_xlim(low, high)
    axes.margins(y=0.25)
    outside = {
        f"< {low:g}": counts.loc[np.isneginf(counts["bin_low"]), "count"].sum() / total,
        f"> {high:g}": counts.loc[np.isposinf(counts["bin_high"]), "count"].sum() / total,
        "not finite": counts.loc[counts["bin_low"].isna(), "count"].sum() / total,
    }
    lines = [f"{share:.0%} {words}" if share >= 0.01 else f"<1% {words}" for words, share in outside.items() if share]
    if lines:
        axes.text(
            0.97,
            0.95,
            "\n".join(lines),
            transform=axes.transAxes,
            ha="right",
            va="top",
            fontsize=7,
            color="#a33b20",
        )
    axes.tick_params(labelsize=7)


def histogram_figures(frame: pd.DataFrame) -> dict[str, Figure]:
    """A figure for each combination of the keys that `histograms` wants fixed; named by their values."""
    keys = [key for key in ("activation", "width", "bias_std", "normalization") if frame[key].nunique() > 1]
    if not keys:
        return {str(frame["activation"].iloc[0]): histograms(frame)}
    return {
        "-".join(style.number(value) for value in values): histograms(part)
        for values, part in frame.groupby(keys, observed=True, sort=False)
    }
