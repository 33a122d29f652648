"""What a format of fewer bits loses of a probed network, as sentences with evidence.

The shares are measured, in rows of that format; the loss scale is predicted from the sizes that gradients have in rows
of float32, where there are any.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from winit_jax.analysis.findings import Finding, percent
from winit_jax.analysis.statistics.formats import LOST, log2_range
from winit_jax.columns.formats import FORMATS, Format

# Where values of less than the least number are a loss of signal: those of softmax and the tails of a nonlinearity are
# small because they should be.
SIGNALS = ("contraction", "sum", "lookup")
LOG10_2 = np.log10(2)
# How many times a gradient's RMS its largest entry may be.
ROOM = 8.0
# Powers of two that a loss scale has beyond what gradients of normal numbers need.
MARGIN = 2


@dataclass(frozen=True)
class Measured:
    """The rows of one network, one seed and one value of each factor: `sites` in their order, and `parameters`."""

    sites: pd.DataFrame
    parameters: pd.DataFrame


def of_format(dtype: str, narrow: Measured, exact: Measured | None) -> Iterator[Finding]:
    """What is lost in a format, of which `narrow` are the rows; exact: those of float32, None where there are none."""
    to = FORMATS[dtype]
    yield from _parameters(to, narrow, exact)
    yield from _signals(to, narrow, exact)
    yield from _gradients(to, narrow, exact)


def _parameters(to: Format, narrow: Measured, exact: Measured | None) -> Iterator[Finding]:
    rows = narrow.parameters
    finite = _finite(rows, ["path"], None if exact is None else exact.parameters)
    for _, row in rows[finite & (rows["overflow"] > _most(to))].iterrows():
        text = f"In {to.name} {row['path']} overflows: {percent(row['overflow'])} of its entries {_beyond(to)}."
        yield Finding(f"overflowing parameter ({to.name})", row["path"], text, 3 if to.has_infinity else 2)
    for _, row in rows[rows["underflow"] > LOST].iterrows():
        text = f"In {to.name} {row['path']} underflows: {percent(row['underflow'])} of its entries become 0."
        yield Finding(f"underflowing parameter ({to.name})", row["path"], text, 2)


def _signals(to: Format, narrow: Measured, exact: Measured | None) -> Iterator[Finding]:
    rows = narrow.sites
    over = rows[_finite(rows, ["site", "op"], None if exact is None else exact.sites) & (rows["overflow"] > _most(to))]
    if len(over):
        first = over.iloc[0]
        share = percent(first["overflow"])
        text = f"In {to.name} the signal overflows from {_named(first)} on: {share} of its values {_beyond(to)}."
        yield Finding(f"overflowing signal ({to.name})", first["site"], text, 3 if to.has_infinity else 2)
    under = rows[rows["kind"].isin(SIGNALS) & (rows["underflow"] > LOST)]
    if len(under):
        first = under.iloc[0]
        share = percent(first["underflow"])
        text = f"In {to.name} the signal underflows from {_named(first)} on: {share} of its values become 0."
        yield Finding(f"underflowing signal ({to.name})", first["site"], text, 3)


def _gradients(to: Format, narrow: Measured, exact: Measured | None) -> Iterator[Finding]:
    rows = narrow.sites
    finite = _finite(rows, ["site", "op"], None if exact is None else exact.sites)
    over = rows[finite & (rows["grad_overflow"] > _most(to))]
    if len(over):
        first = over.iloc[-1]
        share = percent(first["grad_overflow"])
        text = f"In {to.name} the gradient overflows from {_named(first)} back: {share} of its values {_beyond(to)}."
        yield Finding(f"overflowing gradient ({to.name})", first["site"], text, 3 if to.has_infinity else 2)
    under = rows[(rows["kind"] != "softmax") & (rows["grad_underflow"] > LOST)]
    weights = narrow.parameters[(narrow.parameters["fan_in"] > 0) & (narrow.parameters["grad_underflow"] > LOST)]
    if len(under):
        first = under.iloc[-1]
        what, where = f"the gradient underflows from {_named(first)} back", first["site"]
    elif len(weights):
        first = weights.sort_values("grad_underflow").iloc[-1]
        what, where = f"the gradient of {first['path']} underflows", first["path"]
    else:
        return
    worst = max([*under["grad_underflow"], *weights["grad_underflow"]])
    share, advice = percent(first["grad_underflow"]), _loss_scale(to, worst, exact)
    text = f"In {to.name} {what}: {share} of its values become 0; {advice}."
    yield Finding(f"underflowing gradient ({to.name})", where, text, 2)


def _loss_scale(to: Format, worst: float, exact: Measured | None) -> str:
    """Which power of two keeps gradients, in words: one by which no more than LOST of any is lost, if none overflows.

    worst: the greatest share that is lost. Numbers near 0 lie as densely as at 0, so that the share falls as the scale
    rises; where it is near 1 and says no more, normal numbers of the size in float32 say what is needed, and MARGIN
    makes up for gradients that have more small entries than those.
    """
    if exact is None:
        return f"probed with dtype=float32,{to.name}, the audit says which loss scale keeps it"
    names = list(exact.sites["site"]) + list(exact.parameters["path"])
    log10 = np.concatenate([exact.sites["log10_grad_rms"], exact.parameters["log10_grad_rms"]])
    known = np.isfinite(log10)
    if not known.any():
        return "in float32 it is 0 or not finite, which no loss scale changes"
    sizes = log10[known] / LOG10_2
    low, _ = log2_range(to)
    wanted = int(np.ceil(max(low - sizes.min(), np.log2(worst / LOST))))
    possible = int(np.floor(np.log2(to.largest / ROOM) - sizes.max()))
    if wanted > possible:
        largest = np.asarray(names, object)[known][np.argmax(sizes)]
        return f"no loss scale keeps all gradients: at 2^{wanted} that of {largest} overflows"
    return f"a loss scale of 2^{min(wanted + MARGIN, possible)} keeps gradients, by their sizes in float32"


def _most(to: Format) -> float:
    """The share beyond the largest number that is no loss: none where one of them becomes infinite."""
    return 0.0 if to.has_infinity else LOST


def _beyond(to: Format) -> str:
    became = "infinite" if to.has_infinity else f"{to.largest:g}"
    return f"lie beyond {to.largest:.5g} and become {became}"


def _named(row: pd.Series) -> str:
    return f"{row['site']} ({row['op']})"


def _finite(rows: pd.DataFrame, keys: list[str], exact: pd.DataFrame | None) -> np.ndarray:
    """Whether float32 is finite at the place of each row, which `keys` name; where it is not known, it is taken to be.

    exact: the rows of float32.
    """

    def places(of: pd.DataFrame) -> list[tuple[str, ...]]:
        return list(zip(*(of[key].astype(str) for key in keys), strict=True))

    wrong = set() if exact is None else set(places(exact[exact["nonfinite"] > 0]))
    return np.array([place not in wrong for place in places(rows)], bool)
