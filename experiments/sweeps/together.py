"""Several cells in one process: ``python -m experiments.sweeps.together``, which a launcher starts.

Cells whose programs are the same but for seeds and continuous hyperparameters are compiled once. They then run in turn,
or, batched with `jax.vmap`, at once.
"""

import contextlib
import functools
import json
import os
import shlex
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any, Literal

import jax

from experiments.cli.command_line import with_output
from experiments.cli.console import print_line
from experiments.families import find_family
from experiments.sweeps.batched import BatchedRun, train_batched
from experiments.sweeps.cells import Cell, arguments
from experiments.sweeps.shared_programs import SharedPrograms, program_digest
from experiments.training import run_directory
from experiments.training.config import from_json, load_dataset
from experiments.training.run import build, run

How = Literal["auto", "in_turn", "vmap"]


@dataclass(frozen=True)
class Job:
    """A cell as a process gets it.

    Attributes:
      identity: its family, preset and configuration.
      run_dir: the folder of its run.
      resume: go on with what is there.
      reports: draw the plots and the report of the run.
      log: file descriptor of its log.
    """

    identity: dict[str, Any]
    run_dir: str
    resume: bool
    reports: bool
    log: int

    @functools.cached_property
    def cell(self) -> Cell:
        """The cell."""
        family = find_family(self.identity["family"])
        config = from_json(family.experiment, self.identity["config"])
        output = {"run_dir": Path(self.run_dir), "resume": self.resume, "plots": self.reports}
        return Cell(family, self.identity["preset"], with_output(config, **output))

    def resume_command(self) -> str:
        """Return the command that resumes the cell alone."""
        line = arguments(self.cell, Path(self.run_dir), resume=True, reports=self.reports)
        return shlex.join([sys.orig_argv[0], *line])


def command(how: How) -> list[str]:
    """What follows ``python`` on the command line of the process; `write_jobs` makes its standard input."""
    return ["-m", "experiments.sweeps.together", how]


def write_jobs(jobs: Sequence[Job], file: IO[bytes]) -> None:
    """Writes what the process reads from its standard input."""
    file.write(json.dumps([asdict(job) for job in jobs]).encode())


def main() -> None:
    """Runs the cells that standard input names; exits with status 130 if it was stopped.

    What it prints goes to the logs; its standard output gets ``begun I`` and ``ended I`` for the place of a cell in the
    input.
    """
    how, events = sys.argv[1], os.dup(1)
    jobs = [Job(**job) for job in json.load(sys.stdin)]
    places = {job.run_dir: place for place, job in enumerate(jobs)}

    def tell(what: str, of: Sequence[Job]) -> None:
        os.write(events, "".join(f"{what} {places[job.run_dir]}\n" for job in of).encode())

    programs, load = SharedPrograms(), functools.lru_cache(maxsize=1)(load_dataset)
    # What batching saves on an accelerator it loses on a CPU; of convolutions it makes grouped ones, which are slow.
    batches = jax.default_backend() != "cpu" if how == "auto" else how == "vmap"
    if batches:
        work = [(group, functools.partial(_run_batch, group, programs, load)) for group in _groups(jobs, load)]
    else:
        work = [([job], functools.partial(_run_alone, job, programs, load)) for job in jobs]
    for group, run_group in work:
        tell("begun", group)
        _guarded(group, run_group)
        tell("ended", group)


def _guarded(jobs: Sequence[Job], work: Any) -> None:
    """Works with the output going to the first job's log, and to the end whatever happens to it, but for a stop."""
    _write_to(jobs[0])
    try:
        work()
    except SystemExit as stop:
        if stop.code == 130:
            raise
    except Exception:
        traceback.print_exc()


def _write_to(job: Job) -> None:
    sys.stdout.flush()
    for stream in (1, 2):
        os.dup2(job.log, stream)


def _run_alone(job: Job, programs: SharedPrograms, load: Any) -> None:
    cell = job.cell
    run(cell.family, cell.config, cell.preset, job.resume_command(), load=load, compile=programs)


def _groups(jobs: Sequence[Job], load: Any) -> list[list[Job]]:
    """Group the jobs that one program can batch; networks that see the whole image are not batched."""
    groups: dict[Any, list[Job]] = {}
    for job in jobs:
        key: Any = job.run_dir
        with contextlib.suppress(ValueError, OSError):  # The run of a bad cell says what is wrong with it.
            dataset = load(job.cell.config.data)
            model = build(job.cell.family, job.cell.config, dataset).model
            if model.stochastic:
                key = program_digest(job.cell.config, model, dataset)
        groups.setdefault(key, []).append(job)
    return list(groups.values())


def _run_batch(jobs: Sequence[Job], programs: SharedPrograms, load: Any) -> None:
    """Runs a group in one batched program, or, where that fails as a whole, one by one."""
    if len(jobs) > 1:
        try:
            with contextlib.ExitStack() as held:
                for job in jobs:
                    held.enter_context(run_directory.locked(Path(job.run_dir)))
                return _run_batched(jobs, programs, load)
        except Exception:
            traceback.print_exc()
            print_line("running one by one what failed together")
    for job in jobs:
        begun = (Path(job.run_dir) / run_directory.MARKER).is_file()
        one = replace(job, resume=job.resume or begun)
        _guarded([one], functools.partial(_run_alone, one, programs, load))


def _run_batched(jobs: Sequence[Job], programs: SharedPrograms, load: Any) -> None:
    """Train a group in one program, then finish its runs one by one, each into its own log."""
    for job in jobs[1:]:
        os.write(job.log, f"runs together with {jobs[0].run_dir}, see there\n".encode())
    runs = [BatchedRun(job.cell.family, job.cell.config, job.cell.preset, Path(job.run_dir)) for job in jobs]
    finishers: list[Callable[[], None]] = train_batched(runs, programs, load)
    for job, finish in zip(jobs, finishers, strict=True):
        _guarded([job], finish)


if __name__ == "__main__":
    main()
