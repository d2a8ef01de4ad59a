"""Command lines: presets, flags, and errors of one line."""

import contextlib
import dataclasses
import io
import os
import re
import shlex
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn, TypeVar

import tyro
from jax.errors import JaxRuntimeError

from common.names import unknown

Config = TypeVar("Config")


def fail(message: str) -> NoReturn:
    """Prints one line on standard error and exits with status 2."""
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)


@contextlib.contextmanager
def user_errors(*kinds: type[Exception]) -> Iterator[None]:
    """Turns errors of these kinds into one line and exit status 2.

    By default those are ValueError, OSError, and what Python and JAX raise where there is too little memory.
    """
    caught = kinds or (ValueError, OSError, MemoryError, JaxRuntimeError)
    try:
        yield
    except caught as error:
        told = str(error).splitlines()[0] if isinstance(error, JaxRuntimeError) else str(error)
        fail(f"too little memory: {told}".rstrip(": ") if isinstance(error, MemoryError) else told)


@contextlib.contextmanager
def interruptible(message: str) -> Iterator[None]:
    """Turns Ctrl-C into one line on standard error and exit status 130.

    From here on Ctrl-C raises KeyboardInterrupt again, which `experiments` has switched off while Python imports.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        print(message, file=sys.stderr)
        sys.exit(130)


def parse_preset(
    prog: str, description: str, presets: Mapping[str, tuple[str, Config]], args: Sequence[str]
) -> tuple[str, Config]:
    """Parses ``PRESET [flags]``.

    Args:
      prog: what is typed before it, for the help.
      description: first line of the help.
      presets: by name, the line that the help shows and the configuration.
      args: the command line after the program's name.

    Returns:
      The preset's name, and its configuration with the flags applied. Exits on ``--help`` and on errors.
    """
    args = list(args)
    if args and not args[0].startswith("-") and args[0] not in presets:
        fail(str(unknown("preset", args[0], presets)))
    if not args:
        fail(f"no preset given: choose from {', '.join(presets)} (see --help)")
    config = run_tyro(
        lambda: tyro.extras.overridable_config_cli(
            dict(presets), prog=prog, description=description, args=args, config=(tyro.conf.OmitArgPrefixes,)
        )
    )
    return args[0], config


def resume_command(module: str, args: Sequence[str]) -> str:
    """What to type in order to go on with the run that ``python -m experiments.MODULE ARGS`` began."""
    kept = [arg for arg in args if arg not in ("--overwrite", "--no-overwrite", "--resume", "--no-resume")]
    return shlex.join([sys.orig_argv[0], "-m", f"experiments.{module}", *kept, "--resume"])


def run_tyro(call: Any) -> Any:
    """Runs a tyro parser, and folds the box that it prints on an error into one line.

    Who reads the help may stop reading, as in ``--help | head``.
    """
    captured = io.StringIO()
    try:
        with contextlib.redirect_stderr(captured):
            return _until_unread(call)
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        fail(_fold(captured.getvalue()))


def _until_unread(call: Any) -> Any:
    try:
        try:
            return call()
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # Else Python would flush once more at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def _fold(box: str) -> str:
    """One line of tyro's box: what is wrong, and the flags or presets that may have been meant."""
    lines = [line.strip("│ ") for line in re.sub(r"\x1b\[[\d;]*m", "", box).strip().splitlines()]
    if lines[0].startswith("╭"):
        lines[0] = ""
    else:  # Where the terminal has no such characters the title is a line of its own, with a rule below.
        lines[:2] = []
    wrong, *more = re.split(r"^[─-]{5,}$", "\n".join(lines), flags=re.MULTILINE)
    said = [" ".join(wrong.partition("Got errors:")[0].split()).rstrip(".")]
    for part in more:
        if "Perhaps you meant" in part:
            flags = dict.fromkeys(re.findall(r"^--[a-z-]+", part, re.MULTILINE))
            said.append(f"perhaps you meant {' or '.join(flags)}")
        elif "Available subcommands" in part:
            said.append(" ".join(part.replace("Available subcommands", "presets").split()))
    line = "; ".join([*said, "see --help"]).removeprefix("Error parsing ")
    line = line.replace("could not convert string to float:", "must be a number, not")
    return line.replace("invalid literal for int() with base 10:", "must be a whole number, not")


def with_output(config: Any, **changes: Any) -> Any:
    """A configuration with changed fields of its `output` part."""
    return dataclasses.replace(config, output=dataclasses.replace(config.output, **changes))
