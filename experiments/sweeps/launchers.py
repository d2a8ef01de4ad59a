"""The interface behind which cells are run, and what it reports."""

import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Literal, NamedTuple

from experiments.sweeps.cells import Cell


class Status(NamedTuple):
    """Where a cell stands: its state, and why it failed or what it waits for."""

    state: Literal["waiting", "running", "finished", "failed", "stopped"]
    detail: str = ""


Notify = Callable[[Cell, Status], None]


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


# A launcher: ``(cells, sweep, notify, stop)``. It runs cells, none of which is finished, in whatever order and company,
# until each has ended or a stop is asked for; leaves the run of each in ``cell_folder(sweep, cell)``; and calls notify,
# in this thread, whenever the status of a cell changes. It gets all the cells at once, so that one which can train
# several in one program may group them by their configuration.
Execute = Callable[[Sequence[Cell], Path, Notify, Stop], None]
