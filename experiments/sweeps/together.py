"""Several cells in one process, which the local launcher starts: ``python -m experiments.sweeps.together MODE``.

Cells whose programs differ only in seeds and continuous hyperparameters are compiled once. They then run in turn, or at
once, batched with `jax.vmap`.
"""

import contextlib
import functools
import json
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any, Literal

import jax

from experiments.cli.command_line import python_command
from experiments.cli.console import print_line
from experiments.families import find_family
from experiments.runs.preparation import build
from experiments.runs.run import run
from experiments.sweeps.batched import BatchedRun, train_batched
from experiments.sweeps.cells import Cell, arguments
from experiments.sweeps.shared_programs import SharedPrograms, program_digest
from experiments.training import run_directory
from experiments.training.config import from_json, load_dataset

Mode = Literal["auto", "in_turn", "vmap"]


@dataclass(frozen=True)
class Job:
    """A cell in the input of the process.

    Attributes:
      identity: what identifies its run (see `experiments.runs.preparation.identity`).
      run_dir: the run directory.
      resume: resume the run in the run directory.
      reports: draw the plots and the report of the run.
      log: the file descriptor of its log.
    """

    identity: dict[str, Any]
    run_dir: str
    resume: bool
    reports: bool
    log: int

    @functools.cached_property
    def cell(self) -> Cell:
        """Return the cell."""
        family = find_family(self.identity["family"])
        config = from_json(family.experiment, self.identity["config"])
        output = replace(config.output, run_dir=Path(self.run_dir), resume=self.resume, plots=self.reports)
        return Cell(family, self.identity["preset"], replace(config, output=output))

    def resume_command(self) -> str:
        """Return the command that resumes the cell alone."""
        return python_command(*arguments(self.cell, Path(self.run_dir), resume=True, reports=self.reports))


def command(mode: Mode) -> list[str]:
    """Return the arguments of ``python`` that start the process; `write_jobs` makes its standard input."""
    return ["-m", "experiments.sweeps.together", mode]


def write_jobs(jobs: Sequence[Job], file: IO[bytes]) -> None:
    """Write the standard input of the process."""
    file.write(json.dumps([asdict(job) for job in jobs]).encode())


def main() -> None:
    """Run the cells that standard input lists; exit with status 130 if stopped.

    The output of a cell goes to its log. Standard output gets ``begun I`` and ``ended I`` for the cell at place I.
    """
    mode, events = sys.argv[1], os.dup(1)
    jobs = [Job(**job) for job in json.load(sys.stdin)]
    places = {job.run_dir: place for place, job in enumerate(jobs)}

    def write_event(name: str, group: Sequence[Job]) -> None:
        os.write(events, "".join(f"{name} {places[job.run_dir]}\n" for job in group).encode())

    programs, load = SharedPrograms(), functools.lru_cache(maxsize=1)(load_dataset)
    # On a CPU batching is slower: it turns convolutions into grouped ones.
    batches = jax.default_backend() != "cpu" if mode == "auto" else mode == "vmap"
    if batches:
        work = [(group, functools.partial(_run_batch, group, programs, load)) for group in _groups(jobs, load)]
    else:
        work = [([job], functools.partial(_run_alone, job, programs, load)) for job in jobs]
    for group, run_group in work:
        write_event("begun", group)
        _run_guarded(group, run_group)
        write_event("ended", group)


def _run_guarded(jobs: Sequence[Job], work: Callable[[], None]) -> None:
    """Run work with its output in the first job's log. Only a stop ends the process; exceptions go to the log."""
    _redirect_output(jobs[0])
    try:
        work()
    except SystemExit as stop:
        if stop.code == 130:
            raise
    except Exception:
        traceback.print_exc()


def _redirect_output(job: Job) -> None:
    sys.stdout.flush()
    for stream in (1, 2):
        os.dup2(job.log, stream)


def _run_alone(job: Job, programs: SharedPrograms, load: Any) -> None:
    cell = job.cell
    run(cell.family, cell.config, cell.preset, job.resume_command(), load=load, make=programs)


def _groups(jobs: Sequence[Job], load: Any) -> list[list[Job]]:
    """Group the jobs that one program can batch. Networks that see the whole image are not batched."""
    groups: dict[Any, list[Job]] = {}
    for job in jobs:
        key: Any = job.run_dir
        with contextlib.suppress(ValueError, OSError):  # A bad cell fails in its own run, with its message.
            dataset = load(job.cell.config.data)
            model = build(job.cell.family, job.cell.config, dataset).model
            if model.stochastic:
                key = program_digest(job.cell.config, model, dataset)
        groups.setdefault(key, []).append(job)
    return list(groups.values())


def _run_batch(jobs: Sequence[Job], programs: SharedPrograms, load: Any) -> None:
    """Run a group in one batched program; run its cells one by one if that fails as a whole."""
    if len(jobs) > 1:
        try:
            with contextlib.ExitStack() as locks:
                for job in jobs:
                    locks.enter_context(run_directory.locked(Path(job.run_dir)))
                return _run_batched(jobs, programs, load)
        except Exception:
            traceback.print_exc()
            print_line("the batched program failed; running its cells one by one")
    for job in jobs:
        has_begun = (Path(job.run_dir) / run_directory.MARKER).is_file()
        single = replace(job, resume=job.resume or has_begun)
        _run_guarded([single], functools.partial(_run_alone, single, programs, load))


def _run_batched(jobs: Sequence[Job], programs: SharedPrograms, load: Any) -> None:
    """Train a group in one program, then finish its runs one by one, each into its own log."""
    for job in jobs[1:]:
        os.write(job.log, f"trains in one program with {jobs[0].run_dir}; see its log\n".encode())
    runs = [BatchedRun(job.cell.family, job.cell.config, job.cell.preset, Path(job.run_dir)) for job in jobs]
    finishers: list[Callable[[], None]] = train_batched(runs, programs, load)
    for job, finish in zip(jobs, finishers, strict=True):
        _run_guarded([job], finish)


if __name__ == "__main__":
    main()
