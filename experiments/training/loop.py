"""The training loop of every experiment: compiled chunks, and between them logging, validation and checkpoints."""

import contextlib
import functools
import signal
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Column

from common.checks import validate_parameters
from common.data import Dataset, sample_batch
from common.training.checkpoints import Checkpoints
from common.training.evaluation import Predictions, summarise
from common.training.optimizers import make_optimizer, make_schedule
from common.training.step import Hyper, Model, Step, TrainState, init_state, keep_best, train_step
from experiments.cli.console import console, say, warn
from experiments.cli.stopping import Stop
from experiments.training import run_directory
from experiments.training.augmentation import make_augmentation
from experiments.training.config import Experiment, TrainingConfig, WholeImageExperiment

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


def make_step(experiment: Experiment, model: Model, dataset: Dataset) -> Step:
    """The training step of an experiment (see `common.training.step.train_step`)."""
    config = experiment.training
    steps_per_epoch = len(dataset.train.labels) / config.batch_size
    schedule = functools.partial(make_schedule, experiment.optimizer, config.steps, steps_per_epoch)

    # The step outlives the images, which it is given.
    recipe, augment = dataset.recipe, make_augmentation(experiment.data.augmentation)

    def draw(key: Any, source: Any) -> Any:
        return sample_batch(key, source, recipe, config.batch_size, augment)

    return train_step(model, make_optimizer(experiment.optimizer), schedule, draw, config.steps)


def make_initial_state(experiment: Experiment, model: Model) -> TrainState:
    """A fresh state."""
    return init_state(model, make_optimizer(experiment.optimizer), experiment.training.seed)


def check_step(experiment: Experiment, model: Model, dataset: Dataset) -> None:
    """Traces a step, so that what does not fit together is an error before anything is written.

    Raises:
      ValueError: parts of the configuration that do not fit together, or too many parameters.
    """
    state = jax.eval_shape(lambda: make_initial_state(experiment, model))
    validate_parameters(optax.tree.size(state.params))
    jax.eval_shape(make_step(experiment, model, dataset), state, dataset.train, configured_hyper(experiment, model))


def configured_hyper(experiment: Experiment, model: Model) -> Hyper:
    """The continuous hyperparameters of an experiment."""
    return Hyper(jnp.float32(experiment.optimizer.learning_rate), model.hyper)


class Run:
    """A run on its way: its state, its metrics and its checkpoints. It goes on from its latest checkpoint, if any.

    Args:
      experiment: what is trained.
      dataset: its images.
      state: a fresh state.
      validate: ``(params, key, images) -> Predictions``.
      run_dir: its folder.
      observe: ``(params, step) -> None``, called with fresh parameters and at each validation.

    Attributes:
      state: as it is now; a chunk of steps takes it away, and leaves nothing where one was not finite.
      step: steps done.
      seconds: it took so far, with all resumptions.
      failure: why it cannot go on.
    """

    def __init__(
        self,
        experiment: Experiment,
        dataset: Dataset,
        state: TrainState,
        validate: Callable[..., Predictions],
        run_dir: Path,
        observe: Callable[[Any, int], None] = lambda params, step: None,
    ):
        self.config = config = experiment.training
        self._dataset, self._validate, self._observe = dataset, validate, observe
        self._plays_episodes = not isinstance(experiment, WholeImageExperiment)
        size = len(dataset.train.labels)
        self._schedule = make_schedule(experiment.optimizer, config.steps, size / config.batch_size)
        self._replicates = getattr(getattr(experiment.model, "estimator", None), "replicates", 1)
        self._checkpoints = Checkpoints(run_dir / "checkpoints", config.keep_checkpoints)
        restored = self._checkpoints.restore(state, warn)
        self.state = state if restored is None else restored
        self.step = int(self.state.step)
        if restored is not None:
            say(f"resuming after step {self.step}")
        else:
            observe(self.state.params, self.step)
        self._checkpoints.discard_after(self.step)
        self._metrics = run_directory.MetricsWriter(run_dir, self.step)
        self.seconds = self._metrics.records[-1]["seconds"] if self._metrics.records else 0.0
        self.failure: NotFinite | None = None

    @property
    def going(self) -> bool:
        """Whether there is more to train: budget and patience are left, and every step was finite."""
        config = self.config
        if self.failure or self.step >= config.steps:
            return False
        best = int(self.state.best_step)
        return not (config.patience and best and self.step - best >= config.patience * config.evaluate_every)

    def take(self, state: TrainState, metrics: dict[str, np.ndarray]) -> bool:
        """Takes the state that a chunk of steps led to, unless one of them was not finite; tells whether it was."""
        if bad := first_not_finite(metrics, self.step):
            saved = self._checkpoints.steps()
            good = f"{self._checkpoints.directory / str(saved[-1])}" if saved else "none"
            self.failure = NotFinite(f"step {bad[0]}: {bad[1]} is not finite; last good checkpoint: {good}")
            return False
        self.state, self.step = state, int(state.step)
        return True

    def measure(self, metrics: dict[str, np.ndarray], images_per_second: float) -> dict[str, Any]:
        """The line of ``metrics.jsonl`` of the steps just taken, with the errors where it is time to validate."""
        config, until = self.config, self.step
        record: dict[str, Any] = {
            "step": until,
            "epoch": until * config.batch_size / len(self._dataset.train.labels),
            "images_per_second": images_per_second,
            "learning_rate": float(self._schedule(until - 1)),
        } | {name: float(np.mean(values, dtype=np.float64)) for name, values in metrics.items()}
        if until % config.evaluate_every == 0 or until == config.steps:
            validation = self._dataset.validation
            predictions = self._validate(self.state.params, jax.random.key(VALIDATION_SEED), validation.images)
            errors = summarise(predictions, validation.labels, self._dataset.end_symbol)
            record["validation_error"] = errors["average_probability"]["error"]
            if self._plays_episodes:
                record["validation_greedy_error"] = errors["greedy"]["error"]
                record["validation_sampled_error"] = errors["sampled"]["error"]
            self.state = keep_best(self.state, record["validation_error"])
            self._observe(self.state.params, until)
        return record

    def append(self, record: dict[str, Any]) -> None:
        """Writes a line of metrics.

        Raises:
          OSError: it could not be written.
        """
        self._metrics.append(record | {"seconds": self.seconds})

    def save(self) -> None:
        """Writes a checkpoint.

        Raises:
          OSError: it could not be written.
        """
        self._checkpoints.save(self.state)

    def outcome(self) -> Outcome:
        """How it ended.

        Raises:
          NotFinite: a step was not finite; names the step, the quantity and the last good checkpoint.
        """
        if self.failure:
            raise self.failure
        return Outcome(self.state, self.seconds, self.step * self.config.batch_size * self._replicates)


