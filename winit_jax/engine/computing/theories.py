"""The bridge to mean field, beside `vocabulary`: what tables of theory and `winit theory` are made from."""

import math
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, NamedTuple, TypeVar

import numpy as np

from winit_jax.columns import DEPTH_SCHEMES, PREDICTED
from winit_jax.data.inputs import InputData
from winit_jax.engine.computing.advice import LOST, Advice, Attractor, Row, gains_around
from winit_jax.engine.computing.theory_tables import MeanField, Scales, Stream
from winit_jax.errors import described
from winit_jax.numerics import blocks, pinned, schemes, theory
from winit_jax.numerics.activations import Activation, activation
from winit_jax.numerics.blocks import BLOCKS
from winit_jax.numerics.normalization import NORM_EPSILON, NORMALIZATIONS
from winit_jax.numerics.theory.closed_forms import has_closed_form
from winit_jax.spec.sweep import Inputs, Sweep
from winit_jax.user_code import is_import_path

LN_10 = math.log(10)
# Biases of which mean field speaks; and of an init's own, which vanish at infinite width, as of normal ones.
FOLLOWED_BIASES = ("normal",)
# Stands for the features of data that are not read for a plan.
USUAL_FEATURES = 784
# Seconds of one update at infinite width, and of each point of it: phi in closed form, phi by quadrature, and softmaxes
# over random logits, whose points share most of their work. Measured on one core of a server.
CLOSED, QUADRATURE, SOFTMAX = (4.5e-4, 5e-7), (4e-3, 9e-5), (1.5e-2, 5e-6)
# Of the tables that the latter begin with.
TABLES_SECONDS = 15.0
Predicted = TypeVar("Predicted")


def norm_of(normalization: str, position: str, epsilon: np.ndarray | float | None) -> theory.Norm:
    """A normalization by name, as mean field takes it."""
    if NORMALIZATIONS[normalization].is_none:
        return theory.UNNORMALIZED
    with np.errstate(divide="ignore"):
        return theory.Norm(position, np.log10(NORM_EPSILON if epsilon is None else epsilon))


class Similarity(NamedTuple):
    """How alike inputs are. Over square; NaN where there are no such two, or nothing but zeros.

    square: mean square norm of a row, which is a position of a sample, or a sample without positions. correlation: mean
    product of distinct samples at the same position. position_correlation: of distinct positions of the same sample.
    cross_correlation: of rows distinct in both.
    """

    square: float
    correlation: float
    position_correlation: float
    cross_correlation: float

    def as_start(self) -> dict[str, Any]:
        """What `theory.from_inputs` starts from."""
        positions = {"position_similarity": self.position_correlation, "cross_similarity": self.cross_correlation}
        has_positions = not math.isnan(self.position_correlation)
        return {"square": self.square, "correlation": self.correlation, **(positions if has_positions else {})}


def as_columns(found: theory.Propagation) -> dict[str, np.ndarray]:
    """The columns `PREDICTED`, [rows, points] each."""
    return {name: getattr(found, name.removeprefix("theory_")) for name in PREDICTED}


def similarity(x: np.ndarray) -> Similarity:
    """How alike inputs are, in float64. x: [samples, features] or [samples, positions, features].

    With a sum over all i of one sort, |sum_i x_i|^2 = sum_i |x_i|^2 + the products of distinct ones, so that no matrix
    of products is formed; those distinct in both are what the other two leave of |sum_is x_is|^2.
    """
    x = np.asarray(x, np.float64)
    samples, positions = len(x), x.shape[1] if x.ndim == 3 else 1
    total = float(np.sum(x * x))
    square = total / (samples * positions)
    alike = [math.nan] * 3
    of_samples = x.sum(axis=0)  # of distinct samples: [positions, features], or [features]
    squares = float(np.sum(of_samples**2))
    if samples > 1 and total:
        alike[0] = (squares - total) / ((samples - 1) * total)
    if positions > 1 and total:
        of_positions = float(np.sum(x.sum(axis=1) ** 2))
        alike[1] = (of_positions - total) / ((positions - 1) * total)
        if samples > 1:
            of_both = float(np.sum(of_samples.sum(axis=0) ** 2))
            alike[2] = (of_both - squares - of_positions + total) / ((samples - 1) * (positions - 1) * total)
    return Similarity(square, *alike)


