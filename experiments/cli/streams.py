"""Standard streams that nobody reads, or that do not exist: what is written to them is lost, and nothing else is."""

import errno
import io
import os
import sys
from typing import Any, TextIO

# The reader has ended, or its terminal was closed.
_UNREAD = (errno.EPIPE, errno.EIO)


class _Patient(io.FileIO):
    """A file whose writes succeed after its reader has ended."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)  # type: ignore[return-value]
        except OSError as error:
            if error.errno not in _UNREAD:
                raise
            return memoryview(data).nbytes


def keep_writable() -> None:
    """Make writes to standard output and error succeed, whoever reads them and whatever is written.

    A missing stream is opened on nothing: otherwise the next file that is opened would take its number, and get what
    libraries write. A stream whose reader has ended, as by ``| head``, is written to without effect. Characters that
    the encoding of a stream lacks are escaped.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # Takes the lowest free number, which is this one.
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115
    sys.stdout, sys.stderr = _patient(sys.stdout, 1), _patient(sys.stderr, 2)


def _patient(stream: TextIO | None, number: int) -> TextIO:
    buffer = io.BufferedWriter(_Patient(number, "w", closefd=False))
    if not isinstance(stream, io.TextIOWrapper):
        return io.TextIOWrapper(buffer, "utf-8", "backslashreplace")
    lines, at_once = stream.line_buffering, stream.write_through
    return io.TextIOWrapper(buffer, stream.encoding, "backslashreplace", line_buffering=lines, write_through=at_once)


def is_watched() -> bool:
    """Check if a person looks at standard error: it is a terminal, and not that of a build machine."""
    dumb = os.environ.get("TERM") in ("dumb", "unknown")
    return sys.stderr is not None and sys.stderr.isatty() and not dumb and not os.environ.get("CI")
