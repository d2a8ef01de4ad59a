"""Configuration of an estimator, and which combinations are allowed. Every field is a flag of the command line."""

from dataclasses import dataclass
from typing import Annotated

from common.checks import Range, check_ranges, refuse
from common.policy_gradient.registry import ADVANTAGE, HYPERPARAMETERS, REWARD, SURROGATE
from common.unread import explain_unread


@dataclass(frozen=True)
class EstimatorConfig:
    """The policy-gradient estimator."""

    reward: str = "correct"
    """Reward: correct, signed, log_probability, clipped_linear, gain, or module:function."""
    advantage: str = "learned_baseline"
    """Advantage: plain_return, moving_average, learned_baseline, leave_one_out, gae, vimco, or module:function."""
    surrogate: str = "score_function"
    """Surrogate: score_function, ppo_clip, pathwise, multi_sample, or module:function."""
    replicates: Annotated[int, Range(1)] = 1
    """Monte Carlo samples M of each training image: M episodes on it in every step."""
    antithetic: bool = False
    """Replicates in pairs whose location noise has opposite signs."""
    discount: Annotated[float, Range(0, 1)] = 1.0
    """Discount factor per glimpse; with 0 a location is credited with the reward of its own glimpse alone."""
    gae_lambda: Annotated[float, Range(0, 1)] = 0.95
    """Lambda of the advantage gae: 1 for the return minus the value, 0 for the one-step temporal-difference error."""
    moving_average_decay: Annotated[float, Range(0, below=1)] = 0.99
    """Decay of the average of the advantage moving_average: the fraction of it that is kept at each step."""
    normalise_advantages: bool = False
    """Shift and scale the advantages of a batch to mean 0 and standard deviation 1."""
    clip_ratio: Annotated[float, Range(above=0)] = 0.2
    """Clip range of the surrogate ppo_clip: probability ratios are clipped to 1 minus this and 1 plus this."""
    passes: Annotated[int, Range(1)] = 1
    """Passes over the same episodes, each of `minibatches` updates. More than one update needs the surrogate ppo_clip,
    or module:function."""
    minibatches: Annotated[int, Range(1)] = 1
    """Updates in one pass, each on its own fraction of the images; must divide the batch size."""
    max_kl: Annotated[float, Range(0)] = 0.0
    """Skip the remaining updates of a step once the KL divergence of the current policy from the one that played the
    episodes exceeds this, in nats per location; 0 for never."""

    @property
    def several_updates(self) -> bool:
        """Return whether a step makes several updates on the same episodes."""
        return self.passes > 1 or self.minibatches > 1


def _combinations(config: EstimatorConfig) -> list[tuple[bool, str]]:
    """Return (refused, reason) for every combination that is not allowed."""
    advantage, surrogate, reward = config.advantage, config.surrogate, config.reward
    through_locations = getattr(SURROGATE.resolve(surrogate), "through_locations", False)
    compared = getattr(ADVANTAGE.resolve(advantage), "compares_replicates", False)
    return [
        (
            compared and config.replicates < 2,
            f"advantage {advantage!r} with replicates {config.replicates}: it compares replicates, so give at least 2",
        ),
        (
            config.antithetic and config.replicates % 2 == 1,
            f"antithetic with replicates {config.replicates}: they come in pairs, so give an even number",
        ),
        (
            config.antithetic and compared,
            f"antithetic with advantage {advantage!r}: a replicate depends on its mirror image, which biases the "
            "gradient; give another advantage",
        ),
        (
            advantage == "vimco" and (reward != "log_probability" or config.discount != 1),
            f"advantage 'vimco' with reward {reward!r} and discount {config.discount}: its objective is a bound on the "
            "label's log-probability; give reward log_probability and discount 1",
        ),
        (
            surrogate == "multi_sample" and (advantage != "vimco" or config.normalise_advantages),
            f"surrogate 'multi_sample' with advantage {advantage!r} and normalise_advantages "
            f"{config.normalise_advantages}: the gradient of its bound needs the advantage vimco, not normalised",
        ),
        (
            surrogate == "pathwise" and reward in ("correct", "signed"),
            f"surrogate 'pathwise' with reward {reward!r}: its gradient is 0 almost everywhere; give log_probability, "
            "clipped_linear or gain",
        ),
        (
            surrogate == "pathwise"
            and (advantage != "plain_return" or config.discount != 1 or config.normalise_advantages),
            f"surrogate 'pathwise' with advantage {advantage!r}, discount {config.discount} and normalise_advantages "
            f"{config.normalise_advantages}: it differentiates the return itself; give advantage plain_return and "
            "discount 1, not normalised",
        ),
        (
            (surrogate in ("score_function", "multi_sample") or through_locations) and config.several_updates,
            f"surrogate {surrogate!r} with passes {config.passes} and minibatches {config.minibatches}: after the "
            "first update the episodes are those of an older policy; give ppo_clip, which corrects for that, or "
            "module:function",
        ),
        (
            config.max_kl > 0 and not config.several_updates,
            f"max_kl {config.max_kl}: it skips updates after the first; give more passes or minibatches",
        ),
    ]


def validate_estimator(config: EstimatorConfig) -> None:
    """Check an estimator's configuration.

    Raises:
      ValueError: an unknown function, a number out of its range, or a combination that is not allowed.
    """
    for kind in (REWARD, ADVANTAGE, SURROGATE):
        kind.resolve(getattr(config, kind.name))
    check_ranges(config)
    refuse(_combinations(config))


def unread_hyperparameters(config: EstimatorConfig) -> dict[str, str]:
    """Return the hyperparameters that neither the advantage nor the surrogate reads, each with the reason."""
    chosen = (ADVANTAGE, config.advantage), (SURROGATE, config.surrogate)
    # The loss itself reads the discount, for the targets of the value network.
    reasons = {name: explain_unread(name, *chosen) for name in HYPERPARAMETERS if name != "discount"}
    return {name: reason for name, reason in reasons.items() if reason}
