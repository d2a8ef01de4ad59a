"""Means over seeds and paired differences: their intervals, by hand, against SciPy and within their range."""

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.stats

from experiments.sweeps.outcomes import Outcome, Setting
from experiments.sweeps.statistics import (
    DIFFERENCE_RANGE,
    best_setting,
    interquartile_mean,
    mean_interval,
    paired_differences,
)


def setting(errors, cells=None, validation=None):
    outcomes = []
    for seed, error in errors.items():
        entry = {split: {"greedy": {"error": value}} for split, value in (("test", error), ("validation", 100 - error))}
        if validation is not None:
            entry["validation"]["greedy"]["error"] = validation
        outcomes.append(Outcome.__new__(Outcome, SimpleNamespace(seed=seed), (), entry))
    return Setting.__new__(Setting, (), tuple(range(cells or len(outcomes))), tuple(outcomes))


def test_a_narrow_interval_is_that_of_a_t_test():
    values = 20 + np.random.default_rng(0).normal(0, 0.01, 7)
    interval = mean_interval(list(values))
    low, high = scipy.stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert interval.mean == pytest.approx(values.mean()) and interval.n == 7
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=1e-4)


def test_interval_by_hand():
    # Mean 2%, standard error 1 / sqrt(3) points; 4.302653 is the 97.5% point of t with 2 degrees of freedom.
    half = 4.302653 * (0.01 / math.sqrt(3)) / (0.02 * 0.98)
    ends = [100 / (1 + math.exp(-(math.log(0.02 / 0.98) + side * half))) for side in (-1, 1)]
    assert mean_interval([1.0, 2.0, 3.0]) == pytest.approx((2, *ends, 3))
    assert 0 < ends[0] < 1 and 6 < ends[1] < 8
    assert mean_interval([4.0, 4.0]) == (4, 4, 4, 2) and mean_interval([]) is None
    assert str(mean_interval([4.0, 4.0])) == "4.00 [4.00, 4.00]"


def test_one_seed_has_no_interval():
    mean, low, high, n = mean_interval([4.0])
    assert (mean, n) == (4, 1) and math.isnan(low) and math.isnan(high)
    assert str(mean_interval([4.0])) == "4.00"


@pytest.mark.parametrize("values", [[20.8, 33.2], [0.0, 3.0], [99.0, 100.0], [0.0, 100.0], [0.0, 0.0], [1e-9, 50.0]])
def test_intervals_of_errors_hold_the_mean_and_stay_between_0_and_100(values):
    mean, low, high, _ = mean_interval(values)
    assert 0 <= low <= mean <= high <= 100


@pytest.mark.parametrize("values", [[-60.0, 5.0], [95.0, 100.0], [-100.0, -80.0], [-100.0, 100.0]])
def test_intervals_of_differences_stay_between_minus_100_and_100(values):
    mean, low, high, _ = mean_interval(values, DIFFERENCE_RANGE)
    assert -100 <= low <= mean <= high <= 100
    assert mean_interval([-value for value in values], DIFFERENCE_RANGE) == pytest.approx((-mean, -high, -low, 2))


@pytest.mark.parametrize(("n", "mean"), [(2, 30.0), (3, 5.0), (5, 1.0)])
def test_intervals_cover_the_mean_in_about_95_of_100_cases(n, mean):
    samples = np.random.default_rng(0).normal(mean, 0.15 * mean, (2000, n))
    intervals = [mean_interval(list(sample)) for sample in samples]
    covered = np.mean([interval.low <= mean <= interval.high for interval in intervals])
    assert 0.935 <= covered <= 0.975


def test_the_interquartile_mean_and_its_interval_are_those_of_all_resamples():
    values = [3.0, 4.1, 4.0, 5.2, 40.0]
    interval = interquartile_mean(values)
    resamples = np.sort(np.array(list(itertools.product(values, repeat=5))), axis=1)
    means = np.sort(resamples[:, 1:-1].mean(axis=1))
    assert interval.mean == pytest.approx((4.0 + 4.1 + 5.2) / 3) and interval.n == 5
    for end, fraction in ((interval.low, 0.025), (interval.high, 0.975)):
        place = np.searchsorted(means, end) / len(means), np.searchsorted(means, end, side="right") / len(means)
        assert place[0] - 0.01 < fraction < place[1] + 0.01


def test_differences_are_paired_over_the_seeds_that_both_have():
    errors = np.random.default_rng(1).normal(8, 1, (3, 6))
    settings = [setting(dict(enumerate(row))) for row in errors]
    settings[1] = setting({seed: error for seed, error in enumerate(errors[1]) if seed != 4} | {9: 1.0})
    differences = {(d.first, d.second): d.interval for d in paired_differences(settings)}
    assert list(differences) == [(0, 1), (0, 2), (1, 2)]
    for (first, second), interval in differences.items():
        kept = [0, 1, 2, 3, 5] if 1 in (first, second) else range(6)
        a, b = errors[first][kept], errors[second][kept]
        test = scipy.stats.ttest_rel(b, a)
        # A difference of a few points is far from its bounds, so the interval is close to that of the t test.
        assert interval == pytest.approx(
            (np.mean(b) - np.mean(a), *test.confidence_interval(0.95), len(kept)), abs=5e-3
        )


def test_effects_that_a_seed_has_on_both_settings_cancel_in_a_difference():
    (difference,) = paired_differences([setting({0: 5.0, 1: 50.0}), setting({0: 6.0, 1: 51.0})])
    assert difference.interval == (1, 1, 1, 2)


def test_settings_without_a_common_seed_have_no_difference():
    assert paired_differences([setting({0: 5.0}), setting({1: 6.0}), setting({})]) == []


def test_the_best_setting_is_chosen_by_validation_among_those_that_are_complete():
    settings = [setting({0: 5.0}, validation=9.0), setting({0: 7.0}, validation=8.0), setting({0: 1.0}, 2, 1.0)]
    assert best_setting(settings) == 1 and best_setting(settings[2:]) == 0 and best_setting([setting({}, 1)]) is None
