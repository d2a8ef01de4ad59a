"""The training loop: compiled chunks of steps, and between them logging, validation and checkpoints."""

import signal
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
import optax
from jaxtyping import PyTree
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Column

from common.data import Dataset
from common.training.checkpoints import Checkpoints
from common.training.step import Model, TrainState, remember_best
from experiments.cli.console import console, print_line, print_warning
from experiments.cli.stopping import Stop, is_hangup
from experiments.evaluation.errors import validation_errors
from experiments.training.config import Experiment, TrainingConfig
from experiments.training.metrics_file import MetricsWriter
from experiments.training.programs import Programs, learning_rate_schedule

Result = TypeVar("Result")
Observe = Callable[[PyTree, int, Path], None]


class NotFinite(ArithmeticError):
    """A metric of a step is NaN or infinite."""


class Interrupted(Exception):
    """The user has requested a stop; the state is saved."""


class Outcome(NamedTuple):
    """The end of a training: the last state, and the seconds that it took with all resumptions."""

    state: TrainState
    seconds: float


def train(
    experiment: Experiment,
    dataset: Dataset,
    model: Model,
    state: TrainState,
    programs: Programs,
    run_dir: Path,
    observe: Observe,
    own: Iterable[str] = (),
) -> Outcome:
    """Train one run to the end of its budget or patience, from its latest checkpoint or from its initial state.

    Args:
      experiment: its configuration.
      dataset: its images.
      model: what it trains.
      state: its initial state, from which it trains if it has no checkpoint.
      programs: its jitted functions.
      run_dir: its run directory.
      observe: ``(params, step, run_dir) -> None``, called with the initial parameters and at each validation.
      own: the ``module:name`` of everything of the user's own that the run uses, for messages.

    Raises:
      NotFinite: a metric of a step is NaN or infinite (see `require_finite`).
      Interrupted: after Ctrl-C, SIGTERM or SIGHUP, with the state saved.
      OSError: a checkpoint or a line of metrics cannot be written.
    """
    config, size = experiment.training, len(dataset.train.labels)
    schedule = learning_rate_schedule(experiment, dataset)
    checkpoints = Checkpoints(run_dir / "checkpoints", config.keep_checkpoints)
    state = resume_or_begin(checkpoints, state, observe, run_dir)
    step = int(state.step)
    metrics_file = MetricsWriter(run_dir, step)
    seconds = metrics_file.seconds
    with Stop(announce_stop) as stop, progress_bar() as bar:
        task = bar.add_task("", total=config.steps, completed=step, now="compiling")
        while has_budget_left(state, config):
            begun, until = time.monotonic(), next_boundary(step, config)
            # In a thread, so that a signal is handled at once and not at the end of the chunk.
            state, metrics = in_thread(run_chunk, programs.chunk, state, dataset.train, until - step)
            require_finite(metrics, step, checkpoints, own)
            images_per_second = (until - step) * config.batch_size / (time.monotonic() - begun)
            record = training_record(config, schedule, size, until, metrics, images_per_second)
            if validates_at(until, config):
                bar.update(task, now="validating")
                record |= validation_errors(model, programs.predict_validation, state.params, dataset)
                state = remember_best(state, record["validation_error"])
                observe(state.params, until, run_dir)
            seconds += time.monotonic() - begun
            metrics_file.append(record | {"seconds": seconds})
            show_progress(bar, task, record)
            step, stopping, begun = until, stop.requests, time.monotonic()
            if stopping or validates_at(step, config):
                checkpoints.save(state)
                seconds += time.monotonic() - begun
            if stopping:
                break
        if stop.requests:
            raise Interrupted(f"stopped after step {step}, which is saved")
    if step < config.steps:
        print_line(f"stopped early: no lower validation error since step {int(state.best_step)}")
    return Outcome(state, seconds)


def resume_or_begin(checkpoints: Checkpoints, state: TrainState, observe: Observe, run_dir: Path) -> TrainState:
    """Return the state of the latest checkpoint, or the initial state where there is none; delete later checkpoints."""
    restored = checkpoints.restore(state, print_warning)
    if restored is None:
        observe(state.params, int(state.step), run_dir)
    else:
        state = restored
        print_line(f"resuming after step {int(state.step)}")
    checkpoints.discard_after(int(state.step))
    return state


def has_budget_left(state: TrainState, config: TrainingConfig) -> bool:
    """Check that steps and patience are left."""
    step, best = int(state.step), int(state.best_step)
    out_of_patience = bool(config.patience and best and step - best >= config.patience * config.evaluate_every)
    return step < config.steps and not out_of_patience


