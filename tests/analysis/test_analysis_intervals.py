"""Intervals over few seeds hold what they are of as often as they say."""

import itertools

import numpy as np
import pytest
from scipy import stats

from benchmarks.coverage import covered_by_best, covered_by_median, tied
from winit_jax.analysis.statistics.intervals import at_the_best, of_median, rank_of_ends, student_quantile

TRIALS = 1000


def at_least(share, level):
    """Not significantly less than the level."""
    assert share > level - 3.5 * np.sqrt(level * (1 - level) / TRIALS)


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 5, 9, 30])
def test_quantiles_are_students(freedom):
    assert student_quantile(0.975, freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=1e-9)


@pytest.mark.parametrize("count", range(1, 13))
def test_order_statistics_enclose_the_median_as_often_as_binomials_say(count):
    # Every pattern of seeds below and above the median is as likely as every other.
    below = np.array([sum(pattern) for pattern in itertools.product((0, 1), repeat=count)])
    shares = [np.mean((below >= k) & (below <= count - k)) for k in range(1, count // 2 + 1)]
    expected = sum(share >= 0.9 for share in shares)
    assert rank_of_ends(count, 0.9) == expected
    assert (rank_of_ends(count, 0.9) > 0) == (count >= 5)


def test_a_median_of_an_even_number_is_the_middle_of_two():
    places = np.array([4.0, 1.0, 2.0, 9.0])
    assert of_median(places, places, places, 0.9)[0] == 3
    assert np.isnan(of_median(np.array([1.0, np.inf]), np.array([1.0, 2]), np.array([1.0, np.inf]), 0.9)).all()


def test_few_seeds_have_students_interval_and_at_least_their_range():
    places = np.array([1.0, 2.0, 4.0, 5.0])
    _, low, high = of_median(places, places, places, 0.9)
    assert (low, high) == pytest.approx(stats.t.interval(0.9, 3, places.mean(), stats.sem(places)))
    lone = np.array([0.0, 0.0, 0.0, 1.0])
    _, low, high = of_median(lone, lone, lone, 0.5)
    assert low <= 0
    assert high >= np.median(lone)


def test_many_seeds_have_an_interval_between_two_of_them():
    places = np.arange(16.0)
    assert of_median(places, places - 0.5, places + 0.5, 0.9) == (7.5, 3.5, 11.5)


@pytest.mark.parametrize("seeds", [2, 3, 4, 5, 8, 16])
@pytest.mark.parametrize("law", ["normal", "student 3"])
def test_bands_of_medians_cover_their_level(seeds, law):
    at_least(covered_by_median(law, seeds, 0.05, TRIALS), 0.9)
    at_least(covered_by_median(law, seeds, 1.0, TRIALS), 0.9)


@pytest.mark.parametrize("seeds", [2, 3, 4, 5, 8, 16])
@pytest.mark.parametrize("rates", [1, 2, 5])
def test_intervals_at_the_best_cover_their_level_where_rates_are_tied(seeds, rates):
    at_least(covered_by_best("normal", seeds, tied(rates), 0.0, TRIALS), 0.95)
    at_least(covered_by_best("normal", seeds, tied(rates), 0.5, TRIALS), 0.95)


def test_a_clear_winner_has_the_usual_interval():
    scores = np.array([[0.9, 0.1], [0.92, 0.12], [0.93, 0.11], [0.91, 0.1]])
    best, low, high = at_the_best(scores)
    assert best == 0
    usual = stats.t.interval(0.95, 3, scores[:, 0].mean(), stats.sem(scores[:, 0]))
    assert (low, high) == pytest.approx(usual)
    assert np.isnan(at_the_best(scores[:1])[1:]).all()
