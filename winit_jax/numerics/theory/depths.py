"""How many layers a signal and a gradient survive: the maps themselves, from the start on, transients included.

Where each layer changes little the maps are followed many layers at once. The map x -> x + s(x) of log q is the flow
for unit time along

    v = s - s s' / 2 + s s'^2 / 3 + s^2 s'' / 12 - ...

(the logarithm of the map), and a sum over layers is the integral over that time with the ends of the Euler-Maclaurin
formula, so that a decay by a power law costs no more over a hundred million layers than over a thousand.
"""

import math
from typing import NamedTuple

import numpy as np

from winit_jax.numerics.activations import Activation
from winit_jax.numerics.theory.length_curves import STILL, Curve, Step, curve, step_of

# A leap changes log q by at most this much, and the step by this share; shorter ones are not worth their error.
LEAP, SHORTEST = 0.2, 30
# More layers than anybody has: what takes longer is never. Where q stays, log chi1 is known to MARGINAL.
MOST, MARGINAL = 1e15, 1e-11
ROUNDS = 20_000
# Nodes and weights on [0, 1].
_GAUSS = (np.polynomial.legendre.leggauss(6)[0] / 2 + 0.5, np.polynomial.legendre.leggauss(6)[1] / 2)


class Depths(NamedTuple):
    """The first layer, counted from 1, at which something has changed by a factor; inf if never. [n] each.

    signal: sqrt(q_l) against sqrt(q_1). gradient: the product of sqrt(chi(q_k)) over layers k = 1 to l, against 1.
    """

    signal: np.ndarray
    gradient: np.ndarray


class _State(NamedTuple):
    """Some rows at a layer: log q, the sum of log chi before it, layers passed, and what moves them; [m] each."""

    x: np.ndarray
    change: np.ndarray
    step: Step
    pace: np.ndarray
    pace_slope: np.ndarray


@np.errstate(all="ignore")
def depths(
    activation: Activation, log_weight: np.ndarray, log_bias: np.ndarray, log_start: np.ndarray, factor: float = 1000.0
) -> Depths:
    """How deep signals and gradients reach from a start; natural logarithms of variances and of q_1, [n] each.

    Layer by layer where q moves fast; else by leaps, to about 1e-3 of a layer (tested).
    Errors: none; NaN where an average is no number.
    """
    columns = np.broadcast_arrays(
        *(np.atleast_1d(np.asarray(x, np.float64)) for x in (log_weight, log_bias, log_start))
    )
    known, limit = curve(activation), 2 * math.log(factor)
    weight, bias, start = columns
    x, change, layers = start.copy(), np.zeros(start.size), np.zeros(start.size)
    reached = Depths(np.full(start.size, np.nan), np.full(start.size, np.nan))
    rows = np.arange(start.size)
    if known.flat:
        reached.gradient[:] = _left(weight + known.edge.log_chi[0], change, limit)
    for _ in range(ROUNDS):
        state = _look(known, x[rows], change[rows], weight[rows], bias[rows])
        unknown = np.isnan(state.step.size) | np.isnan(state.pace)
        still = np.abs(state.step.size) <= STILL * np.maximum(1, np.abs(x[rows]))
        ended = rows[still]
        reached.gradient[ended] = _kept(
            reached.gradient[ended], layers[ended] + _left(state.pace[still], change[ended], limit)
        )
        reached.signal[ended] = _kept(reached.signal[ended], np.inf)
        going = ~(still | unknown | (layers[rows] > MOST))
        going &= np.isnan(reached.signal[rows]) | np.isnan(reached.gradient[rows])
        late = rows[layers[rows] > MOST]
        for column in reached:
            column[late] = _kept(column[late], np.inf)
        rows = rows[going]
        if not rows.size:
            break
        step = Step(*(values[going] for values in state.step))
        state = _State(state.x[going], state.change[going], step, state.pace[going], state.pace_slope[going])
        size = _leap(state)
        while True:
            new_x, new_change, passed = _after(known, state, size, weight[rows], bias[rows])
            lost = np.isnan(reached.signal[rows]) & ~(np.abs(new_x - start[rows]) < limit)
            gone = np.isnan(reached.gradient[rows]) & ~(np.abs(new_change) < limit)
            # No leap goes past a threshold: the last layers are taken one by one.
            shorter = (lost | gone) & (size > 1)
            if not shorter.any():
                break
            size = np.where(shorter, np.where(size >= 2 * SHORTEST, np.floor(size / 2), 1.0), size)
        x[rows], change[rows], layers[rows] = new_x, new_change, layers[rows] + passed
        reached.signal[rows] = np.where(lost & ~np.isnan(new_x), layers[rows] + 1, reached.signal[rows])
        reached.gradient[rows] = np.where(gone & ~np.isnan(new_change), layers[rows], reached.gradient[rows])
    return reached


def _kept(earlier: np.ndarray, now: np.ndarray | float) -> np.ndarray:
    return np.where(np.isnan(earlier), now, earlier)


def _left(pace: np.ndarray, change: np.ndarray, limit: float) -> np.ndarray:
    """Layers until a sum that stands at `change` and grows by `pace` each is at least limit in size."""
    with np.errstate(divide="ignore", invalid="ignore"):
        layers = np.ceil((limit - np.sign(pace) * change) / np.abs(pace))
    return np.where(np.abs(pace) <= MARGINAL, np.inf, layers)


def _look(known: Curve, x: np.ndarray, change: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> _State:
    moments = known.at(x)
    return _State(x, change, step_of(moments, x, weight, bias), weight + moments.log_chi, moments.chi_slope)


def _leap(state: _State) -> np.ndarray:
    """How many layers may be taken at once."""
    with np.errstate(divide="ignore"):
        size = np.floor(LEAP / np.maximum(np.abs(state.step.size), np.abs(state.step.slope)))
    return np.where(size < SHORTEST, 1.0, np.minimum(size, MOST))


def _velocity(step: Step) -> np.ndarray:
    size, slope, bend = step
    velocity: np.ndarray = size * (1 - slope / 2 + slope**2 / 3 + size * bend / 12)
    return velocity


def _after(
    known: Curve, state: _State, size: np.ndarray, weight: np.ndarray, bias: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(log q, sum of log chi, layers passed) one layer on, or about `size` layers where that is more than one.

    Along the flow time is the integral of dx / v, here to a place about so far away, and then on to a whole number.
    """
    with np.errstate(invalid="ignore"):
        x, change, passed = state.x + state.step.size, state.change + state.pace, np.ones(size.size)
    far = np.flatnonzero(size > 1)
    if not far.size:
        return x, change, passed
    start, weight, bias = state.x[far], weight[far], bias[far]
    first = _velocity(Step(*(values[far] for values in state.step)))
    way = size[far] * first
    inside = _look(known, start + way * _GAUSS[0][:, None], start, weight, bias)
    times = way * _GAUSS[1][:, None] / _velocity(inside.step)
    time, total = times.sum(axis=0), (times * inside.pace).sum(axis=0)
    rest = np.ceil(time) - time
    place = start + way
    half = _look(known, place, place, weight, bias)
    middle = _look(known, place + rest / 2 * _velocity(half.step), place, weight, bias)
    end_at = place + rest * _velocity(middle.step)
    end = _look(known, end_at, end_at, weight, bias)
    ends = (end.pace - state.pace[far]) / 2
    ends -= (end.pace_slope * _velocity(end.step) - state.pace_slope[far] * first) / 12
    x[far], passed[far] = end_at, np.ceil(time)
    change[far] = state.change[far] + total + rest * middle.pace - ends
    return x, change, passed
