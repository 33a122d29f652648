"""What was found in a run, in sentences: what became of the signals, which gain is critical, which init won."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from winit_jax.analysis.columns import OF_REGIMES
from winit_jax.analysis.findings import power
from winit_jax.analysis.reading import Tables, keys_of
from winit_jax.analysis.statistics import regimes
from winit_jax.analysis.statistics.cells import cells_of
from winit_jax.analysis.statistics.ranking import best_learning_rate
from winit_jax.analysis.tables import in_order, init_words, number, tidy, untrained

WORDS = {
    "overflowed": "overflow",
    "vanishing": "vanish",
    "exploding": "explode",
    "saturated": "saturate",
    "collapsed": "collapse (all inputs or all units alike)",
    "healthy": "are healthy",
}
# So many activations are named one by one; of more it is said how many there are.
MOST_NAMED = 6
# Below this many decades over all layers a gradient of some gain goes through.
THROUGH = 1.0


def found(run: Tables) -> list[str]:
    """Sentences about a run, the most telling first: at most one of each kind.

    What became of the networks (`statistics.regimes`, shares of all networks); at which gain the deepest ones let
    gradients through, beside mean field's critical gain; which init had the highest accuracy after training, with its
    interval over seeds. None of what the run did not measure. Errors: RunFolderError.
    """
    if run.is_theory:
        return _of_gains(None, run.mean_field)
    frame = _networks(run)
    if frame is None:
        return []
    sentences = _of_regimes(frame)
    if "log10_jacobian" in frame:
        sentences += _of_gains(tidy(frame), run.mean_field)
    return [*sentences, *_of_training(run)]


def tell(run: Tables, say: Callable[[str], None]) -> None:
    """Say what was found, a line a sentence; of a run without a finding nothing."""
    for sentence in found(run):
        say(f"found: {sentence}")


def counts(run: Tables, by: Sequence[str] = ("activation", "init")) -> pd.DataFrame:
    """How many networks are in each regime, as `regimes.counts`: each network once. Errors: RunFolderError."""
    frame = None if run.is_theory else _networks(run)
    return pd.DataFrame() if frame is None else regimes.counts(frame, by)


def _networks(run: Tables) -> pd.DataFrame | None:
    """Each network once, or points of them, with what regimes are told by."""
    stored = run.stored("networks").names
    columns = [name for name in OF_REGIMES if name in stored]
    if "learning_rate" not in stored:
        return run.points("networks", columns)
    frame = run._table("networks", [*_keys(run), *columns])
    return None if frame is None else untrained(frame)


def _keys(run: Tables) -> list[str]:
    there = run.stored("networks").names
    return [name for name in keys_of("networks") if name in there]


def _of_regimes(frame: pd.DataFrame) -> list[str]:
    """Of 38,400 networks 57% vanish, 31% are healthy and 12% explode."""
    counted = regimes.counts(frame, ()).sort_values("networks", ascending=False, kind="stable")
    there = counted[counted["networks"] > 0]
    total, words = int(there["networks"].sum()), [WORDS[name] for name in there["regime"]]
    if len(words) == 1:
        return [f"All of the {total:,} networks {words[0]}."]
    shares = [f"{_percent(share)} {word}" for share, word in zip(there["share"], words, strict=True)]
    return [f"Of {total:,} networks {_listed(shares)}."]


def _of_gains(frame: pd.DataFrame | None, mean_field: pd.DataFrame | None) -> list[str]:
    """At depth 50 a gradient comes through best at gain 1.03 (tanh; mean field's critical gain is 1) and ..."""
    measured = _best_gains(frame)
    predicted = _critical_gains(mean_field)
    if frame is None or not measured:
        if not predicted:
            return []
        words = [f"{number(gain)} for {name}" for name, gain in predicted.items() if math.isfinite(gain)]
        none = [name for name, gain in predicted.items() if not math.isfinite(gain)]
        text = f"Mean field's critical gain, at which gradients neither vanish nor explode, is {_listed(_few(words))}"
        text += f"; {_listed(_few(none))} {'has' if len(none) == 1 else 'have'} none" if none else ""
        return [f"{text}."] if words else []
    depth, best = measured
    words = []
    for name, (gain, decades) in best.items():
        notes = [] if abs(decades) < THROUGH else [f"where it is still {power(decades)}"]
        critical = predicted.get(name, math.nan)
        notes += [f"mean field: {number(critical)}"] if math.isfinite(critical) else []
        words.append(f"{number(gain)} for {name}" + (f" ({'; '.join(notes)})" if notes else ""))
    bias = f" and bias std {number(least)}" if (least := frame["bias_std"].min()) < frame["bias_std"].max() else ""
    return [f"At depth {depth}{bias} the Jacobian stays nearest to 1 at a gain of {_listed(_few(words))}."]


def _best_gains(frame: pd.DataFrame | None) -> tuple[int, dict[str, tuple[float, float]]] | None:
    """(The greatest depth, activation -> the gain whose median Jacobian is nearest to 1 there, and its log10)."""
    if frame is None or frame["gain"].nunique() < 4 or frame["depth"].max() < 2:
        return None
    if {*frame["normalization"].unique()} != {"none"} or ("block" in frame and frame["block"].nunique() > 1):
        return None
    deepest = int(frame["depth"].max())
    part = frame[(frame["depth"] == deepest) & (frame["bias_std"] == frame["bias_std"].min())]
    cells = cells_of(part, ["activation", "gain"], ["log10_jacobian"])
    middle = cells.rows["log10_jacobian"].groupby(cells.of, observed=False).median().to_numpy()
    table = cells.keys.assign(middle=middle)
    best = {}
    for name in in_order(table, "activation"):
        rows = table[(table["activation"] == name) & np.isfinite(table["middle"])]
        if len(rows) > 3:
            row = rows.loc[rows["middle"].abs().idxmin()]
            best[str(name)] = float(row["gain"]), float(row["middle"])
    return (deepest, best) if best else None


def _critical_gains(mean_field: pd.DataFrame | None) -> dict[str, float]:
    """Activation -> the critical gain that mean field has for it, where it is one for all biases and starts."""
    if mean_field is None or "critical_gain" not in mean_field:
        return {}
    gains = mean_field.groupby("activation", observed=True)["critical_gain"]
    return {str(name): float(of.iloc[0]) for name, of in gains if of.nunique(dropna=False) == 1}


def _of_training(run: Tables) -> list[str]:
    """The init with the highest test accuracy, each at its best learning rate, and the next best."""
    there = run.stored("networks").names
    value = next((name for name in ("test_accuracy", "train_accuracy") if name in there), None)
    if value is None or "diverged_at" not in there:
        return []
    frame = run._table("networks", [*_keys(run), value, "diverged_at"])
    if frame is None or frame["learning_rate"].isna().all():
        return []
    best = best_learning_rate(tidy(frame), value)
    if len(best) < 2:
        return []
    best = best.assign(name=init_words(best)).sort_values("mean", ascending=False)
    others = [key for key in ("activation", "block", "normalization", "depth", "width") if key in best]
    told = [key for key in others if best[key].nunique() > 1]
    first = best.iloc[0]
    words = _called(first, told)
    interval = f" (95% interval {first['low']:.3f} to {first['high']:.3f})" if math.isfinite(first["low"]) else ""
    rivals = int((best["high"].iloc[1:] >= first["mean"]).sum())
    close = f"; {rivals} more {'is' if rivals == 1 else 'are'} not told apart from it" if rivals else ""
    what = "test" if value == "test_accuracy" else "training"
    return [f"The highest {what} accuracy after training is {first['mean']:.3f}{interval}, of {words}{close}."]


def _called(row: Any, told: Sequence[str]) -> str:
    beside = [f"{key} {row[key]}" if key in ("depth", "width") else str(row[key]) for key in told]
    return ", ".join([str(row["name"]), *beside]) + f" at learning rate {number(row['learning_rate'])}"


def _percent(share: float) -> str:
    return "less than 1%" if 0 < share < 0.01 else "more than 99%" if 0.99 < share < 1 else f"{100 * share:.0f}%"


def _few(words: list[str]) -> list[str]:
    """As many as are named one by one, and how many more there are."""
    return words if len(words) <= MOST_NAMED else [*words[:MOST_NAMED], f"{len(words) - MOST_NAMED} more"]


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else ""
