"""From the arrays of a job to the tables of a part."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property

import numpy as np
import pyarrow as pa

from winit_jax.columns import EVALUATED, KEYS, LEARNER_KEYS, LEARNT, NAMES
from winit_jax.engine.computing.rules import categories, codes_of, sites_of
from winit_jax.numerics.blocks import BLOCKS
from winit_jax.spec.parts import Job, Part
from winit_jax.spec.sweep import Histogram, Sweep
from winit_jax.store import schema
from winit_jax.store.unfilled import never_filled

# Gradients are counted in bins of their own RMS, from -GRADIENT_RANGE to GRADIENT_RANGE.
GRADIENT_RANGE = 4.0


@dataclass
class Found:
    """What the numerics found of a job's points, in their order.

    A row is the stem, or an update of a layer behind it. layers: columns [rows, points]. depths: columns [depths of the
    grid, points]. gradients: columns [points, depths of the grid, rows]. histogram: counts [rows, points, bins + 3]:
    below, the bins, above, not finite. gradient_histogram: likewise [points, rows, bins + 3], of the deepest network.
    factors: what weights are multiplied by at each place, where that follows from the inputs: [rows, points, places].
    """

    layers: dict[str, np.ndarray] = field(default_factory=dict)
    depths: dict[str, np.ndarray] = field(default_factory=dict)
    gradients: dict[str, np.ndarray] = field(default_factory=dict)
    histogram: np.ndarray | None = None
    gradient_histogram: np.ndarray | None = None
    factors: np.ndarray | None = None

    def at_depth(self, index: int) -> "Found":
        """The same for one of the depths alone."""
        return replace(
            self,
            depths={name: values[[index]] for name, values in self.depths.items()},
            gradients={name: values[:, [index]] for name, values in self.gradients.items()},
        )

    @classmethod
    def joined(cls, parts: Sequence["Found"]) -> "Found":
        """What was found of several sets of points, as one."""

        def columns(name: str, axis: int) -> dict[str, np.ndarray]:
            of_parts = [getattr(part, name) for part in parts]
            return {column: np.concatenate([of_part[column] for of_part in of_parts], axis) for column in of_parts[0]}

        def counts(name: str, axis: int) -> np.ndarray | None:
            of_parts = [getattr(part, name) for part in parts]
            return None if of_parts[0] is None else np.concatenate(of_parts, axis)

        return cls(
            layers=columns("layers", 1),
            depths=columns("depths", 1),
            gradients=columns("gradients", 0),
            histogram=counts("histogram", 1),
            gradient_histogram=counts("gradient_histogram", 0),
            factors=counts("factors", 1),
        )

    def of(self, points: np.ndarray) -> "Found":
        """What was found of some points, by position; one may come more than once."""
        return Found(
            layers={name: values[:, points] for name, values in self.layers.items()},
            depths={name: values[:, points] for name, values in self.depths.items()},
            gradients={name: values[points] for name, values in self.gradients.items()},
            histogram=None if self.histogram is None else self.histogram[:, points],
            gradient_histogram=None if self.gradient_histogram is None else self.gradient_histogram[points],
            factors=None if self.factors is None else self.factors[:, points],
        )


@dataclass(frozen=True)
class Learnt:
    """What became of the networks of a job in training, in the order of its points.

    steps: [evaluations]. evaluated: columns [points, evaluations]. diverged_at: [points], NaN where they did not.
    reached: whether the test accuracy is the target or more, [points, evaluations].
    """

    steps: np.ndarray
    evaluated: dict[str, np.ndarray]
    diverged_at: np.ndarray
    reached: np.ndarray

    @classmethod
    def of_counts(
        cls,
        steps: np.ndarray,
        evaluation: Mapping[str, np.ndarray],
        diverged_at: np.ndarray,
        samples: Mapping[str, int],
        target_accuracy: float,
    ) -> "Learnt":
        """From losses and counts of right answers, [points, evaluations] each.

        evaluation: the columns of EVALUATED, but `train_right` and `test_right` (counts) for the two accuracies.
        diverged_at: [points, evaluations], as known at each evaluation; -1 where a network has not diverged.
        samples: of `train` and `test`.
        """
        standing = diverged_at < 0
        columns = {name: np.asarray(evaluation[name], np.float64) for name in EVALUATED if name in evaluation}
        for data, count in samples.items():
            columns[f"{data}_accuracy"] = np.where(standing, evaluation[f"{data}_right"] / np.float64(count), np.nan)
        return cls(
            steps=steps,
            evaluated={name: columns[name] for name in EVALUATED},
            diverged_at=np.where(diverged_at[:, -1] < 0, np.nan, diverged_at[:, -1]),
            reached=standing & (evaluation["test_right"] >= answers_needed(target_accuracy, samples["test"])),
        )

    @property
    def steps_to_accuracy(self) -> np.ndarray:
        """The first evaluated step at which the test accuracy reaches the target: [points], NaN if it never does."""
        return np.where(self.reached.any(axis=1), self.steps[self.reached.argmax(axis=1)], np.nan)

    def of(self, points: slice) -> "Learnt":
        """The same of some networks."""
        evaluated = {name: values[points] for name, values in self.evaluated.items()}
        return replace(self, evaluated=evaluated, diverged_at=self.diverged_at[points], reached=self.reached[points])


def answers_needed(accuracy: float, samples: int) -> int:
    """The least count of right answers whose share is the accuracy or more, as it is written: 90 of 100 for 0.9."""
    return math.ceil(Fraction(repr(accuracy)) * samples)


def bin_edges(histogram: Histogram) -> np.ndarray:
    """Edges of a sweep's histogram bins: [bins + 1]."""
    return np.linspace(histogram.low, histogram.high, histogram.bins + 1)


