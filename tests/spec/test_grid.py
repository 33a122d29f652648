"""Axis expressions: what they expand to, and sentences for what they are not."""

import math
import sys
from decimal import localcontext
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.clocks import a_moment
from winit_jax.analysis.axes import expand as expand_for_figures
from winit_jax.spec.axes import MAX_AXIS, expand, split_words
from winit_jax.spec.exact import gain_of, std_of


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


def test_ranges_hold_the_numbers_that_one_would_write():
    assert values("lin:0.1:1:10", float) == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
    assert values("lin:-0.3:0.3:7", float) == [-0.3, -0.2, -0.1, 0.0, 0.1, 0.2, 0.3]
    assert values("log:0.5:8:5", float) == [0.5, 1.0, 2.0, 4.0, 8.0]
    assert values("log:0.001:1000:7", float) == [0.001, 0.01, 0.1, 1.0, 10.0, 100.0, 1000.0]
    assert values("log:1e-300:1e300:5", float) == [1e-300, 1e-150, 1.0, 1e150, 1e300]
    assert values("log:1:1024:11", int) == [2**i for i in range(11)]


DECIMALS = st.decimals("1e-12", "1e12", allow_nan=False, allow_infinity=False).map(abs).filter(lambda x: x > 0)


@settings(deadline=None)
@given(DECIMALS, DECIMALS, st.integers(2, 40))
def test_every_value_of_a_range_is_the_float_nearest_to_the_exact_one(start, stop, count):
    first, last = Fraction(start), Fraction(stop)
    exact = [float(first + (last - first) * i / (count - 1)) for i in range(count)]
    assert expand(f"lin:{start}:{stop}:{count}", "", float, anything)[0] == exact
    with localcontext(prec=100):
        low, high = start.ln(), stop.ln()
        middle = [((low * (count - 1 - i) + high * i) / (count - 1)).exp() for i in range(1, count - 1)]
    found = expand(f"log:{start}:{stop}:{count}", "", float, anything)[0]
    assert found == [float(start), *map(float, middle), float(stop)]


def test_a_range_of_a_million_values_takes_seconds():
    with a_moment():
        assert len(values("log:0.1:10:1000000", float)) == MAX_AXIS
        assert len(values("lin:0.1:10:1000000", float)) == MAX_AXIS


@pytest.mark.parametrize(
    "expression", ["lin:0.1:1:10", "log:0.5:8:5", "log:0.1:10:64", ["0.1", "lin:1:2:4"], "int:1:9:2"]
)
def test_figures_expand_axes_to_the_same_values(expression):
    assert expand_for_figures(expression) == expand(expression, "", float, anything)[0]


def test_gain_and_std_are_each_other_s_to_the_digit():
    assert gain_of(0.2, 100) == 2.0
    assert gain_of(0.1, 9) == 0.3  # 0.30000000000000004 in floats
    assert std_of(0.3, 9) == 0.1  # 0.09999999999999999
    assert std_of(2.0, 100) == 0.2
    assert (gain_of(0.0, 7), std_of(5e-324, 1), gain_of(1e308, 10_000)) == (0.0, 5e-324, math.inf)
    for width in range(1, 200):
        std = Fraction(3, 10) ** 2 * width
        found = Fraction(gain_of(0.3, width))
        below, above = (Fraction(math.nextafter(float(found), to)) for to in (0, math.inf))
        assert ((found + below) / 2) ** 2 <= std <= ((found + above) / 2) ** 2


@pytest.mark.parametrize(
    ("expression", "kind", "expected"),
    [
        ([0.5, True], float, ["grid.axis[1]: True is not a number."]),
        ([[1]], float, ["grid.axis[0]: [1] is not a number."]),
        ([1, "x", math.nan], float, None),
        ([0.0, -0.0], float, ["grid.axis: 0 and -0 mean the same, 0; each value names one point."]),
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
