"""What a report shows of a table: its points by the keys that vary, and over seeds the median, the ends and theory."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from winit_jax.analysis.axes import is_log_spaced
from winit_jax.analysis.columns import LEARNT
from winit_jax.analysis.figures import places, style
from winit_jax.analysis.figures.catalog import GROWTH, kind_of
from winit_jax.analysis.figures.sources import columns_of, rows_of, shown
from winit_jax.analysis.reading import Tables
from winit_jax.analysis.statistics.cells import Cells, cells_of, medians
from winit_jax.analysis.statistics.deviations import standard_score
from winit_jax.analysis.statistics.seeds import after_training
from winit_jax.analysis.tables import (
    SCALES,
    SHAPES,
    follows_init,
    in_order,
    init_words,
    is_named,
    measured,
    number,
    of_last_site,
    tidy,
    untrained,
    varying,
)

# A page with more points than this would be too large and too slow; then values of its longest key are left out.
MOST_POINTS = 200_000
# So many stds or gains of the sweep's own are read as inits beside those that have one of their own.
MOST_SCALES = 8
PREDICTED = "theory_"
# What tells rows of one network apart.
PLACES = ("layer", "step")


@dataclass(frozen=True)
class Key:
    """A key of a sheet. words: its values as they are read. numbers: the same as numbers, None of names. log: whether
    they are nearer to equal ratios than to equal steps."""

    name: str
    words: tuple[str, ...]
    numbers: tuple[float, ...] | None
    log: bool

    @property
    def label(self) -> str:
        return style.label(self.name)


@dataclass(frozen=True)
class Measured:
    """A column over seeds: median, least and greatest, [points]; None where these are the median, as of one seed.

    predicted: what mean field says, and z by how many standard errors the mean is beyond it, where there is a
    prediction, and seeds enough.
    """

    median: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    predicted: np.ndarray | None = None
    z: np.ndarray | None = None


@dataclass(frozen=True)
class Sheet:
    """Points of a table. codes: key -> [points], places in the key's values. overflow: [points], whether any of the
    networks of a point is not finite; of what was learnt, whether most of them diverged. seeds: the most of a point.
    x, y: the keys of a map unless told otherwise. left_out: what is not shown, in words. frame: the tidy rows, or
    points, that it was made of."""

    name: str
    keys: tuple[Key, ...]
    codes: dict[str, np.ndarray]
    columns: dict[str, Measured]
    overflow: np.ndarray
    seeds: int
    x: str = ""
    y: str = ""
    held: str = ""
    left_out: str = ""
    frame: pd.DataFrame | None = None


def maps(run: Tables) -> list[Sheet]:
    """The sheets of maps: networks at the last layer, how gradients grow, and what was learnt. None that are empty."""
    heatmap = kind_of("heatmap")
    there = columns_of(run, heatmap)
    plain = [name for name in there if name not in LEARNT and not name.startswith(PREDICTED)]
    if run.is_theory:
        plain = list(there)
    sheets = [_map(run, "networks", rows_of(run, heatmap, [*plain, *_theories(plain, there)]), plain)]
    gradients = kind_of("gradients")
    if columns_of(run, gradients):
        growths = [GROWTH, "log10_weight_grad_growth"]
        sheets.append(_map(run, "gradients", rows_of(run, gradients, growths), growths))
    learnt = [name for name in there if name in LEARNT]
    if learnt:
        sheets.append(_map(run, "learnt", rows_of(run, heatmap, learnt), learnt))
    return [sheet for sheet in sheets if sheet is not None]


def profiles(run: Tables) -> list[Sheet]:
    """The sheets of layers: what was measured at each, and gradients at each."""
    sheets = []
    for table in ("layers", "gradients"):
        if len(run.stored(table)) and (frame := run._table(table)) is not None:
            frame = _joined(tidy(of_last_site(untrained(frame))))
            columns = _numbers(frame)
            sheets.append(_sheet(table, frame, [*_varying(frame), *_depth(frame), "layer"], columns))
    return sheets


def curves(run: Tables) -> Sheet | None:
    """Losses and accuracies against the step."""
    frame = run.training
    if frame is None:
        return None
    frame = _joined(tidy(frame))
    return _sheet("training", frame, [*_varying(frame), "step"], [*_numbers(frame)])


def _map(run: Tables, name: str, frame: pd.DataFrame | None, columns: Sequence[str]) -> Sheet | None:
    """A sheet with the two keys that a heatmap would choose."""
    if frame is None or frame.empty:
        return None
    frame = _joined(tidy(frame))
    chosen = places.on_a_map(frame, {}, run.expected)
    keys = [key for key in dict.fromkeys([*chosen.shown, *chosen.left]) if key and key != "seed"]
    there = [column for column in columns if measured(frame, column)]
    if not there or not keys:
        return None
    x = chosen.x if chosen.x in keys else keys[0]
    y = chosen.y if chosen.y in keys and chosen.y != x else ""
    return _sheet(name, frame, keys, there, x or "", y or "")


def _sheet(
    name: str, frame: pd.DataFrame, keys: Sequence[str], columns: Sequence[str], x: str = "", y: str = ""
) -> Sheet:
    """The points of a tidy frame."""
    held = style.held(frame, keys)
    frame, left_out = _thinned(frame, keys)
    cells = cells_of(frame, keys, (*columns, *_theories(columns, _known(frame)), "nonfinite", "diverged_at"))
    known = [_key(frame, key) for key in keys]
    codes = {key.name: _codes(cells.keys[key.name], frame, key.name) for key in known}
    numbers = {column: _measured(cells, column) for column in columns}
    gone = "diverged_at" in cells.rows and any(column in LEARNT for column in columns)
    broken = cells.rows["diverged_at"].notna() if gone else cells.rows.get("nonfinite", pd.Series(dtype=float)) > 0
    share = cells.count(broken.to_numpy()) / cells.count() if len(broken) else np.zeros(len(cells.keys))
    overflow = share > (0.5 if gone else 0)
    seeds = int(cells.count().max(initial=1))
    return Sheet(name, tuple(known), codes, numbers, overflow, seeds, x, y, held, left_out, frame)


def _measured(cells: Cells, column: str) -> Measured:
    """A column of the rows of cells, put together over seeds."""
    rows = cells.rows
    numbers = after_training(rows, column) if column in LEARNT and "diverged_at" in rows else rows[column].astype(float)
    groups = numbers.groupby(cells.of, observed=False)
    median, ends = medians(numbers, cells), [groups.agg(how).to_numpy(float) for how in ("min", "max")]
    alone = all(np.array_equal(median, end, equal_nan=True) for end in ends)
    low, high = (None, None) if alone else ends
    theory = PREDICTED + column
    if theory not in rows or not np.isfinite(rows[theory]).any():
        return Measured(median, low, high)
    known = rows[theory].where(np.isfinite(rows[theory])).groupby(cells.of, observed=False).mean().to_numpy()
    finite = numbers.where(np.isfinite(numbers)).groupby(cells.of, observed=False).agg(["mean", "std", "count"])
    mean, spread, seeds = (finite[name].to_numpy() for name in ("mean", "std", "count"))
    score = standard_score(mean, spread, seeds, known)
    return Measured(median, low, high, known, None if np.isnan(score).all() else score)


def _theories(columns: Sequence[str], there: Sequence[str]) -> list[str]:
    return [PREDICTED + column for column in columns if PREDICTED + column in there]


def _known(frame: pd.DataFrame) -> list[str]:
    behind = frame.attrs.get("rows")
    return [*frame, *(behind.numbers if behind is not None else ())]


def _joined(frame: pd.DataFrame) -> pd.DataFrame:
    """Inits with their scales as one key, where inits of a scale of their own stand beside a few of the sweep's."""
    scale = frame.attrs.get("scale_axis") or "std"
    inits = frame[["init", *(name for name in SCALES if name in frame)]].drop_duplicates()
    own = ~inits["init"].isin(SHAPES)
    if not own.any() or own.all() or len(inits[~own]) > MOST_SCALES:
        return frame
    words = init_words(inits.reset_index(drop=True))
    names = inits.assign(words=words.to_numpy()).sort_values(["init", scale])["words"]
    joined = init_words(frame).astype(pd.CategoricalDtype(list(dict.fromkeys(names))))
    told = frame.assign(init=joined).drop(columns=[name for name in SCALES if name in frame])
    told.attrs = frame.attrs
    return told


