"""Numbers of fewer bits as ml_dtypes has them."""

import ml_dtypes
import numpy as np


def dtype(to):
    return np.dtype(getattr(ml_dtypes, to.name, to.name))


def cast(x, to):
    """The nearest numbers of the format, as ml_dtypes finds them; the largest one where there is no infinity."""
    x = np.asarray(x, np.float64)
    if to.name == "float8_e4m3fn":
        x = np.clip(x, -448, 448)
    with np.errstate(over="ignore"):
        return x.astype(dtype(to)).astype(np.float64)


def shares(exact, to):
    """(underflow, subnormal, overflow): what rounding loses of the numbers that are not 0."""
    near, nonzero = cast(exact, to), exact != 0
    counts = (
        nonzero & (near == 0),
        (near != 0) & (np.abs(near) < to.least_normal),
        np.abs(exact) > to.overflow,
    )
    return [count.sum() / nonzero.sum() if nonzero.any() else np.nan for count in counts]


def rms(x):
    return np.sqrt(np.mean(np.square(x)))
