"""The bridge: the one file that imports `winit_jax`. Jobs in, tables out.

Nothing here knows of files; nothing in `winit_jax` knows of sweeps.
"""

import math
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np
import pyarrow as pa

from sweeps import schema
from sweeps.advice import Row, gains_around
from sweeps.inputs import InputData
from sweeps.plan import FLOPS_A_CORE, Job, Part, Planner, Point, can_share
from sweeps.predict import MeanField, prediction_tables
from sweeps.spec import Sweep, Vocabulary
from sweeps.tables import Found, bin_edges, gradient_edges, make_tables
from winit_jax import batch, derivatives, draws, initializers, reference, theory
from winit_jax.activations import ACTIVATIONS, Activation, activation
from winit_jax.gradients import Readout
from winit_jax.network import Layer

# A stack of draws and the signals between stacks may each take this share of compute.batch_mib.
STACK_SHARE = 0.125
CHECKED_LAYERS = 3
# Singular values are taken of the Jacobians of so many inputs, the first ones.
SPECTRUM_INPUTS = 4
# Shapes whose entries are independent: those that mean field speaks of.
INDEPENDENT = ("normal", "uniform", "truncated_normal")
KEPT_PREDICTIONS = 8
# The float64 check holds about eight such arrays; beyond this it would take longer than it is worth.
CHECKED_PAIRS = 4_000_000


class SelfCheckError(Exception):
    """The fast pass and float64 NumPy disagree: nothing computed here can be trusted."""

    fatal = True


def vocabulary() -> Vocabulary:
    """The words that a sweep file may use, from the numerics' own tables."""
    return Vocabulary(
        activations=tuple(sorted(ACTIVATIONS)),
        check_activation=_check_activation,
        shapes=tuple(initializers.SHAPES),
        schemes=tuple(initializers.SCHEMES),
        gradient_mib=derivatives.gradient_mib,
    )


def _check_activation(name: str) -> str | None:
    try:
        activation(name)
    except ValueError as error:
        return str(error)
    return None


def planner(cores: int, speedup: float = 1.0) -> Planner:
    """A planner that knows the numerics. speedup: of an accelerator over the cores, as an estimate."""
    return Planner(
        shape_of=initializers.shape_of,
        one_pass=lambda name: activation(name).homogeneous,
        flops_a_second=FLOPS_A_CORE * cores * speedup,
    )


def activation_notes(sweep: Sweep) -> list[str]:
    """What could not be learned of activations given by import path."""
    return [note for name in sweep.grid.activation for note in activation(name).notes]


def standard_deviations(job: Job, point: Point, scale_axis: str | None, features: int) -> tuple[float, float]:
    """(first layer's, hidden layers') standard deviation of the weights."""
    if point.scale is None:
        first, hidden = (initializers.scheme_std(point.init, fan_in, job.width) for fan_in in (features, job.width))
        return first, hidden
    if scale_axis == "std":
        return point.scale, point.scale
    return point.scale / math.sqrt(features), point.scale / math.sqrt(job.width)


@dataclass(frozen=True)
class Group:
    """Points that run together: as they are, or all as one network of unit gain and rescaled.

    positions: in the job's points. networks: what runs, as many or one. *_log10_ratio: [positions], of the std
    of the first and of the hidden layers over those that run.
    """

    positions: np.ndarray
    networks: batch.Networks
    first_log10_ratio: np.ndarray
    hidden_log10_ratio: np.ndarray

    @property
    def n_networks(self) -> int:
        return len(self.networks.hidden.mantissa)


def similarity(x: np.ndarray) -> tuple[float, float]:
    """(Mean square norm of the inputs, mean dot product of distinct ones over it). x: [samples, features]."""
    x = np.asarray(x, np.float64)
    total = float(np.sum(x * x))
    if len(x) == 1 or total == 0:
        return total / len(x), float("nan")
    return total / len(x), float((np.sum(x.sum(axis=0) ** 2) - total) / ((len(x) - 1) * total))


def _networks(stds: np.ndarray, biases: np.ndarray) -> batch.Networks:
    return batch.Networks(*(batch.as_scale(x) for x in (stds[:, 0], stds[:, 1], biases)))


def _put(
    target: dict[str, np.ndarray], columns: dict[str, np.ndarray], positions: np.ndarray, count: int, axis: int = 1
) -> None:
    """Columns of some positions into those of all points, along an axis."""
    for name, values in columns.items():
        shape = list(values.shape)
        shape[axis] = count
        whole = target.setdefault(name, np.empty(shape, values.dtype))
        whole[(slice(None),) * axis + (positions,)] = values


