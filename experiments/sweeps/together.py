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
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array

from common.data import Dataset
from common.training.step import Hyper, TrainState
from experiments.cli.command_line import fail, with_output
from experiments.models import Built, build, identity, observer
from experiments.sweeps.cells import Cell, arguments
from experiments.sweeps.models import find_preset
from experiments.training import run_directory
from experiments.training.config import WholeImageExperiment, from_json, load_dataset
from experiments.training.loop import Interrupted, Run, configured_hyper, say, train
from experiments.training.programs import General, Programs, SharedPrograms, program_digest
from experiments.training.provenance import add_start, digest
from experiments.training.run import finish, run
from experiments.training.warm_start import begin, goes_on

How = Literal["auto", "in_turn", "vmap"]


@dataclass(frozen=True)
class Job:
    """A cell as a process gets it.

    Attributes:
      identity: its model, preset and configuration.
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
        model, preset = self.identity["model"], self.identity["preset"]
        config = from_json(type(find_preset(model, preset)), self.identity["config"])
        output = {"run_dir": Path(self.run_dir), "resume": self.resume, "plots": self.reports}
        return Cell(model, preset, with_output(config, **output))

    def again(self) -> str:
        """What to type in order to go on with it alone."""
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
    run(job.cell.config, job.cell.preset, job.again(), load=load, compile=programs)


def _groups(jobs: Sequence[Job], load: Any) -> list[list[Job]]:
    """The jobs that can be batched, each group in one program; networks that see the whole image are not."""
    groups: dict[Any, list[Job]] = {}
    for job in jobs:
        experiment, key = job.cell.config, job.run_dir
        if not isinstance(experiment, WholeImageExperiment):
            # What is wrong with it, its own run will say.
            with contextlib.suppress(ValueError, OSError):
                dataset = load(experiment.data)
                key = program_digest(experiment, build(experiment, dataset).model, dataset)
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
            say("running one by one what failed together")
    for job in jobs:
        begun = (Path(job.run_dir) / run_directory.MARKER).is_file()
        again = replace(job, resume=job.resume or begun)
        _guarded([again], functools.partial(_run_alone, again, programs, load))


def _run_batched(jobs: Sequence[Job], programs: SharedPrograms, load: Any) -> None:
    """Those that are not after the same step run one group after another."""
    experiments = [job.cell.config for job in jobs]
    dataset = load(experiments[0].data)
    images = digest(dataset)
    built = [build(experiment, dataset) for experiment in experiments]
    bound = [programs(e, b.model, dataset) for e, b in zip(experiments, built, strict=True)]
    runs = []
    for job, experiment, model, own in zip(jobs, experiments, built, bound, strict=True):
        if job is not jobs[0]:
            os.write(job.log, f"runs together with {jobs[0].run_dir}, see there\n".encode())
        run_dir, known = Path(job.run_dir), identity(experiment, job.cell.preset)
        run_directory.check_run(run_dir, known, resume=job.resume, overwrite=False)
        state = begin(experiment, model.model, goes_on(run_dir, job.resume))
        run_directory.open_run(run_dir, known, resume=job.resume)
        add_start(run_dir, images)
        runs.append(Run(experiment, dataset, state, own.validate, run_dir, observer(model, run_dir)))
    hypers = {id(r): configured_hyper(e, b.model) for r, e, b in zip(runs, experiments, built, strict=True)}
    batched = make_batched(programs.general(experiments[0], built[0].model, dataset))

    def advance(going: Sequence[Run], num_steps: int) -> list[tuple[TrainState, dict[str, Array]]]:
        return batched([r.state for r in going], dataset.train, [hypers[id(r)] for r in going], num_steps)

    say(f"{built[0].summary}; {len(runs)} runs in one program; {run_directory.device()}")
    try:
        for step in sorted({one.step for one in runs}):
            train([one for one in runs if one.step == step], advance)
    except Interrupted as stop:
        say(str(stop))
        raise SystemExit(130) from None
    for job, one, model, own in zip(jobs, runs, built, bound, strict=True):
        _guarded([job], functools.partial(_finish, job, one, model, own, dataset))


def _finish(job: Job, one: Run, built: Built, programs: Programs, dataset: Dataset) -> None:
    if one.failure:
        fail(str(one.failure))
    config, preset, run_dir = job.cell.config, job.cell.preset, Path(job.run_dir)
    finish(config, identity(config, preset), dataset, built, one.outcome(), programs.evaluate, run_dir)


def make_batched(general: General) -> Any:
    """Steps of several runs at once, batched with `jax.vmap` over their states and hyperparameters.

    Args:
      general: the program that they share.

    Returns:
      ``(states, source, hypers, num_steps) -> [(state, metrics [num_steps])]``. The states are donated.
    """

    @functools.partial(jax.jit, static_argnums=3, donate_argnums=0)
    def batched(states: list[TrainState], source: Any, hypers: list[Hyper], num_steps: int) -> Any:
        def one(state: TrainState, hyper: Hyper) -> tuple[TrainState, dict[str, Array]]:
            return jax.lax.scan(lambda s, _: general.step(s, source, hyper), state, length=num_steps)

        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *zip(states, hypers, strict=True))
        results = jax.vmap(one)(*stacked)
        return [jax.tree.map(lambda leaf, index=index: leaf[index], results) for index in range(len(states))]

    return batched


if __name__ == "__main__":
    main()
