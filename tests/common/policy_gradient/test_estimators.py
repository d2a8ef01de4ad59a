"""Every registered estimator through the same checks; one that is registered later goes through them too."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common.attention.base import Episode
from common.attention.locations import sample_location
from common.policy_gradient import (
    ADVANTAGES,
    REWARDS,
    SURROGATES,
    EstimatorConfig,
    make_estimator,
    policy_loss,
    validate_estimator,
)

KEY = jax.random.key(17)

# Objectives other than the expected return, of the returns of the replicates ``[M]``.
OBJECTIVES = {"vimco": lambda returns: jax.nn.logsumexp(returns) - jnp.log(len(returns))}


def _sensible(advantage, surrogate):
    """The configuration of a pair with any reward that goes with it, or None where it is refused."""
    for reward in REWARDS:
        config = EstimatorConfig(reward, advantage, surrogate, replicates=2, gae_lambda=1.0)
        try:
            validate_estimator(config)
        except ValueError:
            continue
        return config
    return None


CONFIGS = [_sensible(*pair) for pair in itertools.product(ADVANTAGES, SURROGATES)]
CONFIGS = [config for config in CONFIGS if config is not None]
every_estimator = pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{c.advantage}-{c.surrogate}")


def test_every_part_takes_part():
    assert {config.advantage for config in CONFIGS} == set(ADVANTAGES)
    assert {config.surrogate for config in CONFIGS} == set(SURROGATES)


def _random(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def _episode(log_probs, logits, baselines):
    """An episode of the fields that an estimator sees, ``[T, M, B]``."""
    nothing, locations = jnp.zeros(log_probs.shape), jnp.zeros((*log_probs.shape, 2))
    return Episode(locations, locations, locations, locations, log_probs, nothing, baselines, logits)


def _memory(estimator, num_glimpses):
    """A state that is not the fresh one."""
    return jax.tree.map(lambda leaf: leaf + 0.7, estimator.init_state(num_glimpses))


# Unbiased where the expected return has a closed form: two moves in x and y, of rewards ``r_1 = -|l_1|^2`` and
# ``r_2 = -|l_1 + l_2 - target|^2``.
TARGET = np.array([0.7, -0.2])
MEANS, SIGMAS = np.array([[0.3, -0.4], [-0.5, 0.1]]), np.array([[0.5, 0.3], [0.8, 0.6]])


def _quadratic(samples, labels):
    del labels
    target = jnp.broadcast_to(jnp.asarray(TARGET, jnp.float32), samples.shape[1:])
    rewards = [0 * samples[0], -jnp.square(samples[1]), -jnp.square(samples[1] + samples[2] - target)]
    return jnp.stack(rewards).sum(axis=-1)


def _closed_form(discount):
    """Gradient of ``E[r_1 + discount r_2]`` in the first mean and sigma, of ``E[r_2]`` in the second: ``[2, 2, 2]``."""
    gap = MEANS.sum(axis=0) - TARGET
    of_means = [-2 * MEANS[0] - 2 * discount * gap, -2 * gap]
    of_sigmas = [-2 * SIGMAS[0] * (1 + discount), -2 * SIGMAS[1]]
    return np.array([of_means, of_sigmas])


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _estimates(config, discount, images):
    """Estimates of the gradient in means and sigmas ``[2, moves, images, x and y]``, one for each image."""
    estimator = make_estimator(config)._replace(reward=_quadratic)
    estimator = estimator._replace(hyperparameters={**estimator.hyperparameters, "discount": discount})
    parameters = jnp.broadcast_to(jnp.asarray([MEANS, SIGMAS], jnp.float32)[:, :, None], (2, 2, images, 2))
    # Whatever is predicted before a location is drawn leaves the estimate unbiased.
    baselines = jnp.broadcast_to(jnp.array([0.0, 3.0, -1.0])[:, None, None], (3, 2, images))

    def loss(parameters):
        # Both replicates have the parameters of their image.
        mean, sigma = (jnp.broadcast_to(p[:, None], (2, 2, images, 2)) for p in parameters)
        samples, log_probs, _ = sample_location(KEY, mean, sigma, detached=not estimator.pathwise)
        log_probs, samples = (jnp.concatenate([0 * part[:1], part]) for part in (log_probs, samples))
        episode = _episode(log_probs, samples, baselines)
        return policy_loss(estimator, episode, jnp.zeros(images, int), _memory(estimator, 3)).loss

    # The loss is a mean over images, and is minimised.
    return -images * jax.grad(loss)(parameters)


@every_estimator
def test_estimate_agrees_with_the_closed_form(config):
    if config.advantage in OBJECTIVES:
        pytest.skip("its objective has no closed form here; it is enumerated below")
    discount = 1.0 if config.surrogate == "pathwise" else 0.6
    estimates = np.asarray(_estimates(config, discount, 100_000), np.float64)
    error = estimates.std(axis=2, ddof=1) / np.sqrt(estimates.shape[2])
    assert (error < 0.1).all()
    assert (np.abs(estimates.mean(axis=2) - _closed_form(discount)) < 4.5 * error).all()


def test_what_lowers_the_variance():
    configs = {(config.advantage, config.surrogate): config for config in CONFIGS}

    def variance(*pair):
        return np.asarray(_estimates(configs[pair], 1.0, 100_000)).var(axis=2)

    plain = variance("plain_return", "score_function")
    assert (variance("leave_one_out", "score_function") < plain).all()
    assert (variance("plain_return", "pathwise") < plain).all()


@every_estimator
def test_estimate_is_exact_when_every_outcome_is_enumerated(config):
    estimator = make_estimator(config)
    if estimator.pathwise:
        pytest.skip("a discrete choice cannot be reparameterised")
    # Two replicates of one image choose among three places twice; the second choice depends on the first.
    places = 3
    params = {"first": _random(places, seed=1), "second": _random(places, places, seed=2)}
    outcomes = jnp.array(list(itertools.product(range(places), repeat=4))).reshape(-1, 2, 2)
    of_first, of_both = _random(places, seed=4), _random(places, places, seed=5)
    objective = OBJECTIVES.get(config.advantage, jnp.mean)

    def log_probs(params, outcome):
        first, second = outcome
        of_second = jax.nn.log_softmax(params["second"])[first, second]
        return jnp.stack([jax.nn.log_softmax(params["first"])[first], of_second])

    def received(outcome):
        return jnp.stack([of_first[outcome[0]], of_both[outcome[0], outcome[1]]])

    def loss(params, outcome):
        rewarded = estimator._replace(reward=lambda logits, labels: received(outcome)[..., None])
        # The baseline of the second choice may know the first.
        baselines = _random(2, 2, 1, seed=3).at[1, :, 0].add(outcome[0].astype(jnp.float32))
        episode = _episode(log_probs(params, outcome)[..., None], jnp.zeros((2, 2, 1, places)), baselines)
        return policy_loss(rewarded, episode, jnp.zeros(1, int), _memory(estimator, 2)).loss

    def probabilities(params):
        return jnp.exp(jax.vmap(log_probs, in_axes=(None, 0))(params, outcomes).sum(axis=(1, 2)))

    def expected_objective(params):
        values = jax.vmap(lambda outcome: objective(received(outcome).sum(axis=0)))(outcomes)
        return probabilities(params) @ values

    @jax.jit
    def enumerate_all(params):
        gradients = jax.vmap(jax.grad(loss), in_axes=(None, 0))(params, outcomes)
        estimate = jax.tree.map(lambda leaf: -jnp.tensordot(probabilities(params), leaf, 1), gradients)
        return probabilities(params).sum(), estimate, jax.grad(expected_objective)(params)

    total, estimate, expected = enumerate_all(params)
    assert float(total) == pytest.approx(1, rel=1e-5)
    for name, exact in expected.items():
        assert np.abs(exact).max() > 0.01
        np.testing.assert_allclose(estimate[name], exact, atol=3e-5)


# What an estimate must not depend on, and where its gradient must be zero.

LOGITS, LABELS = _random(3, 2, 4, 5), jnp.arange(4)
LOG_PROBS, BASELINES = _random(3, 2, 4, seed=1), _random(3, 2, 4, seed=2)


def _loss(config, log_probs=LOG_PROBS, logits=LOGITS, values=BASELINES, labels=LABELS):
    estimator = make_estimator(config)
    return policy_loss(estimator, _episode(log_probs, logits, values), labels, _memory(estimator, 3))


@every_estimator
def test_gradients_go_where_they_must(config):
    def loss(*arguments):
        return _loss(config, *arguments).loss

    of_log_probs, of_logits, of_baselines = jax.grad(loss, argnums=(0, 1, 2))(LOG_PROBS, LOGITS, BASELINES)
    np.testing.assert_array_equal(of_baselines, 0)
    # Of the surrogates only these differentiate the rewards.
    assert np.any(of_logits) == (config.surrogate in ("pathwise", "multi_sample"))
    assert np.any(of_log_probs) == (config.surrogate != "pathwise")


@every_estimator
def test_what_the_estimator_tells_carries_no_gradient(config):
    def total(logits, baselines):
        found = _loss(config, logits=logits, values=baselines)
        return (
            found.advantages.sum()
            + found.rewards.sum()
            + sum(jnp.sum(x) for x in jax.tree.leaves(found.estimator_state))
        )

    for gradient in jax.grad(total, argnums=(0, 1))(LOGITS, BASELINES):
        np.testing.assert_array_equal(gradient, 0)


@every_estimator
def test_images_do_not_depend_on_one_another(config):
    changed = _loss(config, logits=LOGITS.at[:, :, 2].add(_random(3, 2, 5, seed=5))).advantages
    np.testing.assert_array_equal(np.delete(changed, 2, axis=2), np.delete(_loss(config).advantages, 2, axis=2))


@every_estimator
@pytest.mark.parametrize("axis", [1, 2])
def test_the_order_of_replicates_and_images_does_not_matter(config, axis):
    order = np.random.default_rng(0).permutation(LOG_PROBS.shape[axis])
    fields = (jnp.take(field, order, axis) for field in (LOG_PROBS, LOGITS, BASELINES))
    labels = LABELS[order] if axis == 2 else LABELS
    before, after = _loss(config), _loss(config, *fields, labels)
    assert float(after.loss) == pytest.approx(float(before.loss), rel=1e-5)
    np.testing.assert_allclose(after.advantages, jnp.take(before.advantages, order, axis), rtol=1e-5, atol=1e-6)


def _assert_close(first, second):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), first, second)


@every_estimator
def test_jit_and_vmap_agree_with_plain_calls(config):
    several = [_random(2, 3, 2, 4, seed=6), _random(2, 3, 2, 4, 5, seed=7), _random(2, 3, 2, 4, seed=8)]
    compiled, mapped = jax.jit(functools.partial(_loss, config)), jax.vmap(functools.partial(_loss, config))(*several)
    for i in range(2):
        one = [field[i] for field in several]
        alone = _loss(config, *one)
        _assert_close(compiled(*one), alone)
        _assert_close(jax.tree.map(lambda leaf, i=i: leaf[i], mapped), alone)


@every_estimator
@pytest.mark.parametrize("scale", [0.0, 1e4])
def test_finite_at_the_extremes(config, scale):
    def loss(log_probs, logits, baselines):
        return _loss(config, log_probs, logits, baselines).loss

    arguments = (scale * LOG_PROBS, scale * LOGITS, scale * BASELINES)
    value, gradients = jax.value_and_grad(loss, argnums=(0, 1, 2))(*arguments)
    assert np.isfinite(value) and all(np.isfinite(gradient).all() for gradient in gradients)


def test_probability_ratios_beyond_floats_are_finite():
    ppo = functools.partial(SURROGATES["ppo_clip"], clip_ratio=0.2)
    old, advantages = jnp.full((2, 1, 3), -1e4), jnp.array([[[1.0, 0.0, -1.0]]] * 2)
    value, gradient = jax.value_and_grad(ppo)(jnp.zeros((2, 1, 3)), old, advantages)
    assert np.isfinite(value) and np.isfinite(gradient).all()


@every_estimator
def test_a_return_that_is_known_in_advance_teaches_nothing(config):
    if config.advantage == "plain_return":
        pytest.skip("it has no baseline")
    estimator = make_estimator(config)._replace(reward=lambda logits, labels: jnp.ones((3, 2, 4)))
    returns = jnp.broadcast_to(jnp.array([3.0, 2.0, 1.0])[:, None, None], (3, 2, 4))
    episode = _episode(LOG_PROBS, LOGITS, returns)
    state = policy_loss(estimator, episode, LABELS, estimator.init_state(3)).estimator_state
    np.testing.assert_allclose(policy_loss(estimator, episode, LABELS, state).advantages, 0, atol=1e-5)