def _varying(frame: pd.DataFrame) -> list[str]:
    keys = [key for key in varying(frame) if key != "seed"]
    return [key for key in keys if key not in SCALES] if "init" in keys and follows_init(frame) else keys


def _depth(frame: pd.DataFrame) -> list[str]:
    """The depth, unless it varies anyway: a page looks for the layers of a network of some depth."""
    return [] if "depth" in varying(frame) else ["depth"]


def _numbers(frame: pd.DataFrame) -> list[str]:
    """The measured columns of a table with a number in them."""
    names = [name for name in shown([str(name) for name in frame]) if not name.startswith(PREDICTED)]
    return [name for name in names if frame[name].dtype.kind in "fiub" and measured(frame, name)]


def _key(frame: pd.DataFrame, name: str) -> Key:
    values = _values(frame, name)
    if name not in PLACES and is_named(frame, name):
        return Key(name, tuple(map(str, values)), None, False)
    numbers = tuple(map(float, values))
    return Key(name, tuple(_distinct(values)), numbers, len(numbers) > 2 and is_log_spaced(np.array(numbers)))


def _distinct(values: Sequence[Any]) -> list[str]:
    """Values as words with so many digits that no two of them read the same."""
    words = [number(value) for value in values]
    for digits in range(4, 18):
        if len({*words}) == len(words):
            break
        words = [f"{value:.{digits}g}" for value in values]
    return words


