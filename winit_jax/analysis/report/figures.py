"""The figures of a page as Bokeh's models, without data: the page's own script fills them."""

from pathlib import Path
from typing import Any

import bokeh
import numpy as np
import seaborn as sns
from bokeh.embed import json_item
from bokeh.models import ColorBar, ColumnDataSource, FixedTicker, LinearAxis, LinearColorMapper
from bokeh.plotting import figure

# Every model that the script asks for by name.
NAMES = [
    "map", "mapX", "mapY", "image", "cursor", "lines", "bar",
    "profile", "profileX", "profileY", "profileData",
    "histogram", "histogramX", "histogramY", "histogramData",
    "curves", "curvesX", "curvesY", "curvesData",
]  # fmt: skip
LINES = [str(color) for color in sns.color_palette("colorblind").as_hex()]
BLUE = "#2f7fc1"


def library() -> str:
    """Bokeh's own script, the part that draws."""
    path = Path(bokeh.__file__).parent / "server" / "static" / "js" / "bokeh.min.js"
    return path.read_text("utf-8")


def items(profile: bool, histogram: bool, curves: bool) -> list[dict[str, Any]]:
    """Those that a page has, as JSON for `Bokeh.embed.embed_item`."""
    made = [("map", _map()), *(pair for pair, there in _others(profile, histogram, curves) if there)]
    return [dict(json_item(plot, name)) for name, plot in made]


def _others(profile: bool, histogram: bool, curves: bool) -> list[tuple[tuple[str, Any], bool]]:
    return [
        (("profile", _profile()), profile),
        (("histogram", _histogram()), histogram),
        (("curves", _curves()), curves),
    ]


def _plot(name: str) -> Any:
    """An empty figure that fills its place and leaves scrolling to the page."""
    plot = figure(
        name=name, sizing_mode="stretch_both", toolbar_location=None, tools="", x_range=(0, 1), y_range=(0, 1),
        background_fill_alpha=0, border_fill_alpha=0, outline_line_color=None,
    )  # fmt: skip
    for axis, side in ((plot.xaxis[0], "X"), (plot.yaxis[0], "Y")):
        axis.update(name=f"{name}{side}", axis_label_text_font_style="normal", minor_tick_line_color=None)
    return plot


def _map() -> Any:
    plot = _plot("map")
    plot.grid.visible = False
    for axis in (plot.xaxis[0], plot.yaxis[0]):
        assert isinstance(axis, LinearAxis)
        axis.ticker = FixedTicker(ticks=[])
    image = ColumnDataSource(
        {"image": [np.zeros((1, 1), np.uint32)], "x": [0], "y": [0], "dw": [1], "dh": [1]}, name="image"
    )
    plot.image_rgba("image", x="x", y="y", dw="dw", dh="dh", source=image)
    lines = ColumnDataSource({"xs": [], "ys": [], "dash": [], "width": []}, name="lines")
    plot.multi_line("xs", "ys", source=lines, line_color="white", line_alpha=0.85, line_width=4)
    plot.multi_line("xs", "ys", source=lines, line_color="#111111", line_width="width", line_dash="dash")
    cursor = ColumnDataSource({"x": [], "y": []}, name="cursor")
    plot.rect("x", "y", 1, 1, source=cursor, fill_color=None, line_color="white", line_width=4)
    plot.rect("x", "y", 1, 1, source=cursor, fill_color=None, line_color="#111111", line_width=2)
    colors = LinearColorMapper(palette=["#000000"], low=0, high=1)
    bar = ColorBar(
        name="bar", color_mapper=colors, ticker=FixedTicker(ticks=[]), width=14, padding=4, background_fill_alpha=0,
        bar_line_color=None,
    )  # fmt: skip
    plot.add_layout(bar, "right")
    return plot


def _profile() -> Any:
    plot = _plot("profile")
    source = ColumnDataSource(
        {name: [] for name in ("layer", "median", "low", "high", "predicted")}, name="profileData"
    )
    plot.varea("layer", "low", "high", source=source, fill_color=BLUE, fill_alpha=0.25)
    plot.line("layer", "median", source=source, line_color=BLUE, line_width=2.5)
    plot.scatter("layer", "median", source=source, color=BLUE, size=4)
    plot.line("layer", "predicted", source=source, line_color="#d1495b", line_width=2, line_dash=[5, 3])
    return plot


def _histogram() -> Any:
    plot = _plot("histogram")
    source = ColumnDataSource({"left": [], "right": [], "top": []}, name="histogramData")
    plot.quad(left="left", right="right", top="top", bottom=0, source=source, color=BLUE)
    plot.xaxis[0].axis_label, plot.yaxis[0].axis_label = "activation", "share of activations"
    return plot


def _curves() -> Any:
    plot = _plot("curves")
    source = ColumnDataSource({name: [] for name in ("xs", "ys", "color", "bandX", "bandY")}, name="curvesData")
    plot.patches("bandX", "bandY", source=source, fill_color="color", fill_alpha=0.18, line_color=None)
    plot.multi_line("xs", "ys", source=source, line_color="color", line_width=2)
    plot.xaxis[0].axis_label = "step"
    return plot