def expected_similarity(inputs: Inputs) -> Similarity:
    """Of normal inputs per feature, as their keys say it: what theory of infinite width starts from."""
    if not inputs.has_positions:
        return Similarity(1.0, inputs.correlation, math.nan, math.nan)
    correlation, position_correlation = inputs.correlation, inputs.position_correlation
    return Similarity(1.0, correlation, position_correlation, correlation * position_correlation)


def expected_layout(inputs: Inputs) -> blocks.Layout:
    """Of normal inputs, or of a text."""
    count = inputs.positions_known
    side = math.isqrt(count)
    return blocks.Layout(count, (side, side) if side**2 == count else None)


def mean_field(
    inputs: Mapping[int | str, InputData], normal: Similarity, positions: blocks.Layout, say: Callable[[str], None]
) -> MeanField:
    """What the tables of theory need. inputs: by width; "inf" where data start the theory of infinite width.

    normal, positions: what starts it where none do, per feature, and its layout. say: told of functions from elsewhere
    that fail in it, whose predictions are NaN.
    """
    failed: set[str] = set()

    def unless_it_fails(name: str, compute: Callable[[], Predicted], instead: Predicted) -> Predicted:
        try:
            return compute()
        except Exception as error:
            if ":" not in name:
                raise
            if name not in failed:
                say(f"note: {name} has no predictions of mean field ({described(error)})")
            failed.add(name)
            return instead

    start, features, layout = normal, 1, positions
    if (data := inputs.get("inf")) is not None:
        start, features, layout = similarity(data.x), data.features, blocks.Layout(data.positions, data.grid)

    def from_inputs(
        name: str, gain: np.ndarray, bias_std: np.ndarray, layers: int, stream: Stream
    ) -> dict[str, np.ndarray]:
        first, nothing = stream.stem_scale * gain / math.sqrt(features), np.full((layers, gain.size), np.nan)
        norm = norm_of(stream.normalization, stream.norm_position, stream.norm_epsilon)
        block = BLOCKS.find(stream.block)

        def follow() -> theory.Propagation:
            found = theory.from_inputs(
                activation(name),
                first,
                gain,
                bias_std,
                layers=layers,
                block=blocks.mean_field(block, layout),
                skip=stream.skip_scale,
                branch=stream.branch_scale,
                norm=norm,
                attention_gain=stream.attention_gain,
                **start.as_start(),
            )
            return theory.Propagation(*(rows[:: len(block.updates)] for rows in found))

        lost = theory.Propagation(*[nothing] * len(theory.Propagation._fields))
        return as_columns(unless_it_fails(name, follow, lost))

    def of_width(width: float) -> tuple[float, int]:
        if math.isinf(width):
            return start.square, features
        data = inputs[int(width)]
        return similarity(data.x).square, data.features

    def fixed_point(name: str, gain: np.ndarray, bias_std: np.ndarray, square: np.ndarray) -> list[np.ndarray]:
        with np.errstate(divide="ignore", over="ignore"):
            log_weight, log_bias = (2 * np.log(std) for std in (gain, bias_std))
            log_start = np.logaddexp(log_weight + np.log(square), log_bias)
            point = unless_it_fails(
                name,
                lambda: theory.fixed_point_of_logs(activation(name), log_weight, log_bias, log_start),
                theory.FixedPoint(*[np.full(gain.shape, np.nan)] * len(theory.FixedPoint._fields)),
            )
            return [np.exp(log_start), point.q, point.c, point.chi1, point.xi_q, point.xi_c]

    def critical_gain(name: str, bias_std: float, square: float) -> tuple[float, list[float]]:
        def compute() -> tuple[float, list[float]]:
            critical = theory.critical_gain(activation(name), bias_std, theory.Start(square=square))
            return critical.gain, [jump.gain for jump in critical.jumps]

        no_gains: list[float] = []
        return unless_it_fails(name, compute, (math.nan, no_gains))

    return MeanField(
        scales=_scales(of_width),
        from_inputs=from_inputs,
        skip=lambda block: BLOCKS.find(block).skip,
        bias_init=schemes.own_bias_law,
        normalized=lambda name: NORMALIZATIONS[name].is_predicted,
        fixed_point=fixed_point,
        critical_gain=critical_gain,
    )


def _scales(inputs: Callable[[float], tuple[float, int]]) -> Scales:
    def predicted(init: str) -> bool:  # by a gain that is the same at every depth, the first layer's among them
        return schemes.is_predicted(init) and init not in DEPTH_SCHEMES and not schemes.has_own_stem(init)

    def scheme_gain(init: str, width: int) -> float:
        if init in DEPTH_SCHEMES or is_import_path(init):
            return math.nan
        return schemes.scheme_gain(init, width, width)

    return Scales(predicted, FOLLOWED_BIASES, scheme_gain, schemes.scheme_std, schemes.own_bias_std, cache(inputs))


