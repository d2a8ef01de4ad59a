"""The checks of estimators find what is wrong with an estimator, and know which are biased on purpose."""

import jax
import jax.numpy as jnp
import pytest

from common.policy_gradient import REWARDS, Estimator, Stateful, biased, compares_replicates
from common.policy_gradient.advantages import plain_return, returns_to_go
from common.policy_gradient.estimator_checks import CHECKS, check_estimator, declared_bias
from common.policy_gradient.reward_checks import REWARD_CHECKS, check_reward
from common.policy_gradient.surrogates import score_function

CLOSED_FORM, ENUMERATION = list(CHECKS)[:2]


def _estimator(advantage=plain_return, surrogate=score_function):
    return Estimator(REWARDS["log_probability"], advantage, surrogate)


def _doubled(log_probs, behaviour_log_probs, advantages):
    return 2 * score_function(log_probs, behaviour_log_probs, advantages)


def _of_all_images(rewards, episode):
    return rewards - rewards.mean(axis=2, keepdims=True)


def _of_first_replicate(rewards, episode):
    return rewards * jnp.array([1.0, 2.0])[None, :, None]


def _branching(rewards, episode):
    return rewards if rewards.sum() > 0 else -rewards


def _dividing(rewards, episode):
    return rewards / rewards.std(axis=1, keepdims=True)


def _constant(log_probs, behaviour_log_probs, advantages):
    return jnp.zeros(())


def _small(rewards, episode):
    return rewards[0]


WRONG = {
    ENUMERATION: (_estimator(surrogate=_doubled), "biased: bias 100.0% of the gradient"),
    "gradient in the log-probabilities alone": (_estimator(surrogate=_constant), "nothing is learned"),
    "advantages carry no gradient": (_estimator(_small), "returned float32[2, 4]: must return"),
    "images do not depend on one another": (_estimator(_of_all_images), "the rewards of another"),
    "order of replicates does not matter": (_estimator(_of_first_replicate), "depends on the order"),
    "same numbers under jit and vmap": (_estimator(_branching), "TracerBoolConversionError"),
    "finite at extremes": (_estimator(_dividing), "the advantages of inputs times 0 are not finite"),
}


@pytest.mark.parametrize("check", WRONG)
def test_a_wrong_estimator_fails_the_check(check, monkeypatch):
    estimator, reason = WRONG[check]
    monkeypatch.setattr("common.policy_gradient.estimator_checks.CHECKS", {check: CHECKS[check]})
    (result,) = check_estimator(estimator)
    assert (result.check, result.outcome) == (check, "failed") and reason in result.detail


def _nan(*inputs):
    return inputs[0] * jnp.nan


@pytest.mark.parametrize(
    ("estimator", "value"),
    [
        (_estimator(_nan), "advantages"),
        (_estimator(surrogate=lambda *inputs: _nan(*inputs).sum()), "surrogate"),
    ],
    ids=["advantage", "surrogate"],
)
def test_a_value_that_is_not_finite_is_named(estimator, value):
    failed = {each.check: each.detail for each in check_estimator(estimator) if each.outcome == "failed"}
    named = [check for check, detail in failed.items() if detail.startswith(f"the {value} of ")]
    expected = [ENUMERATION, *(name for name in CHECKS if "depend" in name or "matter" in name), "finite at extremes"]
    assert set(expected) | {"same numbers under jit and vmap"} <= set(named)
    assert all("not finite" in detail for detail in failed.values())


def test_a_reward_that_is_not_finite_is_named():
    failed = {each.check: each.detail for each in check_reward(lambda logits, labels: _nan(logits)[..., 0])}
    assert failed["episodes do not depend on one another"] == "the rewards of random logits are not finite"


def test_a_scaled_gradient_fails_the_check_of_the_closed_form(monkeypatch):
    monkeypatch.setattr("common.policy_gradient.estimator_checks.CHECKS", {CLOSED_FORM: CHECKS[CLOSED_FORM]})
    (result,) = check_estimator(_estimator(surrogate=_doubled))
    assert result.outcome == "failed" and result.detail.startswith("biased: bias 9") or "bias 10" in result.detail


@compares_replicates
@biased("images weigh alike, however hard they are")
def _normalised(rewards, episode, *, discount):
    returns = returns_to_go(rewards, discount)
    mean, deviation = returns.mean(axis=1, keepdims=True), returns.std(axis=1, keepdims=True)
    return (returns - mean) / (deviation + 1e-6)


def test_a_declared_bias_is_measured_instead_of_failing():
    estimator = _estimator(_normalised)
    assert declared_bias(estimator) == "images weigh alike, however hard they are"
    outcomes = {result.check: result for result in check_estimator(estimator)}
    assert [result.check for result in outcomes.values() if result.outcome == "failed"] == []
    for check in (CLOSED_FORM, ENUMERATION):
        assert outcomes[check].outcome == "biased"
        assert outcomes[check].detail.endswith("of the gradient; declared: images weigh alike, however hard they are")


def test_bias_is_declared_of_stateful_advantages_and_surrogates_too():
    stateful = biased("forgets")(Stateful(lambda num_glimpses: (), lambda rewards, episode, state: (rewards, state)))
    assert declared_bias(_estimator(stateful)) == "forgets"
    assert declared_bias(_estimator(surrogate=biased("clips")(lambda a, b, c: (a * c).sum()))) == "clips"
    assert declared_bias(_estimator()) is None


def _shapeless(logits, labels):
    return logits.sum(axis=(0, 3))


def _compared(logits, labels):
    log_probs = REWARDS["log_probability"](logits, labels)
    return log_probs - log_probs.mean(axis=1, keepdims=True)


def _with_hindsight(logits, labels):
    final = REWARDS["log_probability"](logits, labels)[-1]
    return jnp.broadcast_to(final / len(logits), logits.shape[:-1])


WRONG_REWARDS = {
    "a reward for each glimpse of each episode": (
        _shapeless,
        "returned float32[2, 4]: must return floating-point numbers [T, M, B], here [3, 2, 4]",
    ),
    "episodes do not depend on one another": (_compared, "the logits of another"),
    "no reward depends on later glimpses": (_with_hindsight, "depends on later logits"),
    "depends on the label": (lambda logits, labels: logits.max(axis=-1), "does not depend on the label"),
    "same numbers under jit and vmap": (
        lambda logits, labels: logits[..., 0] if logits[0, 0, 0, 0] > 0 else logits[..., 1],
        "TracerBoolConversionError",
    ),
    "finite at extremes": (
        lambda logits, labels: jnp.log(jax.nn.softmax(logits))[..., 0],
        "the rewards of logits times 10000 are not finite",
    ),
}


@pytest.mark.parametrize("check", REWARD_CHECKS)
def test_a_wrong_reward_fails_the_check(check):
    reward, reason = WRONG_REWARDS[check]
    (result,) = [result for result in check_reward(reward) if result.check == check]
    assert result.outcome == "failed" and reason in result.detail
