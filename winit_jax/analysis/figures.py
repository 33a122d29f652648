"""Figures of a run folder as files: what the command line draws."""

import os
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from winit_jax.analysis import drawings, style
from winit_jax.analysis.cells import AGGREGATES
from winit_jax.analysis.drawings import standard
from winit_jax.analysis.gradients import gradient_growth
from winit_jax.analysis.load import KEYS, Expected, Run, RunFolderError, in_order, load, tidy, untrained
from winit_jax.analysis.regimes import regime_map
from winit_jax.analysis.selection import Kept, PlotError, keep, kept_words, known, named
from winit_jax.analysis.theory import PREDICTED, deviation_map

FORMATS = ("png", "svg", "pdf")
MAX_FILES = 24
MAX_STANDARD = 6
DPI = 160

# What each kind of figure makes use of, and the table that it is drawn from (else networks).
PLACES = {"x", "y", "row", "col"}
USES: dict[str, set[str]] = {
    "heatmap": PLACES | {"value"},
    "histograms": set(),
    "profiles": {"col", "value"},
    "regimes": PLACES,
    "deviations": PLACES | {"value"},
    "z-scores": PLACES | {"value"},
    "gradients": PLACES | {"value"},
    "gradient-histograms": set(),
    "isometry": {"row", "col"},
    "training": {"row", "col", "value"},
    "trainability": PLACES | {"value"},
    "ranking": {"value"},
}
KINDS = tuple(USES)
TABLES = {
    "histograms": "histograms",
    "profiles": "layers",
    "gradients": "gradients",
    "gradient-histograms": "gradient_histograms",
    "training": "training",
}
# Kinds that show networks after training; the others show each network once, before.
LEARNT = ("training", "trainability", "ranking")
SHOWN = {"deviations": "difference", "z-scores": "z"}
SEEDS = {
    "histograms": "all seeds together",
    "gradient-histograms": "all seeds together",
    "profiles": "the median and the range of seeds",
    "regimes": "the regime of most seeds",
    "deviations": "the mean of seeds",
    "z-scores": "the mean of seeds",
    "isometry": "medians over seeds",
    "training": "the median and the range of seeds",
    "ranking": "means and intervals over seeds",
}


def _warn(message: str) -> None:
    warnings.warn(message, stacklevel=3)


def standard_figures(
    run_dir: str | Path,
    formats: Sequence[str] = ("png",),
    report: Callable[[str], None] = _warn,
    *,
    where: Mapping[str, Sequence[str]] | None = None,
    out: str | Path | None = None,
) -> list[Path]:
    """Draw the standard figures into run_dir/figures, or the folder `out`.

    Those are heatmaps of signals and saturation, and of what was measured: training curves, trainability, Jacobians,
    gradients, histograms, profiles and singular values; a run at infinite width has heatmaps of its predictions. Keys
    that have no place in a figure make a file for each of their values, at most MAX_STANDARD of a kind.
    where: as of `plot`. report: told, in a sentence, of figures left out.
    Errors: RunFolderError, PlotError.
    """
    for fmt in formats:
        known("format", fmt, FORMATS)
    run, suffix, where = load(run_dir), "", named(where)
    if where:
        run = Kept(run.path, run.sweep, run.info, where)
        main = run.theory if run.is_theory else run.networks
        assert main is not None
        suffix = kept_words(main, where)
    kinds = standard(run)
    paths: list[Path] = []
    for kind in kinds:
        names = list(kind)
        if len(names) > MAX_STANDARD:
            report(
                f"Drew {MAX_STANDARD} of {len(names)} figures {names[0]}, {names[1]}, ...; "
                "choose others with `winit plot` and --where."
            )
        for name in names[:MAX_STANDARD]:
            try:
                figure = kind[name]()
            except ValueError as error:
                report(f"No figure {name}: {error}")
                continue
            paths += [save(figure, Path(out or run.path / "figures"), name + suffix, fmt) for fmt in formats]
    return paths


def plot(
    run_dir: str | Path,
    kind: str | None = None,
    *,
    value: str | None = None,
    x: str | None = None,
    y: str | None = None,
    row: str | None = None,
    col: str | None = None,
    seeds: str = "median",
    where: Mapping[str, Sequence[str]] | None = None,
    fmt: str | None = None,
    out: str | Path | None = None,
    report: Callable[[str], None] = _warn,
) -> list[Path]:
    """Draw one kind of figure of a run; a file for each value of keys that have no place in it.

    kind: one of KINDS; without it, the kind that shows `value`, a heatmap where only places or seeds are given, and
    else the standard figures. where: key -> the values to keep, as words; file names say them. fmt: one of FORMATS,
    png unless `out` says otherwise. out: a file for a single figure (its ending is the format), or a folder.
    Errors: RunFolderError, PlotError.
    """
    if kind is not None:
        known("kind", kind, KINDS)
    folder, file, fmt = _target(out, fmt)
    known("seeds", seeds, AGGREGATES)
    where = named(where)
    places = {"x": x, "y": y, "row": row, "col": col}
    if kind is None and value is None and seeds == "median" and not any(places.values()):
        if file is not None:
            raise PlotError(f"--out names one file, and the standard figures are several: name a kind, as {KINDS[0]}.")
        return standard_figures(run_dir, (fmt,), report, where=where, out=folder)
    run = load(run_dir)
    kind = kind or _kind_of(run, value)
    for name, key in places.items():
        if key is not None:
            known(name, key, KEYS)
    _refuse_unused(kind, value, places, seeds)
    frame = _table(run, kind)
    if kind not in LEARNT and value not in style.LEARNT:
        frame = untrained(frame)
    if value is not None:
        choices = PREDICTED if kind in SHOWN else [str(column) for column in frame if column not in (*KEYS, "layer")]
        known("value", value, choices)
    frame = tidy(keep(frame, where))
    # What was kept by --where is all that was asked for of those keys.
    expected = run.expected | {key: in_order(frame, key) for key in where}
    if "learning_rate" not in frame:
        expected.pop("learning_rate", None)
    figures = _drawings(run, kind, frame, expected, value or _usual(run, kind), places, seeds)
    if file is not None and len(figures) > 1:
        raise PlotError(f"--out names one file, and this makes {len(figures)}: keep single values with --where.")
    if len(figures) > MAX_FILES:
        raise PlotError(f"This would make {len(figures)} figures, more than {MAX_FILES}: keep fewer with --where.")
    paths = []
    for name, draw in figures.items():
        try:
            figure = draw()
        except ValueError as error:
            raise PlotError(str(error)) from error
        if file is not None:
            paths.append(save(figure, file.parent, file.stem, fmt, file_name=file.name))
        else:
            name += kept_words(frame, where)
            paths.append(save(figure, folder or run.path / "figures", name, fmt))
    return paths


