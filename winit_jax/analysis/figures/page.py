"""The page: panels in rows and columns, their names and labels, the title over them, and what explains them.

Every figure is made here, as the settings want it. Panels keep their size whatever else the page holds: longer legends
make the page higher. A title is one line; what else is to be said stands in the caption.
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
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter

from winit_jax.analysis.figures import words
from winit_jax.analysis.figures.settings import current
from winit_jax.analysis.figures.style import NotebookFigure

COLUMNS = 5
# Inches on a screen: a line of the title, a row of the legend, the labels of x; a letter of the title and of labels.
TITLE_LINE, LEGEND_ROW, LABELS = 0.19, 0.21, 0.5
TITLE_LETTER, LETTER, SMALL_LETTER = 0.085, 0.07, 0.06

# The least size of a title's letters, as a share of the usual, before it says less.
SMALLEST_TITLE = 0.8

Holds = Mapping[str, Any]


@dataclass(frozen=True)
class Panel:
    """One panel: its axes, and the rows that belong there (key -> value)."""

    axes: Axes
    holds: Holds

    @property
    def name(self) -> str:
        return ", ".join(words.said(key, value) for key, value in self.holds.items())

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
        """About how many inches a panel's axis is long, where letters are as large as on a screen."""
        columns = max(map(len, self.rows))
        return 0.9 * (self.figure.get_figwidth() / current().look.type_scale - self.size.beside) / columns

    @property
    def is_lent(self) -> bool:
        """Whether the only panel stands in somebody's figure."""
        return current().ax is not None

    def name_panels(self) -> None:
        """Write over each panel what it holds, smaller where it would reach into the next."""
        for panel in self.panels:
            if panel.name:
                usual = float(mpl.rcParams["axes.titlesize"])
                fits = usual * self.panel_width / (TITLE_LETTER * len(panel.name))
                panel.axes.set_title(panel.name, fontsize=min(usual, fits))

    def label(self, x: str, y: str) -> None:
        """Label the axes: once for all panels that have the same ones."""
        self.label_x(x)
        if len(self.rows) > 1:
            self.label_y(y)
        else:
            self.rows[0][0].axes.set_ylabel(wrapped(y, 34))

    def label_x(self, x: str) -> None:
        """Label x once for all panels, below the middle of the last row.

        Of matplotlib's own label of a whole figure a legend below would not know.
        """
        last = self.rows[-1]
        middle = last[(len(last) - 1) // 2].axes
        middle.set_xlabel(x)
        if len(last) % 2 == 0:
            middle.xaxis.label.set_x(1.04)  # half of the way to the next panel

    def label_y(self, y: str) -> None:
        """Label y once for all panels, beside what each row may say of itself."""
        if self.is_lent:
            self.axes[0].set_ylabel(y)
        else:
            fits = int(len(self.rows) * self.size.height / LETTER)
            self.figure.supylabel(wrapped(y, fits), fontsize=mpl.rcParams["axes.labelsize"])

    def color_bar(self, mappable: ScalarMappable, label: str, ends: Any = "neither") -> Colorbar:
        """A color bar beside all panels, as wide and as pointed however many rows of them it spans."""
        rows = len(self.rows)
        bar = self.figure.colorbar(
            mappable, ax=self.axes, extend=ends, pad=0.02, aspect=25 * rows, extendfrac=0.05 / rows
        )
        fits = int(rows * self.size.height / SMALL_LETTER)
        bar.set_label(wrapped(label, min(38, fits)), linespacing=1.2)
        bar.formatter = FuncFormatter(lambda tick, _: words.plain(tick))
        return bar

    def lines_legend(self, handles: Sequence[Artist], name: str) -> None:
        """A legend beside the panels: what tells lines apart."""
        for handle in handles:
            _thicken(handle)
        if self.is_lent:
            legend = self.axes[0].legend(handles=list(handles), title=name, loc="best", frameon=False)
            self.axes[0].add_artist(legend)
            return
        self.figure.legend(handles=list(handles), title=wrapped(name, 16), loc="outside right center", frameon=False)

    def finish(
        self,
        title: str,
        below: str = "",
        facts: Iterable[str] = (),
        notes: Sequence[Artist] = (),
        below_panels: float = 0.0,
    ) -> Figure:
        """Write the title and the legend of hatches, marks and lines below; the figure, at its height.

        below: the title of the sweep. facts: what is held fixed, how seeds are put together and what was left out:
        with the meanings of hatches they are the caption. below_panels: inches that long tick labels want.
        """
        wanted, labels = current(), [str(note.get_label()) for note in notes]
        for artist in (*notes, *(artist for axes in self.axes for artist in (*axes.lines, *axes.texts))):
            _thicken(artist)
        caption = words.caption(wanted.title if isinstance(wanted.title, str) else title, below, facts, labels)
        setattr(self.figure, "caption", caption)  # noqa: B010  # of whatever class a lent figure is
        heading = wanted.heading(title)
        if self.is_lent:
            self.axes[0].set_title(heading)
            if notes:
                self.axes[0].legend(handles=list(notes), loc="upper center", bbox_to_anchor=(0.5, -0.2), frameon=False)
            return self.figure
        if heading:
            write_title(self.figure, heading)
        legend_rows = _legend(self.figure, notes)
        if wanted.inches is None:
            scale = wanted.look
            named = 0.22 * any(panel.name or panel.axes.get_title() for panel in self.panels)
            around = LABELS + TITLE_LINE * bool(heading) + LEGEND_ROW * legend_rows + below_panels
            panels = (self.size.height * scale.panel_scale + named * scale.type_scale) * len(self.rows)
            self.figure.set_figheight(panels + around * scale.type_scale)
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
    wanted, count = current(), sum(map(len, holds))
    if wanted.ax is not None:
        if count > 1:
            raise ValueError(f"ax takes one panel, and this has {count}: keep one value of what tells them apart.")
        figure = wanted.ax.get_figure(root=True)
        return Page(figure, [[Panel(wanted.ax, holds[0][0])]], size)  # type: ignore[arg-type]
    columns = max(map(len, holds))
    # More panels than fit a page beside each other become narrower.
    each = size.width if columns <= COLUMNS else max(size.least, size.width * COLUMNS / columns)
    scale = wanted.look
    width = max(size.narrowest * scale.panel_scale, size.beside * scale.type_scale + each * columns * scale.panel_scale)
    inches = wanted.inches or (min(width, scale.widest), 1.0 + size.height * scale.panel_scale * len(holds))
    figure = NotebookFigure(figsize=inches, layout="constrained")
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


def write_title(figure: Figure, text: str) -> None:
    """A title of one line: in smaller letters where it would be longer than the page, or without what it is of."""
    usual = float(mpl.rcParams["figure.titlesize"])
    letters = figure.get_figwidth() / (TITLE_LETTER * current().look.type_scale)
    what, of, _ = text.rpartition(" · ")
    if of and len(text) > letters / SMALLEST_TITLE:
        text = what
    fits = letters / max(1, len(text))
    figure.suptitle(text, x=0.5, ha="center", fontsize=usual * min(1.0, fits))


def _thicken(artist: Artist) -> None:
    """Lines, marks and letters whose size was given in points of a screen, as the settings want them; once."""
    scale = current().look.type_scale
    if scale == 1.0 or getattr(artist, "is_scaled", False):
        return
    if isinstance(artist, Line2D):
        artist.set_linewidth(scale * artist.get_linewidth())
        artist.set_markersize(scale * artist.get_markersize())
    elif isinstance(artist, Text):
        artist.set_fontsize(scale * float(artist.get_fontsize()))
    setattr(artist, "is_scaled", True)  # noqa: B010


def _legend(figure: Figure, handles: Sequence[Artist]) -> int:
    """One legend under the panels, in as many columns as fit; how many rows it has."""
    if not handles:
        return 0
    # What stands before a label takes 0.6 inches; markup takes no place.
    wide = [0.6 + LETTER * len(re.sub(r"[$^{}]|\\pm", "", str(handle.get_label()))) for handle in handles]
    width = figure.get_figwidth() / current().look.type_scale
    columns = len(handles) if sum(wide) <= width else max(1, int(width / max(wide)))
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
