"""The interface of launchers, which run cells, and the statuses that they report."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from experiments.cli.stopping import Stop
from experiments.sweeps.cells import Cell


class Status(NamedTuple):
    """The state of a cell, and the reason of a failure or a wait."""

    state: Literal["waiting", "running", "finished", "failed", "stopped"]
    detail: str = ""


Notify = Callable[[Cell, Status], None]

# A launcher: ``(cells, sweep, notify, stop) -> None``. It runs unfinished cells, in any order, until each has ended or
# a stop is requested. It leaves the run of each in ``cell_folder(sweep, cell)``. It calls notify, in this thread,
# whenever the status of a cell changes. It gets all cells at once, so it can train several in one program.
Execute = Callable[[Sequence[Cell], Path, Notify, Stop], None]
