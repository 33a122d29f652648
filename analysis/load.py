"""A run folder as tidy DataFrames, and the points that were asked for."""

import json
import tomllib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

KEYS = ("activation", "init", "std", "gain", "bias_std", "normalization", "width", "depth", "seed")
NAMES = ("activation", "init", "normalization")


class RunFolderError(Exception):
    """One sentence about a folder that is not a run."""


@dataclass(frozen=True)
class Run:
    """A run folder. Tables are read when first asked for, and are None where the run has none.

    sweep: sweep.toml as plain data. info: run.json.
    """

    path: Path
    sweep: dict[str, Any]
    info: dict[str, Any] = field(default_factory=dict)

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

    @property
    def scale_axis(self) -> str | None:
        """Which of std and gain the sweep varies; frames carry it in their attrs."""
        return next((axis for axis in ("std", "gain") if axis in self.sweep.get("grid", {})), None)

    @property
    def title(self) -> str:
        return str(self.sweep.get("title", ""))

    def _table(self, name: str) -> pd.DataFrame | None:
        folder = self.path / name
        if not any(folder.glob("*.parquet")):
            return None
        try:
            frame = pd.read_parquet(folder)
            frame.attrs["scale_axis"] = self.scale_axis
            return frame
        except (pa.ArrowInvalid, OSError) as error:
            raise RunFolderError(f"{folder} cannot be read: {error}.") from error


def load(run_dir: str | Path) -> Run:
    """The run in a folder. Errors: RunFolderError if it is not one."""
    path = Path(run_dir)
    try:
        sweep = tomllib.loads((path / "sweep.toml").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunFolderError(f"{path} is not a run folder: it has no sweep.toml.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise RunFolderError(f"{path / 'sweep.toml'} cannot be read: {error}.") from error
    try:
        info = json.loads((path / "run.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        info = {}
    return Run(path, sweep, info)


def varying(frame: pd.DataFrame) -> list[str]:
    """The key columns that take more than one value; of std and gain only the one that the sweep varies.

    Without attrs["scale_axis"] that is the one with fewer values, or gain where they are equal.
    """
    keys = [key for key in KEYS if key in frame and frame[key].nunique() > 1]
    if "std" in keys and "gain" in keys:
        fewer = "std" if frame["std"].nunique() < frame["gain"].nunique() else "gain"
        swept = frame.attrs.get("scale_axis") or fewer
        keys.remove("gain" if swept == "std" else "std")
    return keys


def in_order(frame: pd.DataFrame, key: str) -> list:
    """The values of a key: names as the sweep lists them, numbers ascending."""
    if isinstance(frame[key].dtype, pd.CategoricalDtype):
        present = set(frame[key].unique())
        return [name for name in frame[key].cat.categories if name in present]
    return sorted(frame[key].unique())


def drop_unused(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with categories that no row has taken away."""
    names = {name: frame[name].cat.remove_unused_categories() for name in NAMES if name in frame}
    return frame.assign(**names)
