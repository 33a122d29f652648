"""From the arrays of a job to the tables of a part."""

import math
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from sweeps import schema
from sweeps.plan import Job
from sweeps.spec import Histogram, Sweep

# Gradients are counted in bins of their own RMS, from -GRADIENT_RANGE to GRADIENT_RANGE.
GRADIENT_RANGE = 4.0


@dataclass
class Found:
    """What the numerics found of a job's points, in their order.

    layers: columns [layers, points]. depths: columns [depths of the grid, points]. gradients: columns
    [points, depths of the grid, layers]. histogram: counts [layers, points, bins + 3]: below, the bins, above,
    not finite. gradient_histogram: likewise [points, layers, bins + 3], of the deepest network.
    """

    layers: dict[str, np.ndarray] = field(default_factory=dict)
    depths: dict[str, np.ndarray] = field(default_factory=dict)
    gradients: dict[str, np.ndarray] = field(default_factory=dict)
    histogram: np.ndarray | None = None
    gradient_histogram: np.ndarray | None = None


def bin_edges(histogram: Histogram) -> np.ndarray:
    """Edges of a sweep's histogram bins: [bins + 1]."""
    return np.linspace(histogram.low, histogram.high, histogram.bins + 1)


def gradient_edges(histogram: Histogram) -> np.ndarray:
    """Edges of as many bins for gradients, in units of their RMS: [bins + 1]."""
    return np.linspace(-GRADIENT_RANGE, GRADIENT_RANGE, histogram.bins + 1)


def make_tables(sweep: Sweep, job: Job, std: np.ndarray, depths: tuple[int, ...], found: Found) -> dict[str, pa.Table]:
    """The tables of one job. std: of the hidden layers, [points]."""
    count, deepest = len(job.points), max(depths)
    layers = np.arange(1, deepest + 1)
    categories = {name: getattr(sweep.grid, name) for name in schema.NAMES}
    keys = _keys(sweep, job, std)

    def long(rows: int, **extra: np.ndarray) -> dict[str, np.ndarray]:
        """Keys of every point, each repeated for `rows` rows, with columns that vary along them."""
        repeated = {name: np.repeat(values, rows) for name, values in keys.items()}
        return {**repeated, **{name: np.tile(values, count) for name, values in extra.items()}}

    def of_deepest(**extra: np.ndarray) -> dict[str, np.ndarray]:
        rows = len(next(iter(extra.values())))
        return long(rows, depth=np.full(rows, deepest), **extra)

    wanted = np.array(depths) - 1
    columns = {
        "networks": long(len(depths), depth=np.array(depths))
        | {name: values[wanted].T.ravel() for name, values in found.layers.items()}
        | {name: values.T.ravel() for name, values in found.depths.items()}
    }
    if sweep.measure.layers:
        columns["layers"] = (
            of_deepest(layer=layers)
            | {name: values[:deepest].T.ravel() for name, values in found.layers.items()}
            | {name: values[:, np.argmax(depths)].ravel() for name, values in found.gradients.items()}
        )
    if found.gradients:
        at_depth = np.concatenate([np.full(depth, i) for i, depth in enumerate(depths)])
        at_layer = np.concatenate([np.arange(depth) for depth in depths])
        columns["gradients"] = long(len(at_depth), depth=np.array(depths)[at_depth], layer=at_layer + 1) | {
            name: values[:, at_depth, at_layer].ravel() for name, values in found.gradients.items()
        }
    histogram = sweep.measure.histogram
    if histogram is not None and found.histogram is not None:
        bins = _bins(bin_edges(histogram), layers)
        columns["histograms"] = of_deepest(**bins) | {"count": np.moveaxis(found.histogram, 0, 1).ravel()}
    if histogram is not None and found.gradient_histogram is not None:
        bins = _bins(gradient_edges(histogram), layers)
        rms = found.gradients["log10_preact_grad_rms"][:, np.argmax(depths)]
        columns["gradient_histograms"] = of_deepest(**bins) | {
            "count": found.gradient_histogram.ravel(),
            "log10_preact_grad_rms": np.repeat(rms, histogram.bins + 3, axis=1).ravel(),
        }
    return {name: schema.make_table(name, found_columns, categories) for name, found_columns in columns.items()}


def _keys(sweep: Sweep, job: Job, std: np.ndarray) -> dict[str, np.ndarray]:
    """The key columns of a job's points, depth aside; names as codes into the sweep's lists."""
    grid, points, count = sweep.grid, job.points, len(job.points)
    gain = std * math.sqrt(job.width)
    if sweep.scale_axis == "gain":  # the value asked for, to the digit
        gain = np.array([g if p.scale is None else p.scale for g, p in zip(gain, points, strict=True)])
    return {
        "activation": np.full(count, grid.activation.index(job.activation)),
        "init": np.array([grid.init.index(point.init) for point in points]),
        "std": std,
        "gain": gain,
        "bias_std": np.array([point.bias_std for point in points]),
        "normalization": np.full(count, grid.normalization.index(job.normalization)),
        "width": np.full(count, job.width),
        "seed": np.full(count, job.seed),
    }


def _bins(edges: np.ndarray, layers: np.ndarray) -> dict[str, np.ndarray]:
    """Layer and edges of each row of a histogram: below first, then the bins, above, not finite (NaN edges)."""
    low = np.concatenate([[-np.inf], edges, [np.nan]])
    high = np.concatenate([edges, [np.inf, np.nan]])
    return {
        "layer": np.repeat(layers, len(low)),
        "bin_low": np.tile(low, len(layers)),
        "bin_high": np.tile(high, len(layers)),
    }
