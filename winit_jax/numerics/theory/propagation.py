"""Signals of infinitely wide networks, layer by layer, from the inputs on.

Everything is carried in logarithms, so that scales far outside float64 need no special case.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from winit_jax.numerics.activations import Activation
from winit_jax.numerics.scaled import log10_sum
from winit_jax.numerics.theory.responses import Responses, in_units
from winit_jax.numerics.theory.streams import Scales, Stream, normalized_grams
from winit_jax.numerics.theory.updates import Attention, Phi, Update

Number = np.ndarray | float
# Of a place, a number or [N]; of an update [places, N]; of its layers [layers - 1, places, N]; of several updates a
# tuple of these, one for each.
OfPlaces = Any

# Points that `propagate` handles together: their Hermite coefficients take 4 MiB.
BLOCK = 1024
Layer = Update | Sequence[Update]
DENSE: tuple[Update, ...] = (Phi(),)


class Propagation(NamedTuple):
    """Signals of infinitely wide networks by update of the stream; float64 [1 + updates, N] each.

    log10_act_rms: log10 sqrt(E[phi(u)^2]), u ~ N(0, q_l); for an update with a phi of its own, of that phi, in the
        row of the stream that the update made. NaN where there is no phi.
    input_correlation: correlation of two inputs' pre-activations, at the same position.
    log10_jacobian: log10 of the RMS singular value of da_l / da_1; 0 at layer 1.
    chi: what the next update multiplies the mean square of a small change by; weight_var E[phi'(u)^2] + skip^2, u ~
        N(0, q_l), for a dense layer.
    log10_preact_rms: of the stream.
    position_similarity: correlation between distinct positions of one input; NaN without positions.
    input_decorrelation, position_decorrelation: 1 minus the correlations, with all their digits.
    """

    log10_act_rms: np.ndarray
    input_correlation: np.ndarray
    log10_jacobian: np.ndarray
    chi: np.ndarray
    log10_preact_rms: np.ndarray
    position_similarity: np.ndarray
    input_decorrelation: np.ndarray
    position_decorrelation: np.ndarray


class Norm(NamedTuple):
    """A normalization in mean field, where layer and RMS normalization divide by sqrt(q + epsilon) alike.

    position: `pre`, before phi, or `post`, behind each block; "" for none. log10_epsilon: a number or [N].
    """

    position: str = ""
    log10_epsilon: Number = -math.inf

    def of(self, points: slice) -> "Norm":
        """That of some points."""
        epsilon = np.asarray(self.log10_epsilon)
        return self if epsilon.ndim == 0 else self._replace(log10_epsilon=epsilon[points])

    def log10_divisor(self, log10_q: np.ndarray, position: str) -> np.ndarray:
        """log10 of what the mean square of a stream is divided by there; 0 where nothing is normalized."""
        if self.position != position:
            return np.zeros_like(log10_q)
        return log10_sum(log10_q, np.broadcast_to(np.asarray(self.log10_epsilon, np.float64), log10_q.shape))


UNNORMALIZED = Norm()


def updates_of(block: Layer) -> tuple[Update, ...]:
    """The updates of one layer, of which a single one may stand by itself."""
    return tuple(block) if isinstance(block, Sequence) else (block,)


def propagate(
    activation: Activation,
    log10_weight_var: OfPlaces,
    log10_bias_var: OfPlaces,
    log10_q1: Number,
    c1: Number,
    layers: int,
    block: Layer = DENSE,
    log10_skip_square: Number = -math.inf,
    norm: Norm = UNNORMALIZED,
    *,
    log10_branch_square: Number = 0.0,
    attention_gain: Number = 1.0,
    r1: Number | None = None,
    x1: Number | None = None,
) -> Propagation:
    """Signals of infinitely wide networks, update by update, from the first layer's q and correlations.

    q_{l+1} = length_map(q_l), c_{l+1} = correlation_map(c_l, q_l), jacobian_l = prod_{k<l} sqrt(chi(q_k))
    for a dense layer; other updates have maps of their own (`winit_jax.numerics.theory.updates`).

    log10_weight_var, log10_bias_var: of each weight place of an update: a number or [N] for all, [places, N], or
        [layers - 1, places, N]; where a layer has several updates, a tuple may have one of these for each.
    log10_q1, c1: [N], or numbers: the mean square pre-activation of layer 1, and its correlation between inputs. The
        logarithms may be -inf, for 0, and the values may lie far outside float64's range.
    r1, x1: correlations between positions, of one input and of two: [N] or numbers where all positions are equally
        alike, [D, N] for D displacements of equal number otherwise. Without positions None; x1 is c1 r1 by itself.
    block: an update, or a layer's updates one after the other (`blocks.mean_field`).
    log10_skip_square, log10_branch_square: of the squares of what the stream and each block are multiplied by, -inf
        for none; attention_gain: itself. Numbers or [N], or [updates in all, N].
    norm: where and by what the stream is normalized.
    Shapes: [1 + updates in all, N] each.
    Errors: ValueError for attention without r1. Otherwise none: no weights and no biases give NaN correlations, and
        so does what `Update.unknown` states. An activation given by import path loses accuracy at kinks away from 0
        (see `winit_jax.numerics.theory.moments`).
    """
    updates = updates_of(block)
    total = (layers - 1) * len(updates)
    if r1 is None and any(isinstance(update, Attention) for update in updates):
        raise ValueError("attention is between positions: r1, their correlation, is missing")
    unit, factor = in_units(activation)
    of_weights, of_biases = (_of_updates(values, len(updates)) for values in (log10_weight_var, log10_bias_var))
    weights: list[list[np.ndarray]] = []
    for update, values in zip(updates, of_weights, strict=True):
        of_update = _places(values, len(update.places))
        if update.behind_phi >= 0:
            of_update[update.behind_phi] = of_update[update.behind_phi] + 2 * factor
        weights.append(of_update)
    biases = [_places(values, len(update.places)) for update, values in zip(updates, of_biases, strict=True)]
    r1, x1 = _positions(c1, r1, x1)
    start = [np.asarray(values, np.float64) for values in (log10_q1, c1)]
    each = [np.asarray(values, np.float64) for values in (log10_skip_square, log10_branch_square, attention_gain)]
    alone = [place for places in (*weights, *biases) for place in places]
    count = np.broadcast_shapes((1,), *(values.shape[-1:] for values in (*start, *each, *alone, r1, x1)))[0]

    def part_of(values: np.ndarray, part: slice) -> np.ndarray:
        return np.broadcast_to(values, (*values.shape[:-1], count))[..., part].copy()

    propagation = Propagation(*np.full((len(Propagation._fields), total + 1, count), np.nan))
    for first in range(0, count, BLOCK):
        part = slice(first, min(first + BLOCK, count))
        log_q, c = (part_of(values, part) for values in start)
        r, x = (part_of(values, part) for values in (r1, x1))
        correlations = np.concatenate([c[None], r, x])
        stream = Stream(log_q, correlations, 1 - correlations, np.zeros_like(r))
        own = [part_of(values, part) for values in each]
        places = [[[part_of(place, part) for place in of] for of in values] for values in (weights, biases)]

        def scales(
            step: int,
            skip: np.ndarray = own[0],
            branch: np.ndarray = own[1],
            gain: np.ndarray = own[2],
            places: list[list[list[np.ndarray]]] = places,
        ) -> Scales:
            layer, number = divmod(step, len(updates))
            # Behind the last layer nothing follows: the same once more.
            at = step if step < total else max(step - len(updates), 0)
            weight, bias = (
                np.stack([place if place.ndim == 1 else place[min(layer, len(place) - 1)] for place in of[number]])
                for of in places
            )
            return Scales(
                weight, bias, *(values if values.ndim == 1 else values[at] for values in (skip, branch, gain))
            )

        of_part = Propagation(*(values[:, part] for values in propagation))
        _propagate_some(unit, updates, stream, scales, norm.of(part), of_part)
    propagation.log10_act_rms[:] += factor
    return propagation


def from_inputs(
    activation: Activation,
    first_std: np.ndarray,
    hidden_gain: OfPlaces,
    bias_std: np.ndarray,
    square: float,
    correlation: float,
    layers: int,
    block: Layer = DENSE,
    skip: np.ndarray | float = 0.0,
    branch: np.ndarray | float = 1.0,
    norm: Norm = UNNORMALIZED,
    *,
    attention_gain: Number = 1.0,
    position_similarity: float | None = None,
    cross_similarity: float | None = None,
    block_bias_std: OfPlaces | None = None,
) -> Propagation:
    """`propagate`, with q1 and the correlations of the first layer computed from the inputs.

    first_std: standard deviation of the first layer's weights. hidden_gain: std * sqrt(fan_in) of all others, shapes
    as of the weights in `propagate`. bias_std: standard deviation of the biases, [N]; block_bias_std: of those behind
    the stem, where they differ. skip, branch: skip_scale and branch_scale, shapes as in `propagate`.
    norm: where and by what the stream is normalized.
    square: mean of |x|^2 over inputs (and positions). correlation: mean of x_i . x_j over distinct inputs at the same
    position, divided by `square`; position_similarity, cross_similarity: the same between distinct positions of one
    input, and of two; None without positions.
    Shapes and errors: as of `propagate`.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        log10_weights = 2 * np.log10(np.asarray(first_std, np.float64)) + np.log10(square)
        log10_bias = 2 * np.log10(np.asarray(bias_std, np.float64))
        log10_hidden = _mapped(lambda gain: 2 * np.log10(gain), hidden_gain)
        of_block = log10_bias if block_bias_std is None else _mapped(lambda std: 2 * np.log10(std), block_bias_std)
        log10_q = log10_sum(log10_weights, log10_bias)
        share = np.where(np.isinf(log10_q), np.nan, 10.0 ** (log10_weights - log10_q))
        log10_branch, log10_skip = (2 * np.log10(np.abs(np.asarray(scale, np.float64))) for scale in (branch, skip))
    c, r, x = (
        None if value is None else share * value + (1 - share)
        for value in (correlation, position_similarity, cross_similarity)
    )
    assert c is not None
    return propagate(
        activation,
        log10_hidden,
        of_block,
        log10_q,
        c,
        layers,
        block,
        log10_skip,
        norm,
        log10_branch_square=log10_branch,
        attention_gain=attention_gain,
        r1=r,
        x1=x,
    )


def _propagate_some(
    activation: Activation,
    updates: Sequence[Update],
    stream: Stream,
    scales: Callable[[int], Scales],
    norm: Norm,
    propagation: Propagation,
) -> None:
    """`propagate` for n points, from their first stream; writes into `propagation`, [1 + updates in all, n]."""
    responses = [Responses(activation) for _ in updates]
    jacobian = np.zeros(stream.log10_q.size)
    rows = propagation.chi.shape[0]
    with np.errstate(all="ignore"):
        for row in range(rows):
            update = updates[row % len(updates)]
            divisor = norm.log10_divisor(stream.log10_q, "pre")
            added = update.add(stream, scales(row), divisor, responses[row % len(updates)])
            following = added.stream
            divisor = norm.log10_divisor(following.log10_q, "post")
            log10_jacobian = added.log10_jacobian - 0.5 * divisor
            place = row + 1 if update.inner else row
            if place < rows and update.behind_phi >= 0:
                propagation.log10_act_rms[place] = added.log10_act_rms
            propagation.input_correlation[row] = stream.c[0]
            propagation.input_decorrelation[row] = stream.apart[0]
            propagation.log10_jacobian[row] = jacobian
            propagation.log10_preact_rms[row] = 0.5 * stream.log10_q
            if stream.displacements:
                between = slice(1, 1 + stream.displacements)
                propagation.position_similarity[row] = stream.c[between].mean(axis=0)
                propagation.position_decorrelation[row] = stream.apart[between].mean(axis=0)
            stream = following._replace(log10_q=following.log10_q - divisor)
            if norm.position == "post" and stream.grams is not None:
                stream, changed = normalized_grams(stream)
                log10_jacobian = log10_jacobian + 0.5 * changed
            propagation.chi[row] = 10.0 ** (2 * log10_jacobian)
            jacobian = jacobian + log10_jacobian


# --- Shapes


def _mapped(function: Callable[[np.ndarray], np.ndarray], values: OfPlaces) -> OfPlaces:
    if isinstance(values, tuple):
        return tuple(_mapped(function, of_update) for of_update in values)
    return function(np.asarray(values, np.float64))


def _of_updates(values: OfPlaces, count: int) -> list[np.ndarray]:
    """What `OfPlaces` gives each update."""
    of_updates = values if isinstance(values, tuple) else (values,) * count
    return [np.asarray(of_update, np.float64) for of_update in of_updates]


def _places(values: np.ndarray, count: int) -> list[np.ndarray]:
    """Of each place of an update: [N] or [layers - 1, N]."""
    whole = np.atleast_1d(values)
    return [whole] * count if whole.ndim == 1 else [whole[..., place, :] for place in range(count)]


def _positions(c1: Number, r1: Number | None, x1: Number | None) -> tuple[np.ndarray, np.ndarray]:
    """r and x, [D, N] each; [0, 1] without positions."""
    if r1 is None:
        return np.empty((0, 1)), np.empty((0, 1))
    r = np.atleast_2d(np.asarray(r1, np.float64))
    x = np.asarray(c1, np.float64) * r if x1 is None else np.atleast_2d(np.asarray(x1, np.float64))
    shape = (r.shape[0], np.broadcast_shapes(r.shape[-1:], x.shape[-1:])[0])
    return np.broadcast_to(r, shape), np.broadcast_to(x, shape)
