"""Tables of millions of rows, read batch by batch: keys as codes, numbers as they are, and nothing else.

pandas is given the points alone: one row for each combination of keys, seeds together. What stands behind each point is
kept as arrays of all rows in `attrs["rows"]`, and `statistics.cells` makes medians and the like of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

# Codes of several keys together are counted anew where there could be more of them than a cache holds.
MOST_COUNTED = 2**20
INT16, INT32 = np.iinfo(np.int16).max, np.iinfo(np.int32).max


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows behind a frame of points, in the order of the files.

    point: [rows] which point each row is of, as the index of the frame has it. seed: [rows] codes, None of a table
    without seeds. numbers: column -> [rows] float64, NaN where a row has none. apart: each seed is a point of its own.
    """

    point: np.ndarray
    seed: np.ndarray | None
    numbers: Mapping[str, np.ndarray]
    apart: bool = False

    def __deepcopy__(self, memo: Any) -> "Rows":
        """Itself: pandas copies attrs with every frame that is made of another one."""
        return self

    def of(self, points: pd.Index, codes: np.ndarray) -> np.ndarray:
        """The code of each row by that of its point, -1 for rows of other points: [rows]."""
        by_point = np.full(int(self.point.max(initial=-1)) + 1, -1, np.int64)
        by_point[points.to_numpy()] = codes
        of_rows: np.ndarray = by_point.astype(np.int32)[self.point]
        return of_rows

    def n_seeds(self, points: pd.Index) -> int:
        """How many seeds the rows of some points have."""
        if self.seed is None:
            return 1
        there = self.of(points, np.zeros(len(points), int)) >= 0
        return int(np.count_nonzero(np.bincount(self.seed[there])))


@dataclass
class _Key:
    """One key while it is read: its values in the order in which they come, and the code of each row.

    codes: [rows], or None as long as all rows have the first value. missing: the code of rows without a value, or -1.
    """

    room: int
    values: list[Any] = field(default_factory=list)
    of: dict[Any, int] = field(default_factory=dict)
    codes: np.ndarray | None = None
    missing: int = -1
    _names: tuple[pa.Array, np.ndarray] | None = None

    def code(self, value: Any) -> int:
        """That of one value, a new one if it has not come before. None, or NaN, is a missing value."""
        value = None if value != value else value
        if value not in self.of:
            self.of[value] = len(self.values)
            self.values.append(value)
        if value is None:
            self.missing = self.of[None]
        return self.of[value]

    def take(self, column: pa.Array, at: int) -> None:
        """The codes of a batch, whose first row is the `at`th of all."""
        codes = self._of_names(column) if pa.types.is_dictionary(column.type) else self._of_values(column)
        if self.codes is None:
            if isinstance(codes, int) and codes == 0:
                return
            self.codes = np.empty(self.room, np.int16)
            self.codes[:at] = 0
        if len(self.values) > INT16 and self.codes.dtype == np.int16:
            self.codes = self.codes.astype(np.int32)
        self.codes[at : at + len(column)] = codes

    def _of_names(self, column: pa.DictionaryArray) -> np.ndarray | int:
        """One code where all rows have the same name."""
        names, places = column.dictionary, column.indices
        if self._names is None or not names.equals(self._names[0]):
            self._names = names, self._coded(names.to_pylist())
        known: np.ndarray = self._names[1]
        if places.null_count:
            known, places = np.append(known, self.code(None)), places.fill_null(len(names))
        at = _numpy(places)
        codes: np.ndarray = known[at]
        return int(codes[0]) if (at == at[0]).all() else codes

    def _of_values(self, column: pa.Array) -> np.ndarray | int:
        """One code where all rows have the same value."""
        values = _numpy(column)
        if values.dtype.kind in "iufb":
            # A scale stays the same over all depths of a network, and most keys in all of a part.
            starts = np.flatnonzero(values[1:] != values[:-1]) + 1
            if not len(starts):
                return self.code(values[0].item())
            if len(starts) < len(values) / 4:
                starts = np.concatenate([[0], starts])
                places, found = pd.factorize(values[starts], use_na_sentinel=False)
                codes: np.ndarray = np.repeat(self._coded(found.tolist())[places], np.diff(starts, append=len(values)))
                return codes
        coded = column.dictionary_encode(null_encoding="encode")
        told: np.ndarray = self._coded(coded.dictionary.to_pylist())[_numpy(coded.indices)]
        return told

    def _coded(self, values: list[Any]) -> np.ndarray:
        return np.array([*map(self.code, values)], np.int32)

    def column(self, codes: np.ndarray, like: pd.Series) -> Any:
        """The values of these codes as pandas reads them. like: an empty column of the file."""
        if isinstance(like.dtype, pd.CategoricalDtype):
            names = [name for name in self.values if name is not None]
            order = np.array([-1 if name is None else names.index(name) for name in self.values])
            return pd.Categorical.from_codes(order[codes], categories=pd.Index(names))
        if self.missing < 0:
            return pd.Series(self.values, dtype=like.dtype).array[codes]
        kind = float if like.dtype.kind in "iufb" else object
        return np.array([np.nan if value is None and kind is float else value for value in self.values], kind)[codes]


