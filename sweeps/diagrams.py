"""The phase diagram that `winit theory --map` draws: no run, only mean field."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sweeps.spec import Sweep

# What the diagram spans; the activation is put in.
AXES = ("gain=log:0.3:5:60", "bias_std=lin:0:1:41", "width=inf", "depth=1")


def draw_phase_diagram(sweep: "Sweep", path: Path) -> Path:
    """chi1 over gain and bias std with the critical line, as a file. sweep: of one activation over AXES.

    Errors: analysis.figures.PlotError.
    """
    from analysis.figures import FORMATS, save
    from analysis.heatmaps import heatmap
    from analysis.selection import known
    from sweeps.execute import Executor

    known("--out: the ending", path.suffix[1:], FORMATS)
    tables = Executor(sweep, {}).predictions()
    points, mean_field = (tables[table].to_pandas() for table in ("theory", "mean_field"))
    frame = points.drop(columns=["chi", "depth"]).merge(mean_field.rename(columns={"chi1": "chi"}))
    figure = heatmap(
        frame,
        "chi",
        x="gain",
        y="bias_std",
        mean_field=mean_field,
        title=f"Where gradients of {sweep.grid.activation[0]} vanish and explode",
        below="infinitely wide and deep networks",
    )
    return save(figure, path.parent, path.stem, path.suffix[1:])
