"""What a kind of figure reads of a run: the columns and rows that it shows, and points where it puts seeds together."""

from collections.abc import Sequence
from pkgutil import resolve_name

import pandas as pd
import pyarrow as pa

from winit_jax.analysis.columns import LEARNT
from winit_jax.analysis.figures.catalog import Kind
from winit_jax.analysis.reading import Tables, keys_of
from winit_jax.analysis.selection import Where, named, pushed
from winit_jax.analysis.tables import KEYS, measured
from winit_jax.columns import RULES as FORMULAS


def usual(run: Tables, kind: Kind) -> str | None:
    """The column that a kind of figure shows unless told otherwise."""
    return kind.of_theory if kind.of_theory and run.is_theory else kind.value


def table_of(run: Tables, kind: Kind) -> str | None:
    """The table that a kind of figure draws from, None if the run has none."""
    name = "theory" if kind.of_theory and run.is_theory else kind.table
    if name == "networks" and run.is_theory:
        return None
    return name if len(run.stored(name)) else None


def columns_of(run: Tables, kind: Kind) -> list[str]:
    """The columns that a kind may show of a run."""
    name = table_of(run, kind)
    if name is None:
        return []
    rest = shown(run.stored(name).names)
    return [*rest, kind.value or ""] if kind.prepare else rest


def shown(columns: Sequence[str]) -> list[str]:
    """The columns of a table that are no keys, places of rows or formulas."""
    rules = [rule.name for rule in FORMULAS]
    return [str(name) for name in columns if name not in (*KEYS, *rules, "layer", "site", "step")]


def rows_of(
    run: Tables, kind: Kind, values: Sequence[str], where: Where | None = None, places: Sequence[str] = ()
) -> pd.DataFrame | None:
    """The rows that a kind of figure draws, or points of them; None if the run has none.

    values: the columns that are shown. where: conditions that rows need not be read for which do not have them. places:
    keys that are asked for; each seed is a point of its own where it is one of them. Out: what `prepare` of the kind
    makes of the table, whole where a value is none of its columns.
    """
    name = table_of(run, kind)
    if name is None:
        return None
    stored = run.stored(name)
    needed = [column for need in kind.needs for column in need.columns]
    reads = [column.format(value=value) for column in kind.reads for value in values or [""]]
    numbers = [*values, *reads, *needed]
    only = pushed(run, name, where) if where else None
    whole = [value for value in values if not _is_number(stored, value)]
    if kind.in_points and not whole:
        points = run.points(name, numbers, apart="seed" in places or "seed" in named(where), only=only)
        if points is None or not _needs_rows(points, kind, values, places):
            return points
    if kind.reads and not (kind.in_points and whole):
        frame = run._table(name, [column for column in stored.names if column in (*keys_of(name), *numbers)], only)
    else:
        frame = getattr(run, name) if only is None else run._table(name, only=only)
    return frame if frame is None or kind.prepare is None else resolve_name(kind.prepare)(frame)


def _is_number(stored: pa.Schema, column: str) -> bool:
    """Whether a table has a column of numbers that is no key."""
    if column not in shown(stored.names):
        return False
    kind = stored.field(column).type
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind))


def _needs_rows(points: pd.DataFrame, kind: Kind, values: Sequence[str], places: Sequence[str]) -> bool:
    """Whether points do not do: each network once, whatever it was trained with; the deepest of several; each site."""
    if not kind.learnt and not any(value in LEARNT for value in values) and measured(points, "learning_rate"):
        return True
    return kind.arrangement == "profiles" and (points["depth"].nunique() > 1 or "site" in places)
