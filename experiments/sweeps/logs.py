"""The log of a cell. Whoever runs the cell holds a lock on it, even when the sweep that started it is dead."""

import fcntl
from pathlib import Path
from typing import BinaryIO

from experiments.training.run_directory import MARKER

LOG = "log.txt"


def log_path(run_dir: Path) -> Path:
    """Where the log of a run lies: in its folder, or beside it until the run has made its folder.

    A run accepts no folder that holds something already, so the log moves in once the run has begun.
    """
    inside, beside = run_dir / LOG, run_dir.with_name(f"{run_dir.name}.log")
    if (run_dir / MARKER).is_file():
        if beside.is_file():
            beside.replace(inside)
        return inside
    return beside


def open_log(run_dir: Path) -> BinaryIO | None:
    """Opens the log of a run to be added to, and locks it; None where a process holds it.

    The lock is kept by every process that inherits the file, and ends with the last of them.
    """
    file = log_path(run_dir).open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def last_error(log: Path, code: int) -> str:
    """Why a process failed: its last line that begins with ``error:``, or else its last line, or its signal.

    The log may hold earlier processes, so an ``error:`` before the last traceback is not the reason.
    """
    if code < 0:
        return f"killed by signal {-code}"
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines()] if log.is_file() else []
    lines = [line for line in lines if line]
    begin = max((index for index, line in enumerate(lines) if line.startswith("Traceback")), default=0)
    lines = lines[begin:]
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return (errors or lines or [f"exit status {code}"])[-1]
