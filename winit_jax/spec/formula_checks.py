"""Formulas of a grid at every network of it, before anything is computed: what they may hold, and what comes out."""

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from winit_jax.columns import AXES, Axis
from winit_jax.spec.formulas import NAMED, FormulaError, names_of, value_of
from winit_jax.spec.problems import Problem
from winit_jax.spec.sources import BYTES
from winit_jax.spec.sweep import Grid, Inputs

# Stands for the columns of data that are not read yet.
USUAL_FEATURES = 784
# Formulas are valued at so many pairs of a width and a depth at most, the first and the last among them.
MOST_PLACES = 10_000
FANS = ("fan_in", "fan_out")
# Factors of the weights of one layer.
OF_ONE_LAYER = ("stem_scale", "readout_scale")


def check_formulas(grid: Grid, inputs: Inputs) -> Iterator[Problem]:
    """What is wrong with the formulas of a grid: one problem for each."""
    for name, axis in AXES.items():
        for value in getattr(grid, name) or () if axis.holds is float else ():
            if isinstance(value, str) and (sentence := _wrong(value, axis, grid, inputs)):
                yield Problem(f"grid.{name}", sentence)


def _wrong(text: str, axis: Axis, grid: Grid, inputs: Inputs) -> str | None:
    """A sentence where a formula holds a name that its axis does not have, or has no fitting value somewhere."""
    if (of_axis := next((name for name, named in NAMED.items() if text in named), axis.name)) != axis.name:
        return f"{text!r} is a name for {of_axis}, not for {axis.name}."
    names = names_of(text)
    if axis.name in OF_ONE_LAYER and names & {*FANS, "layer"}:
        return f"{text!r}: {axis.name} is of one layer alone, which has no layer and no fans; use width and features."
    if axis.changes != "weights" and names & set(FANS):
        return f"{text!r}: {axis.name} is of no weights, so that there is no fan_in and fan_out; use width."
    if "layer" in names and grid.learning_rate is not None:
        return f"{text!r}: networks that are trained have the same scales in every layer; take the layer away."
    if grid.infinite and "layer" in names:
        return f"{text!r} is followed at finite widths alone; take inf away, or the layer."
    if grid.infinite and names & {"width", *FANS}:
        return f"{text!r} has no value at infinite width."
    for sizes in _places(grid, inputs):
        try:
            value = value_of(text, **sizes)
        except FormulaError as error:
            return str(error)
        if not axis.low <= value <= axis.high:
            at = ", ".join(f"{name} = {sizes[name]:g}" for name in sizes if name in names)
            bound = f"less than {axis.low:g}" if value < axis.low else f"more than {axis.high:,}"
            return f"{text!r} is {value:g} at {at}, which is {bound}."
    return None


def _places(grid: Grid, inputs: Inputs) -> Iterator[Mapping[str, Any]]:
    """The sizes at which formulas are valued: of each width and depth, for the first layer and for a hidden one."""
    step = max(1, -(-len(grid.width or [1]) * len(grid.depth) // MOST_PLACES))
    pairs = [*itertools.islice(itertools.product(grid.width or [1], grid.depth), 0, None, step)]
    last = ((grid.width or [1])[-1], grid.depth[-1])
    for width, depth in dict.fromkeys((*pairs, last)):
        usual = BYTES if inputs.is_text else USUAL_FEATURES
        features = inputs.features or (width if inputs.follows_width else usual)
        for fan_in, layer in {(features, 1), (width, min(2, depth)), (width, depth)}:
            sizes = {"width": width, "depth": depth, "layer": layer, "features": features}
            yield {**sizes, "fan_in": fan_in, "fan_out": width}
