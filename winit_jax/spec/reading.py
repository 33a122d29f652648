"""Reading a sweep: a file, a ready sweep or words, every problem at once."""

import hashlib
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from winit_jax.columns import AXES, Axis
from winit_jax.spec.aliases import resolve
from winit_jax.spec.axes import Value, canonical, expand
from winit_jax.spec.block_checks import check_blocks, with_positions
from winit_jax.spec.files import read_file, too_large
from winit_jax.spec.format_checks import check_formats
from winit_jax.spec.formula_checks import check_formulas
from winit_jax.spec.given import set_given
from winit_jax.spec.init_checks import (
    by_name,
    check_scale,
    check_what_scales,
    kinds_of,
    name_of,
    no_kind,
    settle_biases,
)
from winit_jax.spec.input_checks import check_inputs, check_train
from winit_jax.spec.problems import Problem, SpecError, briefly, did_you_mean, shortened, unknown
from winit_jax.spec.sources import BYTES, TEXT_MARK
from winit_jax.spec.sweep import (
    MAX_EVALUATIONS,
    MAX_NETWORKS,
    MAX_PAIRS,
    MAX_PLANNED,
    MAX_PREDICTIONS,
    TABLES,
    BlockKind,
    Compute,
    Grid,
    Inputs,
    Measure,
    Sweep,
    Train,
    Vocabulary,
    count_networks,
    count_predictions,
)
from winit_jax.spec.validation import read_table
from winit_jax.spec.words import apply_words


def load_sweep(
    source: str | Path | None,
    words: Sequence[str],
    vocabulary: Vocabulary,
    given: Sequence[Mapping[str, Any]] = (),
) -> Sweep:
    """The sweep of a file, a catalog name, words or Python values alone, with what is given put over the file.

    words: `AXIS=VALUES`, or `TABLE.KEY=VALUE` for the other tables; an empty value takes a key away.
    given: axes and tables as Python values (`given.set_given`), the later over the earlier.
    Errors: SpecError with every problem.
    """
    label, name, data, base = read_file(source)
    problems: list[Problem] = []
    if isinstance(data.get("grid"), dict):
        data["grid"] = _by_axis(data["grid"], problems)
    if given and source is None:
        label = "request"
    for values in given:
        set_given(data, values, problems)
    apply_words(data, words, problems)
    if large := too_large(data):
        raise SpecError(label, [*problems, *large])
    title = data.pop("title", "")
    if not isinstance(title, str):
        problems.append(Problem("title", f"{briefly(title)} is not a text."))
        title = ""
    raw_grid = data.pop("grid", None)
    if raw_grid is None:
        problems.append(Problem("grid", "missing; it names the axes, for example activation, gain and depth."))
    elif not isinstance(raw_grid, dict):
        problems.append(Problem("grid", f"{briefly(raw_grid)} is not a table."))
        raw_grid = None
    there = {key for key in TABLES if key in data}
    raw_inputs = data.get("inputs")
    tables = {key: read_table(key, data.pop(key, {}), problems) for key in TABLES}
    train = tables["train"] if "train" in there else None
    if train is not None:
        train = _resolve_train(train, base, vocabulary, problems)
        wrong = {problem.place for problem in problems}
        if "train.source" not in wrong:
            tables["inputs"] = _inputs_of_training(tables["inputs"], raw_inputs, train, wrong)
    known = ("title", "grid", *TABLES)
    for key in data:
        unknown(key, "not a key of a sweep file.", key, known, problems)
    grid, written = (None, {}) if raw_grid is None else _grid(raw_grid, train is not None, vocabulary, problems)
    problems += check_inputs(tables["inputs"], vocabulary.sources, grid)
    inputs = _resolve_inputs(tables["inputs"], base, vocabulary.sources, problems)
    problems += vocabulary.check_data(inputs, train)
    histogram = getattr(tables["measure"], "histogram", None)
    if histogram and not histogram.low < histogram.high:
        problems.append(
            Problem("measure.histogram", f"low = {histogram.low:g} is not less than high = {histogram.high:g}.")
        )
    inits = {} if grid is None else kinds_of(grid.init, vocabulary.check_init)
    schemes = [name for name, kind in inits.items() if kind.is_scheme]
    if grid is not None and (total := count_networks(grid, schemes)) > MAX_PLANNED:
        problems.append(_too_many(grid, total))
    blocks: dict[str, BlockKind] = {}
    if grid is not None:
        blocks = kinds_of(grid.block, vocabulary.check_block)
        if cut := with_positions(inputs, blocks):
            inputs = inputs.model_copy(update={"positions": cut})
        if train is not None and (cut := with_positions(train, blocks)):
            train = train.model_copy(update={"positions": cut})
        problems += check_blocks(grid, blocks, inputs, tables["measure"], train)
        problems += check_formats(grid, blocks, inits.values(), tables["measure"], train)
        problems += check_formulas(grid, inputs)
        problems += check_what_scales(inits.values(), inputs, train)
        _check_size(grid, inputs, tables["measure"], tables["compute"], vocabulary, problems)
        if (predictions := count_predictions(grid, schemes)) > MAX_PREDICTIONS:
            what = f"{predictions:,} points at infinite width; a sweep may have {MAX_PREDICTIONS:,}."
            problems.append(Problem("grid.width", what))
    if problems or grid is None:
        raise SpecError(label, problems)
    sweep = Sweep(
        name=name,
        title=title,
        grid=grid,
        inputs=inputs,
        measure=tables["measure"],
        train=train,
        compute=tables["compute"],
        inits=tuple(inits.values()),
        blocks=tuple(blocks.values()),
        written=written,
    )
    if not name:
        digest = hashlib.sha256(sweep.to_toml().encode()).hexdigest()[:8]
        object.__setattr__(sweep, "name", f"grid-{digest}")
    return sweep


