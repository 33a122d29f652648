"""A map of what was measured against what mean field predicts, in units or in standard errors."""

import pandas as pd
import seaborn as sns
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from winit_jax.analysis.figures import style
from winit_jax.analysis.figures.mesh import hatched, on_grid, sheet
from winit_jax.analysis.figures.places import on_a_map
from winit_jax.analysis.statistics.deviations import by_chance, deviations, few_seeds
from winit_jax.analysis.tables import Expected, tidy

SHOWN = {"difference": "measured − mean field", "z": "measured − mean field, in standard errors over seeds"}
TITLES = {"difference": "Networks less mean field", "z": "Networks against mean field, in standard errors"}


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
    few, see `few_seeds`). Colors reach the 99.5% quantile of the sizes, and of z at least as far
    as chance alone does, so that noise looks pale. Places, expected
    and below as in `heatmap`; points without a prediction are hatched as not defined.
    Errors: ValueError in a sentence, as of `deviations`, and for an unknown show.
    """
    if show not in SHOWN:
        raise ValueError(f"show = {show!r} is not one of {', '.join(SHOWN)}.")
    if "seed" in (x, y, row, col):
        raise ValueError("Deviations put seeds together, so seed is no axis of them: give another.")
    frame = tidy(frame)
    if "layer" in frame and frame["layer"].nunique() > 1:
        raise ValueError("layer takes more than one value: keep one of them.")
    table = deviations(frame, column)
    if show == "z" and table["z"].isna().all():
        raise ValueError("show = 'z' needs two seeds or more at a point.")
    asked_places = {"x": x, "y": y, "row": row, "col": col}
    places = on_a_map(frame.drop(columns="seed"), asked_places, expected).checked()
    # Points that were run and have no prediction are there, without a number.
    ran = frame[places.shown].drop_duplicates()
    cells = ran.merge(table[[*places.shown, show]], on=places.shown, how="left").rename(columns={show: "value"})
    cells["overflow"] = False
    sizes = table[show].abs().replace(float("inf"), float("nan")).dropna()
    noise = by_chance(table["n_seeds"]) if show == "z" else 0.0
    limit = max(float(sizes.quantile(0.995)) or 1.0, noise)
    ends = "both" if sizes.max() > limit else "neither"
    usual = (Normalize(-limit, limit), sns.color_palette("vlag", as_cmap=True), ends)
    norm, colors, ends = style.as_wanted(usual, table[show].to_numpy(float))
    with style.themed():
        panels = sheet(frame, places, expected, log_x, log_y)
        hatches: set[str] = set()
        for panel in panels.page.panels:
            numbers, kinds = on_grid(panels, panel.rows(cells), show)
            hatches |= panels.fill(panel.axes, numbers, kinds, norm, colors)
        words = SHOWN[show] + (f"\n(|z| < {noise:.3g}: as by chance)" if show == "z" else "")
        panels.page.color_bar(ScalarMappable(norm, colors), words, ends)
        return panels.page.finish(
            title or style.heading(f"{TITLES[show]}: {style.label(column).partition(' (')[0]}", frame, places.shown),
            below,
            (style.held(frame, places.shown), *_rules(table, show)),
            hatched(hatches),
            panels.names_below,
        )


def _rules(table: pd.DataFrame, show: str) -> tuple[str, str]:
    """How many seeds there are, and what to think of z where they are few."""
    least, most = table["n_seeds"].min(), table["n_seeds"].max()
    seeds = f"mean of {most} seeds" if least == most else f"mean of {least} to {most} seeds"
    return seeds, few_seeds(table["n_seeds"]) if show == "z" else ""
