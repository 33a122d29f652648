"""Heatmaps of a column over two axes of a sweep, facetted by two more."""

from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, NullLocator

from analysis import style
from analysis.load import KEYS, NAMES, drop_unused, in_order, varying

AGGREGATES = ("median", "mean", "min", "max", "std")


@dataclass(frozen=True)
class Axis:
    """One axis of a heatmap: its values in order, cell edges, and whether it is logarithmic or of names."""

    key: str
    values: list
    edges: np.ndarray
    log: bool
    named: bool


def cell_edges(values: np.ndarray, log: bool) -> np.ndarray:
    """Edges of cells around sorted values: midpoints, geometric on a log axis; [n] -> [n + 1]."""
    v = np.log(values) if log else np.asarray(values, float)
    if len(v) == 1:
        v = np.array([v[0] - 0.5, v[0] + 0.5])
        return np.exp(v) if log else v
    middle = (v[1:] + v[:-1]) / 2
    edges = np.concatenate([[2 * v[0] - middle[0]], middle, [2 * v[-1] - middle[-1]]])
    return np.exp(edges) if log else edges


def is_log_spaced(values: np.ndarray) -> bool:
    """Whether positive values are nearer to equal ratios than to equal steps (two values: a factor above 3)."""
    if len(values) < 2 or np.any(values <= 0):
        return False
    if len(values) == 2:
        return bool(values[1] / values[0] > 3)
    steps, ratios = np.diff(values), np.diff(np.log(values))
    return bool(np.std(ratios) / np.mean(ratios) < np.std(steps) / np.mean(steps))


def axis(frame: pd.DataFrame, key: str, log: bool | None = None) -> Axis:
    """The axis of a key. log: None decides by the spacing. Errors: ValueError if log cannot be."""
    if key in NAMES:
        values = in_order(frame, key)
        return Axis(key, values, np.arange(len(values) + 1) - 0.5, False, True)
    numbers = np.sort(frame[key].unique())
    logarithmic = is_log_spaced(numbers) if log is None else log
    if logarithmic and np.any(numbers <= 0):
        raise ValueError(f"{key} has values that are not positive, so its axis cannot be logarithmic.")
    return Axis(key, list(numbers), cell_edges(numbers, logarithmic), logarithmic, False)


def defaults(frame: pd.DataFrame) -> dict[str, str | None]:
    """x, y, row and col for a frame: scale across, depth up, activation beside, the next key below.

    Keys that vary beyond these four must be fixed first (`figures.plot` makes a figure for each value).
    """
    keys = [key for key in varying(frame) if key != "seed"]
    scale = next((key for key in ("gain", "std") if key in keys), None)
    # A scale that only follows the init (schemes) is no axis of its own.
    if scale and "init" in keys and frame.groupby("init", observed=True)[scale].nunique().max() == 1:
        keys.remove(scale)
        scale = None
    order_x = [scale, "init", "depth", "bias_std", "width", "normalization", "activation", "depth"]
    x = next((key for key in order_x if key in keys), "depth")
    order_y = ["depth", "bias_std", "width", "init", "normalization"]
    y = next((key for key in order_y if key in keys and key != x), "seed" if x != "seed" else "depth")
    rest = [key for key in keys if key not in (x, y)]
    col = next((key for key in ("activation", *rest) if key in rest), None)
    row = next((key for key in rest if key != col), None)
    return {"x": x, "y": y, "row": row, "col": col}


