"""What the fast pass got wrong in a few layers, beyond what float32 explains.

How far rounding may move a column is not a constant: a mean of many terms that cancel, a unit on the threshold of
saturation, or a variance about a large mean can lose every digit. So the float64 reference runs again a few times with
random errors of the size of float32's wherever the fast pass rounds (stochastic arithmetic, Vignes 1993), and what
that moves is allowed.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from winit_jax.columns.formats import Format
from winit_jax.numerics.activations import Activation
from winit_jax.numerics.blocks import DENSE, Block
from winit_jax.numerics.draws import Draws, Layer
from winit_jax.numerics.measure.definitions import root_mean_square as _rms
from winit_jax.numerics.measure.reference import HIGHEST, Functions, NaiveScales, Observed, forward, functions_of
from winit_jax.numerics.rounding import EXACT, UNIT_ROUNDOFF, Array, Rounding
from winit_jax.numerics.signals import BOUNDED

# Errors of pre-activations beyond this may pass where phi turns.
FAR_REACH = 0.1
# What sums over samples and units may lose, whose terms do not cancel.
RELATIVE_TOLERANCE = 1e-4
# Runs with random errors, and how many times what they move is put down to rounding.
JOLTED_RUNS = 4
ALLOWANCE = 4.0
# Sizes below this are not told apart: float64 itself ends near there.
NOTHING = 1e-290
# Columns held against 1, whatever their size.
SHARES = ("unit_similarity", "input_correlation", "position_similarity", "attention_entropy")
# A quantity is all rounding once this share of its size is, and so is what is made of it.
UNSTABLE = 0.5
# Scales that can be compared: their squares fit float64.
SMALLEST, LARGEST = 1e-140, 1e140
# Of a function for which nothing is clipped, float32 itself must hold the values.
LARGEST_UNCLIPPED = 1e15


class Compared(NamedTuple):
    """wrong: a sentence for each value that differs by more than float32 explains. layers: how many were compared."""

    wrong: list[str]
    layers: int


class Network(NamedTuple):
    """The scales of one network.

    Standard deviations of the stem, of its biases and of the weights at each place of each update; the epsilon of its
    normalization; skip_scale, branch_scale and attention_gain; standard deviations of the biases at each place, where
    they are not as the stem's.
    """

    first_std: float
    bias_std: float
    place_stds: Sequence[float]
    epsilon: float = 1e-5
    skip: float = 0.0
    branch: float = 1.0
    sharpness: float = 1.0
    place_bias_stds: Sequence[float] | None = None


def scaled(
    networks: Sequence[Network], first: Layer, hidden: Draws | None
) -> tuple[tuple[Array, Array], list[list[list[tuple[Array, Array]]]]]:
    """(Weights and biases of the stem, of each layer behind it at each place of each update), in float64.

    networks: the network by its scales at each layer, the stem first; the last ones hold for all that follow. hidden:
    stacked along a leading axis.
    """

    def of_place(std: float, bias_std: float, draw: Layer, *layer: int) -> tuple[Array, Array]:
        weights, biases = (np.asarray(part, np.float64)[layer] for part in (draw.weights, draw.biases))
        return std * weights, bias_std * biases

    layers = []
    for layer in range(0 if hidden is None else len(hidden[0][0].weights)):
        network = networks[min(layer + 1, len(networks) - 1)]
        of_biases = network.place_bias_stds or [network.bias_std] * len(network.place_stds)
        stds, bias_stds = iter(network.place_stds), iter(of_biases)
        layers.append(
            [[of_place(next(stds), next(bias_stds), draw, layer) for draw in of_update] for of_update in hidden or ()]
        )
    return of_place(networks[0].first_std, networks[0].bias_std, first), layers


def of_layers(networks: Sequence[Network]) -> list[NaiveScales]:
    """What else each layer multiplies by, the stem's first."""
    return [NaiveScales(network.epsilon, network.skip, network.branch, network.sharpness) for network in networks]


