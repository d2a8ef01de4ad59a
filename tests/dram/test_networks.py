"""DRAM's networks against NumPy, PyTorch and Pillow."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from common.networks.glimpse_networks import GLIMPSE_GAIN
from dram.networks import ContextNetwork, ConvGlimpseNetwork, GlimpseNetwork, coarse

RNG = np.random.default_rng(0)
# Two leading axes, K scales of G x G samples in C channels.
GLIMPSES = RNG.uniform(size=(2, 3, 2, 10, 10, 3)).astype(np.float32)
LOCATIONS = RNG.uniform(-1, 1, size=(2, 3, 2)).astype(np.float32)


def _apply(module, *inputs):
    """Output and parameters, the latter random, biases included."""
    inputs = [jnp.asarray(x) for x in inputs]
    shapes = jax.eval_shape(module.init, jax.random.key(0), *inputs)
    rng = np.random.default_rng(1)
    params = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(0, 0.2, leaf.shape), jnp.float32), shapes)
    return np.asarray(jax.jit(module.apply)(params, *inputs)), jax.tree.map(np.asarray, params["params"])


def _dense(params, x):
    return x @ params["kernel"] + params["bias"]


def _relu(x):
    return np.maximum(x, 0)


def _convolve(params, x, stride=1, pad=((0, 0), (0, 0))):
    """Cross-correlation of ``[N, H, W, C]`` with a kernel ``[h, w, C, D]``."""
    kernel = params["kernel"]
    x = np.pad(x, ((0, 0), *pad, (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[:2], axis=(1, 2))[:, ::stride, ::stride]
    return np.einsum("nhwcij,ijcd->nhwd", windows, kernel) + params["bias"]


def _stacked(glimpses):
    """Scales and channels as one axis, scale by scale, ``[N, G, G, K * C]``."""
    scales = [glimpses[:, :, scale] for scale in range(glimpses.shape[2])]
    return GLIMPSE_GAIN * np.concatenate(scales, axis=-1).reshape(-1, *glimpses.shape[3:5], 2 * 3)


def _joined(what, where, combine):
    return what + where if combine == "add" else what * where


@pytest.mark.parametrize("combine", ["add", "multiply"])
def test_dense_glimpse_network(combine):
    features, params = _apply(GlimpseNetwork(20, combine), GLIMPSES, LOCATIONS)
    assert params.keys() == {"what", "where"}
    what = _relu(_dense(params["what"], _stacked(GLIMPSES).reshape(2, 3, -1)))
    where = _relu(_dense(params["where"], LOCATIONS))
    expected = _joined(what, where, combine)
    assert features.shape == (2, 3, 20) and expected.any()
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [GlimpseNetwork, ConvGlimpseNetwork])
@pytest.mark.parametrize("combine", ["add", "multiply"])
def test_a_fresh_network_does_not_silence_a_glimpse_in_the_centre(kind, combine):
    """In the middle, where locations are 0, neither a sum nor a product changes what was seen."""
    network, middle = kind(20, combine), jnp.zeros((2, 3, 2))
    params = jax.jit(network.init)(jax.random.key(0), jnp.asarray(GLIMPSES), middle)
    blind = jax.tree.map(jnp.zeros_like, params["params"]["where"])
    neutral = blind | {"bias": jnp.full(20, float(combine == "multiply"))}
    seen, only_what = (
        jax.jit(network.apply)({"params": params["params"] | {"where": where}}, jnp.asarray(GLIMPSES), middle)
        for where in (params["params"]["where"], neutral)
    )
    np.testing.assert_allclose(seen, only_what, rtol=1e-6)
    assert (np.asarray(seen) > 0).any(axis=-1).all()


@pytest.mark.parametrize("combine", ["add", "multiply"])
def test_convolutional_glimpse_network(combine):
    features, params = _apply(ConvGlimpseNetwork(20, combine, 4), GLIMPSES, LOCATIONS)
    shapes = {name: params[name]["kernel"].shape for name in ("what_0", "what_1", "what_2", "what")}
    # No pooling and no padding: 10 - 4 - 2 - 2 = 2 positions remain in each direction.
    assert shapes == {
        "what_0": (5, 5, 6, 4),
        "what_1": (3, 3, 4, 4),
        "what_2": (3, 3, 4, 8),
        "what": (2 * 2 * 8, 20),
    }
    what = _stacked(GLIMPSES)
    for index in range(3):
        what = _relu(_convolve(params[f"what_{index}"], what))
    what = _relu(_dense(params["what"], what.reshape(2, 3, -1)))
    expected = _joined(what, _relu(_dense(params["where"], LOCATIONS)), combine)
    assert features.shape == (2, 3, 20) and expected.any()
    np.testing.assert_allclose(features, expected, rtol=1e-3, atol=1e-4)


def test_convolutional_glimpse_network_equals_pytorch():
    torch = pytest.importorskip("torch")
    features, params = _apply(ConvGlimpseNetwork(20, conv_channels=4), GLIMPSES, LOCATIONS)
    what = torch.tensor(GLIMPSES.reshape(6, 2, 10, 10, 3)).permute(0, 1, 4, 2, 3).reshape(6, 6, 10, 10) * GLIMPSE_GAIN
    for index in range(3):
        kernel, bias = params[f"what_{index}"]["kernel"], params[f"what_{index}"]["bias"]
        convolved = torch.nn.functional.conv2d(what, torch.tensor(kernel).permute(3, 2, 0, 1), torch.tensor(bias))
        what = torch.relu(convolved)
    flat = what.permute(0, 2, 3, 1).reshape(6, -1).numpy()
    expected = _relu(_dense(params["what"], flat)) * _relu(_dense(params["where"], LOCATIONS.reshape(6, 2)))
    np.testing.assert_allclose(features.reshape(6, 20), expected, rtol=1e-3, atol=1e-4)


def test_the_smallest_glimpse_leaves_the_convolutions_one_position():
    module = ConvGlimpseNetwork(4, conv_channels=2)
    least = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 1, 9, 9, 1)), jnp.zeros((1, 2)))
    assert least["params"]["what"]["kernel"].shape == (4, 4)


@pytest.mark.parametrize(("height", "width", "size"), [(24, 24, 8), (30, 20, 5), (21, 27, 8), (9, 13, 9)])
def test_the_coarse_image_equals_pillows(height, width, size):
    images = np.random.default_rng(2).integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    found = np.asarray(coarse(jnp.asarray(images), size))
    assert found.shape == (2, size, size, 3)
    for index, channel in np.ndindex(2, 3):
        # Pillow's bilinear filter is antialiased too: its support grows with the factor.
        plane = Image.fromarray(images[index, ..., channel].astype(np.float32) / 255)
        expected = np.asarray(plane.resize((size, size), Image.Resampling.BILINEAR))
        np.testing.assert_allclose(found[index, ..., channel], expected, atol=1e-5)


def test_the_coarse_image_keeps_the_mean_and_what_is_constant():
    constant = jnp.full((1, 24, 36, 1), 51, jnp.uint8)
    np.testing.assert_allclose(coarse(constant, 6), 0.2, atol=1e-6)
    # Bright in the middle of the upper left cell of 3 x 3: half the weight in each direction.
    images = jnp.zeros((1, 9, 9, 1), jnp.uint8).at[:, 1, 1].set(255)
    found = np.asarray(coarse(images, 3))[0, ..., 0]
    assert found.argmax() == 0 and found[0, 0] == pytest.approx(1 / 9 * (9 / 8) ** 2, rel=1e-4)


@pytest.mark.parametrize("size", [8, 6])
def test_context_network(size):
    images = np.random.default_rng(3).integers(0, 256, (4, 24, 24, 1), dtype=np.uint8)
    features, params = _apply(ContextNetwork(size, 5), images)
    assert [params[f"layer_{index}"]["kernel"].shape for index in range(3)] == [(3, 3, 1, 5)] + [(3, 3, 5, 5)] * 2
    x = GLIMPSE_GAIN * np.asarray(coarse(jnp.asarray(images), size))
    for index, stride in enumerate((2, 2, 1)):
        side = x.shape[1]
        # As many zeros as are needed in all, the odd one at the end.
        needed = max((-(-side // stride) - 1) * stride + 3 - side, 0)
        pad = (needed // 2, needed - needed // 2)
        x = _relu(_convolve(params[f"layer_{index}"], x, stride, (pad, pad)))
    assert features.shape == (4, 5 * 2 * 2) and x.shape[1:3] == (2, 2)
    np.testing.assert_allclose(features, x.reshape(4, -1), rtol=1e-3, atol=1e-4)
