"""Which learning rate is best for each initialization, and how good it then is."""

from typing import Any

import numpy as np
import pandas as pd

from winit_jax.analysis.columns import ACCURACIES
from winit_jax.analysis.statistics.intervals import at_the_best
from winit_jax.analysis.tables import NAMES, chance
from winit_jax.columns import LEARNER_KEYS

# What tells initializations apart: every key but those that are chosen or averaged over.
KEYS = tuple(key for key in LEARNER_KEYS if key not in ("learning_rate", "seed"))


def best_learning_rate(networks: pd.DataFrame, value: str = "test_accuracy") -> pd.DataFrame:
    """Each initialization at its best learning rate: one row for each combination of the other keys.

    For each seed the learning rate is the one with the highest mean over the *other* seeds, so that no seed is both
    chosen by and counted; with a single seed there are no others, and the best of it is taken, which flatters.
    A network that diverged has the accuracy of guessing.
    Out: KEYS, learning_rate (of the highest mean over all seeds), mean, low, high (a 95% interval over seeds of the
    mean at that rate, `intervals.at_the_best`, which allows for the choice, widened where it leaves out `mean`; NaN
    for one seed), seeds, diverged (share of the networks counted).
    Errors: ValueError if the table has no such accuracy.
    """
    if value not in ACCURACIES:
        raise ValueError(f"{value!r} is not one of {', '.join(ACCURACIES)}.")
    if value not in networks or "learning_rate" not in networks or networks["learning_rate"].isna().all():
        raise ValueError("Nothing was trained in this run.")
    keys = [key for key in KEYS if key in networks]
    gone = networks["diverged_at"].notna()
    frame = networks.assign(score=networks[value].mask(gone, chance(networks)), gone=gone)
    rows = [(*place, *best) for place, part in frame.groupby(keys, observed=True) if (best := _best(part))]
    table = pd.DataFrame(rows, columns=[*keys, "learning_rate", "mean", "low", "high", "seeds", "diverged"])
    table.loc[table["seeds"] == 1, ["low", "high"]] = np.nan
    table.attrs = networks.attrs
    for name in NAMES:
        if name in table and isinstance(networks[name].dtype, pd.CategoricalDtype):
            table[name] = table[name].astype(networks[name].dtype)
    return table


def _best(part: pd.DataFrame) -> tuple[Any, ...] | None:
    """(Learning rate, mean, low, high, seeds, share that diverged) of one initialization; None if no seed has them all.

    part: its rows, with the score of each network and whether it is gone.
    """
    scores = part.pivot(index="seed", columns="learning_rate", values="score").dropna()
    lost = part.pivot(index="seed", columns="learning_rate", values="gone").loc[scores.index].to_numpy(bool)
    numbers = scores.to_numpy(float)
    count = len(numbers)
    if count == 0:
        return None
    others = (numbers.sum(axis=0) - numbers) / (count - 1) if count > 1 else numbers
    chosen = others.argmax(axis=1)
    held_out = numbers[np.arange(count), chosen]
    best, low, high = at_the_best(numbers)
    return (
        scores.columns[best],
        held_out.mean(),
        max(0.0, min(low, held_out.mean())),
        min(1.0, max(high, held_out.mean())),
        count,
        lost[np.arange(count), chosen].mean(),
    )
