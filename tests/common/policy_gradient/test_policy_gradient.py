"""Rewards, returns, advantages and surrogates against NumPy, and the seam that joins them."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common.policy_gradient import (
    ADVANTAGES,
    REWARDS,
    SURROGATES,
    Estimator,
    EstimatorConfig,
    make_estimator,
    policy_loss,
)
from common.policy_gradient.advantages import returns_to_go
from common.policy_gradient.episode import Episode


def _episode(log_probs, logits, values=None):
    """An episode of the fields that an estimator sees, ``[T, M, B]``."""
    nothing = jnp.zeros(log_probs.shape)
    locations = jnp.zeros((*log_probs.shape, 2))
    values = nothing if values is None else values
    return Episode(locations, locations, locations, locations, log_probs, nothing, values, logits)


def _random(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


# Rewards.


def _log_softmax(logits):
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def _numpy_rewards(logits, labels):
    """By name, ``[T, M, B]``: plain loops over replicates and images."""
    steps, replicates, images, classes = logits.shape
    rewards = {name: np.zeros((steps, replicates, images)) for name in REWARDS}
    for m, b in itertools.product(range(replicates), range(images)):
        beliefs = [math.log(1 / classes)] + [_log_softmax(logits[t, m, b])[labels[b]] for t in range(steps)]
        rewards["correct"][-1, m, b] = np.argmax(logits[-1, m, b]) == labels[b]
        rewards["signed"][-1, m, b] = 1 if rewards["correct"][-1, m, b] else -1
        rewards["log_probability"][-1, m, b] = beliefs[-1]
        rewards["clipped_linear"][-1, m, b] = max(math.exp(beliefs[-1]) - 1 / classes, 0)
        rewards["gain"][:, m, b] = np.diff(beliefs)
    return rewards


@pytest.mark.parametrize("name", REWARDS)
@pytest.mark.parametrize("steps", [1, 4])
def test_reward_equals_numpy(name, steps):
    logits, labels = 2 * _random(steps, 3, 8, 5), jnp.arange(8) % 5
    expected = _numpy_rewards(np.asarray(logits, np.float64), np.asarray(labels))[name]
    assert len(np.unique(expected[-1])) > 1
    rewards = jax.jit(REWARDS[name])(logits, labels)
    assert rewards.dtype == jnp.float32
    np.testing.assert_allclose(rewards, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", REWARDS)
def test_each_replicate_and_image_has_its_own_reward(name):
    logits, labels = 2 * _random(3, 4, 8, 5), jnp.arange(8) % 5
    before = np.asarray(REWARDS[name](logits, labels))
    # Certain, and of the label where it was not.
    changed = jnp.where(before[-1, 2, 6] > 0.5, -50.0, 50.0) * jax.nn.one_hot(labels[6], 5)
    after = np.asarray(REWARDS[name](logits.at[-1, 2, 6].set(changed), labels))
    assert after[-1, 2, 6] != before[-1, 2, 6]
    others = np.ones(before.shape, bool)
    others[-1, 2, 6] = False
    np.testing.assert_array_equal(after[others], before[others])


def test_gains_add_up_to_the_final_log_probability():
    logits, labels = _random(5, 2, 6, 7), jnp.arange(6)
    total = REWARDS["gain"](logits, labels).sum(axis=0)
    final = REWARDS["log_probability"](logits, labels)[-1]
    np.testing.assert_allclose(total, final + math.log(7), rtol=1e-4, atol=1e-5)


# Returns and advantages.


@pytest.mark.parametrize("discount", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("steps", [1, 4])
def test_returns_to_go_equals_numpy(steps, discount):
    rewards = np.asarray(_random(steps, 2, 3))
    expected = np.zeros(rewards.shape)
    for t in range(steps):
        for later in range(t, steps):
            expected[t] += discount ** (later - t) * rewards[later]
    returns = jax.jit(returns_to_go, static_argnums=1)(jnp.asarray(rewards), discount)
    np.testing.assert_allclose(returns, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("discount", [0.3, 1.0])
def test_advantages_by_definition(discount):
    rewards, baselines = _random(4, 3, 5), _random(4, 3, 5, seed=1)
    episode = _episode(jnp.zeros((4, 3, 5)), jnp.zeros((4, 3, 5, 2)), baselines)
    returns = np.asarray(returns_to_go(rewards, discount))
    values = np.concatenate([np.asarray(baselines), np.zeros((1, 3, 5))])
    errors = np.asarray(rewards) + discount * values[1:] - values[:-1]
    expected = {
        "plain_return": returns,
        "learned_baseline": returns - np.asarray(baselines),
        "gae": np.stack([sum((discount * 0.7) ** (k - t) * errors[k] for k in range(t, 4)) for t in range(4)]),
    }
    expected["leave_one_out"] = np.empty_like(returns)
    for m in range(3):
        others = [other for other in range(3) if other != m]
        expected["leave_one_out"][:, m] = returns[:, m] - returns[:, others].mean(axis=1)
    more = {"gae": {"gae_lambda": 0.7}, "leave_one_out": {"counted": jnp.ones((4, 3, 5))}}
    for name, value in expected.items():
        named = {"discount": discount} | more.get(name, {})
        np.testing.assert_allclose(ADVANTAGES[name](rewards, episode, **named), value, rtol=1e-4, atol=1e-5)


def test_leave_one_out_by_hand():
    rewards = jnp.array([[[1.0], [0.0], [0.0]]])
    episode = _episode(jnp.zeros((1, 3, 1)), jnp.zeros((1, 3, 1, 2)))
    for counted, expected in ([1, 1, 1], [1, -0.5, -0.5]), ([1, 1, 0], [1, -1, -0.5]), ([1, 0, 0], [1, -1, -1]):
        counted = jnp.array(counted, jnp.float32)[None, :, None]
        made = ADVANTAGES["leave_one_out"](rewards, episode, discount=1.0, counted=counted)
        np.testing.assert_allclose(made[0, :, 0], expected, atol=1e-6)


def test_vimco_equals_numpy():
    rewards = _random(3, 4, 5)
    returns = np.asarray(rewards, np.float64).sum(axis=0)
    expected = np.empty(returns.shape)
    for m in range(4):
        replaced = returns.copy()
        replaced[m] = np.delete(returns, m, axis=0).mean(axis=0)
        expected[m] = 4 * (np.log(np.exp(returns).mean(axis=0)) - np.log(np.exp(replaced).mean(axis=0)))
    signal = ADVANTAGES["vimco"](rewards, _episode(jnp.zeros((3, 4, 5)), jnp.zeros((3, 4, 5, 2))))
    np.testing.assert_allclose(signal, np.broadcast_to(expected, (3, 4, 5)), rtol=1e-4, atol=1e-5)


def test_the_moving_average_is_over_earlier_steps():
    episode, average = _episode(jnp.zeros((2, 3, 4)), jnp.zeros((2, 3, 4, 2))), ADVANTAGES["moving_average"]
    state, seen = average.init(2), []
    for step in range(4):
        rewards = _random(2, 3, 4, seed=step)
        returns = np.asarray(returns_to_go(rewards, 0.5))
        weights = np.array([0.9 ** (step - 1 - k) for k in range(step)])
        baseline = (weights[:, None] * np.array(seen)).sum(axis=0) / weights.sum() if step else np.zeros(2)
        advantages, state = average.update(
            rewards, episode, state, discount=0.5, moving_average_decay=0.9, counted=jnp.ones((2, 3, 4))
        )
        np.testing.assert_allclose(advantages, returns - baseline[:, None, None], rtol=1e-4, atol=1e-5)
        seen.append(returns.mean(axis=(1, 2)))


def test_the_moving_average_is_over_counted_glimpses():
    """Where one episode in ten counts and is worth 1, nothing is left to learn once the average knows that."""
    episode, average = _episode(jnp.zeros((2, 1, 10)), jnp.zeros((2, 1, 10, 2))), ADVANTAGES["moving_average"]
    counted = jnp.array([jnp.ones((1, 10)), jnp.eye(10)[:1]])
    rewards, state = jnp.zeros((2, 1, 10)).at[1, 0, 0].set(1.0), average.init(2)
    for _ in range(3):
        advantages, state = average.update(
            rewards, episode, state, discount=0.0, moving_average_decay=0.9, counted=counted
        )
    assert float(advantages[1, 0, 0]) == pytest.approx(0, abs=1e-6)
    assert float(state["mean"][1] / state["weight"][1]) == pytest.approx(1)


def test_normalised_advantages_have_mean_zero_and_deviation_one():
    estimator = make_estimator(EstimatorConfig(reward="gain", advantage="plain_return", normalise_advantages=True))
    episode = _episode(_random(4, 2, 6), _random(4, 2, 6, 5))
    found = policy_loss(estimator, episode, jnp.arange(6) % 5)
    plain = np.asarray(returns_to_go(found.rewards, 1.0))
    expected = (plain - plain[1:].mean()) / plain[1:].std()
    np.testing.assert_allclose(found.advantages, expected, rtol=1e-3, atol=1e-4)


def test_score_function_by_hand():
    log_probs, advantages = _random(3, 2, 4), _random(3, 2, 4, seed=1)
    expected = -sum(np.mean(np.asarray(log_probs[t] * advantages[t])) for t in range(3))
    loss = SURROGATES["score_function"](log_probs, log_probs, advantages)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_ppo_clips_the_ratio_where_it_would_gain():
    old, new, advantages = 0.3 * _random(3, 2, 4), 0.3 * _random(3, 2, 4, seed=1), _random(3, 2, 4, seed=2)
    ratios, gains = np.exp(np.asarray(new - old)), np.asarray(advantages)
    expected = -np.minimum(ratios * gains, np.clip(ratios, 0.8, 1.2) * gains).sum(axis=0).mean()
    surrogate = functools.partial(SURROGATES["ppo_clip"], clip_ratio=0.2)
    np.testing.assert_allclose(surrogate(new, old, advantages), expected, rtol=1e-4)
    gradient = np.asarray(jax.grad(surrogate)(new, old, advantages))
    clipped = ((ratios > 1.2) & (gains > 0)) | ((ratios < 0.8) & (gains < 0))
    assert 0 < clipped.sum() < clipped.size
    np.testing.assert_array_equal(gradient == 0, clipped)


def test_pathwise_is_the_negative_return():
    rewards, nothing = _random(3, 2, 4), jnp.zeros((3, 2, 4))
    value, gradient = jax.value_and_grad(
        lambda rewards: SURROGATES["pathwise"](nothing, nothing, nothing, rewards=rewards)
    )(rewards)
    np.testing.assert_allclose(value, -np.asarray(rewards).sum(axis=0).mean(), rtol=1e-4)
    np.testing.assert_allclose(gradient, -1 / 8, rtol=1e-6)


def test_the_multi_sample_bound_weighs_replicates_by_their_likelihood():
    rewards, nothing = _random(3, 4, 5), jnp.zeros((3, 4, 5))
    value, gradient = jax.value_and_grad(
        lambda rewards: SURROGATES["multi_sample"](nothing, nothing, nothing, rewards=rewards)
    )(rewards)
    likelihoods = np.exp(np.asarray(rewards, np.float64).sum(axis=0))
    np.testing.assert_allclose(value, -np.log(likelihoods.mean(axis=0)).mean(), rtol=1e-4)
    shares = likelihoods / likelihoods.sum(axis=0) / 5
    np.testing.assert_allclose(gradient, -np.broadcast_to(shares, (3, 4, 5)), rtol=1e-4)


# The seam.


def test_no_gradient_even_from_an_advantage_that_has_one():
    def leaky(rewards, episode):
        return rewards - episode.values

    def loss(baselines):
        estimator = Estimator(REWARDS["correct"], leaky, SURROGATES["score_function"])
        return policy_loss(
            estimator, _episode(_random(3, 2, 4), _random(3, 2, 4, 5), baselines), jnp.zeros(4, int)
        ).loss

    np.testing.assert_array_equal(jax.grad(loss)(_random(3, 2, 4)), 0)


def test_policy_loss_returns_the_rewards():
    estimator = make_estimator(EstimatorConfig("gain", "plain_return", discount=0.5))
    logits, labels = _random(3, 2, 4, 5), jnp.arange(4)
    loss, rewards, *_ = policy_loss(estimator, _episode(_random(3, 2, 4, seed=1), logits), labels)
    np.testing.assert_array_equal(rewards, REWARDS["gain"](logits, labels))
    # Each factor of the loss by definition, with the discount.
    returns = np.asarray(returns_to_go(rewards, 0.5))
    np.testing.assert_allclose(loss, -(np.asarray(_random(3, 2, 4, seed=1)) * returns).sum(0).mean(), rtol=1e-5)


def test_make_estimator_finds_each_part():
    config = EstimatorConfig("gain", "leave_one_out", "ppo_clip", discount=0.4, clip_ratio=0.1)
    estimator = make_estimator(config)
    assert estimator[:3] == (REWARDS["gain"], ADVANTAGES["leave_one_out"], SURROGATES["ppo_clip"])
    names = ("discount", "gae_lambda", "moving_average_decay", "clip_ratio")
    assert estimator.hyperparameters == {name: getattr(config, name) for name in names}
    for part in ("reward", "advantage", "surrogate"):
        names = {"reward": "gain", "advantage": "leave_one_out", "surrogate": "score_function"} | {part: "nonsense"}
        with pytest.raises(ValueError, match=f"{part} 'nonsense'"):
            make_estimator(EstimatorConfig(**names))


@pytest.mark.parametrize("part", ["reward", "advantage"])
def test_a_function_of_the_wrong_shape_is_refused(part):
    functions = {
        "reward": lambda logits, labels: jnp.zeros(logits.shape[:-1]),
        "advantage": lambda rewards, episode: rewards,
    }
    functions[part] = lambda *args: jnp.zeros((2, 4))
    estimator = Estimator(
        functions["reward"], functions["advantage"], lambda new, old, advantages: (new * advantages).sum()
    )
    message = rf"^the {part} function returned float32\[2, 4\]: must return .* \[T, M, B\], here \[3, 2, 4\]$"
    with pytest.raises(ValueError, match=message):
        policy_loss(estimator, _episode(_random(3, 2, 4), _random(3, 2, 4, 5)), jnp.zeros(4, int))
