"""Restore finished or interrupted runs from their run directories."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from common.data import Dataset, find_task
from common.training.checkpoints import Checkpoints
from common.training.step import TrainState
from experiments.cli.console import print_warning
from experiments.families import BuiltModel, Family, find_family
from experiments.training.config import (
    DataConfig,
    Experiment,
    from_json,
    is_own,
    load_blank,
    load_dataset,
    validate_budget,
)
from experiments.training.image_shapes import read_image_shapes
from experiments.training.programs import make_initial_state
from experiments.training.provenance import check_images, image_digests
from experiments.training.run_directory import naming_the_commit, read_identity, read_results
from experiments.training.trust import check_trust, code_digests


class RestoredRun(NamedTuple):
    """A run as it was left.

    Attributes:
      run_dir: its run directory.
      family: its family.
      experiment: its configuration.
      dataset: its images.
      built: its model.
      state: its latest checkpoint.
    """

    run_dir: Path
    family: Family
    experiment: Experiment
    dataset: Dataset
    built: BuiltModel
    state: TrainState

    def params(self, last: bool = False) -> Any:
        """Return the parameters that the run reported, or the last ones."""
        return selected_params(self.state, self.experiment.training.keep_best and not last)

    def results(self) -> dict[str, Any] | None:
        """Read ``results.json``; None for a run that has not finished, or not since it was extended."""
        steps, results = self.experiment.training.steps, read_results(self.run_dir)
        return results if results is not None and results["config"]["training"]["steps"] == steps else None

    def step(self, last: bool = False) -> int:
        """Return the step of `params`."""
        best = int(self.state.best_step)
        return best if best and self.experiment.training.keep_best and not last else int(self.state.step)


def read_experiment(run_dir: Path) -> tuple[Family, Experiment]:
    """Read the family and the configuration of a run.

    Raises:
      ValueError: the folder holds no run, or none that can be read, or it names code that this user has not run.
    """
    identity = read_identity(run_dir)
    check_trust(run_dir, identity["family"], identity["config"])
    with naming_the_commit(run_dir):
        family = find_family(identity["family"])
        experiment = from_json(family.experiment, identity["config"])
    for name, source in code_digests(family.name, identity["config"]).items():
        if identity.get("code", {}).get(name, source) != source:
            print_warning(f"note: the source of {name} has changed since the run {str(run_dir)!r} began")
    return family, experiment


def read_run(run_dir: Path, load: Callable[[DataConfig], Dataset] = load_dataset) -> RestoredRun:
    """Restore a run with its images.

    Args:
      run_dir: its run directory.
      load: loads its images.

    Raises:
      ValueError: the folder holds no run, none that can be read, one without a checkpoint, or one of other images.
    """
    run = _restore(run_dir, load)
    # Rendered and downloaded numbers are many, and may be loaded without their training images.
    train = find_task(run.experiment.data.task).numbers is None
    check_images(run_dir, image_digests(run.dataset, train), warn=True)
    return run


def read_run_without_images(run_dir: Path) -> RestoredRun:
    """Restore a run with blank images of the same shapes; errors as of `read_run`."""
    return _restore(run_dir, functools.partial(blank_images, run_dir))


def blank_images(run_dir: Path, config: DataConfig) -> Dataset:
    """Return blank images of the shapes of a run's images, which may be gone."""
    # Only own images may be gone. Other tasks have a recipe, which a model may depend on.
    stored = read_image_shapes(run_dir) if is_own(config) else None
    return load_blank(config) if stored is None else stored


def _restore(run_dir: Path, load: Callable[[DataConfig], Dataset]) -> RestoredRun:
    family, experiment = read_experiment(run_dir)
    validate_budget(experiment)
    dataset = load(experiment.data)
    built = family.build(experiment, dataset)
    state = make_initial_state(experiment, built.model)
    restored = Checkpoints(run_dir / "checkpoints").restore(state, print_warning)
    if restored is None:
        raise ValueError(f"run directory {str(run_dir)!r} holds no checkpoint yet")
    return RestoredRun(run_dir, family, experiment, dataset, built, restored)


def selected_params(state: TrainState, best: bool) -> Any:
    """Return the parameters that a run reports: those of the lowest validation error, or the last."""
    return state.best_params if best and int(state.best_step) else state.params
