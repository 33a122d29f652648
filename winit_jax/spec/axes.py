"""Axis expressions: numbers, names, lists and ranges, counted before they are expanded."""

import math
import re
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

from winit_jax.spec.aliases import resolve
from winit_jax.spec.exact import geometric, linear
from winit_jax.spec.formulas import FormulaError, looks_like_one, names_of, value_of
from winit_jax.spec.problems import ALL_PROBLEMS, Problem, briefly

MAX_AXIS = 1_000_000
# Of a whole number in a range. Python refuses to read or print integers of more than 4300 digits.
MAX_DIGITS = 40
# About the values of one word.
MAX_SENTENCES = 3

RANGE_FORMS = "lin:START:STOP:NUM, log:START:STOP:NUM or int:START:STOP[:STEP]"
_RANGE = re.compile(r"(lin|log|int):(.*)")
# Ranges as they are written elsewhere: 0:3, 0..3, 0-3, range(0, 3); and 0.1:10:64.
_COUNTED = re.compile(r"(?P<start>\d+)(?:\.\.\.?|:|-)(?P<stop>\d+)(?::(?P<step>\d+))?")
_SPREAD = re.compile(r"[-+.\deE]+:[-+.\deE]+:\d+")

Value = str | int | float
Check = Callable[[Value], str | None]


class AxisError(ValueError):
    """One sentence about one expression."""


