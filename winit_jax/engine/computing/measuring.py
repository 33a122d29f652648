"""Networks as they are initialized: what the passes measure of a job, held against float64 NumPy and beside theory."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from winit_jax.columns import OF_TRAINING, SCALES
from winit_jax.columns.formats import FORMATS
from winit_jax.engine.computing.predicting import Predicting
from winit_jax.engine.computing.scales import Sizes, places_of, stem
from winit_jax.engine.computing.tables import Found, Points, bin_edges, gradient_edges
from winit_jax.engine.computing.verdicts import Evidence, Verdicts
from winit_jax.engine.computing.work import Work
from winit_jax.numerics.activations import activation
from winit_jax.numerics.blocks import BLOCKS, Layout
from winit_jax.numerics.halving import Halving
from winit_jax.numerics.measure import families
from winit_jax.numerics.measure.family import LAYERED, Family
from winit_jax.numerics.measure.networks import XLA, Inputs, Settings, as_inputs
from winit_jax.numerics.measure.reference import of_factors
from winit_jax.numerics.normalization import NORMALIZATIONS
from winit_jax.spec.parts import Job, Part

# The scales of so many points are kept, for the same points come again with every seed.
KEPT_POINTS = 2**18


@dataclass(frozen=True)
class Scaled:
    """The scales of a job's networks as numbers. scales: axis -> [points], as `Points` takes them."""

    family: Family
    scales: Mapping[str, np.ndarray]


