"""A hard-attention agent as a model: its training loss, its episodes and its predictions, as pure functions."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, PyTree, UInt8

from common.attention.base import Agent, Episode, Policy
from common.attention.config import Attention, make_retina
from common.attention.glimpse import Retina, make_sensor
from common.attention.locations import FIRST_LOCATIONS, parse_sigma
from common.attention.objective import Weights, hybrid_loss, make_weights
from common.attention.rollout import replicate, unroll
from common.attention.sequences import Sequence
from common.policy_gradient import (
    Estimator,
    Rollout,
    hyperparameters,
    make_estimator,
    policy_loss,
)
from common.training.step import Model, Passes, StepInput


class AttentionHyper(NamedTuple):
    """The continuous hyperparameters of an agent: settings that differ in these alone share a compiled program.

    Attributes:
      sigma: normalised standard deviation of the location policy in x and y, at the start of training.
      sigma_final: the same at the end of training.
      weights: weights of the loss.
      estimator: numbers that an advantage or a surrogate may name.
    """

    sigma: Float[Array, "2"]
    sigma_final: Float[Array, "2"]
    weights: Weights
    estimator: dict[str, Float[Array, ""]]


class AttentionModel(NamedTuple):
    """An agent for images of one size, as pure functions.

    Attributes:
      model: its initialisation, loss and prediction; ``progress`` sets the schedule of sigma.
      play: ``(params, key, images [B, H, W, C], policy kind) -> Episode`` with fields ``[T, B]``; the policy kind is
        that of `common.attention.base.Policy`.
      rollout: ``(params, key, images [B, H, W, C], given) -> Episode`` with fields ``[T, M, B]``: the episodes of a
        training step.
      retina: the geometry of its retina.
      sigma: ``progress -> normalised sigma [2]``, as configured.
      estimator: the policy-gradient estimator.
      num_glimpses: T.
      sequence: how the targets of a sequence are read; None where the label is one class.
    """

    model: Model
    play: Callable[..., Episode]
    rollout: Callable[..., Episode]
    retina: Retina
    sigma: Callable[[Array], Array]
    estimator: Estimator
    num_glimpses: int
    sequence: Sequence | None = None


def make_hyper(config: Attention, height: int, width: int) -> AttentionHyper:
    """Return the continuous hyperparameters of a configuration, for images of ``height x width`` pixels."""
    policy = config.policy
    sigma = jnp.array(parse_sigma(policy.sigma, height, width))
    sigma_final = jnp.array(parse_sigma(policy.sigma_final or policy.sigma, height, width))
    numbers = (make_weights(config.loss), hyperparameters(config.estimator))
    return AttentionHyper(sigma, sigma_final, *jax.tree.map(jnp.float32, numbers))


def sigma_at(schedule: str, hyper: AttentionHyper, progress: Float[Array, ""]) -> Float[Array, "2"]:
    """Compute sigma, normalised in x and y, when the fraction ``progress`` of the run is done."""
    # Optax's schedules are the same curves, but round otherwise in the last bits, which would change published runs.
    first, last = hyper.sigma, hyper.sigma_final
    if schedule == "exponential":
        return first * (last / first) ** progress
    if schedule == "cosine":
        return last + (first - last) * (1 + jnp.cos(jnp.pi * progress)) / 2
    if schedule == "linear":
        return first + (last - first) * progress
    return first


def make_attention(
    config: Attention,
    init: Callable[[Key[Array, ""]], PyTree],
    agent_of: Callable[[UInt8[Array, "B H W C"]], Agent],
    *,
    num_glimpses: int,
    height: int,
    width: int,
    sequence: Sequence | None = None,
) -> AttentionModel:
    """Build the model of an agent for images of ``height x width`` pixels.

    Args:
      config: retina, location policy, loss and estimator.
      init: ``key -> params``.
      agent_of: returns the agent for a batch of images, which may depend on more than its glimpses, as a context does.
      num_glimpses: T.
      height: image rows.
      width: image columns.
      sequence: how the targets of a sequence are read; None where the label is one class.

    Raises:
      ValueError: an unknown reward, advantage or surrogate.
    """
    retina, hyper = make_retina(config.retina), make_hyper(config, height, width)
    estimator = make_estimator(config.estimator)
    if sequence is not None:
        estimator = estimator._replace(reward=sequence.reward(estimator.reward))
    start = FIRST_LOCATIONS[config.policy.first_location]
    random = config.policy.policy == "random"
    replicates = config.estimator.replicates

    def unroll_batch(params: PyTree, images: Array, see: Callable, sigma: Array, key: Array, policy: Policy) -> Episode:
        agent, size = agent_of(images), images.shape[0]
        return unroll(agent, params, see, key, batch_size=size, num_glimpses=num_glimpses, policy=policy, sigma=sigma)

    def rollout(params: PyTree, key: Key[Array, ""], images: UInt8[Array, "B H W C"], given: StepInput) -> Episode:
        sigma = sigma_at(config.policy.sigma_schedule, given.hyper, given.progress)
        see = make_sensor(images, retina, differentiable=estimator.pathwise)
        one = functools.partial(unroll_batch, params, images, see, sigma)
        if given.rollout is not None:
            replay = jax.vmap(lambda samples: one(key, Policy(start, "given", samples=samples)), in_axes=1, out_axes=1)
            played = replay(given.rollout.samples)
            if not random:
                return played
            # Random locations have no log-probability, in later updates as in the first.
            zeros = jnp.zeros_like(played.log_probs)
            return played._replace(log_probs=zeros, entropies=zeros)
        policy = Policy(start, "random" if random else "sampled", detached=not estimator.pathwise)
        if config.estimator.antithetic:

            def mirrored(key: Array, mirror: Array) -> Episode:
                return one(key, policy._replace(mirrored=mirror))

            return replicate(mirrored, key, replicates, antithetic=True)
        return replicate(lambda key: one(key, policy), key, replicates)

    def first_learned(images: Array) -> int:
        return 1 if agent_of(images).glance is None else 0

    def configured(given: StepInput) -> Estimator:
        return estimator._replace(hyperparameters=given.hyper.estimator)

    def loss(
        params: PyTree,
        key: Key[Array, ""],
        images: UInt8[Array, "B H W C"],
        labels: Int[Array, " B *S"],
        given: StepInput,
    ) -> tuple[Array, tuple[dict[str, Array], PyTree]]:
        episode = rollout(params, key, images, given)
        value, (metrics, estimator_state) = hybrid_loss(
            config.loss.classify_at,
            given.hyper.weights,
            configured(given),
            episode,
            labels,
            estimator_state=given.estimator_state,
            rollout=given.rollout,
            sequence=sequence,
            first=first_learned(images),
        )
        drawn = episode.sigmas[first_learned(images) :, ..., 0]
        sigma = drawn.mean() if drawn.size else given.hyper.sigma[0]
        return value, (metrics | {"sigma_px": sigma * width / 2}, estimator_state)

    def play_first(
        params: PyTree,
        key: Key[Array, ""],
        images: UInt8[Array, "B H W C"],
        labels: Int[Array, " B *S"],
        given: StepInput,
    ) -> tuple[Rollout, PyTree]:
        episode = rollout(params, key, images, given)
        counted = None if sequence is None else sequence.counted(episode.logits, labels)
        first = first_learned(images)
        result = policy_loss(configured(given), episode, labels, given.estimator_state, counted=counted, first=first)
        kept = Rollout(episode.samples, episode.log_probs, result.rewards, result.advantages, counted)
        return jax.lax.stop_gradient(kept), result.estimator_state

    def play(
        params: PyTree,
        key: Key[Array, ""],
        images: UInt8[Array, "B H W C"],
        kind: str,
        hyper: AttentionHyper = hyper,
        samples: Float[Array, "T B 2"] | None = None,
    ) -> Episode:
        sigma = sigma_at(config.policy.sigma_schedule, hyper, jnp.ones(()))
        policy = Policy(start, "random" if random and samples is None else kind, samples=samples)
        see = make_sensor(images, retina, differentiable=estimator.pathwise)
        return unroll_batch(params, images, see, sigma, key, policy)

    def predict(
        params: PyTree, key: Key[Array, ""], images: UInt8[Array, "B H W C"], kind: str, hyper: AttentionHyper = hyper
    ) -> Array:
        logits = play(params, key, images, kind, hyper).logits
        return logits[-1] if sequence is None else jnp.moveaxis(sequence.read(logits), 0, 1)

    passes = Passes(play_first, config.estimator.passes, config.estimator.minibatches, config.estimator.max_kl)
    estimator_state = estimator.init_state(num_glimpses)
    several = config.estimator.several_updates
    model = Model(init, loss, predict, hyper, estimator_state, passes if several else None, stochastic=True)
    sigma = functools.partial(sigma_at, config.policy.sigma_schedule, hyper)
    return AttentionModel(model, play, rollout, retina, sigma, estimator, num_glimpses, sequence)
