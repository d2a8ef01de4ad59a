"""Orthogonal matrices without LAPACK."""

import jax
import numpy as np
import pytest

from common.attention.config import RetinaConfig
from common.networks.orthogonal import orthogonal
from dram.agent import make_dram
from dram.config import AgentConfig as DramAgent
from dram.config import DramConfig
from ram.agent import make_ram
from ram.config import AgentConfig as RamAgent
from ram.config import RamConfig

KEY = jax.random.key(3)


@pytest.mark.parametrize("n", [1, 5, 256])
def test_the_matrix_is_that_of_jax_and_orthogonal(n):
    made = np.asarray(jax.jit(orthogonal, static_argnums=1)(KEY, (n, n)), np.float64)
    np.testing.assert_allclose(made, jax.nn.initializers.orthogonal()(KEY, (n, n)), atol=2e-5)
    np.testing.assert_allclose(made.T @ made, np.eye(n), atol=2e-6)


@pytest.mark.parametrize("core", ["lstm", "gru"])
def test_the_parameters_of_agents_are_made_without_lapack(core):
    """Two calls of LAPACK in a program can wait for each other forever on two threads."""
    ram = make_ram(RamConfig(RetinaConfig(4, 1), RamAgent(num_glimpses=2, core=core, core_hidden=8)), 12, 12, 1, 3)
    sizes = dict(core=core, lower_hidden=8, upper_hidden=8, context_size=4)
    dram = make_dram(DramConfig(RetinaConfig(4, 1), DramAgent(2, **sizes)), 12, 12, 1, 3)
    for agent in (ram, dram):
        assert "custom_call" not in jax.jit(agent.model.init).lower(KEY).as_text()