@dataclass
class Measuring:
    """The passes through networks of one sweep. Safe to call from several threads.

    platform: of the devices, as JAX names it. verdicts: of the self-check. precision: of matrix products. halving: what
    fits in memory. kernel: what computes dense layers on the way forward (`numerics.measure.fused`). Inputs are brought
    to the devices once a width and format; what is kept between calls changes no result.
    """

    work: Work
    platform: str
    verdicts: Verdicts
    precision: str = "highest"
    halving: Halving = field(default_factory=Halving)
    kernel: str = XLA
    _prepared: dict[tuple[int, str], Inputs] = field(default_factory=dict)
    _kept: dict[Job, "Scaled"] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._predicting = Predicting(self.work)

    def measure(self, job: Job, depths: tuple[int, ...]) -> tuple[np.ndarray, Found]:
        """(Standard deviations of a block's first weights, [points], what the passes find of a job's networks).

        depths: of the networks, each as deep as one of them. Errors: SelfCheckError; whatever JAX raises.
        """
        evidence, findings = self.forward(job, depths)
        self.verdicts.check(evidence, shared=findings.histogram is None)
        family, settings = evidence.family, evidence.settings
        sweep, measure, histogram = self.work.sweep, self.work.sweep.measure, self.work.sweep.measure.histogram
        data, inputs, room = self.work.inputs[job.width], self._inputs(job.width, job.dtype), evidence.room
        findings.layers |= self._predicting.columns(job, family, max(depths))
        stds = family.layer(family.layers or 1).place_stds[0]
        if findings.factors is not None:  # the other passes are given the weights
            family = family.rescaled(findings.factors)
        if measure.gradients:
            findings.gradients, findings.gradient_histogram = families.gradients(
                family,
                inputs,
                data.row_labels,
                depths,
                settings,
                edges=None if histogram is None else gradient_edges(histogram),
                budget_mib=sweep.compute.batch_mib,
                platform=self.platform,
                room=room,
                halving=self.halving,
            )
        if measure.singular_values and not settings.normalization.joins_samples:
            findings.depths = families.singular_values(family, data.rows, depths, settings, room)
        return stds, findings

    def forward(self, job: Job, depths: tuple[int, ...]) -> tuple[Evidence, Found]:
        """(What the pass forward was given and found, the same as findings), before anything is held against it."""
        sweep, measure = self.work.sweep, self.work.sweep.measure
        data, histogram = self.work.inputs[job.width], sweep.measure.histogram
        family = self._scaled(job).family
        settings = Settings(
            activation(job.activation),
            NORMALIZATIONS[job.normalization],
            measure.saturation_threshold,
            self.precision,
            norm_position=job.norm_position,
            layout=Layout(data.positions, data.grid),
            block=family.block,
            rounds=family.format is not None,
            kernel=self.kernel,
        )
        inputs, findings = self._inputs(job.width, job.dtype), Found()
        room = max(sweep.grid.depth)
        findings.layers, findings.histogram = families.forward(
            family,
            inputs,
            max(depths),
            settings,
            jacobian=measure.jacobian,
            edges=None if histogram is None else bin_edges(histogram),
            budget_mib=sweep.compute.batch_mib,
            platform=self.platform,
            room=room,
            halving=self.halving,
        )
        findings.factors = findings.layers.pop(families.FACTORS, None)
        if findings.factors is not None:
            findings.layers |= of_factors(findings.factors)
        return Evidence(job, data.rows, family, settings, findings.layers, room), findings

    def points(self, job: Job, hidden_std: np.ndarray) -> Points:
        """The key columns of a job's networks. hidden_std: of a block's first weights, [points]."""
        return Points(self.work.sweep, job, {"std": hidden_std, **self._scaled(job).scales})

    def _scaled(self, job: Job) -> "Scaled":
        """The scales of a job's networks, worked out once for all seeds."""
        any_seed = replace(job, seed=0)
        with self._lock:
            kept = self._kept.get(any_seed)
        if kept is None:
            features = self.work.inputs[job.width].features
            kept = Scaled(self._family(any_seed, features), self._scales(any_seed, features))
            with self._lock:
                self._kept[any_seed] = kept
                while len(self._kept) > 1 and sum(len(of.points) for of in self._kept) > KEPT_POINTS:
                    self._kept.pop(next(iter(self._kept)))
        return Scaled(replace(kept.family, seed=job.seed), kept.scales)

    def _scales(self, job: Job, features: int) -> dict[str, np.ndarray]:
        """The numeric axes of a job's networks but std, [points] each."""
        sweep = self.work.sweep
        sizes, place = Sizes.of(job, features), places_of(job.block, job.width)[0]
        gains = np.array([sizes.gain(point, sweep.scale_axis, place) for point in job.points])
        biases = np.array([sizes.bias_std(point, place) for point in job.points])
        own = {"gain": gains, "bias_std": biases, "skip_scale": sizes.skips(job)}
        axes = (*SCALES, *(OF_TRAINING if Part((job,)).is_training else ()))
        return own | {axis: sizes.values(job, axis) for axis in axes if axis not in own}

    def _family(self, job: Job, features: int) -> Family:
        if any(point.depends_on_layer for point in job.points):
            return self._by_layer(job, features)
        return self._of_layer(job, features)

    def _of_layer(self, job: Job, features: int, layer: int | None = None) -> Family:
        """The family by its scales at one layer, or at all where they are the same."""
        scale_axis, sizes = self.work.sweep.scale_axis, replace(Sizes.of(job, features), layer=layer)
        places = (stem(features, job.width), *places_of(job.block, job.width))
        stds = np.array(
            [[sizes.standard_deviation(point, scale_axis, place) for place in places] for point in job.points]
        ).T
        biases = np.array([[sizes.bias_std(point, place) for place in places] for point in job.points]).T
        epsilons, branches, sharpness = (
            sizes.values(job, axis) for axis in ("norm_epsilon", "branch_scale", "attention_gain")
        )
        hidden = stds[1] if len(stds) == 2 else stds[1:]
        scales = (stds[0], hidden, biases[0], epsilons)
        of_stream = (BLOCKS.find(job.block), sizes.skips(job), branches, sharpness)
        own = biases[1:] if any(point.bias_std is None for point in job.points) else None
        family = Family(job.seed, job.shape, job.width, *scales, *of_stream, bias_init=job.bias_init)
        family = replace(family, format=FORMATS.get(job.dtype))
        return replace(family, block_bias_std=own)

    def _by_layer(self, job: Job, features: int) -> Family:
        """The family of networks whose layers have scales of their own."""
        assert job.depth is not None
        layers = [self._of_layer(job, features, layer) for layer in range(1, job.depth + 1)]
        names = [name for name in LAYERED if getattr(layers[0], name) is not None]
        stacked: dict[str, Any] = {name: np.stack([getattr(layer, name) for layer in layers]) for name in names}
        return replace(layers[0], layers=job.depth, **stacked)

    def _inputs(self, width: int, dtype: str) -> Inputs:
        with self._lock:
            if (width, dtype) not in self._prepared:
                self._prepared[width, dtype] = as_inputs(self.work.inputs[width].rows, FORMATS.get(dtype))
            return self._prepared[width, dtype]
