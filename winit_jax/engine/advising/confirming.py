"""A quick measured sweep round a recommended gain: networks of finite width, on the draws that every sweep has.

The networks run as the definitions read, in float64 NumPy (`measure.reference`, which every run is held against). A
sweep through the compiled passes gives the same numbers to float32's rounding, and would be compiled for longer than
all of this takes.
"""

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from winit_jax.data.inputs import InputData
from winit_jax.engine.advising.question import Question
from winit_jax.numerics import draws, pinned
from winit_jax.numerics.draws import Layer, Place
from winit_jax.numerics.initializers import unit_biases, unit_weight_stack
from winit_jax.numerics.measure import comparison, reference
from winit_jax.numerics.measure.family import Family
from winit_jax.numerics.naive import functions_of
from winit_jax.system import provenance

# Factors on the recommended gain.
FACTORS = (0.5, 0.9, 1.0, 1.1, 2.0)
# Rows of the inputs that are fed, the most layers and units of networks that are run, and about how many layers in all.
ROWS, MOST_LAYERS, MOST_UNITS, LAYERS_IN_ALL = 64, 1000, 256, 1200
SEEDS = 3


@dataclass(frozen=True)
class Measured:
    """Networks of one gain and branch scale, of several seeds.

    rms: log10 of the RMS of a_L; signal: of it over that of a_1; gradient: log10_jacobian; [seeds] each. saturated: of
    the last phi, NaN where there is none; correlation: of two inputs; medians of seeds.
    """

    gain: float
    branch: float
    rms: np.ndarray
    signal: np.ndarray
    gradient: np.ndarray
    saturated: float
    correlation: float


def width_of(question: Question) -> int:
    """The units of the networks that are run."""
    return min(question.width, MOST_UNITS)


def seeds_of(question: Question, points: int) -> int:
    """How many networks are run at each point."""
    return max(1, min(SEEDS, LAYERS_IN_ALL // (points * question.depth)))


def confirm(question: Question, points: Sequence[tuple[float, float]], data: InputData) -> list[Measured]:
    """Run the networks. points: (gain, branch scale) of each. data: inputs, of which the first rows are fed."""
    width = width_of(question)
    samples = max(2, ROWS // data.positions)  # of one sample there is no correlation
    rows = np.asarray(data.x[:samples], np.float64).reshape(-1, data.features)
    gains, branches = (np.array(values) for values in zip(*points, strict=True))
    places = [place for update in question.layer.updates for place in update.places(width)]
    found: list[list[dict[str, float]]] = []
    for seed in range(seeds_of(question, len(points))):
        family = Family(
            seed,
            "normal",
            width,
            gains / math.sqrt(data.features),
            np.array([gains / math.sqrt(place.fan_in) for place in places]),
            np.full(len(points), question.bias_std),
            block=question.layer,
            branch=branches,
        )
        first, stack = _draws(question, data.features, width, seed)
        tangents = np.asarray(draws.directions(seed, "tangents", len(rows), width), np.float64)
        given = (first, stack, tangents, data)

        def at(point: int, family: Family = family, given: tuple[Any, ...] = given) -> dict[str, float]:
            with pinned.settings():  # of each thread
                return _run(question, family.network(point), rows, *given)

        # Products are too small to be cut between cores, which is what NumPy does; networks are not.
        with threadpool_limits(1), ThreadPoolExecutor(provenance.cores()) as workers:
            found.append(list(workers.map(at, range(len(points)))))
    return [_summary(point, of_seeds) for point, of_seeds in zip(points, zip(*found, strict=True), strict=True)]


def _run(
    question: Question,
    network: comparison.Network,
    rows: np.ndarray,
    first: Layer,
    stack: tuple[tuple[Layer, ...], ...],
    tangents: np.ndarray,
    data: InputData,
) -> dict[str, float]:
    """The last row of one network, with `first` the log10_preact_rms of its first."""
    first = _of_layers(first, 0)
    stem, _ = comparison.scaled([network], first, None)
    observed = reference.forward(
        rows,
        stem,
        _layers(network, first, stack),  # type: ignore[arg-type]
        functions_of(question.phi),
        normalization=question.normalization,
        scales=comparison.of_layers([network]),
        tangents=tangents,
        block=question.layer,
        positions=data.positions,
        grid=data.grid,
    )
    columns: dict[str, float] = {}
    start = math.nan
    for number, row in enumerate(observed):
        start = row.columns["log10_preact_rms"] if number == 0 else start
        columns |= row.columns
    return {**columns, "first": start}


def _draws(question: Question, features: int, width: int, seed: int) -> tuple[Layer, tuple[tuple[Layer, ...], ...]]:
    """(Of the stem; of all layers behind it, at each place of each update)."""
    stem = Place("", features, width)
    places = [update.places(width) for update in question.layer.updates]
    if [(place.name, place.fan_in) for of_update in places for place in of_update] == [("", features)]:
        whole = _drawn(question, stem, seed, 1, question.depth)  # one stream, and so one program
        return _of_layers(whole, slice(0, 1)), ((_of_layers(whole, slice(1, None)),),)
    behind = tuple(
        tuple(_drawn(question, place, seed, 2, question.depth - 1) for place in of_update) for of_update in places
    )
    return _drawn(question, stem, seed, 1, 1), behind


def _drawn(question: Question, place: Place, seed: int, first: int, count: int) -> Layer:
    """The draws of so many layers at a place, stacked, as `numerics.draws` has them; biases only where they count."""
    weights: Any = np.empty((0, place.fan_in, place.fan_out))
    biases: Any = np.zeros((count, place.fan_out))
    if count:
        weights = np.asarray(unit_weight_stack(seed, "normal", first, count, place.fan_in, place.fan_out, place.name))
    if count and question.bias_std and place.has_bias:
        biases = np.asarray(unit_biases(seed, place.fan_out, first, count, place.name))
    return Layer(weights, biases, biases)  # what is summed over columns, nobody reads here


def _layers(network: comparison.Network, first: Layer, stack: tuple[tuple[Layer, ...], ...]) -> Iterator[object]:
    """Layers behind the stem one by one: all of them in float64 would not fit."""
    for at in range(len(stack[0][0].weights)):
        one = tuple(tuple(_of_layers(place, slice(at, at + 1)) for place in of_update) for of_update in stack)
        yield comparison.scaled([network], first, one)[1][0]


def _of_layers(stacked: Layer, at: slice | int) -> Layer:
    return Layer(stacked.weights[at], stacked.column_sums, stacked.biases[at])


def _summary(point: tuple[float, float], of_seeds: Sequence[dict[str, float]]) -> Measured:
    """What overflows counts as infinite."""

    def column(name: str) -> np.ndarray:
        values = np.array([columns.get(name, math.nan) for columns in of_seeds])
        lost = np.array([columns["nonfinite"] > 0 for columns in of_seeds])
        return np.where(lost, np.inf, values) if name.startswith("log10") else values

    rms = column("log10_preact_rms")
    with np.errstate(all="ignore"):
        signal = rms - column("first")
        saturated, correlation = (float(np.median(column(name))) for name in ("saturated", "input_correlation"))
    return Measured(*point, rms, signal, column("log10_jacobian"), saturated, correlation)
