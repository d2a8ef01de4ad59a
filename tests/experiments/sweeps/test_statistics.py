"""Means and paired differences with t intervals, against SciPy's own and by hand."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.stats

from experiments.sweeps.outcomes import Outcome, Setting
from experiments.sweeps.statistics import best_setting, mean_interval, paired_differences


def setting(errors, cells=None, validation=None):
    outcomes = []
    for seed, error in errors.items():
        entry = {split: {"greedy": {"error": value}} for split, value in (("test", error), ("validation", 100 - error))}
        if validation is not None:
            entry["validation"]["greedy"]["error"] = validation
        outcomes.append(Outcome.__new__(Outcome, SimpleNamespace(seed=seed), (), entry))
    return Setting.__new__(Setting, (), tuple(range(cells or len(outcomes))), tuple(outcomes))


def test_interval_is_that_of_a_t_test():
    values = np.random.default_rng(0).normal(5, 2, 7)
    found = mean_interval(list(values))
    low, high = scipy.stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert found == pytest.approx((values.mean(), low, high, 7))


def test_interval_by_hand():
    # Mean 2, standard deviation 1, so 4.302653 / sqrt(3) on each side: the 97.5% point of t with 2 degrees of freedom.
    assert mean_interval([1.0, 2.0, 3.0]) == pytest.approx((2, 2 - 2.4841377, 2 + 2.4841377, 3))
    assert mean_interval([4.0, 4.0]) == (4, 4, 4, 2) and mean_interval([]) is None
    mean, low, high, n = mean_interval([4.0])
    assert (mean, n) == (4, 1) and math.isnan(low) and math.isnan(high)
    assert str(mean_interval([4.0])) == "4.00" and str(mean_interval([4.0, 4.0])) == "4.00 [4.00, 4.00]"


def test_differences_are_paired_over_the_seeds_that_both_have():
    errors = np.random.default_rng(1).normal(8, 1, (3, 6))
    settings = [setting(dict(enumerate(row))) for row in errors]
    settings[1] = setting({seed: error for seed, error in enumerate(errors[1]) if seed != 4} | {9: 1.0})
    found = {(d.first, d.second): d.interval for d in paired_differences(settings)}
    assert list(found) == [(0, 1), (0, 2), (1, 2)]
    for (first, second), interval in found.items():
        kept = [0, 1, 2, 3, 5] if 1 in (first, second) else range(6)
        a, b = errors[first][kept], errors[second][kept]
        test = scipy.stats.ttest_rel(b, a)
        assert interval == pytest.approx((np.mean(b) - np.mean(a), *test.confidence_interval(0.95), len(kept)))


def test_what_all_seeds_share_goes_out_of_a_difference():
    (difference,) = paired_differences([setting({0: 5.0, 1: 50.0}), setting({0: 6.0, 1: 51.0})])
    assert difference.interval == (1, 1, 1, 2)


def test_settings_without_a_common_seed_have_no_difference():
    assert paired_differences([setting({0: 5.0}), setting({1: 6.0}), setting({})]) == []


def test_the_best_setting_is_chosen_by_validation_among_those_that_are_complete():
    settings = [setting({0: 5.0}, validation=9.0), setting({0: 7.0}, validation=8.0), setting({0: 1.0}, 2, 1.0)]
    assert best_setting(settings) == 1 and best_setting(settings[2:]) == 0 and best_setting([setting({}, 1)]) is None