def heatmap(
    frame: pd.DataFrame,
    value: str = "log10_act_rms",
    *,
    x: str | None = None,
    y: str | None = None,
    row: str | None = None,
    col: str | None = None,
    seeds: str = "median",
    title: str | None = None,
    below: str = "",
    log_x: bool | None = None,
    log_y: bool | None = None,
) -> Figure:
    """A column of the networks table over two keys, in panels by two more, with one colour bar.

    frame: the networks table or rows of it. x, y, row, col: keys; those left out come from `defaults`.
    seeds: how seeds are put together (one of AGGREGATES), unless seed is an axis.
    below: put under the title, before what is held fixed. log_x, log_y: None decides by the spacing.
    A cell is hatched as overflow if any of its networks has activations that are not finite, as exactly
    zero if its log10 is -inf, as not run if it has no rows.
    Errors: ValueError in a sentence for unknown columns and for keys that vary but have no place.
    """
    frame = drop_unused(frame)
    places = _places(frame, value, x, y, row, col, seeds)
    x, y, row, col = places["x"], places["y"], places["row"], places["col"]
    shown = [key for key in (row, col, y, x) if key]
    cells = _cells(frame, value, shown, seeds)
    across, up = axis(frame, x, log_x), axis(frame, y, log_y)
    rows = axis(frame, row).values if row else [None]
    columns = axis(frame, col).values if col else [None]
    norm, colour_map, ends = style.colours(value, cells["value"].to_numpy())
    with style.themed():
        width = 1.9 + 2.5 * len(columns) if len(columns) > 1 else 5.2
        figure, axes = (
            mpl.figure.Figure(figsize=(width, 1.3 + 2.3 * len(rows)), layout="constrained"),
            np.empty((len(rows), len(columns)), object),
        )
        axes[:] = figure.subplots(len(rows), len(columns), sharex=True, sharey=True, squeeze=False)
        used: set[str] = set()
        for i, row_value in enumerate(rows):
            for j, column_value in enumerate(columns):
                panel = cells
                for key, chosen in ((row, row_value), (col, column_value)):
                    if key:
                        panel = panel[panel[key] == chosen]
                used |= _draw(axes[i, j], panel, across, up, norm, colour_map, value)
                named = [
                    f"{key} {style.number(v)}" if key not in NAMES else str(v)
                    for key, v in ((row, row_value), (col, column_value))
                    if key
                ]
                axes[i, j].set_title(", ".join(named))
        for panel_axes in axes[-1]:
            panel_axes.set_xlabel(style.label(x))
        for panel_axes in axes[:, 0]:
            panel_axes.set_ylabel(style.label(y))
        _colour_bar(figure, axes, norm, colour_map, ends, value)
        _legend(figure, used)
        style.title(figure, title or style.sentence(style.label(value)), _subtitle(frame, shown, seeds, below))
    return figure


def _places(frame, value, x, y, row, col, seeds) -> dict[str, str]:
    if value not in frame:
        raise ValueError(f"{value!r} is not a column of this table.")
    if frame[value].isna().all():
        raise ValueError(f"{value} is empty in this table: the run did not measure it.")
    if seeds not in AGGREGATES:
        raise ValueError(f"seeds = {seeds!r} is not one of {', '.join(AGGREGATES)}.")
    given = {"x": x, "y": y, "row": row, "col": col}
    for name, key in given.items():
        if key is not None and key not in KEYS:
            raise ValueError(f"{name} = {key!r} is not a key. Keys: {', '.join(KEYS)}.")
    chosen = [key for key in given.values() if key]
    if len(set(chosen)) < len(chosen):
        raise ValueError("x, y, row and col must be different keys.")
    automatic = {name: key for name, key in defaults(frame).items() if key not in chosen}
    places = dict(given)
    for name in given:
        if places[name] is None:
            places[name] = automatic.get(name)
    if places["y"] is None or places["x"] is None:
        spare = [key for key in (*varying(frame), "depth", "seed") if key not in places.values()]
        for name in ("x", "y"):
            if places[name] is None:
                places[name] = spare.pop(0)
    same = {"std": "gain", "gain": "std"}
    covered = {*places.values(), *(same[key] for key in places.values() if key in same)}
    left = [key for key in varying(frame) if key not in covered and key != "seed"]
    if "init" in covered:
        left = [key for key in left if key not in same or frame.groupby("init", observed=True)[key].nunique().max() > 1]
    if left:
        raise ValueError(
            f"{', '.join(left)} take{'s' if len(left) == 1 else ''} more than one value: "
            "make it an axis (x, y, row, col) or keep one value of it."
        )
    return places


def _cells(frame: pd.DataFrame, value: str, keys: list[str], seeds: str) -> pd.DataFrame:
    """One row a cell: its value, and whether any of its networks overflowed."""
    grouped = frame.assign(broken=frame["nonfinite"] > 0).groupby(keys, observed=True)
    with np.errstate(invalid="ignore"):
        cells = grouped.agg(value=(value, seeds), overflow=("broken", "any"))
    return cells.reset_index()


