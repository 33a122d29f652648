"""A run folder as an object: its tables, what follows from them, and its figures."""

import html
import inspect
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from matplotlib.figure import Figure

from winit_jax.analysis import summary
from winit_jax.analysis.columns import OF_REGIMES
from winit_jax.analysis.figures import catalog, drawings, files, settings
from winit_jax.analysis.figures.catalog import Kind
from winit_jax.analysis.reading import RunFolderError, Tables, keys_of, read_folder
from winit_jax.analysis.selection import PlotError, Where, keep, named, pushed
from winit_jax.analysis.statistics import deviations, regimes
from winit_jax.analysis.tables import KEYS


@dataclass(frozen=True, repr=False)
class Run(Tables):
    """A run folder: DataFrames as attributes, figures as methods.

    Tables (`networks`, `layers`, ...) are read when first asked for and then kept; `read` reads some columns of one.
    Each kind of figure has a method, named in `figures.catalog`, that returns a matplotlib Figure and writes nothing;
    `standard_figures` writes those of the run as files.
    """

    def plot(
        self,
        kind: str,
        value: str | None = None,
        *,
        x: str | None = None,
        y: str | None = None,
        hue: str | None = None,
        row: str | None = None,
        col: str | None = None,
        seeds: str | None = None,
        where: Where | None = None,
        **look: Any,
    ) -> Figure:
        """One figure of a kind, by its name.

        value: the column that it shows. x, y, hue, row, col: the keys along its axes, of its lines and of its panels.
        seeds: how seeds are put together. where: key -> the value or values to keep. look: style (screen, paper or
        slides), title (words, True or False), size (inches), dpi, cmap, vmin, vmax, and ax, where the figure has one
        panel; see `settings.Settings`. What a kind has no use for is refused. The figure's `caption` says what is held
        fixed, how seeds were put together and what was left out.
        Errors: RunFolderError, and PlotError in a sentence, also where keys without a place would make several figures.
        """
        request = drawings.Request(value, {"x": x, "y": y, "hue": hue, "row": row, "col": col}, seeds, where or {})
        wanted = settings.of_words(**look)
        if found := settings.problems(wanted, kind in files.COLORED, kind):
            raise PlotError("\n".join(found))
        with settings.holding(wanted):
            return drawings.single(self, kind, request)

    def standard_figures(
        self,
        formats: tuple[str, ...] = ("png",),
        *,
        where: Where | None = None,
        out: str | Path | None = None,
        report: Callable[[str], None] | None = None,
    ) -> list[Path]:
        """Write the standard figures into the run's figures folder, or into `out`; their paths.

        where and report: as of `figures.standard_figures`. Errors: RunFolderError, PlotError.
        """
        report = report or files.warn
        return files.draw_standard(self, formats, report, where=where, out=out)

    def report(self, out: str | Path | None = None) -> Path:
        """Write one HTML file with the run's maps, layers, training curves and facts; its path.

        It needs nothing else, and no network, to be looked at. out: a file or a folder, by default `report.html` in the
        run's folder. Errors: RunFolderError; PlotError where there is nothing to compare or the file cannot be written.
        """
        from winit_jax.analysis.report import document  # with Bokeh, which nothing else needs

        return document.write(self, out)

    def found(self) -> list[str]:
        """What was found, in sentences: what became of the networks, which gain lets gradients through, which init won.

        Errors: RunFolderError.
        """
        return summary.found(self)

    def regimes(self, thresholds: regimes.Thresholds = regimes.DEFAULT, *, where: Where | None = None) -> pd.DataFrame:
        """The keys of each network and its regime: overflowed, vanishing, exploding, saturated, collapsed or healthy.

        Errors: RunFolderError if the run has no networks.
        """
        networks = keep(self._networks(OF_REGIMES, where), where or {})
        keys = [name for name in networks if name in KEYS]
        return networks[keys].assign(regime=regimes.regimes(networks, thresholds))

    def deviations(self, value: str = "log10_act_rms", *, where: Where | None = None) -> pd.DataFrame:
        """What was measured less what mean field predicts, a row a point with seeds together; see `deviations`.

        Errors: RunFolderError if the run has no networks, ValueError where nothing is predicted or measured.
        """
        only, apart = pushed(self, "networks", where or {}), "seed" in named(where)
        points = self.points("networks", (value, f"theory_{value}"), apart=apart, only=only)
        return deviations.deviations(keep(self.networks if points is None else points, where or {}), value)

    def _networks(self, columns: Sequence[str], where: Where | None) -> pd.DataFrame:
        """The networks that conditions may hold for, with some of the columns beside the keys."""
        if "networks" in vars(self):
            return self.networks
        stored = self.stored("networks").names
        wanted = [name for name in stored if name in (*keys_of("networks"), *columns)]
        frame = self._table("networks", wanted, pushed(self, "networks", where or {}))
        return self.networks if frame is None else frame

    if TYPE_CHECKING:  # the methods that are added below, one a kind of figure

        def __getattr__(self, name: str) -> Callable[..., Figure]: ...

    def __repr__(self) -> str:
        rows = self._rows_or_none()
        networks = "no tables" if rows is None else f"{rows.get('networks', 0):,} networks"
        if rows and "networks" not in rows and "theory" in rows:
            networks = f"{rows['theory']:,} predictions"
        return f"<Run {self.path}{f': {self.title}' if self.title else ''}, {networks}>"

    def _repr_html_(self) -> str:
        title = html.escape(self.title or "Run")
        rows = self._rows_or_none() or {}
        lines = "".join(f"<tr><td>{table}</td><td>{count:,} rows</td></tr>" for table, count in rows.items())
        return f"<b>{title}</b><br><code>{html.escape(str(self.path))}</code><table>{lines}</table>"

    def _rows_or_none(self) -> dict[str, int] | None:
        """The rows of each table; None where the folder is gone or damaged, which a repr must bear."""
        with suppress(RunFolderError, OSError):
            return self.row_counts
        return None


def load(run_dir: str | Path, owner: object = None) -> Run:
    """The run in a folder. owner: kept alive as long as the run is.

    Errors: RunFolderError if it is no run folder, or damaged. Warns of files that are not its own.
    """
    return read_folder(run_dir, Run, owner)


def _method(kind: Kind) -> Callable[..., Figure]:
    """The method of `Run` that draws one kind of figure."""
    takes = ("value",) * (kind.value is not None) + kind.places + ("seeds",) * (kind.pools is None) + ("where",)
    of_colors = ("cmap", "vmin", "vmax")
    takes += tuple(name for name in settings.NAMES if kind.colored or name not in of_colors)

    def draw(self: Run, *values: str, **options: Any) -> Figure:
        arguments = signature.bind(self, *values, **options).arguments
        given = {name: arguments[name] for name in takes if name in arguments}
        return self.plot(kind.name, **given)

    keyword, positional = inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [inspect.Parameter("self", positional)]
    for name in takes:
        way = positional if name == "value" else keyword
        parameters.append(inspect.Parameter(name, way, default=None))
    signature = inspect.Signature(parameters, return_annotation=Figure)
    draw.__name__ = kind.method
    draw.__qualname__ = f"Run.{kind.method}"
    draw.__doc__ = f"{kind.shows}\n\n        Options and errors: as of `plot`."
    draw.__signature__ = signature  # type: ignore[attr-defined]
    return draw


for _kind in catalog.KINDS:
    setattr(Run, _kind.method, _method(_kind))
