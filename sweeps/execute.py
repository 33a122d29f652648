"""The bridge: the one file that imports `winit_jax`. Jobs in, tables out.

Nothing here knows of files; nothing in `winit_jax` knows of sweeps.
"""

import math
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import jax
import numpy as np
import pyarrow as pa

from sweeps import schema
from sweeps.inputs import InputData
from sweeps.plan import FLOPS_A_CORE, Job, Part, Planner, Point, can_share
from sweeps.spec import Histogram, Sweep, Vocabulary
from winit_jax import batch, initializers, reference
from winit_jax.activations import ACTIVATIONS, Activation, activation

# A stack of draws and the signals between stacks may each take this share of compute.batch_mib.
STACK_SHARE = 0.125
CHECKED_LAYERS = 3
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


@dataclass
class Executor:
    """Runs parts of one sweep on this process's devices. Safe to call from several threads."""

    sweep: Sweep
    inputs: Mapping[int, InputData]  # by width
    devices: list[jax.Device] = field(default_factory=jax.local_devices)
    checks: list[str] = field(default_factory=list)
    _prepared: dict[int, batch.Inputs] = field(default_factory=dict)
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
        groups = self._groups(job, act, stds, features, max(depths))
        measured: dict[str, np.ndarray] = {}
        for members, columns in groups:
            self._check(job, act, stds[members[0]], job.points[members[0]].bias_std, columns)
            for name, values in columns.items():
                shape = (values.shape[0], len(job.points), *values.shape[2:])
                measured.setdefault(name, np.empty(shape, values.dtype))[:, members] = values
        return self._tables(job, stds[:, 1], depths, measured)

    def _groups(
        self, job: Job, act: Activation, stds: np.ndarray, features: int, layers: int
    ) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
        """(positions in job.points, columns of [layers, positions]) of what runs together."""
        positions = np.arange(len(job.points))
        shared = np.zeros(len(positions), bool)
        if act.homogeneous and job.normalization == "none" and not self.sweep.measure.histogram:
            shared = np.array([can_share(point) for point in job.points])
        if shared.any():
            # phi(s a) = s phi(a): a network is one with unit gain times the product of its gains.
            unit = np.array([[1 / math.sqrt(features), 1 / math.sqrt(job.width)]])
            ratios = np.log10(stds[shared] / unit)
            jacobian_ratios = np.arange(layers)[:, None] * ratios[:, 1]
            scales = (ratios[:, 0] + jacobian_ratios, jacobian_ratios)
            yield positions[shared], self._forward(job, act, unit, np.zeros(1), layers, *scales)
        if not shared.all():
            biases = np.array([point.bias_std for point in job.points])
            yield positions[~shared], self._forward(job, act, stds[~shared], biases[~shared], layers)

    def _forward(
        self,
        job: Job,
        act: Activation,
        stds: np.ndarray,
        biases: np.ndarray,
        layers: int,
        log10_scale: np.ndarray | float = 0.0,
        log10_jacobian_scale: np.ndarray | float = 0.0,
    ) -> dict[str, np.ndarray]:
        sweep, data = self.sweep, self.inputs[job.width]
        samples, features = data.x.shape
        budget = sweep.compute.batch_mib
        platform = self.devices[0].platform
        block = batch.block_size(len(stds), samples, job.width, budget, platform)
        count = stack_layers(job.width, layers - 1, budget)
        networks = batch.Networks(*(batch.as_scale(x) for x in (stds[:, 0], stds[:, 1], biases)))
        histogram = sweep.measure.histogram
        first = batch.first_layer(job.seed, job.shape, job.width, features)
        settings = batch.Settings(
            activation=act,
            normalization=job.normalization,
            saturation_threshold=sweep.measure.saturation_threshold,
            precision=sweep.compute.matmul_precision,
        )
        measured = batch.forward(
            self._inputs(job.width),
            networks,
            first,
            (
                batch.layer_stack(job.seed, job.shape, job.width, start, min(count, layers + 1 - start))
                for start in range(2, layers + 1, count)
            ),
            batch.directions(job.seed, "tangents", samples, job.width),
            settings,
            block=block,
            edges=None if histogram is None else bin_edges(histogram),
        )
        columns = batch.to_columns(
            measured,
            act,
            samples=samples,
            width=job.width,
            log10_scale=log10_scale,
            log10_jacobian_scale=log10_jacobian_scale,
        )
        if measured.histogram is not None:
            columns["histogram"] = np.asarray(measured.histogram)
        return columns

    def _inputs(self, width: int) -> batch.Inputs:
        with self._lock:
            if width not in self._prepared:
                self._prepared[width] = batch.as_inputs(self.inputs[width].x)
            return self._prepared[width]

    def _check(
        self, job: Job, act: Activation, std: np.ndarray, bias_std: float, columns: dict[str, np.ndarray]
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
        first = batch.first_layer(job.seed, job.shape, job.width, x.shape[1])
        draws = [(std[0] * np.asarray(first.weights, np.float64), bias_std * np.asarray(first.biases, np.float64))]
        if depth > 1:
            hidden = batch.layer_stack(job.seed, job.shape, job.width, 2, depth - 1)
            draws += [
                (std[1] * np.asarray(w, np.float64), bias_std * np.asarray(b, np.float64))
                for w, b in zip(hidden.weights, hidden.biases, strict=True)
            ]
        rounded = [(w.astype(np.float32).astype(np.float64) * (1 + 2.0**-23), b) for w, b in draws]
        expected, nudged = (
            reference.forward(
                x,
                [weights for weights, _ in version],
                [biases for _, biases in version],
                _in_float64(act),
                _in_float64(act.slope),
                act.max_slope,
                self.sweep.measure.saturation_threshold,
                job.normalization,
            )
            for version in (draws, rounded)
        )
        first_network = {name: values[:depth, 0] for name, values in columns.items()}
        wrong = reference.disagreements(first_network, expected, nudged, x.shape[0] * job.width)
        if wrong:
            raise SelfCheckError(
                f"the self-check failed for {job.activation} at width {job.width}: {wrong[0]}"
                f" ({len(wrong)} in all). This jax and jaxlib cannot be trusted here; see `winit doctor`."
            )
        with self._lock:
            self.checks.append(f"{job.activation}, {job.normalization}, width {job.width}: {depth} layers agree")

    def _tables(
        self, job: Job, std: np.ndarray, depths: tuple[int, ...], measured: dict[str, np.ndarray]
    ) -> dict[str, pa.Table]:
        sweep, points = self.sweep, job.points
        count, deepest = len(points), max(depths)
        categories = {
            "activation": sweep.grid.activation,
            "init": sweep.grid.init,
            "normalization": sweep.grid.normalization,
        }
        gain = std * math.sqrt(job.width)
        if sweep.scale_axis == "gain":  # the value asked for, to the digit
            gain = np.array([g if p.scale is None else p.scale for g, p in zip(gain, points, strict=True)])
        keys = {
            "activation": np.full(count, sweep.grid.activation.index(job.activation)),
            "init": np.array([sweep.grid.init.index(point.init) for point in points]),
            "std": std,
            "gain": gain,
            "bias_std": np.array([point.bias_std for point in points]),
            "normalization": np.full(count, sweep.grid.normalization.index(job.normalization)),
            "width": np.full(count, job.width),
            "seed": np.full(count, job.seed),
        }
        spec, counts = sweep.measure.histogram, measured.pop("histogram", None)
        wanted = np.array(depths) - 1

        def long(rows: int, **extra: np.ndarray) -> dict[str, np.ndarray]:
            """Keys of every point, each repeated for `rows` rows, with columns that vary along them."""
            repeated = {name: np.repeat(values, rows) for name, values in keys.items()}
            return {**repeated, **{name: np.tile(values, count) for name, values in extra.items()}}

        tables = {
            "networks": schema.make_table(
                "networks",
                long(len(depths), depth=np.array(depths))
                | {name: values[wanted].T.ravel() for name, values in measured.items()},
                categories,
            )
        }
        layers = np.arange(1, deepest + 1)
        if sweep.measure.layers:
            tables["layers"] = schema.make_table(
                "layers",
                long(deepest, depth=np.full(deepest, deepest), layer=layers)
                | {name: values[:deepest].T.ravel() for name, values in measured.items()},
                categories,
            )
        if spec is not None and counts is not None:
            tables["histograms"] = schema.make_table(
                "histograms", self._histogram_columns(spec, counts, layers, long), categories
            )
        return tables

    @staticmethod
    def _histogram_columns(
        histogram: Histogram, counts: np.ndarray, layers: np.ndarray, long: Callable[..., dict[str, np.ndarray]]
    ) -> dict[str, np.ndarray]:
        """counts: [layers, points, bins + 3], below first, then above and not finite (NaN edges)."""
        edges = bin_edges(histogram)
        low = np.concatenate([[-np.inf], edges, [np.nan]])
        high = np.concatenate([edges, [np.inf, np.nan]])
        bins = len(low)
        deepest = len(layers)
        return long(
            deepest * bins,
            depth=np.full(deepest * bins, deepest),
            layer=np.repeat(layers, bins),
            bin_low=np.tile(low, deepest),
            bin_high=np.tile(high, deepest),
        ) | {"count": np.moveaxis(counts, 0, 1).ravel()}


def bin_edges(histogram: Histogram) -> np.ndarray:
    """Edges of a sweep's histogram bins: [bins + 1]."""
    return np.linspace(histogram.low, histogram.high, histogram.bins + 1)


def stack_layers(width: int, hidden: int, batch_mib: float) -> int:
    """How many layers' draws are held at a time."""
    one_mib = width * width * 4 / 2**20
    return max(1, min(hidden, int(STACK_SHARE * batch_mib / one_mib)))


def _in_float64(function):
    """A JAX function as one of float64 NumPy arrays, on the CPU."""

    def evaluate(a: np.ndarray) -> np.ndarray:
        with jax.enable_x64(True), jax.default_device(jax.local_devices(backend="cpu")[0]):
            return np.asarray(jax.jit(function)(np.asarray(a, np.float64)))

    return evaluate


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