@dataclass
class Executor:
    """Runs parts of one sweep on this process's devices. Safe to call from several threads."""

    sweep: Sweep
    inputs: Mapping[int | str, InputData]  # by width; "inf" where data start the theory of infinite width
    devices: list[jax.Device] = field(default_factory=jax.local_devices)
    checks: list[str] = field(default_factory=list)
    _prepared: dict[int, batch.Inputs] = field(default_factory=dict)
    _predicted: dict[tuple, dict[str, np.ndarray]] = field(default_factory=dict)
    _checked: set[tuple] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, part: Part, depths: tuple[int, ...], lane: int = 0) -> dict[str, pa.Table]:
        """The tables of a part, for networks of the given depths. lane: picks the device.

        Errors: SelfCheckError; whatever JAX raises (out of memory, a failing activation).
        """
        with jax.default_device(self.devices[lane % len(self.devices)]):
            pieces = [self._run_job(job, depths) for job in part.jobs]
        names = [name for name in schema.TABLES if name in pieces[0]]
        return {name: pa.concat_tables([piece[name] for piece in pieces]).combine_chunks() for name in names}

    def _run_job(self, job: Job, depths: tuple[int, ...]) -> dict[str, pa.Table]:
        act = activation(job.activation)
        features = self.inputs[job.width].x.shape[1]
        stds = np.array([standard_deviations(job, p, self.sweep.scale_axis, features) for p in job.points])
        measure, found = self.sweep.measure, Found()
        for group in self._groups(job, act, stds, shared=measure.histogram is None):
            columns = self._forward(job, act, group, max(depths))
            first = group.positions[0]
            self._check(job, act, (stds[first, 0], stds[first, 1]), job.points[first].bias_std, columns)
            found.histogram = columns.pop("histogram", None)  # asked for, there is one group
            _put(found.layers, columns, group.positions, len(job.points))
        found.layers |= self._predictions(job, act, stds, max(depths))
        if measure.gradients:
            labelled = self.inputs[job.width].labels is not None
            for group in self._groups(job, act, stds, shared=not labelled and measure.histogram is None):
                gradients, found.gradient_histogram = self._gradients(job, act, group, depths)
                _put(found.gradients, gradients, group.positions, len(job.points), axis=0)
        if measure.singular_values and job.normalization != "batch":
            for group in self._groups(job, act, stds, shared=True):
                _put(found.depths, self._singular_values(job, act, group, depths), group.positions, len(job.points))
        return make_tables(self.sweep, job, stds[:, 1], depths, found)

    def _predictions(self, job: Job, act: Activation, stds: np.ndarray, layers: int) -> dict[str, np.ndarray]:
        """The predicted columns, [layers, points]; none where mean field makes no statement."""
        if job.shape not in INDEPENDENT or job.normalization != "none":
            return {}
        key = (job.activation, job.width, job.points, layers)  # the same for every seed
        with self._lock:
            known = self._predicted.get(key)
        if known is None:
            biases = np.array([point.bias_std for point in job.points])
            square, correlation = similarity(self.inputs[job.width].x)
            gains = stds[:, 1] * math.sqrt(job.width)
            found = theory.from_inputs(act, stds[:, 0], gains, biases, square, correlation, layers)
            known = dict(zip(schema.PREDICTED, found, strict=True))
            with self._lock:
                while len(self._predicted) >= KEPT_PREDICTIONS:
                    self._predicted.pop(next(iter(self._predicted)))
                self._predicted[key] = known
        return known

    def predictions(self) -> dict[str, pa.Table]:
        """The tables of theory alone: `mean_field`, and `theory` for the points at infinite width."""
        square, correlation, features = 1.0, 0.0, 1
        if (data := self.inputs.get("inf")) is not None:
            (square, correlation), features = similarity(data.x), data.x.shape[1]

        def from_inputs(name: str, gain: np.ndarray, bias_std: np.ndarray, layers: int) -> theory.Propagation:
            first = gain / math.sqrt(features)
            return theory.from_inputs(activation(name), first, gain, bias_std, square, correlation, layers)

        known = MeanField(
            independent=lambda init: initializers.shape_of(init) in INDEPENDENT,
            scheme_std=initializers.scheme_std,
            from_inputs=from_inputs,
            fixed_point=lambda name, *scales: theory.fixed_point(activation(name), *scales),
            critical_gain=lambda name, bias_std: theory.critical_gain(activation(name), bias_std).gain,
        )
        return prediction_tables(self.sweep, known)

    def _groups(self, job: Job, act: Activation, stds: np.ndarray, shared: bool) -> Iterator[Group]:
        """The points of a job as groups that run together. shared: whether rescaling gives all that is asked."""
        biases = np.array([point.bias_std for point in job.points])
        one_pass = np.zeros(len(stds), bool)
        if shared and act.homogeneous and job.normalization == "none":
            one_pass = np.array([can_share(point) for point in job.points])
        if one_pass.any():
            features = self.inputs[job.width].x.shape[1]
            unit = np.array([[1 / math.sqrt(features), 1 / math.sqrt(job.width)]])
            ratios = np.log10(stds[one_pass] / unit)
            yield Group(np.flatnonzero(one_pass), _networks(unit, np.zeros(1)), ratios[:, 0], ratios[:, 1])
        if not one_pass.all():
            rest = np.flatnonzero(~one_pass)
            yield Group(rest, _networks(stds[rest], biases[rest]), np.zeros(len(rest)), np.zeros(len(rest)))

    def _settings(self, job: Job, act: Activation) -> batch.Settings:
        return batch.Settings(
            activation=act,
            normalization=job.normalization,
            saturation_threshold=self.sweep.measure.saturation_threshold,
            precision=self.sweep.compute.matmul_precision,
        )

    def _forward(self, job: Job, act: Activation, group: Group, layers: int) -> dict[str, np.ndarray]:
        """The measured columns of a group, [layers, positions], and the counts of histograms."""
        sweep, (samples, features) = self.sweep, self.inputs[job.width].x.shape
        budget = sweep.compute.batch_mib
        block = batch.block_size(group.n_networks, samples, job.width, budget, self.devices[0].platform)
        count = stack_layers(job.width, layers - 1, budget)
        histogram = sweep.measure.histogram
        measured = batch.forward(
            self._inputs(job.width),
            group.networks,
            draws.first_layer(job.seed, job.shape, job.width, features),
            (
                draws.layer_stack(job.seed, job.shape, job.width, start, min(count, layers + 1 - start))
                for start in range(2, layers + 1, count)
            ),
            draws.directions(job.seed, "tangents", samples, job.width) if sweep.measure.jacobian else None,
            self._settings(job, act),
            block=block,
            edges=None if histogram is None else bin_edges(histogram),
        )
        jacobian_scale = np.arange(layers)[:, None] * group.hidden_log10_ratio
        columns = batch.to_columns(
            measured,
            act,
            samples=samples,
            width=job.width,
            log10_scale=group.first_log10_ratio + jacobian_scale,
            log10_jacobian_scale=jacobian_scale,
        )
        if measured.histogram is not None:
            columns["histogram"] = np.asarray(measured.histogram)
        return columns

    def _gradients(
        self, job: Job, act: Activation, group: Group, depths: tuple[int, ...]
    ) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
        """(log10 RMS of the gradients, [positions, depths, layers], their histograms or None)."""
        sweep, data = self.sweep, self.inputs[job.width]
        samples, features = data.x.shape
        loss: Any = draws.directions(job.seed, "cotangents", samples, job.width)
        if data.labels is not None:
            classes, labels = np.unique(data.labels, return_inverse=True)
            weights = draws.readout(job.seed, job.width, len(classes))
            loss = Readout(weights, np.asarray(labels, np.int32))
        deepest = max(depths)
        one = derivatives.gradient_mib(deepest, samples, job.width, job.normalization)
        block = 1
        if self.devices[0].platform != "cpu":
            block = max(1, min(group.n_networks, int(sweep.compute.batch_mib / one)))
        histogram = sweep.measure.histogram
        preact, weight, counts = derivatives.gradients(
            self._inputs(job.width),
            group.networks,
            draws.first_layer(job.seed, job.shape, job.width, features),
            self._hidden(job, deepest),
            loss,
            depths,
            self._settings(job, act),
            block=block,
            edges=None if histogram is None else gradient_edges(histogram),
        )
        # A gradient at layer l of a network of depth L comes back through L - l layers of weights.
        layer = np.arange(1, deepest + 1)
        back = (np.array(depths)[:, None] - layer) * group.hidden_log10_ratio[:, None, None]
        below = np.where(layer == 1, 0.0, group.first_log10_ratio[:, None, None])
        below = below + np.maximum(layer - 2, 0) * group.hidden_log10_ratio[:, None, None]
        return {"log10_preact_grad_rms": preact + back, "log10_weight_grad_rms": weight + back + below}, counts

    def _singular_values(
        self, job: Job, act: Activation, group: Group, depths: tuple[int, ...]
    ) -> dict[str, np.ndarray]:
        """The sv_* columns of a group: [depths, positions]."""
        x = self.inputs[job.width].x
        found = derivatives.singular_values(
            batch.as_inputs(x[:SPECTRUM_INPUTS]),
            group.networks,
            draws.first_layer(job.seed, job.shape, job.width, x.shape[1]),
            self._hidden(job, max(depths)),
            depths,
            self._settings(job, act),
        )
        log10_scale = (np.array(depths)[:, None] - 1) * group.hidden_log10_ratio
        powers = {"sv_mean_square": 2, "sv_var_square": 4}
        with np.errstate(over="ignore"):
            return {name: values * 10.0 ** (powers.get(name, 1) * log10_scale) for name, values in found.items()}

    def _hidden(self, job: Job, layers: int) -> Layer | None:
        return draws.layer_stack(job.seed, job.shape, job.width, 2, layers - 1) if layers > 1 else None

    def _inputs(self, width: int) -> batch.Inputs:
        with self._lock:
            if width not in self._prepared:
                self._prepared[width] = batch.as_inputs(self.inputs[width].x)
            return self._prepared[width]

    def _check(
        self, job: Job, act: Activation, std: tuple[float, float], bias_std: float, columns: dict[str, np.ndarray]
    ) -> None:
        """Once for each activation, normalization and width: the first network against float64 NumPy.

        std: of its first and hidden layers. columns: [layers, networks], the first of which is compared.
        """
        x = self.inputs[job.width].x
        program = (job.activation, job.normalization, job.width)
        with self._lock:
            if program in self._checked or x.shape[0] * job.width > CHECKED_PAIRS:
                return
            self._checked.add(program)
        depth = min(len(columns["nonfinite"]), CHECKED_LAYERS)
        layers = [draws.first_layer(job.seed, job.shape, job.width, x.shape[1])]
        if (hidden := self._hidden(job, depth)) is not None:
            layers += [Layer(*parts) for parts in zip(*hidden, strict=True)]
        wrong = reference.compare(
            {name: values[:depth, 0] for name, values in columns.items()},
            x,
            (*std, bias_std),
            layers,
            np.asarray(draws.directions(job.seed, "tangents", x.shape[0], job.width), np.float64),
            act,
            self.sweep.measure.saturation_threshold,
            job.normalization,
        )
        if wrong:
            raise SelfCheckError(
                f"the self-check failed for {job.activation} at width {job.width}: {wrong[0]}"
                f" ({len(wrong)} in all). This jax and jaxlib cannot be trusted here; see `winit doctor`."
            )
        with self._lock:
            self.checks.append(f"{job.activation}, {job.normalization}, width {job.width}: {depth} layers agree")