def check_run(sweep: Sweep) -> Sweep:
    """The sweep, which may be run. Errors: SpecError where it has more networks than a run, though they are counted."""
    if sweep.n_networks > MAX_NETWORKS:
        raise SpecError(sweep.name, [_too_many(sweep.grid, sweep.n_networks)])
    return sweep


def _too_many(grid: Grid, total: int) -> Problem:
    sizes = {axis: len(getattr(grid, axis) or []) for axis in AXES}
    largest = sorted(sizes, key=lambda axis: -sizes[axis])[:3]
    shown = ", ".join(f"{axis} ({sizes[axis]:,})" for axis in largest)
    return Problem("grid", f"{total:,} networks; a sweep may have {MAX_NETWORKS:,}. The longest axes: {shown}.")


def _check_size(
    grid: Grid, inputs: Inputs, measure: Measure, compute: Compute, vocabulary: Vocabulary, problems: list[Problem]
) -> None:
    """What one network may be, and whether slopes can be held against the threshold."""
    for activation in grid.activation:
        if sentence := vocabulary.check_threshold(activation, measure.saturation_threshold):
            problems.append(Problem("measure.saturation_threshold", sentence))
    widest, deepest = max(grid.width, default=0), max(grid.depth)
    rows, positions = inputs.samples * inputs.positions_known, inputs.positions_known
    shown = f"{inputs.samples:,} samples" + (f" of {positions:,} positions" if positions > 1 else "")
    if (pairs := rows * widest) > MAX_PAIRS:
        problems.append(
            Problem(
                "inputs.samples",
                f"{shown} through {widest:,} units are {pairs:,} activations a layer; {MAX_PAIRS:,} can be counted.",
            )
        )
    # The way back needs every layer of one network at once.
    kinds = [(norm, block) for norm in grid.normalization for block in grid.block]
    needed = max(vocabulary.gradient_mib(deepest, rows, widest, *kind) for kind in kinds)
    if measure.gradients and needed > compute.batch_mib:
        problems.append(
            Problem(
                "measure.gradients",
                f"a network of {deepest:,} layers, {widest:,} units and {shown} needs "
                f"{needed:,.0f} MiB, and compute.batch_mib is {compute.batch_mib:,}: raise it or lower samples.",
            )
        )


