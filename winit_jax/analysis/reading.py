"""A run folder read back: its tables as DataFrames, and the points that were asked for."""

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from winit_jax.analysis.axes import AxisError, expand
from winit_jax.analysis.scanning import points_of
from winit_jax.analysis.tables import KEYS, NAMES, NETWORK_KEYS
from winit_jax.columns import AXES, of_role
from winit_jax.errors import WinitError
from winit_jax.spec.aliases import nearest
from winit_jax.store import journal, schema
from winit_jax.store.damage import damaged, foreign, orphans, shown
from winit_jax.store.folder import RunFolder
from winit_jax.store.info import read_info
from winit_jax.store.journal import FolderError
from winit_jax.store.probe_folder import is_probe
from winit_jax.system import machine

# Keys that a table must have: not those of axes that only some sweeps need, nor what has no meaning at infinite width.
ALWAYS = tuple(key for key in NETWORK_KEYS if not AXES[key].needs)
NEEDED = {"theory": ("activation", "gain", "bias_std", "depth"), "mean_field": ("activation", "gain", "bias_std")}
# What a value of a frame takes at the most while it is made: 10^7 rows of 37 columns peak at 6.2 GiB.
BYTES_OF_A_VALUE = 17
LEAST_LARGE = 2**28  # a frame of which nobody asks how much memory is free
TABLES = (*schema.TABLES, *schema.PREDICTIONS)


class RunFolderError(WinitError):
    """One sentence about a folder that is not a run, or about a table or column that a run does not have."""


class NoRoom(RunFolderError):
    """A sentence about a table that would need more memory than is free."""


