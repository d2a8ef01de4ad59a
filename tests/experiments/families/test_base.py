"""The fields that say which choices read them name fields and choices that exist, in all families."""

import dataclasses
import typing

import pytest

from common.unread import ReadBy
from experiments.families import FAMILIES


def _marks(config):
    """Yield each mark of a configuration and of those nested in it, with the type of the field that it names."""
    hints = typing.get_type_hints(type(config), include_extras=True)
    for name, hint in hints.items():
        for mark in getattr(hint, "__metadata__", ()):
            if isinstance(mark, ReadBy):
                yield mark, typing.get_type_hints(type(config))[mark.field]
        value = getattr(config, name)
        if dataclasses.is_dataclass(value):
            yield from _marks(value)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)
def test_marks_name_choices_of_another_field(family):
    marks = list(_marks(family.experiment()))
    assert marks
    for mark, hint in marks:
        choices = (True, False) if hint is bool else typing.get_args(hint)
        if choices:  # A field that takes names of the user's own has none.
            assert set(mark.values) < set(choices), (mark.field, mark.values)
