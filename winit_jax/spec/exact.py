"""Arithmetic on numbers as they are written: the float64 nearest to what decimals say, not to what rounding left.

0.3 / sqrt(9) is 0.1 here, and the middle of 0.5 and 8 on a log axis is 2: a value that was asked for is the value
that is stored, and `frame["gain"] == 2` finds it.
"""

from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal
from functools import lru_cache

# Digits enough that a rounded result is the nearest float64, also at the end of a million multiplications.
CONTEXT = Context(prec=60, Emax=MAX_EMAX, Emin=MIN_EMIN)
# Below, every number is 0 in float64; above, infinite.
MAX_EXPONENT = 400


def written(number: str | float) -> Decimal:
    """The decimal that a word says, or that a float prints as.

    Words beyond float64's range are taken as the float64 that they read as. Errors: ValueError if it is no number.
    """
    value = float(number)
    decimal = Decimal(str(number).strip())
    return decimal if abs(decimal.adjusted()) < MAX_EXPONENT and len(str(number)) < MAX_EXPONENT else Decimal(value)


def linear(first: str, last: str, count: int) -> list[float]:
    """`count` values in equal steps between two written numbers, each the float64 nearest to its exact value."""
    (low, below), (high, under) = written(first).as_integer_ratio(), written(last).as_integer_ratio()
    steps = max(count - 1, 1)
    start, step, divisor = low * under * steps, high * below - low * under, below * under * steps
    return [(start + step * i) / divisor for i in range(count)]  # Python divides integers to the nearest float64


def geometric(first: str, last: str, count: int) -> list[float]:
    """`count` values in equal ratios between two written positive numbers, each the float64 nearest to its value."""
    value, high = written(first), written(last)
    ratio = CONTEXT.exp(CONTEXT.divide(CONTEXT.ln(CONTEXT.divide(high, value)), Decimal(max(count - 1, 1))))
    values = []
    for _ in range(count):
        values.append(float(value))
        value = CONTEXT.multiply(value, ratio)
    return values


@lru_cache(maxsize=1 << 16)  # asked for again for every seed and activation
def gain_of(std: float, width: int) -> float:
    """std * sqrt(width)."""
    return float(CONTEXT.multiply(written(std), CONTEXT.sqrt(Decimal(width))))


@lru_cache(maxsize=1 << 16)
def std_of(gain: float, fan_in: int) -> float:
    """gain / sqrt(fan_in)."""
    return float(CONTEXT.divide(written(gain), CONTEXT.sqrt(Decimal(fan_in))))