def next_boundary(step: int, config: TrainingConfig) -> int:
    """Return the next step at which the run logs, validates or ends. It depends on the step and the configuration."""
    to_log = step - step % config.log_every + config.log_every
    to_evaluate = step - step % config.evaluate_every + config.evaluate_every
    return min(to_log, to_evaluate, config.steps)


def validates_at(step: int, config: TrainingConfig) -> bool:
    """Check if a run validates after this step."""
    return step % config.evaluate_every == 0 or step == config.steps


def run_chunk(chunk: Callable[..., Any], *args: Any) -> tuple[TrainState, dict[str, np.ndarray]]:
    """Run a chunk of steps and wait for its metrics, each ``[num_steps]``."""
    state, metrics = chunk(*args)
    return state, jax.tree.map(np.asarray, metrics)


def in_thread(function: Callable[..., Result], *args: Any) -> Result:
    """Call a function in a thread of its own, so that signals are handled while it runs."""
    with ThreadPoolExecutor(1) as thread:
        future = thread.submit(function, *args)
        while not wait([future], timeout=0.1).done:  # On some systems a signal does not end a wait.
            pass
        return future.result()


def first_not_finite(metrics: Mapping[str, np.ndarray], first_step: int) -> tuple[int, str] | None:
    """Return the first step, counted from 1, at which a metric is not finite, and the metric's name."""
    finite = {name: np.isfinite(values) for name, values in metrics.items()}
    bad = [(first_step + 1 + int(np.argmin(values)), name) for name, values in finite.items() if not values.all()]
    return min(bad, default=None)


def require_finite(
    metrics: Mapping[str, np.ndarray], first_step: int, checkpoints: Checkpoints, own: Iterable[str] = ()
) -> None:
    """Check the metrics of a chunk.

    Raises:
      NotFinite: one is NaN or infinite; names the step, the metric, the last checkpoint and the user's own code.
    """
    if bad := first_not_finite(metrics, first_step):
        saved = checkpoints.steps()
        last = str(checkpoints.directory / str(saved[-1])) if saved else "none"
        names = ", ".join(own)
        origin = f"; the origin may be code of your own, {names}" if names else ""
        raise NotFinite(f"step {bad[0]}: {bad[1]} is not finite; last good checkpoint: {last}{origin}")


def training_record(
    config: TrainingConfig,
    schedule: optax.Schedule,
    size: int,
    step: int,
    metrics: Mapping[str, np.ndarray],
    images_per_second: float,
) -> dict[str, Any]:
    """Return the line of ``metrics.jsonl`` of a chunk: the means of its metrics, epoch, speed and learning rate.

    Args:
      config: the training budget.
      schedule: of the learning rate.
      size: number of training images.
      step: the last step.
      metrics: of each step of the chunk, ``[num_steps]``.
      images_per_second: speed of the chunk.
    """
    return {
        "step": step,
        "epoch": step * config.batch_size / size,
        "images_per_second": images_per_second,
        "learning_rate": float(schedule(step - 1)),
    } | {name: float(np.mean(values, dtype=np.float64)) for name, values in metrics.items()}


def show_progress(bar: Progress, task: Any, record: Mapping[str, Any]) -> None:
    """Move the progress bar on, and print a line after a validation."""
    now = "epoch {epoch:.1f}  {images_per_second:,.0f} images/s  loss {loss:.4g}  acc {accuracy:.1%}".format(**record)
    bar.update(task, completed=record["step"], now=now)
    if "validation_error" in record:
        greedy = " (greedy {validation_greedy_error:.2f}%)" if "validation_greedy_error" in record else ""
        error = ("validation error {validation_error:.2f}%" + greedy).format(**record)
        print_line(f"step {record['step']}  {now}  {error}")


def progress_bar() -> Progress:
    """Return a bar as wide as the terminal; it shows nothing where nobody watches standard error."""
    return Progress(
        TaskProgressColumn(table_column=Column(no_wrap=True)),
        BarColumn(None, table_column=Column(ratio=1, min_width=4)),
        TextColumn("{task.fields[now]}", markup=False, table_column=Column(no_wrap=True)),
        TimeRemainingColumn(table_column=Column(no_wrap=True)),
        TextColumn("left", table_column=Column(no_wrap=True)),
        console=console,
        expand=True,
        disable=not console.is_interactive,
        speed_estimate_period=600,
    )


def announce_stop(number: int) -> None:
    """Print the effect of a request to stop, and let the next such signal end the program at once.

    A closed terminal sends its signal more than once, so the next one of it has no effect.
    """
    if not is_hangup(number):
        signal.signal(number, signal.SIG_DFL)
    console.show_cursor()  # The progress bar hid it, and would not show it again after a second signal.
    print_line("stopping after this chunk of steps; press Ctrl-C again to stop at once without saving")
