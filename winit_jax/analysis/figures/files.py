"""Figures of a run folder as files: what the command line draws."""

import itertools
import math
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from winit_jax.analysis.figures import settings as wanting
from winit_jax.analysis.figures import style
from winit_jax.analysis.figures.catalog import KINDS, NAMES, kind_of
from winit_jax.analysis.figures.drawings import Request, drawn, refuse_unused, requested, showing, standard
from winit_jax.analysis.reading import NoRoom, Tables, read_folder
from winit_jax.analysis.selection import PlotError, Where, kept, kept_words, known, named
from winit_jax.analysis.statistics.seeds import AGGREGATES
from winit_jax.analysis.tables import KEYS
from winit_jax.store.probe_folder import is_probe
from winit_jax.system import disk

FORMATS = ("png", "svg", "pdf")
COLORED = tuple(kind.name for kind in KINDS if kind.colored)
MAX_FILES = 24
MAX_STANDARD = 6


def warn(message: str) -> None:
    """A warning of the code that asked for figures."""
    warnings.warn(message, stacklevel=3)


def standard_figures(
    run_dir: str | Path,
    formats: Sequence[str] = ("png",),
    report: Callable[[str], None] = warn,
    *,
    where: Where | None = None,
    out: str | Path | None = None,
) -> list[Path]:
    """Draw the standard figures into run_dir/figures, or the folder `out`; the paths of the files.

    Those are what `catalog` says: heatmaps of signals and saturation, and of what was measured: training curves,
    trainability, Jacobians, gradients, histograms, profiles and singular values; a run at infinite width has heatmaps
    of its predictions. Keys that have no place in a figure make a file for each of their values, at most MAX_STANDARD
    of a kind.
    where: as of `plot`. report: told, in a sentence, of figures left out.
    Errors: RunFolderError, PlotError.
    """
    for fmt in formats:
        known("format", fmt, FORMATS)
    return draw_standard(read_folder(run_dir, Tables), formats, report, where=where, out=out)


def draw_standard(
    run: Tables,
    formats: Sequence[str] = ("png",),
    report: Callable[[str], None] = warn,
    *,
    where: Where | None = None,
    out: str | Path | None = None,
    drew: Callable[[Path], None] = lambda path: None,
    turns: Iterator[int] | None = None,
    tells: bool = True,
) -> list[Path]:
    """The same of a run that was read.

    drew: told of each file once it is there. turns: which figures to draw, by increasing number, where several
    processes draw side by side; all without. tells: whether what is left out for its number is reported.
    """
    for fmt in formats:
        known("format", fmt, FORMATS)
    suffix, conditions = "", named(where)
    if conditions:
        run = kept_run = kept(run, conditions)
        suffix = kept_words(kept_run.networks_kept, conditions)
    folder = Path(out or run.path / "figures")
    paths: list[Path] = []
    turns = itertools.count() if turns is None else turns
    numbers, mine = itertools.count(), -1.0
    for drawings in standard(run, report if tells else lambda sentence: None):
        names = list(drawings)
        if len(names) > MAX_STANDARD and tells:
            report(
                f"Drew {MAX_STANDARD} of {len(names)} figures {names[0]}, {names[1]}, ...; "
                "choose others with `winit plot` and --where."
            )
        for name in names[:MAX_STANDARD]:
            if (at := next(numbers)) > mine:  # the last one of its own is drawn
                mine = next(turns, math.inf)
            if at != mine:
                continue
            try:
                figure = drawings[name]()
            except (ValueError, NoRoom) as error:
                report(f"No figure {name}: {error}")
                continue
            for fmt in formats:
                paths.append(save(figure, folder, name + suffix, fmt))
                drew(paths[-1])
    return paths


def plot(
    run_dir: str | Path,
    kind: str | None = None,
    *,
    value: str | None = None,
    x: str | None = None,
    y: str | None = None,
    hue: str | None = None,
    row: str | None = None,
    col: str | None = None,
    seeds: str | None = None,
    where: Where | None = None,
    fmt: str | None = None,
    out: str | Path | None = None,
    report: Callable[[str], None] = warn,
    **look: Any,
) -> list[Path]:
    """Draw one kind of figure of a run; a file for each value of keys that have no place in it. The paths of the files.

    kind: a name of `catalog.KINDS`; without it, the kind that shows `value`, a heatmap where only places or seeds are
    given, and else the standard figures. seeds: how they are put together, the median unless told. where: key -> the
    values to keep, as words; file names say them. fmt: one of FORMATS, png unless `out` says otherwise. out: a file for
    a single figure (its ending is the format), or a folder. look: style, title, size, dpi, cmap, vmin and vmax, as of
    `settings.Settings`.
    Each figure has its caption beside it, in a file of its name with the ending .txt.
    Errors: RunFolderError, PlotError with a sentence for each option that cannot be.
    """
    places = {"x": x, "y": y, "hue": hue, "row": row, "col": col}
    settings = _checked(Path(run_dir), kind, value, places, seeds, where, fmt, out, look)
    with wanting.holding(settings):
        return _plot(run_dir, kind, Request(value, places, seeds, where or {}), fmt, out, report)


