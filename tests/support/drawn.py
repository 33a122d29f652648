"""What is drawn in a figure, read back from its artists."""

import warnings

import matplotlib.pyplot as plt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.patches import PathPatch

from winit_jax.analysis.figures import style


def legend(figure):
    """The words of all legends."""
    return [text.get_text() for each in figure.legends for text in each.get_texts()]


def panels(figure):
    """Axes that are named."""
    return [axes for axes in figure.axes if axes.get_title()]


def meshes(figure):
    """The cells of each panel of a map, without those of the color bar."""
    bars = {axes for axes in figure.axes if axes.get_label() == "<colorbar>"}
    collections = [mesh for axes in figure.axes if axes not in bars for mesh in axes.collections]
    return [mesh for mesh in collections if type(mesh).__name__ == "QuadMesh"]


def hatches(axes):
    """Hatch -> the path of the cells that have it."""
    return {patch.get_hatch(): patch.get_path() for patch in axes.patches if isinstance(patch, PathPatch)}


def bars(axes):
    """Heights of a histogram."""
    return axes.patches[0].get_data().values


def notes(axes):
    """Texts inside a panel."""
    return [text.get_text() for text in axes.texts]


def named_lines(axes):
    """Lines that a legend could name: of numbers, not of references."""
    return [line for line in axes.lines if not line.get_label().startswith("_")]


def wide_lines(axes, width):
    """Lines of that width, in the order drawn."""
    return [line for line in axes.lines if line.get_linewidth() == width]


def said(figure):
    """What stands beside a figure: its caption, in one line, its sentences as phrases."""
    return ", ".join(line[:1].lower() + line[1:].removesuffix(".") for line in figure.caption.split("\n"))


def texts(figure):
    """Every text that shows."""
    return [text for text in figure.findobj(plt.Text) if text.get_text().strip() and text.get_visible()]


def outside(figure):
    """The texts that reach beyond the canvas, which is drawn without a warning."""
    canvas = FigureCanvasAgg(figure)
    with warnings.catch_warnings(), style.themed():
        warnings.simplefilter("error")  # such as: constrained_layout not applied, axes sizes collapsed to zero
        canvas.draw()
    width, height = figure.get_size_inches() * figure.dpi
    boxes = {text: text.get_window_extent(canvas.get_renderer()) for text in texts(figure)}
    # Matplotlib keeps the labels of ticks beyond an axis, and does not draw them.
    drawn = {text: box for text, box in boxes.items() if box.width and not _is_unseen_tick(figure, text)}
    return [
        text.get_text()
        for text, box in drawn.items()
        if box.x0 < -1 or box.x1 > width + 1 or box.y0 < -1 or box.y1 > height + 1
    ]


def _is_unseen_tick(figure, text):
    for axes in figure.axes:
        for axis, (low, high) in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
            for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
                if text in (tick.label1, tick.label2):
                    return not min(low, high) <= tick.get_loc() <= max(low, high)
    return False
