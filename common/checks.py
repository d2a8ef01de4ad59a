"""Checks of configurations: one line that quotes the bad value and says what is allowed."""

from collections.abc import Iterable
from pathlib import Path

from common import LARGEST

# Episodes are unrolled in the compiled program, which takes long to compile beyond this.
MOST_GLIMPSES = 200
# Compilers crash on arrays of many more.
MOST_PARAMETERS = 10**9


def require_at_least(config: object, least: int, *names: str) -> None:
    """Raises a `ValueError` that quotes the first of these fields that is smaller, infinite, or no number."""
    for name in names:
        value = getattr(config, name)
        if not least <= value:
            raise ValueError(f"{name} {value}: must be at least {least}")
        if not value < LARGEST:
            raise ValueError(f"{name} {value}: must be below {LARGEST:g}")


def require_at_most(config: object, most: int, *names: str) -> None:
    """Raises a `ValueError` that quotes the first of these fields that is larger."""
    for name in names:
        if getattr(config, name) > most:
            raise ValueError(f"{name} {getattr(config, name)}: must be at most {most}")


def refuse_settings(config: object, names: Iterable[str], why: str) -> None:
    """Raises a `ValueError` that quotes the first of these fields that has not its default, and says why it must."""
    for name in names:
        value = getattr(config, name)
        if value != getattr(type(config), name):
            raise ValueError(f"{name} {value!r}{why}")


def validate_parameters(number: int) -> None:
    """Checks that a model has not too many parameters.

    Raises:
      ValueError: one line that quotes it and says what is allowed.
    """
    if number > MOST_PARAMETERS:
        raise ValueError(f"the model has {number:,} parameters: must be at most {MOST_PARAMETERS:,}")


def refuse_file(what: str, folder: Path) -> None:
    """Raises a `ValueError` that names what a path is for if it is a file, where a folder is or can be made."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{what} {str(folder)!r} is a file: give a folder")
