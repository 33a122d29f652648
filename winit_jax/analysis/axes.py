"""Axes: the words that a sweep writes them in, and their cells on paper."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np


class AxisError(ValueError):
    """One sentence about an axis that cannot be read."""


def expand(expression: Any, names: bool = False) -> list[Any]:
    """The values of an axis of a sweep file, in the order written.

    expression: a number, a name, a range, comma-separated words, or a list of these.
    lin:START:STOP:NUM has equal steps, log:START:STOP:NUM equal ratios, int:START:STOP[:STEP] counts;
    both ends included. names: words are names, never ranges.
    Errors: AxisError.
    """
    if isinstance(expression, list):
        return [value for item in expression for value in expand(item, names)]
    if isinstance(expression, bool) or not isinstance(expression, str | int | float):
        raise AxisError(f"{expression!r} is not an axis.")
    if not isinstance(expression, str):
        return [expression]
    from winit_jax.spec.axes import split_words

    words = split_words(expression)
    return words if names else [value for word in words for value in _numbers(word)]


def _numbers(word: str) -> list[Any]:
    from winit_jax.spec import axes as grid

    try:
        values = grid.expand_range(word, whole=True)
        return [_plain(float(word))] if values is None else values
    except grid.AxisError as error:
        raise AxisError(str(error)) from None
    except ValueError:
        try:
            value = grid.formula(word)
        except grid.AxisError:
            raise AxisError(f"{word!r} is not a number, a range or a formula.") from None
        return [value if isinstance(value, str) else _plain(float(value))]


def _plain(number: float) -> int | float:
    if not math.isfinite(number):
        raise ValueError
    return int(number) if number.is_integer() else number


@dataclass(frozen=True)
class Axis:
    """One axis of a heatmap: its values in order, cell edges, and whether it is logarithmic or of names."""

    key: str
    values: list[Any]
    edges: np.ndarray
    log: bool
    named: bool

    @property
    def centers(self) -> np.ndarray:
        """Middles of the cells, geometric on a log axis; [values]."""
        low, high = self.edges[:-1], self.edges[1:]
        centers: np.ndarray = np.sqrt(low * high) if self.log else (low + high) / 2
        return centers


def cell_edges(values: np.ndarray, log: bool) -> np.ndarray:
    """Edges of cells around sorted values: midpoints, geometric on a log axis; [n] -> [n + 1]."""
    v = np.log(values) if log else np.asarray(values, float)
    if len(v) == 1:
        v = np.array([v[0] - 0.5, v[0] + 0.5])
        return np.exp(v) if log else v
    middle = (v[1:] + v[:-1]) / 2
    edges = np.concatenate([[2 * v[0] - middle[0]], middle, [2 * v[-1] - middle[-1]]])
    return np.exp(edges) if log else edges


def is_log_spaced(values: np.ndarray) -> bool:
    """Whether positive values are nearer to equal ratios than to equal steps (two values: a factor above 3)."""
    if len(values) < 2 or np.any(values <= 0):
        return False
    if len(values) == 2:
        return bool(values[1] / values[0] > 3)
    steps, ratios = np.diff(values), np.diff(np.log(values))
    return bool(np.std(ratios) / np.mean(ratios) < np.std(steps) / np.mean(steps))


def make_axis(key: str, values: list[Any], named: bool, log: bool | None = None) -> Axis:
    """The axis of a key's values in order. log: None decides by the spacing. Errors: ValueError if log cannot be."""
    if named:
        return Axis(key, values, np.arange(len(values) + 1) - 0.5, False, True)
    numbers = np.asarray(values, float)
    logarithmic = is_log_spaced(numbers) if log is None else log
    if logarithmic and np.any(numbers <= 0):
        raise ValueError(f"{key} has values that are not positive, so its axis cannot be logarithmic.")
    return Axis(key, values, cell_edges(numbers, logarithmic), logarithmic, False)
