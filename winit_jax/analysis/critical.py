"""Mean field over measured cells: where small differences neither grow nor shrink, and how deep they reach."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patheffects import AbstractPathEffect, withStroke

from winit_jax.analysis.axes import Axis

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
JUMP: dict[str, Any] = CRITICAL | {"ls": (0, (3, 1.6))}
JUMP_WORDS = "mean field: χ₁ jumps past 1"
CONTOUR: dict[str, Any] = {"color": "#111111", "lw": 0.8, "path_effects": HALO}
FINE = 400


def overlay(
    axes: Axes, part: pd.DataFrame, across: Axis, up: Axis, value: str, mean_field: pd.DataFrame
) -> dict[str, Line2D]:
    """Draw what mean field says of one panel; handles for a legend, by name.

    part: the panel's rows. mean_field: the run's table (activation, gain, bias_std, start, chi1, xi_c, critical_gain,
    jump_gain; a table without start and jump_gain is of one start and without jumps).
    Over gain, std or bias_std: a line at chi1 = 1, dashed where chi1 jumps past 1. Against depth also contours of
    depth = xi, 3 xi and 6 xi, xi being 1 / |ln chi1| for gradients and Jacobians and that of the correlation for
    input_correlation. For accuracies and losses it is that of the correlation too, but 1 / |ln chi1| where that is
    infinite, as for relu and below the critical gain where there are no biases. No line is drawn across a jump.
    Over gain and bias_std: the contour chi1 = 1, likewise.
    Nothing is drawn for panels that the theory does not speak of: without predictions, as normalized networks and
    constant and zero weights have none, and activations without rows in the table; nor where rows of several starts
    fit the panel and say different things.
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
        return _curve(axes, known, across, up, ratio)
    along = scale or ("bias_std" if "bias_std" in keys else None)
    if along is None or along not in (across.key, up.key) or (across.named or up.named):
        return {}
    other = "bias_std" if along != "bias_std" else "gain"
    if known[other].nunique() > 1:
        return {}
    line = known.sort_values(along)
    handles: dict[str, Line2D] = {}
    at, jumps = _crossings(line, along, ratio), _jumps(line, along, ratio)
    spec, flat = (across, axes.axvline) if across.key == along else (up, axes.axhline)
    past = [place for place, crosses in jumps if crosses]
    for places, style, name, words in (
        (at, CRITICAL, "critical", "mean field: χ₁ = 1"),
        (past, JUMP, "jump", JUMP_WORDS),
    ):
        for place in places:
            if spec.edges[0] < place < spec.edges[-1]:
                flat(place, zorder=3, **style)
                handles[name] = Line2D([], [], label=words, **style)
    if "depth" in keys and value in SCALES:
        handles |= _contours(axes, line, along, at, [place for place, _ in jumps], across, SCALES[value])
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
    return _of_one_start(part, rows).drop_duplicates(["gain", "bias_std"])


