"""The phase diagram that `winit theory --map` draws: no run, only mean field."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from winit_jax.data.inputs import InputData
    from winit_jax.spec.sweep import Sweep

# What the diagram spans, unless words say otherwise.
AXES = ("gain=log:0.3:5:60", "bias_std=lin:0:1:41")
PLACES = ("gain", "bias_std")
PLAIN_LINE_SECONDS = 5.0


def words(activation: str, source: str | None, axes: Sequence[str]) -> list[str]:
    """The words of the diagram's sweep; those of `axes` come last and count."""
    from winit_jax.engine.computing import starts

    return [*(word for word in starts.words(activation, source) if not word.startswith("gain=")), *AXES, *axes]


def draw_phase_diagram(sweep: "Sweep", path: Path, data: "InputData | None" = None) -> list[Path]:
    """chi1 over gain and bias std with the critical line, as a figure and as a table (csv) beside it.

    sweep: of one activation over gain and bias_std at infinite width; data: its inputs, None for N(0, 1). Bias by
    bias; how far it is stands on stderr. Errors: analysis.figures.PlotError.
    """
    import pandas as pd

    from winit_jax.analysis.figures.files import FORMATS, save
    from winit_jax.analysis.figures.heatmap import heatmap
    from winit_jax.analysis.selection import PlotError, known
    from winit_jax.engine.computing.executor import Executor

    known("--out: the ending", path.suffix[1:], FORMATS)
    grid = sweep.grid
    if (
        grid.width
        or sweep.scale_axis != "gain"
        or len(grid.activation) > 1
        or len(grid.init) > 1
        or len(grid.normalization) > 1
    ):
        raise PlotError("--map spans gain and bias_std of one activation; give no other axes.")
    told, parts = time.monotonic(), []
    for done, bias_std in enumerate(grid.bias_std):
        one = grid.model_copy(update={"bias_std": [bias_std], "depth": [1]})
        executor = Executor(_with_grid(sweep, one), {} if data is None else {"inf": data})
        parts.append(executor.predictions()["mean_field"].to_pandas())
        if time.monotonic() - told > PLAIN_LINE_SECONDS:
            typer.echo(f"{done + 1} of {len(grid.bias_std)} biases", err=True)
            told = time.monotonic()
    table = pd.concat(parts, ignore_index=True)
    frame = table.rename(columns={"chi1": "chi"}).assign(init=grid.init[0], normalization="none")
    figure = heatmap(
        frame.astype({"init": "category", "normalization": "category"}),
        "chi",
        x="gain",
        y="bias_std",
        mean_field=table,
        title=f"Where gradients of {grid.activation[0]} vanish and explode",
        below="infinitely wide and deep networks, from "
        + ("inputs of N(0, 1)" if data is None else f"the inputs of {Path(data.source).name}"),
    )
    drawn = save(figure, path.parent, path.stem, path.suffix[1:])
    table.to_csv(path.with_suffix(".csv"), index=False)
    return [drawn, path.with_suffix(".csv")]


def _with_grid(sweep: "Sweep", grid) -> "Sweep":
    from dataclasses import replace

    return replace(sweep, grid=grid)
