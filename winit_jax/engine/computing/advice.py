"""What `winit theory` says of an activation: which gain, and how deep a signal and a gradient reach."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

# A gradient, or a signal that vanishes or explodes, is called lost when its RMS has changed by this factor.
LOST = 1000.0
# Inputs are told apart, and networks trained, to about so many depth scales (Schoenholz et al. 2017).
DEPTH_SCALES = 6.0
USUAL = (0.3, 5.0)


@dataclass(frozen=True)
class Attractor:
    """A fixed point of the length map, or infinity: log10 q, stability, and log10 of the starts that end there."""

    log10_q: float
    stability: str
    log10_low: float
    log10_high: float

    def words(self) -> str:
        """For a line of text."""
        if self.stability == "neutral":
            return "every q stays"
        what = f"{power(self.log10_q)} {self.stability}"
        if self.log10_low == self.log10_high:
            return what
        if math.isinf(self.log10_low) and math.isinf(self.log10_high):
            return f"{what}, from any q"
        low, high = power(self.log10_low), power(self.log10_high)
        if math.isinf(self.log10_low):
            return f"{what}, from q below {high}"
        return f"{what}, from q above {low}" if math.isinf(self.log10_high) else f"{what}, from q in {low} to {high}"

    def to_json(self) -> dict[str, Any]:
        """Numbers that JSON can hold; None for infinity."""
        names = {"log10_q": self.log10_q, "from_log10_q": self.log10_low, "to_log10_q": self.log10_high}
        q = 10**self.log10_q if self.log10_q < 308 else math.inf
        numbers = {"q": q} | names
        return {"stability": self.stability, **{name: _plain(value) for name, value in numbers.items()}}


@dataclass(frozen=True)
class Row:
    """One gain: where signals from its start end up, and in how many layers they, or a gradient, are lost.

    start, q_star: mean square pre-activation of the first layer and of deep ones; log10_q_star also where q_star is
    beyond a float. signal_rms_layers: the first layer at which the RMS pre-activation has changed a thousandfold from
    layer 1. gradient_layers: the layers that change a gradient's RMS a thousandfold. Both inf if never.
    """

    gain: float
    start: float
    q_star: float
    log10_q_star: float
    chi1: float
    c_star: float
    xi_q: float
    xi_c: float
    signal_rms_layers: float
    gradient_layers: float
    attractors: tuple[Attractor, ...] = ()

    @property
    def signal_by(self) -> str:
        """`rms` where signals vanish or explode, else `correlation`."""
        return "rms" if math.isinf(self.log10_q_star) else "correlation"

    @property
    def signal_layers(self) -> float:
        """Until the signal has vanished or exploded, else until inputs look alike or unrelated; inf if never."""
        return self.signal_rms_layers if self.signal_by == "rms" else DEPTH_SCALES * self.xi_c

    def to_json(self) -> dict[str, Any]:
        """The row with numbers that JSON can hold; None for infinity and NaN."""
        names = [name for name in self.__dataclass_fields__ if name != "attractors"]
        fields: dict[str, Any] = {name: _plain(getattr(self, name)) for name in names}
        fields |= {"signal_layers": _plain(self.signal_layers), "signal_by": self.signal_by}
        return fields | {"fixed_points": [attractor.to_json() for attractor in self.attractors]}


@dataclass(frozen=True)
class Advice:
    """All that is said of an activation with a bias; `str()` is what `winit theory` prints.

    start: from where, in words. critical: the gain at which chi1 = 1, or NaN, and then `reason` says why.
    jumps: gains at which the fixed point reached from the start jumps, with chi1 below and above.
    folds: gains at which two fixed points meet, with q there. half_stable: (q, weight variance, bias variance) where
    two meet and chi1 = 1. notes: what could not be known.
    """

    name: str
    bias_std: float
    start: str
    critical: float
    reason: str
    rows: Sequence[Row]
    jumps: Sequence[tuple[float, float, float]] = ()
    folds: Sequence[tuple[float, float]] = ()
    half_stable: Sequence[tuple[float, float, float]] = ()
    notes: Sequence[str] = ()

    def __str__(self) -> str:
        return "\n".join(report(self))

    def to_json(self) -> dict[str, Any]:
        """One object; None for infinity and NaN."""
        return {
            "activation": self.name,
            "bias_std": self.bias_std,
            "start": self.start,
            "critical_gain": _plain(self.critical),
            "reason": self.reason,
            "gains": [row.to_json() for row in self.rows],
            "jumps": [
                dict(zip(("gain", "chi1_below", "chi1_above"), map(_plain, jump), strict=True)) for jump in self.jumps
            ],
            "folds": [dict(zip(("gain", "q"), map(_plain, fold), strict=True)) for fold in self.folds],
            "half_stable": [
                dict(zip(("q", "weight_var", "bias_var"), map(_plain, point), strict=True))
                for point in self.half_stable
            ],
            "notes": list(self.notes),
        }


def gains_around(critical: float) -> list[float]:
    """Round gains worth a row, and the critical one where there is one, each once as it is printed."""
    usual = [0.5, 0.8, 1.0, 1.2, 1.5, 2.0, 3.0]
    if math.isnan(critical):
        return usual
    return sorted([critical, *(gain for gain in usual if f"{gain:.4g}" != f"{critical:.4g}")])


def report(advice: Advice) -> list[str]:
    """Lines for a terminal."""
    critical = advice.critical
    lines = [f"{advice.name}, bias std {advice.bias_std:g}: infinite width, {advice.start}", ""]
    if math.isnan(critical):
        lines += ["critical gain  none", f"               {advice.reason}"]
    else:
        lines.append(f"critical gain  {critical:.6g}: weights of std {critical:.6g} / sqrt(fan_in)")
        if not USUAL[0] <= critical <= USUAL[1]:
            low, high = USUAL
            lines.append(f"               far outside {low:g} to {high:g}: no usual gain is critical")
    lines += [
        "",
        f"{'gain':>8} {'q*':>10} {'chi1':>8} {'c*':>7} {'xi_q':>8} {'xi_c':>8}  {'signal to':>13} {'gradient to':>13}",
    ]
    for row in advice.rows:
        mark = "  critical" if row.gain == critical else ""
        signal = _layers(row.signal_layers) + ("  " if row.signal_by == "rms" else " c")
        lines.append(
            f"{row.gain:>8.4g} {power(row.log10_q_star):>10} {row.chi1:>8.4g} {_number(row.c_star):>7} "
            f"{_number(row.xi_q):>8} {_number(row.xi_c):>8}  {signal:>13} {_layers(row.gradient_layers):>13}{mark}"
        )
    lines += ["", "where q ends, and from which starts"]
    lines += [
        f"{row.gain:>8.4g} {'; '.join(attractor.words() for attractor in row.attractors) or '-'}" for row in advice.rows
    ]
    lines += [f"{gain:>8.10g} two fixed points meet at q = {q:.6g}" for gain, q in advice.folds]
    lines += [
        f"half-stable: q = {q:.9g} at gain {math.sqrt(weight):.9g}, bias std {math.sqrt(bias):.9g} (variances "
        f"{weight:.9g} and {bias:.9g}), where two fixed points meet and chi1 is 1"
        for q, weight, bias in advice.half_stable
    ]
    lines += [f"note: {note}" for note in advice.notes]
    lines += [
        "",
        "q*    mean square pre-activation of deep layers",
        "chi1  growth of a gradient's mean square a layer",
        "c*    correlation that two inputs end with",
        "xi    layers in which the distance of q or c from there falls by a factor e",
        f"to    layers, from the first, until the RMS has changed {LOST:,.0f}fold: of a signal that vanishes or",
        f"      explodes, and of a gradient; marked c: {DEPTH_SCALES:g} xi_c, until inputs' correlation is settled",
    ]
    return lines


def power(log10: float) -> str:
    """10^log10, also where that is no float."""
    if math.isnan(log10):
        return "-"
    if math.isinf(log10) or abs(log10) < 300:
        return f"{0.0 if log10 == -math.inf else math.inf if log10 == math.inf else 10**log10:.4g}"
    whole = math.floor(log10)
    return f"{10 ** (log10 - whole):.3f}e{whole:+d}"


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4g}"


def _layers(value: float) -> str:
    if math.isnan(value):
        return "-"
    if math.isinf(value):
        return "any depth"
    return f"{value:,.0f}" if value < 1e10 else f"{value:.3g}"
