"""Figures of a run folder as files: what the command line draws."""

import difflib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from analysis.heatmaps import AGGREGATES, defaults, heatmap
from analysis.histograms import histogram_figures
from analysis.load import KEYS, NAMES, Run, RunFolderError, load, varying
from analysis.profiles import profiles

KINDS = ("heatmap", "histograms", "profiles")
FORMATS = ("png", "svg", "pdf")
MAX_FILES = 24
DPI = 160

STANDARD = {"vanishing-exploding": "log10_act_rms", "saturation": "saturated"}
TITLES = {"log10_act_rms": "Vanishing and exploding signals", "saturated": "Saturation"}


class PlotError(Exception):
    """One sentence about a figure that cannot be drawn as asked."""


def standard_figures(run_dir: str | Path, formats: Sequence[str] = ("png",)) -> list[Path]:
    """Draw the standard figures into run_dir/figures: two heatmaps, histograms and profiles if measured.

    Errors: RunFolderError, PlotError.
    """
    for fmt in formats:
        _known("format", fmt, FORMATS)
    run = load(run_dir)
    paths: list[Path] = []
    for name, value in STANDARD.items():
        for suffix, figure in _heatmaps(run.networks, value, run.title).items():
            paths += [_save(figure, run.path / "figures", name + suffix, fmt) for fmt in formats]
    if run.histograms is not None:
        for name, figure in histogram_figures(run.histograms).items():
            paths += [_save(figure, run.path / "figures", f"histograms-{name}", fmt) for fmt in formats]
    if run.layers is not None and run.layers["layer"].nunique() > 1:
        for suffix, part in _fixed(run.layers, _beyond_profiles(run.layers)).items():
            figure = profiles(part)
            paths += [_save(figure, run.path / "figures", f"profiles{suffix}", fmt) for fmt in formats]
    return paths


def plot(
    run_dir: str | Path,
    kind: str,
    *,
    value: str | None = None,
    x: str | None = None,
    y: str | None = None,
    row: str | None = None,
    col: str | None = None,
    seeds: str = "median",
    where: Mapping[str, Sequence[str]] | None = None,
    fmt: str = "png",
    out: str | Path | None = None,
) -> list[Path]:
    """Draw one kind of figure of a run; a file for each value of keys that have no place in it.

    where: key -> the values to keep, as words. out: a file for a single figure (its ending is the format).
    Errors: RunFolderError, PlotError.
    """
    _known("kind", kind, KINDS)
    if out is not None and Path(out).suffix:
        fmt = Path(out).suffix[1:].lower()
    _known("format", fmt, FORMATS)
    _known("seeds", seeds, AGGREGATES)
    run = load(run_dir)
    frame = {
        "heatmap": lambda: run.networks,
        "histograms": lambda: run.histograms,
        "profiles": lambda: run.layers,
    }[kind]()
    if frame is None:
        raise PlotError(
            f"{run.path} has no {'layers' if kind == 'profiles' else kind} table: its sweep does not measure it."
        )
    for name, key in {"x": x, "y": y, "row": row, "col": col}.items():
        if key is not None:
            _known(name, key, KEYS)
    if value is not None:
        _known("value", value, [str(column) for column in frame if column not in KEYS])
    for key, words in (where or {}).items():
        _known("where", key, KEYS)
        frame = _keep(frame, key, words)
    try:
        figures = _figures(kind, run, frame, value, {"x": x, "y": y, "row": row, "col": col}, seeds)
    except ValueError as error:
        raise PlotError(str(error)) from error
    if out is not None and len(figures) > 1:
        raise PlotError(f"--out names one file, and this makes {len(figures)}: keep single values with --where.")
    if out is not None:
        target = Path(out)
        return [_save(next(iter(figures.values())), target.parent, target.stem, fmt)]
    return [_save(figure, run.path / "figures", name, fmt) for name, figure in figures.items()]


def _figures(
    kind: str, run: Run, frame: pd.DataFrame, value: str | None, places: dict, seeds: str
) -> dict[str, Figure]:
    if kind == "histograms":
        return {f"histograms-{name}": figure for name, figure in histogram_figures(frame).items()}
    value = value or "log10_act_rms"
    if kind == "profiles":
        parts = _fixed(frame, _beyond_profiles(frame))
        return {f"profiles-{value}{suffix}": profiles(part, value) for suffix, part in parts.items()}
    found = _heatmaps(frame, value, run.title, seeds=seeds, places=places)
    return {f"heatmap-{value}{suffix}": figure for suffix, figure in found.items()}


