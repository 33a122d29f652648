"""What mean field predicts: columns beside those that are measured, and tables of theory alone."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
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
from winit_jax.numerics.measure.family import Family
from winit_jax.numerics.normalization import NORMALIZATIONS
from winit_jax.numerics.schemes import is_predicted
from winit_jax.spec.parts import Job

# So many bytes of jobs' predictions are kept, for the same points come again with every seed.
KEPT_BYTES = 64 * 2**20


@dataclass
class Predicting:
    """The predicted columns of a sweep's networks. Safe to call from several threads."""

    work: Work
    _kept: dict[tuple[Any, ...], dict[str, np.ndarray]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def columns(self, job: Job, family: Family, layers: int) -> dict[str, np.ndarray]:
        """The columns `PREDICTED` of a job, [rows, points] each; none where mean field makes no statement."""
        if not (is_predicted(job.shape) and NORMALIZATIONS[job.normalization].is_predicted):
            return {}
        key = (
            job.activation,
            job.normalization,
            job.norm_position,
            job.block,
            job.width,
            job.depth,
            job.points,
            job.bias_init,
            layers,
        )  # the same for every seed
        with self._lock:
            kept = self._kept.get(key)
        if kept is not None:
            return kept
        predicted = self._predict(job, family, layers)
        with self._lock:
            self._kept[key] = predicted
            while len(self._kept) > 1 and sum(map(_bytes_of, self._kept.values())) > KEPT_BYTES:
                self._kept.pop(next(iter(self._kept)))
        return predicted

    def _predict(self, job: Job, family: Family, layers: int) -> dict[str, np.ndarray]:
        inputs = self.work.inputs[job.width]
        sizes = Sizes.of(job, inputs.features)
        start = theories.similarity(inputs.x).as_start()
        scales = self._scales(job, family, sizes)
        if scales is None:
            return {}
        found = theory.from_inputs(
            activation(job.activation),
            family.first_std,
            layers=layers,
            block=mean_field(family.block, Layout(inputs.positions, inputs.grid)),
            **scales,
            **start,
        )
        columns = theories.as_columns(found)
        if job.bias_init in theories.FOLLOWED_BIASES or all(point.bias_std is None for point in job.points):
            return columns
        biased = any_bias(family)
        return {name: np.where(biased, np.nan, values) for name, values in columns.items()}

    def _scales(self, job: Job, family: Family, sizes: Sizes) -> dict[str, Any] | None:
        """What `theory.from_inputs` takes of the scales; None where it does not follow them."""
        normalized = not NORMALIZATIONS[job.normalization].is_none
        behind = [family.layer(number) for number in range(2, (family.layers or 0) + 1)]
        stem = family.layer(1)
        if normalized and any(np.any(layer.epsilon != stem.epsilon) for layer in behind):
            return None
        of_all: dict[str, Any] = {
            "bias_std": stem.bias_std,
            "norm": theories.norm_of(job.normalization, job.norm_position, stem.epsilon),
        }
        if not behind:
            if family.block_bias_std is not None:
                of_all["block_bias_std"] = self._biases(family)
            scales = {"skip": stem.skips, "branch": stem.branches, "attention_gain": stem.sharpnesses}
            return {"hidden_gain": self._gains(job, family, sizes), **scales, **of_all}
        by_layer = [self._gains(job, family, replace(sizes, layer=number)) for number in range(2, len(behind) + 2)]
        updates = len(family.places)
        biases = [np.stack(of_update) for of_update in zip(*map(self._biases, behind), strict=True)]
        scales = {
            name: np.repeat([getattr(layer, field) for layer in behind], updates, axis=0)
            for name, field in (("skip", "skips"), ("branch", "branches"), ("attention_gain", "sharpnesses"))
        }
        gains = tuple(np.stack(of_update) for of_update in zip(*by_layer, strict=True))
        return {"hidden_gain": gains, "block_bias_std": tuple(biases), **scales, **of_all}

    @staticmethod
    def _biases(family: Family) -> tuple[np.ndarray, ...]:
        """Standard deviations of the biases at each place, [places, points], of each update."""
        stds = family.place_bias_stds
        ends = np.cumsum([len(places) for places in family.places])
        return tuple(np.split(stds, ends[:-1]))

    def _gains(self, job: Job, family: Family, sizes: Sizes) -> tuple[np.ndarray, ...]:
        """std * sqrt(fan_in) at each place, [places, points], of each update."""
        scale_axis = self.work.sweep.scale_axis
        return tuple(
            np.array([[sizes.gain(point, scale_axis, place) for point in job.points] for place in places])
            for places in family.places
        )


def any_bias(family: Family) -> np.ndarray:
    """Whether any bias of a network is other than 0: [points]."""
    layers = [family.layer(number) for number in range(1, (family.layers or 1) + 1)]
    biased: np.ndarray = np.any(
        [(layer.bias_std != 0) | np.any(layer.place_bias_stds != 0, axis=0) for layer in layers], axis=0
    )
    return biased


def _bytes_of(columns: dict[str, np.ndarray]) -> int:
    return sum(values.nbytes for values in columns.values())


def predictions(work: Work, say: Callable[[str], None]) -> dict[str, pa.Table]:
    """The tables of theory alone: `mean_field`, and `theory` for the points at infinite width.

    say: is told of functions of the user's own that have no predictions.
    """
    start = theories.expected_similarity(work.sweep.inputs)
    with pinned.settings():
        layout = theories.expected_layout(work.sweep.inputs)
        return prediction_tables(work.sweep, theories.mean_field(work.inputs, start, layout, say))
