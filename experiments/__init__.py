"""The commands. Nothing outside this folder parses flags, draws plots or writes reports."""

import contextlib
import logging
import os
import signal
import sys
import tempfile

from experiments.cli.streams import keep_writable

# Python sets this while it imports for `python -m`.
IS_COMMAND = sys.argv[:1] == ["-m"]
if IS_COMMAND:
    # Imports take seconds, and a Ctrl-C during them would print tracebacks of libraries, or be lost in one. Until
    # `command_line.interruptible` it ends the program silently.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    keep_writable()
    # Pictures are drawn into files, and notebooks set a backend that other programs lack. What Matplotlib says of fonts
    # and of its cache folder changes no picture.
    os.environ.pop("MPLBACKEND", None)
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    # Nor do the user's settings, which it reads while it is imported. If their file cannot be decoded, that would fail.
    os.environ["MATPLOTLIBRC"] = os.devnull
    if os.path.exists("matplotlibrc"):  # A file here would come first.
        with tempfile.TemporaryDirectory() as empty, contextlib.chdir(empty):
            import matplotlib  # noqa: F401
try:
    import fcntl  # noqa: F401, locks run directories
except ImportError:
    MISSING = "experiments run on Linux and macOS, and on Windows in WSL: this Python has no module fcntl"
    if not IS_COMMAND:
        raise ImportError(MISSING) from None
    print(f"error: {MISSING}", file=sys.stderr)
    sys.exit(2)