def count_fixed_points(sweep: Sweep) -> int:
    """Rows of the mean_field table, without reading the data: normal inputs differ a little with their features."""

    def inputs(width: float) -> tuple[float, int]:
        if sweep.inputs.source != "normal" and not sweep.inputs.follows_width:
            return 1.0, USUAL_FEATURES
        features = 1 if math.isinf(width) else sweep.inputs.features or int(width)
        return features * (1 + 1e-9 * (features - math.isinf(width))), features

    return _scales(inputs).distinct(sweep)[0].size * len(sweep.grid.activation)


def layer_seconds(name: str, block: str, points: int) -> float:
    """What predicting one layer of so many points takes, as an estimate. Functions by import path are not imported."""
    known, seconds = BLOCKS.find(block), 0.0
    by_quadrature = is_import_path(name) or not has_closed_form(activation(name))
    for update in known.updates:
        base, a_point = SOFTMAX if update.attends else QUADRATURE if by_quadrature else CLOSED
        seconds += base + a_point * points
    return seconds


def tables_seconds(block: str) -> float:
    """What the first prediction of a block takes beside that, as an estimate."""
    return TABLES_SECONDS * any(update.attends for update in BLOCKS.find(block).updates)


def usual_gain(name: str, block: str, bias_std: float) -> float:
    """The critical gain of dense layers, for blocks of such weights and phi; 1 for others, and where there is none."""
    if not BLOCKS.find(block).responds:
        return 1.0
    with pinned.settings():
        critical = theory.critical_gain(activation(name), bias_std, theory.Start()).gain
    return critical if math.isfinite(critical) else 1.0


def theory_of(name: str, bias_std: float, gain: float | None, q: float = 1.0, square: float | None = None) -> Advice:
    """What mean field says of an activation, at one gain or at several round the critical one.

    q: mean square pre-activation of the first layer; or square: of the inputs' entries, and then each gain has its
    own. Errors: ValueError with one sentence if there is no such activation.
    """
    with pinned.settings():
        return _advice(activation(name), bias_std, gain, theory.Start(q, square))


def _advice(act: Activation, bias_std: float, gain: float | None, start: theory.Start) -> Advice:
    critical = theory.critical_gain(act, bias_std, start)
    gains = np.array(gains_around(critical.gain) if gain is None else [gain])
    with np.errstate(all="ignore"):
        weight, bias = 2 * np.log(gains), np.full(gains.shape, 2 * np.log(np.float64(bias_std)))
        first = start.log_q(weight, bias)
        points = theory.fixed_point_of_logs(act, weight, bias, first)
        deep = theory.depths(act, weight, bias, first, LOST)
        starts = np.exp(first).tolist()
    rows = []
    for i, value in enumerate(gains.tolist()):
        attractors = tuple(
            Attractor(rest.log_q / LN_10, rest.stability, rest.low / LN_10, rest.high / LN_10)
            for rest in theory.rests(act, float(weight[i]), float(bias[i]))
        )
        row = Row(
            gain=value,
            start=starts[i],
            q_star=float(points.q[i]),
            log10_q_star=float(points.log_q[i]) / LN_10,
            chi1=float(points.chi1[i]),
            c_star=float(points.c[i]),
            xi_q=float(points.xi_q[i]),
            xi_c=float(points.xi_c[i]),
            signal_rms_layers=float(deep.signal[i]),
            gradient_layers=float(deep.gradient[i]),
            attractors=attractors,
        )
        rows.append(row)
    notes = [*act.notes]
    if any(math.isnan(row.chi1) for row in rows):
        notes.append(f"{act.name}: where chi1 is nan, its slope or its square has no finite average there.")
    if any(math.isnan(row.log10_q_star) for row in rows):
        notes.append(f"{act.name}: where q* is -, signals settle nowhere, or its values are no numbers.")
    return Advice(
        name=act.name,
        bias_std=bias_std,
        start=start.words,
        critical=critical.gain,
        reason=critical.reason,
        rows=rows,
        jumps=[(jump.gain, jump.chi_below, jump.chi_above) for jump in critical.jumps],
        folds=[(at, q) for at, q in theory.folds(act, bias_std) if theory.GAINS[0] < at < theory.GAINS[1]],
        half_stable=theory.half_stable(act),
        notes=notes,
    )
