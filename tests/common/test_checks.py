"""Checks of configurations."""

import math
from dataclasses import dataclass
from typing import Annotated

import pytest

from common.checks import Range, check_ranges, refuse_settings


@dataclass(frozen=True)
class Config:
    """A configuration with a range of each form."""

    steps: Annotated[int, Range(1)] = 10
    discount: Annotated[float, Range(0, 1)] = 1.0
    decay: Annotated[float, Range(0, below=1)] = 0.9
    rate: Annotated[float, Range(above=0)] = 0.1
    patience: Annotated[int, Range(0, meaning="0 to never stop")] = 0
    resize: Annotated[int | None, Range(8)] = None
    sizes: Annotated[tuple[int, ...], Range(most=9)] = (1, 2)
    name: str = "free"


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("steps", 0, "steps 0: must be at least 1"),
        ("discount", 1.5, "discount 1.5: must be from 0 to 1"),
        ("discount", math.nan, "discount nan: must be from 0 to 1"),
        ("decay", 1.0, "decay 1.0: must be at least 0 and below 1"),
        ("rate", 0.0, "rate 0.0: must be above 0"),
        ("rate", math.inf, "rate inf: must be above 0 and finite"),
        ("patience", -1, "patience -1: must be at least 0 (0 to never stop)"),
        ("resize", 7, "resize 7: must be at least 8"),
        ("sizes", (3, 10), "sizes 10: must be at most 9"),
    ],
)
def test_a_number_outside_its_range_is_quoted_with_the_range(field, value, message):
    with pytest.raises(ValueError) as error:
        check_ranges(Config(**{field: value}))
    assert str(error.value) == message


def test_numbers_at_the_limits_and_none_are_allowed():
    check_ranges(Config())
    check_ranges(Config(steps=1, discount=0, decay=0.0, rate=1e-30, resize=8, sizes=(9,)))
    check_ranges(Config(discount=1, sizes=()))


def test_settings_without_effect_are_refused_unless_they_have_their_default():
    refuse_settings(Config(), ("steps", "name"), ": unused")
    with pytest.raises(ValueError, match="name 'other': unused"):
        refuse_settings(Config(name="other"), ("steps", "name"), ": unused")
