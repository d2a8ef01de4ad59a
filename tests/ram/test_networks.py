"""RAM's networks against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common.networks.glimpse_networks import GLIMPSE_SCALE
from common.networks.heads import ActionNetwork, LocationNetwork, ValueNetwork
from ram.networks import GlimpseNetwork

OUTPUT = np.random.default_rng(0).normal(size=(2, 3, 5)).astype(np.float32)
SIGMA = jnp.array([0.1, 0.4])


def _apply(module, *inputs):
    """Output and parameters, the latter random, biases included."""
    inputs = [jnp.asarray(x) for x in inputs]
    shapes = jax.eval_shape(module.init, jax.random.key(0), *inputs)
    rng = np.random.default_rng(1)
    params = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(0, 0.5, leaf.shape), jnp.float32), shapes)
    return jax.jit(module.apply)(params, *inputs), params["params"]


def _dense(params, x):
    return x @ np.asarray(params["kernel"]) + np.asarray(params["bias"])


def _relu(x):
    return np.maximum(x, 0)


@pytest.mark.parametrize("combine", ["add", "multiply"])
def test_glimpse_network(combine):
    rng = np.random.default_rng(0)
    glimpses = rng.uniform(size=(2, 3, 2, 4, 4, 1)).astype(np.float32)
    locations = rng.uniform(-1, 1, size=(2, 3, 2)).astype(np.float32)
    features, params = _apply(GlimpseNetwork(6, 5, 20, combine), glimpses, locations)
    what = _dense(params["what_out"], _relu(_dense(params["what"], GLIMPSE_SCALE * glimpses.reshape(2, 3, 32))))
    where = _dense(params["where_out"], _relu(_dense(params["where"], locations)))
    expected = _relu(what + where) if combine == "add" else _relu(what) * _relu(where)
    assert features.shape == (2, 3, 20) and expected.any()
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("hidden", [0, 6])
@pytest.mark.parametrize(
    ("activation", "function"),
    [("linear", lambda x: x), ("tanh", np.tanh), ("hard_tanh", lambda x: np.clip(x, -1, 1))],
)
def test_location_network(activation, function, hidden):
    (mean, sigma), params = _apply(LocationNetwork(activation, hidden), OUTPUT, SIGMA)
    before = _relu(_dense(params["hidden_layer"], OUTPUT)) if hidden else OUTPUT
    np.testing.assert_allclose(mean, function(_dense(params["mean"], before)), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(sigma, SIGMA)


def test_a_learned_sigma_is_a_factor_that_starts_at_one():
    module = LocationNetwork(learned_sigma="global")
    fresh = module.init(jax.random.key(0), jnp.asarray(OUTPUT), SIGMA)
    np.testing.assert_array_equal(module.apply(fresh, jnp.asarray(OUTPUT), SIGMA)[1], SIGMA)
    (_, sigma), params = _apply(module, OUTPUT, SIGMA)
    np.testing.assert_allclose(sigma, np.asarray(SIGMA) * np.exp(np.asarray(params["log_sigma"])), rtol=1e-5)


def test_action_and_baseline_networks_are_linear():
    logits, params = _apply(ActionNetwork(4), OUTPUT)
    np.testing.assert_allclose(logits, _dense(params["logits"], OUTPUT), rtol=1e-4, atol=1e-5)
    value, params = _apply(ValueNetwork(), OUTPUT)
    assert value.shape == (2, 3)
    np.testing.assert_allclose(value, _dense(params["value"], OUTPUT)[..., 0], rtol=1e-4, atol=1e-5)


def test_the_baseline_network_detaches_its_features():
    module = ValueNetwork()
    params = module.init(jax.random.key(0), jnp.asarray(OUTPUT))
    gradient = jax.grad(lambda output: module.apply(params, output).sum())(jnp.asarray(OUTPUT))
    np.testing.assert_array_equal(gradient, 0)
