"""The folder of a sweep: a run directory for each cell, named by its identity, and the files of the sweep."""

import contextlib
import fcntl
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common.checks import explained, refuse_file
from experiments.output.results_shape import explain_misfit
from experiments.runs.warm_start import is_resumed
from experiments.sweeps.cells import Cell
from experiments.sweeps.study import Plan
from experiments.training.config import from_json
from experiments.training.run_directory import MARKER, holds_work, read_json, write_sealed

SWEEP, LOCK = "sweep.json", "sweep.lock"


@contextlib.contextmanager
def open_sweep(folder: Path, plan: Plan) -> Iterator[None]:
    """Make or reopen the folder of a sweep, and lock it against other sweeps meanwhile.

    Raises:
      ValueError: the folder is in use, cannot be written, or holds something else, such as a sweep of another preset.
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
                    ": give another folder (--sweep-dir), or delete this one"
                )
    unwritable = f"sweep directory {str(folder)!r} cannot be written"
    with explained(unwritable, OSError):
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / LOCK).open("a")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(f"sweep directory {str(folder)!r} is in use by another sweep: wait for its end") from error
        with explained(unwritable, OSError):
            write_sealed(folder / SWEEP, plan.to_json())
            (folder / "cells").mkdir(exist_ok=True)
        yield


def cell_folder(folder: Path, cell: Cell) -> Path:
    """Return the run directory of a cell."""
    return folder / "cells" / cell.id


def read_results(folder: Path, cell: Cell) -> dict[str, Any] | None:
    """Return the content of a cell's ``results.json``; None if the cell has not finished."""
    try:
        results = read_json(cell_folder(folder, cell) / "results.json")
    except ValueError:
        return None
    return results if explain_misfit(results) is None and _is_config_of(cell, results["config"]) else None


def _is_config_of(cell: Cell, saved: Any) -> bool:
    """Return True if a saved configuration is that of a cell; fields that it lacks have their defaults."""
    try:
        return from_json(type(cell.config), saved) == cell.config
    except (TypeError, ValueError):
        return False


def is_continued(folder: Path, cell: Cell) -> bool:
    """Return True if a cell has finished or resumes from a checkpoint."""
    return is_resumed(cell_folder(folder, cell), resume=True) or read_results(folder, cell) is not None


def has_run(run_dir: Path) -> bool:
    """Return True if a run directory holds a run to resume.

    A folder without a configuration, left by a process that was killed early, is deleted: a new run would refuse it.
    One that holds work has lost its configuration, and is kept for that run to refuse.
    """
    if (run_dir / MARKER).is_file():
        return True
    if run_dir.is_dir() and not holds_work(run_dir):
        shutil.rmtree(run_dir)
    return False


def count_other_cells(folder: Path, plan: Plan) -> int:
    """Count the finished cells in the folder that do not belong to the plan."""
    planned = {cell.id for cell in plan.cells}
    return sum(path.parent.name not in planned for path in (folder / "cells").glob("*/results.json"))
