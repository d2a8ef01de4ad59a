"""Networks and functions of the user's own that return something wrong: one line names the function and the value."""

import types

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from common.attention.config import LossConfig, PolicyConfig, RetinaConfig
from common.attention.location_policies import LOCATION_POLICY
from common.networks.cores import CORE
from common.policy_gradient import EstimatorConfig, Stateful
from common.policy_gradient.registry import ADVANTAGE, REWARD, SURROGATE
from common.training.step import StepInput
from ram.agent import make_ram
from ram.config import AgentConfig, RamConfig
from ram.networks import GLIMPSE_NETWORK

HIDDEN, FEATURES, GLIMPSES, BATCH = 8, 6, 3, 4
NONE = "returned None: must return"


def _error(kind, own, monkeypatch, **fields):
    """Return the message with which an agent with something of the user's own is refused."""
    monkeypatch.setitem(kind.built_in, "own", own)
    agent = {"glimpse_hidden": 5, "location_hidden": 5, "core": "rnn"}
    agent |= {name: "own" for name in ("core", "glimpse_network") if name == kind.name}
    estimator = {name: "own" for name in ("reward", "advantage", "surrogate") if name == kind.name}
    config = RamConfig(
        RetinaConfig(3, 2),
        AgentConfig(num_glimpses=GLIMPSES, glimpse_features=FEATURES, core_hidden=HIDDEN, **agent),
        PolicyConfig(sigma="0.3", location_policy="own" if kind is LOCATION_POLICY else "gaussian"),
        LossConfig(),
        EstimatorConfig(**estimator),
    )
    model = make_ram(config, 10, 12, 1, 3).model
    images, labels = jnp.zeros((BATCH, 10, 12, 1), jnp.uint8), jnp.zeros(BATCH, int)
    with pytest.raises(ValueError) as error:
        params = jax.eval_shape(model.init, jax.random.key(0))
        step_input = StepInput(jnp.zeros(()), model.hyper, model.estimator_state)
        jax.eval_shape(model.loss, params, jax.random.key(0), images, labels, step_input)
    return str(error.value)


def _core(step):
    class Core(nn.Module):
        hidden: int
        num_glimpses: int

        def initial_state(self, batch_shape):
            return jnp.zeros((*batch_shape, self.hidden))

        def __call__(self, state, features):
            return step(state)

    return Core


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (lambda state: None, f"{NONE} the pair (state, output)"),
        (lambda state: state, "returned float32[1, 8]: must return the pair (state, output)"),
        (lambda state: (state, None), f"{NONE} floating-point numbers [*batch, hidden], here [1, 8]"),
        (lambda state: (state, state[:, :3]), "returned float32[1, 3]: must return"),
        (lambda state: (state, state.astype(int)), "returned int32[1, 8]: must return"),
        (lambda state: (None, state), "returned the state None: must be as it was given, float32[1, 8]"),
        (lambda state: (state[:, :3], state), "returned the state float32[1, 3]: must be as it was given"),
        (lambda state: (state.astype(int), state), "returned the state int32[1, 8]: must be as it was given"),
    ],
)
def test_a_core_that_returns_something_wrong_is_refused(step, message, monkeypatch):
    error = _error(CORE, _core(step), monkeypatch)
    assert error.startswith(f"the core {message}") and "\n" not in error


@pytest.mark.parametrize(
    ("encode", "message"),
    [
        (lambda locations: None, f"{NONE} floating-point numbers [*batch, features], here [1, 6]"),
        (lambda locations: locations, "returned float32[1, 2]: must return"),
        (lambda locations: jnp.zeros((1, FEATURES), int), "returned int32[1, 6]: must return"),
        (lambda locations: (jnp.zeros((1, FEATURES)),), "returned (float32[1, 6],): must return"),
    ],
)
def test_a_glimpse_network_that_returns_something_wrong_is_refused(encode, message, monkeypatch):
    class Network(nn.Module):
        features: int

        def __call__(self, glimpses, locations):
            return encode(locations)

    error = _error(GLIMPSE_NETWORK, Network, monkeypatch)
    assert error.startswith(f"the glimpse network {message}") and "\n" not in error


