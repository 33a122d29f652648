"""What `winit recommend` says: the gain, whether it is good, why, what was measured, and what else could be done."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from winit_jax.engine.advising.pasting import code_of
from winit_jax.engine.advising.plans import Plan

# How the verdicts begin.
VERDICTS = {"good": "good", "strained": "strained", "nothing": "nothing good"}


@dataclass(frozen=True)
class SweepRow:
    """One gain that was measured. factor: on the recommended gain. std: of the weights of a layer behind the first.

    signal: log10 of the RMS of a_L; gradient: of the RMS singular value of d a_L / d a_1: medians of seeds, with the
    theory of infinite width beside, NaN where there is none. lowest, highest: of the signal, among seeds. saturated,
    correlation: of the last layer, NaN where they have no meaning.
    """

    gain: float
    factor: float
    std: float
    branch_scale: float
    signal: float
    lowest: float
    highest: float
    gradient: float
    saturated: float
    correlation: float
    theory_signal: float
    theory_gradient: float

    def to_json(self) -> dict[str, Any]:
        """Numbers that JSON can hold; None for infinity and NaN."""
        return {name: _plain(value) for name, value in vars(self).items()}


@dataclass(frozen=True)
class Recommendation:
    """The init to use; `str()` is what `winit recommend` prints, `code()` what its --code does.

    gain, std: of a layer's weights, std = gain / sqrt(fan_in), here of one that reads `width` units. bias_std: as it
    was asked for. scheme: the init by name that has this gain, or "". branch_scale: a formula, "1" without a skip.
    verdict: `good`, `strained` or `nothing`. q_1: mean square of the first layer at this gain. critical_gain: of dense
    layers from these inputs, NaN where there is none. gains: at a mean square of 1, those of unit variance, mean square
    and gradient. summary: the verdict as a sentence; sentences: all others. sweep: what was measured, `seeds` networks
    of `measured_width` units at each gain; empty where nothing was.
    """

    title: str
    plan: Plan
    std: float
    bias_std: float
    scheme: str
    branch_scale: str
    verdict: str
    q_1: float
    critical_gain: float
    gains: dict[str, float]
    summary: str
    sentences: Sequence[str]
    sweep: Sequence[SweepRow]
    seeds: int
    measured_width: int
    command: str

    @property
    def gain(self) -> float:
        return self.plan.gain

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def code(self, framework: str) -> str:
        """Python that makes such a network in a framework: torch, flax, nnx, equinox, keras or haiku.

        Errors: Refused, in a sentence, for what it is none of, and for an activation that it does not have.
        """
        named = f", which is {self.scheme}" if self.scheme else ""
        what = f"Weights of std {self.gain:.6g} / sqrt(fan_in){named}."
        return code_of(framework, self.plan, [what, self.summary, *self.sentences])

    def to_json(self) -> dict[str, Any]:
        """One object; None for infinity and NaN."""
        plain = {
            name: _plain(getattr(self, name))
            for name in ("gain", "std", "bias_std", "scheme", "branch_scale", "verdict", "q_1", "critical_gain")
        }
        return {
            "title": self.title,
            **{name: getattr(self.plan, name) for name in ("activation", "block", "depth", "width", "normalization")},
            **plain,
            "gains": {name: _plain(value) for name, value in self.gains.items()},
            "summary": self.summary,
            "sentences": list(self.sentences),
            "seeds": self.seeds,
            "measured_width": self.measured_width,
            "sweep": [row.to_json() for row in self.sweep],
            "command": self.command,
        }

    def _lines(self) -> list[str]:
        biases = f"biases of std {self.bias_std:g}" if self.bias_std else "biases 0"
        named = f", which is {self.scheme}" if self.scheme else ""
        lines = [self.title, ""]
        lines.append(f"gain     {self.gain:.6g}{named}; {biases}")
        lines.append(f"std      {self.gain:.6g} / sqrt(fan_in): {self.std:.6g} where a layer reads {self.plan.width:,}")
        if self.branch_scale != "1":
            lines.append(f"branch   {self.branch_scale} = {self.plan.branch:.6g}, the factor on what a block adds")
        lines += [f"verdict  {self.summary}", ""]
        lines += [f"- {sentence}" for sentence in self.sentences]
        return [*lines, *self._table(), "", f"more: {self.command}"]

    def _table(self) -> list[str]:
        if not self.sweep:
            return []
        scaled = len({row.branch_scale for row in self.sweep}) > 1
        of = f"{self.seeds} network{'s' * (self.seeds > 1)} of {self.measured_width:,} units at each gain"
        lines = ["", f"measured: {of}, theory of infinite width in brackets"]
        head = f"{'gain':>8}" + (f" {'branch':>7}" if scaled else "") + f" {'std':>9}"
        lines.append(f"{head}  {'log10 RMS':>17}  {'log10 Jacobian':>17}  {'saturated':>9}  {'c':>6}")
        for row in self.sweep:
            scales = f"{row.gain:>8.4g}" + (f" {row.branch_scale:>7.3g}" if scaled else "") + f" {row.std:>9.4g}"
            signal, gradient = _pair(row.signal, row.theory_signal), _pair(row.gradient, row.theory_gradient)
            saturated = "-" if math.isnan(row.saturated) else f"{100 * row.saturated:.1f}%"
            correlation = "-" if math.isnan(row.correlation) else f"{row.correlation:.3f}"
            mark = "  recommended" if row is self.recommended else ""
            lines.append(f"{scales}  {signal:>17}  {gradient:>17}  {saturated:>9}  {correlation:>6}{mark}")
        return [*lines, *LEGEND]

    @property
    def recommended(self) -> SweepRow | None:
        """The row of the sweep that is recommended."""
        rows = (row for row in self.sweep if row.factor == 1)
        return next(rows, None)


LEGEND = (
    "log10 RMS: of the last pre-activations, or stream; Jacobian: of d a_L / d a_1, by which gradients grow on the way",
    "back; saturated: slopes below 5% of the largest; c: correlation of two inputs at the last layer",
)


def _pair(measured: float, predicted: float) -> str:
    beside = "" if math.isnan(predicted) else f" ({_sized(predicted)})"
    return f"{_sized(measured)}{beside}"


def _sized(log10: float) -> str:
    """A logarithm; what float64 does not hold as such."""
    if math.isnan(log10):
        return "-"
    if math.isinf(log10):
        return "overflow" if log10 > 0 else "0"
    return f"{log10:+.2f}"


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
