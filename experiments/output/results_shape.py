"""The shape of `results.json`, checked where it is read: a file of another shape is named, and fails no reader."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import dacite

from common.user_files import LONGEST_ERROR, shorten

Real = float | int


@dataclass
class Measured:
    """An error in per cent with its interval, and of sequences its details."""

    error: Real
    low: Real
    high: Real
    n: int
    symbol: "Measured | None" = None
    end: "Measured | None" = None
    by_length: "dict[str, Measured] | None" = None


@dataclass
class Readouts:
    """The errors on one split."""

    greedy: Measured
    sampled: Measured | None = None
    average_probability: Measured | None = None
    average_log_probability: Measured | None = None


@dataclass
class Found:
    """The boxes that a co-localiser found on one split."""

    found: Real
    low: Real
    high: Real
    n: int
    mean: Real


@dataclass
class Overlap:
    """The boxes that a co-localiser found."""

    validation: Found
    test: Found


@dataclass
class Cost:
    """The cost of a prediction."""

    values_read: int
    image_values: int
    operations: Real


@dataclass
class Training:
    """The entries of the configuration that pages quote."""

    steps: int
    eval_episodes: int


@dataclass
class Config:
    """The configuration of a run."""

    training: Training
    data: dict[str, Any]


@dataclass
class Results:
    """The results of a run; a file may hold more."""

    task: str
    family: str
    preset: str
    config: Config
    seed: int
    steps: int
    episodes: int
    parameters: int
    wall_seconds: Real
    device: str | None
    commit: str | None
    validation: Readouts
    test: Readouts
    overlap: Overlap | None = None
    cost: Cost | None = None
    starts: list[dict[str, Any]] | None = None


def explain_misfit(results: Mapping[str, Any]) -> str | None:
    """Explain why something is not the results of a run; None if it is."""
    try:
        dacite.from_dict(Results, results)
    except (dacite.DaciteError, ValueError, TypeError) as error:  # The latter two for a list in place of an object.
        return shorten(f"it holds no results of a run: {error}", LONGEST_ERROR)
    return None
