"""Estimates of the location network's policy gradient, and what a sample of them tells: bias, variance, signal.

A gradient is a vector of the d parameters of the location network. Score functions never differentiate through a
location, so the estimators of one number of replicates are measured on the same episodes, played once.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, Key, PyTree, UInt8

from common.attention.model import AttentionHyper, AttentionModel
from common.policy_gradient import Estimator, EstimatorConfig, policy_loss
from common.policy_gradient.advantages import returns_to_go
from common.training.step import Given

NETWORK, BASELINE = "location_network", "baseline_network"

# Advantage and surrogate of each estimator that is compared.
ESTIMATORS = {
    "plain_return": ("plain_return", "score_function"),
    "moving_average": ("moving_average", "score_function"),
    "learned_baseline": ("learned_baseline", "score_function"),
    "leave_one_out": ("leave_one_out", "score_function"),
    "gae": ("gae", "score_function"),
    "pathwise": ("plain_return", "pathwise"),
    "multi_sample": ("vimco", "multi_sample"),
}


def configure(name: str, reward: str, replicates: int) -> EstimatorConfig:
    """The configuration of a compared estimator, with discount 1, which all of them have a meaning for."""
    advantage, surrogate = ESTIMATORS[name]
    return EstimatorConfig(reward, advantage, surrogate, replicates=replicates, discount=1.0)


class Setting(NamedTuple):
    """What an estimate is of.

    Attributes:
      params: of the agent.
      images: the minibatch ``[B, H, W, C]``.
      labels: its classes ``[B]``.
      hyper: of the agent, sigma among them.
    """

    params: PyTree
    images: UInt8[Array, "B H W C"]
    labels: Int[Array, " B"]
    hyper: AttentionHyper


def _play(ram: AttentionModel, params: PyTree, key: Key[Array, ""], setting: Setting) -> Any:
    return ram.rollout(params, key, setting.images, Given(jnp.zeros(()), setting.hyper))


def make_gradients(ram: AttentionModel, estimators: Sequence[Estimator]) -> Callable[..., Array]:
    """Gradients of the policy loss alone in the location network, by several estimators on the same episodes.

    Args:
      ram: the agent, configured for one of the estimators; the others must play the same episodes.
      estimators: E of them.

    Returns:
      ``(setting, states, keys [N]) -> gradients [N, E, d]``, compiled; ``states`` has an entry an estimator. One
      estimate after the other is made, in one call.
    """

    def one(setting: Setting, states: Sequence[PyTree], key: Key[Array, ""]) -> Array:
        flat, unflatten = ravel_pytree(setting.params[NETWORK])

        def losses(flat: Array) -> Array:
            episode = _play(ram, setting.params | {NETWORK: unflatten(flat)}, key, setting)
            pairs = zip(estimators, states, strict=True)
            return jnp.stack([policy_loss(each, episode, setting.labels, state).loss for each, state in pairs])

        return jax.jacrev(losses)(flat)

    @jax.jit
    def gradients(setting: Setting, states: Sequence[PyTree], keys: Key[Array, " N"]) -> Array:
        return jax.lax.map(functools.partial(one, setting, states), keys)

    return gradients


def make_warm_up(
    ram: AttentionModel, estimators: Sequence[Estimator], num_glimpses: int
) -> Callable[..., list[PyTree]]:
    """What estimators remember after some steps: ``(setting, keys [N]) -> states``, compiled."""

    fresh = [each.init_state(num_glimpses) for each in estimators]
    if not jax.tree.leaves(fresh):  # Nobody remembers anything.
        return lambda setting, keys: fresh

    @jax.jit
    def warm_up(setting: Setting, keys: Key[Array, " N"]) -> list[PyTree]:
        def step(states: list[PyTree], key: Key[Array, ""]) -> tuple[list[PyTree], None]:
            episode = _play(ram, setting.params, key, setting)
            pairs = zip(estimators, states, strict=True)
            return [policy_loss(each, episode, setting.labels, state).estimator_state for each, state in pairs], None

        return jax.lax.scan(step, fresh, keys)[0]

    return warm_up


def make_baseline_fit(
    ram: AttentionModel, draw: Callable[..., tuple[Array, Array]], rate: float
) -> Callable[..., PyTree]:
    """Trains the baseline network alone, by its own loss, for the reward of the agent's estimator and discount 1.

    Args:
      ram: the agent.
      draw: ``(key, source) -> (images, labels)``, a fresh batch.
      rate: learning rate of Adam, constant.

    Returns:
      ``(setting, source, keys [N]) -> params``, compiled; a step for each key.
    """
    optimizer = optax.adam(rate)

    @jax.jit
    def fit(setting: Setting, source: Any, keys: Key[Array, " N"]) -> PyTree:
        def loss(network: PyTree, key: Key[Array, ""]) -> Array:
            draw_key, play_key = jax.random.split(key)
            images, labels = draw(draw_key, source)
            params = setting.params | {BASELINE: network}
            episode = _play(ram, params, play_key, setting._replace(images=images, labels=labels))
            returns = returns_to_go(ram.estimator.reward(episode.logits, labels), 1.0)
            return jnp.square(jax.lax.stop_gradient(returns)[1:] - episode.values[1:]).mean()

        def step(carry: tuple[PyTree, PyTree], key: Key[Array, ""]) -> tuple[tuple[PyTree, PyTree], None]:
            network, state = carry
            updates, state = optimizer.update(jax.grad(loss)(network, key), state)
            return (optax.apply_updates(network, updates), state), None

        network = setting.params[BASELINE]
        return setting.params | {BASELINE: jax.lax.scan(step, (network, optimizer.init(network)), keys)[0][0]}

    return fit


class Moments(NamedTuple):
    """Sums over a sample that is too large to keep.

    Attributes:
      size: estimates N.
      total: their sum ``[d]``.
      squares: the sum of their squared lengths.
    """

    size: int
    total: Float[np.ndarray, " d"]
    squares: float

    def add(self, estimates: Float[np.ndarray, "N d"]) -> "Moments":
        """With more estimates."""
        values = np.asarray(estimates, np.float64)
        return Moments(
            self.size + len(values), self.total + values.sum(axis=0), self.squares + float(np.square(values).sum())
        )


class Reference(NamedTuple):
    """The mean of a large sample, in place of the true gradient.

    Attributes:
      mean: ``[d]``.
      noise: the expected squared length of its error.
      size: estimates that it is the mean of.
    """

    mean: Float[np.ndarray, " d"]
    noise: float
    size: int

    @property
    def signal(self) -> float:
        """Squared length of the true gradient, without bias; it can be negative where that is lost in the noise."""
        return float(self.mean @ self.mean) - self.noise


def make_reference(moments: Moments) -> Reference:
    """The mean of a sample and how far off it is.

    Raises:
      ValueError: fewer than two estimates.
    """
    if moments.size < 2:
        raise ValueError(f"{moments.size} estimates: a reference needs at least 2")
    mean = moments.total / moments.size
    variance = (moments.squares - moments.size * float(mean @ mean)) / (moments.size - 1)
    return Reference(mean, max(variance, 0.0) / moments.size, moments.size)


def summarise(estimates: Float[np.ndarray, "N d"], reference: Reference) -> dict[str, float | None]:
    """Bias, variance and signal-to-noise ratio of an estimator, of N independent estimates.

    The distance between two means is never 0, since both are noisy, so the bias is estimated by its square less what
    noise alone adds to it. That is right on average, and about as often below 0 as above where there is no bias.

    Args:
      estimates: one a row.
      reference: of another sample than the estimates.

    Returns:
      ``variance``, the trace of the covariance; ``bias_squared`` with its ``bias_squared_error``, a standard error
      that counts the reference's noise as of the shape of the estimates'; ``bias``, its root, 0 where it is negative;
      ``bias_z``, the square over the error that it has where there is no bias, of a long upper tail;
      ``relative_bias``, over the reference's length, None where that is lost in the noise; ``mean_norm``;
      ``reference_norm``, that length, and ``reference_noise``, what its error is on average; ``snr``, its square over
      the variance, without noise.

    Raises:
      ValueError: fewer than three estimates.
    """
    values = np.asarray(estimates, np.float64)
    n = len(values)
    if n < 3:
        raise ValueError(f"{n} estimates: the error of a bias needs at least 3")
    mean = values.mean(axis=0)
    centred = values - mean
    variance = float(np.square(centred).sum()) / (n - 1)
    away = mean - reference.mean
    noise = variance / n + reference.noise
    bias_squared = float(away @ away) - noise
    # Trace of the squared covariance: products of different estimates, whose diagonal would not be of noise alone.
    products = (centred @ centred.T)[~np.eye(n, dtype=bool)]
    squared_trace = float(products.var())
    inflated = noise * n / variance if variance else 1.0
    along = float(np.square(centred @ away).sum()) / (n - 1) - squared_trace * inflated / n
    # Of the squared distance where there is no bias, and with what a bias adds.
    by_noise = math.sqrt(2 * squared_trace) * inflated / n
    error = math.hypot(by_noise, 2 * math.sqrt(inflated / n * max(along, 0.0)))
    bias, signal = math.sqrt(max(bias_squared, 0.0)), reference.signal
    length = math.sqrt(max(signal, 0.0))
    return {
        "variance": variance,
        "bias": bias,
        "bias_squared": bias_squared,
        "bias_squared_error": error,
        "bias_z": bias_squared / by_noise if by_noise else 0.0,
        "relative_bias": bias / length if length else None,
        "mean_norm": float(np.linalg.norm(mean)),
        "reference_norm": length,
        "reference_noise": math.sqrt(reference.noise),
        "snr": signal / variance if variance else math.inf,
    }
