"""Where mean field has its critical lines: where small differences neither grow nor shrink, and how deep they reach."""

import numpy as np
import pandas as pd

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
FINE = 400
# A step of ln chi1 so many times as large as the others is a jump, where no critical gain explains it.
FAR = 3.0
# Inits of whose weights mean field says nothing; those by import path are others.
UNPREDICTED = {"constant", "zeros", "identity"}


def rows_about(part: pd.DataFrame, mean_field: pd.DataFrame) -> pd.DataFrame:
    """The rows of mean_field that speak of a panel's networks."""
    weights = {init.partition("(")[0] for init in part["init"].unique()}
    unpredicted = weights & UNPREDICTED or any(":" in init for init in weights)
    unpredicted = unpredicted or {*part["normalization"].unique()} != {"none"}
    rows = mean_field[mean_field["activation"].isin(part["activation"].unique()) & (not unpredicted)]
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
        known = group["gain"].to_numpy(float)
        if all(np.isclose(known, gain, rtol=1e-6, atol=1e-12).any() for gain in gains):
            fitting.append(group[np.isclose(known[:, None], gains, rtol=1e-6).any(axis=1)])
    if not fitting:
        return rows if groups.nunique() == 1 else rows.iloc[:0]
    middle: pd.DataFrame = fitting[len(fitting) // 2]
    keys = ["gain", "bias_std"]
    for group in fitting:
        both = middle.merge(group, on=keys, suffixes=("", "_other"))
        if not np.isclose(both["chi1"], both["chi1_other"], rtol=0.05, equal_nan=True).all():
            near = np.isclose(square[group.index].median(), square[middle.index].median(), rtol=0.05)
            if not near:
                return rows.iloc[:0]
    return middle


def crossings(line: pd.DataFrame, along: str, ratio: float) -> list[float]:
    """Where chi1 = 1 along sorted rows: the table's critical gain, else by interpolation of ln chi1."""
    if along != "bias_std":
        return [float(at) * ratio for at in line["critical_gain"].dropna().unique()[:1]]
    logs, at = np.log(line["chi1"].to_numpy()), line[along].to_numpy(float)
    past = jumped(line, along)
    good = np.isfinite(logs)
    turns = np.flatnonzero(good[:-1] & good[1:] & (logs[:-1] * logs[1:] < 0) & ~past)
    return [float(at[i] - logs[i] * (at[i + 1] - at[i]) / (logs[i + 1] - logs[i])) for i in turns]


def jumped(line: pd.DataFrame, along: str) -> np.ndarray:
    """Whether the fixed point jumps between each sorted row and the next: bool [rows - 1].

    Along the gain also where chi1 passes 1 by a step far larger than the others, and the table knows no gain between
    the rows at which it is 1.
    """
    gain = line["gain"].to_numpy(float)
    if along != "bias_std":
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = np.log(line["chi1"].to_numpy(float))
            steps = np.abs(np.diff(logs))
            far = steps > FAR * np.median(steps[np.isfinite(steps)]) if np.isfinite(steps).any() else steps > np.inf
        critical = line["critical_gain"].dropna().unique().astype(float)
        crossed = ((gain[:-1, None] <= critical) & (critical <= gain[1:, None])).any(axis=1)
        known = np.isfinite(logs)
        unexplained: np.ndarray = ((logs[:-1] > 0) != (logs[1:] > 0)) & known[:-1] & known[1:] & far & ~crossed
        if "jump_gain" not in line:
            return unexplained
        passed: np.ndarray = (line["jump_gain"].to_numpy(float)[:-1] <= gain[1:]) | unexplained
        return passed
    if "jump_gain" not in line:
        return np.zeros(len(line) - 1, bool)
    jump = line["jump_gain"].to_numpy(float)
    # At one gain the next jump above it moves along with the bias, until it has passed the gain.
    with np.errstate(invalid="ignore", divide="ignore"):
        gone = np.isnan(jump[:-1]) != np.isnan(jump[1:])
        apart = np.abs(np.diff(np.log(line["q_star"].to_numpy(float))))
        jumps: np.ndarray = gone & ~(apart < np.log(2))
        return jumps


def jumps(line: pd.DataFrame, along: str, ratio: float) -> list[tuple[float, bool]]:
    """(Where the fixed point jumps along sorted rows, whether chi1 jumps past 1 there).

    Where the table does not give it, as along bias_std, half way between the two rows.
    """
    places = []
    at, chi = line[along].to_numpy(float), line["chi1"].to_numpy(float)
    known = line["jump_gain"].to_numpy(float) * ratio if "jump_gain" in line else np.full(len(line), np.nan)
    for i in np.flatnonzero(jumped(line, along)):
        is_told = along != "bias_std" and at[i] <= known[i] <= at[i + 1]
        place = float(known[i]) if is_told else (at[i] + at[i + 1]) / 2
        places.append((place, bool((chi[i] > 1) != (chi[i + 1] > 1))))
    return places


def rates(
    line: pd.DataFrame,
    along: str,
    critical: list[float],
    past: list[float],
    scale: str,
    ends: tuple[float, float] | None = None,
) -> tuple[list[tuple[np.ndarray, np.ndarray]], str]:
    """(Places along sorted rows and 1 / xi there, in pieces between jumps; the scale: chi1, xi_c or both).

    scale: one of the values of SCALES. critical: where chi1 = 1. past: where the fixed point jumps. ends: where the
    axis ends; then every piece is continued to the jump or the end that bounds it.
    1 / xi is what is interpolated, for it is 0 where xi is infinite.
    """
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
    pieces = np.searchsorted(past, at)
    members = [pieces == piece for piece in range(len(past) + 1)]
    cut = [(at[rows], rate[rows]) for rows in members if rows.sum() > 1]
    if ends is None:
        return cut, scale
    bounds = [ends[0], *past, ends[1]]
    whole = [(bounds[i], bounds[i + 1]) for i, rows in enumerate(members) if rows.sum() > 1]
    return [_continued(*piece, *reach) for piece, reach in zip(cut, whole, strict=True)], scale


def _continued(at: np.ndarray, rate: np.ndarray, low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
    """A piece of a rate continued straight to both its bounds, but never through 0, where a scale would be endless."""
    for bound, near, next_to in ((low, 0, 1), (high, -1, -2)):
        beyond = bound < at[near] if near == 0 else bound > at[near]
        if not beyond or (at[0] > 0) != (bound > 0) or at[near] == at[next_to]:
            continue
        place = np.log if at[0] > 0 else np.asarray
        slope = (rate[near] - rate[next_to]) / (place(at[near]) - place(at[next_to]))
        further = rate[near] + slope * (place(bound) - place(at[near]))
        further = further if further * rate[near] > 0 else rate[near]
        at, rate = (
            (np.append(bound, at), np.append(further, rate))
            if near == 0
            else (np.append(at, bound), np.append(rate, further))
        )
    return at, rate


def depth_scale(at: np.ndarray, rate: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(Fine places from the first to the last, xi there), from 1 / xi at two places or more without a jump between."""
    # ln chi1 is linear in ln gain for relu, and for any activation where its slope does not change.
    place = np.log if at[0] > 0 else np.asarray
    fine = np.unique(np.concatenate([np.linspace(place(at[0]), place(at[-1]), FINE), place(at)]))
    with np.errstate(divide="ignore"):
        xi = 1 / np.abs(np.interp(fine, place(at), rate))
    return (np.exp(fine) if at[0] > 0 else fine), xi


def critical_by_bias(known: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """(The gain at which chi1 = 1, the gain at which it jumps past 1), by bias_std; NaN where there is none."""
    by_bias = known.groupby("bias_std")
    past = {}
    for bias, rows in by_bias:
        places = [place for place, crosses in jumps(rows.sort_values("gain"), "gain", 1.0) if crosses]
        past[bias] = places[0] if places else np.nan
    return by_bias["critical_gain"].first().astype(float), pd.Series(past).astype(float)