@dataclass
class _Numbers:
    """One column of numbers while it is read. array: [rows], or None as long as all rows have the same number."""

    room: int
    same: float = np.nan
    array: np.ndarray | None = None

    def take(self, column: pa.Array, at: int) -> None:
        values = _numpy(column)
        if self.array is None:
            if at == 0:
                self.same = float(values[0])
            has_its_sign = self.same != 0 or (np.signbit(values) == np.signbit(self.same)).all()  # 0 is not -0
            if has_its_sign and np.array_equal(values, np.broadcast_to(self.same, len(values))):
                return
            self.array = np.empty(self.room)
            self.array[:at] = self.same
        self.array[at : at + len(values)] = values

    def whole(self, rows: int) -> np.ndarray:
        """All rows."""
        return np.broadcast_to(self.same, rows) if self.array is None else self.array[:rows]


def points_of(
    paths: Sequence[Path],
    keys: Sequence[str],
    numbers: Sequence[str] = (),
    apart: bool = False,
    only: pc.Expression | None = None,
) -> pd.DataFrame:
    """The points of a table: one row for each combination of keys that it has, whatever the seed.

    keys: columns that tell rows apart, those of them that the files have; numbers: columns to be put together over
    seeds, likewise. apart: each seed is a point of its own. only: which rows, left to the reader of the files, which
    skips what cannot have any.
    Columns: the keys, with one of its seeds for each point, and the numbers, with the greatest of its rows for each
    point, so that a number is there where any row has one. `attrs["rows"]`: see `Rows`.
    Errors: pa.ArrowException, OSError as of pyarrow; FileNotFoundError.
    """
    dataset = ds.dataset([str(path) for path in paths], format="parquet")
    keys = [name for name in keys if name in dataset.schema.names]
    numbers = [name for name in dict.fromkeys(numbers) if name in dataset.schema.names and name not in keys]
    rows = dataset.count_rows()
    coded = {name: _Key(rows) for name in keys}
    arrays = {name: _Numbers(rows) for name in numbers}
    same = _same_in_all(dataset, keys)
    for name, value in same.items():
        coded[name].code(value)
    read = [name for name in keys if name not in same]
    at = 0
    for batch in dataset.to_batches(columns=[*read, *numbers], filter=only):
        if not batch.num_rows:
            continue
        for name in read:
            coded[name].take(batch.column(name), at)
        for name, array in arrays.items():
            array.take(batch.column(name), at)
        at += batch.num_rows
    point, one = _points([key for name, key in coded.items() if apart or name != "seed"], at)
    like = dataset.schema.empty_table().to_pandas()
    columns = {name: key.column(_at(key, one), like[name]) for name, key in coded.items()}
    whole = {name: array.whole(at) for name, array in arrays.items()}
    for name, values in whole.items():
        columns[name] = np.full(len(one), np.nan)
        np.fmax.at(columns[name], point, values)
    frame = pd.DataFrame(columns, index=pd.RangeIndex(len(one)))
    seed = _at(coded["seed"], slice(at)) if "seed" in coded else None
    frame.attrs["rows"] = Rows(point, seed, whole, apart)
    return frame


def _same_in_all(dataset: ds.Dataset, keys: Sequence[str]) -> dict[str, Any]:
    """Keys of which all rows have one value, by the statistics that stand in the files: they need not be read.

    Not those of floats, whose statistics do not count NaN.
    """
    same: dict[str, Any] = {}
    left = [name for name in keys if not pa.types.is_floating(dataset.schema.field(name).type)]
    for fragment in dataset.get_fragments():
        metadata = fragment.metadata
        places = {name: at for at, name in enumerate(metadata.schema.names)}
        for group in range(metadata.num_row_groups) if left else ():
            columns = metadata.row_group(group)
            for name in left:
                told = columns.column(places[name]).statistics if name in places else None
                if told is None or not told.has_min_max or told.null_count != 0 or told.min != told.max:
                    same[name] = None
                else:
                    value = same.setdefault(name, told.min)
                    same[name] = value if value == told.min else None
            left = [name for name in left if same[name] is not None]
    return {name: same[name] for name in left if name in same}


def _numpy(column: pa.Array) -> np.ndarray:
    """Numbers as they are, NaN for null."""
    values: np.ndarray = column.to_numpy(zero_copy_only=False)
    return values


def _at(key: _Key, places: np.ndarray | slice) -> np.ndarray:
    """The codes of some rows."""
    if key.codes is not None:
        return key.codes[places]
    return np.zeros(places.stop if isinstance(places, slice) else len(places), np.int16)


def _points(keys: Sequence[_Key], rows: int) -> tuple[np.ndarray, np.ndarray]:
    """(The point of each row, one row of each point); points in the order of their keys' codes."""
    point, size = np.zeros(rows, np.int32), 1
    for key in keys:
        if key.codes is None:
            continue
        if size * len(key.values) > MOST_COUNTED:
            size = _renumber(point, size)
        size *= len(key.values)
        if size > INT32:
            found, values = pd.factorize(point.astype(np.int64) * len(key.values) + key.codes[:rows])
            point, size = found.astype(np.int32), len(values)
        else:
            point *= len(key.values)
            point += key.codes[:rows]
    size = _renumber(point, size)
    one = np.empty(size, np.int32)
    one[point] = np.arange(rows, dtype=np.int32)
    return point, one


def _renumber(codes: np.ndarray, size: int) -> int:
    """Leave out codes below `size` that are not there, in place; how many there are."""
    if size > max(MOST_COUNTED, 4 * len(codes)):
        found, values = pd.factorize(codes)
        codes[:] = found
        return len(values)
    there = np.zeros(size, bool)
    there[codes] = True
    numbers = np.cumsum(there, dtype=np.int32) - 1
    np.take(numbers, codes, out=codes, mode="clip")  # a mode that needs no copy
    return int(there.sum())
