"""A hard-attention agent as a model: its training loss, its episodes and its predictions, as pure functions."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, PyTree, UInt8

from common.attention.base import Agent, Episode, LocationChoice
from common.attention.config import Attention, make_retina
from common.attention.glimpse import Retina, make_sensor
from common.attention.locations import FIRST_LOCATIONS, parse_sigma
from common.attention.objective import Weights, hybrid_loss, make_weights
from common.attention.rollout import replicate, unroll
from common.attention.sequences import Sequence
from common.policy_gradient import (
    Estimator,
    PlayedEpisodes,
    hyperparameters,
    make_estimator,
    policy_loss,
)
from common.training.step import Model, Passes, StepInput


class AttentionHyper(NamedTuple):
    """The continuous hyperparameters of an agent.

    Configurations that differ in these alone share a compiled program.

    Attributes:
      sigma: normalised standard deviation of the location policy in x and y, at the start of training.
      sigma_final: the same at the end of training.
      weights: weights of the loss.
      estimator: numbers that an advantage or a surrogate may have an argument for, by name.
    """

    sigma: Float[Array, "2"]
    sigma_final: Float[Array, "2"]
    weights: Weights
    estimator: dict[str, Float[Array, ""]]


class AttentionModel(NamedTuple):
    """A hard-attention model for images of one size: an agent, its loss and its episodes as pure functions.

    Attributes:
      model: its initialisation, loss and prediction. The loss computes sigma from `StepInput.progress`.
      play: ``(params, key, images [B, H, W, C], kind) -> Episode`` with fields ``[T, B]``; the kind is that of
        `common.attention.base.LocationChoice`.
      rollout: ``(params, key, images [B, H, W, C], StepInput) -> Episode`` with fields ``[T, M, B]``: the episodes of a
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
    """Compute sigma, normalised in x and y, after the fraction ``progress`` of the run."""
    # Optax's schedules are the same curves, but differ in the last bits, which would change published results.
    start, end = hyper.sigma, hyper.sigma_final
    if schedule == "exponential":
        return start * (end / start) ** progress
    if schedule == "cosine":
        return end + (start - end) * (1 + jnp.cos(jnp.pi * progress)) / 2
    if schedule == "linear":
        return start + (end - start) * progress
    return start


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
      agent_of: ``images [B, H, W, C] -> agent`` for these images. The agent of DRAM reads the images themselves for its
        context; that of RAM sees nothing but glimpses.
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
    first_location, random = FIRST_LOCATIONS[config.policy.first_location], config.policy.locations == "random"

    def player(params: PyTree, images: UInt8[Array, "B H W C"], sigma: Float[Array, "2"]) -> Callable[..., Episode]:
        """Return ``(key, choice=LocationChoice) -> Episode`` with fields ``[T, B]``."""
        sensor = make_sensor(images, retina, differentiable=estimator.pathwise)
        play_one = functools.partial(unroll, agent_of(images), params, sensor)
        return functools.partial(play_one, batch_size=images.shape[0], num_glimpses=num_glimpses, sigma=sigma)

    def rollout(params: PyTree, key: Key[Array, ""], images: UInt8[Array, "B H W C"], step_input: StepInput) -> Episode:
        sigma = sigma_at(config.policy.sigma_schedule, step_input.hyper, step_input.progress)
        play_one = player(params, images, sigma)
        if step_input.played is not None:
            choice = LocationChoice(first_location, "replayed")
            replay = jax.vmap(lambda s: play_one(key, choice=choice._replace(samples=s)), in_axes=1, out_axes=1)
            episode = replay(step_input.played.samples)
            # Random locations have no log-probability, in later updates as in the first.
            zeros = jnp.zeros_like(episode.log_probs)
            return episode._replace(log_probs=zeros, entropies=zeros) if random else episode
        choice = LocationChoice(first_location, "random" if random else "sampled", detached=not estimator.pathwise)

        def play_replicate(key: Array, mirrored: Array | bool = False) -> Episode:
            return play_one(key, choice=choice._replace(mirrored=mirrored))

        return replicate(play_replicate, key, config.estimator.replicates, antithetic=config.estimator.antithetic)

    def first_drawn(images: Array) -> int:
        return 1 if agent_of(images).glance is None else 0

    def with_numbers(step_input: StepInput) -> Estimator:
        return estimator._replace(hyperparameters=step_input.hyper.estimator)

    def loss(
        params: PyTree,
        key: Key[Array, ""],
        images: UInt8[Array, "B H W C"],
        labels: Int[Array, " B *S"],
        step_input: StepInput,
    ) -> tuple[Array, tuple[dict[str, Array], PyTree]]:
        episode = rollout(params, key, images, step_input)
        value, (metrics, estimator_state) = hybrid_loss(
            config.loss.classify_at,
            step_input.hyper.weights,
            with_numbers(step_input),
            episode,
            labels,
            estimator_state=step_input.estimator_state,
            played=step_input.played,
            sequence=sequence,
            first_drawn=first_drawn(images),
        )
        sigmas = episode.sigmas[first_drawn(images) :, ..., 0]
        sigma = sigmas.mean() if sigmas.size else step_input.hyper.sigma[0]
        return value, (metrics | {"sigma_px": sigma * width / 2}, estimator_state)

    def play_once(
        params: PyTree,
        key: Key[Array, ""],
        images: UInt8[Array, "B H W C"],
        labels: Int[Array, " B *S"],
        step_input: StepInput,
    ) -> tuple[PlayedEpisodes, PyTree]:
        episode = rollout(params, key, images, step_input)
        counted = None if sequence is None else sequence.counted(episode.logits, labels)
        result = policy_loss(
            with_numbers(step_input),
            episode,
            labels,
            step_input.estimator_state,
            counted=counted,
            first_drawn=first_drawn(images),
        )
        played = PlayedEpisodes(episode.samples, episode.log_probs, result.rewards, result.advantages, counted)
        return jax.lax.stop_gradient(played), result.estimator_state

    def play(
        params: PyTree, key: Key[Array, ""], images: UInt8[Array, "B H W C"], kind: str, hyper: AttentionHyper = hyper
    ) -> Episode:
        sigma = sigma_at(config.policy.sigma_schedule, hyper, jnp.ones(()))
        return player(params, images, sigma)(key, choice=LocationChoice(first_location, "random" if random else kind))

    def predict(
        params: PyTree, key: Key[Array, ""], images: UInt8[Array, "B H W C"], kind: str, hyper: AttentionHyper = hyper
    ) -> Array:
        logits = play(params, key, images, kind, hyper).logits
        return logits[-1] if sequence is None else jnp.moveaxis(sequence.final_beliefs(logits), 0, 1)

    passes = None
    if config.estimator.several_updates:
        passes = Passes(play_once, config.estimator.passes, config.estimator.minibatches, config.estimator.max_kl)
    model = Model(init, loss, predict, hyper, estimator.init_state(num_glimpses), passes, stochastic=True)
    sigma = functools.partial(sigma_at, config.policy.sigma_schedule, hyper)
    return AttentionModel(model, play, rollout, retina, sigma, estimator, num_glimpses, sequence)
