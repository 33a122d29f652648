"""How often intervals over few seeds hold what they are of: nominal and simulated coverage.

    python -m benchmarks.coverage [--trials 10000]

Prints the tables of docs/definitions.md, in Markdown. Uses numpy and scipy alone, about three minutes.
"""

import argparse
from collections.abc import Callable

import numpy as np

from winit_jax.analysis.statistics.intervals import at_the_best, of_median

SEEDS = (2, 3, 4, 5, 8, 16)
# Of variance 1 and median 0 (means 0 but for lognormal): what seeds scatter like.
LAWS: dict[str, Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]] = {
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "uniform": lambda rng, shape: rng.uniform(-np.sqrt(3), np.sqrt(3), shape),
    "student 3": lambda rng, shape: rng.standard_t(3, shape) / np.sqrt(3),
    "lognormal": lambda rng, shape: (np.exp(0.7 * rng.standard_normal(shape)) - 1) / 1.02,
    "exponential": lambda rng, shape: 1 - rng.exponential(size=shape),
}
MEDIAN_LEVEL, BEST_LEVEL = 0.9, 0.95


def tied(rates: int) -> np.ndarray:
    """Means of so many settings that are equally good."""
    return np.zeros(rates)


def covered_by_median(law: str, seeds: int, cell: float, trials: int) -> float:
    """The share of trials in which `of_median` at 90% holds the median.

    cell: the distance of the places that are looked at, in standard deviations; the median is anywhere in a cell.
    """
    rng = np.random.default_rng([seeds, round(100 * cell)])
    drawn, offset = LAWS[law](rng, (trials, seeds)), rng.uniform(0, cell, trials)
    held = 0
    for x, start in zip(drawn, offset, strict=True):
        below = np.floor((x - start) / cell) * cell + start
        _, low, high = of_median(below + cell / 2, below, below + cell, MEDIAN_LEVEL)
        held += low <= (median_of(law)) <= high
    return held / trials


def median_of(law: str) -> float:
    """The median of a law."""
    return 1 - np.log(2) if law == "exponential" else 0.0


def covered_by_best(law: str, seeds: int, means: np.ndarray, shared: float, trials: int) -> float:
    """The share of trials in which `at_the_best` at 95% holds the mean of the setting that it names.

    shared: the share of the variance that a seed has in common at all settings. Laws are centered on their means.
    """
    rng = np.random.default_rng([seeds, len(means), round(100 * shared)])
    specific = LAWS[law](rng, (trials, seeds, len(means)))
    common = LAWS[law](rng, (trials, seeds, 1))
    mean = (np.exp(0.7**2 / 2) - 1) / 1.02 if law == "lognormal" else 0.0
    scores = np.sqrt(1 - shared) * (specific - mean) + np.sqrt(shared) * (common - mean) + means
    held = 0
    for each in scores:
        best, low, high = at_the_best(each, BEST_LEVEL)
        held += low <= means[best] <= high
    return held / trials


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=10_000)
    trials = parser.parse_args().trials
    head = "".join(f" {seeds} |" for seeds in SEEDS) + "\n|" + "---|" * (len(SEEDS) + 1)
    print(f"\n| the median, {MEDIAN_LEVEL:.0%}; seeds |{head}")
    for law in LAWS:
        for cell in (0.05, 1.0):
            coverages = [covered_by_median(law, seeds, cell, trials) for seeds in SEEDS]
            _row(f"{law}, cells of {cell:g} std", coverages)
    print(f"\n| the mean at the best rate, {BEST_LEVEL:.0%}; seeds |{head}")
    cases = {"one rate": tied(1), "2 tied": tied(2), "5 tied": tied(5), "1 and 3 std behind": np.array([0.0, -1, -3])}
    for law in ("normal", "uniform", "exponential"):
        for name, means in cases.items():
            for shared in (0.0, 0.5):
                coverages = [covered_by_best(law, seeds, means, shared, trials) for seeds in SEEDS]
                _row(f"{law}, {name}, {shared:.0%} shared", coverages)


def _row(name: str, shares: list[float]) -> None:
    print(f"| {name} |" + "".join(f" {100 * share:.1f} |" for share in shares), flush=True)


if __name__ == "__main__":
    main()
