"""Figures of a probe: columns along the sites of a network, and one over sites and factors in colors."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, SymLogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from winit_jax.analysis.axes import make_axis
from winit_jax.analysis.figures import style
from winit_jax.analysis.figures.lines import Lines, Look, band_rule, explain, lines_of, spread
from winit_jax.analysis.figures.mesh import Sheet, hatched, on_grid
from winit_jax.analysis.figures.page import LETTER, Size, open_page, wrapped
from winit_jax.analysis.figures.words import digits, plain, sentence
from winit_jax.analysis.selection import PlotError, known
from winit_jax.analysis.tables import in_order
from winit_jax.columns.formats import FLOAT32
from winit_jax.columns.probed import DTYPE, SITES

SIGNAL, GRADIENT = "log10_rms", "log10_grad_rms"
SCALE = "scale."
NUMBERS = [column.name for column in SITES if column.holds is float]
OF_FORMATS = {column.name for column in SITES if column.needs} - {DTYPE}
LABELS = {column.name: column.words for column in SITES}
# What stands at a site, and its mark.
MARKS = {"contraction": "o", "nonlinearity": "^", "softmax": "D", "lookup": "s", "sum": "P"}
# Names that fit below an axis of so many inches.
MOST_NAMES, INCHES = 46, 8.2
MOST_LINES = 16
# The only line where no factor varies.
ALONE = Lines("factor", (Look(1.0, "#31688e", "-", "1"),), Normalize(), 1, named=True)
# The column of a sweep whose colors a column of a probe has.
COLORED_AS = {SIGNAL: "log10_act_rms", GRADIENT: "log10_preact_grad_rms"}


@dataclass(frozen=True)
class Sites:
    """The sites of a network in order, one place each along an axis.

    rows: the table with its `place`. names: of each place. groups: place -> the name of the layer that begins there.
    """

    rows: pd.DataFrame
    names: list[str]
    groups: dict[int, str]

    @property
    def ticks(self) -> dict[int, str]:
        """Place -> what is written there: each name, or those of layers where they are too many."""
        if len(self.names) <= MOST_NAMES:
            return dict(enumerate(self.names))
        step = -(-len(self.groups) // MOST_NAMES)
        return dict(list(self.groups.items())[::step])

    @property
    def inches_below(self) -> float:
        return LETTER * max(map(len, self.ticks.values()))


def sites_of(table: pd.DataFrame) -> Sites:
    """The sites of a probe's table, whatever its seeds and factors. Errors: PlotError for a table without rows."""
    if table.empty:
        raise PlotError("There are no sites to draw.")
    keys = ["site", "op", "kind"]
    first = table.assign(**{key: table[key].astype(str) for key in keys}).groupby(keys, sort=False)["order"].min()
    ordered = first.reset_index().sort_values("order", kind="stable", ignore_index=True)
    names, groups, before = list[str](), dict[int, str](), ""
    for place, row in enumerate(ordered.to_dict("records")):
        is_own = row["kind"] in ("contraction", "lookup") or row["site"] != before
        names.append(row["site"] if is_own else row["op"])
        before = row["site"]
        layer = re.match(r".*?\d+\]?(?=\D|$)", row["site"])
        name = layer[0] if layer else row["site"]
        # A site that is called by its operation says nothing of a layer.
        if name not in groups.values() and not row["site"].startswith(row["op"]):
            groups[place] = name
    at = {pair: place for place, pair in enumerate(zip(ordered["site"], ordered["op"], strict=True))}
    places = [at[pair] for pair in zip(table["site"].astype(str), table["op"].astype(str), strict=True)]
    return Sites(table.assign(place=places), names, groups)


def varying(table: pd.DataFrame) -> list[str]:
    """The format and the columns of factors, where they take more than one value."""
    return [name for name in axes_of(table) if table[name].nunique() > 1]


def axes_of(table: pd.DataFrame) -> list[str]:
    """The format, where the table has it, and the columns of factors."""
    return [*([DTYPE] if DTYPE in table else []), *factor_columns(table)]


