"""A recommendation put together: theory chooses, networks confirm, sentences say."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from winit_jax.data.inputs import InputData, load_inputs
from winit_jax.engine.advising import sentences
from winit_jax.engine.advising.choosing import Choice, Course, changes, choose, follow, unit_gains
from winit_jax.engine.advising.confirming import FACTORS, MOST_LAYERS, Measured, confirm, seeds_of, width_of
from winit_jax.engine.advising.plans import Plan
from winit_jax.engine.advising.question import Question
from winit_jax.engine.advising.recommendation import Recommendation, SweepRow
from winit_jax.engine.computing.theories import expected_layout, expected_similarity, similarity
from winit_jax.numerics import pinned
from winit_jax.numerics.blocks import Layout
from winit_jax.spec.sweep import Sweep


def recommend(sweep: Sweep, *, measure: bool = True) -> Recommendation:
    """The init for the one network of a sweep, whose gain is not looked at. measure: also run some networks.

    Errors: InputError.
    """
    with pinned.settings():
        question, data = asked(sweep)
        return _recommendation(question, data, measure)


def asked(sweep: Sweep) -> tuple[Question, InputData]:
    """(What a sweep asks for, inputs for the networks that are run)."""
    grid = sweep.grid
    width = grid.width[0]
    of_network = {
        "activation": grid.activation[0],
        "block": grid.block[0],
        "depth": grid.depth[0],
        "width": width,
        "bias_std": float((grid.bias_std or [0.0])[0]),
        "normalization": grid.normalization[0],
        "source": sweep.inputs.source,
    }
    bare = Question(**of_network, start=expected_similarity(sweep.inputs), features=1)  # type: ignore[arg-type]
    data = load_inputs(sweep.inputs, width_of(bare))
    if sweep.inputs.source == "normal":
        layout = expected_layout(sweep.inputs) if sweep.inputs.has_positions else Layout()
        return replace(bare, layout=layout), data
    start, layout = similarity(data.x), Layout(data.positions, data.grid)
    return replace(bare, start=start, features=data.features, layout=layout), data


def _recommendation(question: Question, data: InputData, measure: bool) -> Recommendation:
    choice = choose(question)
    is_run = measure and question.depth <= MOST_LAYERS
    points = [(choice.gain * factor, question.branch) for factor in FACTORS] if is_run else []
    if question.kind == "skip":
        points.append((choice.gain, 1.0))
    courses = _courses(question, points) if points else []
    found = confirm(question, points, data) if is_run else []
    measured = found[FACTORS.index(1.0)] if found else None
    loss = sentences.loss_of(question, choice, measured)
    gains, width = unit_gains(question), width_of(question)
    unscaled = choice._replace(course=courses[-1]) if question.kind == "skip" and courses[-1] is not None else None
    said = [
        *sentences.why(question, choice),
        *sentences.of_scheme(choice, question),
        *sentences.of_gains(gains, question),
        *sentences.of_attractors(question, choice.gain),
        *sentences.of_stream(question, unscaled),
        *sentences.of_alikeness(question, choice, measured),
        *sentences.of_networks(question, loss, measured, width),
        *(
            [f"Nothing was measured: of networks of more than {MOST_LAYERS:,} layers theory alone speaks."]
            * (measure and not is_run)
        ),
        *sentences.of_changes(question, choice, loss, changes(question) if loss.verdict != "good" else []),
    ]
    bias = question.bias_std
    return Recommendation(
        title=_title(question),
        plan=_plan(question, choice, data),
        std=question.std(choice.gain),
        bias_std=bias,
        scheme=choice.scheme,
        branch_scale=question.branch_rule,
        verdict=loss.verdict,
        q_1=question.q_1(choice.gain),
        critical_gain=math.nan if choice.critical is None else choice.critical.gain,
        gains={name: float(value) for name, value in vars(gains).items()},
        summary=sentences.summary(question, choice, loss, measured),
        sentences=tuple(said),
        sweep=_rows(question, choice, points, courses, found),
        seeds=seeds_of(question, len(points)) if is_run else 0,
        measured_width=width,
        command=_command(question, choice),
    )


def _courses(question: Question, points: Sequence[tuple[float, float]]) -> list[Course | None]:
    """By theory, at each (gain, branch scale)."""
    gains, branches = (np.array(values) for values in zip(*points, strict=True))
    courses: list[Course | None] = []
    for branch in dict.fromkeys(branches.tolist()):
        some = gains[branches == branch]
        course = follow(question, some, branch)
        courses += [None if course is None else course.of(at) for at in range(len(some))]
    return courses


def _rows(
    question: Question,
    choice: Choice,
    points: Sequence[tuple[float, float]],
    courses: Sequence[Course | None],
    found: Sequence[Measured],
) -> tuple[SweepRow, ...]:
    rows = []
    for (gain, branch), course, measured in zip(points, courses, found, strict=False):
        predicted = (math.nan, math.nan)
        if course is not None:
            start = 0.5 * math.log10(question.q_1(gain))
            predicted = (start + float(course.signal[-1, 0]), float(course.gradient[-1, 0]))
        factor = gain / choice.gain if branch == question.branch else math.nan
        with np.errstate(all="ignore"):
            rows.append(
                SweepRow(
                    gain=gain,
                    factor=next((given for given in FACTORS if math.isclose(given, factor)), factor),
                    std=question.std(gain),
                    branch_scale=branch,
                    signal=float(np.median(measured.rms)),
                    lowest=float(np.min(measured.rms)),
                    highest=float(np.max(measured.rms)),
                    gradient=float(np.median(measured.gradient)),
                    saturated=measured.saturated,
                    correlation=measured.correlation,
                    theory_signal=predicted[0],
                    theory_gradient=predicted[1],
                )
            )
    return tuple(rows)


def _plan(question: Question, choice: Choice, data: InputData) -> Plan:
    of_question = ("activation", "block", "normalization", "depth", "width", "bias_std", "branch")
    features = question.width if data.features == width_of(question) else data.features
    return Plan(
        **{name: getattr(question, name) for name in of_question},
        features=features,
        gain=choice.gain,
        skip=question.layer.skip,
    )


def _title(question: Question) -> str:
    start = question.start
    parts = [question.activation, question.block, f"{question.depth:,} layers of {question.width:,} units"]
    if question.normalization != "none":
        parts.append(f"{question.normalization} normalization")
    alike = "" if math.isnan(start.correlation) else f" and correlation {start.correlation:.3g}"
    inputs = f"{question.source} inputs of mean square {question.square:.4g}{alike}"
    if question.layout.positions > 1:
        inputs += f", {question.layout.positions:,} positions"
    return f"{', '.join(parts)}; {inputs}"


def _command(question: Question, choice: Choice) -> str:
    """The sweep that measures the same, and more gains between, with tables and figures."""
    words = [f"activation={question.activation}", f"gain=log:{choice.gain / 2:.4g}:{choice.gain * 2:.4g}:17"]
    words += [f"depth=int:1:{question.depth}" if question.kind != "skip" else f"depth={question.depth}"]
    words += [f"width={question.width}", "seed=int:0:2"]
    words += [f"bias_std={question.bias_std:g}"] * (question.bias_std != 0)
    words += [f"block={question.block}"] * (question.block != "dense")
    words += [f"branch_scale={question.branch_rule}"] * (question.branch_rule != "1")
    words += [f"normalization={question.normalization}"] * (question.normalization != "none")
    if question.source != "normal":
        words.append(f"inputs.source={question.source}")
    elif question.layout.positions > 1:
        words.append(f"inputs.positions={question.layout.positions}")
    return f"winit run {' '.join(_quoted(word) for word in words)}"


def _quoted(word: str) -> str:
    return f'"{word}"' if any(mark in word for mark in " ()*") else word
