"""The training loop of every experiment: compiled chunks, and between them logging, validation and checkpoints."""

import contextlib
import functools
import signal
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Column

from common.checkpoint import Checkpoints
from common.data import Dataset, sample_batch
from common.data.augmentation import random_shift
from common.evaluation import make_predictor, summarise
from common.training import (
    Hyper,
    Model,
    TrainState,
    init_state,
    keep_best,
    make_chunk,
    make_optimizer,
    make_schedule,
    train_step,
)
from experiments import run_directory
from experiments.config import Experiment, TrainingConfig

console = Console(stderr=True, markup=False, highlight=False)

# Evaluations draw from keys of their own, so that how often a run validates does not change what it learns.
VALIDATION_SEED, TEST_SEED = 1_000_003, 1_000_033


class NotFinite(ArithmeticError):
    """A step was not finite."""


class Interrupted(Exception):
    """The user asked to stop; the state is saved."""


class Outcome(NamedTuple):
    """How a run ended: its state, the seconds it took with all resumptions, and its episodes of training."""

    state: TrainState
    seconds: float
    episodes: int


def say(line: str, style: str | None = None) -> None:
    """Prints a line for people on standard error, above the progress bar."""
    console.print(line, style=style, soft_wrap=True)


def warn(line: str) -> None:
    """`say`, in yellow."""
    say(line, "yellow")


def next_stop(step: int, config: TrainingConfig) -> int:
    """The next step at which the run logs, validates or ends: a function of the step and the configuration alone."""
    to_log = step - step % config.log_every + config.log_every
    to_evaluate = step - step % config.evaluate_every + config.evaluate_every
    return min(to_log, to_evaluate, config.steps)


def first_not_finite(metrics: dict[str, np.ndarray], first_step: int) -> tuple[int, str] | None:
    """The first step, counted from 1, at which a metric is not finite, and the metric's name."""
    finite = {name: np.isfinite(values) for name, values in metrics.items()}
    bad = [(first_step + 1 + int(np.argmin(values)), name) for name, values in finite.items() if not values.all()]
    return min(bad, default=None)


def make_initial_state(experiment: Experiment, model: Model, dataset: Dataset) -> tuple[TrainState, Any]:
    """A fresh state, and the compiled chunk of training steps ``(state, source, num_steps)``.

    The loss is traced here, so that what does not fit together is an error before anything is written.

    Raises:
      ValueError: parts of the configuration that do not fit together.
    """
    config = experiment.training
    steps_per_epoch = len(dataset.train.labels) / config.batch_size
    schedule = functools.partial(make_schedule, experiment.optimizer, config.steps, steps_per_epoch)
    optimizer = make_optimizer(experiment.optimizer)

    def draw(key: Any, source: Any) -> Any:
        if not experiment.data.shift:
            return sample_batch(key, source, dataset.recipe, config.batch_size)
        draw_key, shift_key = jax.random.split(key)
        images, labels = sample_batch(draw_key, source, dataset.recipe, config.batch_size)
        return random_shift(shift_key, images, experiment.data.shift), labels

    step = train_step(model, optimizer, schedule, draw, config.steps)
    state, hyper = init_state(model, optimizer, config.seed), configured_hyper(experiment, model)
    jax.eval_shape(step, state, dataset.train, hyper)
    # Closed over, so that a run of its own is compiled with its numbers as constants.
    return state, make_chunk(lambda state, source: step(state, source, hyper))


def configured_hyper(experiment: Experiment, model: Model) -> Hyper:
    """The continuous hyperparameters of an experiment."""
    return Hyper(jnp.float32(experiment.optimizer.learning_rate), model.hyper)


