"""What the rows of a table are: which keys vary, in which order their values come, and words for them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from winit_jax.columns import KEYS as NETWORK_KEYS
from winit_jax.columns import LEARNER_KEYS as KEYS
from winit_jax.columns import NAMES, OF_TRAINING, SHAPES

# Shapes are scaled by the std or gain axis; every other init fixes its own std and is one point of it.
SCALES = ("std", "gain")

# Key -> the values that a sweep asks for, done or not.
Expected = Mapping[str, Sequence[Any]]

__all__ = ["KEYS", "NAMES", "NETWORK_KEYS", "SCALES", "SHAPES", "Expected"]


def untrained(frame: pd.DataFrame) -> pd.DataFrame:
    """Each network once, whatever it was trained with: rows about networks before training."""
    if "learning_rate" not in frame or frame["learning_rate"].isna().all():
        return frame
    of_training = [key for key in OF_TRAINING if key in frame]
    return frame.drop_duplicates([key for key in NETWORK_KEYS if key in frame]).drop(columns=of_training)


def chance(frame: pd.DataFrame) -> float:
    """The accuracy of guessing: 1 over the classes of the run's data, ten where the frame does not say."""
    classes: int = frame.attrs.get("classes", 10)
    return 1 / classes


def measured(frame: pd.DataFrame, column: str) -> bool:
    """Whether a table has a column with a number in it."""
    return column in frame and bool(frame[column].notna().any())


def varying(frame: pd.DataFrame, expected: Expected | None = None) -> list[str]:
    """The key columns that take more than one value; of std and gain only the one that the sweep varies.

    expected: key -> values that the sweep asks for; they count although no row has them yet.
    Without attrs["scale_axis"] the scale is the one with fewer values, or gain where they are equal. A scale of skips
    that is each block's own does not vary beside the block, nor do biases that are each init's own beside the init.
    """
    asked = expected or {}
    keys = [key for key in KEYS if key in frame and (frame[key].nunique() > 1 or len(asked.get(key, ())) > 1)]
    if {"block", "skip_scale"} <= {*keys} and len(asked.get("skip_scale", ())) < 2 and _skip_follows_block(frame):
        keys.remove("skip_scale")
    for key in ("bias_std", "bias_init"):
        if key in keys and len(asked.get(key, ())) < 2 and _follows_init_and_width(frame, key):
            keys.remove(key)
    if "std" in keys and "gain" in keys:
        fewer = "std" if frame["std"].nunique() < frame["gain"].nunique() else "gain"
        swept = frame.attrs.get("scale_axis") or fewer
        keys.remove("gain" if swept == "std" else "std")
    return keys


def of_last_site(frame: pd.DataFrame, column: str | None = None) -> pd.DataFrame:
    """One stream a layer: of layers with several sites the last one at which the column is measured, beside the stem.

    column: None asks for the last site of all, behind which the next layer begins.
    """
    sites = sites_of(frame, column) or sites_of(frame)
    return frame[frame["site"].isna() | (frame["site"] == sites[-1])] if sites else frame


def at_each_site(frame: pd.DataFrame, column: str | None = None) -> pd.DataFrame:
    """The rows of every site at which the column is measured, each beside those that have none, as the stem has."""
    sites = sites_of(frame, column)
    alone = frame[frame["site"].isna()]
    parts = [pd.concat([alone.assign(site=site), frame[frame["site"] == site]]) for site in sites]
    told = pd.concat(parts, ignore_index=True)
    told["site"] = pd.Categorical(told["site"], sites)
    told.attrs = frame.attrs
    return told


def sites_of(frame: pd.DataFrame, column: str | None = None) -> list[str]:
    """The sites of a table, in the order of a layer; those at which the column is measured, if one is given."""
    if "site" not in frame:
        return []
    return [str(site) for site in in_order(frame if column is None else frame[frame[column].notna()], "site")]


def _skip_follows_block(frame: pd.DataFrame) -> bool:
    """Whether each block has one scale of skips, as it has unless the sweep gives it."""
    return bool(frame.groupby("block", observed=True)["skip_scale"].nunique().max() == 1)


def _follows_init_and_width(frame: pd.DataFrame, key: str) -> bool:
    """Whether a key of biases has one value for each init and width, as biases of an init's own do."""
    of = [name for name in ("init", "width") if name in frame]
    return bool(of) and bool(frame.groupby(of, observed=True)[key].nunique().max() == 1)


def follows_init(frame: pd.DataFrame) -> bool:
    """Whether each init has one scale, as schemes have: then std and gain are no axes of their own."""
    # Without a width there is no std.
    scale_keys = [key for key in SCALES if key in frame and frame[key].notna().any()]
    scales = frame.groupby("init", observed=True)[scale_keys].nunique()
    return bool(scales.min(axis=1).max() == 1)


