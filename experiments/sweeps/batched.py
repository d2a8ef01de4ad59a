"""Several runs in one program: the training loop of `experiments.training.loop`, batched with `jax.vmap`."""

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from common.data import Dataset
from common.training.checkpoints import Checkpoints
from common.training.step import Hyper, TrainState, remember_best
from experiments.cli.command_line import exit_interrupted, fail
from experiments.cli.console import print_line
from experiments.cli.stopping import Stop
from experiments.evaluation.errors import validation_errors
from experiments.families import BuiltModel, Family
from experiments.runs.preparation import open_run_directory, prepare
from experiments.runs.run import finish
from experiments.runs.warm_start import begin, is_resumed
from experiments.sweeps.shared_programs import GeneralPrograms, SharedPrograms, bind
from experiments.training.config import DataConfig, Experiment
from experiments.training.loop import (
    Interrupted,
    NotFinite,
    Outcome,
    announce_stop,
    has_budget_left,
    in_thread,
    next_boundary,
    progress_bar,
    require_finite,
    resume_or_begin,
    show_progress,
    training_record,
    validates_at,
)
from experiments.training.metrics_file import MetricsWriter
from experiments.training.programs import Programs, configured_hyper, learning_rate_schedule
from experiments.training.provenance import device, image_digests


@dataclass(frozen=True, eq=False)
class BatchedRun:
    """A run that shares its program with others."""

    family: Family
    experiment: Experiment
    preset: str
    run_dir: Path

    @property
    def resumed(self) -> bool:
        """Return True if it continues from a checkpoint."""
        return is_resumed(self.run_dir, self.experiment.output.resume)


class _Member:
    """A run in progress: its state, its files, and the failure that ended it."""

    def __init__(
        self, run: BatchedRun, dataset: Dataset, images: dict[str, str], built: BuiltModel, programs: Programs
    ):
        family, experiment, run_dir = run.family, run.experiment, run.run_dir
        self.run, self.built, self.programs, self.config = run, built, programs, experiment.training
        state, started_from = begin(family, experiment, built.model, run.resumed)
        self.own, _ = open_run_directory(run_dir, family, experiment, run.preset, dataset, images, started_from)
        self.checkpoints = Checkpoints(run_dir / "checkpoints", self.config.keep_checkpoints)
        self.state = resume_or_begin(self.checkpoints, state, built.observe, run_dir)
        self.step = int(self.state.step)
        self.metrics_file = MetricsWriter(run_dir, self.step)
        self.seconds, self.failure = self.metrics_file.seconds, None  # type: float, NotFinite | None
        self.hyper = configured_hyper(experiment, built.model)
        self.schedule = learning_rate_schedule(experiment, dataset)

    @property
    def continues(self) -> bool:
        """Return True if budget and patience are left and every step was finite."""
        return self.failure is None and has_budget_left(self.state, self.config)

    def advance(
        self, dataset: Dataset, state: TrainState, metrics: dict[str, np.ndarray], images_per_second: float
    ) -> dict[str, Any] | None:
        """Take the state after a chunk, validate if due, and return the line of metrics; None after a failure."""
        try:
            require_finite(metrics, self.step, self.checkpoints, self.own)
        except NotFinite as failure:
            self.failure = failure
            return None
        self.state, self.step = state, int(state.step)
        size = len(dataset.train.labels)
        record = training_record(self.config, self.schedule, size, self.step, metrics, images_per_second)
        if validates_at(self.step, self.config):
            record |= validation_errors(self.built.model, self.programs.predict_validation, state.params, dataset)
            self.state = remember_best(state, record["validation_error"])
            self.built.observe(self.state.params, self.step, self.run.run_dir)
        return record


