"""What formats of fewer bits would lose of signals and gradients whose size is known: nothing is run again.

A float32 run carries its scale beside its signals, and so says at which size every layer's pre-activations and
gradients are. Of normal numbers of that size the shares that a format loses follow.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import erf, erfc, erfinv

from winit_jax.analysis.tables import KEYS, of_last_site, of_the_deepest
from winit_jax.columns.formats import FLOAT32, FORMATS, Format

SIGNAL, GRADIENT = "log10_preact_rms", "log10_preact_grad_rms"
# More than this share of numbers that become 0, or lie beyond the largest one, is a loss.
LOST = 0.1
# What becomes of a layer, the worst first; the signal is what the gradient is made of.
VERDICTS = (
    "signal underflows",
    "signal overflows",
    "gradient lost",
    "gradient overflows",
    "gradient underflows",
    "fits",
)


def shares(log10_rms: Any, of: str | Format) -> pd.DataFrame:
    """The shares of N(0, rms^2) that underflow, are subnormal and overflow in a format: columns of these names.

    log10_rms: a number, an array or a column, such as `log10_preact_rms` of a run or `log10_rms` of a probe.
    of: the format or its name. NaN where there is no size, as of numbers that are all 0.

    With s the least subnormal and m the least normal number, x becomes 0 where abs(x) < s / 2, subnormal from there to
    m - s / 2, and overflows beyond the largest number and half a place.
    """
    to = FORMATS[of] if isinstance(of, str) else of
    size = np.atleast_1d(np.asarray(log10_rms, np.float64))
    size = np.where(np.isfinite(size), size, np.nan)

    def in_roots_of_two(limit: float) -> np.ndarray:
        with np.errstate(over="ignore", under="ignore"):
            ratio: np.ndarray = 10.0 ** (np.log10(limit) - size) / np.sqrt(2)
        return ratio

    half = to.least_subnormal / 2
    underflow = erf(in_roots_of_two(half))
    below_normal = erf(in_roots_of_two(to.least_normal - half))
    found = {
        "underflow": underflow,
        "subnormal": below_normal - underflow,
        "overflow": erfc(in_roots_of_two(to.overflow)),
    }
    return pd.DataFrame(found, index=log10_rms.index if isinstance(log10_rms, pd.Series) else None)


def log2_range(of: Format) -> tuple[float, float]:
    """Between which log2 of an RMS no more than LOST of normal numbers underflow, and overflow."""
    least = to_rms(of.least_subnormal / 2, LOST)
    return float(np.log2(least)), float(np.log2(to_rms(of.overflow, 1 - LOST)))


def to_rms(limit: float, share: float) -> float:
    """The RMS at which a share of normal numbers is smaller than a limit."""
    return float(limit / np.sqrt(2) / erfinv(share))


def by_format(layers: pd.DataFrame, formats: Mapping[str, Format] = FORMATS) -> pd.DataFrame:
    """What each format would lose in every layer of the deepest networks: the rows of float32 once for each format.

    layers: the layers table, with gradients if they were measured; of layers with several sites the last is meant.
    Columns beside the keys, the layer and both sizes: `dtype`; underflow, subnormal, overflow of pre-activations;
    grad_underflow, grad_subnormal, grad_overflow of gradients; log2_loss_scale, the least power of two by which the
    loss is to be multiplied so that the layer's gradient no longer underflows; verdict, one of VERDICTS.
    A gradient is lost where no loss scale saves it without another layer's gradient overflowing.
    Errors: ValueError where the table has no rows of float32.
    """
    frame = of_last_site(of_the_deepest(layers))
    if "dtype" in frame:
        frame = frame[frame["dtype"] == FLOAT32]
    if frame.empty:
        raise ValueError("This table has no float32 networks, from which the shares of other formats follow.")
    places = [name for name in (*KEYS, "layer", "site", SIGNAL, GRADIENT) if name in frame and name != "dtype"]
    parts = [_of_format(frame[places], to) for to in formats.values()]
    table = pd.concat(parts, ignore_index=True)
    table["dtype"] = pd.Categorical(table["dtype"], list(formats))
    table.attrs = layers.attrs
    return table


def _of_format(rows: pd.DataFrame, to: Format) -> pd.DataFrame:
    signal = shares(rows[SIGNAL], to)
    if GRADIENT not in rows:
        rows = rows.assign(**{GRADIENT: np.nan})
    gradient = shares(rows[GRADIENT], to)
    low, high = log2_range(to)
    size = rows[GRADIENT].where(np.isfinite(rows[GRADIENT])) / np.log10(2)
    wanted = np.ceil(low - size).clip(lower=0) + 0.0  # and never -0
    most = np.floor(high - size)
    keys = [key for key in KEYS if key in rows]
    possible = most.groupby([rows[key] for key in keys], observed=True, dropna=False).transform("min")
    rules = (
        signal["underflow"] > LOST,
        signal["overflow"] > LOST,
        (wanted > 0) & (wanted > possible),
        gradient["overflow"] > LOST,
        wanted > 0,
    )
    codes = np.select([rule.to_numpy() for rule in rules], list(range(len(rules))), len(rules))
    return rows.assign(
        dtype=to.name,
        **signal,
        **gradient.add_prefix("grad_"),
        log2_loss_scale=wanted,
        verdict=pd.Categorical(np.asarray(VERDICTS, object)[codes], list(VERDICTS)),
    )
