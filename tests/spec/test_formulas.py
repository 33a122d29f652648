"""Formulas on numeric axes: read by a whitelist, valued in float64, wrong ones told in a sentence."""

import math

import pytest

from support.clocks import a_moment
from winit_jax.spec.formulas import MAX_LENGTH, FormulaError, names_of, value_of


@pytest.mark.parametrize(
    ("text", "variables", "expected"),
    [
        ("0.02/sqrt(2*depth)", {"depth": 12}, 0.0040824829046386),
        ("0.02/sqrt(2*depth)", {"depth": 24}, 0.0028867513459481),
        ("(2*depth)**0.25", {"depth": 6}, 1.8612097182041991),
        ("(8*depth)**-0.25", {"depth": 12}, 0.3194715521231362),
        ("1/sqrt(depth)", {"depth": 1}, 1.0),
        ("sqrt(2)", {}, math.sqrt(2)),
        ("-(1 - layer/depth)", {"layer": 3, "depth": 4}, -0.25),
        ("sqrt(2 / (fan_in + fan_out))", {"fan_in": 3, "fan_out": 5}, 0.5),
        ("1e-3 * width ** +2", {"width": 10}, 0.1),
    ],
)
def test_a_formula_has_the_value_that_one_computes_on_paper(text, variables, expected):
    assert value_of(text, **variables) == pytest.approx(expected, rel=1e-12)
    assert names_of(text) == variables.keys()


def test_a_number_is_itself():
    assert value_of(0.3, depth=3) == 0.3


@pytest.mark.parametrize(
    "text",
    [
        "", "depth +", "dept", "os.system('x')", "__import__('os')", "sqrt", "sqrt()", "sqrt(1, 2)", "sqrt(x=1)",
        "lambda: 1", "[1][0]", "depth if 1 else 2", "1 < 2", "1 and 2", "'a' * 3", "True", "1j", "depth // 2", "5 % 3",
        "f'{depth}'", "(depth := 3)", "sqrt.real", "1 if", "1\n2", "{1}", "*depth", "abs(depth)", "exp(1)", "2 @ 3",
        "None", "...", "b'1'", "not 1", "~1",
    ],
)  # fmt: skip
def test_what_is_no_formula_gets_a_sentence(text):
    with pytest.raises(FormulaError) as caught:
        value_of(text, depth=3)
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value) or "\n" in text


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("1/(depth - 3)", "'1/(depth - 3)' is no finite number at depth = 3."),
        ("sqrt(-depth)", "'sqrt(-depth)' is no finite number at depth = 3."),
        ("(-depth)**0.5", "'(-depth)**0.5' is no finite number at depth = 3."),
        ("9**9**9**9", "'9**9**9**9' is no finite number."),
        ("1e400", "'1e400' is no finite number."),
        ("depth * width", "width has no value here."),
        ("fan + 1", "'fan + 1': 'fan' is not a name that a formula may hold"),
    ],
)
def test_a_formula_without_a_value_says_where(text, sentence):
    with a_moment(), pytest.raises(FormulaError) as caught:
        value_of(text, depth=3)
    assert str(caught.value).startswith(sentence)


@pytest.mark.parametrize("text", ["(" * 5000 + "1" + ")" * 5000, "1" * 5000, "-" * 150 + "1", "+".join("1" * 101)])
def test_long_and_deep_formulas_take_no_time(text):
    with a_moment():
        if len(text) > MAX_LENGTH:
            with pytest.raises(FormulaError, match="a formula of"):
                value_of(text)
        else:
            assert math.isfinite(value_of(text))