def is_named(frame: pd.DataFrame, key: str) -> bool:
    """Whether the values of a key are words: names, or the formulas and numbers of an axis with formulas (`tidy`)."""
    return key in NAMES or isinstance(frame[key].dtype, pd.CategoricalDtype)


def in_order(frame: pd.DataFrame, key: str, expected: Expected | None = None) -> list[Any]:
    """The values of a key, asked for or there: names as the sweep lists them, numbers ascending."""
    asked = list((expected or {}).get(key, ()))
    present = frame[key].unique()
    if is_named(frame, key):
        asked = [value if isinstance(value, str) else number(value) for value in asked]
        listed = frame[key].cat.categories if isinstance(frame[key].dtype, pd.CategoricalDtype) else present
        return list(dict.fromkeys([*(name for name in listed if name in {*present}), *asked]))
    # Scales are tidied to ten digits, values asked for are not; a formula has no number before it is run.
    numbers = [value for value in asked if not isinstance(value, str)]
    new = [value for value in numbers if not np.isclose(present.astype(float), value, rtol=1e-9, atol=0).any()]
    return sorted([*present.tolist(), *new])


def tidy(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame ready for figures: names as categories that some row has, scales to ten digits.

    Of an axis with formulas every value becomes a word, the formula as it is written: one for all widths and depths.
    Scales that were computed with floats elsewhere differ in their last digits; those of a run do not.
    """
    columns: dict[str, Any] = {}
    for name in NAMES:
        if name in frame:
            columns[name] = frame[name].astype("category").cat.remove_unused_categories()
    for name in SCALES:
        if name in frame:
            rounded = {value: float(f"{value:.10g}") for value in frame[name].unique()}
            if any(value != short for value, short in rounded.items()):
                columns[name] = frame[name].map(rounded)
    for name in KEYS:
        if f"{name}_rule" in frame and frame[f"{name}_rule"].notna().any():
            columns[name] = _as_written(columns.get(name, frame[name]), frame[f"{name}_rule"])
    rules = [f"{name}_rule" for name in KEYS if f"{name}_rule" in frame]
    tidied = frame.assign(**columns).drop(columns=rules)
    tidied.attrs = frame.attrs
    return tidied


def _as_written(values: pd.Series, rules: pd.Series) -> pd.Series:
    """Numbers in ascending order, then formulas in that of the sweep, as categories."""
    by_number = rules.isna()
    numbers = [number(value) for value in sorted(values[by_number].unique())]
    there = set(rules.dropna())
    formulas = [rule for rule in rules.astype("category").cat.categories if rule in there]
    words = rules.astype(object).where(~by_number, values.map(number))
    return words.astype(pd.CategoricalDtype([*dict.fromkeys(numbers), *formulas]))


def of_the_deepest(frame: pd.DataFrame) -> pd.DataFrame:
    """The tidy rows of layers without those of shallower networks of the same keys.

    Where a scale depends on the depth, networks of each depth have layers of their own, which are not to be pooled.
    """
    keys = [key for key in KEYS if key in frame and key != "depth"]
    deepest = frame.groupby(keys, observed=True, dropna=False)["depth"].transform("max")
    kept = frame[frame["depth"] == deepest]
    kept.attrs = frame.attrs
    return kept


def evenly(values: list[Any], most: int) -> list[Any]:
    """At most `most` of the values, first and last among them, evenly spaced."""
    if len(values) <= most:
        return list(values)
    return [values[i] for i in np.unique(np.linspace(0, len(values) - 1, most).round().astype(int))]


def number(value: object) -> str:
    """A value of a key, short."""
    return f"{value:.3g}" if isinstance(value, float | np.floating) else str(value)


def word(value: object) -> str:
    """A value of a key in a file name: all digits that tell it from another."""
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def said(key: str, value: object) -> str:
    """A key with its value in words: tanh, gain 1.41, learning rate 0.1."""
    return str(value) if key in NAMES else f"{key.replace('learning_rate', 'learning rate')} {number(value)}"


def init_words(frame: pd.DataFrame) -> pd.Series:
    """What the initialization of each row is called; a shape is said with its scale, unless all share that one."""
    scale = frame.attrs.get("scale_axis") or "std"
    shaped = frame["init"].isin(SHAPES)
    several = frame.groupby("init", observed=True)[scale].transform("nunique") > 1
    scaled = shaped & (several | bool((~shaped).any()))
    words = frame["init"].astype(str)
    return words.where(~scaled, words + f", {scale} " + frame[scale].map(number))
