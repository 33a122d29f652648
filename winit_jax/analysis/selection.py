"""Which rows of a table go into which figure: conditions, and one figure for each value of a key without a place."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.compute as pc

from winit_jax.analysis.reading import Tables
from winit_jax.analysis.tables import KEYS, NAMES, SCALES, SHAPES, Expected, follows_init, in_order
from winit_jax.analysis.tables import word as written
from winit_jax.errors import WinitError
from winit_jax.spec.aliases import nearest, resolve

# A file name says this much of what was kept, and then a digest of all of it.
MOST_SUFFIX = 80


# Key -> the values to keep, one or several, as words or as they are.
Where = Mapping[str, Any]


class PlotError(WinitError):
    """One sentence about a figure that cannot be drawn as asked."""


def known(what: str, word: str, words: Iterable[str]) -> None:
    """Errors: PlotError with the nearest right word if the word is not one of them."""
    names = list(words)
    if word not in names:
        near = nearest(word, names)
        guess = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
        raise PlotError(f"{what}: {word!r} is not known.{guess} Known: {', '.join(names)}.")


def named(where: Where | None) -> dict[str, list[str]]:
    """Conditions with the keys that tables have, which may have been given other names, and their values as words."""
    conditions: dict[str, list[str]] = {}
    for name, values in (where or {}).items():
        words = [values] if isinstance(values, str | int | float) else values
        conditions.setdefault(resolve("axis", name, KEYS), []).extend(map(str, words))
    return conditions


def keep(frame: pd.DataFrame, where: Where) -> pd.DataFrame:
    """The rows whose keys have one of the values given; numbers to within 0.5%.

    Errors: PlotError for unknown keys and values, and if no row is left.
    """
    conditions = named(where)
    for key, words in conditions.items():
        known("where", key, [name for name in KEYS if name in frame])
        frame = _keep_names(frame, key, words) if key in NAMES else _keep_scales(frame, key, words)
    if frame.empty:
        shown = " ".join(f"{key}={','.join(words)}" for key, words in conditions.items())
        raise PlotError(f"where {shown}: no network has all of these.")
    return frame


def _keep_names(frame: pd.DataFrame, key: str, words: Sequence[str]) -> pd.DataFrame:
    there = list(frame[key].astype("category").cat.categories)
    names = [resolve(key, word, there) for word in words]
    for name in names:
        known(f"where {key}", name, there)
    return frame[frame[key].isin(names)]


def _keep_scales(frame: pd.DataFrame, key: str, words: Sequence[str]) -> pd.DataFrame:
    """The rows with one of these numbers, or of these formulas as they are written."""
    rule = f"{key}_rule"
    formulas = set(frame[rule].dropna()) if rule in frame else set()
    chosen = [word for word in words if word in formulas]
    if not chosen:
        return _keep_numbers(frame[frame[rule].isna()] if formulas else frame, key, words)
    numbers = [word for word in words if word not in formulas]
    by_rule = frame[frame[rule].isin(chosen)]
    return pd.concat([_keep_numbers(frame[frame[rule].isna()], key, numbers), by_rule]) if numbers else by_rule


def _keep_numbers(frame: pd.DataFrame, key: str, words: Sequence[str]) -> pd.DataFrame:
    mask = np.zeros(len(frame), bool)
    values = frame[key].unique().astype(float)
    for word in words:
        try:
            wanted = float(word)
        except ValueError:
            raise PlotError(f"where {key}: {word!r} is not a number.") from None
        if not values.size:
            continue
        nearest = values[np.argmin(np.abs(values - wanted))]
        if not abs(nearest - wanted) <= 5e-3 * abs(wanted):
            raise PlotError(f"where {key}: {word} is not there; the nearest is {nearest:.6g}.")
        mask |= (frame[key] == nearest).to_numpy()
    return frame[mask]


def pushed(run: Tables, table: str, where: Where) -> pc.Expression | None:
    """Which rows have one of these values, for the reader of the files, which skips those that cannot have any.

    They are not fewer than those that `keep` keeps: it says what is wrong with a condition, and keeps what is asked for
    where keys depend on each other. None if nothing can be left out.
    """
    conditions = {key: words for key, words in named(where).items() if key in run.stored(table).names}
    if not conditions:
        return None
    keys = [*conditions, *(f"{key}_rule" for key in conditions)]
    there = run.points(table, keys=keys, apart=True)
    if there is None:
        return None
    conditions = {key: words for key, words in conditions.items() if there[key].notna().any()}
    try:
        there = keep(there, conditions)
    except PlotError:
        return None
    only = None
    for key in conditions:
        values = there[key].unique()
        if pd.isna(values).any():
            continue
        condition = pc.field(key).isin(list(values) if key in NAMES else values.tolist())
        only = condition if only is None else only & condition
    return only


@dataclass(frozen=True, repr=False)
class Kept(Tables):
    """A run of which only some rows are shown. where: as of `keep`."""

    where: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @cached_property
    def expected(self) -> dict[str, list[Any]]:
        """What was kept is all that was asked for of its keys."""
        frame = self.networks_kept
        return super().expected | {key: in_order(frame, key) for key in self.where}

    @cached_property
    def networks_kept(self) -> pd.DataFrame:
        """The points that were kept, as of `points`, of the run's networks or predictions."""
        frame = self.points("theory" if self.is_theory else "networks", apart="seed" in self.where)
        return self.networks if frame is None else frame

    def points(
        self,
        table: str,
        numbers: Sequence[str] = (),
        *,
        keys: Sequence[str] | None = None,
        apart: bool = False,
        only: pc.Expression | None = None,
    ) -> pd.DataFrame | None:
        if keys is not None:
            return super().points(table, numbers, keys=keys, apart=apart, only=only)
        only = pushed(self, table, self.where)
        return self._kept(table, super().points(table, numbers, apart=apart or "seed" in self.where, only=only))

    def _table(
        self, name: str, columns: list[str] | None = None, only: pc.Expression | None = None
    ) -> pd.DataFrame | None:
        if name != "mean_field":
            only = pushed(self, name, self.where)
        return self._kept(name, super()._table(name, columns, only))

    def _kept(self, name: str, frame: pd.DataFrame | None) -> pd.DataFrame | None:
        """The rows of a table, or its points, that were kept."""
        if frame is None or name == "mean_field":  # lines, which are drawn where there are panels for them
            return frame
        if name in ("networks", "theory"):
            return keep(frame, self.where)
        # Networks before training are told once for all learning rates, and layers of the deepest alone.
        there = {key: words for key, words in self.where.items() if key in frame and frame[key].notna().any()}
        try:
            return keep(frame, there)
        except PlotError:
            return None


