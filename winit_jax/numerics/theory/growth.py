"""How a stream goes on far behind its first layers: it settles, or it grows by a law."""

import math
from typing import Any, NamedTuple

import numpy as np

from winit_jax.numerics.activations import Activation
from winit_jax.numerics.theory.propagation import (
    DENSE,
    UNNORMALIZED,
    Layer,
    Norm,
    Number,
    OfPlaces,
    propagate,
    updates_of,
)

# Layers after which the law is read off, and log10 of a stream beside which nothing finite is left.
LAYERS, FAR = 400, 60.0
# What moves log10 q by less a layer stays; what moves it by more far out grows or shrinks by a factor.
STAYS, FACTOR = 1e-9, 1e-9


class Growth(NamedTuple):
    """law: [N] of "fixed point", "linear", "geometric", "vanishing" or "unsettled"; "" where mean field says nothing.

    log10_q: where a stream settles; NaN if it does not. rate: what a layer adds to q, for linear growth. ratio: what a
    layer multiplies q by, for geometric growth and for what vanishes. decorrelation: 1 - c after `LAYERS`. [N] each.
    """

    law: np.ndarray
    log10_q: np.ndarray
    rate: np.ndarray
    ratio: np.ndarray
    decorrelation: np.ndarray


def growth(
    activation: Activation,
    log10_weight_var: OfPlaces,
    log10_bias_var: OfPlaces,
    log10_q1: Number,
    c1: Number,
    block: Layer = DENSE,
    log10_skip_square: Number = -math.inf,
    norm: Norm = UNNORMALIZED,
    **scales: Any,
) -> Growth:
    """The law of a stream's mean square q, by following it for LAYERS layers and by one layer far out.

    Pre-norm with a skip of 1: q + v, linear, with v the branches' mean square (De and Smith 2020, arXiv:2002.10444).
    A residual ReLU: geometric, with ratio skip^2 + branch^2 g^2 / 2 (Yang and Schoenholz 2017, arXiv:1712.08969).
    Streams without skip, or behind a norm, settle at a fixed point, vanish or explode.

    Arguments: as of `propagate`, of layers that are all the same. Errors: as of `propagate`.
    """
    each = len(updates_of(block))
    arguments = (block, log10_skip_square, norm)
    near = propagate(activation, log10_weight_var, log10_bias_var, log10_q1, c1, LAYERS + 1, *arguments, **scales)
    log_q = 2 * near.log10_preact_rms[::each]
    last, moved = log_q[-1], log_q[-1] - log_q[-2]
    # At the end of such a stream, but so long that a layer's own mean square is nothing beside it.
    similar = {"r1": near.position_similarity[-1]} if scales.get("r1") is not None else {}
    far_scales = {**{key: value for key, value in scales.items() if key not in ("r1", "x1")}, **similar}
    far = propagate(
        activation, log10_weight_var, log10_bias_var, FAR, near.input_correlation[-1], 2, *arguments, **far_scales
    )
    far_moved = 2 * (far.log10_preact_rms[-1] - far.log10_preact_rms[0])
    with np.errstate(all="ignore"):
        added = 10.0**last - 10.0 ** log_q[-2]
    settled = (np.abs(moved) < STAYS) | (last == -np.inf)
    # Beyond float64's digits of q itself, a linear law has stopped moving log10 q: 400 layers of it still do.
    grows, falls = moved >= STAYS, moved <= -STAYS
    geometric = grows & (np.abs(far_moved) > FACTOR) & (np.abs(moved - far_moved) < 1e-3 * np.abs(far_moved) + 1e-6)
    linear = grows & (np.abs(far_moved) <= FACTOR)
    steady = np.abs(moved - (log_q[-2] - log_q[-3])) < 1e-6
    law = np.select(
        [np.isnan(last) | np.isnan(far_moved), settled, linear, geometric, falls & steady],
        ["", "fixed point", "linear", "geometric", "vanishing"],
        "unsettled",
    )
    return Growth(
        law,
        np.where(law == "fixed point", last, np.nan),
        np.where(law == "linear", added, np.nan),
        np.where((law == "geometric") | (law == "vanishing"), 10.0**moved, np.nan),
        near.input_decorrelation[-1],
    )