def factor_columns(table: pd.DataFrame) -> list[str]:
    return [str(name) for name in table.columns if str(name).startswith(SCALE)]


def profile(table: pd.DataFrame, value: str | None = None) -> Figure:
    """Columns against the site, in the order of the computation; a line for each factor or format, bands over seeds.

    table: `sites` of a probe. value: a column of it; unless given the size of the signal, and of its gradient below.
    Errors: PlotError in a sentence for a column that is not there or is empty, and where several of them vary.
    """
    values = [SIGNAL, *([GRADIENT] if table[GRADIENT].notna().any() else [])] if value is None else [value]
    for name in values:
        table = _checked(table, name)
    hue = _only(varying(table), 1)
    sites = sites_of(table)
    lines = lines_of(sites.rows, hue[0], MOST_LINES, plain=True) if hue else ALONE
    with style.themed():
        size = Size(width=INCHES, height=2.0, beside=1.2 + bool(hue))
        page = open_page([[{}] for _ in values], size, sharey=False)
        for panel, name in zip(page.panels, values, strict=True):
            for look in lines.looks:
                rows = sites.rows[sites.rows[hue[0]] == look.value] if hue else sites.rows
                _line(panel.axes, rows, name, look)
            panel.axes.set_ylabel(wrapped(LABELS[name], 26))
            panel.axes.set_xlim(-0.7, len(sites.names) - 0.3)
            if name == SIGNAL:
                panel.axes.axhline(0, color="#999999", lw=0.6, zorder=0)
            elif {column.name: column.kind for column in SITES}[name] in ("share", "correlation"):
                panel.axes.set_ylim(-0.03, 1.03)
            sns.despine(ax=panel.axes)
        _name_sites(page.panels[-1].axes, sites)
        explain(page, lines if hue == [DTYPE] else replace(lines, key="factor"))
        kinds = [kind for kind in MARKS if (table["kind"].astype(str) == kind).any()]
        notes = [Line2D([], [], color="#555555", marker=MARKS[kind], ls="", ms=4.5, label=kind) for kind in kinds]
        title = (
            "Signal and gradient, site by site" if len(values) > 1 else f"{sentence(LABELS[values[0]])}, site by site"
        )
        factors = f"lines: factors of {hue[0].removeprefix(SCALE)}" if hue and hue != [DTYPE] else ""
        facts = (factors, _held(table, hue), band_rule(table, "range"), lines.left_out)
        return page.finish(title, "", facts, notes, sites.inches_below)


def heatmap(table: pd.DataFrame, value: str = SIGNAL) -> Figure:
    """A column over sites and the factor or the formats that vary, or seeds where nothing does, in colors.

    table: `sites` of a probe. Errors: PlotError, as of `profile`.
    """
    table = _checked(table, value)
    (key,) = _only(varying(table), 1) or ["seed"]
    sites = sites_of(table)
    groups = sites.rows.groupby(["place", key], observed=True)
    cells = groups.agg(value=(value, "median"), overflow=("nonfinite", "max")).reset_index()
    cells = cells.assign(overflow=lambda cells: cells["overflow"] > 0)
    colored_as = COLORED_AS.get(value, value)
    norm, colors, ends = style.color_scale(colored_as, cells["value"].to_numpy())
    with style.themed():
        page = open_page([[{}]], Size(width=INCHES, height=2.4))
        values = in_order(table, key)
        across = make_axis("place", list(range(len(sites.names))), False, log=False)
        up = make_axis(key, values, key == DTYPE)
        panels = Sheet(page, across, up)
        axes = page.panels[0].axes
        numbers, kinds = on_grid(panels, cells, colored_as)
        used = panels.fill(axes, numbers, kinds, norm, colors)
        axes.set_xlim(across.edges[0], across.edges[-1])
        axes.set_ylim(up.edges[0], up.edges[-1])
        if up.log:
            axes.set_yscale("log")
        ticks = style.spaced(values, up.edges[0], up.edges[-1], up.log) if len(values) > 1 and not up.named else values
        axes.yaxis.set_major_locator(FixedLocator(range(len(values)) if up.named else ticks))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.set_yticklabels([digits(tick) for tick in ticks])
        axes.set_ylabel(wrapped(key, 30))
        _name_sites(axes, sites)
        bar = page.color_bar(ScalarMappable(norm, colors), LABELS[value], ends)
        if isinstance(norm, SymLogNorm):
            ticks = style.growth_ticks(norm.vmax or 1.0, 0.3, 5)
            bar.set_ticks(ticks, labels=[plain(tick) for tick in ticks])
            bar.ax.minorticks_off()
        facts = (_held(table, [key]), "" if key == "seed" else _seeds(table))
        return page.finish(f"{sentence(LABELS[value])}, site by site", "", facts, hatched(used), sites.inches_below)


