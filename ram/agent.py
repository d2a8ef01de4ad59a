"""The RAM agent: its functions, its training loss, and its forward pass for evaluation."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key, PyTree, UInt8

from common import Scalar
from common.cores import CORES
from common.episode import Agent, Episode, Policy, replicate, unroll
from common.glimpse import Retina, make_sensor
from common.locations import START_POLICIES, parse_sigma
from common.policy_gradient import Estimator, Rollout, hyperparameters, make_estimator, policy_loss
from common.policy_gradient.advantages import returns_to_go
from common.training import Given, Model, Passes
from ram.config import LossConfig, RamConfig, make_retina
from ram.networks import ActionNetwork, BaselineNetwork, GlimpseNetwork, LocationNetwork


class Ram(nn.Module):
    """The parameters of RAM: glimpse, core, location, action and baseline networks."""

    config: RamConfig
    num_classes: int

    def setup(self):
        agent = self.config.agent
        self.glimpse_network = GlimpseNetwork(
            agent.what_hidden, agent.where_hidden, agent.glimpse_features, agent.combine
        )
        heads = {"num_heads": agent.core_heads} if agent.core == "transformer" else {}
        self.core = CORES[agent.core](hidden=agent.core_hidden, num_glimpses=agent.num_glimpses, **heads)
        self.location_network = LocationNetwork(
            agent.mean_activation, agent.locator_hidden, self.config.policy.learned_sigma
        )
        self.action_network = ActionNetwork(self.num_classes)
        self.baseline_network = BaselineNetwork()

    def initial_state(self, batch_size: int) -> PyTree:
        """The core's state before the first glimpse."""
        return self.core.initial_state((batch_size,))

    def look(self, state: PyTree, glimpses: Array, locations: Array) -> tuple[PyTree, Array]:
        """One glimpse into the core."""
        return self.core(state, self.glimpse_network(glimpses, locations))

    def locate(self, output: Array, sigma: Array) -> tuple[Array, Array]:
        """The location policy after a glimpse."""
        if self.config.loss.locator_gradient == "head":
            output = jax.lax.stop_gradient(output)
        return self.location_network(output, sigma)

    def classify(self, output: Array) -> Array:
        """Logits of the classes."""
        return self.action_network(output)

    def baseline(self, output: Array) -> Array:
        """Expected return."""
        return self.baseline_network(output)

    def everything(self, glimpses: Array, locations: Array) -> None:
        """Touches every network once, to initialise the parameters."""
        _, output = self.look(self.initial_state(glimpses.shape[0]), glimpses, locations)
        self.locate(output, jnp.ones(2)), self.classify(output), self.baseline(output)


class Weights(NamedTuple):
    """Weights of the hybrid loss; the fields of `LossConfig`."""

    classification: Scalar
    policy: Scalar
    baseline: Scalar
    entropy: Scalar


class RamHyper(NamedTuple):
    """The continuous hyperparameters of RAM: settings that differ in these alone share a compiled program.

    Attributes:
      sigma: normalised standard deviation of the location noise in x and y, at the start of training.
      sigma_final: at its end.
      weights: of the loss.
      estimator: those that the estimator's functions may name.
    """

    sigma: Float[Array, "2"]
    sigma_final: Float[Array, "2"]
    weights: Weights
    estimator: dict[str, Float[Array, ""]]


class RamModel(NamedTuple):
    """RAM for images of one size, as pure functions.

    Attributes:
      model: its initialisation, loss and prediction; ``progress`` sets the schedule of sigma.
      play: ``(params, key, images [B, H, W, C], policy kind) -> Episode`` with fields ``[T, B]``; the policy kind is
        that of `common.episode.Policy`.
      rollout: ``(params, key, images [B, H, W, C], given) -> Episode`` with fields ``[T, M, B]``: the episodes of a
        training step.
      retina: the geometry of its retina.
      sigma: ``progress -> normalised sigma [2]``, as configured.
      estimator: the policy-gradient estimator.
    """

    model: Model
    play: Callable[..., Episode]
    rollout: Callable[..., Episode]
    retina: Retina
    sigma: Callable[[Array], Array]
    estimator: Estimator


