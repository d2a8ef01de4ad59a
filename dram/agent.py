"""The DRAM agent (Ba et al. 2014, section 3): the upper of two recurrent cores looks, the lower reads."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree, UInt8

from common.attention.base import Agent
from common.attention.config import make_retina
from common.attention.glimpse import subtract_mean
from common.attention.location_policies import (
    LocationPolicy,
    check_policy,
    compute_policy,
    make_location_network,
)
from common.attention.locations import parse_sigma
from common.attention.model import AttentionModel, make_attention
from common.attention.sequences import Sequence
from common.extensions import describe_arrays
from common.networks.cores import make_core, step_core
from common.networks.glimpse_networks import encode_glimpses, make_glimpse_network
from common.networks.heads import ActionNetwork, ValueNetwork
from dram.config import DramConfig, num_glimpses
from dram.networks import GLIMPSE_NETWORK, ContextNetwork


class Layers(NamedTuple):
    """A value for each of the two cores: their states, or their outputs ``[..., D]``."""

    lower: Any
    upper: Any


class Dram(nn.Module):
    """The networks of DRAM: glimpse and context networks, two cores, location, action and value networks.

    Attributes:
      config: configuration of the agent.
      num_classes: number of classes, or of symbols with the end symbol.
      unit_width: length of 1 in the locations that the networks read and choose, normalised in x and y.
      num_glimpses: T, for the cores that need it.
    """

    config: DramConfig
    num_classes: int
    unit_width: tuple[float, float] = (1.0, 1.0)
    num_glimpses: int = 1

    def setup(self):
        agent = self.config.agent
        # Do not rename: Flax derives initial parameters from the names, so published results would change.
        self.glimpse_network = make_glimpse_network(
            GLIMPSE_NETWORK,
            agent.glimpse_network,
            agent.glimpse_features,
            combine=agent.combine,
            conv_channels=agent.conv_channels,
        )
        self.lower = make_core(agent.core, agent.lower_hidden, self.num_glimpses)
        if agent.two_layers:
            self.upper = make_core(agent.core, agent.upper_hidden, self.num_glimpses)
        if agent.context:
            self.context_network = ContextNetwork(agent.context_size, agent.context_channels)
            top = self.upper if agent.two_layers else self.lower
            self.context_state = [nn.Dense(leaf.shape[-1]) for leaf in context_leaves(top)]
        self.location_network = make_location_network(
            self.config.policy.location_policy,
            learned_sigma=self.config.policy.learned_sigma,
            mean_activation=agent.mean_activation,
            hidden=0,
            unit_width=self.unit_width,
        )
        self.action_network = ActionNetwork(self.num_classes)
        self.baseline_network = ValueNetwork()

    def initial_state(self, images: UInt8[Array, "B H W C"]) -> Layers:
        """Return the initial states of the cores, before the first glimpse.

        With context, the floating-point arrays of the upper core's state come from the coarse image, which the
        classifier does not see.
        """
        agent, batch = self.config.agent, (images.shape[0],)
        lower = self.lower.initial_state(batch)
        upper = self.upper.initial_state(batch) if agent.two_layers else lower
        if agent.context:
            features = self.context_network(subtract_mean(images) if self.config.retina.subtract_mean else images)
            leaves = iter([jnp.tanh(dense(features)) for dense in self.context_state])
            upper = jax.tree.map(lambda leaf: next(leaves) if _is_floating(leaf) else leaf, upper)
        return Layers(lower, upper) if agent.two_layers else Layers(upper, ())

    def glance(self, state: Layers) -> Layers:
        """Return the output before the first glimpse, for the first location.

        It is the last floating-point array of the initial state.
        """
        hidden = Layers(*([leaf for leaf in jax.tree.leaves(part) if _is_floating(leaf)][-1:] for part in state))
        (lower,) = hidden.lower
        return Layers(lower, hidden.upper[0] if hidden.upper else lower)

    def perceive(self, state: Layers, glimpses: Array, locations: Array) -> tuple[Layers, Layers]:
        """Feed one glimpse to both cores; return their states and outputs."""
        agent = self.config.agent
        location = locations / jnp.broadcast_to(jnp.array(self.unit_width), locations.shape)
        features = encode_glimpses(self.glimpse_network, glimpses, location)
        lower_state, lower = step_core(self.lower, state.lower, features)
        if not agent.two_layers:
            return Layers(lower_state, ()), Layers(lower, lower)
        into = jax.lax.stop_gradient(lower) if agent.stop_gradient else lower
        upper_state, upper = step_core(self.upper, state.upper, into)
        return Layers(lower_state, upper_state), Layers(lower, upper)

    def locate(self, output: Layers, sigma: Float[Array, "2"]) -> LocationPolicy:
        """Compute the location policy from the upper core."""
        upper = (
            jax.lax.stop_gradient(output.upper)
            if self.config.loss.policy_gradient_into == "location_network"
            else output.upper
        )
        return compute_policy(self.location_network, upper, sigma)

    def classify(self, output: Layers) -> Array:
        """Compute the logits of the classes or symbols from the lower core."""
        return self.action_network(output.lower)

    def value(self, output: Layers) -> Array:
        """Compute the expected return from the upper core."""
        return self.baseline_network(output.upper)

    def call_all_networks(self, images: Array, glimpses: Array, locations: Array) -> None:
        """Call every network once, to initialise the parameters."""
        state = self.initial_state(images)
        self.glance(state)
        _, output = self.perceive(state, glimpses, locations)
        check_policy(self.location_network, self.locate(output, jnp.ones(2)), locations.shape[:-1])
        self.classify(output), self.value(output)


def context_leaves(core: nn.Module) -> list[Float[Array, "1 _"]]:
    """Return the arrays of a core's initial state that the context network computes: those of floating-point numbers.

    Raises:
      ValueError: one of them is not ``[*batch, D]``, or the last one, the output before the first glimpse, is not
        ``[*batch, hidden]``.
    """
    state = core.initial_state((1,))
    leaves = [jnp.asarray(leaf) for leaf in jax.tree.leaves(state) if _is_floating(leaf)]
    if any(leaf.shape[:-1] != (1,) for leaf in leaves) or [leaf.shape for leaf in leaves[-1:]] != [(1, core.hidden)]:
        raise ValueError(
            f"the initial_state of the core returned {describe_arrays(state)}: with context its floating-point arrays "
            f"must be [*batch, D], and the last one [*batch, hidden], here [1, {core.hidden}]"
        )
    return leaves


def _is_floating(leaf: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(leaf), jnp.floating)


def make_agent(module: Dram, images: UInt8[Array, "B H W C"]) -> Agent:
    """Return the methods of the module as functions of its parameters, for an agent that looks at these images."""

    def method(function: Callable) -> Callable:
        return lambda params, *args: module.apply({"params": params}, *args, method=function)

    def initial_state(params: PyTree, batch_size: int) -> PyTree:
        del batch_size  # The images have it.
        return method(Dram.initial_state)(params, images)

    perceive, locate, classify, value = (method(f) for f in (Dram.perceive, Dram.locate, Dram.classify, Dram.value))
    glance = method(Dram.glance) if module.config.agent.context else None
    return Agent(initial_state, perceive, locate, classify, value, glance)


def make_dram(
    config: DramConfig, height: int, width: int, channels: int, num_classes: int, num_targets: int | None = None
) -> AttentionModel:
    """Build DRAM for images of ``height x width x channels`` pixels.

    Args:
      config: configuration of the agent.
      height: image rows.
      width: image columns.
      channels: image channels.
      num_classes: number of classes, or of symbols, the last of which is the end symbol.
      num_targets: S, the symbols of a target sequence; None where the label is one class.

    Raises:
      ValueError: an unknown reward, advantage, surrogate, core, glimpse network or location policy.
    """
    retina = make_retina(config.retina)
    unit_width, length = parse_sigma(config.agent.unit_width, height, width), num_glimpses(config, num_targets)
    module = Dram(config, num_classes, unit_width, length)

    @jax.jit
    def init(key: Key[Array, ""]) -> PyTree:
        glimpses = jnp.zeros((1, retina.scales, retina.size, retina.size, channels))
        images = jnp.zeros((1, height, width, channels), jnp.uint8)
        return module.init(key, images, glimpses, jnp.zeros((1, 2)), method=Dram.call_all_networks)["params"]

    return make_attention(
        config,
        init,
        lambda images: make_agent(module, images),
        num_glimpses=length,
        height=height,
        width=width,
        sequence=Sequence(config.agent.glimpses_per_target, config.agent.stop_at_wrong) if num_targets else None,
    )