class Moved:
    """What random errors move in one layer, gathered run by run so that one run is held at a time.

    columns: their values in each run. masks: pairs that are in in one run and out in another. reach, psi_reach: the
    largest change of each u and psi. unstable: whether the response is all rounding.
    """

    def __init__(self, exact: Observed) -> None:
        self.columns: dict[str, list[float]] = {name: [] for name in exact.columns}
        self.masks = {name: np.zeros(mask.shape, bool) for name, mask in exact.masks.items()}
        self.reach, self.psi_reach = np.zeros(exact.u.shape), np.zeros(exact.u.shape)
        self.unstable = False

    def add(self, exact: Observed, run: Observed) -> None:
        for name, value in run.columns.items():
            self.columns[name].append(value)
        for name, mask in run.masks.items():
            self.masks[name] |= mask != exact.masks[name]
        with np.errstate(all="ignore"):
            np.fmax(self.reach, np.abs(run.u - exact.u), out=self.reach)
            np.fmax(self.psi_reach, np.abs(run.psi - exact.psi), out=self.psi_reach)
            self.unstable |= _rms(run.psi - exact.psi) > UNSTABLE * _rms(exact.psi)

    def reach_over(self, exact: Observed, functions: Functions, saturation_threshold: float) -> None:
        """Put down pairs as uncertain whose slope passes the threshold anywhere within reach of errors.

        A few runs do not find them all where a function turns many times within that.
        """
        if "saturated" not in self.masks:
            return
        reach = ALLOWANCE * np.where(np.isfinite(self.reach), self.reach, 0.0)
        pairs = np.nonzero(reach > FAR_REACH)
        u = exact.u[pairs] + np.linspace(-1, 1, 65)[:, None] * reach[pairs]
        flat = np.abs(functions.slope(u)) < saturation_threshold * functions.activation.max_slope
        self.masks["saturated"][pairs] |= np.any(flat != exact.masks["saturated"][pairs], axis=0)

    def of_extremes(self, exact: Observed) -> float:
        """How far the largest and the least response may move: any pair may be the one that does."""
        reach = ALLOWANCE * self.psi_reach
        least = [(exact.psi + side * reach).min() - exact.psi.min() for side in (-1, 1)]
        most = [(exact.psi + side * reach).max() - exact.psi.max() for side in (-1, 1)]
        return float(np.max(np.abs([*least, *most])))

    def uncertain(self, name: str, exact: Observed) -> float:
        """The share that rounding may take in or out."""
        moved = self.masks[name]
        if name == "dead":
            mask, moved = exact.masks["saturated"], self.masks["saturated"]
            moved = np.all(mask | moved, axis=0) != np.all(mask & ~moved, axis=0)
        if name == "zero":  # what rounding alone keeps from 0 may be 0
            for value, reach in ((exact.u, self.reach), (exact.psi, self.psi_reach)):
                moved = moved | ((np.abs(value) <= ALLOWANCE * reach) & (reach > 0))
        return float(np.mean(moved))


def compare(
    measured: dict[str, Array],
    x: Array,
    networks: Network | Sequence[Network],
    draws: Sequence[Draws],
    tangents: Array,
    activation: Activation,
    saturation_threshold: float,
    normalization: str,
    product_roundoff: float = UNIT_ROUNDOFF,
    block: Block = DENSE,
    norm_position: str = "pre",
    positions: int = 1,
    grid: tuple[int, int] | None = None,
    unit_variance: bool = False,
    to: Format | None = None,
) -> Compared:
    """What the fast pass got wrong in the first rows of one network (see `disagreements`).

    measured: columns of [rows], as many as the layers of `draws` have. networks: one, or its scales at each layer with
    the stem's first. product_roundoff: of the matrix products (see
    the function of that name). norm_position: pre or post. positions, grid: of the rows of x. unit_variance: whether
    each matrix is then multiplied by what gives its products variance 1. to: the format that the network is rounded
    to, if any, with the activation of `narrow.whole`.
    """
    ((first,),) = draws[0]
    stacked = jax.tree.map(lambda *x: np.stack(x), *draws[1:]) if draws[1:] else None
    by_layer = [networks] if isinstance(networks, Network) else networks
    stem, hidden = scaled(by_layer, first, stacked)
    settings = (functions_of(activation), saturation_threshold, normalization, of_layers(by_layer))
    given = (x, stem, hidden, *settings, tangents)
    beside = (block, norm_position, positions, grid, unit_variance, to)
    expected = list(forward(*given, EXACT, *beside))
    moved = [Moved(exact) for exact in expected]
    for run in range(JOLTED_RUNS):
        rounding = Rounding(run, product_roundoff)
        jolted = forward(*given, rounding, *beside)
        for exact, moves, moved_layer in zip(expected, moved, jolted, strict=True):
            moves.add(exact, moved_layer)
    for exact, moves in zip(expected, moved, strict=True):
        moves.reach_over(exact, settings[0], saturation_threshold)
    largest = LARGEST if activation.degree_at_infinity else LARGEST_UNCLIPPED
    return disagreements(measured, expected, moved, largest)


