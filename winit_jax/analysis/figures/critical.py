"""Mean field over measured cells: its critical lines and depth scales, drawn over a panel."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patheffects import AbstractPathEffect, withStroke

from winit_jax.analysis.axes import Axis
from winit_jax.analysis.statistics.critical import (
    SCALES,
    critical_by_bias,
    crossings,
    depth_scale,
    jumps,
    rates,
    rows_about,
)

# A difference of e^-6 is one of 1 in 400: Schoenholz et al. 2017 (arXiv:1611.01232) find networks trainable to 6 xi.
DEPTHS: dict[int, Any] = {1: (0, (1, 1.2)), 3: (0, (6, 1.5, 1, 1.5)), 6: (0, (9, 1.8))}
XI_WORDS = {
    "chi1": "depth = ξ = 1 / |ln χ₁|",
    "xi_c": "depth = ξ of the correlation",
    "both": "depth = ξ of correlation or gradient",
}
# Drawn on top of any color: dark, with a light border.
HALO: list[AbstractPathEffect] = [withStroke(linewidth=2.6, foreground="white", alpha=0.85)]
CRITICAL: dict[str, Any] = {"color": "#111111", "lw": 1.6, "path_effects": HALO}
CRITICAL_WORDS = "mean field: χ₁ = 1"
JUMP: dict[str, Any] = CRITICAL | {"ls": (0, (3, 1.6))}
JUMP_WORDS = "mean field: χ₁ jumps past 1"
# Depth scales are thin, broken and green; only the critical line is solid and black.
CONTOUR: dict[str, Any] = {"color": "#0b4f2f", "lw": 0.8, "path_effects": HALO}
# A line nearer to the frame than this share of the axis would lie on it: a mark stands there instead.
FRAME = 0.02
AT_FRAME_WORDS = "mean field: χ₁ = 1 at the frame"

# What is drawn, for a legend, by a name that says in which order.
Handles = dict[str, Line2D]


def overlay(
    axes: Axes, part: pd.DataFrame, across: Axis, up: Axis, value: str, mean_field: pd.DataFrame | None
) -> Handles:
    """Draw what mean field says of one panel; handles for a legend, by the name that its lines have as their gid.

    part: the panel's rows. mean_field: the run's table (activation, gain, bias_std, start, chi1, xi_c, critical_gain,
    jump_gain; a table without start and jump_gain is of one start and without jumps), or None.
    Over gain, std or bias_std: a line at chi1 = 1, dashed where chi1 jumps past 1. Against depth also contours of
    depth = xi, 3 xi and 6 xi, xi being 1 / |ln chi1| for gradients and Jacobians and that of the correlation for
    input_correlation. For accuracies and losses it is that of the correlation too, but 1 / |ln chi1| where that is
    infinite, as for relu and below the critical gain where there are no biases. No line is drawn across a jump.
    Over gain and bias_std: the contour chi1 = 1, likewise.
    Nothing is drawn for panels that the theory does not speak of: without predictions, as normalized networks and
    constant and zero weights have none, activations without rows in the table, and blocks other than dense layers and
    convolutions without skips, of which the fixed points are; nor where rows of several starts fit the panel and say
    different things.
    """
    keys = {across.key, up.key}
    known = pd.DataFrame() if mean_field is None else rows_about(part, mean_field)
    if known.empty or not _are_stacks(part):
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
        return _curves(axes, known, across, up, ratio)
    along = scale or ("bias_std" if "bias_std" in keys else None)
    other_scale = "bias_std" if along != "bias_std" else "gain"
    if along is None or across.named or up.named or known[other_scale].nunique() > 1:
        return {}
    return _straight(axes, known.sort_values(along), along, ratio, across, up, value)


def dashes_of(name: str) -> tuple[float, ...]:
    """The dashes of a line that `overlay` draws, in units of its width; none of a whole one."""
    if name.startswith("xi "):
        return tuple(DEPTHS[int(name.split()[1])][1])
    return tuple(JUMP["ls"][1]) if name == "jump" else ()


def _are_stacks(part: pd.DataFrame) -> bool:
    """Whether these networks are layer on layer, dense or convolved, without skips: q' = gain^2 E[phi^2] + bias^2."""
    for key, plain in (("skip_scale", 0.0), ("branch_scale", 1.0)):
        if key in part and (pd.to_numeric(part[key], errors="coerce") != plain).any():
            return False
    return "block" not in part or bool(part["block"].astype(str).str.match(r"dense$|conv").all())


def _straight(axes: Axes, line: pd.DataFrame, along: str, ratio: float, across: Axis, up: Axis, value: str) -> Handles:
    """Lines across the panel at critical places along one key, and contours against depth."""
    at, past = crossings(line, along, ratio), jumps(line, along, ratio)
    axis, draw = (across, axes.axvline) if across.key == along else (up, axes.axhline)
    handles: Handles = {}
    for places, look, name, words in (
        (at, CRITICAL, "critical", CRITICAL_WORDS),
        ([place for place, crosses in past if crosses], JUMP, "jump", JUMP_WORDS),
    ):
        for place in places:
            share = _share(axis, place)
            if not 0 < share < 1:
                continue
            if min(share, 1 - share) < FRAME:
                handles["frame"] = _at_the_frame(axes, place, upright=across.key == along)
                continue
            draw(place, zorder=3, gid=name, **look)
            handles[name] = Line2D([], [], label=words, **look)
    if "depth" in (across.key, up.key) and value in SCALES:
        ends = (float(axis.edges[0]), float(axis.edges[-1]))
        pieces, scale = rates(line, along, at, [place for place, _ in past], SCALES[value], ends)
        for piece in pieces:
            handles |= _contours(axes, *depth_scale(*piece), across.key == along, scale)
    return handles


