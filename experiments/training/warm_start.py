"""What a run takes over from another one when it begins: all parameters, the glimpse network, or an encoder."""

import contextlib
import operator
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from common.checks import refuse_settings
from common.training.checkpoints import Checkpoints
from common.training.step import Model, TrainState
from experiments.models import ENCODER as ENCODER_CONFIG
from experiments.models import build
from experiments.training.config import (
    GLIMPSE_NETWORK,
    ColocalisationExperiment,
    DramExperiment,
    Experiment,
    StnExperiment,
    load_blank,
)
from experiments.training.loop import make_initial_state
from experiments.training.restore import read_experiment, read_params
from stn.colocalisation import ENCODER


class Source(NamedTuple):
    """A run that another takes over from: the field that names it, its folder, and what it must have trained."""

    field: str
    folder: str
    kind: type[Experiment]


def begin(experiment: Experiment, model: Model, continued: bool) -> TrainState:
    """The state that a run begins with: a fresh one, with what it takes over unless it goes on from a checkpoint.

    Raises:
      ValueError: see `take_over`.
    """
    state = make_initial_state(experiment, model)
    return state if continued else take_over(experiment, state)


def goes_on(run_dir: Path, resume: bool) -> bool:
    """Whether a run goes on from a checkpoint, and so takes nothing over any more."""
    return resume and bool(Checkpoints(run_dir / "checkpoints").steps())


def check_start(experiment: Experiment, params: PyTree) -> Source | None:
    """The run that a configuration takes over from, if any, checked without reading its parameters.

    Args:
      experiment: what is to be trained.
      params: its parameters, or their shapes.

    Raises:
      ValueError: there is no such run, it is of another model, its parameters have other shapes, or two are named.
    """
    source = _source_of(experiment)
    if isinstance(experiment, DramExperiment) and experiment.start.glimpse_network_from is None:
        refuse_settings(experiment.start, ("freeze_glimpse_network",), ": is for --glimpse-network-from alone")
    if source is None:
        return None
    what, wanted, advice = f"{source.field} {source.folder!r}", experiment.model, "give the model the same settings"
    if source.field == "encoder_from":
        wanted = ENCODER_CONFIG
        advice = "give a run of the preset mnist28_cnn, or of one with the same network and no transformer"
    with _blaming(source.field):
        found = read_experiment(Path(source.folder))
    if not isinstance(found, source.kind):
        raise ValueError(f"{what} is no run of {_COMMANDS[source.kind]}")
    with _blaming(source.field):
        shapes = shapes_of(build(found, load_blank(found.data)).model)
    _require_same_shapes(what, _merged(source, params, shapes), params, advice)
    _require_same_settings(what, found.model, wanted, _UNSHAPED[source.field])
    return source


def shapes_of(model: Model) -> PyTree:
    """The shapes of a model's parameters."""
    return jax.eval_shape(model.init, jax.random.key(0))


# Settings that have no shape, without which what is taken over sees other things than it has learned to see. All
# parameters may be trained on under other ones.
_UNSHAPED = {
    "encoder_from": ("network.input_mean", "network.input_std", "transformer.downsample"),
    "glimpse_network_from": ("retina.growth", "retina.subtract_mean", "agent.combine", "agent.unit_width"),
    "parameters_from": (),
}
# What a run takes over by each field, by the model that it trains: something of a run of which model.
_KINDS: dict[type[Experiment], dict[str, type[Experiment]]] = {
    DramExperiment: {"parameters_from": DramExperiment, "glimpse_network_from": DramExperiment},
    StnExperiment: {"parameters_from": StnExperiment},
    ColocalisationExperiment: {"encoder_from": StnExperiment, "parameters_from": ColocalisationExperiment},
}
# The commands that make the runs of which others take something over.
_COMMANDS: dict[type[Experiment], str] = {
    DramExperiment: "experiments.dram",
    StnExperiment: "experiments.stn",
    ColocalisationExperiment: "experiments.colocalisation",
}


def _source_of(experiment: Experiment) -> Source | None:
    kinds = _KINDS.get(type(experiment), {}).items()
    named = [Source(field, operator.attrgetter("start." + field)(experiment), kind) for field, kind in kinds]
    given = [source for source in named if source.folder is not None]
    if len(given) > 1:
        raise ValueError(" with ".join(f"{one.field} {one.folder!r}" for one in given) + ": give one of them")
    if not given and isinstance(experiment, ColocalisationExperiment):
        raise ValueError(
            "encoder_from is not given: give the folder of a run that tells the classes of crops, as of "
            "python -m experiments.stn mnist28_cnn; or parameters_from, that of a co-localisation to go on from"
        )
    return given[0] if given else None


@contextlib.contextmanager
def _blaming(field: str) -> Iterator[None]:
    """Says of an error which field named the run."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{field}: {error}") from error


def take_over(experiment: Experiment, state: TrainState) -> TrainState:
    """A fresh state with the parameters that the configuration takes over from another run.

    Args:
      experiment: what is to be trained.
      state: its fresh state.

    Raises:
      ValueError: there is no such run, it is of another model, or its parameters have other shapes.
    """
    source = check_start(experiment, state.params)
    if source is None:
        return state
    with _blaming(source.field):
        found = read_params(Path(source.folder))
    taken = _merged(source, state.params, found)
    return state._replace(params=_copies(taken), best_params=_copies(taken))


def _merged(source: Source, params: PyTree, found: PyTree) -> PyTree:
    """Parameters with what is taken over in its place."""
    if source.field == "encoder_from":
        return params | {ENCODER: found}
    if source.field == "glimpse_network_from":
        return params | {GLIMPSE_NETWORK: found[GLIMPSE_NETWORK]}
    return found


def _copies(params: Any) -> Any:
    """Copies, because a chunk of steps donates its state, and one buffer cannot be donated twice."""
    return jax.tree.map(jnp.copy, params)


def _require_same_shapes(what: str, found: Any, expected: Any, advice: str) -> None:
    shapes, wanted = (
        {jax.tree_util.keystr(path, simple=True, separator="/"): list(leaf.shape) for path, leaf in leaves}
        for leaves in map(jax.tree_util.tree_leaves_with_path, (found, expected))
    )
    for name in sorted(shapes | wanted):
        if shapes.get(name) != wanted.get(name):
            raise ValueError(
                f"{what}: its {name} is {shapes.get(name, 'absent')}, here {wanted.get(name, 'absent')}; {advice}"
            )


def _require_same_settings(what: str, found: Any, wanted: Any, names: tuple[str, ...]) -> None:
    for name in names:
        one, other = (operator.attrgetter(name)(config) for config in (found, wanted))
        if one != other:
            raise ValueError(f"{what}: its {name.rpartition('.')[2]} is {one}, here {other}")
