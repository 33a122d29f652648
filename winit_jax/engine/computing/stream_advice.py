"""What `winit theory --block` says of a stream: how it grows, what two inputs become, and how far a gradient goes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from winit_jax.engine.computing.theories import expected_layout, expected_similarity, norm_of
from winit_jax.numerics import pinned, theory
from winit_jax.numerics.activations import activation
from winit_jax.numerics.blocks import BLOCKS, Layout, mean_field
from winit_jax.numerics.normalization import NORMALIZATIONS
from winit_jax.spec.formulas import value_of
from winit_jax.spec.sweep import Sweep

LN_10 = math.log(10)
BATCH = "mean field says nothing of batch normalization here: it joins the samples."


@dataclass(frozen=True)
class StreamRow:
    """One depth.

    log10_rms: of the last stream over the first. log10_jacobian: of d a_L / d a_1, its RMS singular value. correlation,
    similarity: of two inputs and of two positions at the last layer; NaN without. skip, branch, gain: as numbers at
    this depth.
    """

    depth: int
    gain: float
    skip: float
    branch: float
    log10_rms: float
    log10_jacobian: float
    correlation: float
    similarity: float

    def to_json(self) -> dict[str, Any]:
        """Numbers that JSON can hold; None for what is none."""
        return {name: value if math.isfinite(value) else None for name, value in vars(self).items()}


@dataclass(frozen=True)
class StreamAdvice:
    """All that is said of a stream; `str()` is what `winit theory --block` prints. title: what it is of, in words.

    law: how its mean square goes on, a sentence. notes: what could not be known.
    """

    title: str
    law: str
    rows: Sequence[StreamRow]
    notes: Sequence[str]

    def __str__(self) -> str:
        lines = [self.title, ""]
        if self.rows:
            lines.append(f"{'depth':>7} {'skip':>8} {'branch':>9}  {'RMS, times':>11} {'Jacobian':>11} {'c':>9}  r")
        for row in self.rows:
            lines.append(
                f"{row.depth:>7,} {row.skip:>8.4g} {row.branch:>9.4g}  {_times(row.log10_rms):>11} "
                f"{_times(row.log10_jacobian):>11} {_share(row.correlation):>9}  {_share(row.similarity)}"
            )
        lines += ["", self.law, *(f"note: {note}" for note in self.notes), ""]
        lines += [
            "RMS       of the last stream over that of the first, and so of what the network hands to its readout",
            "Jacobian  RMS singular value of d a_L / d a_1, by which a gradient grows on its way to the first layer",
            "c, r      correlation of two inputs, and of two positions of an input, at the last layer",
        ]
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """One object; None for what is no number."""
        rows = [row.to_json() for row in self.rows]
        return {"title": self.title, "law": self.law, "depths": rows, "notes": list(self.notes)}


def stream_advice(sweep: Sweep) -> StreamAdvice:
    """What mean field says of the one block of a sweep, at each of its depths.

    sweep: of one value on every axis but depth, and of normal inputs.
    """
    grid = sweep.grid
    name, block = grid.activation[0], BLOCKS.find(grid.block[0])
    layout = expected_layout(sweep.inputs) if sweep.inputs.has_positions else Layout()
    updates, rows = mean_field(block, layout), []
    if not NORMALIZATIONS[grid.normalization[0]].is_predicted:
        return StreamAdvice(_title(sweep), BATCH, (), ())
    with pinned.settings():
        of_depths = [_arguments(sweep, depth, updates) for depth in grid.depth]
        for depth, (numbers, scales) in zip(grid.depth, of_depths, strict=True):
            found = theory.propagate(activation(name), layers=depth, **scales)
            of_last = {name: float(column[-1, 0]) for name, column in found._asdict().items()}
            gain, skip, branch = numbers
            rows.append(
                StreamRow(
                    depth,
                    gain,
                    skip,
                    branch,
                    of_last["log10_preact_rms"] - float(found.log10_preact_rms[0, 0]),
                    of_last["log10_jacobian"],
                    of_last["input_correlation"],
                    of_last["position_similarity"],
                )
            )
        laws = [_law(name, scales) for _, scales in of_depths]
    law = laws[-1] if len(set(laws)) == 1 else f"At depth {grid.depth[-1]:,}: {laws[-1][0].lower()}{laws[-1][1:]}"
    sharpness = np.array([value_of(grid.attention_gain[0], depth=max(grid.depth))])
    notes = dict.fromkeys(reason for update in updates if (reason := update.unknown(sharpness)))
    return StreamAdvice(_title(sweep), law, rows, tuple(notes))


def _arguments(sweep: Sweep, depth: int, updates: Sequence[Any]) -> tuple[tuple[float, ...], dict[str, Any]]:
    """((gain, skip, branch) at a depth, what `theory.propagate` takes but the layers)."""
    grid = sweep.grid
    gains, biases = _scales(sweep)
    gain, bias, branch, sharpness, epsilon = (
        value_of(axis[0], depth=depth)
        for axis in (gains, biases, grid.branch_scale, grid.attention_gain, grid.norm_epsilon)
    )
    skip = BLOCKS.find(grid.block[0]).skip if grid.skip_scale is None else value_of(grid.skip_scale[0], depth=depth)
    start = expected_similarity(sweep.inputs)
    with np.errstate(divide="ignore"):
        weight, of_bias, of_skip, of_branch = (2 * np.log10(np.abs([x])) for x in (gain, bias, skip, branch))
    positions = None if math.isnan(start.position_correlation) else start.position_correlation
    scales = {
        "log10_weight_var": weight,
        "log10_bias_var": of_bias,
        "log10_q1": 0.0,
        "c1": start.correlation,
        "block": list(updates),
        "log10_skip_square": of_skip,
        "norm": norm_of(grid.normalization[0], grid.norm_position[0], epsilon),
        "log10_branch_square": of_branch,
        "attention_gain": sharpness,
        "r1": positions,
    }
    return (gain, skip, branch), scales


def _scales(sweep: Sweep) -> tuple[Any, Any]:
    """The gains and the biases, which are given."""
    return sweep.grid.gain, sweep.grid.bias_std


def _law(name: str, scales: dict[str, Any]) -> str:
    """How the mean square of a stream goes on, in a sentence."""
    found = theory.growth(activation(name), **scales)
    law, log10_q, rate, ratio = (column[0] for column in found[:4])
    return {
        "fixed point": f"The mean square of the stream settles at {10**log10_q:.6g}.",
        "linear": f"The mean square of the stream grows by {rate:.6g} a layer, in a straight line.",
        "geometric": f"The mean square of the stream is multiplied by {ratio:.6g} each layer: it grows geometrically.",
        "vanishing": f"The mean square of the stream is multiplied by {ratio:.6g} each layer: it vanishes.",
        "unsettled": "The mean square of the stream follows no single law over the first layers.",
    }.get(str(law), "Mean field makes no statement on how the stream goes on.")


def _title(sweep: Sweep) -> str:
    grid, inputs = sweep.grid, sweep.inputs
    gains, biases = _scales(sweep)
    parts = [grid.activation[0], grid.block[0], f"gain {_word(gains[0])}"]
    parts += [f"bias std {_word(biases[0])}"] * (biases[0] != 0)
    if grid.skip_scale is not None:
        parts.append(f"skip {_word(grid.skip_scale[0])}")
    parts += [f"branch {_word(grid.branch_scale[0])}"] * (grid.branch_scale[0] != 1)
    if grid.normalization[0] != "none":
        parts.append(f"{grid.normalization[0]} normalization ({grid.norm_position[0]})")
    if inputs.has_positions:
        parts.append(f"{inputs.positions_known:,} positions")
    return f"{', '.join(parts)}: infinite width, from q = 1 and correlation {inputs.correlation:g}"


def _word(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.6g}"


def _times(log10: float) -> str:
    """A factor, also where that is no float."""
    if math.isnan(log10):
        return "-"
    return f"{10**log10:.5g}" if abs(log10) < 300 else f"1e{log10:+,.1f}"


def _share(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.6f}"
