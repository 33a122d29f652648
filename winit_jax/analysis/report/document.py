"""The page of a run: its data, its figures and what is said of them, put together as one file of HTML.

Bokeh draws: its library of 1.3 MB is inlined, which leaves room for tables in a file of 5 MB (Plotly's has 4.8 MB), and
it draws a map as one image, so that 10^5 cells are turned in milliseconds (Vega draws each cell as a mark of its own).
"""

import base64
import hashlib
import html
import json
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.colors import LogNorm, Normalize, SymLogNorm, to_hex

from winit_jax.analysis import summary
from winit_jax.analysis.columns import GROWTHS, LEARNT
from winit_jax.analysis.figures import style
from winit_jax.analysis.figures.mesh import INFINITE
from winit_jax.analysis.figures.places import of_training
from winit_jax.analysis.reading import NoRoom, Tables
from winit_jax.analysis.report import figures, sheets
from winit_jax.analysis.report.facts import facts, failures
from winit_jax.analysis.report.packing import pack
from winit_jax.analysis.report.sheets import Measured, Sheet
from winit_jax.analysis.report.theory_lines import speaks_of, theory_lines
from winit_jax.analysis.selection import PlotError
from winit_jax.system import disk

NAME = "report.html"
# Bytes of tables that a page may have beside the library that draws them: together with it less than 5 MB.
ROOM = 3_500_000
SCRIPTS = ("data.js", "scales.js", "map.js", "network.js", "training.js", "main.js")
FIRST = "log10_act_rms"
LIVE = "live.js"
COLORS = ("vlag", "viridis", "rocket_r", "mako_r")


def write(run: Tables, out: str | Path | None = None) -> Path:
    """Write the report of a run as one file of HTML, by default `report.html` in its folder; its path.

    out: a file, or a folder that the file is put into. Errors: RunFolderError; PlotError where there is nothing to
    show or the file cannot be written.
    """
    path = Path(out) if out is not None else run.path / NAME
    path = path / NAME if path.is_dir() else path
    text = page(run)
    try:
        with disk.taking_the_place_of(path) as staged:
            staged.write_text(text, "utf-8")
    except OSError as error:
        raise PlotError(f"{path} cannot be written: {error.strerror or error}.") from error
    return path


def page(run: Tables, stamp: str | None = None) -> str:
    """The report as HTML. stamp: of a page that is served, which loads anew when the run has another one.

    Errors: RunFolderError; PlotError where the run has no networks.
    """
    maps = sheets.maps(run)
    if not maps:
        raise PlotError(f"{run.path} has no two values of anything to compare; see its tables.")
    chosen = _Chosen(ROOM)
    curves, bins = (chosen.told(read, run) for read in (sheets.curves, sheets.bins))
    shown = {
        "maps": [kept for sheet in maps if (kept := chosen.add(sheet, run.mean_field))],
        "profiles": [kept for sheet in chosen.told(sheets.profiles, run) or () if (kept := chosen.add(sheet))],
        "curves": chosen.add(curves) if curves else None,
        "histograms": chosen.add(bins) if bins else None,
    }
    drawn = figures.items(shown["profiles"] != [], shown["histograms"] is not None, shown["curves"] is not None)
    data = {
        **shown,
        "first": next(name for name in (FIRST, *maps[0].columns) if name in maps[0].columns),
        "hue": _hue(curves),
        "palettes": {name: _palette(name) for name in COLORS},
        "lineColors": figures.LINES,
        "figures": drawn,
        "names": figures.NAMES,
    }
    scripts = [figures.library(), *((files(__package__) / "page" / name).read_text("utf-8") for name in SCRIPTS)]
    if stamp is not None:
        scripts.append((files(__package__) / "page" / LIVE).read_text("utf-8"))
    counted, version = summary.counts(run), run.info.get("versions", {}).get("winit-jax", "")
    return _rendered(
        title=run.title or run.path.name,
        subtitle=f"{_counted(run)}, winit-jax {version}",
        version=version,
        stamp=stamp,
        found=summary.found(run),
        has_profile=bool(shown["profiles"]),
        has_histogram=shown["histograms"] is not None,
        has_curves=shown["curves"] is not None,
        **_of_regimes(counted),
        facts=facts(run),
        failures=failures(run),
        sweep=(run.path / "sweep.toml").read_text("utf-8"),
        left_out=chosen.left_out,
        data=data,
        scripts=scripts,
    )


def index(title: str, *, sentences: Sequence[str] = (), runs: Sequence[Any] = (), refresh: int | None = None) -> str:
    """A page of a few sentences, or of runs to choose from. refresh: seconds until it loads anew."""
    words = {"title": title, "sentences": sentences, "runs": runs, "refresh": refresh}
    return _environment().get_template("index.html").render(style=_style(), **words)


