"""How gradients of the loss grow from the last layer back to the first."""

import numpy as np
import pandas as pd

from winit_jax.analysis.tables import KEYS, of_last_site
from winit_jax.columns import RULES

NAMES = {"log10_preact_grad_rms": "log10_preact_grad_growth", "log10_weight_grad_rms": "log10_weight_grad_growth"}


def gradient_growth(frame: pd.DataFrame) -> pd.DataFrame:
    """How much larger gradients are at the first layer than at the last: one row a network.

    frame: the gradients table (or, for the deepest networks only, layers). Columns: the keys, and the formulas that
    they were written as, log10_preact_grad_growth, log10_weight_grad_growth = log10 RMS at layer 1 - log10 RMS at layer
    depth, log10_preact_grad_rms, log10_weight_grad_rms at layer 1, and layer = 1. Of a layer with several sites the
    last one is meant. A growth of 0 is unchanged, -inf exactly zero at the first layer, NaN where the last layer's
    gradient is zero too.
    Errors: ValueError if gradients are not measured or a layer is missing.
    """
    columns = [name for name in NAMES if name in frame and frame[name].notna().any()]
    if not columns:
        raise ValueError("Gradients are not measured in this table.")
    keys = [key for key in KEYS if key in frame]
    written = [rule.name for rule in RULES if rule.name in frame]
    frame = of_last_site(frame)
    first, last = (frame[frame["layer"] == at] for at in (1, frame["depth"]))
    both = first[[*keys, *written, *columns]].merge(last[[*keys, *columns]], on=keys, suffixes=("", "_last"))
    if both.empty:
        raise ValueError("This table lacks the first or the last layer.")
    with np.errstate(invalid="ignore"):
        growth = {NAMES[name]: both[name] - both[f"{name}_last"] for name in columns}
    table = both[[*keys, *written, *columns]].assign(**growth, layer=1)
    table.attrs = frame.attrs
    return table
