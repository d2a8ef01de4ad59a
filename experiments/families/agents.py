"""Build the model of a hard-attention agent, for the families RAM and DRAM."""

import functools
from typing import Any

import jax.numpy as jnp

from common.attention.config import Attention
from common.attention.location_policies import LOCATION_POLICY, takes_sigma
from common.attention.locations import describe_sigma
from common.attention.model import AttentionModel
from common.checks import check_divides
from common.data import Dataset
from common.extensions import Extension
from common.networks.cores import CORE
from common.networks.glimpse_networks import OPTIONS
from common.policy_gradient import EstimatorConfig, unread_hyperparameters
from common.training.step import Model
from common.unread import explain_unread
from experiments.families.base import BuiltModel, describe
from experiments.training.config import Experiment

# Chosen on validation images of augmented100. The low discount credits a location with little more than the gain of its
# own glimpse, and the policy loss is too weak to disturb what the core learns by classification.
GAIN = EstimatorConfig(reward="gain", discount=0.3)
# The settings that the parameters of a glimpse network depend on, whatever their shapes.
GLIMPSE_SETTINGS = (
    "retina.glimpse_size",
    "retina.num_scales",
    "retina.growth",
    "retina.subtract_mean",
    "agent.glimpse_network",
    "agent.combine",
)
# The settings that a location network reads if it has a field of this name, and those of sigma.
LOCATION_SETTINGS = {
    "mean_activation": "mean_activation",
    "learned_sigma": "learned_sigma",
    "location_network_hidden": "hidden",
}
SIGMA_SETTINGS = ("sigma", "sigma_final", "sigma_schedule")


def build_agent(
    experiment: Experiment, attention: AttentionModel, model: Model, dataset: Dataset, glimpse_networks: Extension
) -> BuiltModel:
    """Return the built model of an agent: what is trained, its summary, its figures, and the settings it does not read.

    Args:
      experiment: its configuration.
      attention: the agent for these images.
      model: the functions that are trained: those of the agent, perhaps with frozen parameters.
      dataset: the images.
      glimpse_networks: those that the agent can have.

    Raises:
      ValueError: the batch cannot be divided into the configured minibatches.
    """
    config: Attention = experiment.model
    agent = experiment.model.agent
    check_divides("minibatches", config.estimator.minibatches, "batch_size", experiment.training.batch_size)
    summary = (
        f"{describe(dataset)}; {attention.num_glimpses} glimpses of {config.retina.num_scales} x "
        f"{config.retina.glimpse_size}x{config.retina.glimpse_size}, {agent.core}, M = {config.estimator.replicates}"
    )
    if attention.sigma is not None:
        first, last = (
            describe_sigma(attention.sigma(jnp.array(progress)).tolist(), dataset.height, dataset.width)
            for progress in (0.0, 1.0)
        )
        summary += f", sigma {first}" if first == last else f", sigma {first} to {last}"
    draw = functools.partial(_draw, attention, dataset, experiment.training.eval_batch_size)
    unread = _unread(experiment.model, glimpse_networks)
    return BuiltModel(model, summary, draw, attention=attention, unread=unread)


def _unread(config: Any, glimpse_networks: Extension) -> dict[str, str]:
    policy, agent = config.policy, config.agent
    choices = (
        (glimpse_networks, agent.glimpse_network, {name: name for name in OPTIONS}),
        (CORE, agent.core, {"core_heads": "num_heads"}),
        (LOCATION_POLICY, policy.location_policy, LOCATION_SETTINGS),
    )
    unread = unread_hyperparameters(config.estimator)
    for kind, name, arguments in choices:
        for setting, argument in arguments.items():
            has_setting = hasattr(agent, setting) or hasattr(policy, setting)  # RAM and DRAM each lack some.
            if has_setting and (reason := explain_unread(argument, (kind, name))):
                unread[setting] = reason
    if not takes_sigma(LOCATION_POLICY.resolve(policy.location_policy)):
        why = f" with location_policy {policy.location_policy!r}: its __call__ has no argument sigma"
        unread |= dict.fromkeys(SIGMA_SETTINGS, why)
    if policy.location_policy == "gaussian" and policy.learned_sigma == "no":
        unread["entropy_weight"] = " with learned_sigma 'no': the entropy of a Gaussian depends on sigma alone"
    return unread


def _draw(attention: AttentionModel, dataset: Dataset, batch_size: int, params: Any, run_dir: Any) -> None:
    from experiments.plots.agents import draw_agent

    draw_agent(attention, params, dataset, run_dir, batch_size)
