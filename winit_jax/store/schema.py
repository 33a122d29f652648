"""The Arrow schemas of a run folder's tables, and the version that every file carries in its metadata."""

from collections.abc import Container, Mapping, Sequence

import numpy as np
import pyarrow as pa

from winit_jax.columns import AXES, PREDICTIONS, TABLES, Column, columns_of

__all__ = ["METADATA_KEY", "PREDICTIONS", "TABLES", "VERSION", "make_table", "schema", "widened"]

VERSION = 5
METADATA_KEY = b"winit"


def _arrow_type(column: Column) -> pa.DataType:
    """Names are dictionary-encoded strings, whole numbers int64, the rest float64."""
    if column.holds is str:
        return pa.dictionary(pa.int16(), pa.string())
    return pa.int64() if column.holds is int else pa.float64()


def schema(table: str, without: Container[str] = ()) -> pa.Schema:
    """The Arrow schema of a table.

    without: columns that the sweep can never fill (`unfilled.never_filled`), which are left out.
    """
    columns = (column for column in columns_of(table) if column.name not in without)
    return pa.schema([(column.name, _arrow_type(column)) for column in columns])


def make_table(
    table: str,
    columns: Mapping[str, np.ndarray],
    categories: Mapping[str, Sequence[str]],
    without: Container[str] = (),
) -> pa.Table:
    """An Arrow table of a table's columns.

    columns: arrays of equal length [rows]. One that is absent is filled with NaN, or with null if it is nullable; in a
    nullable column NaN means null. Names come as integer codes into `categories[column]`, below 0 for null, and the
    whole list of names is stored in every file. without: columns to leave out.
    """
    rows = len(columns["activation"])
    arrays = []
    for column in columns_of(table):
        name = column.name
        if name in without:
            continue
        values = np.asarray(columns[name] if name in columns else np.full(rows, np.nan))
        if column.holds is str:
            numbers = np.asarray(columns[name] if name in columns else np.full(rows, -1), np.int16)
            codes = pa.array(numbers, pa.int16(), mask=numbers < 0)
            arrays.append(pa.DictionaryArray.from_arrays(codes, pa.array(categories[name], pa.string())))
        elif column.nullable:
            values = values.astype(np.float64)
            whole = np.where(np.isnan(values), 0, values).astype(np.int64)
            arrays.append(pa.array(whole, pa.int64(), mask=np.isnan(values)))
        else:
            arrays.append(pa.array(values, _arrow_type(column)))
    return pa.Table.from_arrays(arrays, schema=schema(table, without))


def widened(table: str, narrow: pa.Table, without: Container[str] = ()) -> pa.Table:
    """A table with all columns of its schema.

    Those that `narrow` lacks are filled with NaN, or null where they hold names; an axis with what networks had before
    it was asked for. Its metadata are kept.
    """
    wanted = schema(table, without).with_metadata(narrow.schema.metadata)
    empty = pa.array(np.full(narrow.num_rows, np.nan))
    columns = [
        narrow.column(field.name)
        if field.name in narrow.column_names
        else pa.array([AXES[field.name].before] * narrow.num_rows, field.type)
        if field.name in AXES and AXES[field.name].before is not None
        else pa.nulls(narrow.num_rows, field.type)
        if pa.types.is_dictionary(field.type)
        else empty
        for field in wanted
    ]
    return pa.Table.from_arrays(columns, schema=wanted)
