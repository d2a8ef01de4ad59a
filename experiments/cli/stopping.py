"""Requests to stop: Ctrl-C and SIGTERM, counted while something runs that must end in order."""

import contextlib
import signal
from collections.abc import Callable
from types import FrameType


class Stop:
    """A context that counts Ctrl-C and SIGTERM.

    Args:
      announce: ``signal number -> None``, called at the first request; prints its effect.

    Attributes:
      requests: how many came. One asks for an orderly end, two or more for an immediate one.
    """

    def __init__(self, announce: Callable[[int], None] = lambda number: None) -> None:
        self.requests, self._announce = 0, announce

    def __enter__(self) -> "Stop":
        self._before = {
            number: signal.signal(number, self._count_request) for number in (signal.SIGINT, signal.SIGTERM)
        }
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _count_request(self, number: int, frame: FrameType | None) -> None:
        self.requests += 1
        if self.requests == 1:
            with contextlib.suppress(RuntimeError):  # The signal came in the middle of another line.
                self._announce(number)
