"""Keys of inputs and training data that do not go together, before any data are read."""

from collections.abc import Iterator, Sequence

from winit_jax.spec.problems import Problem
from winit_jax.spec.sources import BYTES
from winit_jax.spec.sweep import Grid, Inputs, Train

# Keys that say something of normal samples alone.
OF_NORMAL = ("correlation", "position_correlation", "exact_correlation")


def check_inputs(inputs: Inputs, named: Sequence[str], grid: Grid | None) -> Iterator[Problem]:
    """What is wrong with the inputs of a sweep. named: data sets by name. grid: None where it is wrong itself."""
    if inputs.source == "normal":
        yield from _check_normal(inputs, grid)
        return
    for key in OF_NORMAL:
        if getattr(inputs, key):
            yield Problem(f"inputs.{key}", "only of source = 'normal'; take it away.")
    yield from _check_data("inputs", inputs, named)
    if inputs.is_text and inputs.follows_width and grid is not None and grid.infinite:
        yield Problem("inputs.features", "missing; at infinite width a random encoding takes a number of features.")


def check_train(train: Train, named: Sequence[str]) -> Iterator[Problem]:
    """What is wrong with the training data of a sweep. named: data sets by name."""
    yield from _check_data("train", train, named)


def _check_data(table: str, data: Inputs | Train, named: Sequence[str]) -> Iterator[Problem]:
    """Of texts and images, which say what their features are."""
    if data.is_text:
        if isinstance(data.positions, str):
            yield Problem(
                f"{table}.positions", f"{data.positions!r} cuts images; of a text say how many bytes a window has."
            )
        if data.features is not None and data.encoding != "random":
            yield Problem(f"{table}.features", f"one-hot bytes have {BYTES}; take it away, or say encoding = 'random'.")
        if data.standardize:
            yield Problem(f"{table}.standardize", "a text has no values before it is encoded; take it away.")
        return
    what = f"source = {data.source!r}" if data.source in named else "a file"
    if data.features is not None:
        yield Problem(f"{table}.features", f"{what} fixes the features; take it away.")
    if isinstance(data.positions, int):
        yield Problem(
            f"{table}.positions", f"{what} fixes how many there are; say 'rows' or 'pixels', or take it away."
        )
    if data.encoding is not None:
        yield Problem(f"{table}.encoding", "only of a text; take it away.")


def _check_normal(inputs: Inputs, grid: Grid | None) -> Iterator[Problem]:
    if inputs.standardize:
        yield Problem("inputs.standardize", "source = 'normal' has mean 0 and variance 1 already.")
    if inputs.encoding is not None:
        yield Problem("inputs.encoding", "only of a text; take it away.")
    if isinstance(inputs.positions, str):
        yield Problem(
            "inputs.positions", f"{inputs.positions!r} cuts images; of source = 'normal' say how many there are."
        )
        return
    yield from _check_correlation("correlation", inputs.correlation, inputs.samples, "samples")
    yield from _check_correlation(
        "position_correlation", inputs.position_correlation, inputs.positions or 1, "positions"
    )
    if inputs.exact_correlation:
        yield from _check_exact(inputs, grid)


def _check_correlation(key: str, correlation: float, count: int, what: str) -> Iterator[Problem]:
    """The matrix of `count` such correlations has the eigenvalues 1 - c and 1 + (count - 1) c, none negative."""
    if correlation and count == 1:
        yield Problem(f"inputs.{key}", f"there are no two {what} to have it; say inputs.{what}, 2 or more.")
    elif count > 1 and correlation < -1 / (count - 1):
        yield Problem(
            f"inputs.{key}",
            f"{correlation:g} is less than -1/{count - 1:,}; no {count:,} {what} are so unlike one another.",
        )


def _check_exact(inputs: Inputs, grid: Grid | None) -> Iterator[Problem]:
    """Rows are as exactly uncorrelated as asked for only where there are no more of them than features."""
    rows = inputs.samples * inputs.positions_known
    widths = grid.width if grid is not None else []
    features = inputs.features or min(widths, default=rows)
    if features < rows:
        shown = f"{inputs.samples:,} samples" + (f" of {inputs.positions:,} positions" if inputs.positions else "")
        there = f"there are {features:,}" if inputs.features else f"the least width is {features:,}"
        yield Problem(
            "inputs.exact_correlation",
            f"{shown} need at least {rows:,} features, and {there}; raise inputs.features or lower inputs.samples.",
        )
