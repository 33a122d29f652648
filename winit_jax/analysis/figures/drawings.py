"""From a kind of figure and a run to the figures it makes: by file name, drawn when called."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from inspect import signature
from pkgutil import resolve_name
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from winit_jax.analysis.columns import LEARNT
from winit_jax.analysis.figures.catalog import KINDS, NAMES, Kind, Standard, kind_of
from winit_jax.analysis.figures.needs import lacking
from winit_jax.analysis.figures.places import RULES, Given, on_a_map
from winit_jax.analysis.figures.sources import columns_of, rows_of, shown, table_of, usual
from winit_jax.analysis.reading import NoRoom, Tables
from winit_jax.analysis.scanning import Rows
from winit_jax.analysis.selection import PlotError, Where, by_kind_of_init, cut, keep, known, named
from winit_jax.analysis.statistics.seeds import AGGREGATES
from winit_jax.analysis.tables import KEYS, Expected, in_order, measured, sites_of, tidy, untrained
from winit_jax.columns import OF_TRAINING

# Figures by file name: a figure that is not wanted costs nothing.
Drawings = dict[str, Callable[[], Figure]]


@dataclass(frozen=True)
class Request:
    """What is asked of a kind of figure. value: a column. places: x, y, hue, row, col -> a key. seeds: how they are put
    together. where: the rows to keep. None leaves it to the kind."""

    value: str | None = None
    places: Given = field(default_factory=dict)
    seeds: str | None = None
    where: Where = field(default_factory=dict)

    @property
    def filled(self) -> dict[str, str]:
        """The places that have a key, each with it."""
        return {place: key for place, key in self.places.items() if key}


def requested(run: Tables, name: str, request: Request) -> tuple[Drawings, pd.DataFrame]:
    """(The figures that a kind makes, the rows that they show); one for each value of keys that have no place.

    Errors: RunFolderError, and PlotError in a sentence for what is unknown, unused or missing.
    """
    known("kind", name, NAMES)
    kind = kind_of(name)
    refuse_unused(kind, request)
    known("seeds", request.seeds or kind.seeds, AGGREGATES)
    where = named(request.where)
    frame = _rows(run, kind, request, where)
    sites = ["site"] if kind.arrangement == "profiles" and sites_of(frame) else []
    for place, key in request.filled.items():
        known(place, key, (*KEYS, *sites))
    # What was kept is all that was asked for of those keys.
    expected = run.expected | {key: in_order(frame, key) for key in where}
    for key in (key for key in OF_TRAINING if key not in frame):
        expected.pop(key, None)
    if _has_seeds_along_an_axis(kind, frame, expected, request.filled):
        frame = _rows(run, kind, request, where, apart=True)
    value = request.value or usual(run, kind)
    file = name if value is None else f"{name}-{value}"
    return _drawings(run, kind, frame, expected, value, request.seeds or kind.seeds, request.filled, file), frame


def single(run: Tables, name: str, request: Request) -> Figure:
    """The one figure that is asked for. Errors: as of `requested`, and PlotError if there are several."""
    figures, _ = requested(run, name, request)
    if len(figures) > 1:
        names = list(figures)
        raise PlotError(
            f"This makes {len(figures)} figures: {names[0]}, {names[1]}{', ...' if len(names) > 2 else ''}. "
            "Keep single values with where, or give their keys a place."
        )
    (draw,) = figures.values()
    return drawn(draw)


def drawn(draw: Callable[[], Figure]) -> Figure:
    """The figure. Errors: PlotError in a sentence if it cannot be drawn."""
    try:
        return draw()
    except ValueError as error:
        raise PlotError(str(error)) from error


def showing(run: Tables, value: str | None) -> str:
    """The kind of figure that shows a column, by the table that has it. Errors: PlotError if none has."""
    if value is None:
        return KINDS[0].name
    columns = {kind.name: columns_of(run, kind) for kind in KINDS if kind.value and not kind.values}
    known("value", value, dict.fromkeys(name for names in columns.values() for name in names))
    # A table that has a column comes before one that it is computed from.
    order = sorted(columns, key=lambda name: kind_of(name).prepare is not None)
    return next(name for name in order if value in columns[name])


def _rows(run: Tables, kind: Kind, request: Request, where: Where, apart: bool = False) -> pd.DataFrame:
    """The rows that a kind of figure draws, tidy. Errors: RunFolderError, PlotError if the run has none."""
    value = request.value or usual(run, kind)
    places = [*request.filled.values(), *(["seed"] if apart else [])]
    frame = rows_of(run, kind, [value] if value else [], where, places)
    if frame is None:
        if table_of(run, kind) != "networks":
            _ = run.networks  # a run with nothing finished says so
        raise PlotError(f"{run.path} has no {kind.table} table: its sweep does not measure it. {kind.missing}".rstrip())
    if sentences := lacking(frame, kind.name):
        raise PlotError(" ".join(sentences))
    if not kind.learnt and request.value not in LEARNT:
        frame = untrained(frame)
    if request.value is not None:
        known("value", request.value, resolve_name(kind.values) if kind.values else shown([*map(str, frame)]))
    return tidy(keep(frame, where))


def refuse_unused(kind: Kind, request: Request) -> None:
    """Errors: PlotError for options that the kind of figure has no use for."""
    unused = [place for place in request.filled if place not in kind.places]
    if request.value is not None and kind.value is None:
        unused.append("value")
    if unused:
        raise PlotError(f"{kind.name} take no {', '.join(unused)}; keep values with --where.")
    if kind.pools and request.seeds not in (None, kind.seeds):
        raise PlotError(f"{kind.name} show {kind.pools}, so seeds = {request.seeds!r} has no place in them.")


def _drawings(
    run: Tables,
    kind: Kind,
    frame: pd.DataFrame,
    expected: Expected,
    value: str | None,
    seeds: str,
    asked_places: Given,
    file: str,
) -> Drawings:
    """The figures that rows make, by file name: a figure for each value of what has no place."""
    draw = resolve_name(kind.draw)
    usable = signature(draw).parameters
    makes: Drawings = {}
    for suffix, part, asked in _parts(kind, frame, expected, asked_places):
        offered = {"seeds": seeds, "expected": asked, "below": run.title, "mean_field": run.mean_field, **kind.fixed}
        options = {name: option for name, option in offered.items() if name in usable}
        makes[file + suffix] = partial(draw, part, *([value] if value else []), **options, **asked_places)
    return makes


def _parts(
    kind: Kind, frame: pd.DataFrame, expected: Expected, asked_places: Given
) -> list[tuple[str, pd.DataFrame, Expected]]:
    """(File suffix, rows, points asked for) of each figure.

    On maps schemes stand apart from shapes; then a figure for each value of what has no place.
    """
    on_map = kind.arrangement == "map"
    parts: list[tuple[str, pd.DataFrame, Expected]] = []
    for suffix, (rows, asked) in (by_kind_of_init(frame, expected) if on_map else {"": (frame, expected)}).items():
        try:
            places = RULES[kind.arrangement](rows, asked_places, asked)
        except ValueError as error:
            raise PlotError(str(error)) from error
        left = [key for key in places.left if key != kind.named_by]
        # Keys that are fixed here do not vary, whatever the sweep asks for.
        here = {key: values for key, values in asked.items() if key not in left}
        for name, named_rows in cut(rows, [kind.named_by] if kind.named_by else []).items():
            name = name.removeprefix(f"-{kind.named_by}")
            parts += [(suffix + name + fixed, part, here) for fixed, part in cut(named_rows, left).items()]
    return parts


def _has_seeds_along_an_axis(kind: Kind, frame: pd.DataFrame, expected: Expected, asked_places: Given) -> bool:
    """Whether points with seeds together lack what a map of them shows."""
    behind: Rows | None = frame.attrs.get("rows")
    if kind.arrangement != "map" or behind is None or behind.apart or behind.seed is None:
        return False
    for rows, asked in by_kind_of_init(frame, expected).values():
        with suppress(ValueError):  # is said when it is drawn
            if "seed" in on_a_map(rows, asked_places, asked).shown:
                return True
    return False


def standard(run: Tables, report: Callable[[str], None]) -> Iterator[Drawings]:
    """The standard figures of a run, kind by kind, for the tables and columns that it has.

    The rows of a kind are let go of before the next ones are read. report: told of a table that memory does not hold.
    Errors: RunFolderError.
    """
    learnt_only = run.training is not None and not run.is_theory and not _has_axes(tidy(untrained(run.networks)))
    for kind in KINDS:
        if not kind.standard or (learnt_only and not kind.learnt):
            continue
        try:
            frame = _frame_of_standard(run, kind)
        except NoRoom as error:
            report(f"No figures of {kind.name}: {error}")
            continue
        if frame is None:
            continue
        for each in kind.standard:
            if each.of_theory == run.is_theory and _belongs(kind, each, frame):
                value = each.value or kind.value
                drawings = _drawings(
                    run, kind, frame, _asked(run, kind), value, each.seeds or kind.seeds, {}, each.file
                )
                if each.at_most is None or len(drawings) <= each.at_most:
                    yield drawings


def _frame_of_standard(run: Tables, kind: Kind) -> pd.DataFrame | None:
    """The tidy rows that the standard figures of a kind show; None where the run lacks what they need."""
    stored = run.stored(table_of(run, kind) or kind.table).names
    asked = [each.value or kind.value for each in kind.standard if each.of_theory == run.is_theory]
    values = list(dict.fromkeys(value for value in asked if value in stored or kind.prepare))
    for places in ((), ("seed",)):
        frame = rows_of(run, kind, [value for value in values if value], places=places)
        if frame is None or lacking(frame, kind.name):
            return None
        frame = tidy(frame if kind.learnt else untrained(frame))
        if not _has_seeds_along_an_axis(kind, frame, _asked(run, kind), {}):
            break
    return frame


def _asked(run: Tables, kind: Kind) -> Expected:
    """The points that a sweep asks of a kind's table: networks before training have no axes of it."""
    return {key: values for key, values in run.expected.items() if kind.learnt or key not in OF_TRAINING}


def _belongs(kind: Kind, each: Standard, frame: pd.DataFrame) -> bool:
    """Whether a standard figure is drawn of these rows."""
    value = each.value or kind.value
    if not each.aloud and value and not measured(frame, value):
        return False
    if any(frame[key].nunique() < 2 for key in each.several):
        return False
    return not each.two_axes or _has_axes(frame)


def _has_axes(frame: pd.DataFrame) -> bool:
    """Whether a map of networks would have two axes that vary."""
    places = on_a_map(frame, {})
    shown: Mapping[str, Any] = {key: frame[key].nunique() for key in places.shown if key != "seed"}
    return bool(sum(count > 1 for count in shown.values()) + len(places.left) > 1)
