"""Estimators: three functions, reward, advantage and surrogate, as an optimiser of optax is a pair of functions."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from common.extensions import accepted, check_pair, check_returned, check_state
from common.policy_gradient.advantages import Stateful
from common.policy_gradient.config import EstimatorConfig
from common.policy_gradient.episode import Episode
from common.policy_gradient.registry import ADVANTAGE, HYPERPARAMETERS, REWARD, SURROGATE


class Estimator(NamedTuple):
    """A policy-gradient estimator.

    An advantage or a surrogate receives each hyperparameter of which it has an argument of that name. In the same way
    both may receive ``counted [T, M, B]``, and a surrogate ``rewards [T, M, B]``, which then carry their gradient.

    Attributes:
      reward: ``(logits [T, M, B, num_classes], labels [B]) -> rewards [T, M, B]``.
      advantage: ``(rewards [T, M, B], episode) -> [T, M, B]``, or a `Stateful` one.
      surrogate: ``(log_probs, behaviour_log_probs, advantages) -> loss``, all arguments ``[T, M, B]``.
      hyperparameters: ``discount``, ``gae_lambda``, ``moving_average_decay``, ``clip_ratio``: numbers or scalar arrays.
      normalise: whether the advantages of a batch are shifted and scaled to mean 0 and standard deviation 1.
    """

    reward: Callable[..., Array]
    advantage: Callable[..., Array] | Stateful
    surrogate: Callable[..., Array]
    hyperparameters: Mapping[str, Any] = {"discount": 1.0}
    normalise: bool = False

    @property
    def pathwise(self) -> bool:
        """Return whether the surrogate differentiates the rewards through the locations."""
        return getattr(self.surrogate, "through_locations", False)

    def init_state(self, num_glimpses: int) -> PyTree:
        """Return the estimator state before the first step; empty unless the advantage is `Stateful`."""
        return self.advantage.init(num_glimpses) if isinstance(self.advantage, Stateful) else ()


class PolicyLoss(NamedTuple):
    """The policy loss of an episode.

    Attributes:
      loss: the surrogate.
      rewards: ``[T, M, B]``, without a gradient.
      advantages: ``[T, M, B]``, without a gradient.
      estimator_state: the state after this step.
    """

    loss: Float[Array, ""]
    rewards: Float[Array, "T M B"]
    advantages: Float[Array, "T M B"]
    estimator_state: PyTree


class PlayedEpisodes(NamedTuple):
    """Episodes for several updates: what is computed once, when they are played, before the first update.

    Attributes:
      samples: locations before they were clipped to the image, ``[T, M, B, 2]``.
      log_probs: their log-probabilities under the policy that drew them, ``[T, M, B]``.
      rewards: rewards of the episodes, ``[T, M, B]``.
      advantages: advantages of the episodes, ``[T, M, B]``.
      counted: 1 for the glimpses that count, else 0, ``[T, M, B]``; None where all do.
    """

    samples: Float[Array, "T M B 2"]
    log_probs: Float[Array, "T M B"]
    rewards: Float[Array, "T M B"]
    advantages: Float[Array, "T M B"]
    counted: Float[Array, "T M B"] | None = None


def make_estimator(config: EstimatorConfig) -> Estimator:
    """Build the estimator of a configuration.

    Raises:
      ValueError: a function is unknown, cannot be imported, or takes other arguments.
    """
    return Estimator(
        REWARD.resolve(config.reward),
        ADVANTAGE.resolve(config.advantage),
        SURROGATE.resolve(config.surrogate),
        hyperparameters(config),
        config.normalise_advantages,
    )


def hyperparameters(config: EstimatorConfig) -> dict[str, float]:
    """Return the numbers of a configuration that an advantage or a surrogate may have an argument for."""
    return {name: getattr(config, name) for name in HYPERPARAMETERS}


def policy_loss(
    estimator: Estimator,
    episode: Episode,
    labels: Int[Array, " B *S"],
    estimator_state: PyTree = (),
    played: PlayedEpisodes | None = None,
    counted: Float[Array, "T M B"] | None = None,
    first_drawn: int = 1,
) -> PolicyLoss:
    """Compute the surrogate loss of an episode.

    Three rules hold for all functions of an estimator:

    - advantages carry no gradient;
    - rewards carry a gradient only into a surrogate that has an argument ``rewards``;
    - log-probabilities of glimpses that do not count carry no gradient.

    Args:
      estimator: the estimator.
      episode: fields ``[T, M, B]``.
      labels: true classes, or the symbols of each sequence.
      estimator_state: the state of a `Stateful` advantage.
      played: for several updates on the same episodes, what was computed when they were played; otherwise None.
      counted: 1 for the glimpses that count, else 0; None where all do.
      first_drawn: the first glimpse whose location the location policy draws: 1, or 0 for an agent with a `glance`.

    Raises:
      ValueError: the reward, the advantage or the surrogate function returned something of another shape or type.
    """
    rewards_with_gradient = estimator.reward(episode.logits, labels)
    check_returned("reward function", rewards_with_gradient, episode.log_probs.shape, "[T, M, B]")
    rewards = jax.lax.stop_gradient(rewards_with_gradient)
    behaviour, log_probs = jax.lax.stop_gradient(episode.log_probs), episode.log_probs
    if counted is not None:
        # A surrogate of the user may have a gradient even where the advantage is 0, for example an entropy bonus.
        log_probs = jnp.where(counted > 0, log_probs, behaviour)
    counted = jnp.ones_like(rewards) if counted is None else counted
    if played is not None:
        rewards, behaviour, advantages = played.rewards, played.log_probs, played.advantages
    else:
        # The return of a glimpse that does not count is 0, so its expected return must be 0 too.
        expected = episode._replace(values=episode.values * counted)
        advantages, estimator_state = _advantages(estimator, rewards, expected, estimator_state, counted)
        if estimator.normalise and first_drawn < len(advantages):
            learned = counted.at[:first_drawn].set(0)
            mean = counted_mean(advantages, learned)
            deviation = jnp.sqrt(counted_mean(jnp.square(advantages - mean), learned))
            advantages = (advantages - mean) / (deviation + 1e-6)
        advantages = advantages * counted
    learned = counted.at[:first_drawn].set(0)
    optional = {**estimator.hyperparameters, "rewards": rewards_with_gradient, "counted": learned}
    loss = estimator.surrogate(log_probs, behaviour, advantages, **accepted(estimator.surrogate, optional))
    check_returned("surrogate function", loss, (), "[]")
    return PolicyLoss(loss, rewards, advantages, estimator_state)


def counted_mean(values: Float[Array, "*shape"], counted: Float[Array, "*shape"]) -> Float[Array, ""]:
    """Return the mean of the values where ``counted`` is 1 and not 0; 0 if none counts."""
    return (values * counted).sum() / jnp.maximum(counted.sum(), 1)


def _advantages(
    estimator: Estimator, rewards: Array, episode: Episode, estimator_state: PyTree, counted: Array
) -> tuple[Array, PyTree]:
    optional = {**estimator.hyperparameters, "counted": counted}
    if isinstance(estimator.advantage, Stateful):
        update = estimator.advantage.update
        returned = update(rewards, episode, estimator_state, **accepted(update, optional))
        advantages, state = check_pair("advantage function", returned, "(advantages, state)")
        check_state("advantage function", state, estimator_state)
        estimator_state = state
    else:
        advantages = estimator.advantage(rewards, episode, **accepted(estimator.advantage, optional))
    check_returned("advantage function", advantages, episode.log_probs.shape, "[T, M, B]")
    return jax.lax.stop_gradient((advantages, estimator_state))
