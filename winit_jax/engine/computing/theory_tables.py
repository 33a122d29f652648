"""The tables of theory alone: fixed points of a sweep's scales, and its points at infinite width."""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from winit_jax.columns import AXES
from winit_jax.engine.computing.rules import categories, codes_of
from winit_jax.spec.exact import gain_of
from winit_jax.spec.formulas import value_of
from winit_jax.spec.parts import holds_depth
from winit_jax.spec.sweep import Grid, Scale, Sweep
from winit_jax.store import schema
from winit_jax.store.unfilled import never_filled

# Stands for infinity in a scheme's variance, which is of the order of 1 / width.
WIDE = 1 << 20
# Fixed points take about a millisecond each: a sweep with more distinct scales gets no table of them.
MAX_FIXED_POINTS = 20_000


@dataclass(frozen=True)
class Scales:
    """Where the networks of a sweep lie on mean field's axes.

    predicted: whether mean field speaks of an init's weights. followed_biases: the ways to draw biases of which it does
    where they are not 0. scheme_gain: of an init's hidden layers, from their width. scheme_std, bias_std: of an init,
    and of its own biases, from fan-in and fan-out. inputs: of a width, math.inf among them: (mean square norm of the
    inputs, features).
    """

    predicted: Callable[[str], bool]
    followed_biases: Sequence[str]
    scheme_gain: Callable[[str, int], float]
    scheme_std: Callable[[str, int, int], float]
    bias_std: Callable[[str, int, int], float]
    inputs: Callable[[float], tuple[float, int]]

    def gain(self, init: str, scale: float | None, scale_axis: str | None, width: float) -> float:
        """std * sqrt(width) of hidden layers; width may be infinite, unless the scale is an std."""
        if scale is None:
            return self.scheme_gain(init, WIDE if math.isinf(width) else int(width))
        return scale if scale_axis == "gain" else gain_of(scale, int(width))

    def square(self, init: str, scale: float | None, scale_axis: str | None, width: float) -> float:
        """(q_1 - bias_std^2) / gain^2: how large the first layer is beside the gain of the hidden ones."""
        norm, features = self.inputs(width)
        if scale is None and not math.isinf(width):
            fan = int(width)
            return (self.scheme_std(init, features, fan) / self.scheme_std(init, fan, fan)) ** 2 * norm / width
        return norm / (width if scale is not None and scale_axis == "std" else features)

    def of_own_biases(self, init: str, width: float) -> tuple[float, float]:
        """(The standard deviation of hidden layers' own biases, what `square` is more by the first layer's own)."""
        if math.isinf(width):
            return 0.0, 0.0
        fan, (_, features) = int(width), self.inputs(width)
        first, hidden = (self.bias_std(init, fan_in, fan) for fan_in in (features, fan))
        return hidden, (first**2 - hidden**2) / self.scheme_std(init, fan, fan) ** 2 / width if hidden else 0.0

    def distinct(self, sweep: Sweep) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(square, gain, bias_std) of the rows of `mean_field` for an activation; empty if none, or too many.

        They speak of dense stacks whose scales are numbers; stem_scale multiplies the root of square.
        """
        grid = sweep.grid
        widths = [*grid.width, *([math.inf] if grid.infinite else [])]
        points = [
            (init, scale)
            for init, scale in sweep.init_points()
            if self.predicted(init) and not isinstance(scale, str) and _is_dense(grid)
        ]
        # To twelve digits: the start of a scheme differs in its last ones from width to width.
        places: dict[tuple[float, ...], tuple[float, float, float]] = {}
        given: list[Scale] = [1.0] if grid.stem_scale is None else grid.stem_scale
        stems = [scale for scale in given if not isinstance(scale, str)]
        for point, width, stem in itertools.product(points, widths, stems):
            square, gain = (of(*point, sweep.scale_axis, width) for of in (self.square, self.gain))
            square *= stem**2
            biases, more = grid.bias_std, 0.0
            if biases is None:
                own, more = self.of_own_biases(point[0], width)
                biases = [own]
            followed = not set(grid.bias_init or self.followed_biases).isdisjoint(self.followed_biases)
            for bias in {bias for bias in biases if not isinstance(bias, str) and (followed or bias == 0)}:
                key = tuple(float(f"{x:.12g}") for x in (square + more, gain))
                places[(*key, bias)] = (square + more, gain, bias)
            if len(places) * len(grid.activation) > MAX_FIXED_POINTS:  # and no more of them need be listed
                return (np.empty(0),) * 3
        if "none" not in grid.normalization or not places:
            return (np.empty(0),) * 3
        found = np.array([places[key] for key in sorted(places)]).T
        return found[0], found[1], found[2]


class Stream(NamedTuple):
    """What the layers of a network stand in, with numbers in place of formulas."""

    block: str
    skip_scale: float
    branch_scale: float
    attention_gain: float
    normalization: str
    norm_position: str
    norm_epsilon: float
    stem_scale: float = 1.0


@dataclass(frozen=True)
class MeanField:
    """What these tables need to know of the numerics; activations by name, scales as arrays [N].

    from_inputs: (activation, gain, bias_std, layers, stream) -> the columns PREDICTED, [layers, N] each, by name.
    skip: block -> the skip_scale that it has by itself. bias_init: init -> how its own biases are drawn. normalized:
    whether mean field speaks of a normalization.
    fixed_point: (activation, gain, bias_std, square) -> start, q*, c*, chi1, xi_q, xi_c of networks whose first
    layer has mean square gain^2 square + bias_std^2.
    critical_gain: (activation, bias_std, square) -> (NaN if there is none, the gains at which the fixed point jumps).
    """

    scales: Scales
    from_inputs: Callable[[str, np.ndarray, np.ndarray, int, Stream], Mapping[str, np.ndarray]]
    skip: Callable[[str], float]
    bias_init: Callable[[str], str]
    normalized: Callable[[str], bool]
    fixed_point: Callable[[str, np.ndarray, np.ndarray, np.ndarray], Sequence[np.ndarray]]
    critical_gain: Callable[[str, float, float], tuple[float, Sequence[float]]]


def _is_dense(grid: Grid) -> bool:
    """Whether any network of a grid is a dense stack, without skip and with a branch_scale of 1."""
    return "dense" in grid.block and 0 in (grid.skip_scale or [0]) and 1 in grid.branch_scale


def prediction_tables(sweep: Sweep, known: MeanField) -> dict[str, pa.Table]:
    """`mean_field` where mean field speaks of any point of the sweep, and `theory` where a width is infinite."""
    tables = {}
    if (points := _mean_field(sweep, known)) is not None:
        tables["mean_field"] = points
    if sweep.grid.infinite:
        tables["theory"] = _theory(sweep, known)
    return tables


def _mean_field(sweep: Sweep, known: MeanField) -> pa.Table | None:
    """Fixed points and critical gains of the distinct (activation, gain, bias_std, start) that theory speaks of."""
    grid = sweep.grid
    square, gain, bias = known.scales.distinct(sweep)
    if not gain.size:
        return None
    rows: list[tuple[np.ndarray, ...]] = []
    for code, name in enumerate(grid.activation):
        fixed_point = known.fixed_point(name, gain, bias, square)
        critical = [known.critical_gain(name, *place) for place in zip(bias.tolist(), square.tolist(), strict=True)]
        jumps = [
            min((at for at in ats if at > value), default=math.nan)
            for (_, ats), value in zip(critical, gain.tolist(), strict=True)
        ]
        rows.append(
            (np.full(len(gain), code), gain, bias, *fixed_point, np.array([at for at, _ in critical]), np.array(jumps))
        )
    return schema.make_table("mean_field", _joined("mean_field", rows), {"activation": grid.activation})


def _theory(sweep: Sweep, known: MeanField) -> pa.Table:
    """Every point of the grid at infinite width and each depth; NaN where there is no prediction."""
    grid, scale_axis = sweep.grid, str(sweep.scale_axis)
    rows: list[dict[str, Any]] = []
    # One propagation serves every depth, unless a formula depends on it.
    several = [[depth] for depth in grid.depth] if any(map(holds_depth, _formulas(sweep))) else [grid.depth]
    skips: Sequence[Scale | None] = grid.skip_scale or [None]
    functions = list(itertools.product(*(enumerate(names) for names in (grid.activation, grid.block))))
    for depths, ((code, name), (block, block_name)), skip, branch, sharpness in itertools.product(
        several, functions, skips, grid.branch_scale, grid.attention_gain
    ):
        laws: Sequence[str | None] = grid.bias_init or [None]
        biases: Sequence[Scale | None] = grid.bias_std or [None]
        points = [(init, bias, law) for init, law, bias in itertools.product(sweep.init_points(), laws, biases)]
        deepest = max(depths)

        def value(scale: Scale, depth: int = deepest) -> float:
            return value_of(scale, depth=depth, features=known.scales.inputs(math.inf)[1])

        gain = np.array(
            [
                known.scales.gain(init, None if scale is None else value(scale), sweep.scale_axis, math.inf)
                for (init, scale), *_ in points
            ]
        )
        # At infinite width biases of an init's own are 0.
        bias = np.array([0.0 if of_point is None else value(of_point) for _, of_point, _ in points])
        drawn = [known.bias_init(init) if law is None else law for (init, _), _, law in points]
        own = known.skip(block_name) if skip is None else value(skip)
        stems: Sequence[Scale | None] = grid.stem_scale or [None]
        for (norm, normalization), epsilon, (position, position_name), of_stem in itertools.product(
            enumerate(grid.normalization), grid.norm_epsilon, enumerate(grid.norm_position), stems
        ):
            stem = 1.0 if of_stem is None else value(of_stem)
            scales = (own, value(branch), value(sharpness))
            stream = Stream(block_name, *scales, normalization, position_name, value(epsilon), stem)
            propagation = known.from_inputs(name, gain, bias, deepest, stream)
            stated = np.array([known.scales.predicted(init) for (init, _), *_ in points])
            stated &= known.normalized(normalization)
            stated &= (bias == 0) | np.array([law in known.scales.followed_biases for law in drawn])
            predicted = {
                column: np.where(stated, values[np.array(depths) - 1], np.nan).T.ravel()
                for column, values in propagation.items()
            }
            rules: dict[str, list[Scale | None]] = {
                scale_axis: [scale for (_, scale), *_ in points],
                "bias_std": [of_point for _, of_point, _ in points],
            }
            each = {
                "norm_epsilon": epsilon,
                "skip_scale": skip,
                "branch_scale": branch,
                "attention_gain": sharpness,
                "stem_scale": of_stem,
            }
            rules |= {axis: [of_axis] * len(points) for axis, of_axis in each.items()}
            keys: dict[str, Any] = {
                "activation": code,
                "init": np.repeat([grid.init.index(init) for (init, _), *_ in points], len(depths)),
                "gain": np.repeat(gain, len(depths)),
                "bias_std": np.repeat(bias, len(depths)),
                "bias_init": np.repeat([AXES["bias_init"].names.index(law) for law in drawn], len(depths)),
                "normalization": norm,
                "norm_epsilon": value(epsilon),
                "block": block,
                "norm_position": position,
                "skip_scale": own,
                "branch_scale": value(branch),
                "attention_gain": value(sharpness),
                "stem_scale": stem,
                "depth": np.tile(depths, len(gain)),
                **{
                    f"{axis}_rule": np.repeat(codes_of(sweep, axis, rules[axis]), len(depths))
                    for axis in sweep.formula_axes
                    if axis in rules
                },
            }
            count = len(gain) * len(depths)
            of_rows = {key: np.broadcast_to(column, count) for key, column in keys.items()}
            rows.append(of_rows | predicted)
    columns = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
    return schema.make_table("theory", columns, categories(sweep), never_filled(sweep))


def _formulas(sweep: Sweep) -> list[Scale]:
    return [value for axis in sweep.formula_axes for value in getattr(sweep.grid, axis) if isinstance(value, str)]


def _joined(table: str, rows: Sequence[Sequence[np.ndarray]]) -> dict[str, np.ndarray]:
    """Columns of a table from groups of rows, each a tuple of its columns in order."""
    return {
        name: np.concatenate(parts)
        for name, parts in zip(schema.PREDICTIONS[table], zip(*rows, strict=True), strict=True)
    }