def gradient_edges(histogram: Histogram) -> np.ndarray:
    """Edges of as many bins for gradients, in units of their RMS: [bins + 1]."""
    return np.linspace(-GRADIENT_RANGE, GRADIENT_RANGE, histogram.bins + 1)


@dataclass(frozen=True)
class Points:
    """The points of one job as columns, each repeated for the rows that it has in a table.

    scales: the numeric axes that the points do not fix alike, [points] each: `std` and `gain` of the hidden layers,
    and those whose values may be formulas.
    """

    sweep: Sweep
    job: Job
    scales: Mapping[str, np.ndarray]

    @cached_property
    def sites(self) -> tuple[str, ...]:
        """Of the updates of a layer, in order; one empty name where there is one."""
        return tuple(update.site for update in BLOCKS.find(self.job.block).updates)

    def n_rows(self, depth: int) -> int:
        """How many rows a network of that depth has: the stem, and every update of the layers behind it."""
        return 1 + len(self.sites) * (depth - 1)

    def row_keys(self, depth: int) -> dict[str, np.ndarray]:
        """The layer of each row of a network of that depth, and where layers have several, the code of its site."""
        rows = np.arange(self.n_rows(depth))
        layers = {"layer": 1 + -(-rows // len(self.sites))}
        named = sites_of(self.sweep)
        if not named:
            return layers
        codes = np.array([named.index(site) if site else -1 for site in self.sites])
        return layers | {"site": np.where(rows == 0, -1, codes[(rows - 1) % len(self.sites)])}

    @property
    def behind_attention(self) -> int:
        """How many updates of a layer come after its last attention."""
        attends = [update.attends for update in BLOCKS.find(self.job.block).updates]
        return attends[::-1].index(True) if any(attends) else 0

    @cached_property
    def keys(self) -> dict[str, np.ndarray]:
        """The key columns, depth aside; names as codes into the sweep's lists."""
        job, names = self.job, categories(self.sweep)
        columns = dict(self.scales)
        for axis in LEARNER_KEYS if Part((job,)).is_training else KEYS:
            if axis in columns or axis == "depth":
                continue
            if hasattr(job, axis):
                value = getattr(job, axis)
                columns[axis] = np.full(len(job.points), names[axis].index(value) if axis in NAMES else value)
                continue
            values = [getattr(point, axis) for point in job.points]
            columns[axis] = np.array([names[axis].index(value) for value in values] if axis in NAMES else values)
        for axis in self.sweep.formula_axes:
            of_points = "scale" if axis == self.sweep.scale_axis else axis
            columns[f"{axis}_rule"] = codes_of(self.sweep, axis, [getattr(point, of_points) for point in job.points])
        return columns

    def long(self, rows: int, **extra: np.ndarray) -> dict[str, np.ndarray]:
        """Keys of every point, each repeated for `rows` rows, with columns that vary along them."""
        repeated = {name: np.repeat(values, rows) for name, values in self.keys.items()}
        return {**repeated, **{name: np.tile(values, len(self.job.points)) for name, values in extra.items()}}

    def table(self, name: str, columns: dict[str, np.ndarray]) -> pa.Table:
        return schema.make_table(name, columns, categories(self.sweep), never_filled(self.sweep))


def networks_table(points: Points, depths: tuple[int, ...], measured: Found, learnt: Learnt | None = None) -> pa.Table:
    """A row for each point and depth. learnt: of trained networks, whose job has one depth."""
    wanted = np.array([points.n_rows(depth) - 1 for depth in depths])
    columns = points.long(len(depths), depth=np.array(depths))
    columns |= {name: values[wanted].T.ravel() for name, values in measured.layers.items()}
    if "attention_entropy" in measured.layers:  # of the last layer too, and not of its last row
        attending = np.maximum(wanted - points.behind_attention, 0)
        columns["attention_entropy"] = measured.layers["attention_entropy"][attending].T.ravel()
    columns |= {name: values.T.ravel() for name, values in measured.depths.items()}
    if learnt is not None:
        columns |= {name: learnt.evaluated[name][:, -1] for name in LEARNT if name in learnt.evaluated}
        columns |= {"diverged_at": learnt.diverged_at, "steps_to_accuracy": learnt.steps_to_accuracy}
    return points.table("networks", columns)


def trained_tables(points: Points, measured: Found, learnt: Learnt) -> dict[str, pa.Table]:
    """All tables of a job whose networks were trained; those before training of its described points alone."""
    job, depth = points.job, points.job.depth
    assert depth is not None
    tables = {
        "networks": networks_table(points, (depth,), measured, learnt),
        "training": training_table(points, learnt),
    }
    described = np.array([i for i, point in enumerate(job.points) if point.described], int)
    if described.size:
        described_job = replace(job, points=tuple(job.points[i] for i in described))
        deepest = depth == max(points.sweep.grid.depth) or job.depends_on_depth
        tables |= detail_tables(
            Points(points.sweep, described_job, {axis: of[described] for axis, of in points.scales.items()}),
            (depth,),
            measured.of(described),
            deepest,
        )
    return tables


def training_table(points: Points, learnt: Learnt) -> pa.Table:
    """A row for each point and evaluation."""
    rows = len(learnt.steps)
    columns = points.long(rows, depth=np.full(rows, points.job.depth), step=learnt.steps)
    return points.table("training", columns | {name: values.ravel() for name, values in learnt.evaluated.items()})


def detail_tables(
    points: Points, depths: tuple[int, ...], measured: Found, deepest: bool = True
) -> dict[str, pa.Table]:
    """The tables of layers, gradients and histograms; all but gradients speak of the deepest network alone.

    deepest: whether the last of these depths is the deepest of the sweep.
    """
    sweep, last = points.sweep, max(depths)
    of_rows, count = points.row_keys(last), points.n_rows(last)

    def of_deepest(**extra: np.ndarray) -> dict[str, np.ndarray]:
        rows = len(next(iter(extra.values())))
        return points.long(rows, depth=np.full(rows, last), **extra)

    columns = {}
    if sweep.measure.layers and deepest:
        columns["layers"] = (
            of_deepest(**of_rows)
            | {name: values[:count].T.ravel() for name, values in measured.layers.items()}
            | {name: values[:, np.argmax(depths)].ravel() for name, values in measured.gradients.items()}
        )
    if measured.gradients:
        counts = [points.n_rows(depth) for depth in depths]
        at_depth = np.concatenate([np.full(rows, i) for i, rows in enumerate(counts)])
        at_row = np.concatenate([np.arange(rows) for rows in counts])
        keys = {name: values[at_row] for name, values in of_rows.items()}
        columns["gradients"] = points.long(len(at_depth), depth=np.array(depths)[at_depth], **keys) | {
            name: values[:, at_depth, at_row].ravel() for name, values in measured.gradients.items()
        }
    histogram = sweep.measure.histogram
    if histogram is not None and measured.histogram is not None and deepest:
        bins = _bins(bin_edges(histogram), of_rows)
        columns["histograms"] = of_deepest(**bins) | {"count": np.moveaxis(measured.histogram, 0, 1).ravel()}
    if histogram is not None and measured.gradient_histogram is not None and deepest:
        bins = _bins(gradient_edges(histogram), of_rows)
        rms = measured.gradients["log10_preact_grad_rms"][:, np.argmax(depths)]
        columns["gradient_histograms"] = of_deepest(**bins) | {
            "count": measured.gradient_histogram.ravel(),
            "log10_preact_grad_rms": np.repeat(rms, histogram.bins + 3, axis=1).ravel(),
        }
    return {name: points.table(name, found_columns) for name, found_columns in columns.items()}


def _bins(edges: np.ndarray, of_rows: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Keys and edges of each row of a histogram: below first, then the bins, above, not finite (NaN edges).

    of_rows: the layer, and the site, of each row that has a histogram.
    """
    low = np.concatenate([[-np.inf], edges, [np.nan]])
    high = np.concatenate([edges, [np.inf, np.nan]])
    rows = len(of_rows["layer"])
    keys = {name: np.repeat(values, len(low)) for name, values in of_rows.items()}
    return keys | {"bin_low": np.tile(low, rows), "bin_high": np.tile(high, rows)}