def _grid(
    raw: dict[str, Any], trains: bool, vocabulary: Vocabulary, problems: list[Problem]
) -> tuple[Grid | None, dict[str, Any]]:
    n_before = len(problems)
    for key in raw:
        if key not in AXES:
            unknown(f"grid.{key}", "not an axis.", key, AXES, problems, "axis")
    if "activation" not in raw:
        problems.append(Problem("grid.activation", "missing; name at least one, for example tanh."))
    only_trained = [axis.name for axis in AXES.values() if axis.given_with == "training"]
    if not trains:
        problems += [
            Problem(f"grid.{axis}", "nothing is trained: add a [train] table, or take it away.")
            for axis in only_trained
            if axis in raw
        ]
    defaults = {
        axis.name: axis.default
        for axis in AXES.values()
        if axis.default is not None and (trains or axis.name not in only_trained)
    }
    written = {axis: raw.get(axis, defaults.get(axis)) for axis in AXES if axis in raw or axis in defaults}
    known = _names(vocabulary)
    names = {"init": name_of(vocabulary.check_init), "block": name_of(vocabulary.check_block)}
    if "block" in written:
        written["block"] = by_name(canonical("block", written["block"], known["block"]), names["block"])
    values: dict[str, Any] = {}
    for axis, expression in written.items():
        if AXES[axis].infinite:
            expression, values["infinite"] = _without_infinity(expression)
            if values["infinite"] and expression == []:
                values[axis] = []
                continue
        check = _check(AXES[axis], known.get(axis, ()), vocabulary)
        beside = (known.get(axis, ()), names.get(axis, str))
        values[axis], axis_problems = expand(expression, f"grid.{axis}", AXES[axis].holds, check, *beside)
        problems.extend(axis_problems)
    if values.get("infinite") and "std" in raw:
        problems.append(
            Problem(
                "grid.width", "at infinite width any std is an infinite gain; give gain, or an init with its own std."
            )
        )
    others = [axis for axis in known if axis in written and axis != "block"]
    written |= {axis: canonical(axis, written[axis], known[axis]) for axis in others}
    written["init"] = by_name(written["init"], names["init"], ",")
    check_scale(raw, values.get("init", []), kinds_of(values.get("init", []), vocabulary.check_init), problems)
    settle_biases(raw, written, values, kinds_of(values.get("init", []), vocabulary.check_init), problems)
    if "dtype" not in raw:
        written.pop("dtype")
    heads = [kind.heads for kind in kinds_of(values.get("block", []), vocabulary.check_block).values()]
    if heads and not any(heads):
        if "attention_gain" in raw:
            what = "no block of this grid has attention. Take it away, or add attention(h) or transformer(h, r)."
            problems.append(Problem("grid.attention_gain", what))
        else:
            written.pop("attention_gain", None)
    if set(values.get("normalization", [])) == {"none"}:
        for axis in (axis.name for axis in AXES.values() if axis.given_with == "normalization"):
            if axis not in raw:
                written.pop(axis)
                continue
            problems.append(
                Problem(
                    f"grid.{axis}",
                    f"no network of this grid is normalized. Take it away ({axis}= on the command line), or add a "
                    "normalization: batch, layer or rms.",
                )
            )
    if len(problems) > n_before:
        return None, written
    return Grid(**values), written


def _without_infinity(widths: Any) -> tuple[Any, bool]:
    """(The width axis without "inf", whether it was there)."""
    several = widths if isinstance(widths, list) else [widths]
    finite = [width for width in several if width not in ("inf", math.inf)]
    return (widths, False) if len(finite) == len(several) else (finite, True)


def _by_axis(raw: dict[str, Any], problems: list[Problem]) -> dict[str, Any]:
    """The grid of a file under the axes' own names."""
    expressions: dict[str, Any] = {}
    for key, expression in raw.items():
        if (axis := resolve("axis", key, AXES)) in expressions:
            problems.append(Problem(f"grid.{shortened(key)}", f"another name of {axis}, which is given too."))
        expressions[axis] = expression
    return expressions


def _names(vocabulary: Vocabulary) -> dict[str, Sequence[str]]:
    """The names that the axes of names take."""
    open_names = {"activation": vocabulary.activations, "init": vocabulary.inits, "block": vocabulary.blocks}
    return {axis.name: open_names.get(axis.name, axis.names) for axis in AXES.values() if axis.holds is str}


def _check(axis: Axis, names: Sequence[str], vocabulary: Vocabulary) -> Callable[[Value], str | None]:
    """What says what is wrong with a value of an axis, or None. names: those that an axis of names takes."""
    if axis.name == "activation":
        return lambda value: _wrong_activation(value, vocabulary)
    if axis.name == "init":
        return lambda value: no_kind(vocabulary.check_init(str(value)))
    if axis.name == "block":
        return lambda value: no_kind(vocabulary.check_block(str(value)))
    return (lambda value: _wrong_name(value, axis, names)) if axis.holds is str else lambda value: _beyond(value, axis)


