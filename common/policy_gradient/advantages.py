"""Advantages ``(rewards [T, M, B], episode) -> [T, M, B]``: how much better a location did than expected."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from common.episode import Episode


def returns_to_go(rewards: Float[Array, "T M B"]) -> Float[Array, "T M B"]:
    """Sum of the rewards from each glimpse on: what the location of glimpse ``t`` can still influence."""
    return jnp.cumsum(rewards[::-1], axis=0)[::-1]


def plain_return(rewards: Float[Array, "T M B"], episode: Episode) -> Float[Array, "T M B"]:
    """The return itself, without a baseline (Williams 1992)."""
    del episode
    return returns_to_go(rewards)


def learned_baseline(rewards: Float[Array, "T M B"], episode: Episode) -> Float[Array, "T M B"]:
    """Return less the learned per-glimpse baseline, detached (Mnih et al. 2014, equation 3)."""
    return returns_to_go(rewards) - jax.lax.stop_gradient(episode.baselines)


def leave_one_out(rewards: Float[Array, "T M B"], episode: Episode) -> Float[Array, "T M B"]:
    """Return less the mean return of the other replicates of the same image (Kool et al. 2019).

    Raises:
      ValueError: there is only one replicate, so there are no others.
    """
    del episode
    returns = returns_to_go(rewards)
    replicates = returns.shape[1]
    if replicates < 2:
        raise ValueError(f"replicates {replicates}: the leave-one-out baseline needs at least 2")
    return (returns - returns.mean(axis=1, keepdims=True)) * replicates / (replicates - 1)