def make_weights(config: LossConfig) -> Weights:
    """The weights of a configuration."""
    return Weights(*(getattr(config, f"{name}_weight") for name in Weights._fields))


def make_hyper(config: RamConfig, height: int, width: int) -> RamHyper:
    """The continuous hyperparameters of a configuration, for images of ``height x width`` pixels."""
    policy = config.policy
    sigma = jnp.array(parse_sigma(policy.sigma, height, width))
    sigma_final = jnp.array(parse_sigma(policy.sigma_final or policy.sigma, height, width))
    numbers = (make_weights(config.loss), hyperparameters(config.estimator))
    return RamHyper(sigma, sigma_final, *jax.tree.map(jnp.float32, numbers))


def sigma_at(schedule: str, hyper: RamHyper, progress: Float[Array, ""]) -> Float[Array, "2"]:
    """Sigma, normalised in x and y, when a part ``progress`` of the run is done."""
    first, last = hyper.sigma, hyper.sigma_final
    if schedule == "exponential":
        return first * (last / first) ** progress
    if schedule == "cosine":
        return last + (first - last) * (1 + jnp.cos(jnp.pi * progress)) / 2
    if schedule == "linear":
        return first + (last - first) * progress
    return first


def make_agent(module: Ram) -> Agent:
    """The module's methods as functions of the parameters."""

    def method(function: Callable) -> Callable:
        return lambda params, *args: module.apply({"params": params}, *args, method=function)

    return Agent(*(method(f) for f in (Ram.initial_state, Ram.look, Ram.locate, Ram.classify, Ram.baseline)))


def make_ram(config: RamConfig, height: int, width: int, channels: int, num_classes: int) -> RamModel:
    """Builds RAM for images of ``height x width x channels`` and ``num_classes`` classes.

    Raises:
      ValueError: an unknown name of an estimator's part.
    """
    retina, hyper = make_retina(config.retina), make_hyper(config, height, width)
    module = Ram(config, num_classes)
    agent = make_agent(module)
    estimator = make_estimator(config.estimator)
    start = START_POLICIES[config.policy.start]
    random = config.policy.policy == "random"
    replicates, num_glimpses = config.estimator.replicates, config.agent.num_glimpses

    def init(key: Key[Array, ""]) -> PyTree:
        glimpses = jnp.zeros((1, retina.scales, retina.size, retina.size, channels))
        return module.init(key, glimpses, jnp.zeros((1, 2)), method=Ram.everything)["params"]

    def unroll_batch(params: PyTree, images: Array, see: Callable, sigma: Array, key: Array, policy: Policy) -> Episode:
        size = images.shape[0]
        return unroll(agent, params, see, key, batch_size=size, num_glimpses=num_glimpses, policy=policy, sigma=sigma)

    def rollout(params: PyTree, key: Key[Array, ""], images: UInt8[Array, "B H W C"], given: Given) -> Episode:
        sigma = sigma_at(config.policy.sigma_schedule, given.hyper, given.progress)
        see = make_sensor(images, retina, differentiable=estimator.pathwise)
        one = functools.partial(unroll_batch, params, images, see, sigma)
        if given.rollout is not None:
            again = jax.vmap(lambda samples: one(key, Policy(start, "given", samples=samples)), in_axes=1, out_axes=1)
            return again(given.rollout.samples)
        policy = Policy(start, "random" if random else "sampled", detached=not estimator.pathwise)
        if config.estimator.antithetic:

            def mirrored(key: Array, mirror: Array) -> Episode:
                return one(key, policy._replace(mirrored=mirror))

            return replicate(mirrored, key, replicates, antithetic=True)
        return replicate(lambda key: one(key, policy), key, replicates)

    def configured(given: Given) -> Estimator:
        return estimator._replace(hyperparameters=given.hyper.estimator)

    def loss(
        params: PyTree, key: Key[Array, ""], images: UInt8[Array, "B H W C"], labels: Int[Array, "B"], given: Given
    ) -> tuple[Array, tuple[dict[str, Array], PyTree]]:
        episode = rollout(params, key, images, given)
        value, (metrics, memory) = hybrid_loss(
            config.loss.classify_at,
            given.hyper.weights,
            configured(given),
            episode,
            labels,
            memory=given.memory,
            rollout=given.rollout,
        )
        # With one glimpse no location is drawn.
        sigma = episode.sigmas[1:, ..., 0].mean() if num_glimpses > 1 else given.hyper.sigma[0]
        return value, (metrics | {"sigma_px": sigma * width / 2}, memory)

    def play_first(
        params: PyTree, key: Key[Array, ""], images: UInt8[Array, "B H W C"], labels: Int[Array, "B"], given: Given
    ) -> tuple[Rollout, PyTree]:
        episode = rollout(params, key, images, given)
        found = policy_loss(configured(given), episode, labels, given.memory)
        kept = Rollout(episode.samples, episode.log_probs, found.rewards, found.advantages)
        return jax.lax.stop_gradient(kept), found.memory

    def play(
        params: PyTree, key: Key[Array, ""], images: UInt8[Array, "B H W C"], kind: str, hyper: RamHyper = hyper
    ) -> Episode:
        sigma = sigma_at(config.policy.sigma_schedule, hyper, jnp.ones(()))
        policy = Policy(start, "random" if random else kind)
        return unroll_batch(params, images, make_sensor(images, retina), sigma, key, policy)

    def predict(
        params: PyTree, key: Key[Array, ""], images: UInt8[Array, "B H W C"], kind: str, hyper: RamHyper = hyper
    ) -> Array:
        return play(params, key, images, kind, hyper).logits[-1]

    passes = Passes(play_first, config.estimator.passes, config.estimator.minibatches, config.estimator.max_kl)
    memory = estimator.init_memory(num_glimpses)
    model = Model(init, loss, predict, hyper, memory, passes if config.estimator.several_updates else None)
    sigma = functools.partial(sigma_at, config.policy.sigma_schedule, hyper)
    return RamModel(model, play, rollout, retina, sigma, estimator)


