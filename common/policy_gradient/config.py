"""Configuration of an estimator, and which combinations make sense. Every field is a flag of the command line."""

from dataclasses import dataclass

from common import LARGEST
from common.checks import require_at_least
from common.policy_gradient.registry import ADVANTAGES, REWARDS, SURROGATES, resolve


@dataclass(frozen=True)
class EstimatorConfig:
    """The policy-gradient estimator."""

    reward: str = "correct"
    """Reward: correct, signed, log_probability, clipped_linear, gain, or module:function."""
    advantage: str = "learned_baseline"
    """Advantage: plain_return, moving_average, learned_baseline, leave_one_out, gae, vimco, or module:function."""
    surrogate: str = "score_function"
    """Surrogate: score_function, ppo_clip, pathwise, multi_sample, or module:function."""
    replicates: int = 1
    """Number M of Monte Carlo replicates of each training image."""
    antithetic: bool = False
    """Replicates in pairs whose location noise has opposite signs."""
    discount: float = 1.0
    """Factor on a reward for each glimpse that it lies ahead, in [0, 1]; small values credit a location with little
    more than its own glimpse."""
    gae_lambda: float = 0.95
    """Lambda of the advantage gae, in [0, 1]: 1 takes the return less the baseline, 0 the one-step error."""
    average_decay: float = 0.99
    """Part of the advantage moving_average's mean return that is kept at each step, in [0, 1)."""
    normalise_advantages: bool = False
    """Shift and scale the advantages of a batch to mean 0 and standard deviation 1."""
    clip_ratio: float = 0.2
    """How far the surrogate ppo_clip lets a location's probability ratio leave 1, above 0."""
    passes: int = 1
    """Passes over the same episodes, each of `minibatches` updates; more than 1 is for ppo_clip."""
    minibatches: int = 1
    """Parts of a batch of images that are an update each; must divide the batch size."""
    max_kl: float = 0.0
    """Skip the rest of a step's updates once the policy's KL divergence from the one that played exceeds this, in
    nats a location; 0 for never."""

    @property
    def several_updates(self) -> bool:
        """Whether a step makes several updates on the same episodes."""
        return self.passes > 1 or self.minibatches > 1


def _combinations(config: EstimatorConfig) -> list[tuple[bool, str]]:
    """(refused, why) for every combination that makes no sense."""
    advantage, surrogate, reward = config.advantage, config.surrogate, config.reward
    through_locations = getattr(resolve("surrogate", surrogate, SURROGATES), "through_locations", False)
    compared = getattr(resolve("advantage", advantage, ADVANTAGES), "compares_replicates", False)
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
            f"antithetic with advantage {advantage!r}: a replicate's mirror image is not independent of it, which "
            "biases the gradient; give another advantage",
        ),
        (
            advantage == "vimco" and reward != "log_probability",
            f"advantage 'vimco' with reward {reward!r}: its bound is of the label's log-probability, so give "
            "log_probability",
        ),
        (
            advantage == "vimco" and config.discount != 1,
            f"advantage 'vimco' with discount {config.discount}: its bound is of the whole return; give 1",
        ),
        (
            surrogate == "multi_sample" and advantage != "vimco",
            f"surrogate 'multi_sample' with advantage {advantage!r}: its learning signal is that of vimco",
        ),
        (
            surrogate == "multi_sample" and config.normalise_advantages,
            "surrogate 'multi_sample' with normalise_advantages: its two terms must keep their scales",
        ),
        (
            surrogate == "pathwise" and config.normalise_advantages,
            "surrogate 'pathwise' with normalise_advantages: it differentiates the return itself",
        ),
        (
            surrogate == "pathwise" and reward in ("correct", "signed"),
            f"surrogate 'pathwise' with reward {reward!r}: a step has no gradient; give log_probability, "
            "clipped_linear or gain",
        ),
        (
            surrogate == "pathwise" and advantage != "plain_return",
            f"surrogate 'pathwise' with advantage {advantage!r}: it differentiates the return itself; give "
            "plain_return",
        ),
        (
            surrogate == "pathwise" and config.discount != 1,
            f"surrogate 'pathwise' with discount {config.discount}: it differentiates the whole return; give 1",
        ),
        (
            (surrogate in ("score_function", "multi_sample") or through_locations) and config.several_updates,
            f"surrogate {surrogate!r} with passes {config.passes} and minibatches {config.minibatches}: from the "
            "second update on the episodes are of another policy, for which ppo_clip is made",
        ),
        (
            config.max_kl > 0 and not config.several_updates,
            f"max_kl {config.max_kl}: with one update a step there is no rest to skip; give more passes or minibatches",
        ),
    ]


def validate_estimator(config: EstimatorConfig) -> None:
    """Checks an estimator's configuration.

    Raises:
      ValueError: one line that quotes the bad value, or the combination that makes no sense with the reason.
    """
    for kind, table in (("reward", REWARDS), ("advantage", ADVANTAGES), ("surrogate", SURROGATES)):
        resolve(kind, getattr(config, kind), table)
    require_at_least(config, 1, "replicates", "passes", "minibatches")
    for name in ("discount", "gae_lambda"):
        if not 0 <= getattr(config, name) <= 1:
            raise ValueError(f"{name} {getattr(config, name)}: must be from 0 to 1")
    if not 0 <= config.average_decay < 1:
        raise ValueError(f"average_decay {config.average_decay}: must be at least 0 and below 1")
    if not 0 < config.clip_ratio < LARGEST:
        raise ValueError(f"clip_ratio {config.clip_ratio}: must be positive and below {LARGEST:g}")
    if not 0 <= config.max_kl < LARGEST:
        raise ValueError(f"max_kl {config.max_kl}: must be 0 (never skip) or more, and below {LARGEST:g}")
    for refused, why in _combinations(config):
        if refused:
            raise ValueError(why)
