"""Advantages ``(rewards [T, M, B], episode) -> [T, M, B]``: how much better a location did than expected.

They are per location: the entry of glimpse ``t`` is of the choice of its location, which influences the rewards from
``t`` on. One that remembers something from step to step is a `Stateful`.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple, TypeVar, cast

import jax
import jax.numpy as jnp
import rlax
from jaxtyping import Array, Float, PyTree

from common import Scalar
from common.attention.base import Episode


class Stateful(NamedTuple):
    """An advantage with a memory, in the way an `optax.GradientTransformation` has a state.

    Attributes:
      init: ``num_glimpses -> memory``.
      update: ``(rewards [T, M, B], episode, memory) -> (advantages [T, M, B], memory)``.
      compares_replicates: set by the decorator of that name.
    """

    init: Callable[[int], PyTree]
    update: Callable[..., tuple[Array, PyTree]]
    compares_replicates: bool = False


Advantage = TypeVar("Advantage", bound=Callable | Stateful)


def _over_streams(function: Callable) -> Callable:
    """Maps a function of one stream ``[T, ...]`` over the axes M and B."""
    return jax.vmap(jax.vmap(function, in_axes=1, out_axes=1), in_axes=1, out_axes=1)


def returns_to_go(rewards: Float[Array, "T M B"], discount: Scalar) -> Float[Array, "T M B"]:
    """Discounted sum of the rewards from each glimpse on: what the location of glimpse ``t`` can still influence.

    Args:
      rewards: received after each glimpse.
      discount: factor for each glimpse that a reward lies ahead, in [0, 1]; 0 counts the next reward alone.
    """
    discounts = jnp.full(rewards.shape[0], discount)
    of_stream = functools.partial(rlax.discounted_returns, discount_t=discounts, v_t=jnp.zeros(()))
    return _over_streams(of_stream)(rewards)


def plain_return(rewards: Float[Array, "T M B"], episode: Episode, *, discount: Scalar) -> Float[Array, "T M B"]:
    """The return itself, without a baseline (Williams 1992)."""
    del episode
    return returns_to_go(rewards, discount)


def learned_baseline(rewards: Float[Array, "T M B"], episode: Episode, *, discount: Scalar) -> Float[Array, "T M B"]:
    """Return less the learned per-glimpse baseline (Mnih et al. 2014, equation 3)."""
    return returns_to_go(rewards, discount) - episode.baselines


def gae(
    rewards: Float[Array, "T M B"], episode: Episode, *, discount: Scalar, gae_lambda: Scalar
) -> Float[Array, "T M B"]:
    """Generalised advantage estimation over the rewards of the glimpses (Schulman et al. 2016, equation 16).

    The learned baselines are the values, so with ``gae_lambda`` below 1 the estimate is biased by their errors.
    """
    values = jnp.concatenate([episode.baselines, jnp.zeros_like(episode.baselines[:1])])
    discounts = jnp.full(rewards.shape[0], discount)

    def of_stream(rewards: Array, values: Array) -> Array:
        return rlax.truncated_generalized_advantage_estimation(rewards, discounts, gae_lambda, values)

    return _over_streams(of_stream)(rewards, values)


def compares_replicates(advantage: Advantage) -> Advantage:
    """Marks an advantage in which replicates of an image stand in for each other's baseline.

    They must be independent, so it is refused with antithetic ones, and there must be at least two.
    """
    if isinstance(advantage, Stateful):
        return cast(Advantage, advantage._replace(compares_replicates=True))
    advantage.compares_replicates = True  # type: ignore[attr-defined]
    return advantage


@compares_replicates
def leave_one_out(
    rewards: Float[Array, "T M B"], episode: Episode, *, discount: Scalar, counted: Float[Array, "T M B"]
) -> Float[Array, "T M B"]:
    """Return less the mean return of the other replicates of the same image (Kool et al. 2019).

    The mean is over those in which the glimpse counts; where there are none, the return is left as it is.

    Raises:
      ValueError: there is only one replicate, so there are no others.
    """
    del episode
    returns = returns_to_go(rewards, discount)
    _require_replicates(returns, "leave-one-out baseline")
    learned = returns * counted
    others, total = (part.sum(axis=1, keepdims=True) - part for part in (counted, learned))
    return returns - total / jnp.maximum(others, 1)


@compares_replicates
def vimco(rewards: Float[Array, "T M B"], episode: Episode) -> Float[Array, "T M B"]:
    """Learning signal of a multi-sample bound (Mnih and Rezende 2016, equations 8 and 10).

    The return of a replicate is a log-likelihood; the bound of M of them is ``log mean_m exp(return)``. A replicate's
    signal is the bound less what it would be with the mean return of the others in its place, for each of its
    locations alike. The factor M undoes the mean over replicates of the surrogate.

    Raises:
      ValueError: there is only one replicate, so there are no others.
    """
    del episode
    returns = rewards.sum(axis=0)
    replicates = _require_replicates(rewards, "learning signal of vimco")
    others = (returns.sum(axis=0, keepdims=True) - returns) / (replicates - 1)
    # One row for each replicate that is replaced.
    replaced = jnp.where(jnp.eye(replicates, dtype=bool)[:, :, None], others[:, None], returns[None])
    bound = jax.nn.logsumexp(returns, axis=0)
    signal = replicates * (bound[None] - jax.nn.logsumexp(replaced, axis=1))
    return jnp.broadcast_to(signal, rewards.shape)


def _require_replicates(values: Array, what: str) -> int:
    replicates = values.shape[1]
    if replicates < 2:
        raise ValueError(f"replicates {replicates}: the {what} needs at least 2")
    return replicates


def _init_average(num_glimpses: int) -> PyTree:
    return {"mean": jnp.zeros(num_glimpses), "weight": jnp.zeros(num_glimpses)}


def _update_average(
    rewards: Float[Array, "T M B"],
    episode: Episode,
    memory: PyTree,
    *,
    discount: Scalar,
    average_decay: Scalar,
    counted: Float[Array, "T M B"],
) -> tuple[Float[Array, "T M B"], PyTree]:
    del episode
    returns = returns_to_go(rewards, discount)
    # Of the steps before this one, so that it does not depend on what it is the baseline of.
    baseline = memory["mean"] / jnp.maximum(memory["weight"], 1e-8)
    kept = jnp.asarray(average_decay)
    # A glimpse that few episodes learn from moves its average as little as it has to say.
    new = {"mean": (returns * counted).mean(axis=(1, 2)), "weight": counted.mean(axis=(1, 2))}
    memory = {name: kept * memory[name] + (1 - kept) * new[name] for name in new}
    return returns - baseline[:, None, None], memory


# Return less an exponential moving average of the mean returns of the steps before, one for each glimpse (Williams
# 1992, section 5), over the episodes in which the glimpse counts; the average is divided by the weight it has gathered,
# so that it does not start from 0.
moving_average = Stateful(_init_average, _update_average)
