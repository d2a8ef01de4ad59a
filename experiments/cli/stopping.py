"""Requests to stop: Ctrl-C, SIGTERM and a closed terminal, counted while something runs that must end in order."""

import contextlib
import signal
from collections.abc import Callable
from types import FrameType

# What asks for a stop; Windows has no SIGHUP.
_REQUESTS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Stop:
    """A context that counts Ctrl-C, SIGTERM and SIGHUP, which a closed terminal sends.

    An ignored SIGHUP stays ignored: so `nohup` has it. A closed terminal counts once, though it may send several.

    Args:
      announce: ``signal number -> None``, called at the first request; prints its effect.

    Attributes:
      requests: how many came. One asks for an orderly end, two or more for an immediate one.
    """

    def __init__(self, announce: Callable[[int], None] = lambda number: None) -> None:
        self.requests, self._announce, self._is_hung_up = 0, announce, False

    def __enter__(self) -> "Stop":
        counted = [number for number in _REQUESTS if not _is_ignored_hangup(number)]
        self._before = {number: signal.signal(number, self._count_request) for number in counted}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _count_request(self, number: int, frame: FrameType | None) -> None:
        if is_hangup(number) and self._is_hung_up:
            return
        self._is_hung_up |= is_hangup(number)
        self.requests += 1
        if self.requests == 1:
            with contextlib.suppress(RuntimeError):  # The signal came in the middle of another line.
                self._announce(number)


def is_hangup(number: int) -> bool:
    """Check if a signal says that the terminal was closed."""
    return number == getattr(signal, "SIGHUP", None)


def _is_ignored_hangup(number: int) -> bool:
    return is_hangup(number) and signal.getsignal(number) is signal.SIG_IGN
