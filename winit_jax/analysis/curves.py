"""Training curves: losses and accuracies against the step, with bands over seeds."""

import itertools
import math
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator

from winit_jax.analysis import style
from winit_jax.analysis.cells import init_words
from winit_jax.analysis.histograms import evenly
from winit_jax.analysis.load import KEYS, NAMES, SHAPES, chance, follows_init, in_order, tidy, varying
from winit_jax.analysis.panels import legend
from winit_jax.analysis.profiles import BANDS, DASHES, MAX_LINES, palette

COLUMNS = 5
# Lines and panels unless told otherwise: what the figure compares first.
HUES = (
    "init",
    "normalization",
    "learning_rate",
    "std",
    "gain",
    "depth",
    "width",
    "bias_std",
    "norm_epsilon",
    "activation",
)
DIVERGED: dict[str, Any] = {"marker": "x", "ls": "", "ms": 5}
GUESSING: dict[str, Any] = {"color": "#555555", "ls": (0, (1, 1.5)), "lw": 1.0}
# Losses over a wider range than this are drawn on a logarithmic axis.
WIDE = 8.0
# In units of guessing; a loss above it leaves the axes, so that one network about to diverge does not flatten the rest.
HIGH = 12.0


def places(
    frame: pd.DataFrame, hue: str | None = None, col: str | None = None, row: str | None = None
) -> tuple[str, str | None, list[str]]:
    """(Key of the lines, key of the panels, keys that vary and have no place beside these and row).

    With and without normalisation are compared at each scale, where both vary: the 4 x 4 figure of the texts. Inits
    and their scales are lines together if they are no more than MAX_LINES: normal of two stds beside Xavier and He.
    Errors: ValueError for what is no key.
    """
    for name, key in (("hue", hue), ("col", col), ("row", row)):
        if key is not None and key not in KEYS:
            raise ValueError(f"{name} = {key!r} is not a key. Keys: {', '.join(KEYS)}.")
    same = {"std": "gain", "gain": "std"}
    keys = [key for key in varying(frame) if key not in ("seed", row, same.get(row or ""))]
    if "init" in keys and hue in (None, "init") and (follows_init(frame) or _few_inits(frame, (col, row))):
        keys = [key for key in keys if key not in same]
    scale = next((key for key in ("std", "gain") if key in keys), None)
    if hue is None and col is None and "normalization" in keys and scale and "init" not in keys:
        hue, col = "normalization", scale
    hue = hue or next((key for key in HUES if key in keys and key != col), "init")
    col = col or next((key for key in ("activation", *keys) if key in keys and key != hue), None)
    left = [key for key in keys if key not in (hue, col, same.get(hue), same.get(col or ""))]
    return hue, col, left


def _few_inits(frame: pd.DataFrame, panels: tuple[str | None, str | None]) -> bool:
    """Whether each init with each of its scales may be a line of its own."""
    if {"std", "gain", "init"} & {*panels}:
        return False
    scale = frame.attrs.get("scale_axis") or "std"
    shapes = frame["init"].isin(SHAPES)
    lines = len(frame.loc[shapes, ["init", scale]].drop_duplicates()) + frame.loc[~shapes, "init"].nunique()
    # Scales that read the same would be one line.
    return lines <= MAX_LINES and init_words(frame).nunique() == lines


