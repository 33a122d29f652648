"""The phase diagram that `winit theory --map` draws: no run, only mean field."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

# What the diagram spans, unless words say otherwise.
AXES = {"gain": "log:0.3:5:60", "bias_std": "lin:0:1:41"}
PLAIN_LINE_SECONDS = 5.0


def draw_phase_diagram(
    activation: str,
    source: str | None,
    words: Sequence[str],
    path: Path,
    say: Callable[[str], None] = lambda text: None,
) -> list[Path]:
    """chi1 over gain and bias std with the critical line, as a figure and as a table (csv) beside it.

    source: of the inputs, as in a sweep file; None for N(0, 1). words: `AXIS=VALUES`, of gain and bias_std. path: of
    the figure. say: is told now and then how far it is, which goes bias by bias. Out: the files.
    Errors: SpecError; InputError; analysis.figures.PlotError.
    """
    import pandas as pd

    from winit_jax.analysis.figures.files import FORMATS, save
    from winit_jax.analysis.figures.heatmap import heatmap
    from winit_jax.analysis.selection import PlotError, known
    from winit_jax.api import Asked
    from winit_jax.engine.computing import starts
    from winit_jax.engine.computing.predicting import predictions
    from winit_jax.engine.computing.work import Work

    sweep = Asked(None, words, given=(starts.request(activation, source), AXES)).sweep()
    data = starts.load(sweep) if source else None
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
    said_at, parts, biases = time.monotonic(), [], grid.bias_std or [0.0]
    for done, bias_std in enumerate(biases, 1):
        row = grid.model_copy(update={"bias_std": [bias_std], "depth": [1]})
        work = Work(replace(sweep, grid=row), {} if data is None else {"inf": data})
        parts.append(predictions(work, lambda sentence: None)["mean_field"].to_pandas())
        if time.monotonic() - said_at > PLAIN_LINE_SECONDS:
            say(f"{done} of {len(biases)} biases")
            said_at = time.monotonic()
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
