"""Configuration that all hard-attention agents share: retina, location policy and loss."""

from dataclasses import dataclass
from typing import Annotated, Literal, Protocol, runtime_checkable

from common.attention.glimpse import Retina
from common.attention.location_policies import LOCATION_POLICY
from common.attention.locations import parse_sigma
from common.checks import Range, check_at_most, check_ranges, refuse
from common.policy_gradient import EstimatorConfig, make_estimator, validate_estimator


@dataclass(frozen=True)
class RetinaConfig:
    """The retina."""

    glimpse_size: Annotated[int, Range(1)] = 12
    """Side G of each scale's patch, in cells."""
    num_scales: Annotated[int, Range(1)] = 4
    """Number K of scales, each with its own patch."""
    growth: Annotated[int, Range(1)] = 2
    """Factor from the side of a cell's box in one scale to that in the next."""
    subtract_mean: bool = False
    """Subtract from each image its mean, as for house numbers; the value outside the image is then the mean, not
    black."""


@dataclass(frozen=True)
class PolicyConfig:
    """The location policy."""

    locations: Literal["learned", "random", "centre"] = "learned"
    """Locations: from the learned policy, or those of a control: uniformly random, or always the image's centre."""
    location_policy: str = "gaussian"
    """Distribution of the learned locations: gaussian, or module:Class, a location network that returns a policy."""
    first_location: Literal["uniform", "centre"] = "centre"
    """Where an agent that does not predict its first location takes the first glimpse."""
    sigma: str = "10px"
    """Standard deviation of the location noise: normalised ('0.1', half the image is 1) or in pixels ('5px')."""
    sigma_final: str | None = None
    """Sigma at the end of the schedule, same units. Evaluation always uses this value."""
    sigma_schedule: Literal["constant", "linear", "cosine", "exponential"] = "constant"
    """Schedule of sigma from `sigma` to `sigma_final` over the run; exponential is linear in its logarithm."""
    learned_sigma: Literal["no", "global", "state"] = "no"
    """Learn a factor on sigma in x and in y: no; global, the same in every state; or state, computed from the output of
    the core."""


@dataclass(frozen=True)
class LossConfig:
    """The hybrid loss."""

    classification_weight: Annotated[float, Range(0)] = 1.0
    """Weight of the cross-entropy, in nats."""
    classify_at: Literal["last", "every"] = "every"
    """Cross-entropy after the last glimpse only, or the mean over all glimpses."""
    label_smoothing: Annotated[float, Range(0, below=1)] = 0.0
    """Fraction of each label that the cross-entropy spreads evenly over all classes (Szegedy et al. 2016)."""
    policy_weight: Annotated[float, Range(0)] = 1.0
    """Weight of the policy surrogate."""
    value_weight: Annotated[float, Range(0)] = 1.0
    """Weight of the value network's mean squared error."""
    entropy_weight: Annotated[float, Range(0)] = 0.0
    """Weight of the entropy bonus. The entropy of a Gaussian depends on sigma alone, so it needs a learned sigma."""
    policy_gradient_into: Literal["core", "location_network"] = "core"
    """Reach of the policy gradient: into the core and the glimpse network, or into the location network alone."""


@runtime_checkable
class Attention(Protocol):
    """The configuration of a hard-attention agent, whatever its networks."""

    @property
    def retina(self) -> RetinaConfig:
        """The retina."""

    @property
    def policy(self) -> PolicyConfig:
        """The location policy."""

    @property
    def loss(self) -> LossConfig:
        """The hybrid loss."""

    @property
    def estimator(self) -> EstimatorConfig:
        """The policy-gradient estimator."""


def make_retina(config: RetinaConfig) -> Retina:
    """Build the retina of a configuration."""
    return Retina(config.glimpse_size, config.num_scales, config.growth, config.subtract_mean)


def validate_retina(config: RetinaConfig, height: int, width: int) -> None:
    """Check a retina against the images' size in pixels.

    Raises:
      ValueError: a number out of its range, or scales that add nothing because an image is already seen whole.
    """
    check_ranges(config)
    side = max(height, width)
    fits = f"the finest patch must fit the {height}x{width} image"
    check_at_most("glimpse_size", config.glimpse_size, side, fits)
    if config.growth == 1:
        check_at_most("num_scales", config.num_scales, 1, "with growth 1 all scales would be the same")
    scales, extent = 1, config.glimpse_size
    while scales < config.num_scales and extent < 2 * side:
        scales, extent = scales + 1, extent * config.growth
    seen = f"with growth {config.growth} a {height}x{width} image is seen whole from any location at scale {scales}"
    check_at_most("num_scales", config.num_scales, scales, seen)


def _check_sigma(name: str, text: str, height: int, width: int) -> None:
    """Check the text of a sigma. A normalised one above 2, the side of the image, has lost its unit."""
    parse_sigma(text, height, width, name)
    if not text.strip().endswith("px") and float(text) > 2:
        raise ValueError(
            f"{name} {text!r}: must be at most 2, the side of the image, unless in pixels, such as '{text}px'"
        )


def validate_policy(config: Attention, height: int, width: int) -> None:
    """Check location policy, loss and estimator of an agent for images of ``height x width`` pixels.

    Raises:
      ValueError: a number out of its range, an unknown name, or settings that contradict each other.
    """
    policy = config.policy
    validate_estimator(config.estimator)
    check_ranges(config.loss)
    network = LOCATION_POLICY.resolve(policy.location_policy)
    chosen = f" with location_policy {policy.location_policy!r}: its class does not declare "
    refuse(
        (
            (
                config.estimator.antithetic and not getattr(network, "antithetic", False),
                f"antithetic{chosen}antithetic = True",
            ),
            (
                make_estimator(config.estimator).pathwise and not getattr(network, "reparameterised", False),
                f"surrogate {config.estimator.surrogate!r}{chosen}reparameterised = True, so its samples have no "
                "gradient",
            ),
            (
                (policy.sigma_schedule == "constant") != (policy.sigma_final is None),
                f"sigma_schedule {policy.sigma_schedule!r} with sigma_final {policy.sigma_final!r}: give sigma_final "
                "with a schedule of linear, cosine or exponential, and neither for a constant sigma",
            ),
        )
    )
    _check_sigma("sigma", policy.sigma, height, width)
    if policy.sigma_final is not None:
        _check_sigma("sigma_final", policy.sigma_final, height, width)
