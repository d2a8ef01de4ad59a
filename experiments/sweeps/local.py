"""The local launcher: cells as processes of this machine, each on its own group of cores."""

import contextlib
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Literal, NamedTuple

from experiments.sweeps.cells import Cell, arguments
from experiments.sweeps.directory import cell_folder, has_run, read_results
from experiments.sweeps.launchers import Notify, Status, Stop
from experiments.sweeps.logs import last_error, log_path, open_log
from experiments.sweeps.together import Job, Mode, command, write_jobs

POLL_SECONDS = 0.05
MOST_CELLS = 100
ENDED = ("finished", "failed")

Together = Mode | Literal["no"]


class Child(NamedTuple):
    """A process that runs cells.

    Attributes:
      cells: the cells that it runs, in order.
      process: the process.
      cores: the cores that it may use.
      events: its standard output, where it reports which cells have begun and ended; None for a process of one cell.
    """

    cells: tuple[Cell, ...]
    process: subprocess.Popen[bytes]
    cores: tuple[int, ...]
    events: IO[bytes] | None


def core_groups(cores: Sequence[int], jobs: int) -> list[tuple[int, ...]]:
    """Return the cores of each of ``jobs`` processes that run at a time.

    All groups have the same size, and a process keeps its group when others have ended: the number of threads can
    change the last bit of a sum, and so the result of a run.
    """
    size = max(len(cores) // jobs, 1)
    return [tuple(cores[(job * size + index) % len(cores)] for index in range(size)) for job in range(jobs)]


def available_cores() -> list[int]:
    """Return the cores that this process may use; none if the system does not report them."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def split_cells(cells: Sequence[Cell], jobs: int) -> list[tuple[Cell, ...]]:
    """Split cells, in order, into groups of about the same size, one for each process.

    There are ``jobs`` groups, fewer for few cells, and more where a group would have more than `MOST_CELLS` cells:
    a process holds the logs of all its cells open.
    """
    size = min(math.ceil(len(cells) / jobs), MOST_CELLS)
    return [tuple(cells[start : start + size]) for start in range(0, len(cells), size)]


def execute(
    cells: Sequence[Cell],
    sweep: Path,
    notify: Notify,
    stop: Stop,
    *,
    jobs: int = 1,
    reports: bool = False,
    together: Together = "no",
) -> None:
    """Run cells as processes, ``jobs`` at a time; see `experiments.sweeps.launchers.Execute`.

    Unless ``together`` is ``no``, a process runs many cells (see `experiments.sweeps.together`). If it dies, its
    current cell has failed, and another process runs the cells that it had not begun. If it was training several cells
    at once, each of them runs again in a process of its own.
    """
    waiting, running = deque(split_cells(cells, len(cells) if together == "no" else jobs)), list[Child]()
    cores = available_cores()
    free: list[tuple[int, ...]] = core_groups(cores, jobs) if cores else [()] * jobs
    signalled, statuses = 0, dict[Cell, Status]()

    def notify_change(cell: Cell, status: Status) -> None:
        if statuses.get(cell) != status:
            statuses[cell] = status
            notify(cell, status)

    try:
        while running or (waiting and not stop.requests):
            if stop.requests > signalled:
                signalled = stop.requests
                for child in running:
                    child.process.send_signal(signal.SIGTERM)
            for _ in range(0 if stop.requests else len(waiting)):
                if not free:
                    break
                group = waiting.popleft()
                started, locked = _start(group, sweep, free[0], jobs, reports, together)
                if started is not None:
                    free.pop(0)
                    running.append(started)
                for cell in locked:
                    if read_results(sweep, cell):
                        notify_change(cell, Status("finished"))
                    else:
                        waiting.append((cell,))
                        notify_change(cell, Status("waiting", "for a process that an earlier sweep left running"))
            for child in running:
                open_cells = [c for c in child.cells if c not in statuses or statuses[c].state not in ENDED]
                _report_progress(child, open_cells, sweep, notify_change)
            for child in [child for child in running if child.process.poll() is not None]:
                running.remove(child)
                free.insert(0, child.cores)
                waiting.extendleft(reversed(_report_end(child, sweep, notify_change, stop)))
            time.sleep(POLL_SECONDS)
    finally:
        for child in running:
            child.process.kill()


def _start(
    cells: tuple[Cell, ...], sweep: Path, cores: tuple[int, ...], jobs: int, reports: bool, together: Together
) -> tuple[Child | None, list[Cell]]:
    """Start a process for cells.

    Returns:
      The process, None if no cell is left for it; and the cells that it does not run, because a process of an earlier
      sweep holds their logs or has just finished them.
    """
    with contextlib.ExitStack() as stack:
        logs: dict[Cell, IO[bytes]] = {}
        for cell in cells:
            log = open_log(cell_folder(sweep, cell))
            if log is None:
                continue
            stack.enter_context(log)
            if not read_results(sweep, cell):
                logs[cell] = log
        locked = [cell for cell in cells if cell not in logs]
        if not logs:
            return None, locked
        starts = [
            (cell, cell_folder(sweep, cell), has_run(cell_folder(sweep, cell)), log) for cell, log in logs.items()
        ]
        if together == "no":
            ((cell, run_dir, resume, output),) = starts
            line, standard_input = arguments(cell, run_dir, resume=resume, reports=reports), None
            errors, events = output, None
        else:
            line, standard_input = command(together), stack.enter_context(tempfile.TemporaryFile())
            errors, events = starts[0][-1], tempfile.TemporaryFile()  # noqa: SIM115, closed by _report_end
            output = events
            job_list = [
                Job(c.identity(), str(folder), resume, reports, log.fileno()) for c, folder, resume, log in starts
            ]
            write_jobs(job_list, standard_input)
            standard_input.seek(0)
        environment = dict(os.environ)
        if jobs > 1:  # By default a process takes three quarters of a GPU.
            environment.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", f"{0.75 / jobs:.4f}")
        before = os.sched_getaffinity(0) if cores else None
        try:
            if cores:
                os.sched_setaffinity(0, cores)  # The child inherits the cores of this thread.
            process = subprocess.Popen(
                [sys.executable, *line],
                stdin=standard_input or subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                env=environment,
                process_group=0,  # Ctrl-C in the terminal reaches the sweep alone, which passes it on.
                pass_fds=[log.fileno() for log in logs.values()],  # The child inherits their locks.
            )
        finally:
            if before is not None:
                os.sched_setaffinity(0, before)
    return Child(tuple(logs), process, cores, events), locked


def _events(child: Child) -> tuple[set[int], set[int]]:
    """Return the indices of the cells that a process has begun, and of those that have ended in any way."""
    if child.events is None:
        return {0}, set()
    events = [line.split() for line in os.pread(child.events.fileno(), 2**20, 0).decode().splitlines(keepends=True)]
    begun, ended = ({int(index) for kind, index in events if kind == name} for name in ("begun", "ended"))
    return begun, ended


def _report_progress(child: Child, cells: Sequence[Cell], sweep: Path, notify: Notify) -> None:
    """Report which of these cells of a process are running, and how the others ended."""
    begun, ended = _events(child)
    for index, cell in enumerate(child.cells):
        folder = cell_folder(sweep, cell)
        if cell not in cells:
            continue
        if (folder / "results.json").is_file() and read_results(sweep, cell):
            notify(cell, Status("finished"))
        elif index in ended:
            notify(cell, Status("failed", last_error(log_path(folder), 1)))
        elif index in begun:
            notify(cell, Status("running"))


def _report_end(child: Child, sweep: Path, notify: Notify, stop: Stop) -> list[tuple[Cell, ...]]:
    """Report how the cells of an ended process ended; return the groups of cells that other processes must run."""
    code, (begun, ended) = child.process.returncode, _events(child)
    if child.events is not None:
        child.events.close()
    current, not_begun = list[Cell](), list[Cell]()
    for index, cell in enumerate(child.cells):
        log = log_path(cell_folder(sweep, cell))
        if read_results(sweep, cell):
            notify(cell, Status("finished"))
        elif index in ended:
            notify(cell, Status("failed", last_error(log, 1)))
        else:
            (current if index in begun else not_begun).append(cell)
    if stop.requests:
        for cell in current:
            notify(cell, Status("stopped"))
        return []
    if not current and not_begun:  # The process died before its first cell.
        current, not_begun = not_begun[:1], not_begun[1:]
    if len(current) > 1:
        return [*((cell,) for cell in current), *([tuple(not_begun)] if not_begun else [])]
    for cell in current:
        log = log_path(cell_folder(sweep, cell))
        notify(cell, Status("failed", last_error(log, code) if code else f"ended without results; see {log}"))
    return [tuple(not_begun)] if not_begun else []
