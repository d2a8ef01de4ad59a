"""The rate of matrix products on this machine."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

PRODUCTS = 10


def matrix_products(size: int) -> Callable[[], float]:
    """Make a program of products of ``size x size`` float32 matrices at JAX's default precision.

    Returns:
      A function that computes `PRODUCTS` of them, waits for the result, and returns the floating-point operations.
    """
    left = jax.random.normal(jax.random.key(0), (size, size))
    right = jax.random.normal(jax.random.key(1), (size, size)) / size**0.5

    @jax.jit
    def chain(left: jax.Array, right: jax.Array) -> jax.Array:
        return jax.lax.fori_loop(0, PRODUCTS, lambda _, product: jnp.dot(product, right), left)

    def call() -> float:
        chain(left, right).block_until_ready()
        return 2.0 * size**3 * PRODUCTS

    return call
