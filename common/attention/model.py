"""A hard-attention agent as a model: its training loss, its episodes and its predictions, as pure functions."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, PyTree, UInt8

from common.attention.base import Agent, LocationChoice
from common.attention.config import Attention, make_retina
from common.attention.glimpse import Retina, make_sensor
from common.attention.location_policies import LOCATION_POLICY, takes_sigma
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
    validate_estimator,
)
from common.policy_gradient.episode import Episode
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
        `common.attention.base.LocationChoice`. The kind ``replayed`` also needs ``samples=[T, B, 2]``.
      rollout: ``(params, key, images [B, H, W, C], StepInput) -> Episode`` with fields ``[T, M, B]``: the episodes of a
        training step.
      retina: the geometry of its retina.
      sigma: ``progress -> normalised sigma [2]``, as configured; None if the location policy has no sigma.
      estimator: the policy-gradient estimator.
      num_glimpses: T.
      sequence: how the targets of a sequence are read; None where the label is one class.
    """

    model: Model
    play: Callable[..., Episode]
    rollout: Callable[..., Episode]
    retina: Retina
    sigma: Callable[[Array], Array] | None
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


@dataclass(frozen=True, eq=False)
class _Functions:
    """The functions of an `AttentionModel`.

    Attributes:
      config, agent_of, num_glimpses, width, sequence: arguments of `make_attention`.
      hyper: the configured hyperparameters.
      estimator: the estimator; for sequences its reward is `Sequence.reward`.
    """

    config: Attention
    agent_of: Callable[[UInt8[Array, "B H W C"]], Agent]
    num_glimpses: int
    width: int
    sequence: Sequence | None
    hyper: AttentionHyper
    estimator: Estimator

    @property
    def control(self) -> str | None:
        """Return the kind of the locations of a control, ``random`` or ``centre``; None where they are learned."""
        locations = self.config.policy.locations
        return None if locations == "learned" else locations

    @property
    def has_sigma(self) -> bool:
        """Return whether the location policy has a sigma."""
        return takes_sigma(LOCATION_POLICY.resolve(self.config.policy.location_policy))

    def sigma_at(self, hyper: AttentionHyper, progress: Float[Array, ""]) -> Float[Array, "2"]:
        """Compute sigma after the fraction ``progress`` of the run."""
        return sigma_at(self.config.policy.sigma_schedule, hyper, progress)

    def choice(self, kind: str) -> LocationChoice:
        """Return how the locations of an episode are chosen."""
        return LocationChoice(FIRST_LOCATIONS[self.config.policy.first_location], kind)

    def first_drawn(self, images: UInt8[Array, "B H W C"]) -> int:
        """Return the first glimpse whose location the location policy draws."""
        return 1 if self.agent_of(images).glance is None else 0

    def player(self, params: PyTree, images: UInt8[Array, "B H W C"], sigma: Array) -> Callable[..., Episode]:
        """Return ``(key, choice=LocationChoice) -> Episode`` with fields ``[T, B]``."""
        sensor = make_sensor(images, make_retina(self.config.retina), differentiable=self.estimator.pathwise)
        play = functools.partial(unroll, self.agent_of(images), params, sensor)
        return functools.partial(play, batch_size=images.shape[0], num_glimpses=self.num_glimpses, sigma=sigma)

    def rollout(self, params: PyTree, key: Key[Array, ""], images: Array, step_input: StepInput) -> Episode:
        """Play the episodes of a training step, or replay them for a later update (`AttentionModel.rollout`)."""
        play = self.player(params, images, self.sigma_at(step_input.hyper, step_input.progress))
        if step_input.played is not None:
            choice = self.choice("replayed")
            replay = jax.vmap(lambda samples: play(key, choice=choice._replace(samples=samples)), in_axes=1, out_axes=1)
            episode = replay(step_input.played.samples)
            if self.control is None:
                return episode
            # The policy draws no location of a control, in later updates as in the first.
            zeros = jnp.zeros_like(episode.log_probs)
            return episode._replace(sigmas=jnp.zeros_like(episode.sigmas), log_probs=zeros, entropies=zeros)
        choice = self.choice(self.control or "sampled")._replace(detached=not self.estimator.pathwise)

        def play_replicate(key: Array, mirrored: Array | bool = False) -> Episode:
            return play(key, choice=choice._replace(mirrored=mirrored))

        config = self.config.estimator
        return replicate(play_replicate, key, config.replicates, antithetic=config.antithetic)

    def loss(
        self,
        params: PyTree,
        key: Key[Array, ""],
        images: UInt8[Array, "B H W C"],
        labels: Int[Array, " B *S"],
        step_input: StepInput,
    ) -> tuple[Array, tuple[dict[str, Array], PyTree]]:
        """Compute the hybrid loss (`Model.loss`)."""
        episode, first_drawn = self.rollout(params, key, images, step_input), self.first_drawn(images)
        value, (metrics, estimator_state) = hybrid_loss(
            self.config.loss,
            step_input.hyper.weights,
            self.estimator._replace(hyperparameters=step_input.hyper.estimator),
            episode,
            labels,
            estimator_state=step_input.estimator_state,
            played=step_input.played,
            sequence=self.sequence,
            first_drawn=first_drawn,
        )
        if self.has_sigma:
            sigmas = episode.sigmas[first_drawn:, ..., 0]
            sigma = sigmas.mean() if sigmas.size else self.sigma_at(step_input.hyper, step_input.progress)[0]
            metrics |= {"sigma_px": sigma * self.width / 2}
        return value, (metrics, estimator_state)

    def play_once(
        self,
        params: PyTree,
        key: Key[Array, ""],
        images: UInt8[Array, "B H W C"],
        labels: Int[Array, " B *S"],
        step_input: StepInput,
    ) -> tuple[PlayedEpisodes, PyTree]:
        """Play the episodes that several updates learn from (`Passes.play`)."""
        episode = self.rollout(params, key, images, step_input)
        counted = None if self.sequence is None else self.sequence.counted(episode.logits, labels)
        result = policy_loss(
            self.estimator._replace(hyperparameters=step_input.hyper.estimator),
            episode,
            labels,
            step_input.estimator_state,
            counted=counted,
            first_drawn=self.first_drawn(images),
        )
        played = PlayedEpisodes(episode.samples, episode.log_probs, result.rewards, result.advantages, counted)
        return jax.lax.stop_gradient(played), result.estimator_state

    def play(
        self,
        params: PyTree,
        key: Key[Array, ""],
        images: Array,
        kind: str,
        hyper: AttentionHyper | None = None,
        samples: Float[Array, "T B 2"] | None = None,
    ) -> Episode:
        """Play one episode on each image at the sigma of evaluation (`AttentionModel.play`)."""
        sigma = self.sigma_at(self.hyper if hyper is None else hyper, jnp.ones(()))
        choice = self.choice(self.control if self.control and kind != "replayed" else kind)
        return self.player(params, images, sigma)(key, choice=choice._replace(samples=samples))

    def predict(
        self, params: PyTree, key: Key[Array, ""], images: Array, kind: str, hyper: AttentionHyper | None = None
    ) -> Array:
        """Compute the logits of the class, or of each symbol (`Model.predict`)."""
        logits = self.play(params, key, images, kind, hyper).logits
        return logits[-1] if self.sequence is None else jnp.moveaxis(self.sequence.final_beliefs(logits), 0, 1)


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
      ValueError: an unknown reward, advantage or surrogate, or settings of the estimator that contradict each other.
    """
    validate_estimator(config.estimator)
    hyper, estimator = make_hyper(config, height, width), make_estimator(config.estimator)
    if sequence is not None:
        estimator = estimator._replace(reward=sequence.reward(estimator.reward))
    functions = _Functions(config, agent_of, num_glimpses, width, sequence, hyper, estimator)
    passes = None
    if config.estimator.several_updates:
        settings = config.estimator
        passes = Passes(functions.play_once, settings.passes, settings.minibatches, settings.max_kl)
    state = estimator.init_state(num_glimpses)
    # Episodes at the centre of the image from the first glimpse on are all the same.
    stochastic = (config.policy.locations, config.policy.first_location) != ("centre", "centre")
    model = Model(init, functions.loss, functions.predict, hyper, state, passes, stochastic=stochastic)
    sigma = functools.partial(functions.sigma_at, hyper) if functions.has_sigma else None
    retina = make_retina(config.retina)
    play = jax.jit(functions.play, static_argnames="kind")
    return AttentionModel(model, play, functions.rollout, retina, sigma, estimator, num_glimpses, sequence)
