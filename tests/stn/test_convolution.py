"""Convolutions without padding against XLA's own gradient, and finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from stn.convolution import ValidConv, convolve

pytestmark = pytest.mark.usefixtures("quick_compile")
RNG = np.random.default_rng(0)


def _plain(images, kernel):
    return jax.lax.conv_general_dilated(images, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))


@pytest.mark.parametrize(
    "shape", [((2, 9, 8, 1), (5, 3, 1, 4)), ((2, 7, 7, 6), (3, 3, 6, 2)), ((1, 5, 5, 2), (5, 5, 2, 3))]
)
def test_values_and_gradients_are_those_of_the_plain_convolution(shape):
    images, kernel = (jnp.asarray(RNG.normal(size=s), jnp.float32) for s in shape)

    def value(function, images, kernel):
        return jnp.sin(function(images, kernel)).sum()

    made = jax.jit(jax.value_and_grad(lambda *x: value(convolve, *x), (0, 1)))(images, kernel)
    expected = jax.jit(jax.value_and_grad(lambda *x: value(_plain, *x), (0, 1)))(images, kernel)
    for one, other in zip(jax.tree.leaves(made), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


def test_gradients_equal_finite_differences(x64):
    images, kernel = RNG.normal(size=(1, 5, 6, 2)), RNG.normal(size=(3, 2, 2, 3))
    check_grads(jax.jit(convolve), (images, kernel), order=1, modes=["rev"])


def test_the_layer_adds_a_bias():
    layer, images = ValidConv(3, 4), jnp.ones((2, 6, 5, 2))
    params = layer.init(jax.random.key(0), images)["params"]
    assert params["kernel"].shape == (4, 4, 2, 3)
    made = layer.apply({"params": params | {"bias": jnp.array([1.0, 2, 3])}}, images)
    assert made.shape == (2, 3, 2, 3)
    np.testing.assert_allclose(made[0, 0, 0], params["kernel"].sum(axis=(0, 1, 2)) + np.array([1, 2, 3]), atol=1e-4)
