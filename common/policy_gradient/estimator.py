"""Estimators: as an optimiser is a pair of functions, an estimator is three: reward, advantage and surrogate."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from common.attention.base import Episode
from common.extensions import accepted
from common.policy_gradient.advantages import Stateful
from common.policy_gradient.config import EstimatorConfig
from common.policy_gradient.registry import ADVANTAGE, HYPERPARAMETERS, REWARD, SURROGATE


class Estimator(NamedTuple):
    """A policy-gradient estimator.

    Advantage and surrogate are given each hyperparameter that they have a keyword argument for.

    Attributes:
      reward: ``(logits [T, M, B, num_classes], labels [B]) -> rewards [T, M, B]``.
      advantage: ``(rewards [T, M, B], episode) -> [T, M, B]``, or a `Stateful` one; it may also name ``counted``.
      surrogate: ``(log_probs, behaviour_log_probs, advantages) -> loss``, all ``[T, M, B]``; it may also name
        ``rewards [T, M, B]``, which then carry their gradient, and ``counted [T, M, B]``.
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


class Rollout(NamedTuple):
    """The quantities that several updates on the same episodes share, computed once, before the first update.

    Attributes:
      samples: locations before they were moved onto the image ``[T, M, B, 2]``.
      log_probs: under the policy that drew them ``[T, M, B]``.
      rewards: as received when the episodes were played ``[T, M, B]``.
      advantages: as estimated then ``[T, M, B]``.
      counted: 1 for the glimpses that count, else 0 ``[T, M, B]``; None where all do.
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
    """Return the numbers of a configuration that an advantage or a surrogate may name."""
    return {name: getattr(config, name) for name in HYPERPARAMETERS}


def policy_loss(
    estimator: Estimator,
    episode: Episode,
    labels: Int[Array, " B *S"],
    estimator_state: PyTree = (),
    rollout: Rollout | None = None,
    counted: Float[Array, "T M B"] | None = None,
    first: int = 1,
) -> PolicyLoss:
    """Compute the surrogate loss of an episode.

    Whatever the functions do, advantages carry no gradient, rewards carry one only into a surrogate that names them,
    and log-probabilities of glimpses that do not count carry none.

    Args:
      estimator: the estimator.
      episode: fields ``[T, M, B]``.
      labels: true classes, or the symbols of each sequence.
      estimator_state: the state of a `Stateful` advantage.
      rollout: what was computed when these episodes were played, for further updates on them; None for the first.
      counted: 1 for the glimpses that count, else 0; None where all do.
      first: the first glimpse whose location the location policy draws: 1, or 0 for an agent with a `glance`.

    Raises:
      ValueError: a reward or an advantage of another shape, which would broadcast silently.
    """
    live = estimator.reward(episode.logits, labels)
    _require_shape("reward", live, episode)
    rewards = jax.lax.stop_gradient(live)
    behaviour, log_probs = jax.lax.stop_gradient(episode.log_probs), episode.log_probs
    if counted is not None:
        # A surrogate may have a gradient where its advantage is 0, as a bonus on the entropy has.
        log_probs = jnp.where(counted > 0, log_probs, behaviour)
    counted = jnp.ones_like(rewards) if counted is None else counted
    if rollout is not None:
        rewards, behaviour, advantages = rollout.rewards, rollout.log_probs, rollout.advantages
    else:
        # Where nothing counts, the expected return is 0.
        expected = episode._replace(values=episode.values * counted)
        advantages, estimator_state = _advantages(estimator, rewards, expected, estimator_state, counted)
        if estimator.normalise and first < len(advantages):
            learned = counted.at[:first].set(0)
            mean = counted_mean(advantages, learned)
            deviation = jnp.sqrt(counted_mean(jnp.square(advantages - mean), learned))
            advantages = (advantages - mean) / (deviation + 1e-6)
        advantages = advantages * counted
    optional = {**estimator.hyperparameters, "rewards": live, "counted": counted.at[:first].set(0)}
    loss = estimator.surrogate(log_probs, behaviour, advantages, **accepted(estimator.surrogate, optional))
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
        advantages, estimator_state = update(rewards, episode, estimator_state, **accepted(update, optional))
    else:
        advantages = estimator.advantage(rewards, episode, **accepted(estimator.advantage, optional))
    _require_shape("advantage", advantages, episode)
    return jax.lax.stop_gradient((advantages, estimator_state))


def _require_shape(name: str, value: Array, episode: Episode) -> None:
    if jnp.shape(value) != episode.log_probs.shape:
        shapes = f"{jnp.shape(value)}, and must return {episode.log_probs.shape}: [T, M, B]"
        raise ValueError(f"the {name} function returned shape {shapes}")
