"""Configuration of the RAM agent. Every field is a flag of the command line."""

from dataclasses import dataclass
from typing import Annotated, Literal

from common.attention.config import (
    LossConfig,
    PolicyConfig,
    RetinaConfig,
    validate_policy,
    validate_retina,
)
from common.checks import MOST_GLIMPSES, Range, check_divides, check_ranges
from common.networks.cores import CORE
from common.networks.glimpse_networks import check_glimpse_size
from common.policy_gradient import EstimatorConfig
from ram.networks import GLIMPSE_NETWORK


@dataclass(frozen=True)
class AgentConfig:
    """Sizes of the networks and number of glimpses."""

    num_glimpses: Annotated[int, Range(1, MOST_GLIMPSES)] = 8
    """Number T of glimpses of an episode."""
    glimpse_network: str = "dense"
    """Glimpse network: dense, conv (convolutions 5x5, 3x3 and 3x3 before the dense layers; on glimpses below 9x9 the
    first is 3x3), or module:Class."""
    conv_channels: Annotated[int, Range(1)] = 64
    """Filters of the first two convolutions of conv; the third has twice as many."""
    glimpse_hidden: Annotated[int, Range(1)] = 128
    """Units of the glimpse network's hidden layer on the glimpse."""
    location_hidden: Annotated[int, Range(1)] = 128
    """Units of the glimpse network's hidden layer on the location."""
    glimpse_features: Annotated[int, Range(1)] = 256
    """Units of the glimpse network's output."""
    combine: Literal["add", "multiply"] = "add"
    """Operation that joins the features of glimpse and location: RAM adds, DRAM multiplies."""
    core: str = "lstm"
    """Recurrent core: rnn, lstm, gru, transformer, or module:Class."""
    core_hidden: Annotated[int, Range(1)] = 256
    """Units of the core."""
    core_heads: Annotated[int, Range(1)] = 4
    """Attention heads of the transformer core; must divide the units of the core."""
    location_network_hidden: Annotated[int, Range(0)] = 0
    """Units of a hidden layer in the location network; 0 for none."""
    mean_activation: Literal["linear", "tanh", "hard_tanh"] = "tanh"
    """Activation of the mean location."""


@dataclass(frozen=True)
class RamConfig:
    """A RAM agent."""

    retina: RetinaConfig = RetinaConfig()
    agent: AgentConfig = AgentConfig()
    policy: PolicyConfig = PolicyConfig()
    loss: LossConfig = LossConfig()
    estimator: EstimatorConfig = EstimatorConfig()


def validate(config: RamConfig, height: int, width: int) -> None:
    """Check a configuration against the images' size in pixels.

    Raises:
      ValueError: a bad configuration.
    """
    agent = config.agent
    check_ranges(agent)
    CORE.resolve(agent.core)
    GLIMPSE_NETWORK.resolve(agent.glimpse_network)
    validate_retina(config.retina, height, width)
    check_glimpse_size(agent.glimpse_network, config.retina.glimpse_size)
    if agent.core == "transformer":
        check_divides("core_heads", agent.core_heads, "core_hidden", agent.core_hidden)
    validate_policy(config, height, width)
