"""Warm starts: begin a run with parameters of another run."""

import operator
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from common.checks import explained
from common.training.checkpoints import Checkpoints
from common.training.step import Model, TrainState
from experiments.families import Family, find_family
from experiments.runs.restore import blank_images, read_experiment, read_run_without_images
from experiments.training.config import Experiment
from experiments.training.programs import make_initial_state
from experiments.training.run_directory import read_starts


def begin(
    family: Family, experiment: Experiment, model: Model, resumed: bool
) -> tuple[TrainState, dict[str, Any] | None]:
    """Return the state that a run begins with: a fresh one, with the warm start unless the run is resumed.

    Returns:
      The state, and the record of the warm start (see `warm_start`); None without one.

    Raises:
      ValueError: see `warm_start`.
    """
    state = make_initial_state(experiment, model)
    return (state, None) if resumed else warm_start(family, experiment, state)


def is_resumed(run_dir: Path, resume: bool) -> bool:
    """Check if a run continues from a checkpoint, and so needs no warm start."""
    return resume and bool(Checkpoints(run_dir / "checkpoints").steps())


def check_warm_start(family: Family, experiment: Experiment, params: PyTree) -> None:
    """Check the warm start of a configuration without reading parameters.

    Args:
      family: of the run that begins.
      experiment: its configuration.
      params: its parameters, or their shapes.

    Raises:
      ValueError: there is no such run, it is of another family, its parameters have other shapes or another meaning, or
        two runs are named.
    """
    family.check_start(experiment)
    field = _named_run(family, experiment)
    if field is None:
        return
    start, folder = family.warm_starts[field], getattr(experiment.start, field)
    expected_family = family if start.family is None else find_family(start.family)
    with explained(field):
        other_family, other = read_experiment(Path(folder))
    if other_family.name != expected_family.name:
        raise ValueError(f"{field} {folder!r} is no run of {expected_family.command}")
    with explained(field):
        built = other_family.build(other, blank_images(Path(folder), other.data))
    model = experiment.model if start.model is None else start.model
    read = [setting for setting in start.settings if setting.rpartition(".")[2] not in built.unread]
    _require_same_settings(f"{field} {folder!r}", other.model, model, read)
    shapes = parameter_shapes(built.model)
    _require_same_shapes(f"{field} {folder!r}", start.merge(params, shapes), params, start.advice)


def _named_run(family: Family, experiment: Experiment) -> str | None:
    """Return the field that names the run to start from; None without a warm start.

    Raises:
      ValueError: several do.
    """
    named = [field for field in family.warm_starts if getattr(experiment.start, field) is not None]
    if len(named) > 1:
        raise ValueError(
            " with ".join(f"{field} {getattr(experiment.start, field)!r}" for field in named) + ": give one of them"
        )
    return named[0] if named else None


def warm_start(family: Family, experiment: Experiment, state: TrainState) -> tuple[TrainState, dict[str, Any] | None]:
    """Return a fresh state with the parameters of the run that a checked configuration names (`check_warm_start`).

    Returns:
      The state, and the record of the other run for ``starts.json``: its run directory, the step of the parameters,
      the number of images that they were trained on, its own warm start included, and its last commit. None without a
      warm start.

    Raises:
      ValueError: the other run cannot be read.
    """
    field = _named_run(family, experiment)
    if field is None:
        return state, None
    start, run_dir = family.warm_starts[field], Path(getattr(experiment.start, field))
    with explained(field):
        other = read_run_without_images(run_dir)
        starts = read_starts(run_dir)
    params = start.merge(state.params, other.params())
    earlier = starts[0].get("warm_start", {}).get("training_images", 0) if starts else 0
    record = {
        "run_dir": str(run_dir),
        "step": other.step(),
        "training_images": earlier + other.step() * other.experiment.training.batch_size,
        "commit": starts[-1]["commit"] if starts else None,
    }
    return state._replace(params=_copies(params), best_params=_copies(params)), record


def parameter_shapes(model: Model) -> PyTree:
    """Return the shapes of a model's parameters."""
    return jax.eval_shape(model.init, jax.random.key(0))


def _copies(params: Any) -> Any:
    """Copy, because a chunk of steps donates its state, and one buffer cannot be donated twice."""
    return jax.tree.map(jnp.copy, params)


def _require_same_shapes(name: str, params: Any, expected: Any, advice: str) -> None:
    shapes, wanted = (
        {jax.tree_util.keystr(path, simple=True, separator="/"): list(leaf.shape) for path, leaf in leaves}
        for leaves in map(jax.tree_util.tree_leaves_with_path, (params, expected))
    )
    for key in sorted(shapes | wanted):
        if shapes.get(key) != wanted.get(key):
            there, here = (
                f"has shape {found[key]}" if key in found else "does not exist" for found in (shapes, wanted)
            )
            raise ValueError(f"{name}: parameter {key} {there} in that run but {here} here; {advice}")


def _require_same_settings(name: str, config: Any, expected: Any, settings: Sequence[str]) -> None:
    for setting in settings:
        one, other = (operator.attrgetter(setting)(each) for each in (config, expected))
        if one != other:
            raise ValueError(f"{name}: {setting.rpartition('.')[2]} is {one} in that run but {other} here")