def train_batched(
    runs: Sequence[BatchedRun], programs: SharedPrograms, load: Callable[[DataConfig], Dataset]
) -> list[Callable[[], None]]:
    """Train runs that share their images, their validation steps and their program.

    Runs that continue after different steps are trained one group after another. Exits with status 130 after Ctrl-C,
    with the states saved.

    Args:
      runs: runs with the same digest (`experiments.sweeps.shared_programs.program_digest`).
      programs: makes their program once.
      load: loads their images.

    Returns:
      A function for each run, which evaluates and reports it, or exits with one line if a step was not finite.
    """
    dataset = load(runs[0].experiment.data)
    images, members = image_digests(dataset), []
    built = [prepare(run.family, run.experiment, run.preset, dataset, resumed=run.resumed) for run in runs]
    general = programs.general(runs[0].experiment, built[0].model, dataset)
    for run, each in zip(runs, built, strict=True):
        own = bind(general, configured_hyper(run.experiment, each.model))
        members.append(_Member(run, dataset, images, each, own))
    batched = make_batched(general)
    print_line(f"{members[0].built.summary}; {len(members)} runs in one program; {device()}")
    try:
        for step in sorted({member.step for member in members}):
            _train_group([member for member in members if member.step == step], dataset, batched)
    except Interrupted as stop:
        print_line(str(stop))
        exit_interrupted()
    return [functools.partial(_finish, member, dataset) for member in members]


def _train_group(members: Sequence[_Member], dataset: Dataset, batched: Callable[..., Any]) -> None:
    config = members[0].config
    with Stop(announce_stop) as stop, progress_bar() as bar:
        task = bar.add_task("", total=config.steps, completed=members[0].step, now="compiling")
        while learning := [member for member in members if member.continues]:
            start, until = time.monotonic(), next_boundary(learning[0].step, config)
            results = in_thread(_run_chunk, batched, learning, dataset, until - learning[0].step)
            seconds = (time.monotonic() - start) / len(learning)
            images_per_second = (until - learning[0].step) * config.batch_size / seconds
            if validates_at(until, config):
                bar.update(task, now="validating")
            for member, (state, metrics) in zip(learning, results, strict=True):
                start = time.monotonic()
                record = member.advance(dataset, state, metrics, images_per_second)
                if record is not None:
                    member.seconds += seconds + time.monotonic() - start
                    show_progress(bar, task, record)
                    member.metrics_file.append(record | {"seconds": member.seconds})
            stopping, start = stop.requests, time.monotonic()
            if stopping or validates_at(until, config):
                for member in learning:
                    if member.failure is None:
                        member.checkpoints.save(member.state)
                for member in learning:
                    member.seconds += (time.monotonic() - start) / len(learning)
            if stopping:
                break
        if stop.requests:
            raise Interrupted(f"stopped after step {max(member.step for member in members)}, which is saved")
    for member in members:
        if member.failure is None and member.step < config.steps:
            print_line(f"stopped early: no lower validation error since step {int(member.state.best_step)}")


def _run_chunk(
    batched: Callable[..., Any], members: Sequence[_Member], dataset: Dataset, num_steps: int
) -> list[tuple[TrainState, dict[str, np.ndarray]]]:
    states, hypers = [member.state for member in members], [member.hyper for member in members]
    results = batched(states, dataset.train, hypers, num_steps)
    return [(state, jax.tree.map(np.asarray, metrics)) for state, metrics in results]


def _finish(member: _Member, dataset: Dataset) -> None:
    if member.failure:
        fail(str(member.failure))
    run, outcome = member.run, Outcome(member.state, member.seconds)
    finish(run.family, run.experiment, run.preset, dataset, member.built, outcome, member.programs, run.run_dir)


def make_batched(general: GeneralPrograms) -> Any:
    """Return a function that takes steps of several runs at once: `jax.vmap` over states and hyperparameters.

    Args:
      general: the programs that the runs share.

    Returns:
      ``(states, source, hypers, num_steps) -> [(state, metrics [num_steps])]``. The states are donated.
    """

    @functools.partial(jax.jit, static_argnums=3, donate_argnums=0)
    def batched(states: list[TrainState], source: Any, hypers: list[Hyper], num_steps: int) -> Any:
        def run_steps(state: TrainState, hyper: Hyper) -> tuple[TrainState, dict[str, jax.Array]]:
            return jax.lax.scan(lambda s, _: general.step(s, source, hyper), state, length=num_steps)

        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *zip(states, hypers, strict=True))
        results = jax.vmap(run_steps)(*stacked)
        return [jax.tree.map(lambda leaf, index=index: leaf[index], results) for index in range(len(states))]

    return batched
