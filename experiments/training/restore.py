"""Runs as they were left: what was trained, on what, and what it learned."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from common.data import Dataset
from common.training.checkpoints import Checkpoints
from common.training.step import TrainState
from experiments.models import Built, build, experiment_class
from experiments.training.config import DataConfig, Experiment, from_json, load_blank, load_dataset, validate_budget
from experiments.training.loop import make_initial_state, warn
from experiments.training.provenance import check_images
from experiments.training.run_directory import MARKER, read_json


class RestoredRun(NamedTuple):
    """A run as it was left: its folder, what was trained, its images, its model and its latest checkpoint."""

    run_dir: Path
    experiment: Experiment
    dataset: Dataset
    built: Built
    state: TrainState

    def params(self, last: bool = False) -> Any:
        """The parameters that the run reported, or the last."""
        return chosen_params(self.state, self.experiment.training.keep_best and not last)

    def step(self, last: bool = False) -> int:
        """The step that `params` are from."""
        best = int(self.state.best_step)
        return best if best and self.experiment.training.keep_best and not last else int(self.state.step)


def read_experiment(run_dir: Path) -> Experiment:
    """What a run trains, from its configuration alone.

    Raises:
      ValueError: the folder holds no run, or none that can be read.
    """
    if not (run_dir / MARKER).is_file():
        raise ValueError(f"run directory {str(run_dir)!r} holds no {MARKER}: give the folder of a run")
    identity = read_json(run_dir / MARKER)
    try:
        return from_json(experiment_class(identity["model"]), identity["config"])
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"{str(run_dir / MARKER)!r} is damaged or of another version: {error!r}") from error


def read_run(run_dir: Path, load: Callable[[DataConfig], Dataset] = load_dataset) -> RestoredRun:
    """Reads a run back.

    Args:
      run_dir: its folder.
      load: gives its images.

    Raises:
      ValueError: the folder holds no run, none that can be read, one without a checkpoint, or one of other images.
    """
    run = _restore(run_dir, load)
    check_images(run_dir, run.dataset)
    return run


def read_params(run_dir: Path) -> Any:
    """The parameters that a run reported, without its images; errors as of `read_run`."""
    return _restore(run_dir, load_blank).params()


def _restore(run_dir: Path, load: Callable[[DataConfig], Dataset]) -> RestoredRun:
    experiment = read_experiment(run_dir)
    validate_budget(experiment)
    dataset = load(experiment.data)
    built = build(experiment, dataset)
    state = make_initial_state(experiment, built.model)
    restored = Checkpoints(run_dir / "checkpoints").restore(state, warn)
    if restored is None:
        raise ValueError(f"run directory {str(run_dir)!r} holds no checkpoint yet")
    return RestoredRun(run_dir, experiment, dataset, built, restored)


def chosen_params(state: TrainState, best: bool) -> Any:
    """The parameters that are reported: those of the lowest validation error, or the last."""
    return state.best_params if best and int(state.best_step) else state.params
