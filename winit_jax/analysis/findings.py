"""A finding of an audit, and how its numbers are written."""

import math
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong. kind: a word for it. where: the site or the parameter. text: a sentence with evidence.
    severity: 3 where nothing can be learnt, 2 where training will suffer, 1 where an init is not what it seems."""

    kind: str
    where: str
    text: str
    severity: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def percent(share: float) -> str:
    return f"{100 * share:.3g}%"


def power(log10: float) -> str:
    """A size as it is written: 0.0123, 1.2e-07."""
    if log10 == -math.inf:
        return "0"
    return f"{10.0**log10:.3g}" if abs(log10) < 300 else f"1e{log10:+.0f}"
