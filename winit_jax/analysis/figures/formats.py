"""Where formats of fewer bits lose the signal or the gradient, and the loss scale that saves it."""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from winit_jax.analysis.figures import style
from winit_jax.analysis.figures.mesh import hatched, sheet
from winit_jax.analysis.figures.places import Places, of_formats
from winit_jax.analysis.statistics.formats import LOST, VERDICTS
from winit_jax.analysis.tables import tidy

# Blue is too small and red too large, as in the other maps; where a loss scale helps, cells have its color instead.
COLOURS = {
    "signal underflows": "#3f6fb5",
    "signal overflows": "#b2383b",
    "gradient lost": "#4d3319",
    "gradient overflows": "#a58fc4",
    "gradient underflows": "#ffffff00",
    "fits": "#eef3e6",
}
WORDS = {"gradient lost": "gradient lost at any loss scale"}


def format_map(
    frame: pd.DataFrame,
    *,
    x: str | None = None,
    row: str | None = None,
    col: str | None = None,
    title: str | None = None,
    below: str = "",
) -> Figure:
    """What becomes of each layer of the deepest networks in each format: the verdict of most seeds.

    frame: rows of `statistics.formats.by_format`. x: the key across, by default the scale. row, col: keys of panels, by
    default the activation and the format. Where the gradient underflows and a loss scale saves it, the color is that
    scale's: its power of two, the median over seeds.
    Errors: ValueError in a sentence for keys that vary without a place.
    """
    frame = tidy(frame)
    places = of_formats(frame, {"x": x, "row": row, "col": col}).checked()
    places = Places(places.x, "layer", None, places.row, places.col)
    cells = _votes(frame, places.shown)
    verdicts = ListedColormap([COLOURS[name] for name in VERDICTS])
    norm = BoundaryNorm(np.arange(len(VERDICTS) + 1), len(VERDICTS))
    scales = cells.loc[cells["verdict"] == VERDICTS.index("gradient underflows"), "scale"]
    largest = float(scales.max()) if len(scales) else 1.0
    of_scales, colors = Normalize(0, max(largest, 1.0)), sns.color_palette("YlOrBr", as_cmap=True)
    with style.themed():
        panels = sheet(frame, places)
        hatches: set[str] = set()
        for panel in panels.page.panels:
            here = panel.rows(cells)
            codes = np.full((len(panels.up.values), len(panels.across.values)), np.nan)
            kinds, scale = np.full(codes.shape, "missing", object), np.full(codes.shape, np.nan)
            codes[panels.at(here)], kinds[panels.at(here)] = here["verdict"], ""
            scale[panels.at(here)] = here["scale"].where(here["verdict"] == VERDICTS.index("gradient underflows"))
            hatches |= panels.fill(panel.axes, codes, kinds, norm, verdicts)
            saved = np.where(np.isnan(scale), "none", "")
            panels.fill(panel.axes, scale, saved, of_scales, colors)
        if len(scales):
            words = "gradient underflows: loss scale that saves it,\nas a power of two"
            panels.page.color_bar(ScalarMappable(of_scales, colors), words)
        there = [name for code, name in enumerate(VERDICTS) if code in {*cells["verdict"]}]
        patches = [
            Patch(facecolor=COLOURS[name], edgecolor="#888888", linewidth=0.5, label=WORDS.get(name, name))
            for name in there
            if name != "gradient underflows"
        ]
        count = frame["seed"].nunique() if "seed" in frame else 1
        facts = (
            style.held(frame.drop(columns="layer"), places.shown),
            f"most of {count} seeds" if count > 1 else "",
            f"lost: more than {LOST:.0%} of normal numbers of that size",
        )
        heading = title or style.heading("What formats of fewer bits would lose", frame, places.shown)
        return panels.page.finish(heading, below, facts, [*patches, *hatched(hatches)], panels.names_below)


def _votes(frame: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """One row a cell: its keys, the code of the verdict of most of its networks, the median loss scale."""
    codes = frame["verdict"].cat.set_categories(list(VERDICTS)).cat.codes.to_numpy()
    votes = frame[keys].assign(
        **{f"is {name}": codes == code for code, name in enumerate(VERDICTS)},
        scale=frame["log2_loss_scale"].to_numpy(float),
    )
    groups = votes.groupby(keys, observed=True)
    counts = groups[[f"is {name}" for name in VERDICTS]].sum()
    # argmax takes the first of equal counts.
    cells = counts.assign(verdict=counts.to_numpy().argmax(axis=1), scale=groups["scale"].median())
    return cells.reset_index()
