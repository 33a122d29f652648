"""How many layers a signal and a gradient survive, by following the maps from the first layer, transients included.

Where one layer changes little, many layers are taken in one leap. The map x -> x + s(x) of x = log q equals following,
for unit time, the flow

    dx/dt = v(x) = s - s s' / 2 + s s'^2 / 3 + s^2 s'' / 12 - ...

(the logarithm of the map). A sum over layers is then an integral over time plus the end terms of the Euler-Maclaurin
formula, so that a power-law decay costs no more over a hundred million layers than over a thousand.
"""

import math
from typing import NamedTuple

import numpy as np

from winit_jax.numerics.activations import Activation
from winit_jax.numerics.theory.length_curves import STILL, Curve, Step, curve, step_of

# A leap changes log q by about LEAP at most, and the step by that share of itself. Leaps of fewer than SHORTEST layers
# are not worth their error: those layers are taken one by one.
LEAP, SHORTEST = 0.2, 30
# What takes more than MOST layers counts as never. Where q stays, an abs(log chi1) of at most MARGINAL counts as 0.
MOST, MARGINAL = 1e15, 1e-11
ROUNDS = 20_000  # at most so many steps and leaps
# Gauss-Legendre nodes and weights on [0, 1].
_GAUSS = (np.polynomial.legendre.leggauss(6)[0] / 2 + 0.5, np.polynomial.legendre.leggauss(6)[1] / 2)


class Depths(NamedTuple):
    """The first layer l, counted from 1, at which a quantity has grown or shrunk by a factor; inf if never. [n] each.

    signal: for sqrt(q_l / q_1). gradient: for the product of sqrt(chi(q_k)) over layers k = 1 to l.
    """

    signal: np.ndarray
    gradient: np.ndarray


class _State(NamedTuple):
    """Some rows at one layer, [m] each.

    x: log q. change: sum of log chi over the layers before. step: how the layer moves x. pace: log chi of the layer.
    pace_slope: its derivative by x.
    """

    x: np.ndarray
    change: np.ndarray
    step: Step
    pace: np.ndarray
    pace_slope: np.ndarray


@np.errstate(all="ignore")
def depths(
    activation: Activation, log_weight: np.ndarray, log_bias: np.ndarray, log_start: np.ndarray, factor: float = 1000.0
) -> Depths:
    """The layers at which the signal and the gradient have changed by `factor`, up or down.

    log_weight, log_bias, log_start: natural logarithms of the variances and of q_1; they broadcast to [n].
    Layers are taken one by one where q moves fast, else by leaps with an error of about 1e-3 of a layer (tested).
    Errors: none; NaN where an average is not a number.
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
        beyond_most = rows[layers[rows] > MOST]
        for column in reached:
            column[beyond_most] = _kept(column[beyond_most], np.inf)
        rows = rows[going]
        if not rows.size:
            break
        step = Step(*(values[going] for values in state.step))
        state = _State(state.x[going], state.change[going], step, state.pace[going], state.pace_slope[going])
        size = _leap(state)
        while True:
            new_x, new_change, passed = _after(known, state, size, weight[rows], bias[rows])
            signal_moved = np.isnan(reached.signal[rows]) & ~(np.abs(new_x - start[rows]) < limit)
            gradient_moved = np.isnan(reached.gradient[rows]) & ~(np.abs(new_change) < limit)
            # No leap may pass a threshold: halve it, down to single layers.
            shorter = (signal_moved | gradient_moved) & (size > 1)
            if not shorter.any():
                break
            size = np.where(shorter, np.where(size >= 2 * SHORTEST, np.floor(size / 2), 1.0), size)
        x[rows], change[rows], layers[rows] = new_x, new_change, layers[rows] + passed
        reached.signal[rows] = np.where(signal_moved & ~np.isnan(new_x), layers[rows] + 1, reached.signal[rows])
        reached.gradient[rows] = np.where(gradient_moved & ~np.isnan(new_change), layers[rows], reached.gradient[rows])
    return reached


def _kept(earlier: np.ndarray, now: np.ndarray | float) -> np.ndarray:
    """The earlier value; where that is NaN, the new one."""
    return np.where(np.isnan(earlier), now, earlier)


def _left(pace: np.ndarray, change: np.ndarray, limit: float) -> np.ndarray:
    """Layers until abs(sum) >= limit, for a sum that is now `change` and grows by `pace` each layer; inf if never."""
    with np.errstate(divide="ignore", invalid="ignore"):
        layers = np.ceil((limit - np.sign(pace) * change) / np.abs(pace))
    return np.where(np.abs(pace) <= MARGINAL, np.inf, layers)


def _look(known: Curve, x: np.ndarray, change: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> _State:
    moments = known.at(x)
    return _State(x, change, step_of(moments, x, weight, bias), weight + moments.log_chi, moments.chi_slope)


def _leap(state: _State) -> np.ndarray:
    """How many layers may be taken at once; [m]."""
    with np.errstate(divide="ignore"):
        size = np.floor(LEAP / np.maximum(np.abs(state.step.size), np.abs(state.step.slope)))
    return np.where(size < SHORTEST, 1.0, np.minimum(size, MOST))


def _velocity(step: Step) -> np.ndarray:
    """v of the module's formula."""
    size, slope, bend = step
    velocity: np.ndarray = size * (1 - slope / 2 + slope**2 / 3 + size * bend / 12)
    return velocity


def _after(
    known: Curve, state: _State, size: np.ndarray, weight: np.ndarray, bias: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(log q, sum of log chi, layers passed) after one layer, or after about `size` layers where size > 1; [m] each.

    A leap goes to x + size v(x), which takes the time int dx / v, then on by the rest to a whole number of layers.
    """
    with np.errstate(invalid="ignore"):
        x, change, passed = state.x + state.step.size, state.change + state.pace, np.ones(size.size)
    far = np.flatnonzero(size > 1)
    if not far.size:
        return x, change, passed
    start, weight, bias = state.x[far], weight[far], bias[far]
    first = _velocity(Step(*(values[far] for values in state.step)))
    distance = size[far] * first
    inside = _look(known, start + distance * _GAUSS[0][:, None], start, weight, bias)
    times = distance * _GAUSS[1][:, None] / _velocity(inside.step)
    time, total = times.sum(axis=0), (times * inside.pace).sum(axis=0)
    rest = np.ceil(time) - time
    place = start + distance
    half = _look(known, place, place, weight, bias)
    middle = _look(known, place + rest / 2 * _velocity(half.step), place, weight, bias)
    end_at = place + rest * _velocity(middle.step)
    end = _look(known, end_at, end_at, weight, bias)
    ends = (end.pace - state.pace[far]) / 2
    ends -= (end.pace_slope * _velocity(end.step) - state.pace_slope[far] * first) / 12
    x[far], passed[far] = end_at, np.ceil(time)
    change[far] = state.change[far] + total + rest * middle.pace - ends
    return x, change, passed
