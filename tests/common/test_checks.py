"""Checks of configurations."""

import math
from dataclasses import dataclass
from typing import Annotated

import pytest

from common.checks import (
    Range,
    check_at_most,
    check_divides,
    check_ranges,
    check_sides,
    explained,
    refuse_settings,
)


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


def test_limits_that_the_images_set_are_said_with_their_reason():
    check_at_most("crop", 32, 32, "must fit")
    check_divides("heads", 4, "units", 12)
    check_sides("network 'cnn'", 21, 40, 21)
    with pytest.raises(ValueError, match="^crop 33: must fit the 32x40 image, so at most 32$"):
        check_at_most("crop", 33, 32, "must fit the 32x40 image")
    with pytest.raises(ValueError, match="^heads 5: must divide units 12$"):
        check_divides("heads", 5, "units", 12)
    with pytest.raises(ValueError, match="^network 'cnn' on 40x20 images: needs at least 21x21$"):
        check_sides("network 'cnn'", 40, 20, 21)


def test_an_error_is_raised_again_with_what_it_is_about():
    with pytest.raises(ValueError, match="^run 'a': bad$"), explained("run 'a'"):
        raise ValueError("bad")
    with pytest.raises(ValueError, match="^'a' cannot be read: gone$"), explained("'a' cannot be read", OSError):
        raise FileNotFoundError("gone")
    with pytest.raises(ValueError, match="^bad$"), explained("'a' cannot be read", OSError):
        raise ValueError("bad")
