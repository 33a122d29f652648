"""Figures of a run folder as files: what the command line draws."""

import os
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from analysis import style
from analysis.cells import AGGREGATES, defaults
from analysis.heatmaps import heatmap
from analysis.histograms import histogram_parts, histograms
from analysis.load import KEYS, Expected, Run, RunFolderError, follows_init, in_order, load, tidy, varying
from analysis.profiles import profiles
from analysis.selection import PlotError, beyond_profiles, by_kind_of_init, cut, keep, known

KINDS = ("heatmap", "histograms", "profiles")
FORMATS = ("png", "svg", "pdf")
MAX_FILES = 24
MAX_STANDARD = 6
STANDARD_LINES = 16
DPI = 160

STANDARD = {"vanishing-exploding": "log10_act_rms", "saturation": "saturated"}
TITLES = {"log10_act_rms": "Vanishing and exploding signals", "saturated": "Saturation"}

# Figures by file name, drawn when called: a figure that is not wanted costs nothing.
Drawings = dict[str, Callable[[], Figure]]


def _warn(message: str) -> None:
    warnings.warn(message, stacklevel=3)


def standard_figures(
    run_dir: str | Path, formats: Sequence[str] = ("png",), report: Callable[[str], None] = _warn
) -> list[Path]:
    """Draw the standard figures into run_dir/figures: two heatmaps, histograms and profiles if measured.

    Keys that have no place in a figure make a file for each of their values, at most MAX_STANDARD of a kind.
    report: told, in a sentence, of figures left out.
    Errors: RunFolderError, PlotError.
    """
    for fmt in formats:
        known("format", fmt, FORMATS)
    run = load(run_dir)
    kinds = [_heatmaps(run, tidy(run.networks), run.expected, value, file) for file, value in STANDARD.items()]
    if run.histograms is not None:
        kinds.append(_histograms(run.histograms))
    if run.layers is not None and run.layers["layer"].nunique() > 1:
        kinds.append(_profiles(run, tidy(run.layers), "log10_act_rms", "profiles"))
    paths: list[Path] = []
    for drawings in kinds:
        names = list(drawings)
        if len(names) > MAX_STANDARD:
            report(
                f"Drew {MAX_STANDARD} of {len(names)} figures {names[0]}, {names[1]}, ...; "
                "choose others with `winit plot` and --where."
            )
        for name in names[:MAX_STANDARD]:
            try:
                figure = drawings[name]()
            except ValueError as error:
                report(f"No figure {name}: {error}")
                continue
            paths += [_save(figure, run.path / "figures", name, fmt) for fmt in formats]
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

    where: key -> the values to keep, as words. out: a file for a single figure (its ending is the format),
    or a folder.
    Errors: RunFolderError, PlotError.
    """
    known("kind", kind, KINDS)
    target = Path(out) if out is not None else None
    if target is not None and target.suffix and not target.is_dir():
        fmt = target.suffix[1:].lower()
    known("format", fmt, FORMATS)
    known("seeds", seeds, AGGREGATES)
    run = load(run_dir)
    places = {"x": x, "y": y, "row": row, "col": col}
    for name, key in places.items():
        if key is not None:
            known(name, key, KEYS)
    _refuse_unused(kind, value, places, seeds)
    frame = _table(run, kind)
    if value is not None:
        known("value", value, [str(column) for column in frame if column not in (*KEYS, "layer")])
    frame = tidy(keep(frame, where or {}))
    if kind == "histograms":
        drawings = _histograms(frame)
    elif kind == "profiles":
        value = value or "log10_act_rms"
        drawings = _profiles(run, frame, value, f"profiles-{value}", col)
    else:
        value = value or "log10_act_rms"
        # What was kept by --where is all that was asked for of those keys.
        expected = run.expected | {key: in_order(frame, key) for key in where or {}}
        drawings = _heatmaps(run, frame, expected, value, f"heatmap-{value}", seeds=seeds, places=places)
    single = target is not None and not target.is_dir()
    if single and len(drawings) > 1:
        raise PlotError(f"--out names one file, and this makes {len(drawings)}: keep single values with --where.")
    if len(drawings) > MAX_FILES:
        raise PlotError(f"This would make {len(drawings)} figures, more than {MAX_FILES}: keep fewer with --where.")
    paths = []
    for name, draw in drawings.items():
        try:
            figure = draw()
        except ValueError as error:
            raise PlotError(str(error)) from error
        if target is not None and single:
            paths.append(_save(figure, target.parent, target.stem, fmt, file_name=f"{target.stem}.{fmt}"))
        else:
            paths.append(_save(figure, target or run.path / "figures", name, fmt))
    return paths


def _refuse_unused(kind: str, value: str | None, places: Mapping[str, str | None], seeds: str) -> None:
    """Errors: PlotError for options that the kind of figure has no use for."""
    given = [name for name, key in places.items() if key] + ["value"] * (value is not None)
    used = {"heatmap": {"x", "y", "row", "col", "value"}, "profiles": {"col", "value"}, "histograms": set()}[kind]
    if wrong := [name for name in given if name not in used]:
        raise PlotError(f"{kind} take no {', '.join(wrong)}; keep values with --where.")
    if kind != "heatmap" and seeds != "median":
        shown = "all seeds together" if kind == "histograms" else "the median and the range of seeds"
        raise PlotError(f"{kind} show {shown}, so seeds = {seeds!r} has no place in them.")


def _table(run: Run, kind: str) -> pd.DataFrame:
    name = {"heatmap": "networks", "histograms": "histograms", "profiles": "layers"}[kind]
    frame = getattr(run, name)
    if frame is None:
        _ = run.networks  # a run with nothing finished says so
        raise PlotError(f"{run.path} has no {name} table: its sweep does not measure it.")
    return frame


def _histograms(frame: pd.DataFrame) -> Drawings:
    return {f"histograms-{name}": partial(histograms, part) for name, part in histogram_parts(frame).items()}


def _profiles(run: Run, frame: pd.DataFrame, value: str, file: str, col: str | None = None) -> Drawings:
    # A key asked for as panels needs no figure for each of its values; activations then do.
    keys = [key for key in beyond_profiles(frame) if key != col]
    if col not in (None, "activation") and "activation" in varying(frame):
        keys.append("activation")
    options: dict[str, Any] = {"col": col, "most": STANDARD_LINES, "below": run.title}
    return {file + suffix: partial(profiles, part, value, **options) for suffix, part in cut(frame, keys).items()}


def _heatmaps(
    run: Run,
    frame: pd.DataFrame,
    expected: Expected,
    value: str,
    file: str,
    *,
    seeds: str = "median",
    places: Mapping[str, str | None] | None = None,
) -> Drawings:
    """Heatmaps by file name: schemes apart from shapes, and one for each value of what has no place."""
    title = TITLES.get(value) if seeds != "std" else None
    drawings: Drawings = {}
    for suffix, (part, asked) in by_kind_of_init(frame, expected).items():
        chosen: dict[str, Any] = {place: key for place, key in (places or {}).items() if key}
        automatic = {p: key for p, key in defaults(part, asked).items() if key and key not in chosen.values()}
        placed = {*(automatic | chosen).values()}
        same = {"std", "gain"}
        covered = bool(placed & same) or ("init" in placed and follows_init(part))
        beyond = [key for key in varying(part) if key not in placed and key != "seed" and not (key in same and covered)]
        options: dict[str, Any] = {"seeds": seeds, "title": title, "below": run.title, **chosen}
        for fixed, rest in cut(part, beyond).items():
            # Keys that are fixed here do not vary, whatever the sweep asks for.
            here = {key: values for key, values in asked.items() if key not in beyond}
            drawings[file + suffix + fixed] = partial(heatmap, rest, value, expected=here, **options)
    return drawings


def _save(figure: Figure, folder: Path, name: str, fmt: str, file_name: str | None = None) -> Path:
    """Write a figure whole or not at all. Errors: PlotError if the folder cannot be written."""
    plain = f"{re.sub(r'[^A-Za-z0-9._+-]+', '-', name).strip('-')}.{fmt}"
    path = folder / (file_name or plain)
    staged = path.with_name(f".{path.name}.part")
    # The time of drawing would make every file of the same figure different.
    metadata = {"png": None, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[fmt]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with style.themed():
            figure.savefig(staged, format=fmt, dpi=DPI, metadata=metadata)
        os.replace(staged, path)
    except OSError as error:
        raise PlotError(f"{path} cannot be written: {error.strerror or error}.") from error
    finally:
        with suppress(OSError):
            staged.unlink(missing_ok=True)
    return path


__all__ = ["FORMATS", "KINDS", "PlotError", "RunFolderError", "plot", "standard_figures"]