def kept(run: Tables, where: Where) -> Kept:
    """The same run with only the rows that have these values."""
    return Kept(run.path, run.sweep, run.info, run.owner, named(where))


def kept_words(frame: pd.DataFrame, where: Mapping[str, Sequence[str]]) -> str:
    """What was kept in a frame, for a file name: -activation-tanh+relu; cut where it is long."""
    words = "".join(f"-{key}-{'+'.join(written(value) for value in in_order(frame, key))}" for key in where)
    if len(words) <= MOST_SUFFIX:
        return words
    return f"{words[: MOST_SUFFIX - 9]}-{hashlib.sha256(words.encode()).hexdigest()[:8]}"


def cut(frame: pd.DataFrame, keys: Iterable[str]) -> dict[str, pd.DataFrame]:
    """The frame cut by the values of keys, by file suffix: -width-100."""
    keys = list(keys)
    if not keys:
        return {"": frame}
    parts = {}
    for values, part in frame.groupby(keys, observed=True):
        part.attrs = frame.attrs
        parts["".join(f"-{key}-{written(value)}" for key, value in zip(keys, values, strict=True))] = part
    return parts


def by_kind_of_init(frame: pd.DataFrame, expected: Expected) -> dict[str, tuple[pd.DataFrame, Expected]]:
    """(rows, points asked for) by file suffix: shapes that an axis scales, and schemes that are one point each.

    They are different pictures: along a scale axis a scheme would be one cell, and the rest never asked for.
    """
    inits = in_order(frame, "init", expected)
    kinds = {"": [i for i in inits if i in SHAPES], "-schemes": [i for i in inits if i not in SHAPES]}
    swept = not follows_init(frame) or any(len(expected.get(key, ())) > 1 for key in SCALES)
    if not swept or not all(kinds.values()):
        return {"": (frame, expected)}
    parts: dict[str, tuple[pd.DataFrame, Expected]] = {}
    for suffix, names in kinds.items():
        part = frame[frame["init"].isin(names)]
        asked = {key: v for key, v in expected.items() if not (suffix and key in SCALES)}
        if len(part):
            parts[suffix] = (part, asked | {"init": names})
    return parts
