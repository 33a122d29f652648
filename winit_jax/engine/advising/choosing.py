"""Which gain theory recommends, started at the inputs that a network is fed.

What a gain loses over a depth is told by the mean-field course of a network from its own first layer, a_1, on: by how
much log10 of the RMS of a_l and of d a_l / d a_1 move, at most over l = 1 .. depth (`lost`). Three ways lead to a gain:

plain       layers without skip or normalization: the critical gain where it keeps both that long, else a scheme's, else
            the gain that loses least, of those that are usual
normalized  without a skip: the scale of the weights is divided out, and the gain that makes a_l of mean square 1 is as
            good as any
skip        the gain at which a branch adds a mean square of 1 to a stream of mean square 1, and branches of
            1 / sqrt(how many there are), so that the stream grows by a factor that does not depend on the depth
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np

from winit_jax.engine.advising.question import Kind, Question
from winit_jax.engine.computing.advice import USUAL
from winit_jax.engine.computing.theories import norm_of
from winit_jax.numerics import schemes, theory
from winit_jax.numerics.theory.length_curves import curve
from winit_jax.numerics.theory.moments import covariance, mean_square_slope, second_moment

LN_10 = math.log(10)
# log10 of the factors within which signal and gradient are kept, and beyond which they are lost.
KEPT, LOST = 1.0, 2.0
# How much more than the best gain, in log10, a critical gain that is no scheme's may lose, and a scheme's gain.
SLIGHTLY_MORE, MORE = 0.1, 0.7
# Gains that are tried, and those between two of them.
N_GAINS, N_BETWEEN = 401, 101
# Two gains are the same when they differ by less, relatively.
SAME = 1e-9
# Schemes that a gain may have the name of; schemes of `he_normal(slope)` beside them.
NAMED = ("lecun_normal", "he_normal")
# And what else has the same gain where layers are square.
ALSO = {"lecun_normal": "xavier_normal"}


class Course(NamedTuple):
    """Networks of n gains, layer by layer.

    signal: log10 of the RMS of a_l over that of a_1; gradient: of d a_l / d a_1; [depth, n] each. correlation: of two
    inputs, at the last layer, [n].
    """

    signal: np.ndarray
    gradient: np.ndarray
    correlation: np.ndarray

    def of(self, at: int) -> "Course":
        """That of one gain."""
        return Course(self.signal[:, at : at + 1], self.gradient[:, at : at + 1], self.correlation[at : at + 1])


class Choice(NamedTuple):
    """A recommended gain, and what was known when it was chosen.

    how: the reason, `critical`, `scheme`, `least`, `unit` (a mean square of 1), or `any`. scheme: the name of an init
    of this gain, or "". course: at this gain; None where mean field says nothing. worst: what it loses. least: the
    gain that loses least, and how much that is. critical: of dense layers from these inputs. reach: the deepest
    network of this kind that some gain keeps.
    """

    gain: float
    how: Literal["critical", "scheme", "least", "unit", "any"]
    scheme: str
    course: Course | None
    worst: float
    least: tuple[float, float]
    critical: theory.CriticalGain | None
    reach: int


@dataclass(frozen=True)
class Gains:
    """At a mean square pre-activation of 1: 1 / std of phi, 1 / RMS of phi, 1 / RMS of phi'."""

    unit_variance: float
    unit_mean_square: float
    unit_gradient: float


def unit_gains(question: Question) -> Gains:
    """The three gains that are mixed up most often. Source: He et al. 2015; Brock et al. 2021, arXiv:2101.08692."""
    phi, one = question.phi, np.ones(1)
    with np.errstate(all="ignore"):
        square, slope = float(second_moment(phi, one)[0]), float(mean_square_slope(phi, one)[0])
        mean_squared = float(covariance(phi, one, np.zeros(1))[0])  # two inputs of nothing in common share the mean
        variance = max(square - mean_squared, 0.0)
        gains = (float(1 / np.sqrt(np.float64(value))) for value in (variance, square, slope))
        return Gains(*gains)


