"""The six gradient rules of docs/explanation/gradient_rules.md, on the agents themselves."""

import functools
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import dram.agent
import dram.config
import ram.agent
import ram.config
from common.attention.base import LocationChoice
from common.attention.config import LossConfig, PolicyConfig, RetinaConfig
from common.attention.glimpse import make_sensor
from common.attention.locations import FIRST_LOCATIONS
from common.attention.rollout import unroll
from common.policy_gradient import ADVANTAGES, REWARDS, EstimatorConfig, make_estimator, policy_loss
from common.policy_gradient.episode import Episode
from common.training.step import StepInput

HEIGHT, WIDTH, CLASSES, BATCH, GLIMPSES = 10, 12, 3, 6, 3
IMAGES = jnp.asarray(np.random.default_rng(0).integers(0, 256, (BATCH, HEIGHT, WIDTH, 1), dtype=np.uint8))
LABELS = jnp.arange(BATCH) % CLASSES
KEY = jax.random.key(29)
HEADS = {"location_network", "action_network", "baseline_network"}


class Subject(NamedTuple):
    """An agent whose gradients are looked at.

    Attributes:
      config: without policy, loss and estimator.
      make: its model, of a configuration.
      agent: its functions, likewise.
      reads: the networks that the belief comes from.
      looks: those that a location comes from, without the location network.
      first: the first glimpse whose location a learned policy draws.
    """

    config: Any
    make: Callable[..., Any]
    agent: Callable[..., Any]
    reads: set[str]
    looks: set[str]
    first: int


_RAM = ram.config.AgentConfig(
    num_glimpses=GLIMPSES, glimpse_hidden=5, location_hidden=5, glimpse_features=6, core="rnn", core_hidden=6
)
_DRAM = dram.config.AgentConfig(
    GLIMPSES, glimpse_features=6, core="rnn", lower_hidden=6, upper_hidden=5, context_size=4, context_channels=3
)
SUBJECTS = {
    "ram": Subject(
        ram.config.RamConfig(RetinaConfig(3, 2), _RAM),
        lambda config: ram.agent.make_ram(config, HEIGHT, WIDTH, 1, CLASSES),
        lambda config: ram.agent.make_agent(ram.agent.Ram(config, CLASSES)),
        {"glimpse_network", "core"},
        {"glimpse_network", "core"},
        first=1,
    ),
    "dram": Subject(
        dram.config.DramConfig(RetinaConfig(3, 2), _DRAM),
        lambda config: dram.agent.make_dram(config, HEIGHT, WIDTH, 1, CLASSES),
        lambda config: dram.agent.make_agent(dram.agent.Dram(config, CLASSES), IMAGES),
        {"glimpse_network", "lower"},
        {"glimpse_network", "lower", "upper", "context_network", "context_state_0"},
        first=0,
    ),
}


@pytest.fixture(params=SUBJECTS)
def subject(request):
    """The name of an agent."""
    return request.param


def _config(name, sigma="0.5", **loss):
    weights = {"policy_weight": 0.0, "value_weight": 0.0, "classification_weight": 0.0}
    loss = weights | {"reward": "gain"} | loss
    names = {field.name for field in fields(EstimatorConfig)}
    return replace(
        SUBJECTS[name].config,
        policy=PolicyConfig(sigma=sigma),
        estimator=EstimatorConfig(**{key: value for key, value in loss.items() if key in names}),
        loss=LossConfig(**{key: value for key, value in loss.items() if key not in names}),
    )


@functools.cache
def _params(name):
    """Random parameters, biases included, the same for every configuration."""
    params = jax.eval_shape(SUBJECTS[name].make(_config(name)).model.init, KEY)
    leaves, tree = jax.tree.flatten(params)
    rng = np.random.default_rng(1)
    return tree.unflatten([jnp.asarray(rng.normal(0, 0.5, leaf.shape), jnp.float32) for leaf in leaves])


