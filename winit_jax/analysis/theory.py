"""What was measured against what mean field predicts, in units and in standard errors."""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from winit_jax.analysis import style
from winit_jax.analysis.cells import on_grid, place
from winit_jax.analysis.intervals import student_quantile
from winit_jax.analysis.load import KEYS, Expected, tidy
from winit_jax.analysis.panels import fill, hatched, legend, sheet

PREDICTED = ("log10_act_rms", "input_correlation", "log10_jacobian")
SHOWN = {"difference": "measured − mean field", "z": "measured − mean field, in standard errors over seeds"}
# Colours of z reach at least this far, so that noise alone looks pale.
LEAST_Z = 3.0
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
    told = frame[np.isfinite(frame[theory])]
    if told.empty:
        raise ValueError(f"{theory} is empty in this table: mean field makes no prediction for these networks.")
    keys = [key for key in (*KEYS, "layer") if key in frame and key != "seed"]
    numbers = told[column].where(np.isfinite(told[column]))
    if numbers.isna().all():
        raise ValueError(f"{column} is empty in this table: the run did not measure it.")
    groups = told[keys].assign(number=numbers, predicted=told[theory]).groupby(keys, observed=True, dropna=False)
    table = groups.agg(
        measured=("number", "mean"),
        predicted=("predicted", "mean"),
        spread=("number", "std"),
        n_seeds=("number", "count"),
    ).reset_index()
    difference = table["measured"] - table["predicted"]
    error = table["spread"] / np.sqrt(table["n_seeds"])
    table = table.assign(
        difference=difference,
        standard_error=error,
        z=difference / np.maximum(error, ROUNDING * np.maximum(1, table["predicted"].abs())),
    )
    table.attrs = frame.attrs
    return table[[*keys, "measured", "predicted", "difference", "standard_error", "z", "n_seeds"]]


def few_seeds(n_seeds: pd.Series) -> str:
    """What to think of z where points have two or three seeds: how large it is by chance alone; else nothing."""
    least = int(n_seeds[n_seeds > 1].min())
    if least >= ENOUGH_SEEDS:
        return ""
    chance = student_quantile(0.975, least - 1)
    return f"few seeds: of {least} seeds one |z| in twenty is above {chance:.1f} by chance"


def deviation_map(
    frame: pd.DataFrame,
    column: str = "log10_act_rms",
    show: str = "difference",
    *,
    x: str | None = None,
    y: str | None = None,
    row: str | None = None,
    col: str | None = None,
    expected: Expected | None = None,
    title: str | None = None,
    below: str = "",
    log_x: bool | None = None,
    log_y: bool | None = None,
) -> Figure:
    """`deviations` as a diverging heatmap: red where more was measured than mean field predicts, blue less.

    show: difference (in units of the column) or z (in standard errors over seeds; the figure says so where these are
    fewer than ENOUGH_SEEDS, see `few_seeds`). Colours reach the 99.5%
    quantile of the sizes, and of z at least LEAST_Z. Places, expected and below as in `heatmap`; points without
    a prediction are hatched as not defined.
    Errors: ValueError in a sentence, as of `deviations`, and for an unknown show.
    """
    if show not in SHOWN:
        raise ValueError(f"show = {show!r} is not one of {', '.join(SHOWN)}.")
    frame = tidy(frame)
    if "layer" in frame and frame["layer"].nunique() > 1:
        raise ValueError("layer takes more than one value: keep one of them.")
    table = deviations(frame, column)
    if show == "z" and table["z"].isna().all():
        raise ValueError("show = 'z' needs two seeds or more at a point.")
    if "seed" in (x, y, row, col):
        raise ValueError("Deviations put seeds together, so seed is no axis of them: give another.")
    places = place(frame.drop(columns="seed"), {"x": x, "y": y, "row": row, "col": col}, expected)
    # Points that were run and have no prediction are there, without a number.
    ran = frame[places.shown].drop_duplicates()
    cells = ran.merge(table[[*places.shown, show]], on=places.shown, how="left").rename(columns={show: "value"})
    cells["overflow"] = False
    sizes = table[show].abs()
    sizes = sizes[np.isfinite(sizes)]
    limit = float(sizes.quantile(0.995)) or 1.0
    limit = max(limit, LEAST_Z) if show == "z" else limit
    norm, colour_map = Normalize(-limit, limit), sns.color_palette("vlag", as_cmap=True)
    with style.themed():
        page = sheet(frame, places, expected, log_x, log_y)
        used: set[str] = set()
        for panel in page.panels:
            numbers, kinds = on_grid(panel.rows(cells), page.across, page.up, show)
            used |= fill(panel.axes, numbers, kinds, page.across, page.up, norm, colour_map)
        ends = "both" if sizes.max() > limit else "neither"
        bar = style.colour_bar(
            page.figure, [panel.axes for panel in page.panels], ScalarMappable(norm, colour_map), ends
        )
        bar.set_label(style.wrapped(SHOWN[show], 34), linespacing=1.2)
        legend(page.figure, hatched(used))
        least, most = table["n_seeds"].min(), table["n_seeds"].max()
        seeds = f"mean of {most} seeds" if least == most else f"mean of {least} to {most} seeds"
        caution = few_seeds(table["n_seeds"]) if show == "z" else ""
        held = ", ".join(text for text in (style.held(frame, places.shown), seeds, caution) if text)
        style.title(page.figure, title or f"Mean field against networks: {style.label(column)}", below, held)
    return page.figure
