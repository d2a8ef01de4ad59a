"""Warm starts: begin a run with parameters of another run."""

import operator
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from common.checks import explained
from common.training.checkpoints import Checkpoints
from common.training.step import Model, TrainState
from experiments.families import Family, Source, find_family
from experiments.training.config import Experiment, load_blank
from experiments.training.programs import make_initial_state
from experiments.training.restore import read_experiment, read_params


def begin(family: Family, experiment: Experiment, model: Model, resumed: bool) -> TrainState:
    """Return the state that a run begins with: a fresh one, with the warm start unless the run is resumed.

    Raises:
      ValueError: see `check_warm_start`.
    """
    state = make_initial_state(experiment, model)
    return state if resumed else warm_start(family, experiment, state)


def is_resumed(run_dir: Path, resume: bool) -> bool:
    """Check if a run continues from a checkpoint, and so needs no warm start."""
    return resume and bool(Checkpoints(run_dir / "checkpoints").steps())


def check_warm_start(family: Family, experiment: Experiment, params: PyTree) -> tuple[str, Source] | None:
    """Check the warm start of a configuration without reading parameters.

    Args:
      family: of the run that begins.
      experiment: its configuration.
      params: its parameters, or their shapes.

    Returns:
      The field that names the other run and what is taken from it; None without a warm start.

    Raises:
      ValueError: there is no such run, it is of another family, its parameters have other shapes, or two are named.
    """
    family.check_start(experiment)
    named = [field for field in family.sources if getattr(experiment.start, field) is not None]
    if len(named) > 1:
        raise ValueError(
            " with ".join(f"{field} {getattr(experiment.start, field)!r}" for field in named) + ": give one of them"
        )
    if not named:
        return None
    (field,) = named
    source, folder = family.sources[field], getattr(experiment.start, field)
    expected_family = family if source.family is None else find_family(source.family)
    with explained(field):
        other_family, other = read_experiment(Path(folder))
    if other_family.name != expected_family.name:
        raise ValueError(f"{field} {folder!r} is no run of {expected_family.command}")
    with explained(field):
        shapes = parameter_shapes(other_family.build(other, load_blank(other.data)).model)
    model = experiment.model if source.model is None else source.model
    with explained(f"{field} {folder!r}"):
        _require_same(_list_shapes(source.merge(params, shapes)), _list_shapes(params), f"; {source.advice}")
        its, here = (
            {name: operator.attrgetter(name)(each) for name in source.settings} for each in (other.model, model)
        )
        _require_same(its, here)
    return field, source


def warm_start(family: Family, experiment: Experiment, state: TrainState) -> TrainState:
    """Return a fresh state with the parameters that the configuration takes from another run.

    Raises:
      ValueError: see `check_warm_start`.
    """
    start = check_warm_start(family, experiment, state.params)
    if start is None:
        return state
    field, source = start
    with explained(field):
        params = source.merge(state.params, read_params(Path(getattr(experiment.start, field))))
    return state._replace(params=_copies(params), best_params=_copies(params))


def parameter_shapes(model: Model) -> PyTree:
    """Return the shapes of a model's parameters."""
    return jax.eval_shape(model.init, jax.random.key(0))


def _copies(params: Any) -> Any:
    """Copy, because a chunk of steps donates its state, and one buffer cannot be donated twice."""
    return jax.tree.map(jnp.copy, params)


def _list_shapes(params: Any) -> dict[str, list[int]]:
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): list(leaf.shape) for path, leaf in leaves}


def _require_same(found: Mapping[str, Any], wanted: Mapping[str, Any], advice: str = "") -> None:
    for name in sorted({*found, *wanted}):
        its, here = found.get(name, "absent"), wanted.get(name, "absent")
        if its != here:
            raise ValueError(f"its {name.rpartition('.')[2]} is {its}, here {here}{advice}")
