"""Requests to stop: Ctrl-C and SIGTERM, counted while something runs that must end in order."""

import signal
from types import FrameType


class Stop:
    """A context that counts Ctrl-C and SIGTERM.

    Attributes:
      requests: how many came. One asks for an orderly end, two or more for an immediate one.
    """

    def __init__(self) -> None:
        self.requests = 0

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
