"""Two runs beside each other: what was asked of each, what became of the networks, and how far common ones differ."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from winit_jax.analysis import summary
from winit_jax.analysis.figures.style import label
from winit_jax.analysis.reading import Tables
from winit_jax.analysis.statistics.regimes import REGIMES
from winit_jax.analysis.tables import KEYS, number

# So many columns are named, those that differ most.
MOST_COLUMNS = 8


@dataclass(frozen=True)
class Difference:
    """A column of the networks that two runs have in common. same: how many have the same bits. median, most: of the
    size of the difference, where both are finite. where: the keys of the network that differs most."""

    column: str
    networks: int
    same: int
    median: float
    most: float
    where: dict[str, Any]


@dataclass(frozen=True)
class Comparison:
    """Two runs, `names`. sweeps: path of a key in sweep.toml -> its two values, where they differ. regimes: shares, a
    column a run. only: networks that one of them has alone. differences: largest first, relative to their spread."""

    names: tuple[str, str]
    sweeps: dict[str, tuple[Any, Any]]
    regimes: pd.DataFrame
    common: int
    only: tuple[int, int]
    differences: tuple[Difference, ...]

    def __str__(self) -> str:
        return "\n".join([*self._of_sweeps(), *self._of_regimes(), *self._of_networks()])

    def _of_sweeps(self) -> list[str]:
        if not self.sweeps:
            return ["The sweeps ask for the same."]
        lines = [f"  {key}: {_word(one)} / {_word(other)}" for key, (one, other) in self.sweeps.items()]
        return [f"The sweeps differ ({self.names[0]} / {self.names[1]}):", *lines]

    def _of_regimes(self) -> list[str]:
        rows = self.regimes[(self.regimes > 0).any(axis=1)]
        if rows.empty:
            return []
        shares = zip(rows.index, *rows.to_numpy().T, strict=True)
        return ["Shares of networks:", *(f"  {name:<11} {one:7.1%} {other:7.1%}" for name, one, other in shares)]

    def _of_networks(self) -> list[str]:
        if not self.common:
            return ["No network is in both."]
        alone = f"; {self.only[0]:,} and {self.only[1]:,} are in one alone" if any(self.only) else ""
        lines = [f"{self.common:,} networks are in both{alone}."]
        moved = [each for each in self.differences if each.same < each.networks]
        if not moved:
            return [*lines, "All that was measured of them has the same bits."]
        lines.append("What was measured of them differs most in:")
        for each in moved[:MOST_COLUMNS]:
            place = ", ".join(f"{key} {number(value)}" for key, value in each.where.items())
            lines.append(
                f"  {each.column} ({label(each.column)}): by {each.median:.3g} in the middle, at most {each.most:.3g}"
                f"{f' ({place})' if place else ''}; {each.same:,} of {each.networks:,} are the same"
            )
        if len(moved) > MOST_COLUMNS:
            lines.append(f"  and in {len(moved) - MOST_COLUMNS} columns more")
        return lines


def compare(one: Tables, other: Tables) -> Comparison:
    """Two runs beside each other. Networks are common where all keys agree, seeds too.

    Errors: RunFolderError for runs without networks.
    """
    frames = [run.networks for run in (one, other)]
    keys = [key for key in KEYS if all(key in frame for frame in frames)]
    columns = [name for name in frames[0] if name in frames[1] and name not in keys and _is_number(frames, str(name))]
    plain = [frame[[*keys, *columns]].astype({key: object for key in keys if _is_name(frame[key])}) for frame in frames]
    both = plain[0].merge(plain[1], on=keys, suffixes=("", "\0other"))
    varying = [key for key in keys if key != "seed" and both[key].nunique() > 1]
    found = [_difference(both, str(column), [*varying, "seed"] if "seed" in keys else varying) for column in columns]
    ranked = sorted(found, key=lambda each: -_surprise(both[each.column], each))
    return Comparison(
        names=(one.path.name, other.path.name),
        sweeps=dict(_unlike(one.sweep, other.sweep)),
        regimes=pd.DataFrame({0: _shares(one), 1: _shares(other)}),
        common=len(both),
        only=(len(frames[0]) - len(both), len(frames[1]) - len(both)),
        differences=tuple(ranked),
    )


def _is_name(values: pd.Series) -> bool:
    return values.dtype.kind not in "fiub"


def _is_number(frames: Sequence[pd.DataFrame], name: str) -> bool:
    return all(not _is_name(frame[name]) and frame[name].notna().any() for frame in frames)


def _difference(both: pd.DataFrame, column: str, keys: Sequence[str]) -> Difference:
    one, other = both[column].to_numpy(float), both[f"{column}\0other"].to_numpy(float)
    same = (one == other) | (np.isnan(one) & np.isnan(other))
    with np.errstate(invalid="ignore"):
        apart = np.abs(one - other)
    finite = np.isfinite(apart)
    if not finite.any():
        return Difference(column, len(both), int(same.sum()), np.nan, np.nan, {})
    at = int(np.nanargmax(np.where(finite, apart, np.nan)))
    where = {key: both[key].iloc[at] for key in keys}
    return Difference(column, len(both), int(same.sum()), float(np.median(apart[finite])), float(apart[at]), where)


def _surprise(values: pd.Series, difference: Difference) -> float:
    """The greatest difference beside the column's own spread."""
    finite = values[np.isfinite(values)]
    spread = float(finite.max() - finite.min()) if len(finite) else 0.0
    return difference.most / spread if spread and np.isfinite(difference.most) else 0.0


def _shares(run: Tables) -> pd.Series:
    counted = summary.counts(run, ())
    return counted.set_index("regime")["share"] if len(counted) else pd.Series(0.0, index=list(REGIMES))


def _unlike(one: dict[str, Any], other: dict[str, Any], place: str = "") -> list[tuple[str, tuple[Any, Any]]]:
    """Keys of two sweeps with other values, tables within tables by dots."""
    found: list[tuple[str, tuple[Any, Any]]] = []
    for key in dict.fromkeys([*one, *other]):
        values = one.get(key), other.get(key)
        if all(isinstance(value, dict) for value in values):
            found += _unlike(one[key], other[key], f"{place}{key}.")
        elif values[0] != values[1]:
            found.append((f"{place}{key}", values))
    return found


def _word(value: Any) -> str:
    return "not given" if value is None else str(value)
