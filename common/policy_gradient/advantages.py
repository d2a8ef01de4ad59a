"""Advantages ``(rewards [T, M, B], episode) -> [T, M, B]``: how much better a location was than expected.

The entry of glimpse ``t`` belongs to the choice of its location, which influences the rewards from ``t`` on. An
advantage that keeps something from step to step is a `Stateful`.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple, TypeVar, cast

import jax
import jax.numpy as jnp
import rlax
from jaxtyping import Array, Float, PyTree

from common import Scalar
from common.policy_gradient.episode import Episode


class Stateful(NamedTuple):
    """An advantage with a state, in the way that an `optax.GradientTransformation` has one.

    Attributes:
      init: ``num_glimpses -> state``, before the first step.
      update: ``(rewards [T, M, B], episode, state) -> (advantages [T, M, B], state)``.
      compares_replicates: set by the decorator `compares_replicates`.
      bias: set by the decorator `biased`.
    """

    init: Callable[[int], PyTree]
    update: Callable[..., tuple[Array, PyTree]]
    compares_replicates: bool = False
    bias: str | None = None


Advantage = TypeVar("Advantage", bound=Callable | Stateful)


def compares_replicates(advantage: Advantage) -> Advantage:
    """Mark an advantage that uses replicates of an image as each other's baseline.

    It needs at least two replicates, and they must be independent, so antithetic replicates are refused.
    """
    return _mark(advantage, "compares_replicates", True)


def biased(reason: str) -> Callable[[Advantage], Advantage]:
    """Declare that an advantage or a surrogate biases the gradient of the expected return.

    Args:
      reason: one line that says why; `common.policy_gradient.estimator_checks` reports it with the measured bias.
    """
    return lambda function: _mark(function, "bias", reason)


def _mark(function: Advantage, name: str, value: bool | str) -> Advantage:
    if isinstance(function, Stateful):
        return cast(Advantage, function._replace(**{name: value}))  # type: ignore[arg-type]
    setattr(function, name, value)
    return function


def _over_streams(function: Callable) -> Callable:
    """Map a function of one stream ``[T, ...]`` over the axes M and B."""
    return jax.vmap(jax.vmap(function, in_axes=1, out_axes=1), in_axes=1, out_axes=1)


def returns_to_go(rewards: Float[Array, "T M B"], discount: Scalar) -> Float[Array, "T M B"]:
    """Compute the discounted sum of the rewards from each glimpse on, those that its location can still influence.

    Args:
      rewards: received after each glimpse.
      discount: factor for each glimpse that a reward lies ahead, in [0, 1]; 0 counts the next reward alone.
    """
    discounts = jnp.full(rewards.shape[0], discount)
    of_stream = functools.partial(rlax.discounted_returns, discount_t=discounts, v_t=jnp.zeros(()))
    return _over_streams(of_stream)(rewards)


def plain_return(rewards: Float[Array, "T M B"], episode: Episode, *, discount: Scalar) -> Float[Array, "T M B"]:
    """Return the return itself, without a baseline (Williams 1992)."""
    del episode
    return returns_to_go(rewards, discount)


def learned_baseline(rewards: Float[Array, "T M B"], episode: Episode, *, discount: Scalar) -> Float[Array, "T M B"]:
    """Compute the return minus the value before each glimpse (Mnih et al. 2014, equation 3)."""
    return returns_to_go(rewards, discount) - episode.values


def gae(
    rewards: Float[Array, "T M B"], episode: Episode, *, discount: Scalar, gae_lambda: Scalar
) -> Float[Array, "T M B"]:
    """Compute the generalised advantage estimate (Schulman et al. 2016, equation 16).

    With ``gae_lambda`` below 1 the errors of the value network bias it.
    """
    values = jnp.concatenate([episode.values, jnp.zeros_like(episode.values[:1])])
    discounts = jnp.full(rewards.shape[0], discount)

    def of_stream(rewards: Array, values: Array) -> Array:
        return rlax.truncated_generalized_advantage_estimation(rewards, discounts, gae_lambda, values)

    return _over_streams(of_stream)(rewards, values)


@compares_replicates
def leave_one_out(
    rewards: Float[Array, "T M B"], episode: Episode, *, discount: Scalar, counted: Float[Array, "T M B"]
) -> Float[Array, "T M B"]:
    """Compute the return minus the mean return of the other replicates of the same image (Kool et al. 2019).

    The mean is over the other replicates in which the glimpse counts. If there are none, nothing is subtracted.
    """
    del episode
    returns = returns_to_go(rewards, discount)
    learned = returns * counted
    others, total = (part.sum(axis=1, keepdims=True) - part for part in (counted, learned))
    return returns - total / jnp.maximum(others, 1)


@compares_replicates
def vimco(rewards: Float[Array, "T M B"], episode: Episode) -> Float[Array, "T M B"]:
    """Compute the learning signal of a multi-sample bound (Mnih and Rezende 2016, equations 8 and 10).

    The return of a replicate is a log-likelihood; the bound of M of them is ``log mean_m exp(return)``. The signal of a
    replicate, the same for all its locations, is the bound minus the bound with the mean return of the others in its
    place. It is multiplied by M, which cancels the surrogate's mean over replicates.
    """
    del episode
    returns = rewards.sum(axis=0)
    replicates = rewards.shape[1]
    others = (returns.sum(axis=0, keepdims=True) - returns) / (replicates - 1)
    # One row for each replicate that is replaced.
    replaced = jnp.where(jnp.eye(replicates, dtype=bool)[:, :, None], others[:, None], returns[None])
    bound = jax.nn.logsumexp(returns, axis=0)
    signal = replicates * (bound[None] - jax.nn.logsumexp(replaced, axis=1))
    return jnp.broadcast_to(signal, rewards.shape)


def _init_average(num_glimpses: int) -> PyTree:
    return {"mean": jnp.zeros(num_glimpses), "weight": jnp.zeros(num_glimpses)}


def _update_average(
    rewards: Float[Array, "T M B"],
    episode: Episode,
    state: PyTree,
    *,
    discount: Scalar,
    moving_average_decay: Scalar,
    counted: Float[Array, "T M B"],
) -> tuple[Float[Array, "T M B"], PyTree]:
    del episode
    returns = returns_to_go(rewards, discount)
    # From earlier steps alone, so that the baseline is independent of the returns that it is subtracted from.
    baseline = state["mean"] / jnp.maximum(state["weight"], 1e-8)
    decay = jnp.asarray(moving_average_decay)
    # A glimpse that counts in few episodes moves its average little.
    new = {"mean": (returns * counted).mean(axis=(1, 2)), "weight": counted.mean(axis=(1, 2))}
    state = {name: decay * state[name] + (1 - decay) * new[name] for name in new}
    return returns - baseline[:, None, None], state


# The return minus an exponential moving average of the mean returns of earlier steps (Williams 1992, section 5). Each
# glimpse has its own average, over the episodes in which it counts. Division by the sum of the weights corrects the
# bias of an average that starts at 0, as in Adam.
moving_average = Stateful(_init_average, _update_average)
