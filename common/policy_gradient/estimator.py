"""The estimator seam: in the way an optimiser is a pair of functions, an estimator is a triple."""

from collections.abc import Callable
from typing import NamedTuple

import jax
from jaxtyping import Array, Float, Int

from common.episode import Episode
from common.policy_gradient.registry import ADVANTAGES, REWARDS, SURROGATES, resolve


class Estimator(NamedTuple):
    """A policy-gradient estimator.

    Attributes:
      reward: ``(logits [T, M, B, num_classes], labels [B]) -> rewards [T, M, B]``.
      advantage: ``(rewards [T, M, B], episode, discount) -> [T, M, B]``.
      surrogate: ``(log_probs, behaviour_log_probs, advantages) -> loss``, all ``[T, M, B]``.
      discount: factor for each glimpse that a reward lies ahead, in [0, 1].
    """

    reward: Callable[..., Array]
    advantage: Callable[..., Array]
    surrogate: Callable[..., Array]
    discount: float = 1.0


def make_estimator(reward: str, advantage: str, surrogate: str, discount: float = 1.0) -> Estimator:
    """An estimator from names (see `registry.resolve` for the errors)."""
    return Estimator(
        resolve("reward", reward, REWARDS),
        resolve("advantage", advantage, ADVANTAGES),
        resolve("surrogate", surrogate, SURROGATES),
        discount,
    )


def policy_loss(
    estimator: Estimator, episode: Episode, labels: Int[Array, "B"]
) -> tuple[Float[Array, ""], Float[Array, "T M B"]]:
    """The surrogate loss of an episode, and its rewards.

    Neither rewards nor advantages carry a gradient, whatever the functions do.

    Returns:
      ``(loss, rewards [T, M, B])``.

    Raises:
      ValueError: a reward or an advantage of another shape, which would broadcast in silence.
    """
    rewards = jax.lax.stop_gradient(estimator.reward(episode.logits, labels))
    advantages = jax.lax.stop_gradient(estimator.advantage(rewards, episode, estimator.discount))
    for name, value in (("reward", rewards), ("advantage", advantages)):
        if value.shape != episode.log_probs.shape:
            shapes = f"{value.shape}, and must return {episode.log_probs.shape}: [T, M, B]"
            raise ValueError(f"the {name} function returned shape {shapes}")
    behaviour = jax.lax.stop_gradient(episode.log_probs)
    return estimator.surrogate(episode.log_probs, behaviour, advantages), rewards
