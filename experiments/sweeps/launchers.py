"""The interface behind which cells are run, and what it reports."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from experiments.cli.stopping import Stop
from experiments.sweeps.cells import Cell


class Status(NamedTuple):
    """Where a cell stands: its state, and why it failed or what it waits for."""

    state: Literal["waiting", "running", "finished", "failed", "stopped"]
    detail: str = ""


Notify = Callable[[Cell, Status], None]

# A launcher: ``(cells, sweep, notify, stop)``. It runs cells, none of which is finished, in whatever order and company,
# until each has ended or a stop is asked for; leaves the run of each in ``cell_folder(sweep, cell)``; and calls notify,
# in this thread, whenever the status of a cell changes. It gets all the cells at once, so that one which can train
# several in one program may group them by their configuration.
Execute = Callable[[Sequence[Cell], Path, Notify, Stop], None]
