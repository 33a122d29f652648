"""One number for the networks of a cell: how seeds are put together, and what counts for networks that failed."""

import numpy as np
import pandas as pd

from winit_jax.analysis.columns import ACCURACIES, LEARNT, STEPS
from winit_jax.analysis.statistics.cells import cells_of, medians, n_seeds
from winit_jax.analysis.tables import chance

AGGREGATES = ("median", "mean", "min", "max", "std")


def after_training(frame: pd.DataFrame, value: str) -> pd.Series:
    """A column of what was learnt, with a number for networks that failed: leaving them out would flatter the rest.

    A network that diverged has the accuracy of guessing, and an infinite loss and gradient; one that never reached
    the target accuracy, or never diverged, does so after infinitely many steps.
    """
    if value in STEPS:
        return frame[value].astype(float).fillna(np.inf)
    instead = chance(frame) if value in ACCURACIES else np.inf
    return frame[value].mask(frame["diverged_at"].notna(), instead)


def aggregate(frame: pd.DataFrame, value: str, keys: list[str], seeds: str) -> pd.DataFrame:
    """One row a cell: its value, whether any of its networks overflowed, and how many networks it has.

    seeds: one of AGGREGATES. Missing values are left out of it, but none of what was learnt are missing: see
    `after_training`. Of these columns a cell is called diverged, instead of overflowed, if more than half of its
    networks did.
    """
    cells = cells_of(frame, keys, (value, "nonfinite", "diverged_at"))
    rows = cells.rows
    broken = rows["nonfinite"].to_numpy() > 0 if "nonfinite" in rows else np.zeros(len(rows), bool)
    numbers = rows[value].astype(float) if value in keys else rows[value]
    learnt = value in LEARNT and "diverged_at" in rows
    if learnt:
        broken = rows["diverged_at"].notna().to_numpy()
        numbers = after_training(rows, value)
    with np.errstate(invalid="ignore"):
        if seeds == "median":
            values = medians(numbers, cells)
        else:
            values = numbers.groupby(cells.of, observed=False).agg(seeds).to_numpy()
    networks = cells.count()
    bad = cells.count(broken) / networks > (0.5 if learnt else 0)
    return cells.keys.assign(value=values, networks=networks, overflow=bad & (value != "diverged_at"))


def seeds_rule(cells: pd.DataFrame, frame: pd.DataFrame, seeds: str) -> str:
    """How seeds were put together, in words: 'median of 4 seeds'."""
    if "seed" not in frame:
        return ""
    most, least = cells["networks"].max(), cells["networks"].min()
    if most == 1:
        return f"seed {frame['seed'].iloc[0]}" if n_seeds(frame) == 1 else "one seed a cell"
    return f"{seeds} of {most} seeds" if most == least else f"{seeds} of {least} to {most} seeds"
