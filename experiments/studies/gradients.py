"""Estimate the policy gradient of the location network many times, and summarise bias, variance and signal.

A gradient is a vector of the d parameters of the location network. Score functions never differentiate through a
location, so the estimators with the same number of replicates are measured on the same episodes, played once.
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
from common.names import check_name
from common.policy_gradient import ADVANTAGE, SURROGATE, Estimator, EstimatorConfig, policy_loss
from common.policy_gradient.advantages import returns_to_go
from common.training.step import StepInput

NETWORK, VALUE_NETWORK = "location_network", "baseline_network"

# Advantage and surrogate of each estimator that is compared by default.
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
    """Return the configuration of a compared estimator, with discount 1, which makes sense for all of them.

    Args:
      name: a key of `ESTIMATORS`; ``module:function`` of an advantage, which is joined with the surrogate
        score_function; ``module:function`` of a surrogate, which is joined with the advantage plain_return; or
        ``ADVANTAGE+SURROGATE``.
      reward: name of the reward, or ``module:function``.
      replicates: M.

    Raises:
      ValueError: the name is none of these, or a function cannot be used.
    """
    if "+" in name:
        advantage, _, surrogate = name.partition("+")
    elif ":" in name:
        advantage, surrogate = _parts(name)
    else:
        check_name("estimator", name, ESTIMATORS, "module:function, or ADVANTAGE+SURROGATE")
        advantage, surrogate = ESTIMATORS[name]
    ADVANTAGE.resolve(advantage), SURROGATE.resolve(surrogate)
    return EstimatorConfig(reward, advantage, surrogate, replicates=replicates, discount=1.0)


def _parts(name: str) -> tuple[str, str]:
    """Return advantage and surrogate of an estimator that is given as one function."""
    try:
        ADVANTAGE.resolve(name)
    except ValueError:
        SURROGATE.resolve(name)
        return "plain_return", name
    return name, "score_function"


class GradientInputs(NamedTuple):
    """The agent and the minibatch that gradients are estimated for.

    Attributes:
      params: parameters of the agent.
      images: the minibatch ``[B, H, W, C]``.
      labels: its classes ``[B]``.
      hyper: continuous hyperparameters of the agent, with sigma.
    """

    params: PyTree
    images: UInt8[Array, "B H W C"]
    labels: Int[Array, " B"]
    hyper: AttentionHyper


def _play(ram: AttentionModel, params: PyTree, key: Key[Array, ""], inputs: GradientInputs) -> Any:
    return ram.rollout(params, key, inputs.images, StepInput(jnp.zeros(()), inputs.hyper))


def make_gradients(ram: AttentionModel, estimators: Sequence[Estimator]) -> Callable[..., Array]:
    """Make a function that estimates the gradient by several estimators on the same episodes.

    It is the gradient of the policy loss alone in the location network.

    Args:
      ram: the agent, configured for one of the estimators; the others must play the same episodes.
      estimators: E of them.

    Returns:
      ``(inputs, states, keys [N]) -> gradients [N, E, d]``, compiled; ``states`` has an entry an estimator. One
      estimate after the other is made, in one call.
    """

    def one(inputs: GradientInputs, states: Sequence[PyTree], key: Key[Array, ""]) -> Array:
        flat, unflatten = ravel_pytree(inputs.params[NETWORK])

        def losses(flat: Array) -> Array:
            episode = _play(ram, inputs.params | {NETWORK: unflatten(flat)}, key, inputs)
            pairs = zip(estimators, states, strict=True)
            return jnp.stack([policy_loss(each, episode, inputs.labels, state).loss for each, state in pairs])

        return jax.jacrev(losses)(flat)

    @jax.jit
    def gradients(inputs: GradientInputs, states: Sequence[PyTree], keys: Key[Array, " N"]) -> Array:
        return jax.lax.map(functools.partial(one, inputs, states), keys)

    return gradients


def make_warm_up(
    ram: AttentionModel, estimators: Sequence[Estimator], num_glimpses: int
) -> Callable[..., list[PyTree]]:
    """Make a function for the estimator states after some steps: ``(inputs, keys [N]) -> states``, compiled."""
    fresh = [each.init_state(num_glimpses) for each in estimators]
    if not jax.tree.leaves(fresh):  # None is stateful.
        return lambda inputs, keys: fresh

    @jax.jit
    def warm_up(inputs: GradientInputs, keys: Key[Array, " N"]) -> list[PyTree]:
        def step(states: list[PyTree], key: Key[Array, ""]) -> tuple[list[PyTree], None]:
            episode = _play(ram, inputs.params, key, inputs)
            pairs = zip(estimators, states, strict=True)
            return [policy_loss(each, episode, inputs.labels, state).estimator_state for each, state in pairs], None

        return jax.lax.scan(step, fresh, keys)[0]

    return warm_up


def make_value_fit(ram: AttentionModel, draw: Callable[..., tuple[Array, Array]], rate: float) -> Callable[..., PyTree]:
    """Make a function that trains the value network alone, for the reward of the agent's estimator and discount 1.

    Args:
      ram: the agent.
      draw: ``(key, source) -> (images, labels)``, a fresh batch.
      rate: learning rate of Adam, constant.

    Returns:
      ``(inputs, source, keys [N]) -> params``, compiled; a step for each key.
    """
    optimizer = optax.adam(rate)

    @jax.jit
    def fit(inputs: GradientInputs, source: Any, keys: Key[Array, " N"]) -> PyTree:
        def loss(network: PyTree, key: Key[Array, ""]) -> Array:
            draw_key, play_key = jax.random.split(key)
            images, labels = draw(draw_key, source)
            params = inputs.params | {VALUE_NETWORK: network}
            episode = _play(ram, params, play_key, inputs._replace(images=images, labels=labels))
            returns = returns_to_go(ram.estimator.reward(episode.logits, labels), 1.0)
            return jnp.square(jax.lax.stop_gradient(returns)[1:] - episode.values[1:]).mean()

        def step(carry: tuple[PyTree, PyTree], key: Key[Array, ""]) -> tuple[tuple[PyTree, PyTree], None]:
            network, state = carry
            updates, state = optimizer.update(jax.grad(loss)(network, key), state)
            return (optax.apply_updates(network, updates), state), None

        network = inputs.params[VALUE_NETWORK]
        return inputs.params | {VALUE_NETWORK: jax.lax.scan(step, (network, optimizer.init(network)), keys)[0][0]}

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
        """Return the moments with more estimates added."""
        values = np.asarray(estimates, np.float64)
        return Moments(
            self.size + len(values), self.total + values.sum(axis=0), self.squares + float(np.square(values).sum())
        )


class Reference(NamedTuple):
    """The mean of a large sample, in place of the true gradient.

    Attributes:
      mean: ``[d]``.
      noise: expected squared length of its error.
      size: number of estimates in the mean.
    """

    mean: Float[np.ndarray, " d"]
    noise: float
    size: int

    @property
    def signal(self) -> float:
        """Estimate the squared length of the true gradient without bias; it may be negative if noise dominates."""
        return float(self.mean @ self.mean) - self.noise


def make_reference(moments: Moments) -> Reference:
    """Compute the mean of a sample of at least two estimates and the expected size of its error."""
    mean = moments.total / moments.size
    variance = (moments.squares - moments.size * float(mean @ mean)) / (moments.size - 1)
    return Reference(mean, max(variance, 0.0) / moments.size, moments.size)


def summarise(estimates: Float[np.ndarray, "N d"], reference: Reference) -> dict[str, float | None]:
    """Compute bias, variance and signal-to-noise ratio of an estimator from N independent estimates.

    Two noisy means always differ, so the squared bias is estimated as their squared distance minus what noise alone
    adds to it. That is right on average; without bias it is as often negative as positive.

    Args:
      estimates: at least three, one in each row.
      reference: made from another sample than the estimates.

    Returns:
      ``variance``, the trace of the covariance; ``bias_squared`` with its ``bias_squared_error``, a standard error
      for which the noise of the reference has the shape of that of the estimates; ``bias``, its root, 0 if negative;
      ``bias_z``, the square divided by its standard error without bias, with a long upper tail; ``relative_bias``, the
      bias divided by the length of the reference, None if noise hides that; ``mean_norm``; ``reference_norm``, the
      length without noise; ``reference_noise``, the root of the expected squared error of the reference; ``snr``, the
      squared length divided by the variance.
    """
    values = np.asarray(estimates, np.float64)
    n = len(values)
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
