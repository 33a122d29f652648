"""The bridge: with `theories` the one file that imports `winit_jax`. Jobs in, tables out.

Nothing here knows of files; nothing in `winit_jax` knows of sweeps.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow as pa

from winit_jax.columns import PREDICTED
from winit_jax.data.datasets import Dataset, check_dataset
from winit_jax.data.inputs import InputData, check_inputs
from winit_jax.data.sources import NAMED
from winit_jax.engine.computing import theories
from winit_jax.engine.computing.before_training import BeforeTraining
from winit_jax.engine.computing.predict import prediction_tables
from winit_jax.engine.computing.tables import (
    Found,
    Learnt,
    Points,
    bin_edges,
    detail_tables,
    gradient_edges,
    networks_table,
    trained_tables,
)
from winit_jax.engine.computing.verdicts import Evidence, SelfCheckError, Verdicts
from winit_jax.engine.planning.planner import FLOPS_A_CORE, Planner, batch_size, points_by_shape
from winit_jax.numerics import initializers, pinned, programs, theory
from winit_jax.numerics.activations import ACTIVATIONS, Activation, activation, check_form, is_import_path, probing
from winit_jax.numerics.measure import batch, derivatives, passes
from winit_jax.numerics.training import classifier as training
from winit_jax.numerics.training import trainer
from winit_jax.spec.exact import gain_of, std_of
from winit_jax.spec.parts import Job, Part, Point
from winit_jax.spec.problems import Problem
from winit_jax.spec.sweep import Inputs, Sweep, Train, Vocabulary
from winit_jax.store import schema
from winit_jax.store.checkpoints import Checkpoint, between, fingerprint
from winit_jax.system.provenance import DECISIVE, versions

KEPT_PREDICTIONS = 8


def vocabulary(announce: Callable[[str], None] | None = None) -> Vocabulary:
    """The words that a sweep file may use, from the numerics' own tables.

    announce: told of an activation's import path before what it names is imported and called. Without it only the
    form of a path is looked at, for a sweep that is merely read runs no code of its own.
    """

    def check_activation(name: str) -> str | None:
        try:
            if is_import_path(name):
                check_form(name)
                if announce is None:
                    return None
                announce(name)
            activation(name)
        except ValueError as error:
            return str(error)
        return None

    def check_threshold(name: str, threshold: float) -> str | None:
        if is_import_path(name) and announce is None:
            return None
        least, most = activation(name).thresholds
        if least <= threshold <= most:
            return None
        bound = f"less than {least:.3g}" if threshold < least else f"more than {most:.6g}"
        return f"{threshold!r} is {bound}, beyond which float32 cannot tell the slopes of {name} apart."

    def check_data(inputs: Inputs, train: Train | None) -> list[Problem]:
        return [*check_inputs(inputs), *(check_dataset(train) if train is not None else [])]

    return Vocabulary(
        activations=tuple(sorted(ACTIVATIONS)),
        check_activation=check_activation,
        check_threshold=check_threshold,
        shapes=tuple(initializers.SHAPES),
        schemes=tuple(initializers.SCHEMES),
        predicted=tuple(init for init in (*initializers.SHAPES, *initializers.SCHEMES) if theories.is_predicted(init)),
        gradient_mib=derivatives.gradient_mib,
        optimizers=trainer.OPTIMIZERS,
        check_options=trainer.unknown_options,
        sources=NAMED,
        check_data=check_data,
    )


def on_cpu() -> bool:
    """Whether networks are computed in this machine's own memory."""
    return devices()[0].platform == "cpu"


def planner(
    cores: int,
    speedup: float = 1.0,
    together: Callable[[int, int], int] | None = None,
    *,
    imports: bool = False,
) -> Planner:
    """A planner that knows the numerics. speedup: of an accelerator over the cores, as an estimate.

    together: how many networks of a (width, depth) are trained at once (`Executor.together`).
    imports: whether activations given by import path may be asked if they are homogeneous; else they count as not.
    """
    return Planner(
        shape_of=initializers.shape_of,
        one_pass=lambda name: (imports or not is_import_path(name)) and activation(name).homogeneous,
        flops_a_second=FLOPS_A_CORE * cores * speedup,
        together=together or (lambda width, depth: trainer.CPU_BLOCK),
        fixed_points=theories.count_fixed_points,
    )


def import_paths(sweep: Sweep) -> list[str]:
    """The activations of a sweep that are functions of the user's own."""
    return [name for name in sweep.grid.activation if is_import_path(name)]


