"""The folder of a sweep: a folder of each cell by its identity, and what the driver writes beside them."""

import contextlib
import fcntl
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from common.checks import refuse_file
from experiments.sweeps.cells import Cell
from experiments.sweeps.study import Plan
from experiments.training.config import from_json
from experiments.training.run_directory import MARKER, read_json, write_json
from experiments.training.warm_start import is_resumed

SWEEP, LOCK = "sweep.json", "sweep.lock"


@contextlib.contextmanager
def open_sweep(folder: Path, plan: Plan) -> Iterator[None]:
    """Makes or reopens the folder of a sweep, and keeps other sweeps out of it meanwhile.

    Raises:
      ValueError: it is no folder of a sweep of this family and preset, cannot be written, or is in use.
    """
    refuse_file("sweep directory", folder)
    if folder.exists() and {path.name for path in folder.iterdir()} - {LOCK} and not (folder / SWEEP).is_file():
        raise ValueError(f"sweep directory {str(folder)!r} holds no {SWEEP} of a sweep: give another --sweep-dir")
    if (folder / SWEEP).is_file():
        saved = read_json(folder / SWEEP)
        for name in ("family", "preset"):
            now = getattr(plan.study, name)
            if saved.get(name) != now:
                raise ValueError(
                    f"sweep directory {str(folder)!r} belongs to a sweep of the {name} {saved.get(name)!r}, now {now!r}"
                    ": give another --sweep-dir"
                )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / LOCK).open("a")
    except OSError as error:
        raise ValueError(f"sweep directory {str(folder)!r} cannot be written: {error}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(f"sweep directory {str(folder)!r} is in use by another sweep: wait for its end") from error
        try:
            write_json(folder / SWEEP, plan.to_json())
            (folder / "cells").mkdir(exist_ok=True)
        except OSError as error:
            raise ValueError(f"sweep directory {str(folder)!r} cannot be written: {error}") from error
        yield


def cell_folder(folder: Path, cell: Cell) -> Path:
    """The folder of a cell's run."""
    return folder / "cells" / cell.id


def read_results(folder: Path, cell: Cell) -> dict[str, Any] | None:
    """What ``results.json`` of a cell holds, or None where it has not finished."""
    try:
        results = read_json(cell_folder(folder, cell) / "results.json")
    except ValueError:
        return None
    return results if _is_of(cell, results.get("config")) and isinstance(results.get("test"), Mapping) else None


def _is_of(cell: Cell, saved: Any) -> bool:
    """Whether this is the configuration of a cell, given the defaults of fields that are newer than it."""
    try:
        return from_json(type(cell.config), saved) == cell.config
    except (TypeError, ValueError):
        return False


def continued(folder: Path, cell: Cell) -> bool:
    """Whether a cell has finished or goes on from a checkpoint."""
    return is_resumed(cell_folder(folder, cell), resume=True) or read_results(folder, cell) is not None


def begun(run_dir: Path) -> bool:
    """Whether there is a run to go on with.

    A folder that was killed before its configuration was written is cleared away, since the run would refuse it.
    """
    if (run_dir / MARKER).is_file():
        return True
    if run_dir.is_dir():
        shutil.rmtree(run_dir)
    return False


def other_cells(folder: Path, plan: Plan) -> int:
    """How many finished cells the folder keeps that are not of the plan."""
    asked = {cell.id for cell in plan.cells}
    return sum(path.parent.name not in asked for path in (folder / "cells").glob("*/results.json"))