def _of_one_start(part: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """The rows whose start goes with the panel's networks; none where several do and disagree.

    A network starts at q_1 = gain^2 s + bias_std^2, with one s for each width and kind of init: those rows belong
    together, and only they have all gains of a panel whose stds are those of one width.
    """
    if "start" not in rows or rows.empty:
        return rows
    rows = rows.reset_index(drop=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        square = (rows["start"] - rows["bias_std"] ** 2) / rows["gain"] ** 2
    # The bias may have taken the last digits of s.
    groups = pd.Series(np.log(square.where(square > 0, 1e-300)), rows.index).round(6)
    gains = part["gain"].dropna().unique().astype(float)
    fitting = []
    for _, group in rows.groupby(groups):
        found = group["gain"].to_numpy(float)
        if all(np.isclose(found, gain, rtol=1e-6, atol=1e-12).any() for gain in gains):
            fitting.append(group[np.isclose(group["gain"].to_numpy(float)[:, None], gains, rtol=1e-6).any(axis=1)])
    if not fitting:
        return rows if groups.nunique() == 1 else rows.iloc[:0]
    middle = fitting[len(fitting) // 2]
    keys = ["gain", "bias_std"]
    for group in fitting:
        both = middle.merge(group, on=keys, suffixes=("", "_other"))
        if not np.isclose(both["chi1"], both["chi1_other"], rtol=0.05, equal_nan=True).all():
            near = np.isclose(square[group.index].median(), square[middle.index].median(), rtol=0.05)
            if not near:
                return rows.iloc[:0]
    return middle


def _crossings(line: pd.DataFrame, along: str, ratio: float) -> list[float]:
    """Where chi1 = 1 along sorted rows: the table's critical gain, else by interpolation of ln chi1."""
    if along != "bias_std":
        return [float(at) * ratio for at in line["critical_gain"].dropna().unique()[:1]]
    logs, at = np.log(line["chi1"].to_numpy()), line[along].to_numpy(float)
    jumped = _jumped(line, along)
    good = np.isfinite(logs)
    turns = np.flatnonzero(good[:-1] & good[1:] & (logs[:-1] * logs[1:] < 0) & ~jumped)
    return [float(at[i] - logs[i] * (at[i + 1] - at[i]) / (logs[i + 1] - logs[i])) for i in turns]


def _jumped(line: pd.DataFrame, along: str) -> np.ndarray:
    """Whether the fixed point jumps between each sorted row and the next: bool [rows - 1]."""
    if "jump_gain" not in line:
        return np.zeros(len(line) - 1, bool)
    jump, gain = line["jump_gain"].to_numpy(float), line["gain"].to_numpy(float)
    if along != "bias_std":
        return jump[:-1] <= gain[1:]
    # At one gain the next jump above it moves along with the bias, until it has passed the gain.
    with np.errstate(invalid="ignore", divide="ignore"):
        gone = np.isnan(jump[:-1]) != np.isnan(jump[1:])
        apart = np.abs(np.diff(np.log(line["q_star"].to_numpy(float))))
        return gone & ~(apart < np.log(2))


def _jumps(line: pd.DataFrame, along: str, ratio: float) -> list[tuple[float, bool]]:
    """(Where the fixed point jumps along sorted rows, whether chi1 jumps past 1 there).

    Along bias_std, whose jumps the table does not give, half way between the two rows.
    """
    found = []
    at, chi = line[along].to_numpy(float), line["chi1"].to_numpy(float)
    for i in np.flatnonzero(_jumped(line, along)):
        place = (at[i] + at[i + 1]) / 2 if along == "bias_std" else float(line["jump_gain"].iloc[i]) * ratio
        found.append((place, bool((chi[i] > 1) != (chi[i + 1] > 1))))
    return found


def _contours(
    axes: Axes,
    line: pd.DataFrame,
    along: str,
    critical: list[float],
    jumps: list[float],
    across: Axis,
    scale: str,
) -> dict[str, Line2D]:
    """Contours of depth = k xi, in pieces between jumps. 1 / xi is interpolated, for it is 0 where xi is infinite."""
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
    handles: dict[str, Line2D] = {}
    pieces = np.searchsorted(jumps, at)
    for piece in range(len(jumps) + 1):
        own = pieces == piece
        if own.sum() > 1:
            handles |= _contours_of_piece(axes, at[own], rate[own], across.key == along, scale)
    return handles


def _contours_of_piece(axes: Axes, at: np.ndarray, rate: np.ndarray, upright: bool, scale: str) -> dict[str, Line2D]:
    """The contours over two places or more, without a jump between them."""
    # ln chi1 is linear in ln gain for relu, and for any activation where its slope does not change.
    place = np.log if at[0] > 0 else np.asarray
    fine = np.unique(np.concatenate([np.linspace(place(at[0]), place(at[-1]), FINE), place(at)]))
    with np.errstate(divide="ignore"):
        xi = 1 / np.abs(np.interp(fine, place(at), rate))
    fine = np.exp(fine) if at[0] > 0 else fine
    limits = axes.get_ylim() if upright else axes.get_xlim()
    handles = {}
    for factor, dashes in DEPTHS.items():
        depth = factor * xi
        if not ((depth > limits[0]) & (depth < limits[1])).any():
            continue
        # Far beyond the axis a line only makes files larger.
        depth = np.where(depth > 5 * limits[1], 5 * limits[1], depth)
        places = (fine, depth) if upright else (depth, fine)
        axes.plot(*places, ls=dashes, zorder=2.8, scalex=False, scaley=False, **CONTOUR)
        words = XI_WORDS[scale] if factor == 1 else f"{factor} ξ"
        # Panels may differ in what their lines mean.
        handles[f"xi {factor} {scale}" if factor == 1 else f"xi {factor}"] = Line2D(
            [], [], ls=dashes, label=words, **CONTOUR
        )
    return handles


def _curve(axes: Axes, known: pd.DataFrame, across: Axis, up: Axis, ratio: float) -> dict[str, Line2D]:
    """The contour chi1 = 1 over gain and bias_std: the table's critical gains, else by interpolation of ln chi1.

    Where chi1 jumps past 1 a dashed line; both end where the other begins, at the same bias or between two.
    """
    handles: dict[str, Line2D] = {}

    def draw(gains: pd.Series, name: str, words: str, style: dict[str, Any]) -> None:
        # A bias without such a gain breaks the line.
        gains = gains.astype(float)
        if gains.notna().sum() < 2:
            return
        places = (gains * ratio, gains.index) if up.key == "bias_std" else (gains.index, gains * ratio)
        axes.plot(*places, zorder=3, scalex=False, scaley=False, **style)
        handles[name] = Line2D([], [], label=words, **style)

    by_bias = known.groupby("bias_std")
    draw(by_bias["critical_gain"].first(), "critical", "mean field: χ₁ = 1", CRITICAL)
    past = {}
    for bias, rows in by_bias:
        places = [place for place, crosses in _jumps(rows.sort_values("gain"), "gain", 1.0) if crosses]
        past[bias] = places[0] if places else np.nan
    draw(pd.Series(past), "jump", JUMP_WORDS, JUMP)
    if handles:
        return handles
    grid = known.pivot(index=up.key, columns=across.key, values="chi1")
    logs = np.ma.masked_invalid(np.log(grid.to_numpy(float)))
    if min(grid.shape) < 2 or not (logs.min() < 0 < logs.max()):
        return {}
    lines = axes.contour(grid.columns, grid.index, logs, levels=[0.0], colors="#111111", linewidths=1.6, zorder=3)
    lines.set_path_effects(HALO)
    return {"critical": Line2D([], [], label="mean field: χ₁ = 1", **CRITICAL)}
