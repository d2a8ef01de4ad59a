"""Means over seeds and differences paired over seeds, with 95% intervals that stay in the range of the values."""

import functools
import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy

from experiments.output.text import interval_text
from experiments.sweeps.outcomes import Setting

LEVEL = 0.95
# The ranges of an error and of a difference of errors, in per cent and in percentage points.
ERROR_RANGE, DIFFERENCE_RANGE = (0.0, 100.0), (-100.0, 100.0)


class Interval(NamedTuple):
    """A mean of n values with its 95% interval, whose ends are NaN where n is below 2."""

    mean: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        if math.isnan(self.low):
            return f"{self.mean:.2f}"
        return interval_text(self.mean, self.low, self.high)


class Difference(NamedTuple):
    """The error of setting `second` minus that of `first`, over the seeds that both have."""

    first: int
    second: int
    interval: Interval


def mean_interval(values: Sequence[float], bounds: tuple[float, float] = ERROR_RANGE) -> Interval | None:
    """Return the mean of independent values in a bounded range, with its 95% interval; None without values.

    The interval is a t interval on the logit scale. The values are mapped to [0, 1]; `m` is their mean and `s` its
    standard error. The ends are `logit(m) -+ t * s / (m * (1 - m))`, mapped back, where `t` has `n - 1` degrees of
    freedom and `s / (m * (1 - m))` is the standard error of `logit(m)` by the delta method (Agresti 2013, Categorical
    Data Analysis, section 16.1). The interval contains the mean and stays in the range; a plain t interval of two or
    three seeds often leaves it. Where the spread is small the two are equal. It is a usual interval of proportions from
    clustered data (Korn and Graubard 1998, Survey Methodology 24, 193-201); here a seed is a cluster of images. For
    differences, in [-1, 1], the logit scale is Fisher's z scale. The interval of equal values has width zero.

    Args:
      values: one for each seed.
      bounds: the lowest and the highest value that is possible.
    """
    if not values:
        return None
    mean, n = float(np.mean(values)), len(values)
    if n < 2:
        return Interval(mean, math.nan, math.nan, n)
    low, high = bounds
    fraction, error = (mean - low) / (high - low), float(scipy.stats.sem(values)) / (high - low)
    if error == 0 or not 0 < fraction < 1:
        return Interval(mean, mean, mean, n)
    half = float(scipy.stats.t.ppf((1 + LEVEL) / 2, n - 1)) * error / (fraction * (1 - fraction))
    middle = scipy.special.logit(fraction)
    ends = [low + (high - low) * float(scipy.special.expit(middle + side * half)) for side in (-1, 1)]
    return Interval(mean, ends[0], ends[1], n)


def interquartile_mean(values: Sequence[float]) -> Interval:
    """Return the mean of the middle half of the values, with its 95% interval by the bootstrap over values.

    Agarwal et al. 2021 (Deep Reinforcement Learning at the Edge of the Statistical Precipice, section 4.3) advise it
    for few seeds. The ends are percentiles of 10,000 resamples, drawn with a fixed key.
    """
    middle = functools.partial(scipy.stats.trim_mean, proportiontocut=0.25)
    bootstrap = scipy.stats.bootstrap(
        (values,), middle, n_resamples=10_000, confidence_level=LEVEL, method="percentile", rng=np.random.default_rng(0)
    )
    low, high = bootstrap.confidence_interval
    return Interval(float(middle(values)), float(low), float(high), len(values))


def paired_differences(settings: Sequence[Setting]) -> list[Difference]:
    """Return the differences in test error, in percentage points, of all pairs of settings that share a seed.

    With batches of one size a seed shows two settings the same images in the same order, so the difference loses what
    that adds to both errors.
    """
    errors = [setting.by_seed() for setting in settings]
    differences = []
    for first, second in itertools.combinations(range(len(settings)), 2):
        both = [seed for seed in errors[first] if seed in errors[second]]
        interval = mean_interval([errors[second][seed] - errors[first][seed] for seed in both], DIFFERENCE_RANGE)
        if interval is not None:
            differences.append(Difference(first, second, interval))
    return differences


def best_setting(settings: Sequence[Setting]) -> int | None:
    """Return the setting of the lowest mean validation error, among those with all their seeds if there are any."""
    means = [mean_interval(list(setting.by_seed("validation").values())) for setting in settings]
    whole = [i for i, setting in enumerate(settings) if len(setting.outcomes) == len(setting.cells)]
    some = whole or [i for i, mean in enumerate(means) if mean is not None]
    return min(some, key=lambda i: means[i].mean if means[i] else math.inf, default=None)  # type: ignore[union-attr]