def fingerprints(sweep: Sweep) -> dict[str, str]:
    """What the user's own functions return on fixed points, values before slopes, by import path."""
    found = {name: probing.fingerprint(activation(name)) for name in import_paths(sweep)}
    return {name: " ".join(f"{value:.12g}" for value in values) for name, values in found.items()}


def environment() -> dict[str, Any]:
    """The devices of this process, and JAX's settings that may change last digits where they are not the usual ones."""
    found = devices()
    return {"devices": [str(device) for device in found], "platform": found[0].platform, "jax": pinned.differing()}


def activation_notes(sweep: Sweep) -> list[str]:
    """What could not be learned of activations given by import path."""
    return [note for name in sweep.grid.activation for note in activation(name).notes]


def standard_deviation(point: Point, scale_axis: str | None, fan_in: int, fan_out: int) -> float:
    """Of the weights of a layer."""
    if point.scale is None:
        return initializers.scheme_std(point.init, fan_in, fan_out)
    return point.scale if scale_axis == "std" else std_of(point.scale, fan_in)


def hidden_gain(point: Point, scale_axis: str | None, width: int) -> float:
    """std * sqrt(width) of the hidden layers' weights; the value asked for, to the digit."""
    if point.scale is None:
        return initializers.scheme_gain(point.init, width)
    return point.scale if scale_axis == "gain" else gain_of(point.scale, width)


class DeviceError(Exception):
    """One sentence on why JAX has no device to compute on."""


def devices() -> list[jax.Device]:
    """The devices of this process. Errors: DeviceError where a platform does not start."""
    try:
        return jax.local_devices()
    except Exception as error:  # RuntimeError, AssertionError and what else a platform's start may raise
        asked = jax.config.values.get("jax_platforms")
        text = str(error).strip().splitlines()
        named = f"on {asked!r}, which JAX_PLATFORMS asks for" if asked else "on this machine"
        raise DeviceError(
            f"JAX does not start {named}{f' ({text[0]})' if text else ''}. Take the variable away, or install JAX for "
            "that platform, for example with pip install 'winit-jax[cuda13]'."
        ) from error