class _Chosen:
    """The sheets that fit into the page, in the order in which they are added; the rest is named."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.left_out: list[str] = []

    def told(self, read: Callable[[Tables], Any], run: Tables) -> Any:
        """What is read of a run; None where its table has no room in memory, which is named."""
        try:
            return read(run)
        except NoRoom as error:
            self.left_out.append(str(error))
            return None

    def add(self, sheet: Sheet, mean_field: pd.DataFrame | None = None) -> dict[str, Any] | None:
        """A sheet as JSON with as many of its columns as fit; None where not one does. mean_field: of maps."""
        described, missing = _described(sheet, mean_field), []
        self.room -= len(json.dumps(described, default=_plain))
        for name, measured in sheet.columns.items():
            column = _column(name, measured)
            size = len(json.dumps(column))
            if size > self.room:
                missing.append(name)
                continue
            self.room -= size
            described["columns"][name] = column
        if sheet.left_out:
            self.left_out.append(f"Of {sheet.name}, {sheet.left_out} are shown.")
        if missing:
            self.left_out.append(f"{', '.join(missing)} of {sheet.name}, for the size of this file: see `winit plot`.")
        return described if described["columns"] else None


def _hue(curves: Sheet | None) -> str:
    """The key whose values are lines of training, as figures choose it."""
    if curves is None:
        return ""
    assert curves.frame is not None
    names = [key.name for key in curves.keys if key.name != "step"]
    chosen = of_training(curves.frame, {}).hue
    return chosen if chosen in names else next(iter(names), "")


def _of_regimes(counted: pd.DataFrame) -> dict[str, Any]:
    """The table of regimes: a row an activation and init, a column each regime that some network is in."""
    if not len(counted):
        return {"regimes": [], "regime_names": []}
    wide = counted.pivot_table(index=["activation", "init"], columns="regime", values="networks", observed=True)
    there = [str(name) for name in wide if wide[name].any()]
    return {"regimes": wide.astype(int).reset_index().to_dict("records"), "regime_names": there}


def _described(sheet: Sheet, mean_field: pd.DataFrame | None) -> dict[str, Any]:
    """A sheet as JSON without its columns, with mean field's lines."""
    return {
        "name": sheet.name,
        "keys": [
            {"name": key.name, "label": key.label, "words": key.words, "numbers": key.numbers, "log": key.log}
            for key in sheet.keys
        ],
        "codes": {name: pack(codes).to_json() for name, codes in sheet.codes.items()},
        "overflow": pack(sheet.overflow.astype(np.uint8)).to_json(),
        "columns": {},
        "lines": theory_lines(sheet, mean_field),
        "seeds": sheet.seeds,
        "x": sheet.x,
        "y": sheet.y,
        "at": _most_telling(sheet),
        "held": sheet.held,
    }


def _most_telling(sheet: Sheet) -> dict[str, int]:
    """A value of each key that is neither across nor up, as a code: those whose map of the first column varies most."""
    others = [key.name for key in sheet.keys if key.name not in (sheet.x, sheet.y)]
    if not others:
        return {}
    first = sheet.columns[FIRST if FIRST in sheet.columns else next(iter(sheet.columns))]
    frame = pd.DataFrame({name: sheet.codes[name] for name in others})
    bounded = np.clip(np.nan_to_num(first.median, posinf=0, neginf=0), -style.FLOAT32_LOG10, style.FLOAT32_LOG10)
    spreads = frame.assign(value=bounded).groupby(others)["value"].std().fillna(0.0)
    best = spreads.idxmax()
    return dict(zip(others, best if isinstance(best, tuple) else (best,), strict=True))


def _column(name: str, measured: Measured) -> dict[str, Any]:
    """A column as JSON. What does not differ from the median, as the ends of one seed, is left out."""
    arrays = {field: getattr(measured, field) for field in ("median", "low", "high", "predicted", "z")}
    return {
        "label": style.label(name),
        "learnt": name in LEARNT,
        "vanishes": name in (*GROWTHS, *style.GRADIENTS, "log10_grad_norm"),
        "infinite": INFINITE.get(name),
        "lines": speaks_of(name),
        "scale": _scale(name, measured.median),
        **{field: None if array is None else pack(array).to_json() for field, array in arrays.items()},
    }


def _scale(name: str, numbers: np.ndarray) -> dict[str, Any]:
    """Where the colors of a column begin and end, as figures have it."""
    norm, colors, _ = style.color_scale(name, numbers)
    kinds: list[tuple[type[Normalize], str]] = [(SymLogNorm, "symlog"), (LogNorm, "log"), (Normalize, "linear")]
    kind = next(word for of, word in kinds if isinstance(norm, of))
    scale = {"kind": kind, "low": norm.vmin, "high": norm.vmax, "palette": colors.name}
    if isinstance(norm, SymLogNorm):
        transform: Any = norm._scale._transform  # type: ignore[attr-defined]
        scale |= {"threshold": transform.linthresh, "linear": transform.linscale}
    return scale


def _palette(name: str) -> list[str]:
    colors = sns.color_palette(name, as_cmap=True)
    return [to_hex(colors(share)) for share in np.linspace(0, 1, 256)]


def _counted(run: Tables) -> str:
    rows = run.row_counts
    return f"{rows.get('networks', rows.get('theory', 0)):,} {'networks' if 'networks' in rows else 'predictions'}"


def _environment() -> Environment:
    loader = PackageLoader("winit_jax.analysis.report", "page")
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined)


def _style() -> Markup:
    return Markup((files(__package__) / "page" / "report.css").read_text("utf-8"))


def _rendered(data: dict[str, Any], scripts: Sequence[str], **words: Any) -> str:
    """The template with everything in it: words escaped, and scripts that the page's own rule allows by their hash."""
    texts = [script.replace("</script", "<\\/script") for script in scripts]
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii") for text in texts]
    inlined = json.dumps(data, separators=(",", ":"), default=_plain, allow_nan=False)
    return (
        _environment()
        .get_template("report.html")
        .render(
            data=Markup(inlined.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")),
            scripts=[Markup(text) for text in texts],
            style=_style(),
            sources=Markup(html.escape(" ".join(f"'sha256-{each}'" for each in hashes), quote=False)),
            **words,
        )
    )


def _plain(value: Any) -> Any:
    """Numbers of NumPy as Python's."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{value!r} has no place in a page.")
