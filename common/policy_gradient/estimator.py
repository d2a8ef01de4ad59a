"""The estimator seam: in the way an optimiser is a pair of functions, an estimator is a triple."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from common.attention.base import Episode
from common.policy_gradient.advantages import Stateful
from common.policy_gradient.config import EstimatorConfig
from common.policy_gradient.registry import ADVANTAGES, KEYWORDS, REWARDS, SURROGATES, named, resolve


class Estimator(NamedTuple):
    """A policy-gradient estimator.

    The functions may name any of the hyperparameters as keyword arguments, and are then given them.

    Attributes:
      reward: ``(logits [T, M, B, num_classes], labels [B]) -> rewards [T, M, B]``.
      advantage: ``(rewards [T, M, B], episode) -> [T, M, B]``, or a `Stateful` one.
      surrogate: ``(log_probs, behaviour_log_probs, advantages) -> loss``, all ``[T, M, B]``; it may also name
        ``rewards [T, M, B]``, which then carry their gradient.
      hyperparameters: ``discount``, ``gae_lambda``, ``average_decay``, ``clip_ratio``: numbers or scalar arrays.
      normalise: whether the advantages of a batch are shifted and scaled to mean 0 and standard deviation 1.
    """

    reward: Callable[..., Array]
    advantage: Callable[..., Array] | Stateful
    surrogate: Callable[..., Array]
    hyperparameters: Mapping[str, Any] = {"discount": 1.0}
    normalise: bool = False

    @property
    def pathwise(self) -> bool:
        """Whether the surrogate differentiates the rewards through the locations."""
        return getattr(self.surrogate, "through_locations", False)

    def init_memory(self, num_glimpses: int) -> PyTree:
        """What the advantage remembers from step to step, before the first."""
        return self.advantage.init(num_glimpses) if isinstance(self.advantage, Stateful) else ()


class PolicyLoss(NamedTuple):
    """What an estimator makes of an episode.

    Attributes:
      loss: the surrogate.
      rewards: ``[T, M, B]``, without a gradient.
      advantages: ``[T, M, B]``, without a gradient.
      memory: what the advantage remembers after this step.
    """

    loss: Float[Array, ""]
    rewards: Float[Array, "T M B"]
    advantages: Float[Array, "T M B"]
    memory: PyTree


class Rollout(NamedTuple):
    """What several updates on the same episodes keep of them, ``[T, M, B]`` each.

    Attributes:
      samples: locations before they were moved onto the image ``[T, M, B, 2]``.
      log_probs: under the policy that drew them.
      rewards: as received then.
      advantages: as estimated then.
      counted: 1 for the glimpses that were learned from, else 0; None where all were.
    """

    samples: Float[Array, "T M B 2"]
    log_probs: Float[Array, "T M B"]
    rewards: Float[Array, "T M B"]
    advantages: Float[Array, "T M B"]
    counted: Float[Array, "T M B"] | None = None


def make_estimator(config: EstimatorConfig) -> Estimator:
    """The estimator of a configuration (see `registry.resolve` for the errors)."""
    return Estimator(
        resolve("reward", config.reward, REWARDS),
        resolve("advantage", config.advantage, ADVANTAGES),
        resolve("surrogate", config.surrogate, SURROGATES),
        hyperparameters(config),
        config.normalise_advantages,
    )


def hyperparameters(config: EstimatorConfig) -> dict[str, float]:
    """The numbers that an estimator's functions may name."""
    return {name: getattr(config, name) for name in KEYWORDS}


def policy_loss(
    estimator: Estimator,
    episode: Episode,
    labels: Int[Array, " B *S"],
    memory: PyTree = (),
    rollout: Rollout | None = None,
    counted: Float[Array, "T M B"] | None = None,
    first: int = 1,
) -> PolicyLoss:
    """The surrogate loss of an episode.

    Advantages carry no gradient, whatever the functions do; rewards only to a surrogate that asks for them.

    Args:
      estimator: the estimator.
      episode: fields ``[T, M, B]``.
      labels: true classes, or the symbols of each sequence.
      memory: of a `Stateful` advantage.
      rollout: the same locations when they were drawn, with the rewards and advantages of then; the episode itself
        when not given.
      counted: 1 for the glimpses whose locations are learned from, else 0; all of them when not given.
      first: the first glimpse whose location a learned policy draws.

    Raises:
      ValueError: a reward or an advantage of another shape, which would broadcast in silence.
    """
    live = estimator.reward(episode.logits, labels)
    _require_shape("reward", live, episode)
    rewards = jax.lax.stop_gradient(live)
    behaviour = jax.lax.stop_gradient(episode.log_probs)
    if rollout is not None:
        rewards, behaviour, advantages = rollout.rewards, rollout.log_probs, rollout.advantages
    else:
        counted = jnp.ones_like(rewards) if counted is None else counted
        # Where nothing counts, nothing is expected either.
        expected = episode._replace(baselines=episode.baselines * counted)
        advantages, memory = _advantages(estimator, rewards, expected, memory, counted)
        if estimator.normalise and first < len(advantages):
            learned = counted.at[:first].set(0)
            mean = counted_mean(advantages, learned)
            deviation = jnp.sqrt(counted_mean(jnp.square(advantages - mean), learned))
            advantages = (advantages - mean) / (deviation + 1e-6)
        advantages = advantages * counted
    values = {**estimator.hyperparameters, "rewards": live}
    loss = estimator.surrogate(episode.log_probs, behaviour, advantages, **named(estimator.surrogate, values))
    return PolicyLoss(loss, rewards, advantages, memory)


def counted_mean(values: Float[Array, "*shape"], counted: Float[Array, "*shape"]) -> Float[Array, ""]:
    """Mean of the values that count, where ``counted`` is 1 and not 0; 0 if none does."""
    return (values * counted).sum() / jnp.maximum(counted.sum(), 1)


def _advantages(
    estimator: Estimator, rewards: Array, episode: Episode, memory: PyTree, counted: Array
) -> tuple[Array, PyTree]:
    values = {**estimator.hyperparameters, "counted": counted}
    if isinstance(estimator.advantage, Stateful):
        update = estimator.advantage.update
        advantages, memory = update(rewards, episode, memory, **named(update, values))
    else:
        advantages = estimator.advantage(rewards, episode, **named(estimator.advantage, values))
    _require_shape("advantage", advantages, episode)
    return jax.lax.stop_gradient((advantages, memory))


def _require_shape(name: str, value: Array, episode: Episode) -> None:
    if jnp.shape(value) != episode.log_probs.shape:
        shapes = f"{jnp.shape(value)}, and must return {episode.log_probs.shape}: [T, M, B]"
        raise ValueError(f"the {name} function returned shape {shapes}")
