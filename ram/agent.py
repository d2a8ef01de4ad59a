"""The RAM agent: its networks as the functions of an episode."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree

from common.attention.base import Agent
from common.attention.config import make_retina
from common.attention.model import AttentionModel, make_attention
from common.networks.cores import CORES
from common.networks.heads import ActionNetwork, LocationNetwork, ValueNetwork
from ram.config import RamConfig
from ram.networks import GlimpseNetwork


class Ram(nn.Module):
    """The parameters of RAM: glimpse, core, location, action and baseline networks."""

    config: RamConfig
    num_classes: int

    def setup(self):
        agent = self.config.agent
        self.glimpse_network = GlimpseNetwork(
            agent.glimpse_hidden, agent.location_hidden, agent.glimpse_features, agent.combine
        )
        heads = {"num_heads": agent.core_heads} if agent.core == "transformer" else {}
        self.core = CORES[agent.core](hidden=agent.core_hidden, num_glimpses=agent.num_glimpses, **heads)
        self.location_network = LocationNetwork(
            agent.mean_activation, agent.location_network_hidden, self.config.policy.learned_sigma
        )
        self.action_network = ActionNetwork(self.num_classes)
        self.baseline_network = ValueNetwork()

    def initial_state(self, batch_size: int) -> PyTree:
        """The core's state before the first glimpse."""
        return self.core.initial_state((batch_size,))

    def look(self, state: PyTree, glimpses: Array, locations: Array) -> tuple[PyTree, Array]:
        """One glimpse into the core."""
        return self.core(state, self.glimpse_network(glimpses, locations))

    def locate(self, output: Array, sigma: Array) -> tuple[Array, Array]:
        """The location policy after a glimpse."""
        if self.config.loss.policy_gradient_into == "location_network":
            output = jax.lax.stop_gradient(output)
        return self.location_network(output, sigma)

    def classify(self, output: Array) -> Array:
        """Logits of the classes."""
        return self.action_network(output)

    def value(self, output: Array) -> Array:
        """Expected return."""
        return self.baseline_network(output)

    def everything(self, glimpses: Array, locations: Array) -> None:
        """Touches every network once, to initialise the parameters."""
        _, output = self.look(self.initial_state(glimpses.shape[0]), glimpses, locations)
        self.locate(output, jnp.ones(2)), self.classify(output), self.value(output)


def make_agent(module: Ram) -> Agent:
    """The module's methods as functions of the parameters."""

    def method(function: Callable) -> Callable:
        return lambda params, *args: module.apply({"params": params}, *args, method=function)

    return Agent(*(method(f) for f in (Ram.initial_state, Ram.look, Ram.locate, Ram.classify, Ram.value)))


def make_ram(config: RamConfig, height: int, width: int, channels: int, num_classes: int) -> AttentionModel:
    """Builds RAM for images of ``height x width x channels`` and ``num_classes`` classes.

    Raises:
      ValueError: an unknown name of an estimator's part.
    """
    retina, module = make_retina(config.retina), Ram(config, num_classes)
    agent = make_agent(module)

    def init(key: Key[Array, ""]) -> PyTree:
        glimpses = jnp.zeros((1, retina.scales, retina.size, retina.size, channels))
        return module.init(key, glimpses, jnp.zeros((1, 2)), method=Ram.everything)["params"]

    number = config.agent.num_glimpses
    return make_attention(config, init, lambda images: agent, num_glimpses=number, height=height, width=width)