def _policy(**changes):
    location, number = jnp.zeros((1, 2)), jnp.zeros(1)
    right = {"sample": location, "log_prob": number, "entropy": number, "mode": location}
    return types.SimpleNamespace(**{name: lambda *_, value=value: value for name, value in (right | changes).items()})


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (None, "the location network returned NoneType, which has no sample, log_prob, entropy, mode"),
        (jnp.zeros((1, 2)), "which has no sample, log_prob, entropy, mode"),
        (_policy(sample=None), "the sample of the location policy returned None: must return"),
        (_policy(mode=jnp.zeros((1, 3))), "the mode of the location policy returned float32[1, 3]: must return"),
        (_policy(log_prob=jnp.zeros((1, 2))), "the log_prob of the location policy returned float32[1, 2]: must"),
        (_policy(entropy=jnp.zeros(1, int)), "the entropy of the location policy returned int32[1]: must return"),
    ],
)
def test_a_location_network_that_returns_something_wrong_is_refused(unchecked, policy, message, monkeypatch):
    class Network(nn.Module):
        def __call__(self, output):
            return policy

    error = _error(LOCATION_POLICY, Network, monkeypatch)
    assert message in error and "\n" not in error


def test_a_policy_whose_network_takes_sigma_has_sigma(unchecked, monkeypatch):
    class Network(nn.Module):
        def __call__(self, output, sigma):
            return _policy()

    assert _error(LOCATION_POLICY, Network, monkeypatch) == (
        "the location network takes sigma, and returned SimpleNamespace, which has no sigma: give the policy sigma "
        "[*batch, 2], or leave out the argument sigma of __call__"
    )


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, f"{NONE} one floating-point number"),
        (jnp.zeros((3, 1, BATCH)), "returned float32[3, 1, 4]: must return one floating-point number"),
        (jnp.zeros((), int), "returned int32[]: must return one floating-point number"),
        ((jnp.zeros(()), {}), "returned (float32[], {}): must return one floating-point number"),
    ],
)
def test_a_surrogate_that_returns_something_wrong_is_refused(value, message, monkeypatch):
    error = _error(SURROGATE, lambda log_probs, behaviour_log_probs, advantages: value, monkeypatch)
    assert error == f"the surrogate function {message}"


@pytest.mark.parametrize("value", [None, jnp.zeros((GLIMPSES, BATCH)), jnp.zeros((GLIMPSES, 1, BATCH), int)])
@pytest.mark.parametrize("kind", [REWARD, ADVANTAGE], ids=lambda kind: kind.name)
def test_a_reward_and_an_advantage_that_return_something_wrong_are_refused(kind, value, monkeypatch):
    error = _error(kind, lambda first, second: value, monkeypatch)
    assert error.startswith(f"the {kind.name} function returned ")
    assert error.endswith(": must return floating-point numbers [T, M, B], here [3, 1, 4]")


@pytest.mark.parametrize(
    ("update", "message"),
    [
        (lambda rewards, state: None, f"{NONE} the pair (advantages, state)"),
        (lambda rewards, state: rewards, "returned float32[3, 1, 4]: must return the pair (advantages, state)"),
        (lambda rewards, state: (rewards[0], state), "returned float32[1, 4]: must return floating-point numbers"),
        (lambda rewards, state: (rewards, None), "returned the state None: must be as it was given, float32[3]"),
        (lambda rewards, state: (rewards, state[:1]), "returned the state float32[1]: must be as it was given"),
        (lambda rewards, state: (rewards, state.astype(int)), "returned the state int32[3]: must be as it was"),
    ],
)
def test_a_stateful_advantage_that_returns_something_wrong_is_refused(update, message, monkeypatch):
    own = Stateful(jnp.zeros, lambda rewards, episode, state: update(rewards, state))
    error = _error(ADVANTAGE, own, monkeypatch)
    assert error.startswith(f"the advantage function {message}") and "\n" not in error
