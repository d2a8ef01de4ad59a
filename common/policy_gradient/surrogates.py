"""Surrogates ``(log_probs, behaviour_log_probs, advantages) -> loss``, all arguments ``[T, M, B]``.

A surrogate is minimised: its gradient is minus the policy gradient. Sums run over glimpses, means over replicates and
images. A surrogate with an argument ``rewards`` receives the rewards with their gradient.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import rlax
from jaxtyping import Array, Float

from common import Scalar


def score_function(
    log_probs: Float[Array, "T M B"],
    behaviour_log_probs: Float[Array, "T M B"],
    advantages: Float[Array, "T M B"],
) -> Float[Array, ""]:
    """Compute REINFORCE: ``-mean(sum_t log pi(l_t) A_t)`` (Williams 1992; Mnih et al. 2014, equation 2)."""
    del behaviour_log_probs
    return -(log_probs * advantages).sum(axis=0).mean()


def ppo_clip(
    log_probs: Float[Array, "T M B"],
    behaviour_log_probs: Float[Array, "T M B"],
    advantages: Float[Array, "T M B"],
    *,
    clip_ratio: Scalar,
) -> Float[Array, ""]:
    """Compute PPO: ``-mean(sum_t min(q_t A_t, clip(q_t, 1 - c, 1 + c) A_t))`` (Schulman et al. 2017, equation 7).

    ``q_t = pi(l_t) / pi_behaviour(l_t)`` is the ratio of a location's probabilities now and when it was drawn. Where it
    is 1, as in the first update on an episode, the gradient is that of `score_function`.
    """
    # Limits far beyond any clipping: an infinite ratio times an advantage of 0 would be NaN.
    ratios = jnp.exp(jnp.clip(log_probs - behaviour_log_probs, -20, 20))

    def of_stream(ratio: Array, advantage: Array) -> Array:
        return rlax.clipped_surrogate_pg_loss(ratio, advantage, clip_ratio) * len(ratio)

    return jax.vmap(jax.vmap(of_stream, in_axes=1), in_axes=1)(ratios, advantages).mean()


def through_locations(surrogate: Callable) -> Callable:
    """Mark a surrogate that differentiates rewards through the locations.

    Its samples are not detached and its glimpses are bilinear (`common.attention.glimpse.bilinear_glimpse`), so the
    whole loss, the classification loss too, is differentiated through the locations.
    """
    surrogate.through_locations = True  # type: ignore[attr-defined]
    return surrogate


@through_locations
def pathwise(
    log_probs: Float[Array, "T M B"],
    behaviour_log_probs: Float[Array, "T M B"],
    advantages: Float[Array, "T M B"],
    *,
    rewards: Float[Array, "T M B"],
) -> Float[Array, ""]:
    """Compute the negative return, with its gradient through the locations (Kingma and Welling 2014, section 2.4)."""
    del log_probs, behaviour_log_probs, advantages
    return -rewards.sum(axis=0).mean()


def multi_sample(
    log_probs: Float[Array, "T M B"],
    behaviour_log_probs: Float[Array, "T M B"],
    advantages: Float[Array, "T M B"],
    *,
    rewards: Float[Array, "T M B"],
) -> Float[Array, ""]:
    """Compute the loss of `score_function` minus the mean bound ``log mean_m p(label | episode m)``.

    With the advantage `vimco` its gradient is minus that of the expected bound (Mnih and Rezende 2016). The gradient in
    the classifier weighs each replicate by its fraction of the likelihood, as wake-sleep recurrent attention does (Ba
    et al. 2015, equations 5 to 7).
    """
    returns = rewards.sum(axis=0)
    bound = jax.nn.logsumexp(returns, axis=0) - jnp.log(returns.shape[0])
    return score_function(log_probs, behaviour_log_probs, advantages) - bound.mean()
