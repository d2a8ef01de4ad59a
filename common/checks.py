"""Checks of configurations.

Every check of a configuration raises a ValueError of one line, which quotes the bad value and states what is allowed.

The range of a numeric field stands in the field's type::

    num_glimpses: Annotated[int, Range(1, 200)] = 8

and `check_ranges` checks every field of a configuration that has one.
"""

import contextlib
import dataclasses
import math
import os
import typing
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

# Episodes are unrolled in the compiled program, which takes long to compile beyond this.
MOST_GLIMPSES = 200


@dataclasses.dataclass(frozen=True)
class Range:
    """The numbers that a field of a configuration may hold. Infinity and NaN are never among them.

    Attributes:
      least: the smallest one; None for no limit.
      most: the largest one; None for no limit.
      above: the numbers are larger than this; None for no limit.
      below: the numbers are smaller than this; None for no limit.
      meaning: what a special number does, for the message, such as ``"0 for never"``.
    """

    least: int | float | None = None
    most: int | float | None = None
    above: int | float | None = None
    below: int | float | None = None
    meaning: str = ""

    def __contains__(self, value: int | float) -> bool:
        """Return whether a number lies in the range."""
        return (
            math.isfinite(value)
            and (self.least is None or value >= self.least)
            and (self.most is None or value <= self.most)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        """Describe the range, as in "from 0 to 1" or "at least 0 and below 1"."""
        if self.least is not None and self.most is not None:
            limits = [f"from {self.least} to {self.most}"]
        else:
            named = {"at least": self.least, "above": self.above, "at most": self.most, "below": self.below}
            limits = [f"{name} {value}" for name, value in named.items() if value is not None]
        return " and ".join(limits or ["a finite number"]) + (f" ({self.meaning})" if self.meaning else "")


def check_ranges(config: object) -> None:
    """Check every field of a configuration whose type is ``Annotated`` with a `Range`.

    In a tuple every entry is checked. None is always allowed.

    Args:
      config: a dataclass instance; its nested configurations are not checked.

    Raises:
      ValueError: a number outside its range.
    """
    for name, hint in typing.get_type_hints(type(config), include_extras=True).items():
        allowed = next((each for each in getattr(hint, "__metadata__", ()) if isinstance(each, Range)), None)
        if allowed is None:
            continue
        value = getattr(config, name)
        for number in value if isinstance(value, tuple) else (value,):
            if number is not None and number not in allowed:
                finite = " and finite" if math.isinf(number) else ""
                raise ValueError(f"{name} {number}: must be {allowed}{finite}")


def refuse(cases: Iterable[tuple[object, str]]) -> None:
    """Raise the reason of the first case that holds.

    Args:
      cases: pairs of a condition, which may be any value that is true or false, and the message.

    Raises:
      ValueError: a condition holds.
    """
    for holds, reason in cases:
        if holds:
            raise ValueError(reason)


def refuse_settings(config: object, names: Iterable[str], why: str) -> None:
    """Check that fields that would have no effect are left at their defaults.

    Args:
      config: a dataclass instance.
      names: the fields without effect.
      why: the reason, appended to the field's name and value.

    Raises:
      ValueError: the first field that differs from its default.
    """
    for name in names:
        value = getattr(config, name)
        if value != getattr(type(config), name):
            raise ValueError(f"{name} {value!r}{why}")


def check_at_most(name: str, value: int, most: int, why: str) -> None:
    """Check a number against a limit that the images, or other settings, set.

    Args:
      name: the name of the field.
      value: its value.
      most: the largest value.
      why: the reason for the limit, for the message.

    Raises:
      ValueError: the number is larger.
    """
    if value > most:
        raise ValueError(f"{name} {value}: {why}, so at most {most}")


def check_divides(name: str, value: int, of: str, number: int) -> None:
    """Check that one number divides another.

    Args:
      name: the name of the divisor.
      value: the divisor.
      of: the name of the other number.
      number: the other number.

    Raises:
      ValueError: it does not.
    """
    if number % value:
        raise ValueError(f"{name} {value}: must divide {of} {number}")


def check_sides(user: str, height: int, width: int, least: int) -> None:
    """Check that images are not too small for what reads them.

    Args:
      user: what reads them, for the message, such as "network 'cnn'".
      height: rows of the images.
      width: columns of the images.
      least: the smallest side in pixels.

    Raises:
      ValueError: they are too small.
    """
    if min(height, width) < least:
        raise ValueError(f"{user} on {height}x{width} images: needs at least {least}x{least}")


@contextlib.contextmanager
def explained(what: str, *errors: type[Exception]) -> Iterator[None]:
    """Raise errors again as a ValueError of one line that begins with what they are about.

    Args:
      what: what the errors are about, such as "'images.npz' cannot be read".
      errors: the kinds of errors; ValueError alone if none are given.

    Raises:
      ValueError: the block raised one of them.
    """
    kinds = errors or (ValueError,)
    try:
        yield
    except kinds as error:
        raise ValueError(f"{what}: {error}") from error


def check_values(name: str, values: Sequence[Any]) -> None:
    """Check that there is at least one value, and that none is given twice.

    Args:
      name: the name of the field.
      values: its values.

    Raises:
      ValueError: there is none, or one comes twice.
    """
    if not values:
        raise ValueError(f"{name} {values}: give at least one")
    for index, value in enumerate(values):
        if value in values[:index]:
            raise ValueError(f"{name} {value!r}: given twice")


def check_output(name: str, path: Path | None, *endings: str) -> None:
    """Check that a file can be written at a path, if there is one.

    Args:
      name: the name of the field.
      path: its value.
      endings: those that its name may have, in lower case; any if none are given.

    Raises:
      ValueError: it is a folder, lies in none, or has another ending.
    """
    if path is None:
        return
    ends_otherwise = endings and path.suffix.lower() not in endings
    # A link may lead into another folder.
    has_no_place = path.is_dir() or not Path(os.path.realpath(path)).parent.is_dir()
    refuse(
        (
            (ends_otherwise, f"{name} {str(path)!r}: must end in {' or '.join(endings)}"),
            (has_no_place, f"{name} {str(path)!r}: must be a file in a folder that exists"),
        )
    )


def refuse_file(what: str, folder: Path) -> None:
    """Check that a path where a folder is or will be made is not a file.

    Args:
      what: what the folder is for, for the message.
      folder: the path.

    Raises:
      ValueError: it is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{what} {str(folder)!r} is a file: give a folder")
