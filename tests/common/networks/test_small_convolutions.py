"""Convolutions of small maps against XLA's own, in value and gradient."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common.networks.small_convolutions import convolve_small

RNG = np.random.default_rng(0)


def _plain(maps, kernel):
    numbers = ("NHWC", "HWIO", "NHWC")
    images = jnp.moveaxis(maps, -1, 0)
    return jnp.moveaxis(jax.lax.conv_general_dilated(images, kernel, (1, 1), "VALID", dimension_numbers=numbers), 0, -1)


# Blocks of 2x4 outputs, of 2x1, of 1x2, of single ones; too many windows.
@pytest.mark.parametrize(
    "maps, kernel",
    [
        ((8, 12, 3, 2), (5, 5, 3, 4)),
        ((6, 7, 2, 3), (3, 3, 2, 5)),
        ((6, 6, 5, 2), (3, 3, 5, 4)),
        ((5, 5, 6, 1), (3, 3, 6, 2)),
        ((16, 14, 5, 2), (3, 3, 5, 2)),
    ],
)
def test_values_and_gradients_equal_xla(maps, kernel):
    inputs = [jnp.asarray(RNG.normal(size=shape), jnp.float32) for shape in (maps, kernel)]

    def gradients(function):
        return jax.jit(jax.value_and_grad(lambda *x: jnp.sin(function(*x)).sum(), (0, 1)))(*inputs)

    chex.assert_trees_all_close(gradients(convolve_small), gradients(_plain), rtol=1e-4, atol=1e-4)


def test_convolutions_can_be_mapped_over_maps_and_kernels():
    maps, kernels = (jnp.asarray(RNG.normal(size=s), jnp.float32) for s in ((3, 6, 6, 2, 4), (3, 3, 3, 2, 5)))
    expected = jnp.stack([_plain(*pair) for pair in zip(maps, kernels, strict=True)])
    chex.assert_trees_all_close(jax.jit(jax.vmap(convolve_small))(maps, kernels), expected, rtol=1e-4, atol=1e-4)
    shared = jnp.stack([_plain(one, kernels[0]) for one in maps])
    actual = jax.jit(jax.vmap(convolve_small, in_axes=(0, None)))(maps, kernels[0])
    chex.assert_trees_all_close(actual, shared, rtol=1e-4, atol=1e-4)
