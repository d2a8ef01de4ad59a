"""The RAM agent: its functions, its training loss, and its forward pass for evaluation."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key, PyTree, UInt8

from common.cores import CORES
from common.episode import Agent, Episode, Policy, replicate, unroll
from common.glimpse import Retina, summed_area_table
from common.locations import START_POLICIES, parse_sigma
from common.policy_gradient import Estimator, make_estimator, policy_loss
from common.policy_gradient.advantages import returns_to_go
from common.training import Model
from ram.config import RamConfig, make_retina
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
            agent.mean_activation, agent.locator_hidden, self.config.policy.learn_sigma
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


class RamModel(NamedTuple):
    """RAM for images of one size, as pure functions.

    Attributes:
      model: its initialisation, loss and prediction; the loss's ``progress`` sets the schedule of sigma.
      play: ``(params, key, images [B, H, W, C], policy kind) -> Episode`` with fields ``[T, B]``; the policy kind is
        that of `common.episode.Policy`.
      reward: ``(logits [T, M, B, num_classes], labels [B]) -> rewards [T, M, B]``, what it is trained to earn.
      retina: the geometry of its retina.
      sigma: ``progress -> normalised sigma [2]``.
    """

    model: Model
    play: Callable[..., Episode]
    reward: Callable[..., Array]
    retina: Retina
    sigma: Callable[[Array], Array]


def sigma_schedule(config: RamConfig, height: int, width: int) -> Callable[[Array], Float[Array, "2"]]:
    """Sigma, normalised in x and y, as a function of the part of the run that is done."""
    policy = config.policy
    first = jnp.array(parse_sigma(policy.sigma, height, width))
    if policy.sigma_final is None:
        return lambda progress: first
    last = jnp.array(parse_sigma(policy.sigma_final, height, width))
    if policy.sigma_schedule == "exponential":
        return lambda progress: first * (last / first) ** progress
    if policy.sigma_schedule == "cosine":
        return lambda progress: last + (first - last) * (1 + jnp.cos(jnp.pi * progress)) / 2
    return lambda progress: first + (last - first) * progress


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
    retina = make_retina(config.retina)
    module = Ram(config, num_classes)
    agent = make_agent(module)
    estimator = make_estimator(config.loss.reward, config.loss.advantage, config.loss.surrogate, config.loss.discount)
    sigma = sigma_schedule(config, height, width)
    start = START_POLICIES[config.policy.start]
    random = config.policy.policy == "random"
    unroll_ram = functools.partial(unroll, agent, retina=retina, num_glimpses=config.agent.num_glimpses)

    def init(key: Key[Array, ""]) -> PyTree:
        glimpses = jnp.zeros((1, retina.scales, retina.size, retina.size, channels))
        return module.init(key, glimpses, jnp.zeros((1, 2)), method=Ram.everything)["params"]

    def loss(
        params: PyTree,
        key: Key[Array, ""],
        images: UInt8[Array, "B H W C"],
        labels: Int[Array, "B"],
        progress: Float[Array, ""],
    ) -> tuple[Array, dict[str, Array]]:
        tables = jax.vmap(summed_area_table)(images)
        policy = Policy(start, "random" if random else "sampled")
        episode = replicate(
            lambda k: unroll_ram(params, tables, k, policy=policy, sigma=sigma(progress)), key, config.loss.replicates
        )
        value, metrics = hybrid_loss(config, estimator, episode, labels)
        # Of any output: sigma is the same in every state.
        _, spread = agent.locate(params, jnp.zeros((1, config.agent.core_hidden)), sigma(progress))
        return value, metrics | {"sigma_px": spread[..., 0].mean() * width / 2}

    def play(params: PyTree, key: Key[Array, ""], images: UInt8[Array, "B H W C"], kind: str) -> Episode:
        tables = jax.vmap(summed_area_table)(images)
        policy = Policy(start, "random" if random else kind)
        return unroll_ram(params, tables, key, policy=policy, sigma=sigma(jnp.ones(())))

    def predict(params: PyTree, key: Key[Array, ""], images: UInt8[Array, "B H W C"], kind: str) -> Array:
        return play(params, key, images, kind).logits[-1]

    return RamModel(Model(init, loss, predict), play, estimator.reward, retina, sigma)


def hybrid_loss(
    config: RamConfig, estimator: Estimator, episode: Episode, labels: Int[Array, "B"]
) -> tuple[Float[Array, ""], dict[str, Array]]:
    """Classification, policy, baseline and entropy, weighted (Mnih et al. 2014, section 3.1, 'hybrid' training).

    Args:
      config: for the weights.
      estimator: the policy-gradient estimator.
      episode: fields ``[T, M, B]``.
      labels: true classes.

    Returns:
      ``(loss, metrics)``; metrics are scalars.
    """
    weights = config.loss
    targets = jnp.broadcast_to(labels, episode.logits.shape[:-1])
    cross_entropy = optax.softmax_cross_entropy_with_integer_labels(episode.logits, targets)
    classification = cross_entropy[-1].mean() if weights.classify_at == "last" else cross_entropy.mean()
    policy, rewards = policy_loss(estimator, episode, labels)
    # The first location has no baseline: the start policy draws it, and nothing is learned there.
    error = returns_to_go(rewards, estimator.discount)[1:] - episode.baselines[1:]
    baseline = jnp.square(error).mean() if error.size else jnp.zeros(())
    entropy = episode.entropies.sum(axis=0).mean()
    loss = (
        weights.classification_weight * classification
        + weights.policy_weight * policy
        + weights.baseline_weight * baseline
        - weights.entropy_weight * entropy
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
    return loss, metrics
