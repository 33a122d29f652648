"""Which init a tensor looks like: its standard deviation and its form against those of the usual ones."""

import math
from collections.abc import Callable
from typing import NamedTuple

# Of a normal truncated at two standard deviations: its variance before correction, and its kurtosis.
TRUNCATED_VARIANCE = 0.7737413035
TRUNCATED_KURTOSIS = 2.3655367
# Standard errors within which a tensor may be of a law, and the widest share of its std that they may be.
ERRORS, WIDEST = 5.0, 0.1


class Form(NamedTuple):
    """A distribution of variance 1. kurtosis: E x^4. spread: N times the variance of a kurtosis measured from N
    entries, m8 - 4 m4 m6 + 4 m4^3 - m4^2 for a symmetric one. farthest: how far its entries go."""

    name: str
    kurtosis: float
    spread: float
    farthest: float


NORMAL = Form("normal", 3.0, 24.0, math.inf)
UNIFORM = Form("uniform", 1.8, 1.31657, math.sqrt(3))
TRUNCATED = Form("truncated", TRUNCATED_KURTOSIS, 3.84824, 2 / math.sqrt(TRUNCATED_VARIANCE))
FORMS = (NORMAL, UNIFORM, TRUNCATED)
# Scheme -> variance, from (fan_in, fan_out).
SCALES: dict[str, Callable[[int, int], float]] = {
    "lecun": lambda fan_in, fan_out: 1 / fan_in,
    "xavier": lambda fan_in, fan_out: 2 / (fan_in + fan_out),
    "he": lambda fan_in, fan_out: 2 / fan_in,
}
BY_FAN_OUT: dict[str, Callable[[int, int], float]] = {
    "lecun of fan_out": lambda fan_in, fan_out: 1 / fan_out,
    "he of fan_out": lambda fan_in, fan_out: 2 / fan_out,
}


def form_of(kurtosis: float, max_over_std: float, count: int) -> Form | None:
    """The distribution that a tensor's kurtosis and farthest entry are those of, within ERRORS standard errors.

    The error of the kurtosis of `count` entries is sqrt(spread / count). None where it is none of FORMS.
    """
    for form in (UNIFORM, TRUNCATED, NORMAL):
        error = math.sqrt(form.spread / count)
        rounding = 3 / math.sqrt(count) if form is not NORMAL else 0.0
        if abs(kurtosis - form.kurtosis) < ERRORS * error and max_over_std < form.farthest * (1 + rounding):
            return form
    return None


def matches(std: float, expected_variance: float, kurtosis: float, count: int) -> bool:
    """Whether a standard deviation is that of a law, within ERRORS standard errors, std sqrt((k - 1) / (4 count))."""
    error = math.sqrt(max(kurtosis - 1, 0.1) / (4 * count))
    return bool(error * ERRORS < WIDEST and abs(std / math.sqrt(expected_variance) - 1) < ERRORS * error + 1e-6)


def law_of(std: float, mean: float, kurtosis: float, max_over_std: float, count: int, fan_in: int, fan_out: int) -> str:
    """The init that a tensor looks like, several with ` or ` between them where the fans do not tell them apart.

    `zeros`, `constant(c)`; `he_normal`, `he_uniform`, `he_truncated` and likewise `lecun_*`, `xavier_*` and `* of
    fan_out`; `torch_linear`; `* uncorrected` of a normal truncated at two standard deviations whose std was not made up
    for; `normal(0.02)` and the like for a round std. Empty where it is none.
    """
    if std == 0 or not math.isfinite(std) or count < 2:
        return "" if not math.isfinite(std) else "zeros" if mean == 0 else f"constant({mean:.4g})"
    if abs(mean) > ERRORS * std / math.sqrt(count) or not math.isfinite(kurtosis):
        return ""
    form = form_of(kurtosis, max_over_std, count)
    if form is None:
        return ""
    found = []
    if fan_in and fan_out:
        for scheme, variance in {**SCALES, **(BY_FAN_OUT if fan_in != fan_out else {})}.items():
            name, of, fan = scheme.partition(" of ")
            if matches(std, variance(fan_in, fan_out), kurtosis, count):
                found.append(f"{name}_{form.name}{of}{fan}")
            if form is TRUNCATED and matches(std, TRUNCATED_VARIANCE * variance(fan_in, fan_out), kurtosis, count):
                found.append(f"{name}_{form.name}{of}{fan} uncorrected")
        if form is UNIFORM and matches(std, 1 / (3 * fan_in), kurtosis, count):
            found.append("torch_linear")
    if not found:
        nominal = std / math.sqrt(TRUNCATED_VARIANCE) if form is TRUNCATED else std
        for value, word in ((std, ""), (nominal, " uncorrected")):
            rounded = float(f"{value:.1g}")
            if matches(value, rounded**2, kurtosis, count) and f"{form.name}({rounded:g}){word}" not in found:
                found.append(f"{form.name}({rounded:g}){word}")
                break
    return " or ".join(found)
