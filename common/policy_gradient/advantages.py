"""Advantages ``(rewards [T, M, B], episode, discount) -> [T, M, B]``: how much better a location did than expected."""

import functools

import jax
import jax.numpy as jnp
import rlax
from jaxtyping import Array, Float

from common.episode import Episode


def returns_to_go(rewards: Float[Array, "T M B"], discount: float) -> Float[Array, "T M B"]:
    """Discounted sum of the rewards from each glimpse on: what the location of glimpse ``t`` can still influence.

    Args:
      rewards: received after each glimpse.
      discount: factor for each glimpse that a reward lies ahead, in [0, 1]; 0 counts the next reward alone.
    """
    of_stream = functools.partial(rlax.discounted_returns, v_t=jnp.zeros(()))
    discounts = jnp.full(rewards.shape[0], discount)
    over_images = jax.vmap(of_stream, in_axes=(1, None), out_axes=1)
    return jax.vmap(over_images, in_axes=(1, None), out_axes=1)(rewards, discounts)


def plain_return(rewards: Float[Array, "T M B"], episode: Episode, discount: float) -> Float[Array, "T M B"]:
    """The return itself, without a baseline (Williams 1992)."""
    del episode
    return returns_to_go(rewards, discount)


def learned_baseline(rewards: Float[Array, "T M B"], episode: Episode, discount: float) -> Float[Array, "T M B"]:
    """Return less the learned per-glimpse baseline, detached (Mnih et al. 2014, equation 3)."""
    return returns_to_go(rewards, discount) - jax.lax.stop_gradient(episode.baselines)


def leave_one_out(rewards: Float[Array, "T M B"], episode: Episode, discount: float) -> Float[Array, "T M B"]:
    """Return less the mean return of the other replicates of the same image (Kool et al. 2019).

    Raises:
      ValueError: there is only one replicate, so there are no others.
    """
    del episode
    returns = returns_to_go(rewards, discount)
    replicates = returns.shape[1]
    if replicates < 2:
        raise ValueError(f"replicates {replicates}: the leave-one-out baseline needs at least 2")
    return (returns - returns.mean(axis=1, keepdims=True)) * replicates / (replicates - 1)
