"""Means over seeds and differences paired over seeds, with 95% t intervals."""

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.stats

from experiments.sweeps.outcomes import Setting

LEVEL = 0.95


class Interval(NamedTuple):
    """A mean of n values with its 95% t interval, whose ends are NaN where n is below 2."""

    mean: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        if math.isnan(self.low):
            return f"{self.mean:.2f}"
        return f"{self.mean:.2f} [{self.low:.2f}, {self.high:.2f}]"


class Difference(NamedTuple):
    """The error of setting ``second`` less that of ``first``, both numbered, over the seeds that both have."""

    first: int
    second: int
    interval: Interval


def mean_interval(values: Sequence[float]) -> Interval | None:
    """The mean of values that are normal and independent, with its interval; None where there are none."""
    if not values:
        return None
    mean, n = float(np.mean(values)), len(values)
    if n < 2:
        return Interval(mean, math.nan, math.nan, n)
    half = float(scipy.stats.t.ppf((1 + LEVEL) / 2, n - 1) * scipy.stats.sem(values))
    return Interval(mean, mean - half, mean + half, n)


def paired_differences(settings: Sequence[Setting]) -> list[Difference]:
    """Differences in test error, in percentage points, of all pairs of settings that share a seed.

    Settings with batches of one size are shown the same images in the same order by a seed, and what that adds to both
    errors goes out of the difference.
    """
    errors = [setting.by_seed() for setting in settings]
    differences = []
    for first, second in itertools.combinations(range(len(settings)), 2):
        both = [seed for seed in errors[first] if seed in errors[second]]
        interval = mean_interval([errors[second][seed] - errors[first][seed] for seed in both])
        if interval is not None:
            differences.append(Difference(first, second, interval))
    return differences


def best_setting(settings: Sequence[Setting]) -> int | None:
    """The setting with the lowest mean validation error among those that have all their seeds, or else any."""
    means = [mean_interval(list(setting.by_seed("validation").values())) for setting in settings]
    whole = [i for i, setting in enumerate(settings) if len(setting.outcomes) == len(setting.cells)]
    some = whole or [i for i, mean in enumerate(means) if mean is not None]
    return min(some, key=lambda i: means[i].mean if means[i] else math.inf, default=None)  # type: ignore[union-attr]
