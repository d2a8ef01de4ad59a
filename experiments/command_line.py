"""Command lines: presets, flags, and errors of one line."""

import contextlib
import dataclasses
import difflib
import io
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn, TypeVar

import tyro

Config = TypeVar("Config")


def fail(message: str) -> NoReturn:
    """Prints one line on standard error and exits with status 2."""
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)


@contextlib.contextmanager
def user_errors(*kinds: type[Exception]) -> Iterator[None]:
    """Turns errors of these kinds (by default ValueError and OSError) into one line and exit status 2."""
    try:
        yield
    except kinds or (ValueError, OSError) as error:
        fail(str(error))


def parse_preset(
    prog: str, description: str, presets: Mapping[str, tuple[str, Config]], args: Sequence[str]
) -> tuple[str, Config]:
    """Parses ``PRESET [flags]``.

    Args:
      prog: the command, for the help.
      description: first line of the help.
      presets: by name, the line that the help shows and the configuration.
      args: the command line after the program's name.

    Returns:
      The preset's name, and its configuration with the flags applied. Exits on ``--help`` and on errors.
    """
    args = list(args)
    if args and not args[0].startswith("-") and args[0] not in presets:
        close = difflib.get_close_matches(args[0], presets, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        fail(f"unknown preset {args[0]!r}: {hint}choose from {', '.join(presets)}")
    if not args:
        fail(f"no preset given: choose from {', '.join(presets)} (see --help)")
    config = run_tyro(
        lambda: tyro.extras.overridable_config_cli(
            dict(presets), prog=prog, description=description, args=args, config=(tyro.conf.OmitArgPrefixes,)
        )
    )
    return args[0], config


def run_tyro(call: Any) -> Any:
    """Runs a tyro parser, and folds the box that it prints on an error into one line."""
    captured = io.StringIO()
    try:
        with contextlib.redirect_stderr(captured):
            return call()
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        fail(_fold(captured.getvalue()))


def _fold(box: str) -> str:
    lines = [re.sub(r"^[│|]\s?|\s*[│|]$", "", line).strip() for line in box.splitlines()]
    lines = [line for line in lines if line and not re.match(r"^[╭╰]", line)]
    parts = re.split(r"─{5,}", " ".join(lines))
    kept = [part.strip() for part in parts if "full help" not in part and "Argument helptext" not in part]
    return "; ".join(part for part in kept if part) or box


def with_output(config: Any, **changes: Any) -> Any:
    """A configuration with changed fields of its `output` part."""
    return dataclasses.replace(config, output=dataclasses.replace(config.output, **changes))
