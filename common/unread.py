"""Settings that nothing reads: a run refuses to change them, since that would have no effect.

A field that only some choices of another field read says so in its type::

    momentum: Annotated[float, Range(0, below=1), ReadBy("optimizer", "sgd")] = 0.9

What users plug in reads a setting if it names an argument or a field for it (`explain_unread`).
"""

import dataclasses
import typing
from collections.abc import Iterator
from typing import Any

from common.extensions import Extension


class ReadBy:
    """The values of another field of the same configuration with which a field is read.

    Attributes:
      field: the name of the other field.
      values: its values.
    """

    def __init__(self, field: str, *values: str | bool):
        self.field, self.values = field, values

    def explain(self, config: object) -> str | None:
        """Return why the field has no effect in a configuration; None if it is read."""
        value = getattr(config, self.field)
        if value in self.values:
            return None
        others = "" if isinstance(value, bool) else _only(self.values)
        return f" with {self.field} {value!r}{others}"


def unread_settings(config: object) -> dict[str, str]:
    """Return the fields of a configuration, and of those nested in it, that are not read, each with the reason.

    A reason is the end of a message with the field's name and value. If a nested configuration is not read, none of its
    fields is.
    """
    return dict(_unread(config, None))


def _unread(config: Any, reason: str | None) -> Iterator[tuple[str, str]]:
    for name, hint in typing.get_type_hints(type(config), include_extras=True).items():
        marks = [mark for mark in getattr(hint, "__metadata__", ()) if isinstance(mark, ReadBy)]
        why = reason or next((text for mark in marks if (text := mark.explain(config))), None)
        value = getattr(config, name)
        if dataclasses.is_dataclass(value):
            yield from _unread(value, why)
        elif why:
            yield name, why


def explain_unread(argument: str, *chosen: tuple[Extension, str]) -> str | None:
    """Return why a setting has no effect, as the end of a message with its name and value; None if something reads it.

    Args:
      argument: the argument, or the field of a class, that receives the setting.
      chosen: kinds that may receive it, each with the name of the chosen one.
    """
    if any(kind.receives(kind.resolve(name), argument) for kind, name in chosen):
        return None
    readers = {
        kind.name: tuple(each for each, value in kind.built_in.items() if kind.receives(value, argument))
        for kind, _ in chosen
    }
    kind, name = next(((kind, name) for kind, name in chosen if readers[kind.name]), chosen[0])
    if ":" in name or not readers[kind.name]:
        return f" with {kind.name} {name!r}: it names no argument or field {argument}"
    return f" with {kind.name} {name!r}{_only(readers[kind.name])}"


def _only(readers: tuple[str | bool, ...]) -> str:
    return f": only {', '.join(map(repr, readers))} read{'s' * (len(readers) == 1)} it"
