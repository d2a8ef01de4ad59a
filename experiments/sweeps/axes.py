"""The fields of a configuration by their flat names: their types, their help, and values read from text."""

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import docstring_parser

from common.names import unknown


class Field(NamedTuple):
    """A field of a configuration.

    Attributes:
      path: attribute names from the configuration down to it.
      hint: its type.
      help: what its flag's help says.
    """

    path: tuple[str, ...]
    hint: Any
    help: str


def fields_of(cls: type) -> Mapping[str, Field]:
    """The fields of a configuration class and of the classes nested in it, by name; not those of `output`."""
    return _fields_of(cls)


@functools.cache
def _fields_of(cls: type) -> Mapping[str, Field]:
    return {field.path[-1]: field for field in _walk(cls, ()) if field.path[0] != "output"}


def _walk(cls: type, path: tuple[str, ...]) -> Iterator[Field]:
    hints = typing.get_type_hints(cls)
    said = {param.arg_name: param.description for param in docstring_parser.parse_from_object(cls).params}
    for field in dataclasses.fields(cls):
        hint = hints[field.name]
        if dataclasses.is_dataclass(hint):
            yield from _walk(typing.cast(type, hint), (*path, field.name))
        else:
            yield Field((*path, field.name), hint, " ".join((said.get(field.name) or "").split()))


def find_field(fields: Mapping[str, Field], name: str) -> str:
    """The name of a field as it stands in the configuration, from how people write it: ``--num-glimpses``.

    Raises:
      ValueError: there is none.
    """
    plain = name.removeprefix("--").replace("-", "_")
    if plain not in fields:
        raise unknown("field", name, fields)
    return plain


def get(config: Any, path: tuple[str, ...]) -> Any:
    """The value at a path of attribute names."""
    for name in path:
        config = getattr(config, name)
    return config


def replace(config: Any, path: tuple[str, ...], value: Any) -> Any:
    """A configuration with another value at a path of attribute names."""
    head, *rest = path
    new = replace(getattr(config, head), tuple(rest), value) if rest else value
    return dataclasses.replace(config, **{head: new})


def is_bool(hint: Any) -> bool:
    """Whether a field is a switch."""
    return hint is bool


def allowed(hint: Any) -> str:
    """What a field of this type takes, in words."""
    if typing.get_origin(hint) is typing.Literal:
        return f"one of {', '.join(map(str, typing.get_args(hint)))}"
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        return " or ".join(allowed(part) for part in typing.get_args(hint))
    known = {int: "a whole number", float: "a number", bool: "True or False", str: "text", type(None): "None"}
    return known[hint]


def to_text(value: Any) -> str:
    """A value as the command line takes it; `convert` reads it back."""
    return str(value)


def convert(name: str, text: str, hint: Any) -> Any:
    """The value of a field of type ``hint`` that ``text`` spells.

    Raises:
      ValueError: none; quotes the text and says what is allowed.
    """
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    # None first, since any text is a string too.
    for option in sorted(options, key=lambda option: option is not type(None)):
        try:
            return _convert(text, option)
        except ValueError:
            continue
    raise ValueError(f"{name} {text!r}: must be {allowed(hint)}")


def _convert(text: str, hint: Any) -> Any:
    choices = {bool: (True, False), type(None): (None,)}.get(hint, typing.get_args(hint))
    if choices:
        by_text = {str(choice): choice for choice in choices}
        if text not in by_text:
            raise ValueError
        return by_text[text]
    if hint is float and math.isnan(float(text)):
        raise ValueError  # No two are the same, so no cell with one would ever be found again.
    return hint(text)
