"""The fields of a configuration as flags: their names, types and help, and values read from text."""

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import docstring_parser
import tyro

from common.names import check_name


class Field(NamedTuple):
    """A field of a configuration.

    Attributes:
      path: attribute names from the configuration down to it.
      hint: its type.
      help: what its flag's help says.
      positional: it is an argument without a flag.
    """

    path: tuple[str, ...]
    hint: Any
    help: str
    positional: bool = False


def fields_of(cls: type) -> Mapping[str, Field]:
    """Return the fields that identify a run, by name: those of a configuration class but for its `output`."""
    return {name: field for name, field in flags_of(cls).items() if field.path[0] != "output"}


@functools.cache
def flags_of(cls: type) -> Mapping[str, Field]:
    """Return all fields of a class and of the classes nested in it, by name."""
    return {field.path[-1]: field for field in _walk(cls, ())}


def _walk(cls: type, path: tuple[str, ...]) -> Iterator[Field]:
    hints = typing.get_type_hints(cls, include_extras=True)
    # Of the classes that it inherits fields from, too: a docstring is found in the source of its own class alone.
    documented = [base for base in reversed(cls.__mro__) if dataclasses.is_dataclass(base)]
    texts = {
        param.arg_name: param.description
        for base in documented
        for param in docstring_parser.parse_from_object(base).params
    }
    for field in dataclasses.fields(cls):
        hint, *marks = typing.get_args(hints[field.name]) if _is_annotated(hints[field.name]) else (hints[field.name],)
        if dataclasses.is_dataclass(hint):
            yield from _walk(typing.cast(type, hint), (*path, field.name))
        else:
            text = " ".join((texts.get(field.name) or "").split())
            yield Field((*path, field.name), hint, text, positional=_POSITIONAL in marks)


def _is_annotated(hint: Any) -> bool:
    return typing.get_origin(hint) is typing.Annotated


# The mark by which tyro knows an argument without a flag.
_POSITIONAL = typing.get_args(tyro.conf.Positional[int])[1]


def find_field(fields: Mapping[str, Field], name: str) -> str:
    """Return the name of a field from how people write it, such as ``--num-glimpses``.

    Raises:
      ValueError: there is none.
    """
    plain = name.removeprefix("--").replace("-", "_")
    check_name("field", plain, fields)
    return plain


def get(config: Any, path: tuple[str, ...]) -> Any:
    """Return the value at a path of attribute names."""
    for name in path:
        config = getattr(config, name)
    return config


def replace(config: Any, path: tuple[str, ...], value: Any) -> Any:
    """Return a configuration with another value at a path of attribute names."""
    head, *rest = path
    new = replace(getattr(config, head), tuple(rest), value) if rest else value
    return dataclasses.replace(config, **{head: new})


def is_bool(hint: Any) -> bool:
    """Check if a field is a switch."""
    return hint is bool


def allowed(hint: Any) -> str:
    """Describe what a field of this type takes."""
    if typing.get_origin(hint) is typing.Literal:
        return f"one of {', '.join(map(str, typing.get_args(hint)))}"
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        return " or ".join(allowed(part) for part in typing.get_args(hint))
    words = {int: "a whole number", float: "a number", bool: "True or False", type(None): "None", Path: "a path"}
    return words.get(hint, "text")


def to_text(value: Any) -> str:
    """Return a value as the command line takes it; `convert` reads it back."""
    return str(value)


def convert(name: str, text: str, hint: Any) -> Any:
    """Read a value of type ``hint`` from text.

    Raises:
      ValueError: the text spells none; quotes it and says what is allowed.
    """
    is_union = isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union
    options = typing.get_args(hint) if is_union else (hint,)
    # None first, since any text is a string too.
    for option in sorted(options, key=lambda option: option is not type(None)):
        try:
            return _convert(text, option)
        except (KeyError, ValueError):
            continue
    raise ValueError(f"{name} {text!r}: must be {allowed(hint)}")


def _convert(text: str, hint: Any) -> Any:
    choices = {bool: (True, False), type(None): (None,)}.get(hint, typing.get_args(hint))
    if choices:
        return {str(choice): choice for choice in choices}[text]
    if hint is float and math.isnan(float(text)):
        raise ValueError  # No two are the same, so no cell with one would ever be found again.
    return hint(text) if hint in (int, float, Path) else text
