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
from tyro.constructors import ConstructorRegistry, StructConstructorSpec, StructFieldSpec, StructTypeInfo

from common.checks import Range
from common.names import check_name


class Field(NamedTuple):
    """A field of a configuration.

    Attributes:
      path: attribute names from the configuration down to it.
      hint: its type.
      help: what it means.
      range: the numbers that it may hold, in words; empty for no limit.
      positional: it is an argument without a flag.
    """

    path: tuple[str, ...]
    hint: Any
    help: str
    range: str
    positional: bool = False


def fields_of(cls: type) -> Mapping[str, Field]:
    """Return the fields that identify a run, by name: those of a configuration class but for its `output`."""
    return {name: field for name, field in flags_of(cls).items() if field.path[0] != "output"}


@functools.cache
def flags_of(cls: type) -> Mapping[str, Field]:
    """Return all fields of a class and of the classes nested in it, by name.

    Raises:
      ValueError: two fields have the same name, which would be one flag.
    """
    fields: dict[str, Field] = {}
    for field in _walk(cls, ()):
        name = field.path[-1]
        if name in fields:
            first, second = (".".join(each.path) for each in (fields[name], field))
            raise ValueError(f"{cls.__name__} has two fields {name!r}, {first} and {second}: give one another name")
        fields[name] = field
    return fields


def _walk(cls: type, path: tuple[str, ...]) -> Iterator[Field]:
    hints, texts = typing.get_type_hints(cls, include_extras=True), _docstrings(cls)
    for field in dataclasses.fields(cls):
        hint, *marks = typing.get_args(hints[field.name]) if _is_annotated(hints[field.name]) else (hints[field.name],)
        if dataclasses.is_dataclass(hint):
            yield from _walk(typing.cast(type, hint), (*path, field.name))
        else:
            text, bounds = texts.get(field.name, ""), range_of(hints[field.name])
            yield Field((*path, field.name), hint, text, bounds, positional=_POSITIONAL in marks)


@functools.cache
def _docstrings(cls: type) -> Mapping[str, str]:
    """Return the docstrings of a dataclass's fields by name, each on one line."""
    # The parser reads the source of one class, so the docstrings of inherited fields are read from the base classes.
    documented = [base for base in reversed(cls.__mro__) if dataclasses.is_dataclass(base)]
    params = [param for base in documented for param in docstring_parser.parse_from_object(base).params]
    return {param.arg_name: " ".join((param.description or "").split()) for param in params}


def range_of(hint: Any) -> str:
    """Describe the range of an annotated type; empty if it has none."""
    return next((str(mark) for mark in getattr(hint, "__metadata__", ()) if isinstance(mark, Range)), "")


# How tyro reads a configuration class: as any dataclass, but with our help.
HELP = ConstructorRegistry()


@HELP.struct_rule
def _with_help(info: StructTypeInfo) -> StructConstructorSpec | None:
    """Add the range of each field to its help, which tyro would also break at the line ends of the source."""
    if not dataclasses.is_dataclass(info.type) or info.type.__module__.startswith("tyro"):
        return None
    hints, texts, fields = typing.get_type_hints(info.type, include_extras=True), _docstrings(info.type), []
    for field in dataclasses.fields(info.type):
        default = getattr(info.default, field.name, field.default)
        default = tyro.MISSING if default is dataclasses.MISSING else default
        hint, text = hints[field.name], texts.get(field.name, "")
        bounds = range_of(hint)
        fields.append(StructFieldSpec(field.name, hint, default, f"{text} Must be {bounds}." if bounds else text))
    return StructConstructorSpec(info.type, tuple(fields))


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


def convert(name: str, text: str, hint: Any) -> Any:
    """Read a value of type ``hint`` from text, as `str` writes it.

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
        raise ValueError  # NaN differs from itself, so a sweep would never find the cell again.
    return hint(text) if hint in (int, float, Path) else text
