"""Configuration of the DRAM agent. Every field is a flag of the command line."""

from dataclasses import dataclass, replace
from typing import Annotated, Literal

from common.attention.config import (
    LossConfig,
    PolicyConfig,
    RetinaConfig,
    validate_policy,
    validate_retina,
)
from common.attention.location_policies import LOCATION_POLICY
from common.attention.locations import parse_sigma
from common.checks import MOST_GLIMPSES, Range, check_at_most, check_ranges, refuse
from common.networks.cores import CORE
from common.networks.glimpse_networks import check_glimpse_size
from common.policy_gradient import EstimatorConfig
from common.unread import ReadBy
from dram.networks import GLIMPSE_NETWORK

# The context initialises the state of a core, which a history of keys and values is not made for.
RECURRENT_CORE = replace(CORE, built_in={name: core for name, core in CORE.built_in.items() if name != "transformer"})


@dataclass(frozen=True)
class AgentConfig:
    """Sizes of the networks and number of glimpses."""

    glimpses_per_target: Annotated[int, Range(1)] = 3
    """Number N of glimpses of each target of a sequence; where the label is one class, of the whole episode."""
    glimpse_network: str = "dense"
    """Glimpse network: dense (one layer), conv (convolutions 5x5, 3x3 and 3x3 and a dense layer; on glimpses below 9x9
    the first is 3x3), or module:Class."""
    conv_channels: Annotated[int, Range(1)] = 64
    """Filters of the first two convolutions of conv; the third has twice as many."""
    glimpse_features: Annotated[int, Range(1)] = 256
    """Units of the glimpse network's output."""
    combine: Literal["add", "multiply"] = "multiply"
    """Operation that joins the features of glimpse and location: DRAM multiplies, RAM adds."""
    core: str = "lstm"
    """Both recurrent cores: rnn, lstm, gru, or module:Class."""
    lower_hidden: Annotated[int, Range(1)] = 512
    """Units of the lower core, which the classifier reads."""
    upper_hidden: Annotated[int, Range(1), ReadBy("two_layers", True)] = 512
    """Units of the upper core, which the location and value networks read."""
    two_layers: bool = True
    """Use a lower and an upper core; otherwise one core feeds all networks."""
    stop_gradient: Annotated[bool, ReadBy("two_layers", True)] = False
    """Stop the gradient of the upper core at its input, so that the lower core learns from the classification loss
    alone."""
    context: bool = True
    """Initialise the upper core from the coarse image, and draw the first location from the location policy too."""
    context_size: Annotated[int, Range(1), ReadBy("context", True)] = 16
    """Side of the coarse image, in pixels."""
    context_channels: Annotated[int, Range(1), ReadBy("context", True)] = 16
    """Filters of the context network's three 3x3 convolutions."""
    mean_activation: Literal["linear", "tanh", "hard_tanh"] = "tanh"
    """Activation of the mean location."""
    unit_width: str = "1"
    """Length of 1 in the locations at the input of the glimpse network and at the output of the location network:
    normalised ('1', half the image) or in pixels ('20px'). In pixels it is the same for images of any size."""
    stop_at_wrong: bool = True
    """Learn nothing from the targets after the first that is predicted wrong."""


@dataclass(frozen=True)
class DramConfig:
    """A DRAM agent."""

    retina: RetinaConfig = RetinaConfig(12, 2)
    agent: AgentConfig = AgentConfig()
    policy: PolicyConfig = PolicyConfig()
    loss: LossConfig = LossConfig()
    estimator: EstimatorConfig = EstimatorConfig()


def num_glimpses(config: DramConfig, num_targets: int | None) -> int:
    """Return the number T of glimpses of an episode that reads ``num_targets`` symbols, or one class."""
    return config.agent.glimpses_per_target * (num_targets or 1)


def validate(config: DramConfig, height: int, width: int, num_targets: int | None) -> None:
    """Check a configuration against the images' size in pixels and the number of symbols of a target sequence.

    Raises:
      ValueError: a bad configuration.
    """
    agent = config.agent
    check_ranges(agent)
    RECURRENT_CORE.resolve(agent.core)
    GLIMPSE_NETWORK.resolve(agent.glimpse_network)
    validate_retina(config.retina, height, width)
    targets = num_targets or 1
    longest = f"an episode of {targets} target{'s' * (targets > 1)} has at most {MOST_GLIMPSES} glimpses"
    check_at_most("glimpses_per_target", agent.glimpses_per_target, MOST_GLIMPSES // targets, longest)
    if agent.context:
        fits = f"the coarse image cannot be larger than the {height}x{width} image"
        check_at_most("context_size", agent.context_size, min(height, width), fits)
    check_glimpse_size(agent.glimpse_network, config.retina.glimpse_size)
    reach = min(parse_sigma(agent.unit_width, height, width, "unit_width"))
    bounded = LOCATION_POLICY.receives(LOCATION_POLICY.resolve(config.policy.location_policy), "mean_activation")
    refuse(
        (
            (
                num_targets and agent.stop_at_wrong and config.estimator.reward == "log_probability",
                "reward 'log_probability' with stop_at_wrong: the reward of every target is negative and nothing "
                "counts after a wrong one, so wrong targets would have a higher return; give gain, or "
                "--no-stop-at-wrong",
            ),
            (
                bounded and agent.mean_activation != "linear" and reach < 1,
                f"unit_width {agent.unit_width!r} with mean_activation {agent.mean_activation!r}: locations further "
                "from the centre could not be chosen; give mean_activation linear, or a unit of at least half the "
                "image",
            ),
        )
    )
    validate_policy(config, height, width)
