"""The DRAM agent (Ba et al. 2014, section 3): two recurrent cores, the upper looks, the lower reads."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree, UInt8

from common.attention.base import Agent
from common.attention.config import make_retina
from common.attention.glimpse import subtract_mean
from common.attention.locations import parse_sigma
from common.attention.model import AttentionModel, make_attention
from common.attention.sequences import Sequence
from common.networks.cores import CORES
from common.networks.heads import ActionNetwork, LocationNetwork, ValueNetwork
from dram.config import DramConfig, num_glimpses
from dram.networks import ContextNetwork, GlimpseNetwork


class Layers(NamedTuple):
    """What belongs to the two cores: their states, or their outputs ``[..., D]``."""

    lower: Any
    upper: Any


class Dram(nn.Module):
    """The parameters of DRAM: glimpse, context, two recurrent, location, action and baseline networks.

    Attributes:
      config: of the agent.
      num_classes: classes, or symbols with the end symbol.
      unit: what 1 of a location is to the networks, normalised in x and y: in pixels it is the same in images of any
        size.
    """

    config: DramConfig
    num_classes: int
    unit: tuple[float, float] = (1.0, 1.0)

    def setup(self):
        agent = self.config.agent
        self.glimpse_network = GlimpseNetwork(
            agent.glimpse_network, agent.conv_channels, agent.glimpse_features, agent.combine
        )
        self.lower = CORES[agent.core](hidden=agent.lower_hidden, num_glimpses=1)
        if agent.two_layers:
            self.upper = CORES[agent.core](hidden=agent.upper_hidden, num_glimpses=1)
        if agent.context:
            self.context_network = ContextNetwork(agent.context_size, agent.context_channels)
            top = self.upper if agent.two_layers else self.lower
            leaves = jax.tree.leaves(top.initial_state((1,)))
            self.context_state = [nn.Dense(leaf.shape[-1]) for leaf in leaves]
        self.location_network = LocationNetwork(agent.mean_activation, 0, self.config.policy.learned_sigma)
        self.action_network = ActionNetwork(self.num_classes)
        self.baseline_network = ValueNetwork()

    def initial_state(self, images: UInt8[Array, "B H W C"]) -> Layers:
        """Zeros; with context, the upper core's from the coarse image, which the classifier never sees."""
        agent, batch = self.config.agent, (images.shape[0],)
        lower = self.lower.initial_state(batch)
        upper = self.upper.initial_state(batch) if agent.two_layers else lower
        if agent.context:
            features = self.context_network(subtract_mean(images) if self.config.retina.subtract_mean else images)
            leaves = [jnp.tanh(dense(features)) for dense in self.context_state]
            upper = jax.tree.unflatten(jax.tree.structure(upper), leaves)
        return Layers(lower, upper) if agent.two_layers else Layers(upper, ())

    def glance(self, state: Layers) -> Layers:
        """The output before the first glimpse, for the first location: the hidden part of the initial state."""
        hidden = Layers(*(jax.tree.leaves(part)[-1:] for part in state))
        (lower,) = hidden.lower
        return Layers(lower, hidden.upper[0] if hidden.upper else lower)

    def look(self, state: Layers, glimpses: Array, locations: Array) -> tuple[Layers, Layers]:
        """One glimpse into both cores."""
        agent = self.config.agent
        where = locations / jnp.broadcast_to(jnp.array(self.unit), locations.shape)
        lower_state, lower = self.lower(state.lower, self.glimpse_network(glimpses, where))
        if not agent.two_layers:
            return Layers(lower_state, ()), Layers(lower, lower)
        into = jax.lax.stop_gradient(lower) if agent.stop_gradient else lower
        upper_state, upper = self.upper(state.upper, into)
        return Layers(lower_state, upper_state), Layers(lower, upper)

    def locate(self, output: Layers, sigma: Float[Array, "2"]) -> tuple[Array, Array]:
        """The location policy, from the upper core."""
        upper = (
            jax.lax.stop_gradient(output.upper)
            if self.config.loss.policy_gradient_into == "location_network"
            else output.upper
        )
        mean, sigma = self.location_network(upper, sigma)
        return mean * jnp.broadcast_to(jnp.array(self.unit), mean.shape), sigma

    def classify(self, output: Layers) -> Array:
        """Logits of the classes or symbols, from the lower core."""
        return self.action_network(output.lower)

    def value(self, output: Layers) -> Array:
        """Expected return, from the upper core."""
        return self.baseline_network(output.upper)

    def everything(self, images: Array, glimpses: Array, locations: Array) -> None:
        """Touches every network once, to initialise the parameters."""
        state = self.initial_state(images)
        self.glance(state)
        _, output = self.look(state, glimpses, locations)
        self.locate(output, jnp.ones(2)), self.classify(output), self.value(output)


def make_agent(module: Dram, images: UInt8[Array, "B H W C"]) -> Agent:
    """The module's methods as functions of the parameters, for an agent before these images."""

    def method(function: Callable) -> Callable:
        return lambda params, *args: module.apply({"params": params}, *args, method=function)

    def initial_state(params: PyTree, batch_size: int) -> PyTree:
        del batch_size  # That of the images.
        return method(Dram.initial_state)(params, images)

    look, locate, classify, value = (method(f) for f in (Dram.look, Dram.locate, Dram.classify, Dram.value))
    glance = method(Dram.glance) if module.config.agent.context else None
    return Agent(initial_state, look, locate, classify, value, glance)


def make_dram(
    config: DramConfig, height: int, width: int, channels: int, num_classes: int, num_targets: int | None = None
) -> AttentionModel:
    """Builds DRAM for images of ``height x width x channels`` pixels.

    Args:
      config: of the agent.
      height: image rows.
      width: image columns.
      channels: of the images.
      num_classes: classes, or symbols of which the last is the end symbol.
      num_targets: S, the symbols of a target sequence; None where the label is one class.

    Raises:
      ValueError: an unknown name of an estimator's part.
    """
    retina = make_retina(config.retina)
    module = Dram(config, num_classes, parse_sigma(config.agent.unit_width, height, width))

    def init(key: Key[Array, ""]) -> PyTree:
        glimpses = jnp.zeros((1, retina.scales, retina.size, retina.size, channels))
        images = jnp.zeros((1, height, width, channels), jnp.uint8)
        return module.init(key, images, glimpses, jnp.zeros((1, 2)), method=Dram.everything)["params"]

    return make_attention(
        config,
        init,
        lambda images: make_agent(module, images),
        num_glimpses=num_glimpses(config, num_targets),
        height=height,
        width=width,
        sequence=Sequence(config.agent.glimpses_per_target, config.agent.stop_at_wrong) if num_targets else None,
    )
