"""Evaluates a run again: ``python -m experiments.evaluate RUN_DIR [flags]``."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

import tyro
from rich.console import Console

from common.checkpoint import Checkpoints
from common.data import Dataset
from common.training import TrainState
from experiments.command_line import fail, interruptible, run_tyro, user_errors
from experiments.config import Experiment, from_json, load_dataset, validate_budget
from experiments.experiment import chosen_params, measure
from experiments.models import Built, build, experiment_class
from experiments.programs import final_predictor
from experiments.report import write_report
from experiments.run_directory import read_json
from experiments.tables import errors_table
from experiments.train import make_initial_state, say, warn


@dataclass(frozen=True)
class Evaluation:
    """Evaluates the best parameters of a run on its validation and test sets, and prints the errors in per cent."""

    run_dir: Annotated[Path, tyro.conf.Positional]
    """Folder of the run."""
    episodes: int | None = None
    """Sampled episodes to average over; as many as the run's own evaluation when it is not given."""
    batch_size: int | None = None
    """Images in one compiled call, as in the run when it is not given; another number draws other episodes."""
    last: bool = False
    """Take the last parameters instead of those of the lowest validation error."""
    plots: bool = False
    """Also draw the plots and the report again."""


def main(args: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    args = sys.argv[1:] if args is None else args
    config = run_tyro(lambda: tyro.cli(Evaluation, prog="python -m experiments.evaluate", args=args))
    with interruptible("interrupted; the run is as it was"):
        evaluate(config)


class RestoredRun(NamedTuple):
    """A run as it was left: what was trained, its images, its model and its latest checkpoint."""

    experiment: Experiment
    dataset: Dataset
    built: Built
    state: TrainState


def restore_run(run_dir: Path) -> RestoredRun:
    """Reads a run back; exits with one line and status 2 where there is none."""
    saved = run_dir / "config.json"
    if not saved.is_file():
        fail(f"run directory {str(run_dir)!r} holds no config.json: give the folder of a run")
    with user_errors():
        identity = read_json(saved)
        try:
            experiment = from_json(experiment_class(identity["model"]), identity["config"])
            validate_budget(experiment)
            dataset = load_dataset(experiment.data)
            built = build(experiment, dataset)
            state = make_initial_state(experiment, built.model, dataset)
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"{str(saved)!r} is damaged or of another version: {error!r}") from error
        restored = Checkpoints(run_dir / "checkpoints").restore(state, warn)
    if restored is None:
        fail(f"run directory {str(run_dir)!r} holds no checkpoint yet")
    return RestoredRun(experiment, dataset, built, restored)


def evaluate(config: Evaluation) -> None:
    """Restores, measures and prints.

    Exits with one line and status 2 where there is nothing to evaluate.
    """
    for name in ("episodes", "batch_size"):
        value = getattr(config, name)
        if value is not None and value < 1:
            fail(f"{name} {value}: must be at least 1")
    experiment, dataset, built, restored = restore_run(config.run_dir)
    training = experiment.training
    params = chosen_params(restored, training.keep_best and not config.last)
    say(f"{built.summary}; after step {int(restored.step)}")
    predict = final_predictor(experiment, built.model, config.episodes, config.batch_size)
    errors = measure(experiment, predict, params, dataset)
    Console().print(errors_table(errors, config.episodes or training.eval_episodes))
    if config.plots:
        with user_errors(OSError):
            built.draw(params, config.run_dir)
            print(f"report: {write_report(config.run_dir)}")


if __name__ == "__main__":
    main()
