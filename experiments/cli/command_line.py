"""Command lines: presets, flags, and errors of one line."""

import atexit
import contextlib
import os
import shlex
import signal
import sys
import sysconfig
import threading
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import tyro
from jax.errors import JaxRuntimeError

from common.names import check_name
from experiments import IS_COMMAND
from experiments.cli.device import keep_programs, require_device
from experiments.cli.fields import HELP
from experiments.cli.flags import check_flags

Config = TypeVar("Config")
# The folders of Python's own modules and of installed packages.
_INSTALLED = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}


def fail(message: str) -> NoReturn:
    """Print one line on standard error and exit with status 2."""
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)


@contextlib.contextmanager
def user_errors(*kinds: type[Exception]) -> Iterator[None]:
    """Turn errors of these kinds into one line and exit status 2.

    By default those are ValueError, OSError, what Python and JAX raise where there is too little memory, and every
    error of code of the user's own, with the line of that code. So is a call of ``exit()`` in such code.
    """
    caught = kinds or (ValueError, OSError, MemoryError, JaxRuntimeError)
    try:
        yield
    except (Exception, SystemExit) as error:
        place, exits = own_line(error), isinstance(error, SystemExit)
        if (exits and place is None) or not (exits or isinstance(error, caught) or (place and not kinds)):
            raise
        message = str(error).splitlines()[0] if isinstance(error, JaxRuntimeError) else str(error)
        if isinstance(error, MemoryError):
            message = f"too little memory: {message}".rstrip(": ")
        elif not isinstance(error, caught):
            message = explain(error)
        fail(f"{message} ({place})" if place else message)


def explain(error: BaseException) -> str:
    """Return the kind and the first line of an error."""
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"


def own_line(error: BaseException) -> str | None:
    """Return the innermost line of code of the user's own that an error, or its cause, passed: ``mine.py, line 3``."""
    root = Path(__file__).parents[2]
    not_own = [
        *(root / name for name in ("common", "ram", "dram", "stn", "experiments", "tests")),
        *map(Path, _INSTALLED),
    ]
    place, cause = None, error  # type: str | None, BaseException | None
    while cause is not None:
        for frame, line in traceback.walk_tb(cause.__traceback__):
            path = Path(frame.f_code.co_filename)
            if path.suffix == ".py" and not any(path.is_relative_to(folder) for folder in not_own):
                place = f"{path.name}, line {line}"
        cause = cause.__cause__
    return place


@contextlib.contextmanager
def interruptible(message: str) -> Iterator[None]:
    """Turn Ctrl-C into one line on standard error and exit status 130.

    It makes Ctrl-C raise KeyboardInterrupt again, which `experiments` switches off while Python imports.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if IS_COMMAND:
        sys.unraisablehook = _repeat_interrupt
    try:
        yield
    except KeyboardInterrupt:
        print(message, file=sys.stderr)
        exit_interrupted()


@contextlib.contextmanager
def computing(interrupted: str, *kinds: type[Exception]) -> Iterator[None]:
    """Ask for the device, keep compiled programs, and turn Ctrl-C and errors of what a command computes into one line.

    Args:
      interrupted: the line after Ctrl-C (see `interruptible`).
      kinds: of the errors (see `user_errors`).
    """
    with interruptible(interrupted), user_errors(*kinds):
        require_device()
        keep_programs()
        yield


def exit_interrupted() -> NoReturn:
    """Exit with status 130, and without Python's finalisation if this process is a command.

    The finalisation can crash while JAX computes in the background.
    """
    if IS_COMMAND:
        atexit.register(_end_process, 130)
    sys.exit(130)


def _end_process(status: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _repeat_interrupt(unraisable: Any) -> None:
    """Repeat a Ctrl-C that came where Python drops exceptions, such as JAX's callback of the garbage collector."""
    if issubclass(unraisable.exc_type, KeyboardInterrupt):
        main = threading.main_thread().ident
        threading.Timer(1.0, signal.pthread_kill, (main, signal.SIGINT)).start()  # The collection takes a while.
    else:
        sys.__unraisablehook__(unraisable)


def parse_preset(
    prog: str, description: str, presets: Mapping[str, tuple[str, Config]], args: Sequence[str]
) -> tuple[str, Config]:
    """Parse ``PRESET [flags]``. Exits on ``--help``, and with one line on a mistake.

    Args:
      prog: the command, for the help.
      description: first line of the help.
      presets: by name, the line that the help shows and the configuration.
      args: the command line after the command.

    Returns:
      The preset's name, and its configuration with the flags applied.
    """
    args = list(args)
    if not args:
        fail(f"no preset given: choose from {', '.join(presets)} (see --help)")
    if args[0] in presets:
        with user_errors():
            check_flags(type(presets[args[0]][1]), args[1:])
    elif not args[0].startswith("-"):
        with user_errors():
            check_name("preset", args[0], presets)
    elif not any(arg in ("-h", "--help") for arg in args):
        fail(f"{args[0]}: the preset must come before the flags; presets: {', '.join(presets)}; see --help")
    config = tyro.extras.overridable_config_cli(
        dict(presets),
        prog=prog,
        description=description,
        args=args,
        config=(tyro.conf.OmitArgPrefixes,),
        registry=HELP,
    )
    return args[0], config


def parse(cls: type[Config], prog: str, args: Sequence[str], description: str | None = None) -> Config:
    """Parse the flags of a configuration class. Exits on ``--help``, and with one line on a mistake.

    Args:
      cls: a dataclass, whose docstring is the first line of the help.
      prog: the command, for the help.
      args: the command line after the command.
      description: first line of the help instead of the docstring.
    """
    with user_errors():
        check_flags(cls, args)
    return tyro.cli(
        cls, prog=prog, args=args, description=description, config=(tyro.conf.OmitArgPrefixes,), registry=HELP
    )


def resume_command(command: str, args: Sequence[str]) -> str:
    """Return the command that resumes the run which ``python -m COMMAND ARGS`` began."""
    kept = [arg for arg in args if arg not in ("--overwrite", "--no-overwrite", "--resume", "--no-resume")]
    return python_command("-m", *command.split(), *kept, "--resume")


def python_command(*args: str) -> str:
    """Return the command that runs this Python with arguments, quoted for a shell."""
    return shlex.join([sys.orig_argv[0], *args])
