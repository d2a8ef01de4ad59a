"""Convolutions and pooling against XLA's own, in value and gradient, and finite differences."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from common.networks.convolutions import Conv, convolve, max_pool

RNG = np.random.default_rng(0)


def _plain(images, kernel, padding):
    return jax.lax.conv_general_dilated(images, kernel, (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))


# Few channels and more; outputs much smaller than the images, of their size, and smaller than the kernel.
SHAPES = [
    ((2, 9, 8, 1), (5, 3, 1, 4)),
    ((2, 7, 7, 6), (3, 3, 6, 2)),
    ((2, 12, 11, 5), (3, 5, 5, 2)),
    ((2, 4, 4, 5), (5, 5, 5, 3)),
    ((1, 5, 5, 2), (5, 5, 2, 3)),
]


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("loop", [False, True])
def test_values_and_gradients_equal_xla(shape, padding, loop):
    images, kernel = (jnp.asarray(RNG.normal(size=s), jnp.float32) for s in shape)
    if padding == "VALID" and shape[1][0] > shape[0][1]:
        pytest.skip("no output")

    def gradients(function):
        def value(images, kernel):
            return jnp.sin(function(images, kernel, padding)).sum()

        one = jax.value_and_grad(value, (0, 1))
        if loop:  # XLA compiles gradients in loops differently.
            return jax.jit(
                lambda *x: jax.lax.scan(lambda _, scale: (0, one(scale * x[0], x[1])), 0, jnp.arange(3.0))[1]
            )
        return jax.jit(one)

    actual, expected = (gradients(function)(images, kernel) for function in (convolve, _plain))
    chex.assert_trees_all_close(actual, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
def test_gradients_equal_finite_differences(x64, padding):
    images, kernel = RNG.normal(size=(1, 5, 6, 2)), RNG.normal(size=(3, 3, 2, 3))
    check_grads(jax.jit(lambda *x: convolve(*x, padding)), (images, kernel), order=1, modes=["rev"])


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("height, width, side, stride", [(16, 16, 3, 2), (9, 7, 3, 2), (12, 15, 4, 3), (10, 10, 10, 5)])
def test_strided_convolutions_equal_xla(padding, height, width, side, stride):
    images = jnp.asarray(RNG.normal(size=(2, height, width, 3)), jnp.float32)
    kernel = jnp.asarray(RNG.normal(size=(side, side, 3, 4)), jnp.float32)

    def theirs(images, kernel):
        numbers = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(images, kernel, (stride, stride), padding, dimension_numbers=numbers)

    def gradients(function):
        return jax.jit(jax.value_and_grad(lambda *x: jnp.sin(function(*x)).sum(), (0, 1)))(images, kernel)

    ours = gradients(lambda *x: convolve(*x, padding, stride))
    chex.assert_trees_all_close(ours, gradients(theirs), rtol=1e-3, atol=1e-4)


def test_convolutions_can_be_mapped_over_images_and_kernels():
    images, kernels = RNG.normal(size=(3, 2, 6, 6, 2)), RNG.normal(size=(3, 3, 3, 2, 4))
    mapped = jax.jit(jax.vmap(lambda x, k: convolve(x, k, "SAME")))(jnp.asarray(images), jnp.asarray(kernels))
    for one, x, k in zip(mapped, images, kernels, strict=True):
        np.testing.assert_allclose(one, _plain(jnp.asarray(x), jnp.asarray(k), "SAME"), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
def test_the_layer_equals_flax(padding):
    images = jnp.asarray(RNG.normal(size=(2, 3, 6, 5, 2)), jnp.float32)
    ours, theirs = Conv(3, 3, padding), nn.Conv(3, (3, 3), padding=padding)
    params = theirs.init(jax.random.key(0), images)
    params = jax.tree.map(lambda leaf: leaf + 0.1, params)
    chex.assert_trees_all_equal_shapes_and_dtypes(ours.init(jax.random.key(0), images), params)
    np.testing.assert_allclose(ours.apply(params, images), theirs.apply(params, images), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("size, stride", [(2, 2), (2, 1), (3, 2), (2, None)])
@pytest.mark.parametrize("height, width", [(6, 8), (5, 7)])
def test_pooling_equals_xla(padding, size, stride, height, width):
    images = jnp.asarray(RNG.normal(size=(2, height, width, 3)), jnp.float32)
    steps = stride or size

    def theirs(x):
        if padding == "VALID":
            return nn.max_pool(x, (size, size), (steps, steps))
        reach = [max((-(-side // steps) - 1) * steps + size - side, 0) for side in (height, width)]
        x = jnp.pad(x, ((0, 0), (0, reach[0]), (0, reach[1]), (0, 0)), constant_values=-jnp.inf)
        return nn.max_pool(x, (size, size), (steps, steps))

    def gradient(function):
        return jax.jit(jax.value_and_grad(lambda x: jnp.sin(function(x)).sum()))(images)

    ours = jax.jit(lambda x: max_pool(x, size, stride, padding))
    np.testing.assert_array_equal(ours(images), theirs(images))
    chex.assert_trees_all_close(gradient(ours), gradient(theirs), rtol=1e-5, atol=1e-6)


def test_equal_largest_values_share_the_gradient():
    gradient = jax.grad(lambda x: max_pool(x).sum())(jnp.zeros((1, 4, 4, 1)))
    np.testing.assert_allclose(gradient.reshape(2, 2, 2, 2).sum(axis=(1, 3)), 1.0)
    assert (gradient > 0).all()