def hybrid_loss(
    classify_at: str,
    weights: Weights,
    estimator: Estimator,
    episode: Episode,
    labels: Int[Array, "B"],
    *,
    memory: PyTree = (),
    rollout: Rollout | None = None,
) -> tuple[Float[Array, ""], tuple[dict[str, Array], PyTree]]:
    """Classification, policy, baseline and entropy, weighted (Mnih et al. 2014, section 3.1, 'hybrid' training).

    Args:
      classify_at: ``last`` or ``every`` glimpse.
      weights: of the four.
      estimator: the policy-gradient estimator.
      episode: fields ``[T, M, B]``.
      labels: true classes.
      memory: of the estimator.
      rollout: where this is not the first update on the episode (see `policy_loss`).

    Returns:
      ``(loss, (metrics, memory))``; metrics are scalars.
    """
    targets = jnp.broadcast_to(labels, episode.logits.shape[:-1])
    cross_entropy = optax.softmax_cross_entropy_with_integer_labels(episode.logits, targets)
    classification = cross_entropy[-1].mean() if classify_at == "last" else cross_entropy.mean()
    policy, rewards, _, memory = policy_loss(estimator, episode, labels, memory, rollout)
    # The first location has no baseline: the start policy draws it, and nothing is learned there.
    error = returns_to_go(rewards, estimator.hyperparameters["discount"])[1:] - episode.baselines[1:]
    baseline = jnp.square(error).mean() if error.size else jnp.zeros(())
    entropy = episode.entropies.sum(axis=0).mean()
    loss = (
        weights.classification * classification
        + weights.policy * policy
        + weights.baseline * baseline
        - weights.entropy * entropy
    )
    metrics = {
        "loss": loss,
        "classification_loss": classification,
        "policy_loss": policy,
        "baseline_loss": baseline,
        "entropy": entropy,
        "reward": rewards.sum(axis=0).mean(),
        "accuracy": (episode.logits[-1].argmax(-1) == targets[-1]).mean(),
    }
    if rollout is not None:
        moved = (episode.log_probs - rollout.log_probs)[1:]
        # Never negative, and less noisy than -moved (Schulman 2020, http://joschu.net/blog/kl-approx.html).
        metrics["kl"] = (jnp.expm1(moved) - moved).mean()
    return loss, (metrics, memory)
