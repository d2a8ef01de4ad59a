"""The training loop of every experiment: compiled chunks, and between them logging, validation and checkpoints."""

import signal
import time
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import jax
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from tensorboardX import SummaryWriter

from common.checkpoint import Checkpoints
from common.data import Dataset, sample_batch
from common.data.augmentation import random_shift
from common.evaluation import error_interval, make_predictor, summarise
from common.training import (
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

console = Console(stderr=True)

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
    """The next step at which the run logs, validates or ends. It depends on nothing but the step and the configuration."""
    to_log = step - step % config.log_every + config.log_every
    to_evaluate = step - step % config.evaluate_every + config.evaluate_every
    return min(to_log, to_evaluate, config.steps)


def first_not_finite(metrics: dict[str, np.ndarray], first_step: int) -> tuple[int, str] | None:
    """The first step, counted from 1, at which a metric is not finite, and the metric's name."""
    bad = [(int(np.argmin(np.isfinite(values))), name) for name, values in metrics.items() if not np.isfinite(values).all()]
    return (first_step + 1 + min(bad)[0], min(bad)[1]) if bad else None


def make_initial_state(experiment: Experiment, model: Model, dataset: Dataset) -> tuple[TrainState, Any]:
    """A fresh state, and the compiled chunk of training steps ``(state, source, num_steps)``.

    The loss is traced here, so that what does not fit together is an error before anything is written.

    Raises:
      ValueError: parts of the configuration that do not fit together.
    """
    config = experiment.training
    steps_per_epoch = len(dataset.train.labels) / config.batch_size
    schedule = make_schedule(experiment.optimizer, config.steps, steps_per_epoch)
    optimizer = make_optimizer(experiment.optimizer, schedule)

    def draw(key: Any, source: Any) -> Any:
        images, labels = sample_batch(key, source, dataset.canvas, config.batch_size)
        if experiment.data.shift:
            images = random_shift(jax.random.fold_in(key, 1), images, experiment.data.shift)
        return images, labels

    step = train_step(model.loss, optimizer, draw, config.steps)
    state = init_state(model.init, optimizer, config.seed)
    jax.eval_shape(step, state, dataset.train)
    return state, make_chunk(step)


def train(experiment: Experiment, model: Model, dataset: Dataset, state: TrainState, chunk: Any, run_dir: Path) -> Outcome:
    """Trains until the budget or the patience is used up, from the latest checkpoint if there is one.

    Raises:
      NotFinite: a step was not finite; names the step, the quantity and the last good checkpoint.
      Interrupted: after Ctrl-C, with the state saved.
      OSError: a checkpoint could not be written.
    """
    config = experiment.training
    replicates = getattr(getattr(experiment.model, "loss", None), "replicates", 1)
    checkpoints = Checkpoints(run_dir / "checkpoints", config.keep_checkpoints)
    restored = checkpoints.restore(state, warn=lambda line: console.print(line, style="yellow", soft_wrap=True))
    if restored is not None:
        state = restored
        console.print(f"resuming after step {int(state.step)}")
    checkpoints.discard_after(int(state.step))
    records = run_directory.keep_metrics_until(run_dir, int(state.step))
    seconds_before = records[-1]["seconds"] if records else 0.0
    validate = make_predictor(model.predict, config.validation_episodes, config.eval_batch_size)
    schedule = make_schedule(experiment.optimizer, config.steps, len(dataset.train.labels) / config.batch_size)
    events = SummaryWriter(str(run_dir / "events"), purge_step=int(state.step) + 1)
    begun = time.monotonic()

    with _Stop() as stop, _progress_bar() as bar:
        task = bar.add_task("", total=config.steps, completed=int(state.step), text="compiling")
        while (step := int(state.step)) < config.steps and not _out_of_patience(state, config):
            until = next_stop(step, config)
            chunk_begun = time.monotonic()
            state, metrics = chunk(state, dataset.train, until - step)
            metrics = jax.tree.map(np.asarray, metrics)
            if bad := first_not_finite(metrics, step):
                saved = checkpoints.steps()
                good = f"{checkpoints.directory / str(saved[-1])}" if saved else "none"
                raise NotFinite(f"step {bad[0]}: {bad[1]} is not finite; last good checkpoint: {good}")
            rate = (until - step) * config.batch_size / (time.monotonic() - chunk_begun)
            record: dict[str, Any] = {
                "step": until,
                "epoch": until * config.batch_size / len(dataset.train.labels),
                "images_per_second": rate,
                "learning_rate": float(schedule(until)),
            } | {name: float(np.mean(values, dtype=np.float64)) for name, values in metrics.items()}
            validated = until % config.evaluate_every == 0 or until == config.steps
            if validated:
                bar.update(task, text="validating")
                predictions = validate(state.params, jax.random.key(VALIDATION_SEED), dataset.validation.images)
                errors = {n: error_interval(p, dataset.validation.labels)["error"] for n, p in predictions._asdict().items()}
                record |= {
                    "validation_error": errors["average_probability"],
                    "validation_greedy_error": errors["greedy"],
                    "validation_sampled_error": errors["sampled"],
                }
                state = keep_best(state, errors["average_probability"])
            record["seconds"] = seconds_before + time.monotonic() - begun
            run_directory.append_metrics(run_dir, record)
            for name, value in record.items():
                events.add_scalar(name, value, until)
            text = f"epoch {record['epoch']:.1f}  {rate:,.0f} images/s  loss {record['loss']:.3f}  acc {record['accuracy']:.1%}"
            best = float(state.best_error)
            bar.update(task, completed=until, text=text + (f"  best {best:.2f}%" if np.isfinite(best) else ""))
            if validated:
                console.print(
                    f"step {until}: {text}  validation error {record['validation_error']:.2f}% "
                    f"(greedy {record['validation_greedy_error']:.2f}%)",
                    highlight=False,
                    soft_wrap=True,
                )
            if validated or stop.asked:
                checkpoints.save(state)
            if stop.asked and until < config.steps:
                raise Interrupted(f"stopped after step {until}, which is saved")
    events.close()
    checkpoints.close()
    seconds = seconds_before + time.monotonic() - begun
    return Outcome(state, seconds, int(state.step) * config.batch_size * replicates)


def evaluate(
    model: Model, params: Any, dataset: Dataset, *, num_episodes: int, batch_size: int
) -> dict[str, dict[str, dict[str, Any]]]:
    """Errors on the validation and the test split, each by every method: ``{split: {method: {error, low, high, n}}}``."""
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
    return Progress(
        MofNCompleteColumn(),
        BarColumn(),
        TextColumn("{task.fields[text]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
    )


class _Stop:
    """Turns the first Ctrl-C (or a polite kill) into a request, which the loop grants at the end of a chunk."""

    def __enter__(self) -> "_Stop":
        self.asked = False
        self._before = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        console.print("stopping after this chunk of steps; press Ctrl-C again to stop at once without saving")
