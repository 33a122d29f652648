"""Mean field over measured cells: where small differences neither grow nor shrink, and how deep they reach."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patheffects import AbstractPathEffect, withStroke

from analysis.axes import Axis

# A difference of e^-6 is one of 1 in 400: Schoenholz et al. 2017 (arXiv:1611.01232) find networks trainable to 6 xi.
DEPTHS: dict[int, Any] = {1: (0, (1, 1.2)), 3: (0, (6, 1.2, 1, 1.2)), 6: "-"}
XI_WORDS = {
    "chi1": "depth = ξ = 1 / |ln χ₁|",
    "xi_c": "depth = ξ of the correlation",
    "both": "depth = ξ of correlation or gradient",
}
# Which depth scale a column decays with: gradients by chi1, correlations by their own.
SCALES = {
    "log10_jacobian": "chi1",
    "theory_log10_jacobian": "chi1",
    "log10_preact_grad_growth": "chi1",
    "log10_weight_grad_growth": "chi1",
    "log10_preact_grad_rms": "chi1",
    "log10_weight_grad_rms": "chi1",
    "input_correlation": "xi_c",
    "theory_input_correlation": "xi_c",
    # What inputs that look alike do not allow to tell apart (Schoenholz et al. 2017); gradients where they never do.
    "train_accuracy": "learnt",
    "test_accuracy": "learnt",
    "train_loss": "learnt",
    "test_loss": "learnt",
}
# Drawn on top of any colour: dark, with a light border.
HALO: list[AbstractPathEffect] = [withStroke(linewidth=2.6, foreground="white", alpha=0.85)]
CRITICAL: dict[str, Any] = {"color": "#111111", "lw": 1.6, "path_effects": HALO}
CONTOUR: dict[str, Any] = {"color": "#111111", "lw": 0.8, "path_effects": HALO}
FINE = 400


def overlay(
    axes: Axes, part: pd.DataFrame, across: Axis, up: Axis, value: str, mean_field: pd.DataFrame
) -> dict[str, Line2D]:
    """Draw what mean field says of one panel; handles for a legend, by name.

    part: the panel's rows. mean_field: the run's table (activation, gain, bias_std, chi1, xi_c, critical_gain).
    Over gain, std or bias_std: a line at chi1 = 1. Against depth also contours of depth = xi, 3 xi and 6 xi,
    xi being 1 / |ln chi1| for gradients and Jacobians and that of the correlation for input_correlation. For
    accuracies and losses it is that of the correlation too, but 1 / |ln chi1| where that is infinite, as for relu and
    below the critical gain where there are no biases.
    Over gain and bias_std: the contour chi1 = 1.
    Nothing is drawn for panels that the theory does not speak of: normalized networks, constant and zero
    weights, and activations without rows in the table.
    """
    known = _known(part, mean_field)
    keys = {across.key, up.key}
    if known.empty:
        return {}
    ratio = 1.0
    if "std" in keys:
        ratios = (part["std"] / part["gain"]).dropna()
        if ratios.empty or ratios.max() > ratios.min() * 1.001:
            return {}
        ratio = float(ratios.iloc[0])
        known = known.assign(std=known["gain"] * ratio)
    scale = next((key for key in ("gain", "std") if key in keys), None)
    if scale and "bias_std" in keys:
        return _curve(axes, known, across, up)
    along = scale or ("bias_std" if "bias_std" in keys else None)
    if along is None or along not in (across.key, up.key) or (across.named or up.named):
        return {}
    other = "bias_std" if along != "bias_std" else "gain"
    if known[other].nunique() > 1:
        return {}
    line = known.sort_values(along)
    handles: dict[str, Line2D] = {}
    at = _crossings(line, along, ratio)
    spec, flat = (across, axes.axvline) if across.key == along else (up, axes.axhline)
    for place in at:
        if spec.edges[0] < place < spec.edges[-1]:
            flat(place, zorder=3, **CRITICAL)
            handles["critical"] = Line2D([], [], label="mean field: χ₁ = 1", **CRITICAL)
    if "depth" in keys and value in SCALES:
        handles |= _contours(axes, line, along, at, across, SCALES[value])
    return handles


def _known(part: pd.DataFrame, mean_field: pd.DataFrame) -> pd.DataFrame:
    """The rows of mean_field that speak of a panel's networks."""
    untold = {*part["init"].unique()} & {"constant", "zeros"} or {*part["normalization"].unique()} != {"none"}
    rows = mean_field[mean_field["activation"].isin(part["activation"].unique()) & (not untold)]
    if rows["activation"].nunique() != 1:
        return mean_field.iloc[:0]
    for key in ("gain", "bias_std"):
        values = part[key].unique().astype(float)
        if len(values) == 1:
            rows = rows[np.isclose(rows[key], values[0], rtol=1e-6, atol=1e-12)]
    return rows.drop_duplicates(["gain", "bias_std"])