def standard(table: pd.DataFrame) -> dict[str, Callable[[], Figure]]:
    """The figures that belong to a probe, by the names of their files."""
    figures: dict[str, Callable[[], Figure]] = {"profile": lambda: profile(table)}
    if len(varying(table)) == 1:
        figures["heatmap"] = lambda: heatmap(table)
        if table[GRADIENT].notna().any():
            figures["heatmap-gradient"] = lambda: heatmap(table, GRADIENT)
    return figures


def _checked(table: pd.DataFrame, value: str) -> pd.DataFrame:
    """The rows that can have a column: of what a format loses, those of formats. Errors: PlotError."""
    known("value", value, NUMBERS)
    if value not in table or table[value].isna().all():
        raise PlotError(f"{value} is empty in this table: nothing of this network has it.")
    return table[table[DTYPE] != FLOAT32] if value in OF_FORMATS else table


def _only(factors: Sequence[str], most: int) -> list[str]:
    if len(factors) > most:
        raise PlotError(f"{', '.join(factors)} vary, and a figure shows one: keep one value of the others with where.")
    return list(factors)


def _line(axes: Axes, rows: pd.DataFrame, value: str, look: Look) -> None:
    """The sites of one factor: a line through its stream, or through all where it has none, and a mark for each."""
    numbers = rows[value].replace([np.inf, -np.inf], np.nan)
    over = pd.DataFrame(spread(numbers, [rows["place"], rows["kind"].astype(str)], "range")).reset_index()
    over = over.sort_values("place")
    color = look.color
    stream = over[over["kind"] == "sum"]
    through = stream if len(stream) > 2 else over
    axes.plot(through["place"], through["median"], color=color, lw=1.1, alpha=0.8)
    axes.vlines(over["place"], over["low"], over["high"], color=color, alpha=0.35, lw=2.5)
    for kind, mark in MARKS.items():
        these = over[over["kind"] == kind]
        axes.plot(these["place"], these["median"], mark, color=color, ms=3.4, mew=0)


def _name_sites(axes: Axes, sites: Sites) -> None:
    ticks: dict[int, str] = sites.ticks
    axes.xaxis.set_major_locator(FixedLocator(list(ticks)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels(list(ticks.values()), rotation=90, fontsize=style.points(7))
    axes.tick_params(axis="x", labelbottom=True)


def _held(table: pd.DataFrame, shown: Sequence[str]) -> str:
    """What has one value, in words."""
    words = [
        str(table[key].iloc[0]) if key == DTYPE else f"{key} {digits(table[key].iloc[0])}"
        for key in axes_of(table)
        if key not in shown
    ]
    if "seed" not in shown and table["seed"].nunique() == 1:
        words.append(f"seed {table['seed'].iloc[0]}")
    return f"held fixed: {', '.join(words)}" if words else ""


def _seeds(table: pd.DataFrame) -> str:
    count = table["seed"].nunique()
    return f"median of {count} seeds" if count > 1 else ""
