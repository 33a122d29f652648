"""What mean field predicts: columns beside those that are measured, and tables of theory alone."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from winit_jax.engine.computing import theories
from winit_jax.engine.computing.scales import Sizes
from winit_jax.engine.computing.theory_tables import prediction_tables
from winit_jax.engine.computing.work import Work
from winit_jax.numerics import pinned, theory
from winit_jax.numerics.activations import activation
from winit_jax.numerics.blocks import Layout, mean_field
from winit_jax.numerics.initializers import SHAPES
from winit_jax.numerics.measure.families import Family
from winit_jax.numerics.normalization import NORMALIZATIONS
from winit_jax.spec.parts import Job

# So many jobs' predictions are kept, for the same points come again with every seed.
KEPT_PREDICTIONS = 8


@dataclass
class Predicting:
    """The predicted columns of a sweep's networks. Safe to call from several threads."""

    work: Work
    _kept: dict[tuple[Any, ...], dict[str, np.ndarray]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def columns(self, job: Job, family: Family, layers: int) -> dict[str, np.ndarray]:
        """The columns `PREDICTED` of a job, [rows, points] each; none where mean field makes no statement."""
        if not (SHAPES[job.shape].is_predicted and NORMALIZATIONS[job.normalization].is_predicted):
            return {}
        key = (
            job.activation,
            job.normalization,
            job.norm_position,
            job.block,
            job.width,
            job.depth,
            job.points,
            layers,
        )  # the same for every seed
        with self._lock:
            kept = self._kept.get(key)
        if kept is not None:
            return kept
        predicted = self._predict(job, family, layers)
        with self._lock:
            while len(self._kept) >= KEPT_PREDICTIONS:
                self._kept.pop(next(iter(self._kept)))
            self._kept[key] = predicted
        return predicted

    def _predict(self, job: Job, family: Family, layers: int) -> dict[str, np.ndarray]:
        inputs = self.work.inputs[job.width]
        sizes = Sizes.of(job, inputs.features)
        scale_axis = self.work.sweep.scale_axis
        gains = tuple(
            np.array([[sizes.gain(point, scale_axis, place) for point in job.points] for place in places])
            for places in family.places
        )
        found = theory.from_inputs(
            activation(job.activation),
            family.first_std,
            gains,
            family.bias_std,
            layers=layers,
            block=mean_field(family.block, Layout(inputs.positions, inputs.grid)),
            skip=family.skips,
            branch=family.branches,
            norm=theories.norm_of(job.normalization, job.norm_position, family.epsilon),
            attention_gain=family.sharpnesses,
            **theories.similarity(inputs.x).as_start(),
        )
        return theories.as_columns(found)


def predictions(work: Work, say: Callable[[str], None]) -> dict[str, pa.Table]:
    """The tables of theory alone: `mean_field`, and `theory` for the points at infinite width.

    say: is told of functions of the user's own that have no predictions.
    """
    start = theories.expected_similarity(work.sweep.inputs)
    with pinned.settings():
        layout = theories.expected_layout(work.sweep.inputs)
        return prediction_tables(work.sweep, theories.mean_field(work.inputs, start, layout, say))