def _heatmaps(
    frame: pd.DataFrame,
    value: str,
    title: str,
    *,
    seeds: str = "median",
    places: Mapping[str, str | None] | None = None,
) -> dict[str, Figure]:
    """Heatmaps by file suffix: schemes apart from shapes, and one for each value of what has no place."""
    figures: dict[str, Figure] = {}
    for name, part in _by_kind_of_init(frame).items():
        chosen: dict[str, Any] = {key: name for key, name in (places or {}).items() if name}
        automatic = {place: key for place, key in defaults(part).items() if key and key not in chosen.values()}
        placed = {*(automatic | chosen).values()}
        same = {"std", "gain"}
        beyond = [
            key
            for key in varying(part)
            if key not in placed and key != "seed" and not (key in same and (placed & same or "init" in placed))
        ]
        for suffix, rest in _fixed(part, beyond).items():
            figures[name + suffix] = heatmap(rest, value, seeds=seeds, title=TITLES.get(value), below=title, **chosen)
    return figures


def _by_kind_of_init(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Shapes that are scaled by an axis, and schemes that are one point each, are different pictures."""
    scales = frame.groupby("init", observed=True)[["std", "gain"]].nunique().min(axis=1)
    many, one = [list(scales[scales > 1].index), list(scales[scales == 1].index)]
    if not many or not one:
        return {"": frame}
    return {"": frame[frame["init"].isin(many)], "-schemes": frame[frame["init"].isin(one)]}


def _beyond_profiles(frame: pd.DataFrame) -> list[str]:
    keys = [key for key in varying(frame) if key not in ("seed", "depth", "activation")]
    scales = frame.groupby("init", observed=True)["std"].nunique().max()
    if "init" in keys and scales == 1:
        return [key for key in keys if key not in ("init", "std", "gain")]
    hue = next((key for key in ("gain", "std", "init", *keys) if key in keys), None)
    return [key for key in keys if key != hue]


def _fixed(frame: pd.DataFrame, keys: Iterable[str]) -> dict[str, pd.DataFrame]:
    """The frame cut by the values of keys, by file suffix; at most MAX_FILES."""
    keys = list(keys)
    if not keys:
        return {"": frame}
    parts = frame.groupby(keys, observed=True, sort=False)
    if parts.ngroups > MAX_FILES:
        raise PlotError(
            f"{' and '.join(keys)} would make {parts.ngroups} figures; keep fewer values with --where {keys[0]}=..."
        )
    return {
        "-" + "-".join(f"{key}-{value}" for key, value in zip(keys, values, strict=True)): part
        for values, part in parts
    }


def _keep(frame: pd.DataFrame, key: str, words: Sequence[str]) -> pd.DataFrame:
    if key in NAMES:
        for word in words:
            _known(f"where {key}", word, list(frame[key].cat.categories))
        return frame[frame[key].isin(list(words))]
    mask = pd.Series(False, index=frame.index)
    for word in words:
        try:
            wanted = float(word)
        except ValueError:
            raise PlotError(f"where {key}: {word!r} is not a number.") from None
        values = frame[key].unique()
        nearest = min(values, key=lambda v: abs(v - wanted))
        if abs(nearest - wanted) > 5e-3 * max(abs(wanted), 1e-300):
            raise PlotError(f"where {key}: {word} is not there; the nearest is {nearest:.6g}.")
        mask |= frame[key] == nearest
    return frame[mask]


def _known(what: str, word: str, known: Iterable[str]) -> None:
    names = list(known)
    if word not in names:
        near = difflib.get_close_matches(word, names, n=1)
        guess = f" Did you mean {near[0]!r}?" if near else ""
        raise PlotError(f"{what}: {word!r} is not known.{guess} Known: {', '.join(names)}.")


def _save(figure: Figure, folder: Path, name: str, fmt: str) -> Path:
    """Write a figure whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{re.sub(r'[^A-Za-z0-9._+-]+', '-', name).strip('-')}.{fmt}"
    staged = path.with_name(f".{path.name}.part")
    figure.savefig(staged, format=fmt, dpi=DPI)
    os.replace(staged, path)
    return path


__all__ = ["FORMATS", "KINDS", "PlotError", "RunFolderError", "plot", "standard_figures"]
