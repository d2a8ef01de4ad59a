"""The models of experiments: what each configuration builds."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp

from common.attention.model import AttentionModel
from common.baselines import NETWORKS, make_baseline, validate_baseline
from common.data import Dataset
from common.locations import describe_sigma
from common.training import Model
from dram.agent import make_dram
from dram.config import validate as validate_dram
from experiments.config import AgentExperiment, CnnExperiment, DramExperiment, Experiment, RamExperiment
from experiments.pictures import draw_agent, draw_baseline
from ram.agent import make_ram
from ram.config import validate as validate_ram


class Built(NamedTuple):
    """What an experiment trains on.

    Attributes:
      model: the functions that are trained and evaluated.
      draw: ``(params, run_dir) -> None``, the pictures.
      summary: one line for people.
    """

    model: Model
    draw: Callable[[Any, Path], None]
    summary: str


def build(experiment: Experiment, dataset: Dataset) -> Built:
    """Builds the model of an experiment for a data set.

    Raises:
      ValueError: a bad configuration; quotes the value and says what is allowed.
    """
    config, height, width = experiment.training, dataset.height, dataset.width
    size = len(dataset.train.labels)
    if config.batch_size > size:
        raise ValueError(f"batch_size {config.batch_size}: larger than the train split, so at most {size}")
    if experiment.data.shift >= min(height, width):
        raise ValueError(
            f"shift {experiment.data.shift}: must be below the side of the {height}x{width} images, so at most "
            f"{min(height, width) - 1}"
        )
    minibatches = 1 if isinstance(experiment, CnnExperiment) else experiment.model.estimator.minibatches
    if minibatches > 0 and config.batch_size % minibatches:
        raise ValueError(f"minibatches {minibatches}: must divide batch_size {config.batch_size}")
    if config.steps >= 2**31:
        raise ValueError(f"steps {config.steps}: must be below {2**31}, since the step is counted in 32 bits")
    if isinstance(experiment, CnnExperiment):
        return _build_baseline(experiment, dataset)
    return _build_agent(experiment, dataset)


def make_agent(experiment: AgentExperiment, dataset: Dataset) -> AttentionModel:
    """The agent of an experiment for a data set.

    Raises:
      ValueError: a bad configuration; quotes the value and says what is allowed.
    """
    height, width, targets = dataset.height, dataset.width, dataset.num_targets
    shape = (height, width, dataset.channels, dataset.num_classes)
    if isinstance(experiment, DramExperiment):
        validate_dram(experiment.model, height, width, targets)
        return make_dram(experiment.model, *shape, targets)
    validate_ram(experiment.model, height, width)
    if targets is not None:
        raise ValueError(f"task {dataset.name!r}: its labels are sequences, which RAM does not read; DRAM does")
    return make_ram(experiment.model, *shape)


def make_network(experiment: CnnExperiment, dataset: Dataset) -> Model:
    """The network of an experiment for a data set.

    Raises:
      ValueError: a bad configuration; quotes the value and says what is allowed.
    """
    height, width = dataset.height, dataset.width
    validate_baseline(experiment.model, height, width)
    return make_baseline(experiment.model, height, width, dataset.channels, dataset.num_classes, dataset.num_targets)


def _describe(dataset: Dataset) -> str:
    images = f"{dataset.name}: {dataset.height}x{dataset.width}x{dataset.channels}"
    if dataset.num_targets is None:
        return f"{images}, {dataset.num_classes} classes"
    return f"{images}, sequences of at most {dataset.num_targets - 1} symbols"


def _build_agent(experiment: AgentExperiment, dataset: Dataset) -> Built:
    config, height, width = experiment.training, dataset.height, dataset.width
    made = make_agent(experiment, dataset)

    def draw(params: Any, run_dir: Path) -> None:
        draw_agent(made, params, dataset, run_dir, config.eval_batch_size)

    first, last = (describe_sigma(made.sigma(jnp.array(p)).tolist(), height, width) for p in (0.0, 1.0))
    sigma = first if first == last else f"{first} to {last}"
    agent, retina = experiment.model.agent, experiment.model.retina
    return Built(
        made.model,
        draw,
        f"{_describe(dataset)}; {made.num_glimpses} glimpses of {retina.num_scales} x "
        f"{retina.glimpse_size}x{retina.glimpse_size}, {agent.core}, M = {experiment.model.estimator.replicates}, "
        f"sigma {sigma}",
    )


def _build_baseline(experiment: CnnExperiment, dataset: Dataset) -> Built:
    model = make_network(experiment, dataset)

    def draw(params: Any, run_dir: Path) -> None:
        draw_baseline(model, params, dataset, run_dir, experiment.training.eval_batch_size)

    return Built(model, draw, f"{_describe(dataset)}; {experiment.model.network}")


def model_name(experiment: Experiment) -> str:
    """``ram``, ``dram``, or the network's name."""
    if isinstance(experiment, CnnExperiment):
        return experiment.model.network
    return "dram" if isinstance(experiment, DramExperiment) else "ram"


def experiment_class(model: str) -> type[Experiment]:
    """The class of the experiment that trained a model.

    Raises:
      ValueError: the model is unknown.
    """
    agents: dict[str, type[Experiment]] = {"ram": RamExperiment, "dram": DramExperiment}
    classes = agents | dict.fromkeys(NETWORKS, CnnExperiment)
    if model not in classes:
        raise ValueError(f"model {model!r} of the run is unknown: must be one of {', '.join(classes)}")
    return classes[model]