Advance = Callable[[Sequence[Run], int], list[tuple[TrainState, dict[str, Array]]]]


def train(runs: Sequence[Run], advance: Advance) -> None:
    """Trains one run, or several that share a program, until budget or patience are used up or a step is not finite.

    Args:
      runs: runs of one batch size and the same stops, after the same step.
      advance: ``(runs, num_steps) -> [(state, metrics [num_steps])]``: takes the states of runs, all still going, so
        many steps on.

    Raises:
      Interrupted: after Ctrl-C, with the states saved.
      OSError: a checkpoint could not be written.
    """
    config = runs[0].config
    with _Stop() as stop, _progress_bar() as bar:
        task = bar.add_task("", total=config.steps, completed=runs[0].step, now="compiling")
        while going := [run for run in runs if run.going]:
            step, begun = going[0].step, time.monotonic()
            until = next_stop(step, config)
            results = _attentively(advance, going, until - step)
            share = (time.monotonic() - begun) / len(going)
            rate = (until - step) * config.batch_size / share
            validated = until % config.evaluate_every == 0 or until == config.steps
            if validated:
                bar.update(task, now="validating")
            for run, (state, metrics) in zip(going, results, strict=True):
                if not run.take(state, metrics):
                    continue
                begun = time.monotonic()
                record = run.measure(metrics, rate)
                run.seconds += share + time.monotonic() - begun
                now = _describe(record)
                bar.update(task, completed=until, now=now)
                if validated:
                    say(f"step {until}  {now}  {_describe_validation(record)}")
                run.append(record)
            stopping, begun = stop.asked, time.monotonic()
            for run in going if validated or stopping else ():
                if run.failure is None:
                    run.save()
            for run in going:
                run.seconds += (time.monotonic() - begun) / len(going)
            if stopping:
                raise Interrupted(f"stopped after step {until}, which is saved")
        if stop.asked:  # In the moment when the last step was saved.
            raise Interrupted(f"stopped after step {max(run.step for run in runs)}, which is saved")
    for run in runs:
        if run.failure is None and run.step < config.steps:
            say(f"stopped early: no lower validation error since step {int(run.state.best_step)}")


def _describe(record: dict[str, Any]) -> str:
    said = "epoch {epoch:.1f}  {images_per_second:,.0f} images/s  loss {loss:.4g}  acc {accuracy:.1%}"
    return said.format(**record)


def _describe_validation(record: dict[str, Any]) -> str:
    greedy = " (greedy {validation_greedy_error:.2f}%)" if "validation_greedy_error" in record else ""
    return ("validation error {validation_error:.2f}%" + greedy).format(**record)


def evaluate(
    predict: Callable[..., Predictions], params: Any, dataset: Dataset
) -> dict[str, dict[str, dict[str, Any]]]:
    """Errors on the validation and the test split by every method: ``{split: {method: {error, low, high, n}}}``.

    Args:
      predict: ``(params, key, images) -> Predictions``.
      params: of the model.
      dataset: the images.
    """
    results = {}
    for name, split, seed in (
        ("validation", dataset.validation, VALIDATION_SEED),
        ("test", dataset.test, TEST_SEED),
    ):
        results[name] = summarise(predict(params, jax.random.key(seed), split.images), split.labels, dataset.end_symbol)
    return results


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


def _attentively(advance: Advance, runs: Sequence[Run], num_steps: int) -> list[tuple[TrainState, dict[str, Any]]]:
    """Runs a chunk in a thread of its own, so that a signal is heard at once and not at the chunk's end."""

    def run() -> list[tuple[TrainState, dict[str, Any]]]:
        return [(state, jax.tree.map(np.asarray, metrics)) for state, metrics in advance(runs, num_steps)]

    with ThreadPoolExecutor(1) as thread:
        future = thread.submit(run)
        while not wait([future], timeout=0.1).done:  # Not every system lets a signal end a wait.
            pass
        return future.result()


class _Stop(Stop):
    """Turns the first Ctrl-C (or a polite kill) into a request, which the loop grants at the end of a chunk.

    A second one ends the program.
    """

    def _ask(self, number: int, frame: FrameType | None) -> None:
        super()._ask(number, frame)
        signal.signal(number, signal.SIG_DFL)
        with contextlib.suppress(RuntimeError):  # The signal came in the middle of another line.
            console.show_cursor()  # The progress bar hid it, and would not show it again after a second signal.
            say("stopping after this chunk of steps; press Ctrl-C again to stop at once without saving")
