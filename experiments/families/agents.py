"""Hard-attention agents as families: how an agent becomes a model that is trained, drawn and reported."""

import functools
from typing import Any

import jax.numpy as jnp

from common.attention.config import Attention
from common.attention.locations import describe_sigma
from common.attention.model import AttentionModel
from common.checks import check_divides
from common.data import Dataset
from common.policy_gradient import EstimatorConfig
from common.training.step import Model
from experiments.families.base import Built, describe
from experiments.training.config import Experiment

# Found on validation images of augmented100. Each location is credited with little more than its own glimpse gains, and
# the policy loss is too weak to disturb what the core learns by classification.
GAIN = EstimatorConfig(reward="gain", discount=0.3)


def build_agent(experiment: Experiment, agent: AttentionModel, model: Model, dataset: Dataset, core: str) -> Built:
    """Return an agent as what is trained, with its summary and pictures.

    Args:
      experiment: its configuration.
      agent: its episodes.
      model: what is trained of it.
      dataset: the images.
      core: the name of its core.

    Raises:
      ValueError: the batch cannot be divided into the configured minibatches.
    """
    config: Attention = experiment.model
    check_divides("minibatches", config.estimator.minibatches, "batch_size", experiment.training.batch_size)
    first, last = (
        describe_sigma(agent.sigma(jnp.array(progress)).tolist(), dataset.height, dataset.width)
        for progress in (0.0, 1.0)
    )
    sigma = first if first == last else f"{first} to {last}"
    summary = (
        f"{describe(dataset)}; {agent.num_glimpses} glimpses of {config.retina.num_scales} x "
        f"{config.retina.glimpse_size}x{config.retina.glimpse_size}, {core}, M = {config.estimator.replicates}, "
        f"sigma {sigma}"
    )
    draw = functools.partial(_draw, agent, dataset, experiment.training.eval_batch_size)
    return Built(model, summary, draw, agent=agent)


def _draw(agent: AttentionModel, dataset: Dataset, batch_size: int, params: Any, run_dir: Any) -> None:
    from experiments.plots.agents import draw_agent

    draw_agent(agent, params, dataset, run_dir, batch_size)