def curves(
    frame: pd.DataFrame,
    value: str = "train_loss",
    *,
    hue: str | None = None,
    col: str | None = None,
    row: str | None = None,
    band: str = "range",
    title: str | None = None,
    below: str = "",
) -> Figure:
    """A column of the training table against the step: median over seeds, and a band.

    hue, col, row: the keys of the lines and of the panels; hue and col, if left out, as `places` says. band: range
    (least to greatest of seeds) or quantiles (10% to 90%). below: put under the title, before what is held fixed.
    A network that has diverged has the accuracy of guessing, and an infinite loss, which takes its band off the top of
    the axes: a line ends, with a mark, where half of its seeds have diverged. The dotted line is guessing among the
    classes.
    Errors: ValueError for a column that is empty or keys that vary without a place.
    """
    if value not in frame or frame[value].isna().all():
        raise ValueError(f"{value} is not in this table, or no network got so far.")
    if band not in BANDS:
        raise ValueError(f"band = {band!r} is not one of {', '.join(BANDS)}.")
    frame = tidy(frame)
    hue, col, left = places(frame, hue, col, row)
    if left:
        raise ValueError(f"{', '.join(left)} take more than one value: keep one of each, or make it hue, col or row.")
    if hue == "init" and not {"std", "gain"} & {col, row}:
        frame = frame.assign(init=_told(frame))
    panels = _panels(frame, row, col)
    values = in_order(frame, hue)
    lines = values if hue in NAMES else evenly(values, MAX_LINES)
    spread = _spread(frame[frame[hue].isin(lines)], value, [key for key in (row, col, hue) if key], band)
    with style.themed():
        n_columns = len(in_order(frame, col)) if row and col else style.in_rows_of(len(panels), COLUMNS)
        n_rows = -(-len(panels) // n_columns)
        size = (1.8 + 2.3 * max(n_columns, 1.9), 1.2 + (1.75 if n_rows > 2 else 2.4) * n_rows)
        figure = style.NotebookFigure(figsize=size, layout="constrained")
        axes = figure.subplots(n_rows, n_columns, sharex=True, sharey=True, squeeze=False).ravel().tolist()
        style.close_gaps(axes, len(panels), n_columns)
        axes = axes[: len(panels)]
        named = hue in NAMES
        dashes = itertools.cycle(DASHES) if named else itertools.repeat("-")
        looks = dict(zip(lines, zip(palette(lines, not named)[1], dashes, strict=False), strict=False))
        limits = _limits(frame, spread, value)
        diverged = False
        for panel, holds in zip(axes, panels, strict=True):
            part = spread
            for key, chosen in holds.items():
                part = part[part[key] == chosen]
            for line, look in looks.items():
                diverged |= _line(panel, part[part[hue] == line], look, limits)
            style.panel_title(panel, _title(holds))
            if style.is_first_col(panel):
                panel.set_ylabel(style.label(value))
            if panel.xaxis.get_tick_params()["labelbottom"]:
                panel.set_xlabel("step")
        guessing = _finish(axes, frame, spread, value, limits)
        handles = [
            Line2D([], [], color=colour, ls=dash, lw=1.5, label=style.number(line))
            for line, (colour, dash) in looks.items()
        ]
        if len(values) > 1:
            name = hue if named else style.label(hue)
            figure.legend(handles=handles, title=name, loc="outside right center", frameon=False)
        notes: list[Artist] = [Line2D([], [], label=guessing, **GUESSING)] if guessing else []
        if value in style.LOSSES and (np.isposinf(spread["high"]) & ~spread["gone"]).any():
            notes.append(Patch(color="#555555", alpha=0.22, lw=0, label="band to the top: some seeds diverged"))
        if diverged:
            notes.append(Line2D([], [], color="#555555", label="half of the seeds diverged", **DIVERGED))
        if notes:
            legend(figure, notes)
        count = frame["seed"].nunique()
        texts = [style.held(frame, (hue if len(values) > 1 else None, row, col))]
        texts.append(f"median of {count} seeds, {BANDS[band][2]}" if count > 1 else "one seed")
        if len(lines) < len(values):
            texts.append(f"{len(lines)} of {len(values)} values of {hue}")
        heading = title or f"{style.sentence(style.label(value).removesuffix(' (nats)'))} by step"
        style.title(figure, heading, below, ", ".join(text for text in texts if text))
    return figure


def _told(frame: pd.DataFrame) -> pd.Categorical:
    """Inits in the words of `init_words`, in the order of the inits and then of their scales."""
    words = init_words(frame)
    scale = frame.attrs.get("scale_axis") or "std"
    order = frame[["init", scale]].assign(words=words).sort_values(["init", scale])["words"]
    return pd.Categorical(words, categories=list(dict.fromkeys(order)))


def _panels(frame: pd.DataFrame, row: str | None, col: str | None) -> list[dict[str, Any]]:
    """What each panel holds fixed, row by row."""
    keys = [key for key in (row, col) if key]
    return [dict(zip(keys, held, strict=True)) for held in itertools.product(*(in_order(frame, key) for key in keys))]


def _title(holds: dict[str, Any]) -> str:
    words = (
        str(held) if key in NAMES else f"{key} {style.number(held)}".replace("_", " ") for key, held in holds.items()
    )
    return ", ".join(words)


def _spread(frame: pd.DataFrame, value: str, keys: list[str], band: str) -> pd.DataFrame:
    """One row a panel, line and step: median, low and high over seeds, and whether half of them have diverged."""
    gone = frame["train_loss"].isna() if "train_loss" in frame else frame[value].isna()
    instead = chance(frame) if value in style.ACCURACIES else np.inf if value in style.LOSSES else np.nan
    numbers = frame[value].mask(gone, instead)
    groups = frame[[*keys, "step"]].assign(number=numbers, gone=gone).groupby([*keys, "step"], observed=True)
    low, high, _ = BANDS[band]
    return pd.DataFrame(
        {
            "median": groups["number"].median(),
            "low": groups["number"].quantile(low, interpolation="nearest"),
            "high": groups["number"].quantile(high, interpolation="nearest"),
            "gone": groups["gone"].mean() >= 0.5,
        }
    ).reset_index()


def _line(axes: Axes, part: pd.DataFrame, look: tuple, limits: tuple[float, float] | None) -> bool:
    """One line with its band, up to where half of its seeds have diverged; whether they have."""
    colour, dash = look
    there = part[~part["gone"]].replace(-np.inf, np.nan)
    axes.plot(there["step"], there["median"], color=colour, ls=dash, lw=1.4)
    # An infinite end of a band is drawn as one above the axes.
    top = np.inf if limits is None else 10 * limits[1]
    axes.fill_between(there["step"], there["low"], there["high"].clip(upper=top), color=colour, alpha=0.22, lw=0)
    if not part["gone"].any():
        return False
    at = part.loc[part["gone"], "step"].min()
    axes.plot([at], [0.96], color=colour, transform=axes.get_xaxis_transform(), clip_on=False, **DIVERGED)
    return True


def _limits(frame: pd.DataFrame, spread: pd.DataFrame, value: str) -> tuple[float, float] | None:
    """Least and greatest number on the y axis, of accuracies and losses: those of medians, and guessing."""
    if value in style.ACCURACIES:
        return 0.0, 1.0
    if value not in style.LOSSES:
        return None
    guess = -math.log(chance(frame))
    drawn = spread[["median", "low"]].to_numpy()
    drawn = drawn[np.isfinite(drawn) & (drawn > 0)]
    return float(drawn.min(initial=guess)), max(guess, min(float(drawn.max(initial=0.0)), HIGH * guess))


def _finish(
    axes: list[Axes], frame: pd.DataFrame, spread: pd.DataFrame, value: str, limits: tuple[float, float] | None
) -> str | None:
    """Limits and scales of all panels, and the line of guessing; words for it."""
    guess = None
    if value in style.ACCURACIES:
        guess, words = chance(frame), f"guessing: {chance(frame):.0%}"
        axes[0].set_ylim(0, 1.02)
    elif limits is not None:
        guess, words = -math.log(chance(frame)), f"guessing: ln {round(1 / chance(frame))}"
        least, top = limits
        if top / least > WIDE:
            axes[0].set_yscale("log")
            axes[0].set_ylim(0.85 * least, 1.25 * top)
            _round_ticks(axes[0], least, top)
        else:
            axes[0].set_ylim(max(0.0, least - 0.08 * top), 1.08 * top)
    low, high = spread["step"].min(), spread["step"].max()
    for panel in axes:
        panel.set_xlim(low, max(high, low + 1))
        if guess is not None:
            panel.axhline(guess, zorder=0, **GUESSING)
        sns.despine(ax=panel)
    axes[0].xaxis.set_major_locator(
        mpl.ticker.MaxNLocator(4 if len(axes) > 1 else 6, integer=True, steps=[1, 2, 5, 10], prune="upper")
    )
    return None if guess is None else words


def _round_ticks(axes: Axes, low: float, high: float) -> None:
    ticks = style.round_ticks(low, high)
    if len(ticks) > 7:
        ticks = [tick for tick in ticks if math.log10(tick).is_integer()] or ticks
    axes.yaxis.set_major_locator(FixedLocator(ticks))
    axes.set_yticklabels([style.number(tick) for tick in ticks])
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_formatter(NullFormatter())
