"""Policy-gradient variants on the agent itself: several updates, pathwise gradients, exploration."""

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common.attention.config import LossConfig, PolicyConfig, RetinaConfig
from common.policy_gradient import EstimatorConfig, validate_estimator
from common.policy_gradient.advantages import compares_replicates
from common.policy_gradient.registry import ADVANTAGES
from common.training.optimizers import OptimizerConfig, make_optimizer, make_schedule
from common.training.step import Hyper, StepInput, init_state, train_step
from ram.agent import make_ram
from ram.config import AgentConfig, RamConfig

HEIGHT, WIDTH, CLASSES, BATCH, GLIMPSES = 10, 12, 3, 6, 3
IMAGES = jnp.asarray(np.random.default_rng(0).integers(0, 256, (BATCH, HEIGHT, WIDTH, 1), dtype=np.uint8))
LABELS = jnp.arange(BATCH) % CLASSES
KEY = jax.random.key(5)
ADVANTAGE, SURROGATE = "common.policy_gradient.advantages", "common.policy_gradient.surrogates"
SMALL = AgentConfig(
    num_glimpses=GLIMPSES, glimpse_hidden=5, location_hidden=5, glimpse_features=6, core="rnn", core_hidden=8
)
FIXED = PolicyConfig(sigma="0.3")
POLICY_ALONE = LossConfig(classification_weight=0.0, value_weight=0.0)


@functools.cache
def _ram(loss=POLICY_ALONE, policy=FIXED, **estimator):
    config = RamConfig(RetinaConfig(3, 2), SMALL, policy, loss, EstimatorConfig(**{"reward": "gain"} | estimator))
    return make_ram(config, HEIGHT, WIDTH, 1, CLASSES)


@functools.cache
def _params(learned_sigma="no"):
    shapes = jax.eval_shape(_ram(policy=PolicyConfig(sigma="0.3", learned_sigma=learned_sigma)).model.init, KEY)
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda leaf: jnp.asarray(rng.normal(0, 0.5, leaf.shape), jnp.float32), shapes)


def _step_input(model, played=None):
    return StepInput(jnp.zeros(()), model.hyper, model.estimator_state, played)


@functools.cache
def _compiled(loss):
    return jax.jit(jax.value_and_grad(loss, has_aux=True))


def _gradient(ram, params, played=None):
    (_, (metrics, _)), gradient = _compiled(ram.model.loss)(params, KEY, IMAGES, LABELS, _step_input(ram.model, played))
    return metrics, gradient


def _assert_close(first, second):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), first, second)


def test_the_first_update_of_ppo_is_that_of_the_score_function():
    _, plain = _gradient(_ram(replicates=2), _params())
    _, clipped = _gradient(_ram(replicates=2, surrogate="ppo_clip"), _params())
    _assert_close(clipped, plain)


def test_a_second_update_sees_the_same_episodes_again():
    ram = _ram(replicates=2, surrogate="ppo_clip", passes=2)
    played = jax.jit(ram.model.passes.play)(_params(), KEY, IMAGES, LABELS, _step_input(ram.model))[0]
    assert played.samples.shape == (GLIMPSES, 2, BATCH, 2) and played.log_probs.shape == (GLIMPSES, 2, BATCH)
    metrics, again = _gradient(ram, _params(), played)
    assert float(metrics["kl"]) == pytest.approx(0, abs=1e-6)
    _, fresh = _gradient(_ram(replicates=2), _params())
    _assert_close(again, fresh)
    # Of another policy the rewards and advantages stay those of the time.
    moved = jax.tree.map(lambda leaf: 1.1 * leaf, _params())
    other, _ = _gradient(ram, moved, played)
    assert float(other["kl"]) > 1e-4
    assert float(other["reward"]) == pytest.approx(float(metrics["reward"]), rel=1e-5)


@pytest.mark.parametrize("locations", ["random", "centre"])
def test_locations_of_a_control_are_not_learned_in_later_updates_either(locations):
    loss = LossConfig(policy_weight=1.0, entropy_weight=1.0, classification_weight=0.0, value_weight=0.0)
    control = PolicyConfig(locations=locations, sigma="0.3")
    ram = _ram(loss, control, replicates=2, surrogate="ppo_clip", passes=2)
    played = jax.jit(ram.model.passes.play)(_params(), KEY, IMAGES, LABELS, _step_input(ram.model))[0]
    for episodes in (None, played):
        episode = jax.jit(ram.rollout)(_params(), KEY, IMAGES, _step_input(ram.model, episodes))
        assert not any(np.any(field) for field in (episode.sigmas, episode.log_probs, episode.entropies))
        assert np.any(episode.locations[1:]) == (locations == "random")
        metrics, gradient = _gradient(ram, _params(), episodes)
        assert max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(gradient)) == 0
    assert float(metrics["kl"]) == 0


