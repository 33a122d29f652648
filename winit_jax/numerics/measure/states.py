"""What networks hand from layer to layer, and what a pass leaves of each: records alone."""

from typing import NamedTuple

import jax
import numpy as np

from winit_jax.numerics.blocks.stream import Stream
from winit_jax.numerics.changes import Tangent
from winit_jax.numerics.measure import removal
from winit_jax.numerics.measure.statistics import Sums
from winit_jax.numerics.narrow import Lost
from winit_jax.numerics.scaled import Scaled
from winit_jax.numerics.signals import Signal


class State(NamedTuple):
    """What a network hands from layer to layer: its signal, the change of it along one direction, and what a
    normalization will remove of that (None where this need not be watched).

    stream: what a skip hands on beside the signal; None without one.
    """

    signal: Signal
    change: Tangent | None
    alike: removal.Alike | None
    stream: Stream | None = None


class Measured(NamedTuple):
    """What a pass leaves of each row: the stem and every update of the layers behind it, [rows, N].

    Sums, mean squares of tangents, counts of what is not finite, histograms, entropies of attention weights, and what
    weights were multiplied by for unit variance, [rows, N, places]. tangent and histogram are None where they were not
    asked for, entropy where no update attends, factors where weights are as they are drawn. lost: what became of the
    stream when it was rounded, None for float32.
    """

    sums: Sums
    tangent: Scaled | None
    nonfinite: jax.Array | np.ndarray
    histogram: jax.Array | np.ndarray | None
    entropy: jax.Array | np.ndarray | None = None
    factors: Scaled | None = None
    lost: Lost | None = None