def lost(kind: Kind, signal: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """What a course loses, up to each layer: log10 of the largest factor. signal, gradient: [depth, ...].

    A difference between two inputs goes as the gradient, so that its square beside the signal's goes as 2 (gradient
    - signal): where that falls, 1 - c does, and what is left is common to all inputs. Under normalization without a
    skip sizes are divided out, and a gradient counts beside the signal alone.
    """
    beside = gradient - signal
    size = np.abs(beside) if kind == "normalized" else np.maximum(np.abs(signal), np.abs(gradient))
    sizes = np.maximum(size, -2 * beside)
    return np.asarray(np.maximum.accumulate(np.where(np.isnan(sizes), np.inf, sizes), axis=0))


def follow(question: Question, gains: np.ndarray, branch: float | None = None) -> Course | None:
    """The course of networks of these gains, by theory; None where there is none. branch: instead of the question's."""
    if not question.is_predicted:
        return None
    gains = np.asarray(gains, np.float64)
    with np.errstate(all="ignore"):
        found = theory.from_inputs(
            question.phi,
            gains / math.sqrt(question.features),
            gains,
            np.full(gains.shape, question.bias_std),
            layers=question.depth,
            block=question.updates,
            skip=question.layer.skip,
            branch=question.branch if branch is None else branch,
            norm=norm_of(question.normalization, "pre", None),
            **question.start.as_start(),
        )
        rows = slice(None, None, len(question.updates))
        signal = found.log10_preact_rms[rows]
        return Course(signal - signal[:1], found.log10_jacobian[rows], found.input_correlation[-1])


def along_the_curve(question: Question, gains: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(signal, gradient) of plain layers as in `Course`, from the curve of the activation: quick for many gains."""
    known = curve(question.phi)
    with np.errstate(all="ignore"):
        weight = 2 * np.log(gains)
        bias = np.full(weight.shape, question.log_bias)
        x = np.logaddexp(weight + np.log(question.square), bias)
        log_q, log_chi = [x], [np.zeros(x.shape)]
        for _ in range(question.depth - 1):
            at = known.at(x)
            log_chi.append(weight + at.log_chi)
            x = np.logaddexp(weight + x + at.ratio, bias)
            log_q.append(x)
        sizes = np.array(log_q)
        return (sizes - sizes[:1]) / (2 * LN_10), np.cumsum(log_chi, axis=0) / (2 * LN_10)


def choose(question: Question) -> Choice:
    """The gain to use."""
    if not question.has_phi or question.attends:
        return _settled(question, 1.0, "any")
    if question.kind == "plain":
        return _plain(question)
    if question.kind == "normalized":
        return _settled(question, _usable(unit_gains(question).unit_mean_square), "unit")
    return _settled(question, _unit_branch(question), "unit")


def named(question: Question, gain: float) -> str:
    """The scheme of this gain, or ""."""
    name = question.phi.name
    of_slope = f"he_normal{name.removeprefix('leaky_relu')}" if name.startswith("leaky_relu(") else ""
    for scheme in (of_slope, *NAMED):
        if scheme and abs(schemes.scheme_gain(scheme, 1, 1) - gain) < SAME * gain:
            return scheme
    return ""


def _usable(gain: float) -> float:
    return gain if math.isfinite(gain) and gain > 0 else 1.0


def _settled(question: Question, gain: float, how: Literal["unit", "any"]) -> Choice:
    """The choice of a gain that nothing is searched for."""
    gain = _exact(question, gain)
    course = follow(question, np.array([gain]))
    worst, reach = math.nan, question.depth
    if course is not None:
        losses = lost(question.kind, course.signal, course.gradient)[:, 0]
        worst, reach = float(losses[-1]), int(np.count_nonzero(losses <= KEPT))
    return Choice(gain, how, named(question, gain), course, worst, (gain, worst), None, reach)


def _exact(question: Question, gain: float) -> float:
    """The gain of the scheme that has this one but for rounding, else itself."""
    scheme = named(question, gain)
    return schemes.scheme_gain(scheme, 1, 1) if scheme else gain


def _unit_branch(question: Question) -> float:
    """The gain at which an update of the stream, by itself, turns a mean square of 1 into 1."""
    low, high = math.log(0.05), math.log(20.0)
    with np.errstate(all="ignore"):
        for _ in range(4):
            logs = np.linspace(low, high, 65)
            found = theory.propagate(
                question.phi, 2 * logs / LN_10, -math.inf, 0.0, 0.0, 2, question.updates, -math.inf
            ).log10_preact_rms[-1]
            above = np.flatnonzero(found >= 0)
            if not above.size or above[0] == 0:
                return _usable(unit_gains(question).unit_mean_square)
            low, high = logs[above[0] - 1], logs[above[0]]
        (before, after), (left, right) = found[above[0] - 1 : above[0] + 1], (low, high)
        return math.exp(left + (right - left) * (0 - before) / (after - before))


def _plain(question: Question) -> Choice:
    """The critical gain, a scheme's or the one that loses least."""

    def losses(gains: np.ndarray) -> np.ndarray:
        return lost("plain", *along_the_curve(question, gains))

    grid = np.geomspace(*USUAL, N_GAINS)
    of_grid = losses(grid)
    at = int(np.argmin(of_grid[-1]))
    fine = np.geomspace(grid[max(at - 1, 0)], grid[min(at + 1, N_GAINS - 1)], N_BETWEEN)
    of_fine = losses(fine)
    nearest = int(np.argmin(of_fine[-1]))
    least = float(fine[nearest]), float(of_fine[-1, nearest])
    reach = int(np.count_nonzero(np.min(np.hstack([of_grid, of_fine]), axis=1) <= KEPT))
    critical = theory.critical_gain(question.phi, question.bias_std, theory.Start(square=question.square))
    gain, how = _among(question, critical.gain, least, lambda value: float(losses(np.array([value]))[-1, 0]))
    course = follow(question, np.array([gain]))
    assert course is not None
    worst = float(lost("plain", course.signal, course.gradient)[-1, 0])
    return Choice(gain, how, named(question, gain), course, worst, least, critical, max(reach, 1))


def _among(
    question: Question, critical: float, least: tuple[float, float], loses: Callable[[float], float]
) -> tuple[float, Literal["critical", "scheme", "least"]]:
    """(The gain, why). least: the gain that loses least, and what it loses."""
    gain, lowest = least
    most = min(KEPT, lowest + MORE)
    if math.isfinite(critical) and USUAL[0] <= critical <= USUAL[1]:
        exact = _exact(question, critical)
        lost_there = loses(exact)
        if lost_there <= (most if named(question, exact) else lowest + SLIGHTLY_MORE):
            return exact, "critical"
    gains = [schemes.scheme_gain(name, 1, 1) for name in NAMED]
    of_schemes = {value: loses(value) for value in gains}
    best = min(of_schemes, key=lambda value: of_schemes[value])
    if of_schemes[best] <= most:
        return best, "scheme"
    return gain, "least"


class Change(NamedTuple):
    """Something that may be done instead. what: in words. choice: for the network that is so changed."""

    what: str
    question: Question
    choice: Choice


def changes(question: Question) -> list[Change]:
    """What else could be done, each with what theory says of it: a skip, normalization, another activation."""
    tried: list[Change] = []

    def see(what: str, **of: object) -> None:
        changed = replace(question, **of)  # type: ignore[arg-type]
        tried.append(Change(what, changed, choose(changed)))

    beside = {"dense": "residual"} | {
        name: f"residual_{name}" for name in [question.block] if name.startswith(("conv(", "conv2d("))
    }
    if skipped := beside.get(question.block):
        rule = replace(question, block=skipped).branch_rule
        see(f"a skip (block {skipped}, branch_scale {rule})", block=skipped)
    if question.normalization != "layer" and question.has_phi:
        see("layer normalization", normalization="layer")
        if skipped:
            see("both", block=skipped, normalization="layer")
    if question.kind == "plain" and question.activation != "relu":
        see("relu", activation="relu")
    return tried
