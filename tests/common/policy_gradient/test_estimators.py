"""Every built-in estimator passes the checks of estimators; one that is added later goes through them too."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common.policy_gradient import (
    ADVANTAGES,
    REWARDS,
    SURROGATES,
    EstimatorConfig,
    make_estimator,
    policy_loss,
    validate_estimator,
)
from common.policy_gradient.estimator_checks import (
    CHECKS,
    LABELS,
    LOG_PROBS,
    LOGITS,
    OBJECTIVES,
    gradient_estimates,
    make_episode,
)
from common.policy_gradient.reward_checks import REWARD_CHECKS, check_reward


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
CLOSED_FORM, ENUMERATION = list(CHECKS)[:2]


def test_every_advantage_and_surrogate_is_checked():
    assert {config.advantage for config in CONFIGS} == set(ADVANTAGES)
    assert {config.surrogate for config in CONFIGS} == set(SURROGATES)


@every_estimator
@pytest.mark.parametrize("check", CHECKS)
def test_a_built_in_estimator_passes_every_check(config, check):
    estimator = make_estimator(config)
    other_objective, pathwise = estimator.advantage in OBJECTIVES, config.surrogate == "pathwise"
    if (check == CLOSED_FORM and other_objective) or (check == ENUMERATION and pathwise):
        pytest.skip("another objective, or no score function")
    CHECKS[check](estimator)


@pytest.mark.parametrize("name", REWARDS)
def test_a_built_in_reward_passes_every_check(name):
    results = list(check_reward(REWARDS[name]))
    assert [(result.check, result.outcome) for result in results] == [(check, "passed") for check in REWARD_CHECKS]


def test_a_baseline_and_the_pathwise_gradient_lower_the_variance():
    configs = {(config.advantage, config.surrogate): config for config in CONFIGS}

    def variance(*pair):
        return np.asarray(gradient_estimates(make_estimator(configs[pair]), 1.0)).var(axis=2)

    plain = variance("plain_return", "score_function")
    assert (variance("leave_one_out", "score_function") < plain).all()
    assert (variance("plain_return", "pathwise") < plain).all()


def test_probability_ratios_beyond_floats_are_finite():
    ppo = functools.partial(SURROGATES["ppo_clip"], clip_ratio=0.2)
    old, advantages = jnp.full((2, 1, 3), -1e4), jnp.array([[[1.0, 0.0, -1.0]]] * 2)
    value, gradient = jax.value_and_grad(ppo)(jnp.zeros((2, 1, 3)), old, advantages)
    assert np.isfinite(value) and np.isfinite(gradient).all()


@every_estimator
def test_nothing_is_learned_from_a_return_that_is_known_in_advance(config):
    if config.advantage == "plain_return":
        pytest.skip("it has no baseline")
    estimator = make_estimator(config)._replace(reward=lambda logits, labels: jnp.ones((3, 2, 4)))
    returns = jnp.broadcast_to(jnp.array([3.0, 2.0, 1.0])[:, None, None], (3, 2, 4))
    episode = make_episode(LOG_PROBS, LOGITS, returns)
    state = policy_loss(estimator, episode, LABELS, estimator.init_state(3)).estimator_state
    np.testing.assert_allclose(policy_loss(estimator, episode, LABELS, state).advantages, 0, atol=1e-5)
