"""What is said of a recommended gain, in sentences, from theory and from what was measured."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from winit_jax.engine.advising.choosing import ALSO, KEPT, LOST, Change, Choice, Gains, lost
from winit_jax.engine.advising.confirming import Measured
from winit_jax.engine.advising.question import Question, by_powers
from winit_jax.engine.computing.advice import USUAL, Attractor
from winit_jax.numerics import theory
from winit_jax.numerics.theory.length_curves import curve

LN_10 = math.log(10)
# What is measured agrees with theory within so much of a log10, by which seeds differ.
AGREES = 0.3
# Gains that differ by more, relatively, are called different. Networks scatter where seeds differ by that log10.
DIFFERENT, SCATTER = 0.01, 1.0
# Two inputs of such a correlation look alike.
ALIKE = 0.95


class Loss(NamedTuple):
    """What is lost, see `choosing.lost`: by theory and as measured, NaN where there is none. worst: of both."""

    predicted: float
    measured: float

    @property
    def worst(self) -> float:
        """What counts: theory where the measured networks agree with it, else the larger."""
        known = [value for value in self if not math.isnan(value)]
        if len(known) == 2 and abs(self.predicted - self.measured) <= AGREES:
            return self.predicted
        return max(known, default=math.nan)

    @property
    def verdict(self) -> str:
        if math.isnan(self.worst) or self.worst > LOST:
            return "nothing"
        return "good" if self.worst <= KEPT else "strained"


def loss_of(question: Question, choice: Choice, measured: Measured | None) -> Loss:
    """What the recommended gain loses."""
    found = math.nan
    if measured is not None:
        with np.errstate(all="ignore"):
            ends = np.median(measured.signal), np.median(measured.gradient)
            found = float(lost(question.kind, *(np.array([[end]]) for end in ends))[-1, 0])
    return Loss(choice.worst, found)


def summary(question: Question, choice: Choice, loss: Loss, measured: Measured | None) -> str:
    """The verdict in a sentence."""
    over = f"over {question.depth:,} layer{'s' * (question.depth > 1)}"
    if loss.verdict == "nothing" and math.isnan(loss.worst):
        return f"nothing is known: neither theory nor a measurement speaks of it {over}."
    signal, gradient = _ends(choice, measured, loss)
    by = "" if loss.worst == loss.predicted else " as measured"
    ends = f"{over} a signal's RMS changes by a factor {by_powers(signal)}, a gradient's by {by_powers(gradient)}{by}"
    if 2 * (signal - gradient) > max(abs(signal), abs(gradient), 0.3):
        ends += f", and the part of its square that tells inputs apart by {by_powers(2 * (gradient - signal))}"
    if loss.verdict == "good":
        return f"good: {ends}."
    if loss.verdict == "strained":
        return f"strained: {ends}; that is more than a factor {10**KEPT:g}, and may train slowly or with care."
    what = "no gain does better" if choice.how == "least" else "no gain that is usual does better"
    if question.kind == "normalized":
        what = "the gain has no part in it, normalization divides it out"
    return f"nothing good: {ends}; {what}."


def _ends(choice: Choice, measured: Measured | None, loss: Loss) -> tuple[float, float]:
    """log10 of what a signal's and a gradient's RMS are multiplied by: by theory where that counts."""
    if choice.course is not None and (measured is None or loss.worst == loss.predicted):
        return float(choice.course.signal[-1, 0]), float(choice.course.gradient[-1, 0])
    assert measured is not None
    return float(np.median(measured.signal)), float(np.median(measured.gradient))


def why(question: Question, choice: Choice) -> list[str]:
    """Where the gain comes from."""
    if choice.how == "any":
        what = (
            f"{question.block} has no phi, so that {question.activation} changes nothing"
            if not question.has_phi
            else "Attention averages values"
        )
        return [
            f"{what}; at gain 1 values keep their size, and normalization before each block takes care of the rest."
            if question.normalization != "none"
            else f"{what}; at gain 1 values keep their size."
        ]
    if choice.how == "unit" and question.kind == "normalized":
        return [
            f"{question.normalization} normalization divides the scale of the weights out, so that any gain gives the "
            f"same network but for the size of a_l; at {choice.gain:.6g} that has a mean square of 1."
        ]
    if choice.how == "unit":
        what = f"At gain {choice.gain:.6g} a block makes a mean square of 1 of a mean square of 1, so that what it adds"
        return [f"{what} to the stream is as large as the stream, times the square of branch_scale."]
    return [*_critical(question, choice), *_chosen(question, choice)]


def _critical(question: Question, choice: Choice) -> list[str]:
    """The critical gain of plain layers, which is another one than the recommended, or is none."""
    critical = choice.critical
    assert critical is not None
    if choice.how == "critical":
        return [
            f"Gain {choice.gain:.6g} is critical: chi = 1 where q ends from these inputs (q_1 = "
            f"{question.q_1(choice.gain):.4g}), so that gradients keep their size at any depth."
        ]
    if math.isnan(critical.gain):
        return [f"No gain is critical: {critical.reason.partition(': ')[2]}"]
    if not USUAL[0] <= critical.gain <= USUAL[1]:
        return [f"The critical gain is {critical.gain:.6g}, far outside the usual {USUAL[0]:g} to {USUAL[1]:g}."]
    return [
        f"The critical gain, at which gradients in the end keep their size at any depth, is {critical.gain:.6g}; from "
        f"these inputs it loses more over {question.depth:,} layers than gain {choice.gain:.6g} does."
    ]


def _chosen(question: Question, choice: Choice) -> list[str]:
    """What the gain that loses least is, beside the recommended one."""
    gain, least = choice.least
    if choice.how == "least":
        edge = " (as large as gains usually are)" if gain > 0.999 * USUAL[1] else ""
        return [
            f"From these inputs (q_1 = {question.q_1(gain):.4g}) gain {gain:.6g}{edge} loses least over "
            f"{question.depth:,} layers, a factor {by_powers(least)} of signal, gradient or what tells inputs apart."
        ]
    said = []
    if choice.how == "scheme":
        said.append(
            f"Gain {choice.gain:.6g} is {choice.scheme}'s, and loses a factor {by_powers(choice.worst)} over "
            f"{question.depth:,} layers; the gain that loses least is {gain:.4g}, a factor {by_powers(least)}."
        )
    elif choice.worst - least > 0.1:
        said.append(
            f"Over {question.depth:,} layers from these inputs gain {gain:.4g} would lose less, a factor "
            f"{by_powers(least)} instead of {by_powers(choice.worst)}; in deeper networks it loses more."
        )
    return said


def of_scheme(choice: Choice, question: Question) -> list[str]:
    """Other names of the same init."""
    if also := ALSO.get(choice.scheme):
        return [f"{choice.scheme} and, where layers read as many units as they have, {also} have this gain."]
    if question.attends:
        return []
    return []


def of_gains(gains: Gains, question: Question) -> list[str]:
    """Where the gains for unit variance, mean square and gradient differ."""
    if not question.has_phi:
        return []
    three = [gains.unit_variance, gains.unit_mean_square, gains.unit_gradient]
    if not all(map(math.isfinite, three)):
        return []
    if max(three) / min(three) - 1 <= DIFFERENT:
        return [f"At q = 1 unit variance, unit mean square and unit gradient (chi = 1) want one gain, {three[0]:.4g}."]
    return [
        "At q = 1 the gains differ by what they keep: "
        f"unit variance of phi {three[0]:.4g}, unit mean square {three[1]:.4g}, unit gradient (chi = 1) {three[2]:.4g}."
    ]


def of_attractors(question: Question, gain: float) -> list[str]:
    """Where the start decides on what becomes of a signal."""
    if question.kind != "plain" or not question.has_phi:
        return []
    with np.errstate(all="ignore"):
        rests = theory.rests(question.phi, 2 * math.log(gain), question.log_bias)
    if sum(rest.stability == "stable" for rest in rests) < 2:
        return []
    each = [Attractor(rest.log_q / LN_10, rest.stability, rest.low / LN_10, rest.high / LN_10) for rest in rests]
    words = "; ".join(attractor.words() for attractor in each)
    start = np.log([question.q_1(gain)])
    weight, bias = np.array([2 * math.log(gain)]), np.array([question.log_bias])
    growth = 1 + float(curve(question.phi).step(start, weight, bias).slope[0])
    return [
        f"There are two attractors at gain {gain:.6g}, so that the start matters: q ends at {words}. These inputs "
        f"start at q_1 = {question.q_1(gain):.4g}, where a small deviation of log q grows by a factor {growth:.4g} a "
        "layer; inputs of another size want another gain (--inputs)."
    ]


def of_alikeness(question: Question, choice: Choice, measured: Measured | None) -> list[str]:
    """Where two inputs look alike at the last layer, though the signal keeps its size."""
    found = math.nan if choice.course is None else float(choice.course.correlation[0])
    if math.isnan(found) and measured is not None:
        found = measured.correlation
    start = question.start.correlation
    if not found >= ALIKE or not start < ALIKE:
        return []
    return [
        f"Two inputs look alike at the last layer: their correlation goes from {max(start, 0.0):.2g} to {found:.4f}, "
        "whatever keeps its size."
    ]


def of_stream(question: Question, unscaled: Choice | None) -> list[str]:
    """What becomes of a stream whose branches are not scaled, and how the usual schemes say it."""
    if question.kind != "skip":
        return []
    said = []
    course = None if unscaled is None else unscaled.course
    if course is not None:
        end = float(course.signal[-1, 0])
        said.append(
            f"With branches of scale 1 the stream would be {by_powers(end)} times as large after "
            f"{question.depth:,} layers; {question.branch_rule} keeps its growth the same at any depth."
        )
    if question.block.startswith("transformer"):
        said.append(
            f"That is GPT-2's rule: the projections that are added to the stream are {question.branch_rule} as large, "
            f"of std 0.02 / sqrt(2 depth) = {0.02 * question.branch:.3g} beside 0.02 elsewhere (init gpt2)."
        )
    return said


def of_networks(question: Question, loss: Loss, measured: Measured | None, width: int) -> list[str]:
    """Where networks of finite width are not what theory says, and where they scatter."""
    if measured is None:
        return []
    said = []
    if not question.is_predicted:
        said.append(f"Mean field says nothing of {question.normalization} normalization here: all is as measured.")
    elif abs(loss.measured - loss.predicted) > AGREES:
        said.append(
            f"Networks of {width:,} units lose a factor {by_powers(loss.measured)} where theory of infinite width says "
            f"{by_powers(loss.predicted)}."
        )
    finite = measured.signal[np.isfinite(measured.signal)]
    ends = {float(value) for value in (np.min(measured.signal), np.max(measured.signal))}
    if len(ends) > 1 and (len(finite) != len(measured.signal) or np.ptp(finite) > SCATTER):
        low, high = (by_powers(float(value)) for value in (np.min(measured.signal), np.max(measured.signal)))
        said.append(
            f"Seeds scatter: the RMS of a signal changes by a factor {low} to {high}. That grows with the depth over "
            "the width; wider layers scatter less."
        )
    return said


def of_changes(question: Question, choice: Choice, loss: Loss, tried: Sequence[Change]) -> list[str]:
    """What could be done instead, where the recommended gain is not good."""
    if loss.verdict == "good":
        return []
    helps = [change for change in tried if change.choice.worst <= KEPT]
    fails = [change for change in tried if change.choice.worst > KEPT]
    said = []
    if helps:
        words = [f"{each.what}{_with(each.choice)} (a factor {by_powers(each.choice.worst)})" for each in helps]
        said.append(f"What keeps signal and gradient at this depth, by theory: {'; or '.join(words)}.")
    if fails:
        words = [f"{change.what} (a factor {by_powers(change.choice.worst)} is lost)" for change in fails]
        said.append(f"What does not: {'; '.join(words)}.")
    if 1 < choice.reach < question.depth and loss.predicted > KEPT:
        said.append(f"By theory networks of this kind keep both in up to {choice.reach:,} layers.")
    return said


def _with(choice: Choice) -> str:
    return f" with {choice.scheme or f'gain {choice.gain:.4g}'}"