VARIANTS = {
    "classify_last": {"classification_weight": 1.0, "classify_at": "last"},
    "classify_every": {"classification_weight": 1.0, "classify_at": "every"},
    "replicates": {"reward": "log_probability", "advantage": "plain_return", "replicates": 3},
    "baseline": {"value_weight": 1.0, "discount": 0.5},
    "policy": {"policy_weight": 1.0},
    "policy_without_baseline": {"policy_weight": 1.0, "advantage": "plain_return"},
    "policy_head": {"policy_weight": 1.0, "policy_gradient_into": "location_network"},
    "everything": {"policy_weight": 1.0, "value_weight": 1.0, "classification_weight": 1.0},
}


@functools.cache
def _gradients(name):
    """Gradient and metrics of each variant's loss. Compiled together, because they share the episode."""

    def gradient(params, **loss):
        model = SUBJECTS[name].make(_config(name, **loss)).model
        step_input = StepInput(jnp.zeros(()), model.hyper, model.estimator_state)
        gradients, (metrics, _) = jax.grad(model.loss, has_aux=True)(params, KEY, IMAGES, LABELS, step_input)
        return gradients, metrics

    return jax.jit(lambda params: {variant: gradient(params, **loss) for variant, loss in VARIANTS.items()})(
        _params(name)
    )


def _moved(gradient):
    """Names of the networks with a gradient that is not exactly zero."""
    return {name for name, part in gradient.items() if any(np.any(leaf) for leaf in jax.tree.leaves(part))}


@functools.partial(jax.jit, static_argnames=("name", "sigma", "detach_mean"))
def _play(name, params, key=KEY, sigma="0.5", detach_mean=False):
    config = _config(name, sigma)
    agent, model = SUBJECTS[name].agent(config), SUBJECTS[name].make(config)
    if detach_mean:
        locate = agent.locate
        agent = agent._replace(locate=lambda *args: jax.lax.stop_gradient(locate(*args)))
    sensor, choice = make_sensor(IMAGES, model.retina), LocationChoice(FIRST_LOCATIONS["centre"])
    play = functools.partial(unroll, agent, batch_size=BATCH, num_glimpses=GLIMPSES, choice=choice)
    return play(params, sensor, key, sigma=model.sigma(jnp.zeros(())))


def test_rule_1_the_sample_is_detached_and_its_mean_is_not(subject):
    first = SUBJECTS[subject].first

    def total(field, **kwargs):
        return lambda params: getattr(_play(subject, params, **kwargs), field).sum()

    episode = _play(subject, _params(subject))
    of_samples, of_locations, of_means, of_log_probs, of_detached = jax.jit(
        lambda params: [
            jax.grad(f)(params)
            for f in (
                total("samples"),
                total("locations"),
                total("modes"),
                total("log_probs"),
                total("log_probs", detach_mean=True),
            )
        ]
    )(_params(subject))
    assert _moved(of_samples) == _moved(of_locations) == _moved(of_detached) == set()
    assert _moved(of_means) == _moved(of_log_probs) == SUBJECTS[subject].looks | {"location_network"}
    # d log_prob / d mean is (l - mu) / sigma^2; the mean is a tanh.
    mean, sample = np.asarray(episode.modes[first:]), np.asarray(episode.samples[first:])
    expected = ((sample - mean) / 0.5**2 * (1 - mean**2)).sum(axis=(0, 1))
    assert np.abs(expected).min() > 0.1
    np.testing.assert_allclose(of_log_probs["location_network"]["mean"]["bias"], expected, rtol=1e-4)


def test_rule_2_the_log_probability_is_of_the_value_before_clipping(subject):
    first = SUBJECTS[subject].first
    episode = _play(subject, _params(subject), sigma="2.0")
    sample, location = np.asarray(episode.samples[first:]), np.asarray(episode.locations[first:])
    assert (np.abs(sample) > 1).mean() > 0.3
    np.testing.assert_array_equal(location, np.clip(sample, -1, 1))
    expected = stats.norm.logpdf(sample, episode.modes[first:], 2.0).sum(-1)
    np.testing.assert_allclose(episode.log_probs[first:], expected, rtol=1e-4)
    assert np.abs(stats.norm.logpdf(location, episode.modes[first:], 2.0).sum(-1) - expected).max() > 0.1


