"""Names for what became of a signal: overflowed, vanishing, exploding, saturated, collapsed or healthy."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from winit_jax.analysis.axes import is_log_spaced
from winit_jax.analysis.columns import OF_REGIMES
from winit_jax.analysis.statistics.cells import all_numbers, cells_of
from winit_jax.analysis.statistics.intervals import of_median
from winit_jax.analysis.tables import KEYS, tidy, varying

# In the order in which a tie over seeds is decided: the worst first.
REGIMES = ("overflowed", "vanishing", "exploding", "saturated", "collapsed", "healthy")


@dataclass(frozen=True)
class Thresholds:
    """Where a regime begins.

    decades: of log10_act_rms and log10_jacobian. One learning rate serves all layers of SGD, so a layer whose
    signal or gradient is a thousand times smaller than another's does not learn while that one does.
    saturated: the share of units. A half would name every ReLU network, half of whose units are off by design.
    alike: input_correlation and unit_similarity. At 0.99 two inputs, or two units, differ by
    sqrt(2 (1 - 0.99)) = 14% of their size.
    """

    decades: float = 3.0
    saturated: float = 0.75
    alike: float = 0.99


DEFAULT = Thresholds()


def regimes(frame: pd.DataFrame, thresholds: Thresholds = DEFAULT) -> pd.Series:
    """The regime of each row of a networks or layers table, as a categorical Series named regime.

    The first of these that holds is the name; columns that the table lacks, and NaN, take no part:

    1. overflowed: nonfinite > 0
    2. vanishing, exploding: log10_act_rms beyond -decades, +decades (an exact zero vanishes)
    3. saturated: the saturated share above thresholds.saturated
    4. vanishing, exploding: log10_jacobian beyond -decades, +decades, which is the size of gradients too
    5. collapsed: input_correlation or unit_similarity above thresholds.alike: all inputs or units look the same
    6. healthy

    The signal's size comes first, for what is measured of a signal that is gone says nothing; then
    saturation, since it is why gradients vanish. A sigmoid's log10_act_rms of -0.3 is a half, and healthy.
    """
    codes = regime_codes(frame, thresholds)
    named = pd.Categorical.from_codes(codes, categories=pd.Index(REGIMES))
    return pd.Series(named, index=frame.index, name="regime")


def regime_codes(frame: pd.DataFrame, thresholds: Thresholds = DEFAULT) -> np.ndarray:
    """The same as places in REGIMES: int8 [rows]."""
    limit = thresholds.decades
    signal, jacobian = _column(frame, "log10_act_rms"), _column(frame, "log10_jacobian")
    alike = np.fmax(_column(frame, "input_correlation"), _column(frame, "unit_similarity"))
    rules = [
        ("overflowed", _column(frame, "nonfinite") > 0),
        ("vanishing", signal < -limit),
        ("exploding", signal > limit),
        ("saturated", _column(frame, "saturated") > thresholds.saturated),
        ("vanishing", jacobian < -limit),
        ("exploding", jacobian > limit),
        ("collapsed", alike > thresholds.alike),
    ]
    names = [np.int8(REGIMES.index(name)) for name, _ in rules]
    codes: np.ndarray = np.select([rule for _, rule in rules], names, np.int8(len(REGIMES) - 1))
    return codes


def counts(
    frame: pd.DataFrame, by: Sequence[str] = ("activation", "init"), thresholds: Thresholds = DEFAULT
) -> pd.DataFrame:
    """How many networks are in each regime: columns by, regime, networks, share (of the networks of that group).

    frame: a networks table, or points of one (`scanning.points_of`), of which the networks behind them are counted.
    Regimes without networks have rows too. Errors: ValueError for a column that the table lacks.
    """
    _known(frame, by)
    if by:
        cells = cells_of(frame, list(by), OF_REGIMES, dropna=False)
        groups, rows, group = cells.keys, cells.rows, cells.of.codes
    else:
        columns = {name: all_numbers(frame, name) for name in OF_REGIMES if name in frame}
        groups, rows, group = pd.DataFrame(index=range(1)), pd.DataFrame(columns, copy=False), 0
    table = np.zeros((len(groups), len(REGIMES)), int)
    np.add.at(table, (group, regime_codes(rows, thresholds)), 1)
    repeated = groups.loc[groups.index.repeat(len(REGIMES))].reset_index(drop=True)
    codes = np.tile(np.arange(len(REGIMES), dtype=np.int8), len(groups))
    shares = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    names = pd.Categorical.from_codes(codes, categories=pd.Index(REGIMES))
    return repeated.assign(regime=names, networks=table.ravel(), share=shares.ravel())


def boundary(
    frame: pd.DataFrame,
    x: str = "gain",
    along: str = "depth",
    *,
    from_: str | None = None,
    into: str | None = None,
    thresholds: Thresholds = DEFAULT,
    level: float = 0.9,
) -> pd.DataFrame:
    """Where networks leave or enter a regime as x grows: the median over seeds, with an interval.

    from_: the regime left; into: the one entered; exactly one of them. One row a value of the other keys that
    vary and of along: columns those keys, boundary, low, high, n_seeds. The boundary of a seed is the middle
    (of log x if x is spaced so) between the last x inside and the first x outside, where it first crosses; boundary is
    the median over seeds, of an even number the middle of the two in the middle, and NaN beyond the range of x.
    low, high: an interval that holds the median of all seeds with a probability of `level`, see `intervals.of_median`;
    it is open by the cells in which seeds cross, and NaN beyond the range of x and for one seed.
    Errors: ValueError for unknown keys and regimes.
    """
    name = _one_of(from_, into)
    _known(frame, [x, along, "seed"])
    frame = tidy(frame)
    same = {"std": "gain", "gain": "std"}.get(x)
    keys = [key for key in varying(frame) if key not in (x, along, "seed", same)]
    inside = frame.assign(inside=(regimes(frame, thresholds) == name).to_numpy().astype(float))
    log = is_log_spaced(np.sort(frame[x].unique().astype(float)))
    rows = []
    for values, part in inside.groupby([*keys, along], observed=True):
        share = part.pivot_table(index=x, columns="seed", values="inside", aggfunc="mean")
        members = share.to_numpy() if into is None else 1 - share.to_numpy()
        at = share.index.to_numpy(float)
        edges = np.array([_falls(np.log(at) if log else at, member) for member in members.T])
        ends = of_median(edges.mean(axis=1), edges[:, 0], edges[:, 1], level)
        rows.append((*values, *(np.exp(ends) if log else ends), len(edges)))
    return pd.DataFrame(rows, columns=[*keys, along, "boundary", "low", "high", "n_seeds"])


def _falls(at: np.ndarray, member: np.ndarray) -> tuple[float, float]:
    """Between which places a seed is first inside and then outside; open to the side on which it never changes.

    member: 1 inside, 0 outside, NaN where the network was not run; a share, of several networks at a place, is inside
    from a half on.
    """
    run = np.isfinite(member)
    at, inside = at[run], member[run] >= 0.5
    down = np.flatnonzero(inside[:-1] & ~inside[1:])
    if len(down):
        return at[down[0]], at[down[0] + 1]
    return (at[-1], np.inf) if inside[-1] else (-np.inf, at[0])


def _column(frame: pd.DataFrame, name: str) -> Any:
    """A column as numbers; NaN, which no comparison holds for, where the table lacks it."""
    return frame[name].to_numpy(float) if name in frame else np.full(len(frame), np.nan)


def _known(frame: pd.DataFrame, keys: Sequence[str]) -> None:
    if absent := [key for key in keys if key not in frame]:
        raise ValueError(f"{', '.join(absent)}: no column of this table. Keys: {', '.join(KEYS)}.")


def _one_of(from_: str | None, into: str | None) -> str:
    if (from_ is None) == (into is None):
        raise ValueError("Give one of from_ (the regime left) and into (the regime entered).")
    name = from_ or into or ""
    if name not in REGIMES:
        raise ValueError(f"{name!r} is not a regime. Regimes: {', '.join(REGIMES)}.")
    return name
