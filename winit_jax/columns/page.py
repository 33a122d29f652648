"""The parts of pages that the records say: tables in Markdown, between comments that name them."""

import math
import re
from collections.abc import Callable, Iterable

from winit_jax.columns.axes import AXES, OF_TRAINING
from winit_jax.columns.probed import PROBED
from winit_jax.columns.records import NEEDS, Axis, Column, Role
from winit_jax.columns.tables import ALL_TABLES, COLUMNS, columns_of

_CHANGES = {
    "draw": "other random numbers",
    "weights": "another scale of the same draw",
    "scale": "another scale beside the same draw",
    "function": "another function of the same draw",
    "depth": "more or fewer layers of the same draw",
}
_BLOCK = re.compile(r"<!-- generated: (?P<name>[\w ]+) -->\n.*?<!-- end -->", re.DOTALL)


def written_anew(page: str) -> str:
    """The page with what stands between its marks made from the records.

    A mark is `<!-- generated: NAME -->`, up to `<!-- end -->`. Errors: ValueError where the marks are neither those of
    BLOCKS, as of docs/definitions.md, nor those of PROBES, as of docs/your-model.md, each once.
    """
    marks = [match["name"] for match in _BLOCK.finditer(page)]
    made = PROBES if set(marks) & set(PROBES) else BLOCKS
    if sorted(marks) != sorted(made):
        raise ValueError(f"the page marks {', '.join(marks) or 'nothing'}; it should mark {', '.join(made)}.")
    return _BLOCK.sub(lambda match: f"<!-- generated: {match['name']} -->\n{made[match['name']]()}<!-- end -->", page)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, *rows)]
    lines.insert(1, "|---" * len(head) + "|")
    return "\n" + "\n".join(lines) + "\n\n"


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _definitions(columns: Iterable[Column]) -> str:
    return _table(("column", "meaning"), ((f"`{column.name}`", column.definition) for column in columns))


def _of(role: Role) -> Callable[[], str]:
    """The definitions of all columns of a role."""
    return lambda: _definitions(column for column in COLUMNS if column.role == role)


def _axes() -> str:
    rows = (
        (
            f"`{axis.name}`",
            _values(axis),
            "" if axis.default is None else f"`{axis.default}`",
            _CHANGES[axis.changes],
            axis.definition,
        )
        for axis in AXES.values()
    )
    return _table(("axis", "values", "default", "another value is", "meaning"), rows)


def _values(axis: Axis) -> str:
    """What an axis takes, in words."""
    if axis.holds is str:
        return _quoted(axis.names) or "names"
    what = "whole numbers" if axis.holds is int else "numbers"
    limits = f"from {axis.low:,}" + (f" to {axis.high:,}" if math.isfinite(axis.high) else " on")
    return f"{what} {limits}" + (", `inf`" if axis.infinite else "")


def _other_names() -> str:
    rows = (("axis", f"`{axis.name}`", _quoted(axis.aliases)) for axis in AXES.values() if axis.aliases)
    return _table(("of", "here", "also"), rows)


def _tables() -> str:
    rows = ((f"`{table.name}`", table.row, _told_apart(columns_of(table.name))) for table in ALL_TABLES)
    return _table(("table", "a row is", "told apart by"), rows)


def _told_apart(columns: tuple[Column, ...]) -> str:
    """The axes of a table and the other places of a row; of nearly all axes, those that are not among them."""
    names = {column.name for column in columns}
    axes, others = [axis for axis in AXES if axis in names], [axis for axis in AXES if axis not in names]
    places = [column.name for column in columns if column.role == "row" and column.name != "count"]
    if len(others) > len(OF_TRAINING):
        return _quoted([*axes, *places])
    keys = "all axes" + (f" but {' and '.join(map('`{}`'.format, others))}" if others else "")
    return f"{keys}; {_quoted(places)}" if places else keys


def _filled() -> str:
    rows = []
    for need, words in NEEDS.items():
        names = dict.fromkeys(column.name for column in COLUMNS if need in column.needs and column.tables)
        rows.append((_quoted(names), words))
    return _table(("column", "is there"), rows)


BLOCKS: dict[str, Callable[[], str]] = {
    "axes": _axes,
    "rules": _of("rule"),
    "rows": _of("row"),
    "tables": _tables,
    "other names": _other_names,
    "measured": _of("measured"),
    "learnt": _of("learnt"),
    "gradients": _of("gradient"),
    "rounding": _of("rounding"),
    "singular values": _of("singular value"),
    "predicted": _of("predicted"),
    "fixed points": _of("fixed point"),
    "derived": _of("derived"),
    "filled": _filled,
}
PROBES: dict[str, Callable[[], str]] = {
    name: lambda columns=columns: _definitions(columns)  # type: ignore[misc]
    for name, columns in PROBED.items()
}
