"""The six gradient rules of docs/architecture.md, on the agent itself."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from common.attention.config import LossConfig, PolicyConfig, RetinaConfig
from common.episode import Episode, Policy, unroll
from common.glimpse import make_sensor
from common.locations import START_POLICIES
from common.policy_gradient import ADVANTAGES, REWARDS, EstimatorConfig, make_estimator, policy_loss
from common.training import Given
from ram.agent import Ram, make_agent, make_ram
from ram.config import AgentConfig, RamConfig

pytestmark = pytest.mark.usefixtures("quick_compile")

HEIGHT, WIDTH, CLASSES, BATCH, GLIMPSES = 10, 12, 3, 6, 3
IMAGES = jnp.asarray(np.random.default_rng(0).integers(0, 256, (BATCH, HEIGHT, WIDTH, 1), dtype=np.uint8))
LABELS = jnp.arange(BATCH) % CLASSES
KEY = jax.random.key(29)
NETWORKS = {"glimpse_network", "core", "location_network", "action_network", "baseline_network"}


def _config(sigma="0.5", **loss):
    agent = AgentConfig(
        num_glimpses=GLIMPSES, what_hidden=5, where_hidden=5, glimpse_features=6, core="rnn", core_hidden=6
    )
    weights = {"policy_weight": 0.0, "baseline_weight": 0.0, "classification_weight": 0.0}
    loss = weights | {"reward": "gain"} | loss
    fields = {field.name for field in dataclasses.fields(EstimatorConfig)}
    estimator = EstimatorConfig(**{name: value for name, value in loss.items() if name in fields})
    loss = LossConfig(**{name: value for name, value in loss.items() if name not in fields})
    return RamConfig(RetinaConfig(3, 2), agent, PolicyConfig(sigma=sigma), loss, estimator)


@functools.cache
def _params():
    """Random parameters, biases included, the same for every configuration."""
    params = jax.eval_shape(make_ram(_config(), HEIGHT, WIDTH, 1, CLASSES).model.init, KEY)
    leaves, tree = jax.tree.flatten(params)
    rng = np.random.default_rng(1)
    return tree.unflatten([jnp.asarray(rng.normal(0, 0.5, leaf.shape), jnp.float32) for leaf in leaves])


VARIANTS = {
    "classify_last": {"classification_weight": 1.0, "classify_at": "last"},
    "classify_every": {"classification_weight": 1.0, "classify_at": "every"},
    "replicates": {"reward": "log_probability", "advantage": "plain_return", "replicates": 3},
    "baseline": {"baseline_weight": 1.0, "discount": 0.5},
    "policy": {"policy_weight": 1.0},
    "policy_without_baseline": {"policy_weight": 1.0, "advantage": "plain_return"},
    "policy_head": {"policy_weight": 1.0, "locator_gradient": "head"},
    "everything": {"policy_weight": 1.0, "baseline_weight": 1.0, "classification_weight": 1.0},
}


@functools.cache
def _gradients():
    """Gradient and metrics of each variant's loss. Compiled together, because they share the episode."""

    def gradient(params, **loss):
        model = make_ram(_config(**loss), HEIGHT, WIDTH, 1, CLASSES).model
        given = Given(jnp.zeros(()), model.hyper, model.memory)
        gradients, (metrics, _) = jax.grad(model.loss, has_aux=True)(params, KEY, IMAGES, LABELS, given)
        return gradients, metrics

    return jax.jit(lambda params: {name: gradient(params, **loss) for name, loss in VARIANTS.items()})(_params())


def _moved(gradient):
    """Names of the networks with a gradient that is not exactly zero."""
    return {name for name, part in gradient.items() if any(np.any(leaf) for leaf in jax.tree.leaves(part))}


@functools.partial(jax.jit, static_argnames=("sigma", "detach_mean"))
def _play(params, key=KEY, sigma="0.5", detach_mean=False):
    config = _config(sigma)
    agent, ram = make_agent(Ram(config, CLASSES)), make_ram(config, HEIGHT, WIDTH, 1, CLASSES)
    if detach_mean:
        locate = agent.locate
        agent = agent._replace(locate=lambda *args: jax.lax.stop_gradient(locate(*args)))
    see, policy = make_sensor(IMAGES, ram.retina), Policy(START_POLICIES["centre"])
    play = functools.partial(unroll, agent, batch_size=BATCH, num_glimpses=GLIMPSES, policy=policy)
    return play(params, see, key, sigma=ram.sigma(jnp.zeros(())))


