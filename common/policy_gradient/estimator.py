"""The estimator seam: in the way an optimiser is a pair of functions, an estimator is a triple of them."""

from typing import Callable, NamedTuple

import jax
from jaxtyping import Array, Float, Int

from common.episode import Episode
from common.policy_gradient.registry import ADVANTAGES, REWARDS, SURROGATES, resolve


class Estimator(NamedTuple):
    """A policy-gradient estimator.

    Attributes:
      reward: ``(logits [T, M, B, num_classes], labels [B]) -> rewards [T, M, B]``.
      advantage: ``(rewards [T, M, B], episode) -> [T, M, B]``.
      surrogate: ``(log_probs, behaviour_log_probs, advantages) -> loss``, all ``[T, M, B]``.
    """

    reward: Callable[..., Array]
    advantage: Callable[..., Array]
    surrogate: Callable[..., Array]


def make_estimator(reward: str, advantage: str, surrogate: str) -> Estimator:
    """An estimator from names (see `registry.resolve` for the errors)."""
    return Estimator(
        resolve("reward", reward, REWARDS),
        resolve("advantage", advantage, ADVANTAGES),
        resolve("surrogate", surrogate, SURROGATES),
    )


def policy_loss(
    estimator: Estimator, episode: Episode, labels: Int[Array, "B"]
) -> tuple[Float[Array, ""], Float[Array, "T M B"]]:
    """The surrogate loss of an episode, and its rewards.

    Neither rewards nor advantages carry a gradient, whatever the functions do.

    Returns:
      ``(loss, rewards [T, M, B])``.
    """
    rewards = jax.lax.stop_gradient(estimator.reward(episode.logits, labels))
    advantages = jax.lax.stop_gradient(estimator.advantage(rewards, episode))
    behaviour = jax.lax.stop_gradient(episode.log_probs)
    return estimator.surrogate(episode.log_probs, behaviour, advantages), rewards
