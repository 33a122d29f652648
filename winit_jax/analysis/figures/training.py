"""Training curves: losses and accuracies against the step, with bands over seeds."""

import math
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator

from winit_jax.analysis.figures import style
from winit_jax.analysis.figures.lines import (
    LINES,
    REFERENCE,
    Look,
    band_rule,
    check_band,
    draw_band,
    explain,
    lines_of,
    spread,
    with_scales_of_inits,
)
from winit_jax.analysis.figures.page import Page, Size, facets, open_page
from winit_jax.analysis.figures.places import MAX_LINES, of_training
from winit_jax.analysis.figures.words import digits
from winit_jax.analysis.statistics.cells import n_seeds
from winit_jax.analysis.tables import chance, in_order, is_named, measured, tidy

SIZE = Size(width=2.3, height=1.9, beside=1.8, narrowest=6.2)
# Of pages with many rows of panels.
LOW = Size(width=2.3, height=1.35, beside=1.8, narrowest=6.2)
DIVERGED: dict[str, Any] = {"marker": "x", "ls": "", "ms": 5}
GUESSING = REFERENCE
# The evaluation at which a network is first seen to be gone may come long after the step at which it diverged.
DIVERGED_WORDS = {False: "diverged before this step", True: "half of the seeds diverged before this step"}
ENDS_ALONE = "a line ends at the first evaluation after its network has diverged"
# Losses over a wider range than this are drawn on a logarithmic axis.
WIDE = 8.0
# In units of guessing; a loss above it leaves the axes, so that one network about to diverge does not flatten the rest.
HIGH = 12.0


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

    hue, col, row: the keys of the lines and of the panels; those left out are chosen as `places.of_training` says.
    band: range (least to greatest of seeds) or quantiles (10% to 90%). below: put under the title, before what is held
    fixed. A network that has diverged has the accuracy of guessing, and an infinite loss, which takes its band off the
    top of the axes: a line ends, with a mark, where half of its seeds have diverged. The grey line is guessing among
    the classes.
    Errors: ValueError for a column that is empty or keys that vary without a place.
    """
    if not measured(frame, value):
        raise ValueError(f"{value} is not in this table, or no network got so far.")
    check_band(band)
    frame = tidy(frame)
    places = of_training(frame, {"hue": hue, "col": col, "row": row}).checked()
    hue, row, col = places.hue or "init", places.row, places.col
    frame = with_scales_of_inits(frame, hue, (col, row))
    lines = lines_of(frame, hue, None if is_named(frame, hue) else MAX_LINES)
    keys = [key for key in (row, col, hue, "step") if key]
    numbers = _over_seeds(frame[frame[hue].isin(lines.values)], value, keys, band)
    limits = _limits(frame, numbers, value)
    holds = facets(row, in_order(frame, row) if row else (), col, in_order(frame, col) if col else ())
    with style.themed():
        page = open_page(holds, SIZE if len(holds) < 3 else LOW)
        diverged = False
        for panel in page.panels:
            part = panel.rows(numbers)
            for look in lines.looks:
                diverged |= _draw(panel.axes, part[part[hue] == look.value], look, limits)
        page.name_panels()
        page.label("step", style.label(value))
        guess = _scale(page, frame, numbers, value, limits)
        explain(page, lines)
        held = style.held(frame, (lines.told_apart, row, col))
        what = f"{style.label(value).removesuffix(' (nats)')} by step"
        ends = "a line ends at the first evaluation after half of its seeds have diverged" if n_seeds(frame) > 1 else ""
        return page.finish(
            title or style.heading(what, frame, (hue, row, col)),
            below,
            (held, band_rule(frame, band), lines.left_out, (ends or ENDS_ALONE) if diverged else ""),
            _notes(value, numbers, guess, diverged, n_seeds(frame)),
        )


def _over_seeds(frame: pd.DataFrame, value: str, keys: list[str], band: str) -> pd.DataFrame:
    """One row a panel, line and step: median, low and high over seeds, and whether half of them have diverged."""
    gone = frame["train_loss"].isna() if "train_loss" in frame else frame[value].isna()
    instead = chance(frame) if value in style.ACCURACIES else np.inf if value in style.LOSSES else np.nan
    columns = spread(frame[value].mask(gone, instead), [frame[key] for key in keys], band)
    lost = frame[keys].assign(gone=gone).groupby(keys, observed=True)["gone"].mean() >= 0.5
    return pd.DataFrame({**columns, "gone": lost}).reset_index()


def _draw(axes: Axes, part: pd.DataFrame, look: Look, limits: tuple[float, float] | None) -> bool:
    """One line with its band, up to where half of its seeds have diverged; whether they have."""
    there = part[~part["gone"]].replace(-np.inf, np.nan)
    axes.plot(
        there["step"], there["median"], color=look.color, ls=look.dash, lw=look.width, zorder=LINES, label=look.name
    )
    # An infinite end of a band is drawn as one above the axes.
    top = np.inf if limits is None else 10 * limits[1]
    draw_band(axes, there["step"], there["low"], there["high"].clip(upper=top), look)
    if not part["gone"].any():
        return False
    at = part.loc[part["gone"], "step"].min()
    axes.plot([at], [0.96], color=look.color, transform=axes.get_xaxis_transform(), clip_on=False, **DIVERGED)
    return True


def _notes(value: str, numbers: pd.DataFrame, guess: str, diverged: bool, seeds: int) -> list[Artist]:
    """Handles for a legend of what is drawn beside the lines."""
    notes: list[Artist] = [Line2D([], [], label=guess, **GUESSING)] if guess else []
    if value in style.LOSSES and (np.isposinf(numbers["high"]) & ~numbers["gone"]).any():
        notes.append(Patch(color="#555555", alpha=0.22, lw=0, label="band to the top: some seeds diverged"))
    if diverged:
        notes.append(Line2D([], [], color="#555555", label=DIVERGED_WORDS[seeds > 1], **DIVERGED))
    return notes


def _limits(frame: pd.DataFrame, numbers: pd.DataFrame, value: str) -> tuple[float, float] | None:
    """Least and greatest number on the y axis, of accuracies and losses: those of medians, and guessing."""
    if value in style.ACCURACIES:
        return 0.0, 1.0
    if value not in style.LOSSES:
        return None
    guess = -math.log(chance(frame))
    drawn = numbers[["median", "low"]].to_numpy()
    drawn = drawn[np.isfinite(drawn) & (drawn > 0)]
    return float(drawn.min(initial=guess)), max(guess, min(float(drawn.max(initial=0.0)), HIGH * guess))


def _scale(
    page: Page, frame: pd.DataFrame, numbers: pd.DataFrame, value: str, limits: tuple[float, float] | None
) -> str:
    """Limits and scales of all panels, and the line of guessing; words for it."""
    first, words, guess = page.axes[0], "", None
    if value in style.ACCURACIES:
        guess, words = chance(frame), f"guessing: {chance(frame):.0%}"
        first.set_ylim(0, 1.02)
    elif limits is not None:
        guess, words = -math.log(chance(frame)), f"guessing: ln {round(1 / chance(frame))}"
        least, top = limits
        if top / least > WIDE:
            first.set_yscale("log")
            first.set_ylim(0.85 * least, 1.25 * top)
            _round_ticks(first, least, top)
        else:
            first.set_ylim(max(0.0, least - 0.08 * top), 1.08 * top)
    low, high = numbers["step"].min(), numbers["step"].max()
    for axes in page.axes:
        axes.set_xlim(low, max(high, low + 1))
        if guess is not None:
            axes.axhline(guess, zorder=0, **GUESSING)
        sns.despine(ax=axes)
    first.xaxis.set_major_locator(FixedLocator(_steps(int(low), int(high), 3 if len(page.axes) > 1 else 6)))
    return words


def _steps(low: int, high: int, most: int) -> list[int]:
    """Round steps, and the last one, less what would touch it."""
    ticks = style.integer_ticks(low, high, most)
    return [*(tick for tick in ticks if high - tick > (high - low) / (2 * most)), high] if high > low else ticks


def _round_ticks(axes: Axes, low: float, high: float) -> None:
    ticks = style.round_ticks(low, high)
    if len(ticks) > 7:
        ticks = [tick for tick in ticks if math.log10(tick).is_integer()] or ticks
    axes.yaxis.set_major_locator(FixedLocator(ticks))
    axes.set_yticklabels([digits(tick) for tick in ticks])
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_formatter(NullFormatter())
