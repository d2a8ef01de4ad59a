"""Arithmetic: how much of it a compiled program needs, and how fast the machine does it at best."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

FLOPS_SOURCE = "XLA's cost analysis of one lowered training step (image generation, update and all)"
PRODUCTS = 10


def program_flops(jitted: Any, *args: Any, platform: str | None = None) -> float | None:
    """Floating-point operations of one call of a jitted function, by XLA's cost analysis; None where it has none.

    Counted before optimisation, so that matrix products that a backend hands to a library are in it. A loop's body is
    counted once.

    Args:
      jitted: the function.
      args: its arguments, or their shapes.
      platform: counts the program as it is for this one, such as cuda; None for the one at hand.
    """
    platforms = None if platform is None else (platform,)
    costs = jitted.trace(*args).lower(lowering_platforms=platforms).cost_analysis()
    flops = (costs or {}).get("flops", 0.0)
    return float(flops) if flops > 0 else None


def matrix_products(size: int) -> Callable[[], float]:
    """Products of ``size x size`` float32 matrices at JAX's default precision, one after another.

    Returns:
      A function that computes some, waits for them, and returns their floating-point operations.
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
