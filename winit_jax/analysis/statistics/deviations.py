"""What was measured against what mean field predicts, in units and in standard errors."""

from typing import Any

import numpy as np
import pandas as pd

from winit_jax.analysis.statistics.cells import cells_of
from winit_jax.analysis.statistics.intervals import student_quantile
from winit_jax.analysis.tables import KEYS

PREDICTED = ("log10_act_rms", "input_correlation", "log10_jacobian")
ROUNDING = 1e-6
# So many seeds tell noise from a deviation about as well as a normal law; with fewer, z says so.
ENOUGH_SEEDS = 4


def deviations(frame: pd.DataFrame, column: str = "log10_act_rms") -> pd.DataFrame:
    """Measured minus predicted at each point of the grid, seeds together.

    frame: a networks or layers table. column: one of PREDICTED; theory_<column> is beside it.
    Columns: the keys without seed (and layer, if there), measured (mean over seeds), predicted, difference =
    measured - predicted, standard_error (of the mean: std over seeds / sqrt(n)), z = difference / standard_error,
    n_seeds. For z the error is at least float32's rounding, ROUNDING * max(1, |predicted|), so that seeds that
    agree to the last digit are no infinite deviation. standard_error and z are NaN for one seed; of n seeds z has
    the tails of Student's t with n - 1 degrees of freedom. Points without a prediction have no row; networks
    whose number is not finite are left out of n_seeds and the mean.
    Errors: ValueError in a sentence for other columns and where nothing is predicted or measured.
    """
    theory = f"theory_{column}"
    if column not in PREDICTED:
        raise ValueError(f"{column!r} has no prediction. Columns with one: {', '.join(PREDICTED)}.")
    if column not in frame or theory not in frame:
        raise ValueError(f"This table lacks {' and '.join(name for name in (column, theory) if name not in frame)}.")
    keys = [key for key in (*KEYS, "layer") if key in frame and key != "seed"]
    cells = cells_of(frame, keys, (column, theory), dropna=False)
    predicted = np.isfinite(cells.rows[theory].to_numpy())
    if not predicted.any():
        raise ValueError(f"{theory} is empty in this table: mean field makes no prediction for these networks.")
    compared, of = (cells.rows, cells.of) if predicted.all() else (cells.rows[predicted], cells.of[predicted])
    numbers = compared[column].where(np.isfinite(compared[column]))
    if numbers.isna().all():
        raise ValueError(f"{column} is empty in this table: the run did not measure it.")
    groups = numbers.groupby(of, observed=True)
    found = groups.agg(measured="mean", spread="std", n_seeds="count")
    found["predicted"] = compared[theory].groupby(of, observed=True).mean()
    table = pd.concat([cells.keys.iloc[found.index.to_numpy()], found.set_index(found.index.to_numpy())], axis=1)
    table = table.reset_index(drop=True)
    table = table.assign(
        difference=table["measured"] - table["predicted"],
        standard_error=table["spread"] / np.sqrt(table["n_seeds"]),
        z=standard_score(*(table[name] for name in ("measured", "spread", "n_seeds", "predicted"))),
    )
    table.attrs = {name: known for name, known in frame.attrs.items() if name != "rows"}
    deviating: pd.DataFrame = table[[*keys, "measured", "predicted", "difference", "standard_error", "z", "n_seeds"]]
    return deviating


def by_chance(n_seeds: pd.Series) -> float:
    """The |z| that one point in 20 has by chance alone where mean field holds, of the points with the fewest seeds."""
    return student_quantile(0.975, int(n_seeds[n_seeds > 1].min()) - 1)


def standard_score(mean: Any, spread: Any, n_seeds: Any, predicted: Any) -> Any:
    """z = (mean - predicted) / (spread / sqrt(n_seeds)), the error being at least float32's rounding; see `deviations`.

    Arrays or Series of the same shape; spread is the standard deviation over seeds, NaN of one seed, and so is z then.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        error = spread / np.sqrt(n_seeds)
        return (mean - predicted) / np.maximum(error, ROUNDING * np.maximum(1, np.abs(predicted)))


def few_seeds(n_seeds: pd.Series) -> str:
    """What to think of z where points have two or three seeds: how large it is by chance alone; else nothing."""
    least = int(n_seeds[n_seeds > 1].min())
    if least >= ENOUGH_SEEDS:
        return ""
    freedom = "one degree" if least == 2 else f"{least - 1} degrees"
    return (
        f"few seeds: of {least} seeds one |z| in twenty is above {by_chance(n_seeds):.1f} by chance, for the standard "
        f"error has {freedom} of freedom; {ENOUGH_SEEDS} seeds or more tell noise from a deviation"
    )
