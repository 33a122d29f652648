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
    of_exact = None if exact is None else exact.parameters.set_index("path")["nonfinite"]
    finite = _is_finite(rows["path"], of_exact)
    for _, row in rows[finite & (rows["overflow"] > _most(to))].iterrows():
        text = f"In {to.name} {row['path']} overflows: {percent(row['overflow'])} of its entries {_beyond(to)}."
        yield Finding(f"overflowing parameter ({to.name})", row["path"], text, 3 if to.has_infinity else 2)
    for _, row in rows[rows["underflow"] > LOST].iterrows():
        text = f"In {to.name} {row['path']} underflows: {percent(row['underflow'])} of its entries become 0."
        yield Finding(f"underflowing parameter ({to.name})", row["path"], text, 2)


def _signals(to: Format, narrow: Measured, exact: Measured | None) -> Iterator[Finding]:
    rows = narrow.sites
    over = rows[_finite_sites(rows, exact) & (rows["overflow"] > _most(to))]
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
    over = rows[_finite_sites(rows, exact) & (rows["grad_overflow"] > _most(to))]
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
    text = f"In {to.name} {what}: {percent(first['grad_underflow'])} of its values become 0; {_loss_scale(to, exact)}."
    yield Finding(f"underflowing gradient ({to.name})", where, text, 2)


def _loss_scale(to: Format, exact: Measured | None) -> str:
    """Which power of two keeps gradients, in words: the least that all of float32's need, and none may overflow."""
    if exact is None:
        return f"with dtype=float32,{to.name} a loss scale can be said"
    names = list(exact.sites["site"]) + list(exact.parameters["path"])
    log10 = np.concatenate([exact.sites["log10_grad_rms"], exact.parameters["log10_grad_rms"]])
    known = np.isfinite(log10)
    if not known.any():
        return "in float32 it is 0 or not finite, which no loss scale changes"
    sizes = log10[known] / LOG10_2
    low, high = log2_range(to)
    wanted, possible = int(np.ceil(low - sizes.min())), int(np.floor(high - sizes.max()))
    if wanted <= 0:
        return "by the sizes that gradients have in float32 none should, so that what is lost is lost before"
    if wanted > possible:
        largest = np.asarray(names, object)[known][np.argmax(sizes)]
        return f"no loss scale keeps all gradients: at 2^{wanted} that of {largest} overflows"
    return f"by their sizes in float32 a loss scale of 2^{wanted} keeps gradients"


def _most(to: Format) -> float:
    """The share beyond the largest number that is no loss: none where one of them becomes infinite."""
    return 0.0 if to.has_infinity else LOST


def _beyond(to: Format) -> str:
    became = "infinite" if to.has_infinity else f"{to.largest:g}"
    return f"lie beyond {to.largest:.5g} and become {became}"


def _named(row: pd.Series) -> str:
    return f"{row['site']} ({row['op']})"


def _finite_sites(rows: pd.DataFrame, exact: Measured | None) -> pd.Series:
    places = pd.MultiIndex.from_frame(rows[["site", "op"]].astype(str))
    shares = None
    if exact is not None:
        of_sites = exact.sites.assign(**{key: exact.sites[key].astype(str) for key in ("site", "op")})
        shares = of_sites.set_index(["site", "op"])["nonfinite"]
    return _is_finite(pd.Series(places, index=rows.index), shares)


def _is_finite(keys: pd.Series, shares: pd.Series | None) -> pd.Series:
    """Whether float32 is finite at each of these places; where it is not known, it is taken to be."""
    known = {} if shares is None else dict(shares)
    return pd.Series([known.get(key, 0.0) == 0 for key in keys], keys.index, dtype=bool)
