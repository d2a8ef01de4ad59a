"""The log of a cell. The process that runs the cell locks it, even when the sweep that started it is dead."""

import fcntl
from pathlib import Path
from typing import BinaryIO

from experiments.training.run_directory import MARKER

LOG = "log.txt"


def log_path(run_dir: Path) -> Path:
    """Return the path of a run's log: in the run directory, or beside it until the run has made its directory.

    A run refuses a folder that is not empty, so the log moves into it once the run has begun.
    """
    inside, beside = run_dir / LOG, run_dir.with_name(f"{run_dir.name}.log")
    if (run_dir / MARKER).is_file():
        if beside.is_file():
            beside.replace(inside)
        return inside
    return beside


def open_log(run_dir: Path) -> BinaryIO | None:
    """Open the log of a run for appending, and lock it; return None if another process has locked it.

    Every process that inherits the file keeps the lock. The lock ends with the last of them.
    """
    file = log_path(run_dir).open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def last_error(log: Path, code: int) -> str:
    """Return the reason why a process failed: its signal, its last ``error:`` line, or its last line.

    An ``error:`` line before the last traceback is not the reason, since it may come from an earlier process.
    """
    if code < 0:
        return f"killed by signal {-code}"
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines()] if log.is_file() else []
    lines = [line for line in lines if line]
    begin = max((index for index, line in enumerate(lines) if line.startswith("Traceback")), default=0)
    lines = lines[begin:]
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return (errors or lines or [f"exit status {code}"])[-1]