def test_antithetic_random_locations_lie_opposite():
    ram = _ram(policy=PolicyConfig(locations="random", sigma="0.3"), replicates=4, antithetic=True)
    episode = jax.jit(ram.rollout)(_params(), KEY, IMAGES, _step_input(ram.model))
    locations = np.asarray(episode.locations[1:])
    np.testing.assert_array_equal(locations[:, 2:], -locations[:, :2])
    assert np.abs(locations[:, 0] - locations[:, 1]).min() > 0 and np.abs(locations).max() > 0.5


def test_a_pathwise_agent_uses_the_bilinear_retina_in_evaluation_too():
    # Of so small a sigma samples are means, so training plays what greedy episodes do.
    narrow = PolicyConfig(sigma="0.000001")
    ram = _ram(policy=narrow, surrogate="pathwise", advantage="plain_return", reward="log_probability")
    trained = jax.jit(ram.rollout)(_params(), KEY, IMAGES, _step_input(ram.model))
    played = jax.jit(ram.play, static_argnums=3)(_params(), KEY, IMAGES, "greedy")
    np.testing.assert_allclose(played.logits, trained.logits[:, 0], rtol=1e-3, atol=1e-4)


def _train_step(ram, rate=0.01):
    config = OptimizerConfig(optimizer="sgd", momentum=0.0, schedule="constant", gradient_clip=0.0)
    optimizer, schedule = make_optimizer(config), functools.partial(make_schedule, config, 10, 1.0)
    step = train_step(ram.model, optimizer, schedule, lambda key, source: (IMAGES, LABELS), 10)
    state = init_state(ram.model, optimizer, 0)._replace(params=_params())
    return jax.jit(step)(state, None, Hyper(jnp.array(rate), ram.model.hyper))


def test_several_updates_equal_their_loop():
    ram = _ram(replicates=2, surrogate="ppo_clip", passes=2, minibatches=2)
    state, metrics = _train_step(ram)
    assert float(metrics["updates"]) == 4

    @jax.jit
    def by_hand(params):
        base_key = jax.random.split(jax.random.key(0))[1]
        key = jax.random.split(jax.random.fold_in(base_key, 0))[1]
        play_key, order_key, loss_key = jax.random.split(key, 3)
        played, _ = ram.model.passes.play(params, play_key, IMAGES, LABELS, _step_input(ram.model))
        losses, keys = [], iter(jax.random.split(loss_key, 4))
        for of_pass in jax.random.split(order_key, 2):
            order = jax.random.permutation(of_pass, BATCH)
            for part in order.reshape(2, 3):
                here = _step_input(ram.model, jax.tree.map(lambda leaf, part=part: leaf[:, :, part], played))
                loss, gradient = jax.value_and_grad(ram.model.loss, has_aux=True)(
                    params, next(keys), IMAGES[part], LABELS[part], here
                )
                params = jax.tree.map(lambda p, g: p - 0.01 * g, params, gradient)
                losses.append(loss[0])
        return params, jnp.stack(losses).mean()

    params, loss = by_hand(_params())
    _assert_close(state.params, params)
    assert float(metrics["loss"]) == pytest.approx(float(loss), rel=1e-3, abs=1e-5)


def test_the_kl_stop_skips_the_rest():
    # With a rate this high the second update already sees another policy.
    stopped, metrics = _train_step(_ram(surrogate="ppo_clip", passes=4, max_kl=1e-6), rate=0.5)
    assert float(metrics["updates"]) == 1
    once, _ = _train_step(_ram(surrogate="ppo_clip", passes=2, max_kl=1e-6), rate=0.5)
    _assert_close(stopped.params, once.params)
    _, metrics = _train_step(_ram(surrogate="ppo_clip", passes=4), rate=0.5)
    assert float(metrics["updates"]) == 4


def test_pathwise_gradient_equals_finite_differences():
    ram = _ram(advantage="plain_return", surrogate="pathwise", reward="log_probability", replicates=20)
    with jax.enable_x64(True):
        params, hyper = (
            jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf, np.float64)), tree)
            for tree in (_params(), ram.model.hyper)
        )

        @jax.jit
        def loss(params):
            return ram.model.loss(params, KEY, IMAGES, LABELS, StepInput(jnp.zeros(()), hyper))[0]

        # Along the gradient of the location network, where the loss changes most.
        network = params["location_network"]
        gradient = jax.grad(loss)(params)["location_network"]
        norm = float(jnp.sqrt(sum(jnp.square(leaf).sum() for leaf in jax.tree.leaves(gradient))))

        def moved(by):
            there = jax.tree.map(lambda leaf, slope: leaf + by * slope / norm, network, gradient)
            return float(loss(params | {"location_network": there}))

        assert norm > 0.1
        assert norm == pytest.approx((moved(1e-6) - moved(-1e-6)) / 2e-6, rel=1e-4)