def _draw(axes: Axes, cells: pd.DataFrame, across: Axis, up: Axis, norm, colour_map, value: str) -> set[str]:
    """Fill one panel; the kinds of hatched cell that it has."""
    shape = (len(up.values), len(across.values))
    at = (
        pd.Index(up.values).get_indexer(cells[up.key]),
        pd.Index(across.values).get_indexer(cells[across.key]),
    )
    numbers, kinds = np.full(shape, np.nan), np.full(shape, "missing", object)
    numbers[at] = cells["value"]
    kinds[at] = ""
    kinds[np.isneginf(numbers)] = "zero"
    kinds[(kinds == "") & np.isnan(numbers)] = "missing"
    overflow = np.zeros(shape, bool)
    overflow[at] = cells["overflow"]
    kinds[overflow] = "overflow"
    masked = np.ma.masked_where(kinds != "", numbers)
    axes.pcolormesh(across.edges, up.edges, masked, norm=norm, cmap=colour_map, rasterized=True)
    used = set()
    for kind in style.HATCHES:
        if (kinds == kind).any():
            used.add(kind)
            _hatch(axes, across, up, kinds == kind, style.HATCHES[kind])
    if value in style.GROWTHS and min(shape) > 2 and not (across.named or up.named):
        beyond = np.where(np.isfinite(numbers), np.abs(numbers), 0.0)
        if beyond.max() > style.FLOAT32_LOG10 > beyond.min():
            centres = [
                np.sqrt(a.edges[1:] * a.edges[:-1]) if a.log else (a.edges[1:] + a.edges[:-1]) / 2 for a in (across, up)
            ]
            axes.contour(
                *centres,
                beyond,
                levels=[style.FLOAT32_LOG10],
                colors="black",
                linewidths=0.8,
                linestyles="--",
            )
            used.add("float32")
    for name, spec in (("x", across), ("y", up)):
        _scale(axes, name, spec)
    return used


def _hatch(axes: Axes, across: Axis, up: Axis, mask: np.ndarray, look: dict[str, Any]) -> None:
    """Hatch the cells of a mask: one patch for each run of cells along x."""
    for i, line in enumerate(mask):
        ends = np.flatnonzero(np.diff(np.concatenate([[0], line.astype(int), [0]])))
        for start, stop in ends.reshape(-1, 2):
            axes.fill_between(across.edges[[start, stop]], up.edges[i], up.edges[i + 1], linewidth=0, **look)


def _scale(axes: Axes, name: str, spec: Axis) -> None:
    own = getattr(axes, f"{name}axis")
    if spec.named:
        own.set_major_locator(FixedLocator(range(len(spec.values))))
        own.set_ticklabels(spec.values)
        if name == "x" and max(len(str(v)) for v in spec.values) * len(spec.values) > 24:
            axes.tick_params(axis="x", labelrotation=90)
    elif spec.log:
        getattr(axes, f"set_{name}scale")("log")
        low, high = spec.edges[0], spec.edges[-1]
        if len(spec.values) <= 10 or high / low < 30:
            ticks = spec.values if len(spec.values) <= 10 else _nice(low, high)
            ticks = style.spaced(ticks, low, high, log=True)
            own.set_major_locator(FixedLocator(ticks))
            own.set_minor_locator(NullLocator())
            own.set_ticklabels([f"{tick:.3g}" for tick in ticks])
    elif len(spec.values) <= 6:
        own.set_major_locator(FixedLocator(spec.values))
        own.set_ticklabels([style.number(v) for v in spec.values])
    elif spec.key in ("depth", "width", "seed", "layer"):
        own.set_major_locator(FixedLocator(style.integer_ticks(spec.values[0], spec.values[-1])))


def _nice(low: float, high: float) -> list[float]:
    """1, 2, 5 times powers of ten within a range."""
    powers = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    return [m * 10.0**p for p in powers for m in (1, 2, 5) if low <= m * 10.0**p <= high]


def _colour_bar(figure: Figure, axes, norm, colour_map, ends: str, value: str) -> None:
    bar = figure.colorbar(
        mpl.cm.ScalarMappable(norm, colour_map), ax=list(axes.ravel()), extend=ends, pad=0.02, aspect=25
    )
    bar.set_label(style.label(value) + (" (0: unchanged)" if value in style.GROWTHS else ""))
    if value in style.GROWTHS:
        limit = norm.vmax
        ticks = [t for t in (0.3, 1, 3, 10, 30, 100, 300, 1000) if t <= limit]
        if len(ticks) > 5:
            ticks = ticks[1::2] if len(ticks) % 2 == 0 else ticks[::2]
        signed = [-t for t in reversed(ticks)] + [0] + ticks
        bar.set_ticks(signed, labels=[f"{t:g}" for t in signed])
        bar.ax.minorticks_off()


def _legend(figure: Figure, used: set[str]) -> None:
    handles: list = [
        Patch(linewidth=0, label=style.HATCH_WORDS[kind], **style.HATCHES[kind])
        for kind in style.HATCHES
        if kind in used
    ]
    if "float32" in used:
        handles.append(Line2D([], [], color="black", lw=0.8, ls="--", label=r"limits of float32, $10^{\pm 38}$"))
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)


def _subtitle(frame: pd.DataFrame, shown: list[str], seeds: str, below: str) -> str:
    count = frame["seed"].nunique()
    rule = f"{seeds} of {count} seeds" if count > 1 else f"seed {frame['seed'].iloc[0]}"
    held = ", ".join(text for text in (style.held(frame, shown), rule if "seed" not in shown else "") if text)
    return f"{below}\n{held}" if below else held
