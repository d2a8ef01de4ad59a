"""What a run takes over from another one when it begins: all parameters, the glimpse network, or an encoder."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from common.checkpoint import Checkpoints
from common.training import Model, TrainState
from experiments.config import (
    GLIMPSE_NETWORK,
    ColocalisationExperiment,
    DramExperiment,
    Experiment,
    StnExperiment,
    load_blank,
)
from experiments.models import ENCODER as ENCODER_CONFIG
from experiments.restore import RestoredRun, read_experiment, read_run
from experiments.train import make_initial_state
from stn.colocalisation import ENCODER


def check_start(experiment: Experiment) -> None:
    """Checks the folders that a configuration names, without reading parameters.

    Raises:
      ValueError: there is no such run, or it is of another model.
    """
    if isinstance(experiment, ColocalisationExperiment):
        name, folder = _named(experiment)
        if folder is None:
            raise ValueError(
                "encoder_from None: give the folder of a run that tells the classes of crops, as of "
                "python -m experiments.stn mnist28_cnn"
            )
        _require_kind(name, folder, StnExperiment)
    elif isinstance(experiment, DramExperiment):
        name, folder = _named(experiment)
        if folder is not None:
            _require_kind(name, folder, DramExperiment)


def begin(experiment: Experiment, model: Model, run_dir: Path, resume: bool) -> TrainState:
    """The state that a run begins with: a fresh one, with what it takes over unless it goes on from a checkpoint.

    Raises:
      ValueError: see `take_over`.
    """
    state = make_initial_state(experiment, model)
    if goes_on(run_dir, resume):
        return state
    check_start(experiment)
    return take_over(experiment, state)


def goes_on(run_dir: Path, resume: bool) -> bool:
    """Whether a run goes on from a checkpoint, and so takes nothing over any more."""
    return resume and bool(Checkpoints(run_dir / "checkpoints").steps())


def take_over(experiment: Experiment, state: TrainState) -> TrainState:
    """A fresh state with the parameters that the configuration takes over from another run.

    Args:
      experiment: what is to be trained.
      state: its fresh state.

    Raises:
      ValueError: there is no such run, it is of another model, or its parameters have other shapes.
    """
    if isinstance(experiment, ColocalisationExperiment):
        return _take_encoder(experiment, state)
    if not isinstance(experiment, DramExperiment):
        return state
    name, folder = _named(experiment)
    if folder is None:
        return state
    taken = _run_of(name, folder, DramExperiment).params()
    if name == "glimpse_network_from":
        taken = state.params | {GLIMPSE_NETWORK: taken[GLIMPSE_NETWORK]}
    _require_same_shapes(f"{name} {folder!r}", taken, state.params, "give the same networks and retina")
    return state._replace(params=_copies(taken), best_params=_copies(taken))


def _take_encoder(experiment: ColocalisationExperiment, state: TrainState) -> TrainState:
    name, folder = _named(experiment)
    assert folder is not None
    run = _run_of(name, folder, StnExperiment)
    assert isinstance(run.experiment, StnExperiment)
    encoder, network = run.params(), run.experiment.model.network
    advice = "give a run of the preset mnist28_cnn, or of one with the same network and no transformer"
    _require_same_shapes(f"encoder_from {folder!r}", encoder, state.params[ENCODER], advice)
    for name in ("input_mean", "input_std"):  # They have no shape.
        if getattr(network, name) != (wanted := getattr(ENCODER_CONFIG.network, name)):
            raise ValueError(f"encoder_from {folder!r}: its {name} is {getattr(network, name)}, here {wanted}")
    taken = state.params | {ENCODER: encoder}
    return state._replace(params=_copies(taken), best_params=_copies(taken))


def _named(experiment: DramExperiment | ColocalisationExperiment) -> tuple[str, str | None]:
    """The field that names a run to take over from, and its folder."""
    if isinstance(experiment, ColocalisationExperiment):
        return "encoder_from", experiment.start.encoder_from
    start = experiment.start
    name = "parameters_from" if start.parameters_from is not None else "glimpse_network_from"
    return name, getattr(start, name)


# The commands that make the runs of which others take something over.
_COMMANDS: dict[type[Experiment], str] = {DramExperiment: "experiments.dram", StnExperiment: "experiments.stn"}


def _require_kind(name: str, folder: str, kind: type[Experiment]) -> None:
    try:
        experiment = read_experiment(Path(folder))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    if not isinstance(experiment, kind):
        raise ValueError(f"{name} {folder!r} is no run of {_COMMANDS[kind]}")


def _run_of(name: str, folder: str, kind: type[Experiment]) -> RestoredRun:
    """The run that a field names, which must be one of a kind; of its images only the shapes."""
    _require_kind(name, folder, kind)
    try:
        return read_run(Path(folder), load_blank)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


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