def _crossings(line: pd.DataFrame, along: str, ratio: float) -> list[float]:
    """Where chi1 = 1 along sorted rows: the table's critical gain, else by interpolation of ln chi1."""
    if along != "bias_std":
        return [float(at) * ratio for at in line["critical_gain"].dropna().unique()[:1]]
    logs, at = np.log(line["chi1"].to_numpy()), line[along].to_numpy(float)
    good = np.isfinite(logs)
    logs, at = logs[good], at[good]
    turns = np.nonzero(logs[:-1] * logs[1:] < 0)[0]
    return [float(at[i] - logs[i] * (at[i + 1] - at[i]) / (logs[i + 1] - logs[i])) for i in turns]


def _contours(
    axes: Axes, line: pd.DataFrame, along: str, critical: list[float], across: Axis, scale: str
) -> dict[str, Line2D]:
    """Contours of depth = k xi. The rate 1 / xi is interpolated, for it is 0 where xi is infinite."""
    at = line[along].to_numpy(float)
    with np.errstate(divide="ignore", invalid="ignore"):
        growth, decay = np.log(line["chi1"].to_numpy(float)), 1 / line["xi_c"].to_numpy(float)
    if scale == "learnt":
        endless = decay == 0
        scale = "both" if (endless & (growth != 0)).any() else "xi_c"
        decay = np.where(endless, np.abs(growth), decay)
    rate = growth if scale == "chi1" else decay
    good = np.isfinite(rate)
    at, rate = at[good], rate[good]
    if scale != "chi1" and critical and len(at):
        at, rate = np.append(at, critical), np.append(rate, np.zeros(len(critical)))
        order = np.argsort(at)
        at, rate = at[order], rate[order]
    if len(at) < 2:
        return {}
    # ln chi1 is linear in ln gain for relu, and for any activation where its slope does not change.
    place = np.log if at[0] > 0 else np.asarray
    fine = np.unique(np.concatenate([np.linspace(place(at[0]), place(at[-1]), FINE), place(at)]))
    with np.errstate(divide="ignore"):
        xi = 1 / np.abs(np.interp(fine, place(at), rate))
    fine = np.exp(fine) if at[0] > 0 else fine
    limits = axes.get_ylim() if across.key == along else axes.get_xlim()
    handles = {}
    for factor, dashes in DEPTHS.items():
        depth = factor * xi
        if not ((depth > limits[0]) & (depth < limits[1])).any():
            continue
        # Far beyond the axis a line only makes files larger.
        depth = np.where(depth > 5 * limits[1], 5 * limits[1], depth)
        places = (fine, depth) if across.key == along else (depth, fine)
        axes.plot(*places, ls=dashes, zorder=2.8, scalex=False, scaley=False, **CONTOUR)
        words = XI_WORDS[scale] if factor == 1 else f"{factor} ξ"
        # Panels may differ in what their lines mean.
        handles[f"xi {factor} {scale}" if factor == 1 else f"xi {factor}"] = Line2D(
            [], [], ls=dashes, label=words, **CONTOUR
        )
    return handles


def _curve(axes: Axes, known: pd.DataFrame, across: Axis, up: Axis) -> dict[str, Line2D]:
    """The contour chi1 = 1 over gain and bias_std: the table's critical gains, else by interpolation of ln chi1."""
    handles = {"critical": Line2D([], [], label="mean field: χ₁ = 1", **CRITICAL)}
    gains = known.groupby("bias_std")["critical_gain"].first().dropna()
    if len(gains) > 1:
        ratio = known["std"].iloc[0] / known["gain"].iloc[0] if "std" in (across.key, up.key) else 1.0
        places = (gains * ratio, gains.index) if up.key == "bias_std" else (gains.index, gains * ratio)
        axes.plot(*places, zorder=3, scalex=False, scaley=False, **CRITICAL)
        return handles
    grid = known.pivot(index=up.key, columns=across.key, values="chi1")
    logs = np.ma.masked_invalid(np.log(grid.to_numpy(float)))
    if min(grid.shape) < 2 or not (logs.min() < 0 < logs.max()):
        return {}
    lines = axes.contour(grid.columns, grid.index, logs, levels=[0.0], colors="#111111", linewidths=1.6, zorder=3)
    lines.set_path_effects(HALO)
    return handles