def train(
    experiment: Experiment, model: Model, dataset: Dataset, state: TrainState, chunk: Any, run_dir: Path
) -> Outcome:
    """Trains until the budget or the patience is used up, from the latest checkpoint if there is one.

    Raises:
      NotFinite: a step was not finite; names the step, the quantity and the last good checkpoint.
      Interrupted: after Ctrl-C, with the state saved.
      OSError: a checkpoint could not be written.
    """
    config = experiment.training
    replicates = getattr(getattr(experiment.model, "estimator", None), "replicates", 1)
    checkpoints = Checkpoints(run_dir / "checkpoints", config.keep_checkpoints)
    restored = checkpoints.restore(state, warn)
    if restored is not None:
        state = restored
        say(f"resuming after step {int(state.step)}")
    checkpoints.discard_after(int(state.step))
    metrics_writer = run_directory.MetricsWriter(run_dir, int(state.step))
    seconds_before = metrics_writer.records[-1]["seconds"] if metrics_writer.records else 0.0
    validate = make_predictor(model.predict, config.validation_episodes, config.eval_batch_size)
    schedule = make_schedule(experiment.optimizer, config.steps, len(dataset.train.labels) / config.batch_size)
    begun = time.monotonic()

    with _Stop() as stop, _progress_bar() as bar:
        task = bar.add_task("", total=config.steps, completed=int(state.step), now="compiling")
        while (step := int(state.step)) < config.steps and not _out_of_patience(state, config):
            until = next_stop(step, config)
            chunk_begun = time.monotonic()
            state, metrics = _attentively(chunk, state, dataset.train, until - step)
            if bad := first_not_finite(metrics, step):
                saved = checkpoints.steps()
                good = f"{checkpoints.directory / str(saved[-1])}" if saved else "none"
                raise NotFinite(f"step {bad[0]}: {bad[1]} is not finite; last good checkpoint: {good}")
            rate = (until - step) * config.batch_size / (time.monotonic() - chunk_begun)
            record: dict[str, Any] = {
                "step": until,
                "epoch": until * config.batch_size / len(dataset.train.labels),
                "images_per_second": rate,
                "learning_rate": float(schedule(until - 1)),
            } | {name: float(np.mean(values, dtype=np.float64)) for name, values in metrics.items()}
            validated = until % config.evaluate_every == 0 or until == config.steps
            if validated:
                bar.update(task, now="validating")
                predictions = validate(state.params, jax.random.key(VALIDATION_SEED), dataset.validation.images)
                errors = summarise(predictions, dataset.validation.labels)
                record |= {
                    "validation_error": errors["average_probability"]["error"],
                    "validation_greedy_error": errors["greedy"]["error"],
                    "validation_sampled_error": errors["sampled"]["error"],
                }
                state = keep_best(state, record["validation_error"])
            record["seconds"] = seconds_before + time.monotonic() - begun
            metrics_writer.append(record)
            now = f"epoch {record['epoch']:.1f}  {rate:,.0f} images/s  loss {record['loss']:.4g}"
            now += f"  acc {record['accuracy']:.1%}"
            bar.update(task, completed=until, now=now)
            if validated:
                say(
                    f"step {until}  {now}  validation error {record['validation_error']:.2f}% "
                    f"(greedy {record['validation_greedy_error']:.2f}%)"
                )
            if validated or stop.asked:
                checkpoints.save(state)
            if stop.asked:
                raise Interrupted(f"stopped after step {until}, which is saved")
    if int(state.step) < config.steps:
        say(f"stopped early: no lower validation error since step {int(state.best_step)}")
    seconds = seconds_before + time.monotonic() - begun
    return Outcome(state, seconds, int(state.step) * config.batch_size * replicates)


def evaluate(
    model: Model, params: Any, dataset: Dataset, *, num_episodes: int, batch_size: int
) -> dict[str, dict[str, dict[str, Any]]]:
    """Errors on the validation and the test split by every method: ``{split: {method: {error, low, high, n}}}``."""
    predict = make_predictor(model.predict, num_episodes, batch_size)
    results = {}
    for name, split, seed in (
        ("validation", dataset.validation, VALIDATION_SEED),
        ("test", dataset.test, TEST_SEED),
    ):
        results[name] = summarise(predict(params, jax.random.key(seed), split.images), split.labels)
    return results


def _out_of_patience(state: TrainState, config: TrainingConfig) -> bool:
    if not config.patience or not int(state.best_step):
        return False
    return int(state.step) - int(state.best_step) >= config.patience * config.evaluate_every


def _progress_bar() -> Progress:
    """A bar that takes what the numbers leave of the terminal's width; nothing where standard error is no terminal."""
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


def _attentively(chunk: Any, *args: Any) -> tuple[TrainState, dict[str, np.ndarray]]:
    """Runs a chunk in a thread of its own, so that a signal is heard at once and not at the chunk's end."""
    done: list[Any] = []

    def run() -> None:
        try:
            state, metrics = chunk(*args)
            done.append((state, jax.tree.map(np.asarray, metrics)))
        except BaseException as error:
            done.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(0.1)
    (result,) = done
    if isinstance(result, BaseException):
        raise result
    return result


class _Stop:
    """Turns the first Ctrl-C (or a polite kill) into a request, which the loop grants at the end of a chunk.

    A second one ends the program.
    """

    def __enter__(self) -> "_Stop":
        self.asked = False
        self._before = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        signal.signal(number, signal.SIG_DFL)
        with contextlib.suppress(RuntimeError):  # The signal came in the middle of another line.
            say("stopping after this chunk of steps; press Ctrl-C again to stop at once without saving")
