"""Rows of a table by the cell that they are put together in: of a frame of rows, or those behind a frame of points."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from winit_jax.analysis.scanning import Rows


@dataclass(frozen=True)
class Cells:
    """keys: one row a cell, sorted. rows: numbers, one row a network (or a layer of it). of: the cell of each row, as a
    pandas Categorical to group by."""

    keys: pd.DataFrame
    rows: pd.DataFrame
    of: Any

    def count(self, which: np.ndarray | None = None) -> np.ndarray:
        """How many rows each cell has, or how many of them hold: [cells]."""
        of = self.of.codes if which is None else self.of.codes[which]
        counts: np.ndarray = np.bincount(of, minlength=len(self.keys))
        return counts


def medians(numbers: pd.Series, cells: Cells) -> np.ndarray:
    """The median of the numbers of each cell, one a row of `cells`; those that are missing are left out: [cells].

    Where all cells have as many numbers and none is missing, as in a grid that is whole, they are put into a matrix
    and partitioned, which takes less time than a `groupby`: the same medians, the mean of the middle two.
    """
    values, counts = numbers.to_numpy(), cells.count()
    most = int(counts.max(initial=0))
    is_whole = values.dtype == np.float64 and most * len(counts) == len(values)
    # Of 0 and -0, and of infinities that cancel, pandas' own order decides the sign.
    if not is_whole or not np.isfinite(values).all() or (np.signbit(values) & (values == 0)).any():
        grouped: np.ndarray = numbers.groupby(cells.of, observed=False).median().to_numpy()
        return grouped
    table = values[np.argsort(cells.of.codes, kind="stable")].reshape(len(counts), most)
    low, high = (most - 1) // 2, most // 2
    table.partition([*{low, high}], axis=1)
    return (table[:, low] + table[:, high]) / 2 if low < high else table[:, low].copy()


def cells_of(frame: pd.DataFrame, keys: Sequence[str], numbers: Iterable[str], dropna: bool = True) -> Cells:
    """The rows of a frame by the values of some keys, with these columns, those of them that there are.

    frame: a table, or points of one (`scanning.points_of`): then the rows are those behind them. dropna: whether rows
    without one of the keys are left out.
    """
    wanted = list(dict.fromkeys(numbers))
    code = frame.groupby(list(keys), observed=True, dropna=dropna).ngroup().to_numpy()
    code = np.where(np.isnan(code), -1, code).astype(np.int64) if code.dtype.kind == "f" else code
    count = int(code.max(initial=-1)) + 1
    one = np.empty(count, np.int64)
    one[code[code >= 0]] = np.flatnonzero(code >= 0)
    behind: Rows | None = frame.attrs.get("rows")
    if behind is None:
        rows, of = frame[[name for name in wanted if name in frame]], code
        kept = of >= 0
        if not kept.all():
            rows, of = rows[kept], of[kept]
    else:
        of = behind.of(frame.index, code)
        kept = of >= 0
        columns = {name: behind.numbers[name] for name in wanted if name in behind.numbers}
        if not kept.all():
            columns, of = {name: values[kept] for name, values in columns.items()}, of[kept]
        rows = pd.DataFrame(columns, index=pd.RangeIndex(len(of)), copy=False)
    rows.attrs = frame.attrs
    groups = pd.Categorical.from_codes(of, categories=pd.RangeIndex(count))
    return Cells(frame[list(keys)].iloc[one].reset_index(drop=True), rows, groups)


def all_numbers(frame: pd.DataFrame, column: str) -> np.ndarray:
    """A column of all rows of a frame, or behind its points."""
    behind: Rows | None = frame.attrs.get("rows")
    if behind is None:
        return frame[column].to_numpy()
    return behind.numbers[column][behind.of(frame.index, np.zeros(len(frame), int)) >= 0]


def n_seeds(frame: pd.DataFrame) -> int:
    """How many seeds the rows of a frame, or those behind its points, have; 1 of a table without seeds."""
    behind: Rows | None = frame.attrs.get("rows")
    if behind is not None:
        return behind.n_seeds(frame.index)
    return int(frame["seed"].nunique()) if "seed" in frame else 1