def _target(out: str | Path | None, fmt: str | None) -> tuple[Path | None, Path | None, str]:
    """(The folder to write into or None, the one file to write or None, the format). Errors: PlotError."""
    if fmt is not None:
        known("format", fmt, FORMATS)
    path = Path(out) if out is not None else None
    if path is None or path.is_dir() or not path.suffix:
        return path, None, fmt or FORMATS[0]
    ending = path.suffix[1:].lower()
    if ending not in FORMATS:
        raise PlotError(f"--out {path}: a figure is written as {', '.join(FORMATS)}, not {path.suffix}.")
    if fmt is not None and fmt != ending:
        raise PlotError(f"--out {path} asks for {ending} and --format for {fmt}: give one of them.")
    return None, path, ending


def _kind_of(run: Run, value: str | None) -> str:
    """The kind of figure that shows a column, by the table that has it. Errors: PlotError if none has."""
    tables = {"heatmap": run.theory if run.is_theory else run.networks}
    tables |= {kind: getattr(run, TABLES[kind]) for kind in ("training", "profiles", "gradients")}
    columns = {
        kind: [str(name) for name in frame if name not in (*KEYS, "layer", "step")]
        for kind, frame in tables.items()
        if frame is not None
    }
    if "gradients" in columns:
        columns["gradients"].append(_usual(run, "gradients"))
    if value is None:
        return "heatmap"
    known("value", value, dict.fromkeys(name for names in columns.values() for name in names))
    return next(kind for kind, names in columns.items() if value in names)


def _usual(run: Run, kind: str) -> str:
    """The column that a kind of figure shows unless told otherwise."""
    if kind in LEARNT:
        return "train_loss" if kind == "training" else "test_accuracy"
    if kind == "gradients":
        return "log10_preact_grad_growth"
    return "theory_log10_act_rms" if kind == "heatmap" and run.is_theory else "log10_act_rms"


def _drawings(
    run: Run,
    kind: str,
    frame: pd.DataFrame,
    expected: Expected,
    value: str,
    places: Mapping[str, str | None],
    seeds: str,
) -> drawings.Drawings:
    """The figures that plot was asked for, by file name."""
    if kind == "histograms":
        return drawings.histogram_drawings(frame)
    if kind == "gradient-histograms":
        return drawings.gradient_drawings(run, frame)
    if kind == "isometry":
        return drawings.isometry_drawings(run, frame, places["row"], places["col"])
    if kind == "training":
        return drawings.curve_drawings(run, frame, value, col=places["col"], row=places["row"])
    if kind == "ranking":
        return drawings.ranking_drawings(run, frame, value)
    if kind == "profiles":
        return drawings.profile_drawings(run, frame, value, f"profiles-{value}", places["col"])
    if kind == "regimes":
        draw: Callable[..., Figure] = partial(regime_map, mean_field=run.mean_field)
        return drawings.maps(run, frame, expected, draw, kind, places)
    if kind in SHOWN:
        draw = partial(deviation_map, column=value, show=SHOWN[kind])
        return drawings.maps(run, frame, expected, draw, f"{kind}-{value}", places)
    return drawings.heatmaps(run, frame, expected, value, f"{kind}-{value}", seeds=seeds, given=places)


def _refuse_unused(kind: str, value: str | None, places: Mapping[str, str | None], seeds: str) -> None:
    """Errors: PlotError for options that the kind of figure has no use for."""
    given = [name for name, key in places.items() if key] + ["value"] * (value is not None)
    if wrong := [name for name in given if name not in USES[kind]]:
        raise PlotError(f"{kind} take no {', '.join(wrong)}; keep values with --where.")
    if kind in SEEDS and seeds != "median":
        raise PlotError(f"{kind} show {SEEDS[kind]}, so seeds = {seeds!r} has no place in them.")


def _table(run: Run, kind: str) -> pd.DataFrame:
    """The table that a kind of figure draws from. Errors: RunFolderError, PlotError if the run has none."""
    name = "theory" if kind == "heatmap" and run.is_theory else TABLES.get(kind, "networks")
    frame = getattr(run, name)
    if frame is None:
        _ = run.networks  # a run with nothing finished says so
        raise PlotError(f"{run.path} has no {name} table: its sweep does not measure it.")
    return gradient_growth(frame) if kind == "gradients" else frame


def save(figure: Figure, folder: Path, name: str, fmt: str, file_name: str | None = None) -> Path:
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