def test_antithetic_replicates_of_the_agent():
    ram = _ram(advantage="plain_return", antithetic=True, replicates=4)
    episode = jax.jit(ram.rollout)(_params(), KEY, IMAGES, _step_input(ram.model))
    noise = np.asarray(episode.samples - episode.modes)[1]
    np.testing.assert_allclose(noise[:2], -noise[2:], atol=1e-6)
    assert np.abs(noise[0] - noise[1]).min() > 0


def test_a_sigma_that_depends_on_the_state_is_learned_and_differs_between_images():
    policy = PolicyConfig(sigma="0.3", learned_sigma="state")
    ram = _ram(policy=policy, replicates=2)
    params = _params("state")
    episode = jax.jit(ram.rollout)(params, KEY, IMAGES, _step_input(ram.model))
    assert np.asarray(episode.sigmas[1:]).std(axis=2).min() > 0
    _, gradient = _gradient(ram, params)
    assert np.any(gradient["location_network"]["log_sigma"]["kernel"])
    fresh = jax.jit(ram.model.init)(KEY)
    episode = jax.jit(ram.rollout)(fresh, KEY, IMAGES, _step_input(ram.model))
    np.testing.assert_allclose(episode.sigmas[1:], 0.3, rtol=1e-6)


def test_the_moving_average_is_kept_from_step_to_step():
    ram = _ram(advantage="moving_average", moving_average_decay=0.9)
    state, metrics = _train_step(ram)
    np.testing.assert_allclose(state.estimator_state["weight"], 0.1, rtol=1e-6)
    # Of an episode's rewards, those to go from its first glimpse on are all.
    assert float(state.estimator_state["mean"][0] / state.estimator_state["weight"][0]) == pytest.approx(
        float(metrics["reward"]), rel=1e-4
    )


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"advantage": "leave_one_out"}, "replicates 1"),
        ({"advantage": "vimco", "replicates": 2}, "give reward log_probability and discount 1"),
        ({"antithetic": True, "replicates": 3}, "give an even number"),
        ({"antithetic": True, "replicates": 4, "advantage": "leave_one_out"}, "biases the gradient"),
        ({"surrogate": "multi_sample", "replicates": 2}, "needs the advantage vimco"),
        ({"surrogate": "pathwise", "reward": "correct", "advantage": "plain_return"}, "0 almost everywhere"),
        ({"surrogate": "pathwise"}, "give advantage plain_return"),
        ({"surrogate": "pathwise", "advantage": "plain_return", "discount": 0.5}, "discount 0.5"),
        ({"surrogate": "pathwise", "advantage": "plain_return", "normalise_advantages": True}, "the return itself"),
        ({"advantage": "vimco", "reward": "log_probability", "replicates": 2, "discount": 0.3}, "discount 0.3"),
        ({"advantage": f"{ADVANTAGE}:leave_one_out"}, "replicates 1"),
        ({"advantage": f"{ADVANTAGE}:leave_one_out", "replicates": 2, "antithetic": True}, "biases the gradient"),
        ({"surrogate": f"{SURROGATE}:pathwise", "passes": 2}, "give ppo_clip, which corrects for that"),
        ({"passes": 3}, "give ppo_clip, which corrects for that"),
        ({"surrogate": "ppo_clip", "max_kl": 0.1}, "it skips updates after the first"),
        ({"passes": 0}, "passes 0: must be at least 1"),
        ({"gae_lambda": 1.5}, "gae_lambda 1.5: must be from 0 to 1"),
        ({"moving_average_decay": 1.0}, "moving_average_decay 1.0"),
        ({"clip_ratio": 0.0}, "clip_ratio 0.0"),
        ({"max_kl": float("nan")}, "max_kl nan"),
    ],
)
def test_a_combination_that_is_not_allowed_is_refused_with_the_reason(fields, why):
    config = replace(EstimatorConfig(reward="gain"), **fields)
    with pytest.raises(ValueError) as error:
        validate_estimator(config)
    assert why in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"advantage": "vimco", "reward": "log_probability"}, "advantage 'vimco' with replicates 1"),
        ({"advantage": "leave_one_out"}, "advantage 'leave_one_out' with replicates 1"),
        ({"antithetic": True, "replicates": 3}, "antithetic with replicates 3"),
    ],
)
def test_an_agent_is_not_built_with_such_a_combination(fields, why):
    with pytest.raises(ValueError, match=why):
        _ram(**fields)


def test_a_surrogate_of_ones_own_may_learn_in_several_updates():
    validate_estimator(EstimatorConfig(surrogate=f"{SURROGATE}:ppo_clip", passes=2, minibatches=2))


def test_a_stateful_advantage_can_compare_replicates_too(monkeypatch):
    marked = compares_replicates(ADVANTAGES["moving_average"])
    monkeypatch.setitem(ADVANTAGES, "marked", marked)
    validate_estimator(EstimatorConfig(advantage="moving_average", antithetic=True, replicates=2))
    with pytest.raises(ValueError, match="biases the gradient"):
        validate_estimator(EstimatorConfig(advantage="marked", antithetic=True, replicates=2))