def stack_layers(width: int, hidden: int, batch_mib: float) -> int:
    """How many layers' draws are held at a time."""
    one_mib = width * width * 4 / 2**20
    return max(1, min(hidden, int(STACK_SHARE * batch_mib / one_mib)))


def theory_of(name: str, bias_std: float, gain: float | None) -> tuple[float, str, list[Row]]:
    """(Critical gain or NaN, why there is none, fixed points at one gain or at several round it).

    Errors: ValueError with one sentence if there is no such activation.
    """
    act = activation(name)
    critical = theory.critical_gain(act, bias_std)
    gains = np.array(gains_around(critical.gain) if gain is None else [gain])
    found = theory.fixed_point(act, gains**2, bias_std**2)
    rows = [Row(float(g), *(float(x) for x in values)) for g, *values in zip(gains, *_in_row_order(found), strict=True)]
    return critical.gain, critical.reason, rows


def _in_row_order(found: theory.FixedPoint) -> tuple[np.ndarray, ...]:
    return found.q, found.chi1, found.c, found.xi_q, found.xi_c


def self_check() -> tuple[list[str], list[str], str | None]:
    """A small sweep against float64 NumPy: (devices, what agreed, what did not)."""
    from sweeps.inputs import load_inputs
    from sweeps.reading import load_sweep

    words = ["activation=tanh,sigmoid,relu,gelu", "gain=1.5", "width=100", "depth=3", "inputs.samples=1000"]
    sweep = load_sweep(None, words, vocabulary())
    executor = Executor(sweep, {100: load_inputs(sweep.inputs, 100)})
    wrong = None
    try:
        for part in planner(1).parts(sweep):
            executor.run(part, tuple(sweep.grid.depth))
    except SelfCheckError as error:
        wrong = str(error)
    return [f"{device} ({device.device_kind})" for device in executor.devices], executor.checks, wrong