@dataclass
class Executor:
    """Runs parts of one sweep on this process's devices. Safe to call from several threads."""

    sweep: Sweep
    inputs: Mapping[int | str, InputData]  # by width; "inf" where data start the theory of infinite width
    dataset: Dataset | None = None
    devices: list[jax.Device] = field(default_factory=devices)
    say: Callable[[str], None] = lambda sentence: None  # told of what a user should not learn at the end only
    _prepared: dict[int, batch.Inputs] = field(default_factory=dict)
    _predicted: dict[tuple, dict[str, np.ndarray]] = field(default_factory=dict)
    _datasets: dict[Any, training.Data] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        depths = tuple(self.sweep.grid.depth)
        points = points_by_shape(self.sweep, initializers.shape_of)
        self.verdicts = Verdicts(self.say, self.sweep.compute.batch_mib, self.devices[0].platform)
        self._before = BeforeTraining(depths, points, lambda job: self._measure(job, depths))

    def run(
        self,
        part: Part,
        depths: tuple[int, ...],
        lane: int = 0,
        watch: Callable[[float], None] = lambda share: None,
        checkpoint: Checkpoint | None = None,
    ) -> dict[str, pa.Table]:
        """The tables of a part, for networks of the given depths; of a training part, of its own depth.

        lane: picks the device. watch: told every few seconds which share of a training is done. checkpoint: where a
        training goes on from, and is kept now and then and where `watch` ends it.
        Errors: SelfCheckError; whatever JAX raises (out of memory, a failing activation) or `watch` does.
        """
        programs.make_room()
        device = self.devices[lane % len(self.devices)]
        with pinned.settings(), jax.default_device(device):
            if part.is_training:
                pieces = self._train_part(part, device, watch, checkpoint)
            else:
                pieces = [self._run_job(job, depths) for job in part.jobs]
        names = [name for name in schema.TABLES if any(name in piece for piece in pieces)]
        return {
            name: pa.concat_tables([piece[name] for piece in pieces if name in piece]).combine_chunks()
            for name in names
        }

    def _run_job(self, job: Job, depths: tuple[int, ...]) -> dict[str, pa.Table]:
        stds, found = self._measure(job, depths)
        points = Points(self.sweep, job, stds[:, 1], self._gains(job))
        return detail_tables(points, depths, found) | {"networks": networks_table(points, depths, found)}

    def _train_part(
        self, part: Part, device: jax.Device, watch: Callable[[float], None], checkpoint: Checkpoint | None
    ) -> list[dict[str, pa.Table]]:
        """Networks measured before training, and then trained: the tables of each job."""
        measured = [self._before.of(job) for job in part.jobs]
        learnt = self._train(part, device, watch, checkpoint)
        pieces, start = [], 0
        for job, (stds, found) in zip(part.jobs, measured, strict=True):
            own = learnt.of(slice(start, start + len(stds)))
            start += len(stds)
            pieces.append(trained_tables(Points(self.sweep, job, stds[:, 1], self._gains(job)), found, own))
        return pieces

    def _train(
        self, part: Part, device: jax.Device, watch: Callable[[float], None], checkpoint: Checkpoint | None
    ) -> Learnt:
        """What becomes of all networks of a part, in the order of its jobs and their points."""
        job, train, dataset = part.jobs[0], self.sweep.train, self.dataset
        assert train is not None
        assert dataset is not None
        assert job.depth is not None
        fans = ((dataset.features, job.width), (job.width, job.width), (job.width, dataset.classes))
        trainees = []
        for one in part.jobs:
            for point in one.points:
                first, hidden, readout = (standard_deviation(point, self.sweep.scale_axis, *fan) for fan in fans)
                stds = (first, hidden, readout, point.bias_std)
                rate = point.learning_rate or 0.0
                trainees.append(trainer.Trainee(one.seed, one.shape, *stds, rate, point.norm_epsilon))
        settings = trainer.Settings(
            activation=activation(job.activation),
            normalization=job.normalization,
            optimizer=train.optimizer,
            options=tuple(sorted(train.optimizer_options.items())),
            batch_size=train.batch_size,
            data_seed=train.seed,
            precision=self.sweep.compute.matmul_precision,
        )
        padded_to = self._compiled_for(len(trainees), job.width, job.depth)
        program = [padded_to, device.device_kind, self.sweep.scale_axis]
        data = [dataset.sha256, dataset.features, dataset.classes, len(dataset.x_train), len(dataset.x_test)]
        made_with = versions()
        settled = [train.model_dump(), settings.precision, {name: made_with.get(name) for name in DECISIVE}]
        belongs_to = fingerprint([part.to_json(), data, program, settled])

        found = trainer.train(
            trainees,
            self._data(device),
            width=job.width,
            depth=job.depth,
            classes=dataset.classes,
            evaluated=train.evaluated,
            settings=settings,
            padded_to=padded_to,
            between=between(watch, train.steps, checkpoint, belongs_to),
            resumed=None if checkpoint is None else checkpoint.load(belongs_to),
        )
        evaluations, diverged_at = (
            jax.tree.map(lambda *x: np.stack(x, axis=1), *of_all) for of_all in zip(*found, strict=True)
        )
        return Learnt.of_counts(
            np.array(train.evaluated),
            evaluations._asdict(),
            diverged_at,
            {"train": len(dataset.x_train), "test": len(dataset.x_test)},
            train.target_accuracy,
        )

    def together(self, width: int, depth: int) -> int:
        """How many networks of a (width, depth) are trained at once on one device."""
        one = self._training_mib(width, depth)
        return trainer.block_size(one, self.sweep.compute.batch_mib, self.devices[0].platform)

    def too_large(self) -> str | None:
        """A sentence if the largest network cannot be trained within compute.batch_mib."""
        if self.sweep.train is None:
            return None
        grid, budget = self.sweep.grid, self.sweep.compute.batch_mib
        width, depth = max(grid.width, default=1), max(grid.depth)
        needed = self._training_mib(width, depth)
        return (
            f"train: a network of {depth:,} layers of {width:,} units needs about {needed:,.0f} MiB in training, and "
            f"compute.batch_mib is {budget:,}: raise it."
            if needed > budget
            else None
        )

    def _training_mib(self, width: int, depth: int) -> float:
        assert self.sweep.train is not None
        assert self.dataset is not None
        batch_size = self.sweep.train.batch_size
        return trainer.training_mib(self.dataset.features, width, depth, self.dataset.classes, batch_size)

    def _compiled_for(self, networks: int, width: int, depth: int) -> int:
        """How many networks a program runs with: those of a whole batch, unless most of them would be padding."""
        whole = batch_size(self.sweep, self.together(width, depth))
        return whole if networks <= whole <= 2 * networks else networks

    def _data(self, device: jax.Device) -> training.Data:
        """The data set on a device, the default one of the moment."""
        assert self.dataset is not None
        with self._lock:
            if device not in self._datasets:
                # Not device_put, which would commit them to the device and have the loop compiled twice.
                self._datasets[device] = training.Data(
                    *(jnp.asarray(getattr(self.dataset, name)) for name in training.Data._fields)
                )
            return self._datasets[device]

    def _measure(self, job: Job, depths: tuple[int, ...]) -> tuple[np.ndarray, Found]:
        """(Standard deviations of first and hidden layers [points, 2], what the passes find)."""
        sweep, measure, act = self.sweep, self.sweep.measure, activation(job.activation)
        data, deepest = self.inputs[job.width], max(depths)
        fans = ((data.x.shape[1], job.width), (job.width, job.width))
        stds = np.array([[standard_deviation(point, sweep.scale_axis, *fan) for fan in fans] for point in job.points])
        biases = np.array([point.bias_std for point in job.points])
        epsilons = np.array([point.norm_epsilon for point in job.points])
        family = passes.Family(job.seed, job.shape, job.width, stds[:, 0], stds[:, 1], biases, epsilons)
        settings = batch.Settings(act, job.normalization, measure.saturation_threshold, sweep.compute.matmul_precision)
        machine = {"budget_mib": sweep.compute.batch_mib, "platform": self.devices[0].platform}
        inputs, histogram, found = self._inputs(job.width), measure.histogram, Found()
        edges = None if histogram is None else bin_edges(histogram)
        found.layers, found.histogram = passes.forward(
            family, inputs, deepest, settings, jacobian=measure.jacobian, edges=edges, **machine
        )
        self.verdicts.check(Evidence(job, data.x, family, settings, found.layers), shared=histogram is None)
        found.layers |= self._predictions(job, act, stds, deepest)
        if measure.gradients:
            edges = None if histogram is None else gradient_edges(histogram)
            found.gradients, found.gradient_histogram = passes.gradients(
                family, inputs, data.labels, depths, settings, edges=edges, **machine
            )
        if measure.singular_values and job.normalization != "batch":
            found.depths = passes.singular_values(family, data.x, depths, settings)
        return stds, found

    def _gains(self, job: Job) -> np.ndarray:
        """Of the hidden layers: [points]."""
        return np.array([hidden_gain(point, self.sweep.scale_axis, job.width) for point in job.points])

    def _predictions(self, job: Job, act: Activation, stds: np.ndarray, layers: int) -> dict[str, np.ndarray]:
        """The predicted columns, [layers, points]; none where mean field makes no statement."""
        if job.shape not in theories.SHAPES or job.normalization != "none":
            return {}
        key = (job.activation, job.width, job.points, layers)  # the same for every seed
        with self._lock:
            known = self._predicted.get(key)
        if known is None:
            biases = np.array([point.bias_std for point in job.points])
            square, correlation = theories.similarity(self.inputs[job.width].x)
            gains = self._gains(job)
            found = theory.from_inputs(act, stds[:, 0], gains, biases, square, correlation, layers)
            known = dict(zip(PREDICTED, found, strict=True))
            with self._lock:
                while len(self._predicted) >= KEPT_PREDICTIONS:
                    self._predicted.pop(next(iter(self._predicted)))
                self._predicted[key] = known
        return known

    def predictions(self) -> dict[str, pa.Table]:
        """The tables of theory alone: `mean_field`, and `theory` for the points at infinite width."""
        with pinned.settings():
            return prediction_tables(self.sweep, theories.mean_field(self.inputs, self.say))

    def _inputs(self, width: int) -> batch.Inputs:
        with self._lock:
            if width not in self._prepared:
                self._prepared[width] = batch.as_inputs(self.inputs[width].x)
            return self._prepared[width]


def self_check() -> tuple[list[str], list[str], str | None]:
    """A small sweep against float64 NumPy: (devices, what agreed, what did not). Errors: DeviceError."""
    from winit_jax.data.inputs import load_inputs
    from winit_jax.spec.reading import load_sweep

    words = ["activation=tanh,sigmoid,relu,gelu", "gain=1.5", "width=100", "depth=3", "inputs.samples=1000"]
    sweep = load_sweep(None, words, vocabulary())
    executor = Executor(sweep, {100: load_inputs(sweep.inputs, 100)})
    wrong = None
    try:
        for part in planner(1).parts(sweep):
            executor.run(part, tuple(sweep.grid.depth))
    except SelfCheckError as error:
        wrong = str(error)
    return [f"{device} ({device.device_kind})" for device in executor.devices], executor.verdicts.agreed, wrong
