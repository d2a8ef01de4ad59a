"""Requests to stop: Ctrl-C and polite kills, heard while something runs that can be left in order."""

import signal
from types import FrameType


class Stop:
    """Counts Ctrl-C and polite kills, while it is entered: ``asked`` is 1 to stop politely, more to stop at once."""

    def __init__(self) -> None:
        self.asked = 0

    def __enter__(self) -> "Stop":
        self._before = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked += 1