@pytest.mark.parametrize("variant", ["classify_last", "classify_every"])
def test_rule_3_the_classifiers_gradient_does_not_pass_through_the_sampled_location(subject, variant):
    gradient, _ = _gradients(subject)[variant]
    # Not even to the location network, though every later glimpse is told its location.
    assert _moved(gradient) == SUBJECTS[subject].reads | {"action_network"}


def test_rule_4_each_replicate_has_its_own_reward(subject):
    _, metrics = _gradients(subject)["replicates"]
    alone = [_play(subject, _params(subject), key) for key in jax.random.split(KEY, 3)]
    episode = Episode(*(jnp.stack(parts, axis=1) for parts in zip(*alone, strict=True)))
    logits = np.asarray(episode.logits[-1], np.float64)
    beliefs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    rewards = beliefs[:, np.arange(BATCH), np.asarray(LABELS)]
    assert (rewards.std(axis=0) > 1e-4).all()
    np.testing.assert_allclose(metrics["reward"], rewards.mean(), rtol=1e-4)
    expected = -(np.asarray(episode.log_probs).sum(axis=0) * rewards).mean()
    np.testing.assert_allclose(metrics["policy_loss"], expected, rtol=1e-3)
    # Replicates that change places take their advantages with them.
    order = np.array([2, 0, 1])
    swapped = jax.tree.map(lambda leaf: leaf[:, order], episode)
    for name in ADVANTAGES:
        estimator = make_estimator(EstimatorConfig(reward="gain", advantage=name, discount=0.9))
        estimator_state = estimator.init_state(GLIMPSES)
        before, after = (policy_loss(estimator, e, LABELS, estimator_state).advantages for e in (episode, swapped))
        np.testing.assert_allclose(after, before[:, order], rtol=1e-5, atol=1e-6, err_msg=name)


def test_rule_5_the_value_network_is_trained_by_its_own_loss_on_detached_features(subject):
    first = SUBJECTS[subject].first
    gradient, _ = _gradients(subject)["baseline"]
    assert _moved(gradient) == {"baseline_network"}
    episode = _play(subject, _params(subject), jax.random.split(KEY, 1)[0])
    # Nothing is predicted before a location that the start policy draws.
    gains = np.asarray(REWARDS["gain"](episode.logits[:, None], LABELS))[:, 0]
    returns = np.stack([gains[0] + gains[1] / 2 + gains[2] / 4, gains[1] + gains[2] / 2, gains[2]])
    errors = (returns - np.asarray(episode.values))[first:]
    np.testing.assert_allclose(gradient["baseline_network"]["value"]["bias"][0], -2 * errors.mean(), rtol=1e-3)


def test_rule_5_the_values_enter_the_surrogate_detached(subject):
    with_baseline, metrics = _gradients(subject)["policy"]
    without, plain = _gradients(subject)["policy_without_baseline"]
    assert "baseline_network" not in _moved(with_baseline)
    # It does enter.
    assert abs(metrics["policy_loss"] - plain["policy_loss"]) > 1e-3
    assert not np.allclose(
        with_baseline["location_network"]["mean"]["bias"], without["location_network"]["mean"]["bias"]
    )


def test_rule_6_a_switch_decides_whether_the_policy_gradient_reaches_the_core(subject):
    gradients = _gradients(subject)
    assert _moved(gradients["policy"][0]) == SUBJECTS[subject].looks | {"location_network"}
    assert _moved(gradients["policy_head"][0]) == {"location_network"}


def test_rule_6_the_switch_changes_nothing_in_the_location_network(subject):
    core, head = (_gradients(subject)[variant][0]["location_network"] for variant in ("policy", "policy_head"))
    for a, b in zip(jax.tree.leaves(core), jax.tree.leaves(head), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_every_network_has_a_rule(subject):
    networks = SUBJECTS[subject].reads | SUBJECTS[subject].looks | HEADS
    assert _params(subject).keys() == networks
    gradient, _ = _gradients(subject)["everything"]
    assert _moved(gradient) == networks
