"""Command lines: the only folder that reads, writes, logs or plots."""

import signal
import sys

if sys.argv[:1] == ["-m"]:
    # So Python names the program while it imports for `python -m`. Imports take seconds, in which a Ctrl-C would end in
    # tracebacks of libraries, or be lost in one: until `command_line.interruptible` hears it, it just ends the program.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
