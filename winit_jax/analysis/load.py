"""A run folder as tidy DataFrames, and the points that were asked for."""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from winit_jax.analysis.axes import AxisError, expand
from winit_jax.errors import WinitError
from winit_jax.store import journal
from winit_jax.store.damage import damaged, foreign, orphans, shown
from winit_jax.store.folder import RunFolder
from winit_jax.store.info import read_info
from winit_jax.store.journal import FolderError
from winit_jax.store.schema import KEYS as NETWORK_KEYS
from winit_jax.store.schema import LEARNER_KEYS as KEYS
from winit_jax.store.schema import NAMES

# Keys that a table must have, where these are not NETWORK_KEYS: the rest have no meaning at infinite width.
NEEDED = {"theory": ("activation", "gain", "bias_std", "depth"), "mean_field": ("activation", "gain", "bias_std")}
# Shapes are scaled by the std or gain axis; every other init fixes its own std and is one point of it.
SHAPES = ("normal", "uniform", "truncated_normal", "orthogonal", "constant")

Expected = Mapping[str, Sequence[Any]]


class RunFolderError(WinitError):
    """One sentence about a folder that is not a run."""


@dataclass(frozen=True)
class Run:
    """A run folder. Tables are read when first asked for, and are None where the run has none.

    sweep: sweep.toml as plain data. info: run.json. owner: kept alive with the run, where a temporary folder is its.
    """

    path: Path
    sweep: dict[str, Any]
    info: dict[str, Any] = field(default_factory=dict)
    owner: object = field(default=None, compare=False, repr=False)

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

    @cached_property
    def expected(self) -> dict[str, list]:
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
    def is_theory(self) -> bool:
        """Whether the run has predictions and no networks, as a sweep of infinite width has."""
        return not self._journal.paths(self.path, "networks") and self.theory is not None

    @property
    def title(self) -> str:
        return str(self.sweep.get("title", ""))

    @property
    def _grid(self) -> dict[str, Any]:
        grid = self.sweep.get("grid")
        return grid if isinstance(grid, dict) else {}

    @cached_property
    def _journal(self) -> journal.Journal:
        """Which files belong to the run. Errors: RunFolderError if there are damaged ones among them."""
        try:
            found = journal.read(self.path)
            if not found.records:
                RunFolder(self.path).journal()  # says what is wrong with a folder of an earlier version
            ill = [*found.unreadable, *map(str, damaged(self.path, found)), *orphans(self.path, found)]
        except FolderError as error:
            raise RunFolderError(str(error)) from error
        if ill:
            raise RunFolderError(
                f"{self.path} is damaged: {shown(ill)}. `winit run` makes it anew; `winit verify` reads every file."
            )
        return found

    def _table(self, name: str) -> pd.DataFrame | None:
        paths = self._journal.paths(self.path, name)
        if not paths:
            return None
        try:
            frame = pd.read_parquet(paths)  # type: ignore[call-overload]
        except FileNotFoundError:  # a process at work has just moved one
            del self.__dict__["_journal"]
            return self._table(name)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise RunFolderError(f"{self.path / name} cannot be read: {error}.") from error
        if absent := [key for key in NEEDED.get(name, NETWORK_KEYS) if key not in frame]:
            raise RunFolderError(f"{self.path / name} has no column {', '.join(absent)}: it is not a table of a sweep.")
        if frame.empty:
            return None
        frame.attrs["scale_axis"] = self.scale_axis
        if classes := (self.info.get("train") or {}).get("classes"):
            frame.attrs["classes"] = classes
        return frame


def untrained(frame: pd.DataFrame) -> pd.DataFrame:
    """Each network once, whatever the learning rates that it was trained at: rows about networks before training."""
    if "learning_rate" not in frame or frame["learning_rate"].isna().all():
        return frame
    return frame.drop_duplicates([key for key in NETWORK_KEYS if key in frame]).drop(columns="learning_rate")


def chance(frame: pd.DataFrame) -> float:
    """The accuracy of guessing: 1 over the classes of the run's data, ten where the frame does not say."""
    return 1 / frame.attrs.get("classes", 10)


def _finite(axis: Any) -> Any:
    """An axis less its words "inf"."""
    words = [word.strip() for word in axis.split(",")] if isinstance(axis, str) else axis
    if not isinstance(words, list):
        return [] if words == math.inf else axis
    return [word for word in words if str(word).strip() != "inf"]


def load(run_dir: str | Path, owner: object = None) -> Run:
    """The run in a folder. owner: as in `Run`.

    Errors: RunFolderError if it is not one, or damaged. Warns of files that are not its own.
    """
    path = Path(run_dir)
    try:
        sweep = RunFolder(path).sweep()
    except FolderError as error:
        raise RunFolderError(str(error)) from error
    info, problem = read_info(path / "run.json")
    if problem:
        warnings.warn(problem, stacklevel=2)
    run = Run(path, sweep, info.model_dump(exclude_unset=True), owner)
    if strangers := foreign(path, run._journal):  # and damage is told at once
        warnings.warn(f"{path}: {shown(strangers)} no part of this run, and not read.", stacklevel=2)
    return run


def varying(frame: pd.DataFrame, expected: Expected | None = None) -> list[str]:
    """The key columns that take more than one value; of std and gain only the one that the sweep varies.

    expected: key -> values that the sweep asks for; they count although no row has them yet.
    Without attrs["scale_axis"] the scale is the one with fewer values, or gain where they are equal.
    """
    asked = expected or {}
    keys = [key for key in KEYS if key in frame and (frame[key].nunique() > 1 or len(asked.get(key, ())) > 1)]
    if "std" in keys and "gain" in keys:
        fewer = "std" if frame["std"].nunique() < frame["gain"].nunique() else "gain"
        swept = frame.attrs.get("scale_axis") or fewer
        keys.remove("gain" if swept == "std" else "std")
    return keys


def follows_init(frame: pd.DataFrame) -> bool:
    """Whether each init has one scale, as schemes have: then std and gain are no axes of their own."""
    # Without a width there is no std.
    given = [key for key in ("std", "gain") if key in frame and frame[key].notna().any()]
    scales = frame.groupby("init", observed=True)[given].nunique()
    return bool(scales.min(axis=1).max() == 1)


def in_order(frame: pd.DataFrame, key: str, expected: Expected | None = None) -> list:
    """The values of a key, asked for or there: names as the sweep lists them, numbers ascending."""
    asked = list((expected or {}).get(key, ()))
    present = frame[key].unique()
    if key in NAMES:
        listed = frame[key].cat.categories if isinstance(frame[key].dtype, pd.CategoricalDtype) else present
        return list(dict.fromkeys([*(name for name in listed if name in {*present}), *asked]))
    # Scales are tidied to ten digits, values asked for are not.
    new = [value for value in asked if not np.isclose(present.astype(float), value, rtol=1e-9, atol=0).any()]
    return sorted([*present.tolist(), *new])


def tidy(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame ready for figures: names as categories that some row has, scales to ten digits.

    Scales that were computed with floats elsewhere differ in their last digits; those of a run do not.
    """
    columns: dict[str, Any] = {}
    for name in NAMES:
        if name in frame:
            columns[name] = frame[name].astype("category").cat.remove_unused_categories()
    for name in ("std", "gain"):
        if name in frame:
            known = {value: float(f"{value:.10g}") for value in frame[name].unique()}
            if any(value != short for value, short in known.items()):
                columns[name] = frame[name].map(known)
    return frame.assign(**columns)