def _share(axis: Axis, place: float) -> float:
    """Where a place is along an axis, from 0 to 1."""
    scale = np.log if axis.log else np.asarray
    low, high = scale(axis.edges[0]), scale(axis.edges[-1])
    return float((scale(place) - low) / (high - low)) if place > 0 or not axis.log else -1.0


def _at_the_frame(axes: Axes, place: float, upright: bool) -> Line2D:
    """A mark outside the panel where a line would lie on its frame; its handle."""
    look: dict[str, Any] = {"color": "#111111", "ls": "", "ms": 5, "clip_on": False}
    if upright:
        axes.plot([place], [1.03], marker="v", transform=axes.get_xaxis_transform(), **look)
    else:
        axes.plot([1.03], [place], marker="<", transform=axes.get_yaxis_transform(), **look)
    return Line2D([], [], marker="v" if upright else "<", label=AT_FRAME_WORDS, **look)


def _contours(axes: Axes, at: np.ndarray, xi: np.ndarray, upright: bool, scale: str) -> Handles:
    """Contours of depth = k xi, as far as they reach into the panel. upright: depth goes up."""
    low, high = axes.get_ylim() if upright else axes.get_xlim()
    handles: Handles = {}
    for factor, dashes in DEPTHS.items():
        depth = factor * xi
        if not ((depth > low) & (depth < high)).any():
            continue
        # Far beyond the axis a line only makes files larger.
        depth = np.where(depth > 5 * high, 5 * high, depth)
        words = XI_WORDS[scale] if factor == 1 else f"{factor} ξ"
        # Panels may differ in what their lines mean.
        name = f"xi {factor} {scale}" if factor == 1 else f"xi {factor}"
        places = (at, depth) if upright else (depth, at)
        axes.plot(*places, ls=dashes, zorder=2.8, scalex=False, scaley=False, gid=name, **CONTOUR)
        handles[name] = Line2D([], [], ls=dashes, label=words, **CONTOUR)
    return handles


def _curves(axes: Axes, known: pd.DataFrame, across: Axis, up: Axis, ratio: float) -> Handles:
    """The contour chi1 = 1 over gain and bias_std: the table's critical gains, else by interpolation of ln chi1.

    Where chi1 jumps past 1 a dashed line; both reach to the frame, or to half way to where the other begins.
    """
    handles: Handles = {}
    critical, jump = critical_by_bias(known)
    edges = (up if up.key == "bias_std" else across).edges
    for gains, other, name, words, look in (
        (critical, jump, "critical", CRITICAL_WORDS, CRITICAL),
        (jump, critical, "jump", JUMP_WORDS, JUMP),
    ):
        # A bias without such a gain breaks the line.
        if gains.notna().sum() > 1:
            line = _whole(gains, other, edges)
            places = (line * ratio, line.index) if up.key == "bias_std" else (line.index, line * ratio)
            axes.plot(*places, zorder=3, scalex=False, scaley=False, gid=name, **look)
            handles[name] = Line2D([], [], label=words, **look)
    if handles:
        return handles
    grid = known.pivot(index=up.key, columns=across.key, values="chi1")
    logs = np.ma.masked_invalid(np.log(grid.to_numpy(float)))
    if min(grid.shape) < 2 or not (logs.min() < 0 < logs.max()):
        return {}
    x, y = (
        np.concatenate([axis.edges[:1], values.to_numpy(float), axis.edges[-1:]])
        for axis, values in ((across, grid.columns), (up, grid.index))
    )
    outer = np.ma.masked_invalid(np.pad(logs.filled(np.nan), 1, mode="edge"))
    lines = axes.contour(x, y, outer, levels=[0.0], colors="#111111", linewidths=1.6, zorder=3)
    lines.set_path_effects(HALO)
    return {"critical": Line2D([], [], label=CRITICAL_WORDS, **CRITICAL)}


def _whole(gains: pd.Series, other: pd.Series, edges: np.ndarray) -> pd.Series:
    """Gains by bias, continued straight from the outermost biases to the frame, and half way to the other line."""
    biases, line = gains.index.to_numpy(float), gains.to_numpy(float)
    there, others = np.isfinite(line), np.isfinite(other.reindex(gains.index).to_numpy(float))
    more: dict[float, float] = {}
    for bound, near, next_to in ((edges[0], 0, 1), (edges[-1], -1, -2)):
        if there[near] and there[next_to]:
            slope = (line[near] - line[next_to]) / (biases[near] - biases[next_to])
            more[float(bound)] = line[near] + slope * (bound - biases[near])
    for i in np.flatnonzero(there[:-1] != there[1:]):
        here, beyond = (i, i + 1) if there[i] else (i + 1, i)
        if others[beyond] and not others[here]:
            gain = float(other.iloc[beyond])
            more[(biases[here] + biases[beyond]) / 2] = (line[here] + gain) / 2
    ends = pd.Series(more, dtype=float)
    ends = ends[~ends.index.isin(gains.index)]
    whole: pd.Series = pd.concat([gains, ends]).sort_index()
    return whole