def _codes(values: pd.Series, frame: pd.DataFrame, name: str) -> np.ndarray:
    """The place of each value in the key's order: [points]."""
    found: np.ndarray = pd.Index(_values(frame, name)).get_indexer(pd.Index(values))
    return found


def _values(frame: pd.DataFrame, name: str) -> list[Any]:
    return in_order(frame, name) if name not in PLACES else sorted(frame[name].unique().tolist())


def _thinned(frame: pd.DataFrame, keys: Sequence[str]) -> tuple[pd.DataFrame, str]:
    """The frame with so few values of its longest key that its points fit a page, and words for what was left out."""
    points = len(frame[list(keys)].drop_duplicates()) if "rows" not in frame.attrs else len(frame)
    if points <= MOST_POINTS:
        return frame, ""
    longest = max((key for key in keys if not is_named(frame, key)), key=lambda key: frame[key].nunique(), default=None)
    if longest is None:
        return frame, ""
    values = sorted(frame[longest].unique())
    stride = int(np.ceil(points / MOST_POINTS))
    kept = values[::stride]
    part = frame[frame[longest].isin(kept)]
    part.attrs = frame.attrs
    return part, f"{len(kept)} of {len(values)} values of {longest}"


def bins(run: Tables) -> Sheet | None:
    """How many activations of all seeds together are in each bin of each layer: the column `count`.

    The key `bin` has the lower edges, and the last upper one; what lies outside the bins is in `below`, `above` and
    `not finite`.
    """
    frame = run.histograms
    if frame is None:
        return None
    frame = _joined(tidy(of_last_site(untrained(frame))))
    inside = np.isfinite(frame["bin_low"]) & np.isfinite(frame["bin_high"])
    if not inside.any():
        return None
    edges = np.append(np.sort(frame.loc[inside, "bin_low"].unique()), frame.loc[inside, "bin_high"].max())
    outside = np.where(np.isneginf(frame["bin_low"]), len(edges), len(edges) + 1)
    outside = np.where(frame["bin_low"].isna(), len(edges) + 2, outside)
    place = np.where(inside, np.searchsorted(edges, frame["bin_low"].where(inside, 0.0)), outside)
    keys = [*_varying(frame), *_depth(frame), "layer"]
    summed = frame.assign(bin=place).groupby([*keys, "bin"], observed=True)["count"].sum().reset_index()
    summed.attrs = frame.attrs
    codes = {key: _codes(summed[key], frame, key) for key in keys} | {"bin": summed["bin"].to_numpy()}
    words = (*(f"{edge:.4g}" for edge in edges), "below", "above", "not finite")
    known = [*(_key(frame, key) for key in keys), Key("bin", words, tuple(map(float, edges)), False)]
    count = summed["count"].to_numpy(float)
    nothing = np.zeros(len(count), bool)
    return Sheet("histograms", tuple(known), codes, {"count": Measured(count)}, nothing, 1)
