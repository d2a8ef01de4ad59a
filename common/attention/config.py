"""What every agent of hard attention is configured with: retina, location policy and loss."""

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from common import LARGEST
from common.attention.glimpse import Retina
from common.attention.locations import parse_sigma
from common.checks import require_at_least
from common.policy_gradient import EstimatorConfig


@dataclass(frozen=True)
class RetinaConfig:
    """The retina."""

    glimpse_size: int = 12
    """Side G of each scale's patch, in samples."""
    num_scales: int = 4
    """Number K of scales, each with its own patch."""
    growth: int = 2
    """Factor between the pixel sizes of neighbouring scales."""
    subtract_mean: bool = False
    """Show each image less its mean, as photographs of house numbers are; outside it then lies its mean, not black."""


@dataclass(frozen=True)
class PolicyConfig:
    """The location policy."""

    policy: Literal["learned", "random"] = "learned"
    """Learned Gaussian, or uniform random locations (the control)."""
    start: Literal["uniform", "centre"] = "centre"
    """Where the first glimpse is taken, by an agent that does not predict it."""
    sigma: str = "10px"
    """Standard deviation of the location noise: normalised ('0.1', half the image is 1) or in pixels ('5px')."""
    sigma_final: str | None = None
    """Sigma at the end of training when it is scheduled, same units; also the sigma of evaluation."""
    sigma_schedule: Literal["constant", "linear", "cosine", "exponential"] = "constant"
    """How sigma goes from `sigma` to `sigma_final` over the run; exponential is linear in its logarithm."""
    learned_sigma: Literal["no", "global", "state"] = "no"
    """Learn a factor on sigma in x and in y: one for all, or one that depends on the agent's state."""


@dataclass(frozen=True)
class LossConfig:
    """The hybrid loss."""

    classification_weight: float = 1.0
    """Weight of the cross-entropy, in nats."""
    classify_at: Literal["last", "every"] = "every"
    """Cross-entropy after the last glimpse only, or the mean over all glimpses."""
    policy_weight: float = 1.0
    """Weight of the policy surrogate."""
    baseline_weight: float = 1.0
    """Weight of the baseline's mean squared error."""
    entropy_weight: float = 0.0
    """Weight of the entropy bonus; it moves only a learned sigma."""
    locator_gradient: Literal["core", "head"] = "core"
    """Whether the policy gradient reaches the core and the glimpse network, or stops at the location network."""


@runtime_checkable
class Attention(Protocol):
    """What the configuration of an agent holds, whatever its networks."""

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
    """The retina that a configuration describes."""
    return Retina(config.glimpse_size, config.num_scales, config.growth, config.subtract_mean)


def validate_retina(config: RetinaConfig, height: int, width: int) -> None:
    """Checks a retina against the images' size in pixels.

    Raises:
      ValueError: one line that quotes the bad value and says what is allowed.
    """
    require_at_least(config, 1, "glimpse_size", "num_scales", "growth")
    side = max(height, width)
    if config.glimpse_size > side:
        raise ValueError(
            f"glimpse_size {config.glimpse_size}: the finest patch must fit the {height}x{width} image, "
            f"so at most {side}"
        )
    extent = config.glimpse_size
    for scale in range(1, config.num_scales):
        if extent >= 2 * side:
            raise ValueError(
                f"num_scales {config.num_scales}: a {height}x{width} image is already seen whole from any "
                f"location at scale {scale}, so at most {scale} scales of growth {config.growth}"
            )
        if config.growth == 1:
            raise ValueError(f"growth 1: with {config.num_scales} scales it must be at least 2")
        if config.growth > 2 * side:
            raise ValueError(f"growth {config.growth}: of a {height}x{width} image at most {2 * side}")
        extent *= config.growth


def validate_policy(policy: PolicyConfig, loss: LossConfig, height: int, width: int) -> None:
    """Checks a location policy and a loss for images of ``height x width`` pixels.

    Raises:
      ValueError: one line that quotes the bad value and says what is allowed.
    """
    parse_sigma(policy.sigma, height, width)
    if (policy.sigma_schedule == "constant") != (policy.sigma_final is None):
        raise ValueError(
            f"sigma_schedule {policy.sigma_schedule!r} with sigma_final {policy.sigma_final!r}: give sigma_final with "
            "a schedule of linear, cosine or exponential, and neither for a constant sigma"
        )
    if policy.sigma_final is not None:
        parse_sigma(policy.sigma_final, height, width)
    for name in ("classification_weight", "policy_weight", "baseline_weight", "entropy_weight"):
        if not 0 <= getattr(loss, name) < LARGEST:
            raise ValueError(f"{name} {getattr(loss, name)}: must be 0 or more, and below {LARGEST:g}")
    if loss.entropy_weight and policy.learned_sigma == "no":
        raise ValueError(
            f"entropy_weight {loss.entropy_weight} with learned_sigma 'no': the entropy of a Gaussian depends on its "
            "sigma alone, so there is nothing to learn from it; give learned_sigma global or state"
        )
