"""Checks the flags of a command line against the fields of a configuration: every mistake is one plain line."""

import typing
from collections.abc import Mapping, Sequence
from typing import Any

from common.names import closest
from experiments.cli.fields import Field, allowed, convert, flags_of, is_bool

# Renamed flags: old field name -> new.
RENAMED = {
    "what_hidden": "glimpse_hidden",
    "where_hidden": "location_hidden",
    "locator_hidden": "location_network_hidden",
    "locator_gradient": "policy_gradient_into",
    "average_decay": "moving_average_decay",
    "baseline_weight": "value_weight",
    "start": "first_location",
    "parameters_from": "init_from",
    "policy": "locations",
    "learn_sigma": "learned_sigma",
}


def check_flags(cls: type, args: Sequence[str]) -> None:
    """Check that the arguments of a command line are flags of a configuration class with values of their types.

    Args:
      cls: the class, a dataclass; classes nested in it have flags without a prefix.
      args: the arguments.

    Raises:
      ValueError: one line that quotes the argument and says what is allowed; or two fields have the same name.
    """
    flags = flags_of(cls)
    if any(arg in ("-h", "--help") for arg in args):
        return
    try:
        _check(flags, list(args))
    except ValueError as error:
        raise ValueError(f"{error}; see --help") from None


def _check(flags: Mapping[str, Field], rest: list[str]) -> None:
    positional, begun = [(name, field) for name, field in flags.items() if field.positional], ""
    while rest:
        arg = rest.pop(0)
        if _is_flag(arg):
            _check_flag(arg, rest, flags)
            positional = [each for each in positional if each[0] != begun]
            continue
        if not positional:
            together = f": give all {begun} one after another, with no flag between them" if begun else ""
            raise ValueError(f"unexpected argument {arg!r}{together}")
        name, field = positional[0]
        begun = name if _takes_many(field.hint) else begun
        _check_value(name, arg, field.hint)
        if not _takes_many(field.hint):
            positional.pop(0)
            for part in typing.get_args(field.hint)[1:] if typing.get_origin(field.hint) is tuple else ():
                if not rest or _is_flag(rest[0]):
                    raise ValueError(f"{name} {arg!r}: give {len(typing.get_args(field.hint))} of them")
                _check_value(name, rest.pop(0), part)
    missing = [name for name, field in positional if not _takes_many(field.hint)]
    if missing:
        raise ValueError(f"{missing[0]} is not given")


def _is_flag(arg: str) -> bool:
    return arg.startswith("--")


def _check_flag(arg: str, rest: list[str], flags: Mapping[str, Field]) -> None:
    """Check one flag, and take its values from the arguments after it."""
    written, equals, value = arg.partition("=")
    name = written.removeprefix("--").replace("-", "_")
    switch = name if name in flags else name.removeprefix("no_")
    if switch in flags and is_bool(flags[switch].hint):
        if equals:
            flag = switch.replace("_", "-")
            raise ValueError(f"{arg}: takes no value, give --{flag} or --no-{flag}")
        return
    if name not in flags or flags[name].positional:
        raise _unknown(written, name, flags)
    hint = flags[name].hint
    values = [value] if equals else []
    while not equals and rest and not _is_flag(rest[0]) and (_takes_many(hint) or not values):
        values.append(rest.pop(0))
    if not values and not _takes_many(hint):
        raise ValueError(f"{written}: its value is missing, give {allowed(_element(hint))}")
    for text in values:
        _check_value(written, text, hint)


def _unknown(written: str, name: str, flags: Mapping[str, Field]) -> ValueError:
    renamed = RENAMED.get(name.removeprefix("no_"))
    if renamed is not None and renamed in flags:
        hint, flag = flags[renamed].hint, renamed.replace("_", "-")
        advice = f"--{flag} or --no-{flag}" if is_bool(hint) else f"--{flag}, which takes {allowed(_element(hint))}"
        return ValueError(f"{written} was renamed to {advice}")
    names = [f"--{flag.replace('_', '-')}" for flag, field in flags.items() if not field.positional]
    return ValueError(f"unknown flag {written}{closest(written, names)}")


def _takes_many(hint: Any) -> bool:
    return typing.get_origin(hint) is tuple and Ellipsis in typing.get_args(hint)


def _element(hint: Any) -> Any:
    return _element(typing.get_args(hint)[0]) if typing.get_origin(hint) is tuple else hint


def _check_value(name: str, text: str, hint: Any) -> None:
    convert(name, text, _element(hint))
