"""Cells as processes of this machine, each on its share of the cores."""

import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from experiments.sweeps.cells import Cell, arguments
from experiments.sweeps.directory import begun, cell_folder, read_results
from experiments.sweeps.launchers import Notify, Status, Stop
from experiments.sweeps.logs import last_error, log_path, open_log

POLL_SECONDS = 0.05


class Child(NamedTuple):
    """A cell that runs, and the cores it has."""

    cell: Cell
    process: subprocess.Popen[bytes]
    cores: tuple[int, ...]


def shares(cores: Sequence[int], jobs: int) -> list[tuple[int, ...]]:
    """The cores of each of ``jobs`` cells at a time.

    All shares are of one size, and a cell keeps its share when others have ended: how many threads add up the terms of
    a sum can change its last bit, and so what a cell learns.
    """
    each = max(len(cores) // jobs, 1)
    return [tuple(cores[(job * each + index) % len(cores)] for index in range(each)) for job in range(jobs)]


def available_cores() -> list[int]:
    """The cores that this process may use; none where the system cannot say which."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def execute(
    cells: Sequence[Cell], sweep: Path, notify: Notify, stop: Stop, *, jobs: int = 1, reports: bool = False
) -> None:
    """Runs cells as processes, ``jobs`` at a time; see `experiments.sweeps.launchers.Execute`."""
    waiting, running = deque(cells), list[Child]()
    cores = available_cores()
    free: list[tuple[int, ...]] = shares(cores, jobs) if cores else [()] * jobs
    signalled = 0
    try:
        while running or (waiting and not stop.asked):
            if stop.asked > signalled:
                signalled = stop.asked
                for child in running:
                    child.process.send_signal(signal.SIGTERM)
            for _ in range(0 if stop.asked else len(waiting)):
                if not free:
                    break
                cell = waiting.popleft()
                started = _start(cell, sweep, free[0], jobs, reports)
                if started is not None:
                    free.pop(0)
                    running.append(started)
                    notify(cell, Status("running"))
                elif read_results(sweep, cell):
                    notify(cell, Status("finished"))
                else:
                    waiting.append(cell)
                    notify(cell, Status("waiting", "for a process that a sweep before this left running"))
            for child in [child for child in running if child.process.poll() is not None]:
                running.remove(child)
                free.insert(0, child.cores)
                notify(child.cell, _ended(child, sweep, stop))
            time.sleep(POLL_SECONDS)
    finally:
        for child in running:
            child.process.kill()


def _start(cell: Cell, sweep: Path, cores: tuple[int, ...], jobs: int, reports: bool) -> Child | None:
    """Starts a cell; None where a process of an earlier sweep runs it, or has just finished it."""
    run_dir = cell_folder(sweep, cell)
    log = open_log(run_dir)
    if log is None:
        return None
    with log:
        if read_results(sweep, cell):
            return None
        resume = begun(run_dir)
        environment = dict(os.environ)
        if jobs > 1:  # Of a GPU, each process would take three quarters.
            environment.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", f"{0.75 / jobs:.4f}")
        before = os.sched_getaffinity(0) if cores else None
        try:
            if cores:
                os.sched_setaffinity(0, cores)  # Of this thread; the child inherits it with its first instruction.
            process = subprocess.Popen(
                [sys.executable, *arguments(cell, run_dir, resume=resume, reports=reports)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                process_group=0,  # Ctrl-C in the terminal goes to the sweep alone, which passes on one.
            )
        finally:
            if before is not None:
                os.sched_setaffinity(0, before)
    return Child(cell, process, cores)


def _ended(child: Child, sweep: Path, stop: Stop) -> Status:
    log = log_path(cell_folder(sweep, child.cell))
    code = child.process.returncode
    if code == 0 and read_results(sweep, child.cell):
        return Status("finished")
    if stop.asked:
        return Status("stopped")
    if code == 0:
        return Status("failed", f"ended without results; see {log}")
    return Status("failed", last_error(log, code))
