"""Cells as processes of this machine, each on its share of the cores."""

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
from experiments.sweeps.directory import begun, cell_folder, read_results
from experiments.sweeps.launchers import Notify, Status, Stop
from experiments.sweeps.logs import last_error, log_path, open_log
from experiments.sweeps.together import How, Job, command, write_jobs

POLL_SECONDS = 0.05
MOST_CELLS = 100

Together = How | Literal["no"]


class Child(NamedTuple):
    """A process, the cells that it runs, the cores it has, and, of several cells, where it tells how far it is."""

    cells: tuple[Cell, ...]
    process: subprocess.Popen[bytes]
    cores: tuple[int, ...]
    events: IO[bytes] | None


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


def parts(cells: Sequence[Cell], jobs: int) -> list[tuple[Cell, ...]]:
    """Cells that are one process each, in order: as many parts as ``jobs``, as equal as can be, or fewer.

    None has more than `MOST_CELLS`, since a process holds the logs of all its cells open.
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
    """Runs cells as processes, ``jobs`` at a time; see `experiments.sweeps.launchers.Execute`.

    With ``together`` other than ``no`` a process runs many cells (see `experiments.sweeps.together`). When it dies,
    the cell that it was at has failed, and those that it did not get to go on in another process; of several that it
    was at, each goes on by itself.
    """
    waiting, running = deque(parts(cells, len(cells) if together == "no" else jobs)), list[Child]()
    cores = available_cores()
    free: list[tuple[int, ...]] = shares(cores, jobs) if cores else [()] * jobs
    signalled, told = 0, dict[Cell, Status]()

    def tell(cell: Cell, status: Status) -> None:
        if told.get(cell) != status:
            told[cell] = status
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
                part = waiting.popleft()
                started, held = _start(part, sweep, free[0], jobs, reports, together)
                if started is not None:
                    free.pop(0)
                    running.append(started)
                for cell in held:
                    if read_results(sweep, cell):
                        tell(cell, Status("finished"))
                    else:
                        waiting.append((cell,))
                        tell(cell, Status("waiting", "for a process that a sweep before this left running"))
            for child in running:
                going = [c for c in child.cells if c not in told or told[c].state not in ("finished", "failed")]
                _follow(child, going, sweep, tell)
            for child in [child for child in running if child.process.poll() is not None]:
                running.remove(child)
                free.insert(0, child.cores)
                waiting.extendleft(reversed(_end(child, sweep, tell, stop)))
            time.sleep(POLL_SECONDS)
    finally:
        for child in running:
            child.process.kill()


def _start(
    cells: tuple[Cell, ...], sweep: Path, cores: tuple[int, ...], jobs: int, reports: bool, together: Together
) -> tuple[Child | None, list[Cell]]:
    """Starts a process, if there is anything for it to do.

    Also tells the cells that it does not run: a process of an earlier sweep runs them, or has just finished them.
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
        held = [cell for cell in cells if cell not in logs]
        if not logs:
            return None, held
        begins = [(cell, cell_folder(sweep, cell), begun(cell_folder(sweep, cell)), log) for cell, log in logs.items()]
        if together == "no":
            ((cell, run_dir, resume, output),) = begins
            line, standard_input = arguments(cell, run_dir, resume=resume, reports=reports), None
            errors, events = output, None
        else:
            line, standard_input = command(together), stack.enter_context(tempfile.TemporaryFile())
            errors, events = begins[0][-1], tempfile.TemporaryFile()  # noqa: SIM115, closed when the process has ended
            output = events
            work = [Job(c.identity(), str(at), resume, reports, log.fileno()) for c, at, resume, log in begins]
            write_jobs(work, standard_input)
            standard_input.seek(0)
        environment = dict(os.environ)
        if jobs > 1:  # Of a GPU, each process would take three quarters.
            environment.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", f"{0.75 / jobs:.4f}")
        before = os.sched_getaffinity(0) if cores else None
        try:
            if cores:
                os.sched_setaffinity(0, cores)  # Of this thread; the child inherits it with its first instruction.
            process = subprocess.Popen(
                [sys.executable, *line],
                stdin=standard_input or subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                env=environment,
                process_group=0,  # Ctrl-C in the terminal goes to the sweep alone, which passes on one.
                pass_fds=[log.fileno() for log in logs.values()],  # And with them their locks.
            )
        finally:
            if before is not None:
                os.sched_setaffinity(0, before)
    return Child(tuple(logs), process, cores, events), held


def _events(child: Child) -> tuple[set[int], set[int]]:
    """Which of its cells a process has begun, and which it is done with, however they ended."""
    if child.events is None:
        return {0}, set()
    said = [line.split() for line in os.pread(child.events.fileno(), 2**20, 0).decode().splitlines(keepends=True)]
    begun, ended = ({int(index) for what, index in said if what == wanted} for wanted in ("begun", "ended"))
    return begun, ended


def _follow(child: Child, cells: Sequence[Cell], sweep: Path, notify: Notify) -> None:
    """Tells which of these cells of a process run, and how those that it is done with ended."""
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


def _end(child: Child, sweep: Path, notify: Notify, stop: Stop) -> list[tuple[Cell, ...]]:
    """Tells how the cells of a process that has ended did; returns, in parts, those that are to go on in others."""
    code, (begun, ended) = child.process.returncode, _events(child)
    if child.events is not None:
        child.events.close()
    at, rest = list[Cell](), list[Cell]()
    for index, cell in enumerate(child.cells):
        log = log_path(cell_folder(sweep, cell))
        if read_results(sweep, cell):
            notify(cell, Status("finished"))
        elif index in ended:
            notify(cell, Status("failed", last_error(log, 1)))
        else:
            (at if index in begun else rest).append(cell)
    if stop.requests:
        for cell in at:
            notify(cell, Status("stopped"))
        return []
    if not at and rest:  # It died before it got to any.
        at, rest = rest[:1], rest[1:]
    if len(at) > 1:
        return [*((cell,) for cell in at), *([tuple(rest)] if rest else [])]
    for cell in at:
        log = log_path(cell_folder(sweep, cell))
        notify(cell, Status("failed", last_error(log, code) if code else f"ended without results; see {log}"))
    return [tuple(rest)] if rest else []
