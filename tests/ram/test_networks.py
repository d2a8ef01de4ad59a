"""RAM's networks against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common.networks.glimpse_networks import GLIMPSE_GAIN
from common.networks.heads import ActionNetwork, ValueNetwork
from ram.networks import ConvGlimpseNetwork, GlimpseNetwork

OUTPUT = np.random.default_rng(0).normal(size=(2, 3, 5)).astype(np.float32)


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
    features, params = _apply(GlimpseNetwork(20, 6, 5, combine), glimpses, locations)
    what = _dense(params["what_out"], _relu(_dense(params["what"], GLIMPSE_GAIN * glimpses.reshape(2, 3, 32))))
    where = _dense(params["where_out"], _relu(_dense(params["where"], locations)))
    expected = _relu(what + where) if combine == "add" else _relu(what) * _relu(where)
    assert features.shape == (2, 3, 20) and expected.any()
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("side, first, left", [(10, 5, 2), (9, 5, 1), (8, 3, 2)])
def test_convolutional_glimpse_network(side, first, left):
    """Convolutions on the glimpse, its scales as channels, then the layers of the dense one."""
    rng = np.random.default_rng(0)
    glimpses = rng.uniform(size=(2, 3, 2, side, side, 1)).astype(np.float32)
    locations = rng.uniform(-1, 1, size=(2, 3, 2)).astype(np.float32)
    features, params = _apply(ConvGlimpseNetwork(20, 6, 5, conv_channels=4), glimpses, locations)
    shapes = {name: params[name]["kernel"].shape for name in ("what_0", "what_1", "what_2", "what")}
    # No pooling and no padding: 10 - 4 - 2 - 2 = 2 positions remain in each direction.
    size = 8 * left**2
    assert shapes == {
        "what_0": (first, first, 2, 4),
        "what_1": (3, 3, 4, 4),
        "what_2": (3, 3, 4, 8),
        "what": (size, 6),
    }
    seen = GLIMPSE_GAIN * np.moveaxis(glimpses[..., 0], 2, -1).reshape(6, side, side, 2)
    for index in range(3):
        kernel = np.asarray(params[f"what_{index}"]["kernel"])
        windows = np.lib.stride_tricks.sliding_window_view(seen, kernel.shape[:2], axis=(1, 2))
        seen = _relu(np.einsum("nhwcij,ijcd->nhwd", windows, kernel) + np.asarray(params[f"what_{index}"]["bias"]))
    glimpse = _dense(params["what_out"], _relu(_dense(params["what"], seen.reshape(2, 3, size))))
    location = _dense(params["where_out"], _relu(_dense(params["where"], locations)))
    np.testing.assert_allclose(features, _relu(glimpse + location), rtol=1e-3, atol=1e-4)


def test_action_and_value_networks_are_linear():
    logits, params = _apply(ActionNetwork(4), OUTPUT)
    np.testing.assert_allclose(logits, _dense(params["logits"], OUTPUT), rtol=1e-4, atol=1e-5)
    value, params = _apply(ValueNetwork(), OUTPUT)
    assert value.shape == (2, 3)
    np.testing.assert_allclose(value, _dense(params["value"], OUTPUT)[..., 0], rtol=1e-4, atol=1e-5)


def test_the_value_network_detaches_its_features():
    module = ValueNetwork()
    params = module.init(jax.random.key(0), jnp.asarray(OUTPUT))
    gradient = jax.grad(lambda output: module.apply(params, output).sum())(jnp.asarray(OUTPUT))
    np.testing.assert_array_equal(gradient, 0)