def expand_range(text: str, whole: bool) -> list[Value] | None:
    """The values of a range, both ends included; None if the text is not a range.

    lin: equal steps; log: equal ratios; int: START, START + STEP, ... up to STOP. Each value is the float64 nearest
    to what the numbers as written say: lin:0.1:1:10 has 0.3, and log:0.5:8:5 is 0.5, 1, 2, 4, 8.
    whole: the axis takes whole numbers, so `lin` and `log` values must be whole.
    Errors: AxisError, before anything is allocated.
    """
    match = _RANGE.fullmatch(text.strip())
    if not match:
        return None
    kind, words = match[1], match[2].split(":")
    if kind == "int":
        if len(words) not in (2, 3):
            raise AxisError(f"{text!r} is not int:START:STOP or int:START:STOP:STEP.")
        start, stop, step = (_whole(word, text) for word in (*words, "1")[:3])
        if step < 1:
            raise AxisError(f"{text!r}: the step must be at least 1.")
        if stop < start:
            raise AxisError(f"{text!r}: STOP is less than START.")
        _check_count((stop - start) // step + 1, text)
        return list(range(start, stop + 1, step))
    if len(words) != 3:
        raise AxisError(f"{text!r} is not {kind}:START:STOP:NUM.")
    first, last, count = _number(words[0], text), _number(words[1], text), _whole(words[2], text)
    if count < 1:
        raise AxisError(f"{text!r}: NUM must be at least 1.")
    if count == 1 and first != last:
        raise AxisError(f"{text!r}: one value cannot include both ends; NUM must be at least 2.")
    if kind == "log" and (first <= 0 or last <= 0):
        raise AxisError(f"{text!r}: both ends of a log range must be greater than 0.")
    _check_count(count, text)
    values = (linear if kind == "lin" else geometric)(words[0], words[1], count)
    values[0], values[-1] = first, last
    if whole:
        return [int(value) if value.is_integer() else value for value in values]
    return list(values)


def _check_count(count: int, text: str) -> None:
    if count > MAX_AXIS:
        raise AxisError(f"{text!r} has {count:,} values; an axis may have {MAX_AXIS:,}.")


def _whole(word: str, text: str) -> int:
    if len(word) > MAX_DIGITS:
        raise AxisError(f"{briefly(text)}: the number is too large.")
    try:
        return int(word)
    except ValueError:
        raise AxisError(f"{text!r}: {word!r} is not a whole number.") from None


def _number(word: str, text: str) -> float:
    try:
        number = float(word)
    except ValueError:
        raise AxisError(f"{text!r}: {word!r} is not a number.") from None
    if not math.isfinite(number):
        raise AxisError(f"{text!r}: {word!r} is not finite.")
    return number


def split_words(text: str) -> list[str]:
    """A comma-separated word of the command line, commas inside parentheses kept."""
    words, level, start = [], 0, 0
    for index, letter in enumerate(text):
        if letter == "(":
            level += 1
        elif letter == ")":
            level = max(level - 1, 0)
        elif letter == "," and not level:
            words.append(text[start:index].strip())
            start = index + 1
    return [*words, text[start:].strip()]


def canonical(axis: str, expression: Any, known: Sequence[str]) -> Any:
    """An axis of names with each name as it is known; what means no known name stays, to be said where it stands."""

    def named(item: Any) -> Any:
        return ",".join(resolve(axis, word, known) for word in split_words(item)) if isinstance(item, str) else item

    return [named(item) for item in expression] if isinstance(expression, list) else named(expression)


def expand(
    expression: Any,
    place: str,
    kind: type,
    check: Check,
    known: Sequence[str] = (),
    named: Callable[[str], str] = str,
) -> tuple[list[Value], list[Problem]]:
    """(values, problems) of one axis.

    expression: a value, a range, a comma-separated word, or a list of these. kind: str, int or float.
    check: the sentence that says what is wrong with a value of that kind, or None. known: of an axis of names, those
    that its words may mean; named: makes of one with its arguments the name that tables have.
    """
    axis = place.rpartition(".")[2]
    items = expression if isinstance(expression, list) else [expression]
    if not items:
        return [], [Problem(place, "the list is empty; an axis needs at least one value.")]
    values: list[Value] = []
    words: list[Value] = []  # what was written for each
    problems: list[Problem] = []
    for index, item in enumerate(items):
        if len(problems) >= ALL_PROBLEMS and index < len(items) - 1:
            problems.append(Problem(place, f"{len(items) - index:,} more values, which were not looked at."))
            break
        where = f"{place}[{index}]" if isinstance(expression, list) else place
        try:
            typed = _expand_item(item, kind)
        except AxisError as error:
            problems.append(Problem(where, str(error)))
            continue
        resolved = [named(resolve(axis, str(word), known)) for word in typed] if known else typed
        sentences = (sentence for value in resolved if (sentence := check(value)))
        problems.extend(Problem(where, sentence) for sentence in dict.fromkeys(islice(sentences, MAX_SENTENCES)))
        values.extend(resolved)
        words.extend(typed)
        if len(values) > MAX_AXIS:
            return [], [Problem(place, f"more than {MAX_AXIS:,} values; an axis may have {MAX_AXIS:,}.")]
    problems.extend(Problem(place, sentence) for sentence in _repeated(values, words))
    return values, problems


def _repeated(values: list[Value], words: list[Value]) -> list[str]:
    """Sentences about values that come more than once. words: what was written for each."""
    if len(set(values)) == len(values):
        return []
    written: dict[Value, list[str]] = {}
    for value, word in zip(values, words, strict=True):
        written.setdefault(value, []).append(_show(word))
    twice = [(_show(value), shown) for value, shown in written.items() if len(shown) > 1][:3]
    alike = [value for value, shown in twice if len(set(shown)) == 1]
    sentences = [f"{', '.join(alike)} is given more than once; each value names one point."] if alike else []
    for value, shown in twice:
        *several, last = dict.fromkeys(shown)
        if several:
            sentences.append(f"{', '.join(several)} and {last} mean the same, {value}; each value names one point.")
    return sentences


def _show(value: Value) -> str:
    return repr(value) if isinstance(value, str) else f"{value:g}"


def _expand_item(item: Any, kind: type) -> list[Value]:
    """One entry of an axis as values of `kind`. Errors: AxisError."""
    if isinstance(item, bool) or not isinstance(item, str | int | float):
        raise AxisError(f"{briefly(item)} is not {_wanted(kind)}.")
    if kind is str:
        if not isinstance(item, str):
            raise AxisError(f"{item!r} is not a name.")
        return list(split_words(item))
    if isinstance(item, str):
        values: list[Value] = []
        for word in split_words(item):
            spread = expand_range(word, whole=kind is int)
            values.extend(spread if spread is not None else [_parse(word, kind)])
        return [value if isinstance(value, str) else _as_kind(value, kind) for value in values]
    return [_as_kind(item, kind)]


def _parse(word: str, kind: type) -> Value:
    for read in (int, float):
        try:
            return read(word)
        except ValueError:
            continue
    hint = f"({RANGE_FORMS})"
    counted, spread = _COUNTED.fullmatch(word), _SPREAD.fullmatch(word)
    if counted and not (counted["step"] and kind is float):
        parts = (counted["start"], counted["stop"], counted["step"])
        hint = f"; write int:{':'.join(part for part in parts if part)}"
    elif spread:
        hint = f"; write lin:{word} or log:{word}"
    elif kind is float and looks_like_one(word):
        return formula(word)
    raise AxisError(f"{briefly(word)} is not {_wanted(kind)}, nor a range{'' if hint[0] == ';' else ' '}{hint}.")


def formula(word: str) -> Value:
    """A formula as it is written, or its number where it holds no name. Errors: AxisError."""
    try:
        return word.strip() if names_of(word) else value_of(word)
    except FormulaError as error:
        raise AxisError(str(error)) from None


def _as_kind(value: Value, kind: type) -> Value:
    if kind is int:
        if isinstance(value, float) and not value.is_integer():
            raise AxisError(f"{value:g} is not a whole number.")
        return int(value)
    try:
        number = float(value)
    except OverflowError:
        raise AxisError("the number is too large.") from None
    if not math.isfinite(number):
        raise AxisError(f"{number} is not finite.")
    return number


def _wanted(kind: type) -> str:
    return {str: "a name", int: "a whole number", float: "a number"}[kind]
