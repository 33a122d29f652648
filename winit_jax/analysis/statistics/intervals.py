"""Intervals over few seeds that cover what they say: of a median, and of the mean at the best of several settings.

docs/definitions.md has their simulated coverage, `python -m benchmarks.coverage` makes it.
"""

import numpy as np
from scipy.special import bdtr, stdtrit


def student_quantile(share: float, freedom: int) -> float:
    """The quantile of Student's t below which `share` of it lies."""
    return float(stdtrit(freedom, share))


def rank_of_ends(count: int, level: float) -> int:
    """The largest k for which the k-th smallest and the k-th largest of `count` enclose the median; 0 if none does.

    They do so with probability 1 - 2 P(B < k), B ~ Binomial(count, 1/2), whatever the distribution: the sign test's
    interval. It needs five seeds for 90%.
    """
    k = 0
    while k < count // 2 and 1 - 2 * bdtr(k, count, 0.5) >= level:
        k += 1
    return k


def of_median(places: np.ndarray, below: np.ndarray, above: np.ndarray, level: float) -> tuple[float, float, float]:
    """(Median, low, high) of places each known to lie between `below` and `above`, [seeds].

    The interval is between order statistics (`rank_of_ends`) where there are seeds enough for the level. Fewer give
    mean -+ t std / sqrt(seeds), Student's interval, or from the least to the greatest where that is wider: exact for a
    normal distribution, and never below 1 - 2^(1 - seeds). It reaches from `below` to `above`, so that seeds that
    agree on a cell leave that cell open. -inf and inf are places beyond all that was looked at; a result there is NaN.
    """
    count = len(places)
    places, below, above = (np.sort(each) for each in (places, below, above))
    middle = places[(count - 1) // 2], places[count // 2]
    median = (middle[0] + middle[1]) / 2 if np.isfinite(middle).all() else np.nan
    if count < 2:
        return median, np.nan, np.nan
    if k := rank_of_ends(count, level):
        low, high = below[k - 1], above[-k]
    elif np.isfinite(places).all():
        half = student_quantile((1 + level) / 2, count - 1) * places.std(ddof=1) / np.sqrt(count)
        low, high = min(below[0], below.mean() - half), max(above[-1], above.mean() + half)
    else:
        low = high = np.nan
    low, high = (float(end) if np.isfinite(end) else np.nan for end in (low, high))
    return float(median), low, high


def at_the_best(scores: np.ndarray, level: float = 0.95) -> tuple[int, float, float]:
    """(The setting with the highest mean, low, high), of scores [seeds, settings].

    The interval is of the mean, over new seeds, at that setting. With s over sqrt(seeds) as its standard error,

        mean + t((1 + level) / 2) s / sqrt(seeds)    above,
        mean - t(1 - (1 - level) / 2k) s / sqrt(seeds)    below,

    since the highest of k means that are as good as equal is too high by luck (Bonferroni). k counts the settings whose
    paired difference to the best is within its own Student interval, so that a clear winner has the usual interval; s
    is the setting's standard deviation, or the lower median of all k, for the best is often one whose seeds agree.
    NaN for one seed.
    """
    count = len(scores)
    means = scores.mean(axis=0)
    best = int(means.argmax())
    if count < 2:
        return best, np.nan, np.nan
    upper = student_quantile((1 + level) / 2, count - 1)
    behind = scores[:, [best]] - scores
    rivals = behind.mean(axis=0) <= upper * behind.std(axis=0, ddof=1) / np.sqrt(count)
    spreads = np.sort(scores[:, rivals].std(axis=0, ddof=1))
    error = max(float(scores[:, best].std(ddof=1)), float(spreads[(len(spreads) - 1) // 2])) / np.sqrt(count)
    lower = student_quantile(1 - (1 - level) / 2 / len(spreads), count - 1)
    return best, means[best] - lower * error, means[best] + upper * error
