"""The commands. Nothing outside this folder parses flags, draws plots or writes reports."""

import signal
import sys

# Python sets this while it imports for `python -m`.
IS_COMMAND = sys.argv[:1] == ["-m"]
if IS_COMMAND:
    # Imports take seconds, and a Ctrl-C during them would print tracebacks of libraries, or be lost in one. Until
    # `command_line.interruptible` it ends the program silently.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