def test_rule_1_the_sample_is_detached_and_its_mean_is_not():
    def total(field, **kwargs):
        return lambda params: getattr(_play(params, **kwargs), field).sum()

    episode = _play(_params())
    of_samples, of_locations, of_means, of_log_probs, of_detached = jax.jit(
        lambda params: [
            jax.grad(f)(params)
            for f in (
                total("samples"),
                total("locations"),
                total("means"),
                total("log_probs"),
                total("log_probs", detach_mean=True),
            )
        ]
    )(_params())
    assert _moved(of_samples) == _moved(of_locations) == _moved(of_detached) == set()
    assert _moved(of_means) == _moved(of_log_probs) == {"glimpse_network", "core", "location_network"}
    # d log_prob / d mean is (l - mu) / sigma^2; the mean is a tanh.
    mean, sample = np.asarray(episode.means[1:]), np.asarray(episode.samples[1:])
    expected = ((sample - mean) / 0.5**2 * (1 - mean**2)).sum(axis=(0, 1))
    assert np.abs(expected).min() > 0.1
    np.testing.assert_allclose(of_log_probs["location_network"]["mean"]["bias"], expected, rtol=1e-4)


def test_rule_2_the_log_probability_is_of_the_value_before_clipping():
    episode = _play(_params(), sigma="2.0")
    sample, location = np.asarray(episode.samples[1:]), np.asarray(episode.locations[1:])
    assert (np.abs(sample) > 1).mean() > 0.3
    np.testing.assert_array_equal(location, np.clip(sample, -1, 1))
    expected = stats.norm.logpdf(sample, episode.means[1:], 2.0).sum(-1)
    np.testing.assert_allclose(episode.log_probs[1:], expected, rtol=1e-4)
    assert np.abs(stats.norm.logpdf(location, episode.means[1:], 2.0).sum(-1) - expected).max() > 0.1


@pytest.mark.parametrize("variant", ["classify_last", "classify_every"])
def test_rule_3_the_classifiers_gradient_does_not_pass_through_the_sampled_location(variant):
    gradient, _ = _gradients()[variant]
    # Not even to the location network, though every later glimpse is told its location.
    assert _moved(gradient) == {"glimpse_network", "core", "action_network"}


def test_rule_4_each_replicate_has_its_own_reward():
    _, metrics = _gradients()["replicates"]
    alone = [_play(_params(), key) for key in jax.random.split(KEY, 3)]
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
        memory = estimator.init_memory(GLIMPSES)
        before, after = (policy_loss(estimator, e, LABELS, memory).advantages for e in (episode, swapped))
        np.testing.assert_allclose(after, before[:, order], rtol=1e-5, atol=1e-6, err_msg=name)


def test_rule_5_the_baseline_is_trained_by_its_own_loss_on_detached_features():
    gradient, _ = _gradients()["baseline"]
    assert _moved(gradient) == {"baseline_network"}
    episode = _play(_params(), jax.random.split(KEY, 1)[0])
    # With T = 3 the returns are g_1 + g_2 / 2 and g_2; nothing is predicted before the first location.
    gains = np.asarray(REWARDS["gain"](episode.logits[:, None], LABELS))[:, 0]
    errors = np.stack([gains[1] + gains[2] / 2, gains[2]]) - np.asarray(episode.baselines[1:])
    np.testing.assert_allclose(gradient["baseline_network"]["value"]["bias"][0], -2 * errors.mean(), rtol=1e-3)


def test_rule_5_the_baseline_enters_the_surrogate_detached():
    with_baseline, metrics = _gradients()["policy"]
    without, plain = _gradients()["policy_without_baseline"]
    assert "baseline_network" not in _moved(with_baseline)
    # It does enter.
    assert abs(metrics["policy_loss"] - plain["policy_loss"]) > 1e-3
    assert not np.allclose(
        with_baseline["location_network"]["mean"]["bias"], without["location_network"]["mean"]["bias"]
    )


@pytest.mark.parametrize(
    ("variant", "networks"),
    [("policy", {"location_network", "core", "glimpse_network"}), ("policy_head", {"location_network"})],
)
def test_rule_6_a_switch_decides_whether_the_policy_gradient_reaches_the_core(variant, networks):
    assert _moved(_gradients()[variant][0]) == networks


def test_rule_6_the_switch_changes_nothing_in_the_location_network():
    core, head = (_gradients()[variant][0]["location_network"] for variant in ("policy", "policy_head"))
    for a, b in zip(jax.tree.leaves(core), jax.tree.leaves(head), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_every_network_has_a_rule():
    assert _params().keys() == NETWORKS
    gradient, _ = _gradients()["everything"]
    assert _moved(gradient) == NETWORKS