def disagreements(
    measured: dict[str, Array], expected: Sequence[Observed], moved: Sequence[Moved], largest: float = LARGEST
) -> Compared:
    """What differs by more than float32 explains.

    measured: columns of [layers]; compared with the layers of `expected`. moved: by random rounding errors; that
    is allowed ALLOWANCE times. Nothing is compared from the first layer on whose values float64 cannot hold without
    a carried scale or exceed `largest`, and none after one whose responses are all rounding.
    """
    wrong_columns, layers = [], 0
    for layer, (exact, layer_moves) in enumerate(zip(expected, moved, strict=True)):
        columns, runs = _sizes(exact.columns), {name: np.array(values) for name, values in layer_moves.columns.items()}
        runs = _sizes(runs)
        preact = float(np.hypot(columns["preact_std"], columns["preact_mean"]))
        act = max(abs(columns.get("act_min", 0.0)), abs(columns.get("act_max", 0.0)))
        if not (preact == 0 or SMALLEST < preact < largest) or not act < largest:
            break
        layers += 1
        scale = {"preact_mean": preact} | dict.fromkeys(("act_mean", "act_min", "act_max"), act)
        scale |= dict.fromkeys(SHARES, 1.0)
        spreads = {name: float(np.max(np.abs(runs[name] - value))) for name, value in columns.items()}
        spread = float(np.max(np.abs(np.hypot(runs["preact_std"], runs["preact_mean"]) - preact)))
        undefined = _all_rounding(columns, spreads, preact, spread, layer_moves.unstable)
        for name, value in columns.items():
            if name not in measured or name in undefined or np.isnan(value):
                continue
            got = float(measured[name][layer])
            wrong = f"layer {layer + 1}: {name} is {got:.6g}, float64 NumPy says {exact.columns[name]:.6g}"
            if name in exact.masks:
                tolerance = 2 * layer_moves.uncertain(name, exact) + 0.5 / exact.masks[name].size
            else:
                moves = layer_moves.of_extremes(exact) if name in ("act_min", "act_max") else ALLOWANCE * spreads[name]
                tolerance = RELATIVE_TOLERANCE * scale.get(name, abs(value)) + moves
            if name in ("act_mean", "act_std", "act_min", "act_max", "log10_act_rms") and preact > HIGHEST:
                tolerance += BOUNDED
            if name.startswith("log10_"):
                got, tolerance = 10.0**got, tolerance + NOTHING
            if got != value and not abs(got - value) <= tolerance:
                wrong_columns.append(wrong)
        if layer_moves.unstable:
            break
    return Compared(wrong_columns, layers)


def _sizes(columns: dict[str, Any]) -> dict[str, Any]:
    """Columns with sizes in place of their logarithms, for they may be 0."""
    return {name: 10.0**value if name.startswith("log10_") else value for name, value in columns.items()}


def _all_rounding(
    columns: dict[str, float], spreads: dict[str, float], preact: float, spread: float, unstable: bool
) -> set[str]:
    """Columns of which rounding leaves nothing: sizes that it moves by UNSTABLE of themselves, and ratios of such.

    preact, spread: RMS pre-activation and what moves it. unstable: whether responses are all rounding.
    """
    sizes = ("preact_std", "act_std", "input_decorrelation", "log10_preact_rms", "log10_act_rms", "log10_jacobian")
    undefined = {name for name in sizes if name in columns and spreads[name] > UNSTABLE * columns[name]}
    if "input_decorrelation" in undefined:
        undefined.add("input_correlation")
    if spread > UNSTABLE * preact:
        undefined |= {"preact_mean", "input_correlation", "input_decorrelation", "position_similarity"}
    if "log10_act_rms" in undefined or unstable:
        undefined |= {"act_mean", "act_std", "act_min", "act_max", "log10_act_rms", "unit_similarity"}
    if unstable:
        undefined |= {"saturated", "dead", "zero", "log10_jacobian"}
    return undefined