@dataclass(frozen=True, repr=False)
class Tables:
    """A run folder. Tables are read when first asked for and then kept; they are None where the run has none.

    sweep: sweep.toml as plain data. info: run.json. owner: kept alive as long as this is, such as the temporary
    folder that the run lies in.
    """

    path: Path
    sweep: dict[str, Any]
    info: dict[str, Any] = field(default_factory=dict)
    owner: object = field(default=None, compare=False)

    @cached_property
    def networks(self) -> pd.DataFrame:
        """One row a network. Errors: RunFolderError if there is none yet."""
        frame = self._table("networks")
        if frame is None:
            raise RunFolderError(f"{self.path} has no finished networks yet; go on with `winit run`.")
        return frame

    @cached_property
    def layers(self) -> pd.DataFrame | None:
        """One row a network and layer, for the deepest network of each family."""
        return self._table("layers")

    @cached_property
    def histograms(self) -> pd.DataFrame | None:
        """One row a network, layer and bin."""
        return self._table("histograms")

    @cached_property
    def gradients(self) -> pd.DataFrame | None:
        """One row a network and layer, for networks of every depth: RMS gradients of the loss."""
        return self._table("gradients")

    @cached_property
    def gradient_histograms(self) -> pd.DataFrame | None:
        """One row a network, layer and bin; edges in units of the layer's RMS gradient."""
        return self._table("gradient_histograms")

    @cached_property
    def training(self) -> pd.DataFrame | None:
        """One row a trained network and evaluation. Losses and accuracies are NaN once a network has diverged."""
        return self._table("training")

    @cached_property
    def mean_field(self) -> pd.DataFrame | None:
        """One row an activation, gain and bias_std: fixed points and depth scales at infinite width."""
        return self._table("mean_field")

    @cached_property
    def theory(self) -> pd.DataFrame | None:
        """One row a point of a sweep at infinite width: predictions, and nothing measured."""
        return self._table("theory")

    def read(self, table: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """A table of the run, or only some of its columns beside those that tell its rows apart.

        columns: read from the files alone, so that a large table costs no more than what is wanted of it; None reads
        the whole table, anew each time.
        Errors: RunFolderError for a table or column that the run does not have, with the nearest right word.
        """
        if table not in TABLES:
            raise RunFolderError(f"{table!r} is not a table.{_guess(table, TABLES)} Tables: {', '.join(TABLES)}.")
        paths = self._journal.paths(self.path, table)
        if not paths:
            raise RunFolderError(f"{self.path} has no {table} table.")
        wanted = None
        if columns is not None:
            there = self.stored(table).names
            if absent := [name for name in columns if name not in there]:
                guesses = "".join(_guess(name, there) for name in absent)
                raise RunFolderError(f"{table} has no column {', '.join(absent)}.{guesses} It has: {', '.join(there)}.")
            wanted = [name for name in there if name in (*keys_of(table), *columns)]
        frame = self._table(table, wanted)
        if frame is None:
            raise RunFolderError(f"{self.path} has no rows in its {table} table.")
        return frame

    def stored(self, table: str) -> pa.Schema:
        """The columns of a table as its files have them; none of a table that the run does not have."""
        paths = self._journal.paths(self.path, table)
        return pq.read_schema(paths[0]) if paths else pa.schema([])

    def points(
        self,
        table: str,
        numbers: Sequence[str] = (),
        *,
        keys: Sequence[str] | None = None,
        apart: bool = False,
        only: pc.Expression | None = None,
    ) -> pd.DataFrame | None:
        """The points of a table, with the rows behind them: as of `scanning.points_of`. None where there are no rows.

        keys: some of them alone. Errors: RunFolderError if they cannot be read.
        """

        def read(paths: list[Path]) -> pd.DataFrame:
            return points_of(paths, keys_of(table) if keys is None else keys, numbers, apart, only)

        return self._read(table, read) if keys is None else self._tried(table, read)

    @cached_property
    def expected(self) -> dict[str, list[Any]]:
        """The points that the sweep asks for, done or not: key -> values of its axis, ranges expanded.

        Axes that the sweep leaves to their defaults are absent, and so is a width of inf, which no network
        has. Errors: RunFolderError for an axis that cannot be read.
        """
        grid = {key: value for key, value in self._grid.items() if key in KEYS}
        if "width" in grid:
            grid["width"] = _finite(grid["width"])
        try:
            return {key: values for key, axis in grid.items() if (values := expand(axis, key in NAMES))}
        except AxisError as error:
            raise RunFolderError(f"{self.path / 'sweep.toml'}: {error}") from error

    @property
    def scale_axis(self) -> str | None:
        """Which of std and gain the sweep varies; frames carry it in their attrs."""
        return next((axis for axis in ("std", "gain") if axis in self._grid), None)

    @property
    def source(self) -> str:
        """What the networks are fed, in words, empty where the sweep does not say; frames carry it in their attrs."""
        inputs = self.sweep.get("inputs")
        given = str(inputs.get("source", "")) if isinstance(inputs, dict) else ""
        return "normal inputs" if given == "normal" else given.rpartition("/")[2]

    @property
    def is_theory(self) -> bool:
        """Whether the run has predictions and no networks, as a sweep of infinite width has."""
        return not self._journal.paths(self.path, "networks") and self.theory is not None

    @property
    def title(self) -> str:
        return str(self.sweep.get("title", ""))

    @property
    def row_counts(self) -> dict[str, int]:
        """How many rows each table has, of those that have files; no rows are read for it."""
        paths = {table: self._journal.paths(self.path, table) for table in TABLES}
        return {
            table: sum(pq.read_metadata(file).num_rows for file in files) for table, files in paths.items() if files
        }

    @property
    def _grid(self) -> dict[str, Any]:
        grid = self.sweep.get("grid")
        return grid if isinstance(grid, dict) else {}

    @cached_property
    def _journal(self) -> journal.Journal:
        """Which files belong to the run. Errors: RunFolderError if there are damaged ones among them."""
        try:
            committed = journal.read(self.path)
            if not committed.records:
                RunFolder(self.path).journal()  # says what is wrong with a folder of an earlier version
            ill = [*committed.unreadable, *map(str, damaged(self.path, committed)), *orphans(self.path, committed)]
        except FolderError as error:
            raise RunFolderError(str(error)) from error
        if ill:
            raise RunFolderError(
                f"{self.path} is damaged: {shown(ill)}. `winit run` makes it anew; `winit verify` reads every file."
            )
        return committed

    def _table(
        self, name: str, columns: list[str] | None = None, only: pc.Expression | None = None
    ) -> pd.DataFrame | None:
        """The rows of a table, None where there are none.

        columns: some of them. only: which rows, left to the reader of the files.
        Errors: RunFolderError if they cannot be read; NoRoom if all of them would need more memory than is free.
        """
        if only is None and (sentence := self._too_large(name, columns)):
            raise NoRoom(sentence)

        def read(paths: list[Path]) -> pd.DataFrame:
            return pd.read_parquet(paths, columns=columns, filters=only)  # type: ignore[call-overload,no-any-return]

        return self._read(name, read)

    def _too_large(self, name: str, columns: Sequence[str] | None) -> str:
        """A sentence if a table, or these columns of it, has no room in the memory that is free; else ""."""
        rows = sum(record.files[name].rows for record in self._journal.committed() if name in record.files)
        needed = rows * len(self.stored(name).names if columns is None else columns) * BYTES_OF_A_VALUE
        if needed <= LEAST_LARGE or needed <= (free := machine.free_bytes()):
            return ""
        return (
            f"{self.path / name} has {rows:,} rows, which take about {needed / 2**30:,.1f} GiB of memory as one frame; "
            f"{free / 2**30:,.1f} GiB are free. Read fewer columns (read({name!r}, [...])), "
            "draw with conditions (where=...), or one of the figures that put seeds together as they read."
        )

    def _tried(self, name: str, read: Callable[[list[Path]], pd.DataFrame]) -> pd.DataFrame | None:
        """What `read` makes of a table's files, None where there are none. Errors: RunFolderError if it cannot."""
        paths = self._journal.paths(self.path, name)
        if not paths:
            return None
        try:
            return read(paths)
        except FileNotFoundError:  # a process at work has just moved one
            del self.__dict__["_journal"]
            return self._tried(name, read)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise RunFolderError(f"{self.path / name} cannot be read: {error}.") from error

    def _read(self, name: str, read: Callable[[list[Path]], pd.DataFrame]) -> pd.DataFrame | None:
        """The same, as the frame of a table of a sweep; None where it has no rows."""
        frame = self._tried(name, read)
        if frame is None:
            return None
        frame = _with_later_axes(frame, name)
        if absent := [key for key in NEEDED.get(name, ALWAYS) if key not in frame]:
            raise RunFolderError(f"{self.path / name} has no column {', '.join(absent)}: it is not a table of a sweep.")
        if frame.empty:
            return None
        frame.attrs["scale_axis"] = self.scale_axis
        frame.attrs["source"] = self.source
        if classes := (self.info.get("train") or {}).get("classes"):
            frame.attrs["classes"] = classes
        return frame


def keys_of(table: str) -> tuple[str, ...]:
    """The columns that tell the rows of a table apart, and the formulas that some of them were."""
    return (*KEYS, *of_role("rule", table), *of_role("row", table))


Kind = TypeVar("Kind", bound=Tables)


def read_folder(run_dir: str | Path, kind: type[Kind], owner: object = None) -> Kind:
    """A run folder as an object of that kind.

    Errors: RunFolderError if it is no run folder, or damaged. Warns of files that are not its own.
    """
    path = Path(run_dir)
    if is_probe(path):
        raise RunFolderError(f"{path} is the folder of a probe: read it with winit.load_probe.")
    try:
        sweep = RunFolder(path).sweep()
    except FolderError as error:
        raise RunFolderError(str(error)) from error
    info, problem = read_info(path / "run.json")
    if problem:
        warnings.warn(problem, stacklevel=3)
    run = kind(path, sweep, info.model_dump(exclude_unset=True), owner)
    if strangers := foreign(path, run._journal):  # and damage is told at once
        warnings.warn(f"{path}: {shown(strangers)} no part of this run, and not read.", stacklevel=3)
    return run


def _with_later_axes(frame: pd.DataFrame, table: str) -> pd.DataFrame:
    """A table with the axes that were not there yet when it was written, each in its place."""
    axes = [axis for axis in AXES.values() if table in axis.tables]
    new = [axis for axis in axes if axis.before is not None and not axis.needs and axis.name not in frame]
    for axis in new:
        values = [axis.before] * len(frame)
        frame[axis.name] = pd.Categorical(values) if axis.holds is str else values
    if not new:
        return frame
    keys = [axis.name for axis in axes if axis.name in frame]
    return frame[[*keys, *(name for name in frame if name not in keys)]]


def _finite(axis: Any) -> Any:
    """An axis less its words "inf"."""
    words = [word.strip() for word in axis.split(",")] if isinstance(axis, str) else axis
    if not isinstance(words, list):
        return [] if words == math.inf else axis
    return [word for word in words if str(word).strip() != "inf"]


def _guess(word: str, words: Sequence[str]) -> str:
    near = nearest(word, words)
    return f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
