"""Orthogonal matrices without LAPACK."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common.networks.cores import make_core
from common.networks.orthogonal import orthogonal

KEY = jax.random.key(3)


@pytest.mark.parametrize("n", [1, 5, 256])
def test_the_matrix_is_that_of_jax_and_orthogonal(n):
    made = np.asarray(jax.jit(orthogonal, static_argnums=1)(KEY, (n, n)), np.float64)
    np.testing.assert_allclose(made, jax.nn.initializers.orthogonal()(KEY, (n, n)), atol=2e-5)
    np.testing.assert_allclose(made.T @ made, np.eye(n), atol=2e-6)


@pytest.mark.parametrize("core", ["lstm", "gru"])
def test_the_parameters_of_a_core_are_made_without_lapack(core):
    """Two calls of LAPACK in a program can wait for each other forever on two threads."""
    module = make_core(core, 8, 3)
    features = jnp.zeros((1, 4))
    init = jax.jit(lambda key: module.init(key, module.initial_state((1,)), features))
    assert "custom_call" not in init.lower(KEY).as_text()
