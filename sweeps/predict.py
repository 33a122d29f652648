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

    independent: whether an init's weights are i.i.d. scheme_std: of an init, from fan-in and fan-out.
    from_inputs: (activation, gain, bias_std, layers) -> the columns schema.PREDICTED, [layers, N] each.
    fixed_point: (activation, weight_var, bias_var) -> q*, c*, chi1, xi_q, xi_c. critical_gain: of an
    activation and a bias_std, NaN if there is none.
    """

    independent: Callable[[str], bool]
    scheme_std: Callable[[str, int, int], float]
    from_inputs: Callable[[str, np.ndarray, np.ndarray, int], Sequence[np.ndarray]]
    fixed_point: Callable[[str, np.ndarray, np.ndarray], Sequence[np.ndarray]]
    critical_gain: Callable[[str, float], float]

    def gain(self, init: str, scale: float | None, scale_axis: str | None, width: float) -> float:
        """std * sqrt(width) of hidden layers; width may be infinite, unless the scale is an std."""
        if scale is None:
            fan = WIDE if math.isinf(width) else int(width)
            return self.scheme_std(init, fan, fan) * math.sqrt(fan)
        return scale if scale_axis == "gain" else scale * math.sqrt(width)


def prediction_tables(sweep: Sweep, known: MeanField) -> dict[str, pa.Table]:
    """`mean_field` where mean field speaks of any point of the sweep, and `theory` where a width is infinite."""
    tables = {}
    if (points := _mean_field(sweep, known)) is not None:
        tables["mean_field"] = points
    if sweep.grid.infinite:
        tables["theory"] = _theory(sweep, known)
    return tables


def _mean_field(sweep: Sweep, known: MeanField) -> pa.Table | None:
    """Fixed points and critical gains of the distinct (activation, gain, bias_std) that theory speaks of."""
    grid = sweep.grid
    if "none" not in grid.normalization:
        return None
    widths = [*grid.width, *([math.inf] if grid.infinite else [])]
    points = [point for point in sweep.init_points() if known.independent(point[0])]
    gains = {known.gain(*point, sweep.scale_axis, width) for point in points for width in widths}
    if not gains or len(gains) * len(set(grid.bias_std)) * len(grid.activation) > MAX_FIXED_POINTS:
        return None
    gain, bias = (x.ravel() for x in np.meshgrid(sorted(gains), sorted(set(grid.bias_std)), indexing="ij"))
    rows = []
    for code, name in enumerate(grid.activation):
        found = known.fixed_point(name, gain**2, bias**2)
        critical = {value: known.critical_gain(name, value) for value in set(bias.tolist())}
        rows.append((np.full(len(gain), code), gain, bias, *found, np.array([critical[b] for b in bias.tolist()])))
    return schema.make_table("mean_field", _joined("mean_field", rows), {"activation": grid.activation})


def _theory(sweep: Sweep, known: MeanField) -> pa.Table:
    """Every point of the grid at infinite width and each depth; NaN where there is no prediction."""
    grid, depths, points = sweep.grid, np.array(sweep.grid.depth), sweep.init_points()
    biases = len(grid.bias_std)
    gain = np.repeat([known.gain(*point, sweep.scale_axis, math.inf) for point in points], biases)
    codes = np.repeat([grid.init.index(init) for init, _ in points], biases)
    stated = np.array([known.independent(grid.init[code]) for code in codes])
    bias = np.tile(grid.bias_std, len(points))
    count = len(gain) * len(depths)
    rows = []
    for code, name in enumerate(grid.activation):
        found = known.from_inputs(name, gain, bias, max(grid.depth))
        for norm, normalization in enumerate(grid.normalization):
            spoken_of = stated & (normalization == "none")
            predicted = [np.where(spoken_of, column[depths - 1], np.nan).T.ravel() for column in found]
            keys = [np.repeat(key, len(depths)) for key in (codes, gain, bias)]
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
