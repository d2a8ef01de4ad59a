"""Estimators against closed-form and enumerated gradients; rewards, returns and advantages against NumPy."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common.episode import Episode
from common.locations import sample_location
from common.policy_gradient import (
    ADVANTAGES,
    REWARDS,
    SURROGATES,
    Estimator,
    make_estimator,
    policy_loss,
    resolve,
)
from common.policy_gradient.advantages import returns_to_go

PAIRS = list(itertools.product(ADVANTAGES, SURROGATES))
KEY = jax.random.key(17)


def _episode(log_probs, logits, baselines=None):
    """An episode of the fields that an estimator sees, ``[T, M, B]``."""
    nothing = jnp.zeros(log_probs.shape)
    locations = jnp.zeros((*log_probs.shape, 2))
    baselines = nothing if baselines is None else baselines
    return Episode(locations, locations, locations, log_probs, nothing, baselines, logits)


def _random(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


# Rewards.


def _log_softmax(logits):
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def _numpy_rewards(logits, labels):
    """By name, ``[T, M, B]``: plain loops over replicates and images."""
    steps, replicates, images, classes = logits.shape
    rewards = {name: np.zeros((steps, replicates, images)) for name in ("correct", "log_probability", "gain")}
    for m, b in itertools.product(range(replicates), range(images)):
        beliefs = [math.log(1 / classes)] + [_log_softmax(logits[t, m, b])[labels[b]] for t in range(steps)]
        rewards["correct"][-1, m, b] = np.argmax(logits[-1, m, b]) == labels[b]
        rewards["log_probability"][-1, m, b] = beliefs[-1]
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


@pytest.mark.parametrize("name", REWARDS)
def test_rewards_of_extreme_logits_are_finite(name):
    logits = jnp.array([[[[1e4, -1e4, 0.0]]], [[[-1e4, 1e4, 0.0]]]])
    assert np.isfinite(REWARDS[name](logits, jnp.array([0]))).all()


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
    expected = {"plain_return": returns, "learned_baseline": returns - np.asarray(baselines)}
    expected["leave_one_out"] = np.empty_like(returns)
    for m in range(3):
        others = [other for other in range(3) if other != m]
        expected["leave_one_out"][:, m] = returns[:, m] - returns[:, others].mean(axis=1)
    for name, value in expected.items():
        np.testing.assert_allclose(ADVANTAGES[name](rewards, episode, discount), value, rtol=1e-4, atol=1e-5)


def test_leave_one_out_by_hand():
    rewards = jnp.array([[[1.0], [0.0], [0.0]]])
    episode = _episode(jnp.zeros((1, 3, 1)), jnp.zeros((1, 3, 1, 2)))
    np.testing.assert_allclose(ADVANTAGES["leave_one_out"](rewards, episode, 1.0), [[[1.0], [-0.5], [-0.5]]], atol=1e-6)


def test_leave_one_out_refuses_a_single_replicate():
    episode = _episode(jnp.zeros((2, 1, 3)), jnp.zeros((2, 1, 3, 2)))
    with pytest.raises(ValueError, match="replicates 1.*at least 2"):
        ADVANTAGES["leave_one_out"](jnp.zeros((2, 1, 3)), episode, 1.0)


@pytest.mark.parametrize("name", ADVANTAGES)
def test_advantages_of_an_image_do_not_depend_on_other_images(name):
    rewards, baselines = _random(3, 4, 5), _random(3, 4, 5, seed=1)

    def advantages(rewards):
        episode = _episode(jnp.zeros((3, 4, 5)), jnp.zeros((3, 4, 5, 2)), baselines)
        return np.asarray(ADVANTAGES[name](rewards, episode, 0.9))

    changed = advantages(rewards.at[:, 0, 2].add(1.0))
    assert (changed[:, 0, 2] > advantages(rewards)[:, 0, 2]).all()
    np.testing.assert_array_equal(np.delete(changed, 2, axis=2), np.delete(advantages(rewards), 2, axis=2))


def test_score_function_by_hand():
    log_probs, advantages = _random(3, 2, 4), _random(3, 2, 4, seed=1)
    expected = -sum(np.mean(np.asarray(log_probs[t] * advantages[t])) for t in range(3))
    loss = SURROGATES["score_function"](log_probs, log_probs, advantages)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


# Unbiasedness.

# Two moves in x and y, of rewards ``r_1 = -|l_1|^2`` and ``r_2 = -|l_1 + l_2 - target|^2``.
TARGET, DISCOUNT = np.array([0.7, -0.2]), 0.6
MEANS, SIGMAS = np.array([[0.3, -0.4], [-0.5, 0.1]]), np.array([[0.5, 0.3], [0.8, 0.6]])


def _quadratic(samples, labels):
    del labels
    target = jnp.broadcast_to(jnp.asarray(TARGET, jnp.float32), samples.shape[1:])
    rewards = [0 * samples[0], -jnp.square(samples[1]), -jnp.square(samples[1] + samples[2] - target)]
    return jnp.stack(rewards).sum(axis=-1)


def _closed_form():
    """Gradient of ``E[r_1 + discount r_2]`` in the first mean and sigma, of ``E[r_2]`` in the second: ``[2, 2, 2]``."""
    gap = MEANS.sum(axis=0) - TARGET
    of_means = [-2 * MEANS[0] - 2 * DISCOUNT * gap, -2 * gap]
    of_sigmas = [-2 * SIGMAS[0] * (1 + DISCOUNT), -2 * SIGMAS[1]]
    return np.array([of_means, of_sigmas])


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _estimates(advantage, surrogate, images):
    """Estimates of the gradient in means and sigmas ``[2, moves, images, x and y]``, one for each image."""
    estimator = Estimator(_quadratic, ADVANTAGES[advantage], SURROGATES[surrogate], DISCOUNT)
    parameters = jnp.broadcast_to(jnp.asarray([MEANS, SIGMAS], jnp.float32)[:, :, None], (2, 2, images, 2))
    # Whatever is predicted before a location is drawn leaves the estimate unbiased.
    baselines = jnp.broadcast_to(jnp.array([0.0, 3.0, -1.0])[:, None, None], (3, 2, images))

    def loss(parameters):
        # Both replicates have the parameters of their image.
        mean, sigma = (jnp.broadcast_to(p[:, None], (2, 2, images, 2)) for p in parameters)
        samples, log_probs, _ = sample_location(KEY, mean, sigma)
        log_probs, samples = (jnp.concatenate([0 * part[:1], part]) for part in (log_probs, samples))
        return policy_loss(estimator, _episode(log_probs, samples, baselines), jnp.zeros(images, int))[0]

    # The loss is a mean over images, and is minimised.
    return -images * jax.grad(loss)(parameters)


@pytest.mark.parametrize(("advantage", "surrogate"), PAIRS)
def test_estimate_agrees_with_the_closed_form(advantage, surrogate):
    estimates = np.asarray(_estimates(advantage, surrogate, 100_000), np.float64)
    error = estimates.std(axis=2, ddof=1) / np.sqrt(estimates.shape[2])
    assert (error < 0.1).all()
    assert (np.abs(estimates.mean(axis=2) - _closed_form()) < 4.5 * error).all()


def test_leave_one_out_has_less_variance():
    variances = {name: _estimates(name, "score_function", 100_000).var(axis=2) for name in ADVANTAGES}
    assert (variances["leave_one_out"] < variances["plain_return"]).all()


@pytest.mark.parametrize(("advantage", "surrogate"), PAIRS)
def test_estimate_is_exact_when_every_outcome_is_enumerated(advantage, surrogate):
    # Two replicates of one image choose among four places twice; the second choice depends on the first.
    places = 3
    params = {"first": _random(places, seed=1), "second": _random(places, places, seed=2)}
    outcomes = jnp.array(list(itertools.product(range(places), repeat=4))).reshape(-1, 2, 2)
    of_first, of_both = _random(places, seed=4), _random(places, places, seed=5)

    def log_probs(params, outcome):
        first, second = outcome
        of_second = jax.nn.log_softmax(params["second"])[first, second]
        return jnp.stack([jax.nn.log_softmax(params["first"])[first], of_second])

    def loss(params, outcome):
        received = jnp.stack([of_first[outcome[0]], of_both[outcome[0], outcome[1]]])[..., None]
        estimator = Estimator(lambda logits, labels: received, ADVANTAGES[advantage], SURROGATES[surrogate])
        # The baseline of the second choice may know the first.
        baselines = _random(2, 2, 1, seed=3).at[1, :, 0].add(outcome[0].astype(jnp.float32))
        episode = _episode(log_probs(params, outcome)[..., None], jnp.zeros((2, 2, 1, places)), baselines)
        return policy_loss(estimator, episode, jnp.zeros(1, int))[0]

    def expected_reward(params):
        first, second = jax.nn.softmax(params["first"]), jax.nn.softmax(params["second"])
        return (first * of_first).sum() + (first[:, None] * second * of_both).sum()

    @jax.jit
    def enumerate_all(params):
        probabilities = jnp.exp(jax.vmap(log_probs, in_axes=(None, 0))(params, outcomes).sum(axis=(1, 2)))
        gradients = jax.vmap(jax.grad(loss), in_axes=(None, 0))(params, outcomes)
        estimate = jax.tree.map(lambda leaf: -jnp.tensordot(probabilities, leaf, 1), gradients)
        return probabilities.sum(), estimate, jax.grad(expected_reward)(params)

    total, estimate, expected = enumerate_all(params)
    assert float(total) == pytest.approx(1, rel=1e-5)
    for name, exact in expected.items():
        assert np.abs(exact).max() > 0.01
        np.testing.assert_allclose(estimate[name], exact, atol=2e-5)


# The seam.


@pytest.mark.parametrize(("advantage", "surrogate"), PAIRS)
def test_only_log_probs_carry_a_gradient(advantage, surrogate):
    def leaky(logits, labels):
        return logits[..., 0]

    def loss(log_probs, logits, baselines):
        estimator = Estimator(leaky, ADVANTAGES[advantage], SURROGATES[surrogate])
        return policy_loss(estimator, _episode(log_probs, logits, baselines), jnp.zeros(4, int))[0]

    arguments = _random(3, 2, 4), _random(3, 2, 4, 5, seed=1), _random(3, 2, 4, seed=2)
    of_log_probs, of_logits, of_baselines = jax.grad(loss, argnums=(0, 1, 2))(*arguments)
    assert np.abs(of_log_probs).max() > 0
    np.testing.assert_array_equal(of_logits, 0)
    np.testing.assert_array_equal(of_baselines, 0)


def test_no_gradient_even_from_an_advantage_that_has_one():
    def leaky(rewards, episode, discount):
        return rewards - episode.baselines

    def loss(baselines):
        estimator = Estimator(REWARDS["correct"], leaky, SURROGATES["score_function"])
        return policy_loss(estimator, _episode(_random(3, 2, 4), _random(3, 2, 4, 5), baselines), jnp.zeros(4, int))[0]

    np.testing.assert_array_equal(jax.grad(loss)(_random(3, 2, 4)), 0)


def test_the_rewards_that_are_returned_are_detached():
    estimator = make_estimator("gain", "plain_return", "score_function")

    def total(logits):
        return policy_loss(estimator, _episode(_random(3, 2, 4), logits), jnp.arange(4))[1].sum()

    np.testing.assert_array_equal(jax.grad(total)(_random(3, 2, 4, 5)), 0)


def test_policy_loss_returns_the_rewards():
    estimator = make_estimator("gain", "plain_return", "score_function", 0.5)
    logits, labels = _random(3, 2, 4, 5), jnp.arange(4)
    loss, rewards = policy_loss(estimator, _episode(_random(3, 2, 4, seed=1), logits), labels)
    np.testing.assert_array_equal(rewards, REWARDS["gain"](logits, labels))
    # Each factor of the loss by definition, with the discount.
    returns = np.asarray(returns_to_go(rewards, 0.5))
    np.testing.assert_allclose(loss, -(np.asarray(_random(3, 2, 4, seed=1)) * returns).sum(0).mean(), rtol=1e-5)


def test_make_estimator_finds_each_part():
    estimator = make_estimator("gain", "leave_one_out", "score_function")
    assert estimator == Estimator(
        REWARDS["gain"], ADVANTAGES["leave_one_out"], SURROGATES["score_function"], discount=1.0
    )
    for part in ("reward", "advantage", "surrogate"):
        names = {"reward": "gain", "advantage": "leave_one_out", "surrogate": "score_function"} | {part: "nonsense"}
        with pytest.raises(ValueError, match=f"{part} 'nonsense'"):
            make_estimator(**names)


def test_resolve_imports_a_function():
    assert resolve("reward", "gain", REWARDS) is REWARDS["gain"]
    assert resolve("reward", "math:atan2", REWARDS) is math.atan2
    assert resolve("advantage", "common.policy_gradient.advantages:leave_one_out", {}) is ADVANTAGES["leave_one_out"]


@pytest.mark.parametrize(
    ("name", "fragment"),
    [
        ("corect", "did you mean 'correct'"),
        ("zzz", "choose from correct"),
        ("", "choose from correct"),
        ("no_such_module:reward", "no_such_module"),
        ("math:no_such_function", "no_such_function"),
        ("math:pi", "not a function"),
        ("math:sqrt", "it is called with (logits, labels)"),
        (":sqrt", "module:function"),
        ("math:", "module:function"),
        (".math:sqrt", "module:function"),
    ],
)
def test_resolve_quotes_what_it_cannot_find(name, fragment):
    with pytest.raises(ValueError) as error:
        resolve("reward", name, REWARDS)
    message = str(error.value)
    assert f"reward {name!r}" in message and fragment in message and "\n" not in message


@pytest.mark.parametrize("part", ["reward", "advantage"])
def test_a_function_of_the_wrong_shape_is_refused(part):
    functions = {
        "reward": lambda logits, labels: jnp.zeros(logits.shape[:-1]),
        "advantage": lambda rewards, episode, discount: rewards,
    }
    functions[part] = lambda *args: jnp.zeros((2, 4))
    estimator = Estimator(
        functions["reward"], functions["advantage"], lambda new, old, advantages: (new * advantages).sum()
    )
    with pytest.raises(ValueError, match=rf"{part} function returned shape \(2, 4\)"):
        policy_loss(estimator, _episode(_random(3, 2, 4), _random(3, 2, 4, 5)), jnp.zeros(4, int))
