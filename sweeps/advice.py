"""What `winit theory` says of an activation: which gain, and how deep a signal and a gradient reach."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

# A gradient or a vanishing signal is called lost when its RMS has changed by this factor.
LOST = 1000.0
# Inputs are told apart, and networks trained, to about so many depth scales (Schoenholz et al. 2017).
DEPTH_SCALES = 6.0
USUAL = (0.3, 5.0)


@dataclass(frozen=True)
class Row:
    """One gain: the fixed point, and how many layers until the inputs, or a gradient, are lost."""

    gain: float
    q_star: float
    chi1: float
    c_star: float
    xi_q: float
    xi_c: float

    @property
    def signal_layers(self) -> float:
        """Until inputs look alike or unrelated, or the signal has vanished or exploded; inf if never."""
        if self.q_star == 0 or math.isinf(self.q_star):  # the RMS changes by exp(1/2) in xi_q layers
            return 2 * math.log(LOST) * self.xi_q
        return DEPTH_SCALES * self.xi_c

    @property
    def gradient_layers(self) -> float:
        """Until the RMS of a gradient has changed a thousandfold."""
        return math.inf if abs(self.chi1 - 1) < 1e-9 else 2 * math.log(LOST) / abs(math.log(self.chi1))

    def to_json(self) -> dict:
        """The row with numbers that JSON can hold; None for infinity and NaN."""
        found = asdict(self) | {"signal_layers": self.signal_layers, "gradient_layers": self.gradient_layers}
        return {name: value if math.isfinite(value) else None for name, value in found.items()}


def gains_around(critical: float) -> list[float]:
    """Round gains worth a row, and the critical one where there is one."""
    usual = [0.5, 0.8, 1.0, 1.2, 1.5, 2.0, 3.0]
    return sorted({*usual, *([] if math.isnan(critical) else [critical])})


def report(name: str, bias_std: float, critical: float, reason: str, rows: Sequence[Row]) -> list[str]:
    """Lines for a terminal."""
    lines = [f"{name}, bias std {bias_std:g}: infinite width, independent weights, from q = 1 on", ""]
    if math.isnan(critical):
        lines += ["critical gain  none", f"               {reason}"]
    else:
        lines.append(f"critical gain  {critical:.6g}: weights of std {critical:.6g} / sqrt(fan_in)")
        if not USUAL[0] <= critical <= USUAL[1]:
            low, high = USUAL
            lines.append(f"               far outside {low:g} to {high:g}: no usual gain is critical")
    lines += [
        "",
        f"{'gain':>8} {'q*':>10} {'chi1':>8} {'c*':>7} {'xi_q':>8} {'xi_c':>8}  {'signal to':>10} {'gradient to':>11}",
    ]
    for row in rows:
        mark = "  critical" if row.gain == critical else ""
        lines.append(
            f"{row.gain:>8.4g} {_number(row.q_star):>10} {row.chi1:>8.4g} {_number(row.c_star):>7} "
            f"{_number(row.xi_q):>8} {_number(row.xi_c):>8}  {_layers(row.signal_layers):>10} "
            f"{_layers(row.gradient_layers):>11}{mark}"
        )
    lines += [
        "",
        "q*    mean square pre-activation of deep layers",
        "chi1  growth of a gradient's mean square a layer",
        "c*    correlation that two inputs end with",
        "xi    layers in which the distance of q or c from there falls by a factor e",
        f"to    layers until the RMS has changed a thousandfold; of a signal with q* also {DEPTH_SCALES:g} xi_c",
    ]
    return lines


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4g}"


def _layers(value: float) -> str:
    if math.isnan(value):
        return "-"
    return "any depth" if math.isinf(value) else f"{value:,.0f}"
