"""Arithmetic: the operations of a compiled program, and the rate of matrix products on this machine."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

FLOPS_SOURCE = "XLA's cost analysis of one lowered training step (image generation, update and all)"
PRODUCTS = 10


def program_flops(jitted: Any, *args: Any, platform: str | None = None) -> float | None:
    """Return the floating-point operations of one call of a jitted function by XLA's cost analysis, or None.

    They are counted before optimisation, so that matrix products that a backend passes to a library are included. The
    body of a loop is counted once.

    Args:
      jitted: the function.
      args: its arguments, or their shapes.
      platform: platform to lower the program for, such as cuda; None for the current one.
    """
    platforms = None if platform is None else (platform,)
    costs = jitted.trace(*args).lower(lowering_platforms=platforms).cost_analysis()
    flops = (costs or {}).get("flops", 0.0)
    return float(flops) if flops > 0 else None


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
