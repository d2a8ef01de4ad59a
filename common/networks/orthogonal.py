"""The initial recurrent kernels of gated cores: orthogonal matrices, made without LAPACK."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key


def orthogonal(key: Key[Array, ""], shape: tuple[int, int], dtype: Any = jnp.float32) -> Float[Array, "n n"]:
    """Draw a square orthogonal matrix, uniformly (Saxe et al. 2014), by Gram-Schmidt on normal vectors.

    It is the matrix of `jax.nn.initializers.orthogonal` but for rounding. On a CPU that initializer calls LAPACK. A
    call occupies one thread of XLA and waits for work of a second thread. An LSTM makes four calls, so on two cores all
    threads can be occupied, and all calls wait forever (jax 0.10).

    Args:
      key: random key.
      shape: ``(n, n)``.
      dtype: type of the numbers.

    Returns:
      A matrix with orthonormal columns and rows.
    """
    drawn = jax.random.normal(key, shape, dtype)

    def add_column(j: Array, columns: Array) -> Array:
        column = drawn[:, j]
        for _ in range(2):  # Once leaves errors of rounding that grow with n.
            along = jnp.matmul(column, columns, precision="highest")
            column = column - jnp.matmul(columns, along, precision="highest")
        return columns.at[:, j].set(column / jnp.linalg.norm(column))

    return jax.lax.fori_loop(0, shape[1], add_column, jnp.zeros_like(drawn))
