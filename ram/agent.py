"""The RAM agent (Mnih et al. 2014): its networks, and its functions for an episode."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree

from common.attention.base import Agent
from common.attention.config import make_retina
from common.attention.location_policies import (
    LocationPolicy,
    check_policy,
    compute_policy,
    make_location_network,
)
from common.attention.model import AttentionModel, make_attention
from common.networks.cores import make_core, step_core
from common.networks.glimpse_networks import encode_glimpses, make_glimpse_network
from common.networks.heads import ActionNetwork, ValueNetwork
from ram.config import RamConfig
from ram.networks import GLIMPSE_NETWORK


class Ram(nn.Module):
    """The networks of RAM: glimpse network, core, location, action and value networks.

    Attributes:
      config: configuration of the agent.
      num_classes: number of classes.
    """

    config: RamConfig
    num_classes: int

    def setup(self):
        agent = self.config.agent
        # Do not rename: Flax derives initial parameters from the names, so published results would change.
        self.glimpse_network = make_glimpse_network(
            GLIMPSE_NETWORK,
            agent.glimpse_network,
            agent.glimpse_features,
            combine=agent.combine,
            glimpse_hidden=agent.glimpse_hidden,
            location_hidden=agent.location_hidden,
            conv_channels=agent.conv_channels,
        )
        self.core = make_core(agent.core, agent.core_hidden, agent.num_glimpses, num_heads=agent.core_heads)
        self.location_network = make_location_network(
            self.config.policy.location_policy,
            learned_sigma=self.config.policy.learned_sigma,
            mean_activation=agent.mean_activation,
            hidden=agent.location_network_hidden,
        )
        self.action_network = ActionNetwork(self.num_classes)
        self.baseline_network = ValueNetwork()

    def initial_state(self, batch_size: int) -> PyTree:
        """Return the core's state before the first glimpse."""
        return self.core.initial_state((batch_size,))

    def perceive(self, state: PyTree, glimpses: Array, locations: Array) -> tuple[PyTree, Array]:
        """Feed one glimpse to the core; return its state and output."""
        return step_core(self.core, state, encode_glimpses(self.glimpse_network, glimpses, locations))

    def locate(self, output: Array, sigma: Array) -> LocationPolicy:
        """Compute the location policy after a glimpse."""
        if self.config.loss.policy_gradient_into == "location_network":
            output = jax.lax.stop_gradient(output)
        return compute_policy(self.location_network, output, sigma)

    def classify(self, output: Array) -> Array:
        """Compute the logits of the classes."""
        return self.action_network(output)

    def value(self, output: Array) -> Array:
        """Compute the expected return."""
        return self.baseline_network(output)

    def call_all_networks(self, glimpses: Array, locations: Array) -> None:
        """Call every network once, to initialise the parameters."""
        _, output = self.perceive(self.initial_state(glimpses.shape[0]), glimpses, locations)
        check_policy(self.location_network, self.locate(output, jnp.ones(2)), locations.shape[:-1])
        self.classify(output), self.value(output)


def make_agent(module: Ram) -> Agent:
    """Return the methods of the module as functions of its parameters."""

    def method(function: Callable) -> Callable:
        return lambda params, *args: module.apply({"params": params}, *args, method=function)

    return Agent(*(method(f) for f in (Ram.initial_state, Ram.perceive, Ram.locate, Ram.classify, Ram.value)))


def make_ram(config: RamConfig, height: int, width: int, channels: int, num_classes: int) -> AttentionModel:
    """Build RAM for images of ``height x width x channels`` pixels and ``num_classes`` classes.

    Raises:
      ValueError: an unknown reward, advantage, surrogate, core, glimpse network or location policy.
    """
    retina, module = make_retina(config.retina), Ram(config, num_classes)
    agent = make_agent(module)

    @jax.jit
    def init(key: Key[Array, ""]) -> PyTree:
        glimpses = jnp.zeros((1, retina.scales, retina.size, retina.size, channels))
        return module.init(key, glimpses, jnp.zeros((1, 2)), method=Ram.call_all_networks)["params"]

    number = config.agent.num_glimpses
    return make_attention(config, init, lambda images: agent, num_glimpses=number, height=height, width=width)