def _checked(
    path: Path,
    kind: str | None,
    value: str | None,
    places: Mapping[str, str | None],
    seeds: str | None,
    where: Where | None,
    fmt: str | None,
    out: str | Path | None,
    look: Mapping[str, Any],
) -> wanting.Settings:
    """How the figure is wanted. Errors: PlotError with a sentence for each option that no table is needed to refuse."""
    settings = wanting.of_words(**look)
    probed = is_probe(path)
    colored = kind == "heatmap" if probed else (kind is None and value is not None) or kind in COLORED
    found = wanting.problems(settings, colored, kind)

    def sees(check: Callable[[], object]) -> None:
        try:
            check()
        except PlotError as error:
            found.append(str(error))

    sees(lambda: _target(out, fmt))
    if not probed:
        sees(lambda: named(where))
        if seeds is not None:
            sees(lambda: known("seeds", seeds, AGGREGATES))
        for place, key in places.items():
            if key:
                sees(partial(known, place, key, (*KEYS, "site")))
        if kind is not None:
            sees(lambda: known("kind", kind, NAMES))
    if kind in NAMES and not probed:
        sees(lambda: refuse_unused(kind_of(str(kind)), Request(value, places, seeds)))
    if found:
        raise PlotError("\n".join(found))
    return settings


def _plot(
    run_dir: str | Path,
    kind: str | None,
    request: Request,
    fmt: str | None,
    out: str | Path | None,
    report: Callable[[str], None],
) -> list[Path]:
    """The same with settings that hold, and what is asked of the kind in one."""
    folder, file, fmt = _target(out, fmt)
    value, where = request.value, request.where
    if is_probe(Path(run_dir)):
        if request.filled or request.seeds:
            raise PlotError("Figures of a probe have sites along x and a factor beside it, and no other keys.")
        return draw_probe(Path(run_dir), kind, value, where, folder, file, fmt)
    request = replace(request, where=named(where))
    if kind is None and value is None and request.seeds in (None, KINDS[0].seeds) and not request.filled:
        if file is not None:
            raise PlotError(f"--out names one file, and the standard figures are several: name a kind, as {NAMES[0]}.")
        return standard_figures(run_dir, (fmt,), report, where=where, out=folder)
    run = read_folder(run_dir, Tables)
    figures, frame = requested(run, kind or showing(run, value), request)
    if file is not None and len(figures) > 1:
        raise PlotError(f"--out names one file, and this makes {len(figures)}: keep single values with --where.")
    if len(figures) > MAX_FILES:
        raise PlotError(f"This would make {len(figures)} figures, more than {MAX_FILES}: keep fewer with --where.")
    if file is not None:
        return [save(drawn(draw), file.parent, file.stem, fmt, file_name=file.name) for draw in figures.values()]
    suffix = kept_words(frame, request.where)
    return [save(drawn(draw), folder or run.path / "figures", name + suffix, fmt) for name, draw in figures.items()]


def draw_probe(
    path: Path,
    kind: str | None = None,
    value: str | None = None,
    where: Where | None = None,
    folder: Path | None = None,
    file: Path | None = None,
    fmt: str = FORMATS[0],
) -> list[Path]:
    """Figures of a probe's folder, those that belong to every probe unless a kind or a value is given; their paths."""
    from winit_jax.analysis.probed import load_probe

    figures = load_probe(path).figures(kind, value, where)
    if file is not None:
        if len(figures) > 1:
            raise PlotError(f"--out names one file, and these are {len(figures)}: name a kind, as profile.")
        return [save(drawn(draw), file.parent, file.stem, fmt, file_name=file.name) for draw in figures.values()]
    words = {key: [of] if isinstance(of, str) else list(of) for key, of in (where or {}).items()}
    suffix = "".join(f"-{key}-{'+'.join(map(str, of))}" for key, of in words.items())
    return [save(drawn(draw), folder or path / "figures", name + suffix, fmt) for name, draw in figures.items()]


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


def _lay_out(figure: Figure) -> None:
    """Place the parts of a figure as saving it would, which draws all of it once more for that, to the same pixels."""
    engine = figure.get_layout_engine()
    if engine is not None:
        figure.set_dpi(getattr(figure, "settings", wanting.USUAL).dots)
        engine.execute(figure)
        figure.set_layout_engine(None)


def save(figure: Figure, folder: Path, name: str, fmt: str, file_name: str | None = None) -> Path:
    """Write a figure whole or not at all, and its caption beside it; the path of the figure.

    Errors: PlotError if the folder cannot be written.
    """
    plain = f"{re.sub(r'[^A-Za-z0-9._+-]+', '-', name).strip('-')}.{fmt}"
    path = folder / (file_name or plain)
    try:
        with disk.taking_the_place_of(path) as staged, style.themed():
            if fmt == "png":
                _lay_out(figure)
            figure.savefig(staged, format=fmt)
        if caption := getattr(figure, "caption", ""):
            beside = path.with_suffix(".txt")
            if file_name and _is_of_another(beside, caption):
                warn(f"{beside} is no caption of this figure, and was left as it is.")
            else:
                with disk.taking_the_place_of(beside) as staged:
                    staged.write_text(f"{caption}\n", encoding="utf-8")
    except OSError as error:
        raise PlotError(f"{path} cannot be written: {error.strerror or error}.") from error
    return path


def _is_of_another(path: Path, caption: str) -> bool:
    """Whether a file is there that does not begin as a caption does."""
    try:
        return path.read_text(encoding="utf-8").partition("\n")[0] != caption.partition("\n")[0]
    except FileNotFoundError:
        return False
    except ValueError:
        return True
