"""Axis expressions: what they expand to, and sentences for what they are not."""

import math
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeps.grid import MAX_AXIS, expand, split_words


def anything(value):
    return None


def values(expression, kind):
    found, problems = expand(expression, "grid.axis", kind, anything)
    assert problems == []
    return found


def sentences(expression, kind, check=anything):
    return [str(problem) for problem in expand(expression, "grid.axis", kind, check)[1]]


def test_numbers_lists_words_and_ranges_mix():
    assert values(["int:1:5", 10], int) == [1, 2, 3, 4, 5, 10]
    assert values("1,2,5", int) == [1, 2, 5]
    assert values(3, float) == [3.0]
    assert values("tanh, relu", str) == ["tanh", "relu"]


def test_a_step_that_misses_the_stop_ends_before_it():
    assert values("int:0:10:4", int) == [0, 4, 8]


def test_commas_inside_parentheses_do_not_split_a_name():
    assert split_words("leaky_relu(0.2),f(1,2),relu") == ["leaky_relu(0.2)", "f(1,2)", "relu"]


@given(st.floats(1e-300, 1e300), st.floats(1e-300, 1e300), st.integers(2, 50), st.sampled_from(["lin", "log"]))
def test_ranges_end_exactly_where_they_say(start, stop, count, form):
    found, _ = expand(f"{form}:{start!r}:{stop!r}:{count}", "grid.axis", float, anything)
    assert len(found) == count
    assert (found[0], found[-1]) == (start, stop)


@pytest.mark.parametrize(
    ("expression", "kind", "expected"),
    [
        ([0.5, True], float, ["grid.axis[1]: True is not a number."]),
        ([[1]], float, ["grid.axis[0]: [1] is not a number."]),
        ([1, "x", math.nan], float, None),
        ([0.0, -0.0], float, ["grid.axis: -0 is given more than once; each value names one point."]),
        ("lin:1:1:3", float, ["grid.axis: 1 is given more than once; each value names one point."]),
        (["int:1:3", "int:3:5"], int, ["grid.axis: 3 is given more than once; each value names one point."]),
        ([], int, ["grid.axis: the list is empty; an axis needs at least one value."]),
        ([1.5], int, ["grid.axis[0]: 1.5 is not a whole number."]),
        (7, str, ["grid.axis: 7 is not a name."]),
    ],
)
def test_a_wrong_axis_gets_its_place_and_a_sentence(expression, kind, expected):
    if expected is None:  # all at once
        found = sentences(expression, kind)
        assert [sentence.split(":")[0] for sentence in found] == ["grid.axis[1]", "grid.axis[2]"]
        assert found[1] == "grid.axis[2]: nan is not finite."
    else:
        assert sentences(expression, kind) == expected


@pytest.mark.parametrize("text", ["int:1:1000000000000", "lin:0:1:1000000000000", "log:1:2:1000000000000"])
def test_a_huge_axis_is_counted_not_made(text):
    assert sentences(text, float) == [
        f"grid.axis: {text!r} has 1,000,000,000,000 values; an axis may have {MAX_AXIS:,}."
    ]


def test_ranges_of_thousands_of_digits_get_a_short_sentence():
    digits = "9" * sys.int_info.default_max_str_digits  # one more digit in the count, and Python cannot print it
    (sentence,) = sentences(f"int:-1:{digits}", int)
    assert sentence.endswith(": the number is too large.")
    assert len(sentence) < 200


def test_an_axis_of_deep_tables_gets_a_short_sentence():
    deep = {}
    for _ in range(5000):
        deep = {"a": deep}
    (sentence,) = sentences(deep, float)
    assert sentence.startswith("grid.axis: {'a': {'a':")
    assert len(sentence) < 200
