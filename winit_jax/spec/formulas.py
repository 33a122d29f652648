"""Formulas: values of an axis that follow from the network, such as `0.02/sqrt(2*depth)`.

A formula is a text of numbers, the names in NAMES, + - * / **, parentheses and sqrt(). It is parsed, never run as
Python. On a numeric axis a number stands for itself, and a text is a formula.
"""

import ast
import math
import operator
import re
from collections.abc import Callable, Mapping
from functools import lru_cache

NAMES = {
    "width": "units of a hidden layer",
    "depth": "layers of the network",
    "layer": "the layer that the value is for, 1 for the first",
    "fan_in": "rows of the weights that the value is for",
    "fan_out": "columns of the weights that the value is for",
    "features": "columns of the inputs",
}
# What the field calls formulas of an axis. deepnorm: Wang et al. 2022, arXiv:2203.00555, with N = depth; skipinit: De
# and Smith 2020, arXiv:2002.10444, as a network begins.
NAMED = {"skip_scale": {"deepnorm": "(2*depth)**0.25"}, "branch_scale": {"skipinit": "0"}}
_BY_NAME = {name: formula for of_axis in NAMED.values() for name, formula in of_axis.items()}
FORMS = f"{', '.join(NAMES)}, numbers, + - * / **, parentheses and sqrt()"
# Longer ones are no formulas; Python's parser nests as deep as they may.
MAX_LENGTH = 200

_BINARY: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}
_UNARY: dict[type[ast.unaryop], Callable[[float], float]] = {ast.USub: operator.neg, ast.UAdd: operator.pos}


class FormulaError(ValueError):
    """One sentence about a formula."""


def looks_like_one(text: str) -> bool:
    """Whether a text that is no number is meant as a formula: it has a sign of one, or a name."""
    return (
        text in _BY_NAME
        or any(sign in text for sign in "*/+(")
        or not NAMES.keys().isdisjoint(re.findall(r"[a-z_]+", text))
    )


def names_of(text: str) -> frozenset[str]:
    """The names that a formula holds. Errors: FormulaError where it is none."""
    return frozenset(node.id for node in ast.walk(_parsed(text)) if isinstance(node, ast.Name) and node.id in NAMES)


def value_of(value: float | str, **variables: float) -> float:
    """A number as it is, a formula at these values of its names.

    Errors: FormulaError where the text is no formula, a name has no value, or the result is no finite real number.
    """
    if not isinstance(value, str):
        return float(value)
    try:
        result = _evaluate(_parsed(value), variables)
    except (ZeroDivisionError, OverflowError, ValueError) as error:
        if isinstance(error, FormulaError):
            raise
        result = math.nan
    if isinstance(result, complex) or not math.isfinite(result):
        at = ", ".join(f"{name} = {variables[name]:g}" for name in NAMES if name in names_of(value) & variables.keys())
        raise FormulaError(f"{value!r} is no finite number{f' at {at}' if at else ''}.")
    return float(result)


@lru_cache(maxsize=1024)
def _parsed(text: str) -> ast.expr:
    """The tree of a formula, of nothing but what a formula may hold. Errors: FormulaError."""
    if len(text) > MAX_LENGTH:
        raise FormulaError(f"a formula of {len(text):,} characters; it may have {MAX_LENGTH}.")
    try:
        tree = ast.parse(_BY_NAME.get(text, text).strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise FormulaError(f"{text!r} is not a formula ({FORMS}).") from None
    for node in ast.walk(tree):
        _check(node, text)
    return tree


def _check(node: ast.AST, text: str) -> None:
    if isinstance(node, ast.Constant):
        if type(node.value) not in (int, float):
            raise FormulaError(f"{text!r} is not a formula ({FORMS}).")
    elif isinstance(node, ast.Name):
        if node.id not in NAMES and node.id != "sqrt":
            raise FormulaError(f"{text!r}: {node.id!r} is not a name that a formula may hold ({FORMS}).")
    elif isinstance(node, ast.Call):
        if not (isinstance(node.func, ast.Name) and node.func.id == "sqrt") or len(node.args) != 1 or node.keywords:
            raise FormulaError(f"{text!r}: sqrt(), of one number, is the only function of a formula.")
    elif isinstance(node, ast.BinOp):
        if type(node.op) not in _BINARY:
            raise FormulaError(f"{text!r} is not a formula ({FORMS}).")
    elif isinstance(node, ast.UnaryOp):
        if type(node.op) not in _UNARY:
            raise FormulaError(f"{text!r} is not a formula ({FORMS}).")
    elif not isinstance(node, ast.operator | ast.unaryop | ast.expr_context):
        raise FormulaError(f"{text!r} is not a formula ({FORMS}).")


def _evaluate(node: ast.expr, variables: Mapping[str, float]) -> float:
    """The value of a checked tree, in float64, so that no power takes long."""
    match node:
        case ast.Constant(value=int() | float() as number):
            return float(number)
        case ast.Name(id=name):
            if name not in variables:
                raise FormulaError(f"{name} has no value here.")
            return float(variables[name])
        case ast.Call(args=[argument]):
            return math.sqrt(_evaluate(argument, variables))
        case ast.UnaryOp(op=sign, operand=operand):
            return _UNARY[type(sign)](_evaluate(operand, variables))
        case ast.BinOp(left=left, op=sign, right=right):
            return _BINARY[type(sign)](_evaluate(left, variables), _evaluate(right, variables))
    raise FormulaError("not a formula.")
