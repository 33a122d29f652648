"""The page: panels in rows and columns, their names and labels, the title over them, and what explains them.

Every figure is made here. Panels keep their size whatever else the page holds: titles of more lines and longer legends
make the page higher.
"""

import itertools
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.figure import Figure

from winit_jax.analysis.figures.style import NotebookFigure
from winit_jax.analysis.tables import said

COLUMNS = 5
HARD = "\u00a0"  # a space at which no line ends
# Inches: a line of the title, a row of the legend, the labels of x; and a letter of the title and of labels.
TITLE_LINE, LEGEND_ROW, LABELS = 0.19, 0.21, 0.5
TITLE_LETTER, LETTER, SMALL_LETTER = 0.085, 0.07, 0.06

Holds = Mapping[str, Any]


@dataclass(frozen=True)
class Panel:
    """One panel: its axes, and the rows that belong there (key -> value)."""

    axes: Axes
    holds: Holds

    @property
    def name(self) -> str:
        return ", ".join(said(key, value) for key, value in self.holds.items())

    def rows(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The rows of a frame that belong here."""
        for key, value in self.holds.items():
            frame = frame[frame[key] == value]
        return frame


@dataclass(frozen=True)
class Size:
    """Inches: of a panel with what stands between it and the next, beside all panels, and of the narrowest page.

    least: how narrow a panel may become where more than COLUMNS stand beside each other.
    """

    width: float
    height: float
    beside: float = 1.9
    narrowest: float = 5.2
    least: float = 1.35


@dataclass(frozen=True)
class Page:
    """A figure of panels in rows; the last panels of a row may be missing."""

    figure: Figure
    rows: list[list[Panel]]
    size: Size

    @property
    def panels(self) -> list[Panel]:
        return [panel for row in self.rows for panel in row]

    @property
    def axes(self) -> list[Axes]:
        return [panel.axes for panel in self.panels]

    @property
    def lowest(self) -> list[Panel]:
        """The last panel of each column."""
        columns = itertools.zip_longest(*self.rows)
        return [next(panel for panel in reversed(column) if panel) for column in columns]

    @property
    def panel_width(self) -> float:
        """About how many inches a panel's axis is long."""
        columns = max(map(len, self.rows))
        return 0.9 * (self.figure.get_figwidth() - self.size.beside) / columns

    def name_panels(self) -> None:
        """Write over each panel what it holds, smaller where it would reach into the next."""
        for panel in self.panels:
            if panel.name:
                usual = float(mpl.rcParams["axes.titlesize"])
                fits = usual * self.panel_width / (TITLE_LETTER * len(panel.name))
                panel.axes.set_title(panel.name, fontsize=min(usual, fits))

    def label(self, x: str, y: str) -> None:
        """Label the axes at the left and at the bottom."""
        for panel in self.lowest:
            panel.axes.set_xlabel(x)
        for row in self.rows:
            row[0].axes.set_ylabel(wrapped(y, 34))

    def color_bar(self, mappable: ScalarMappable, words: str, ends: Any = "neither") -> Colorbar:
        """A color bar beside all panels, as wide and as pointed however many rows of them it spans."""
        rows = len(self.rows)
        bar = self.figure.colorbar(
            mappable, ax=self.axes, extend=ends, pad=0.02, aspect=25 * rows, extendfrac=0.05 / rows
        )
        fits = int(rows * self.size.height / SMALL_LETTER)
        bar.set_label(wrapped(words, min(38, fits)), linespacing=1.2)
        return bar

    def lines_legend(self, handles: Sequence[Artist], name: str) -> None:
        """A legend beside the panels: what tells lines apart."""
        self.figure.legend(handles=list(handles), title=wrapped(name, 16), loc="outside right center", frameon=False)

    def finish(
        self,
        title: str,
        below: str = "",
        facts: Iterable[str] = (),
        notes: Sequence[Artist] = (),
        below_panels: float = 0.0,
    ) -> Figure:
        """Write the title with its lines and the legend of hatches, marks and lines below; the figure, at its height.

        below: a line of its own, as the title of the sweep. facts: what is held fixed, how seeds are put together and
        what was left out, one line. below_panels: inches that long tick labels want.
        """
        lines = write_title(self.figure, title, below, ", ".join(fact for fact in facts if fact))
        legend_rows = _legend(self.figure, notes)
        named = 0.22 * any(panel.name or panel.axes.get_title() for panel in self.panels)
        panels = (self.size.height + named) * len(self.rows)
        around = LABELS + TITLE_LINE * lines + LEGEND_ROW * legend_rows + below_panels
        self.figure.set_figheight(panels + around)
        return self.figure


def facets(
    row: str | None, rows: Sequence[Any], col: str | None, columns: Sequence[Any], most: int = COLUMNS
) -> list[list[Holds]]:
    """What the panels of each row hold: two keys make a table, panels of one run on over rows of about equal length."""
    if row and col:
        return [[{row: down, col: across} for across in columns] for down in rows]
    key, values = (row, rows) if row else (col, columns)
    if not key:
        return [[{}]]
    per_row = -(-len(values) // -(-len(values) // most))
    return [[{key: value} for value in values[at : at + per_row]] for at in range(0, len(values), per_row)]


def open_page(holds: Sequence[Sequence[Holds]], size: Size, sharex: Any = True, sharey: Any = True) -> Page:
    """An empty page with a panel for each of `holds`, row by row."""
    columns = max(map(len, holds))
    # More panels than fit a page beside each other become narrower.
    each = size.width if columns <= COLUMNS else max(size.least, size.width * COLUMNS / columns)
    width = max(size.narrowest, size.beside + each * columns)
    figure = NotebookFigure(figsize=(width, 1.0 + size.height * len(holds)), layout="constrained")
    axes = figure.subplots(len(holds), columns, sharex=sharex, sharey=sharey, squeeze=False)
    rows = []
    for line, held in zip(axes, holds, strict=True):
        rows.append([Panel(panel, each) for panel, each in zip(line, held, strict=False)])
        for spare in line[len(held) :]:
            spare.remove()
    page = Page(figure, rows, size)
    for panel in page.lowest:  # also those above a place without a panel
        panel.axes.tick_params(labelbottom=True)
    return page


def write_title(figure: Figure, text: str, *below: str) -> int:
    """A title and lines under it, wrapped to the page, the lines below at their commas; how many lines they are."""
    most = int(figure.get_figwidth() / TITLE_LETTER)
    lines = [wrapped(line, most) for line in (text, *map(_whole, below)) if line]
    shown = "\n".join(lines).replace(HARD, " ")
    figure.suptitle(shown, x=0.5, ha="center")
    return shown.count("\n") + 1


def _whole(line: str) -> str:
    """A line whose short phrases between commas, as 'learning rate 0.1', and names as `mlp(4)` are not broken."""
    line = re.sub(r"\w\([^()]*\)", lambda name: name.group().replace(" ", HARD), line)
    return ", ".join(part.replace(" ", HARD) if len(part) <= 24 else part for part in line.split(", "))


def _legend(figure: Figure, handles: Sequence[Artist]) -> int:
    """One legend under the panels, in as many columns as fit; how many rows it has."""
    if not handles:
        return 0
    # What stands before a label takes 0.6 inches; markup takes no place.
    wide = [0.6 + LETTER * len(re.sub(r"[$^{}]|\\pm", "", str(handle.get_label()))) for handle in handles]
    fits = sum(wide) <= figure.get_figwidth()
    columns = len(handles) if fits else max(1, int(figure.get_figwidth() / max(wide)))
    figure.legend(handles=list(handles), loc="outside lower center", ncols=columns, frameon=False)
    return -(-len(handles) // columns)


def wrapped(text: str, most: int) -> str:
    """The text in lines of at most so many letters, of about equal length; its own line ends are kept."""
    lines = []
    for line in text.split("\n"):
        count = max(1, -(-len(line) // most))
        narrow = textwrap.wrap(line, min(most, len(line) // count + 8), break_on_hyphens=False)
        lines += narrow if len(narrow) <= count else textwrap.wrap(line, most, break_on_hyphens=False)
    return "\n".join(lines)