def _wrong_activation(value: Value, vocabulary: Vocabulary) -> str | None:
    if value in vocabulary.activations:
        return None
    return vocabulary.check_activation(str(value))


def _wrong_name(value: Value, axis: Axis, names: Sequence[str]) -> str | None:
    if value in names:
        return None
    article = "an" if axis.name[0] in "aeiou" else "a"
    return f"{briefly(value)} is not {article} {axis.name}.{did_you_mean(value, names, axis.name)}"


def _beyond(value: Any, axis: Axis) -> str | None:
    if isinstance(value, str):  # a formula, which is valued at the networks of the grid (`formula_checks`)
        return None
    if value < axis.low:
        return f"{value:g} is less than {axis.low:g}."
    return f"{value:,} is more than {axis.high:,}." if value > axis.high else None


def _resolve_train(train: Train, base: Path, vocabulary: Vocabulary, problems: list[Problem]) -> Train:
    problems += check_train(train, vocabulary.sources)
    source = _resolve_source(train.source, "train.source", vocabulary.sources, base, problems)
    optimizer = resolve("optimizer", train.optimizer, vocabulary.optimizers)
    train = train.model_copy(update={"source": source, "optimizer": optimizer})
    if train.optimizer not in vocabulary.optimizers:
        what = f"{briefly(train.optimizer)} is not an optimizer."
        unknown("train.optimizer", what, train.optimizer, vocabulary.optimizers, problems, "optimizer")
        return train
    for option, known in vocabulary.check_options(train.optimizer, train.optimizer_options):
        place = f"train.optimizer_options.{option}"
        unknown(place, f"{train.optimizer} has no such option.", option, known, problems)
    for option, value in train.optimizer_options.items():
        if not math.isfinite(value):
            problems.append(Problem(f"train.optimizer_options.{option}", f"{value} is not finite."))
    if (count := train.steps // train.eval_every) > MAX_EVALUATIONS:
        problems.append(
            Problem("train.eval_every", f"{count:,} evaluations of each network; there may be {MAX_EVALUATIONS:,}.")
        )
    return train


def _inputs_of_training(inputs: Inputs, raw: Any, train: Train, wrong: Collection[str]) -> Inputs:
    """Networks are measured on the data that they learn, unless the file says on what.

    wrong: places of problems, whose values are not taken over: one problem is told once.
    """
    said = raw if isinstance(raw, dict) else {}
    if "source" in said:
        return inputs
    changes: dict[str, Any] = {"source": train.source}
    if train.train_samples and "samples" not in said:
        changes["samples"] = min(inputs.samples, train.train_samples)
    if "train.standardize" not in wrong:
        changes["standardize"] = train.standardize
    of_data: dict[str, Any] = {"positions": train.positions}
    if train.is_text:  # the same windows' encoding: numbers for the bytes come from the seed
        features = train.features or (BYTES if train.encoding == "random" else None)
        of_data |= {"encoding": train.encoding, "features": features, "seed": train.seed}
    changes |= {key: value for key, value in of_data.items() if key not in said and f"train.{key}" not in wrong}
    return inputs.model_copy(update=changes)


def _resolve_inputs(inputs: Inputs, base: Path, named: Sequence[str], problems: list[Problem]) -> Inputs:
    if inputs.source == "normal":
        return inputs
    source = _resolve_source(inputs.source, "inputs.source", ("normal", *named), base, problems)
    return inputs.model_copy(update={"source": source})


def _resolve_source(source: str, place: str, known: Sequence[str], base: Path, problems: list[Problem]) -> str:
    """A name as it is, a path from the folder of the sweep file, also behind the mark of a text."""
    if source in known:
        return source
    if source.startswith(TEXT_MARK):
        return TEXT_MARK + _resolve_source(source.removeprefix(TEXT_MARK), place, (), base, problems)
    try:
        path = (base / Path(source).expanduser()).resolve()
        exists = bool(source) and path.exists()
    except (OSError, ValueError, RuntimeError):  # too long, holds a NUL, or the home of an unknown user
        path, exists = Path(), False
    if not exists and (named := resolve("source", source, known)) in known:
        return named
    if not exists:
        looks_like_path = not known or any(mark in source for mark in "/\\.")
        hint = "" if looks_like_path else did_you_mean(source, known, "source")
        what = "is no file" if looks_like_path else "is neither a source nor a file."
        problems.append(Problem(place, f"{briefly(source)} {what}{hint or '.'}"))
    return str(path)
