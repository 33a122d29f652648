"""The tables of theory alone: fixed points of a sweep's scales, and its points at infinite width."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from sweeps import schema
from sweeps.spec import Sweep

# Stands for infinity in a scheme's variance, which is of the order of 1 / width.
WIDE = 1 << 20
# Fixed points take about a millisecond each: a sweep with more distinct scales gets no table of them.
MAX_FIXED_POINTS = 20_000


@dataclass(frozen=True)
class MeanField:
    """What these tables need to know of the numerics; activations by name, scales as arrays [N].

    predicted: whether mean field speaks of an init's weights. scheme_std: of an init, from fan-in and fan-out.
    inputs: of a width, math.inf among them: (mean square norm of the inputs, features).
    from_inputs: (activation, gain, bias_std, layers) -> the columns schema.PREDICTED, [layers, N] each.
    fixed_point: (activation, gain, bias_std, square) -> start, q*, c*, chi1, xi_q, xi_c of networks whose first
    layer has mean square gain^2 square + bias_std^2.
    critical_gain: (activation, bias_std, square) -> (NaN if there is none, the gains at which the fixed point jumps).
    """

    predicted: Callable[[str], bool]
    scheme_std: Callable[[str, int, int], float]
    inputs: Callable[[float], tuple[float, int]]
    from_inputs: Callable[[str, np.ndarray, np.ndarray, int], Sequence[np.ndarray]]
    fixed_point: Callable[[str, np.ndarray, np.ndarray, np.ndarray], Sequence[np.ndarray]]
    critical_gain: Callable[[str, float, float], tuple[float, Sequence[float]]]

    def gain(self, init: str, scale: float | None, scale_axis: str | None, width: float) -> float:
        """std * sqrt(width) of hidden layers; width may be infinite, unless the scale is an std."""
        if scale is None:
            fan = WIDE if math.isinf(width) else int(width)
            return self.scheme_std(init, fan, fan) * math.sqrt(fan)
        return scale if scale_axis == "gain" else scale * math.sqrt(width)

    def square(self, init: str, scale: float | None, scale_axis: str | None, width: float) -> float:
        """(q_1 - bias_std^2) / gain^2: how large the first layer is beside the gain of the hidden ones."""
        norm, features = self.inputs(width)
        if scale is None and not math.isinf(width):
            fan = int(width)
            return (self.scheme_std(init, features, fan) / self.scheme_std(init, fan, fan)) ** 2 * norm / width
        return norm / (width if scale is not None and scale_axis == "std" else features)


def prediction_tables(sweep: Sweep, known: MeanField) -> dict[str, pa.Table]:
    """`mean_field` where mean field speaks of any point of the sweep, and `theory` where a width is infinite."""
    tables = {}
    if (points := _mean_field(sweep, known)) is not None:
        tables["mean_field"] = points
    if sweep.grid.infinite:
        tables["theory"] = _theory(sweep, known)
    return tables


def _mean_field(sweep: Sweep, known: MeanField) -> pa.Table | None:
    """Fixed points and critical gains of the distinct (activation, gain, bias_std, start) that theory speaks of."""
    grid = sweep.grid
    if "none" not in grid.normalization:
        return None
    widths = [*grid.width, *([math.inf] if grid.infinite else [])]
    points = [point for point in sweep.init_points() if known.predicted(point[0])]
    # To twelve digits: the gain of a scheme differs in its last ones from width to width.
    scales = {
        tuple(float(f"{x:.12g}") for x in found): found
        for point in points
        for width in widths
        for found in [tuple(of(*point, sweep.scale_axis, width) for of in (known.square, known.gain))]
    }
    biases = sorted(set(grid.bias_std))
    if not scales or len(scales) * len(biases) * len(grid.activation) > MAX_FIXED_POINTS:
        return None
    square, gain = np.array([scales[key] for key in sorted(scales)]).T
    square, gain = np.repeat(square, len(biases)), np.repeat(gain, len(biases))
    bias = np.tile(biases, len(scales))
    rows: list[tuple[np.ndarray, ...]] = []
    for code, name in enumerate(grid.activation):
        found = known.fixed_point(name, gain, bias, square)
        critical = [known.critical_gain(name, *place) for place in zip(bias.tolist(), square.tolist(), strict=True)]
        jumps = [
            min((at for at in ats if at > value), default=math.nan)
            for (_, ats), value in zip(critical, gain.tolist(), strict=True)
        ]
        rows.append(
            (np.full(len(gain), code), gain, bias, *found, np.array([at for at, _ in critical]), np.array(jumps))
        )
    return schema.make_table("mean_field", _joined("mean_field", rows), {"activation": grid.activation})


def _theory(sweep: Sweep, known: MeanField) -> pa.Table:
    """Every point of the grid at infinite width and each depth; NaN where there is no prediction."""
    grid, depths, points = sweep.grid, np.array(sweep.grid.depth), sweep.init_points()
    biases = len(grid.bias_std)
    gain = np.repeat([known.gain(*point, sweep.scale_axis, math.inf) for point in points], biases)
    codes = np.repeat([grid.init.index(init) for init, _ in points], biases)
    stated = np.array([known.predicted(grid.init[code]) for code in codes])
    bias = np.tile(grid.bias_std, len(points))
    count = len(gain) * len(depths)
    rows = []
    for code, name in enumerate(grid.activation):
        found = known.from_inputs(name, gain, bias, max(grid.depth))
        for norm, normalization in enumerate(grid.normalization):
            spoken_of = stated & (normalization == "none")
            predicted = [np.where(spoken_of, column[depths - 1], np.nan).T.ravel() for column in found]
            keys = [np.repeat(key, len(depths)) for key in (codes, np.full(len(gain), np.nan), gain, bias)]
            depth = np.tile(depths, len(gain))
            rows.append((np.full(count, code), *keys, np.full(count, norm), depth, *predicted))
    categories = {name: getattr(grid, name) for name in schema.NAMES}
    return schema.make_table("theory", _joined("theory", rows), categories)


def _joined(table: str, rows: Sequence[Sequence[np.ndarray]]) -> dict[str, np.ndarray]:
    """Columns of a table from groups of rows, each a tuple of its columns in order."""
    return {
        name: np.concatenate(parts)
        for name, parts in zip(schema.PREDICTIONS[table], zip(*rows, strict=True), strict=True)
    }
