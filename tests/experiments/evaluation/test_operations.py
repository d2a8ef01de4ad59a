"""Operations of programs, against products counted one by one."""

import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common.training.step import StepInput
from experiments.benchmarks.training_speed import SpeedConfig, make_experiment
from experiments.evaluation.operations import count_operations
from ram.agent import make_ram


def test_matrix_products_elementwise_arithmetic_and_reductions():
    left, right = jnp.ones((3, 8, 16)), jnp.ones((3, 16, 32))
    assert count_operations(jax.jit(jnp.matmul), left, right) == 2 * 3 * 8 * 16 * 32
    assert count_operations(jax.jit(lambda x: jnp.tanh(x + 1)), jnp.ones((5, 7))) == 2 * 35
    assert count_operations(jax.jit(jnp.sum), jnp.ones((5, 7))) == 35
    # Copies, comparisons and random bits cost nothing.
    assert count_operations(jax.jit(lambda x: jnp.where(x > 0, x, 0).T), jnp.ones((5, 7))) == 0
    assert count_operations(jax.jit(lambda key: jax.random.bits(key, (9,))), jax.random.key(0)) == 0


@pytest.mark.parametrize("stride, padding, spread, gaps, groups", [(1, 2, 1, 1, 1), (2, 1, 1, 2, 3), (1, 3, 2, 1, 1)])
def test_a_convolution_counts_no_products_with_padding(stride, padding, spread, gaps, groups):
    image, kernel = np.ones((2, 9, 7, 3), np.float32), np.ones((5, 3, 3 // groups, 6), np.float32)

    def convolve(image, kernel):
        return jax.lax.conv_general_dilated(
            image,
            kernel,
            (stride, stride),
            [(padding, padding)] * 2,
            (spread, spread),
            (gaps, gaps),
            ("NHWC", "HWIO", "NHWC"),
            feature_group_count=groups,
        )

    # An output of ones under a kernel of ones is the number of its products with pixels.
    products = int(np.sum(convolve(image, kernel)))
    assert count_operations(jax.jit(convolve), image, kernel) == 2 * products


def test_loops_count_their_steps_conditions_their_dearest_branch_and_dead_code_nothing():
    matrix = jnp.ones((4, 4))

    def power(x, steps):
        return jax.lax.scan(lambda x, _: (x @ matrix, None), x, length=steps)[0]

    once, seven = (count_operations(jax.jit(lambda x, n=n: power(x, n)), matrix) for n in (1, 7))
    assert once == 2 * 4**3 and seven == 7 * once
    branches = jax.jit(lambda x: jax.lax.cond(x[0, 0] > 0, lambda x: x @ x, lambda x: x @ x @ x, x))
    assert count_operations(branches, matrix) == 2 * once
    by_platform = jax.jit(lambda x: jax.lax.platform_dependent(x, cpu=lambda x: x @ x, default=lambda x: x @ x @ x))
    assert count_operations(by_platform, matrix) == 2 * once
    by_platform = jax.jit(lambda x: jax.lax.platform_dependent(x, cpu=lambda x: x @ x @ x, default=lambda x: x @ x))
    assert count_operations(by_platform, matrix) == once
    assert count_operations(jax.jit(lambda x: (x @ x @ x, x @ x)[1]), matrix) == once


def test_windows_and_gradients_of_gathers_count_their_additions():
    image = jnp.ones((1, 8, 8, 2))
    assert count_operations(jax.jit(lambda x: nn.avg_pool(x, (2, 2), (2, 2))), image) == 4 * 4 * 2 * (4 + 1)
    gathered = jax.grad(lambda x: x[jnp.array([1, 1, 3])].sum())
    assert count_operations(jax.jit(gathered), jnp.ones(5)) >= 3


@pytest.mark.parametrize("shape", itertools.product((1, 3), (2, 5)))
def test_batched_products_count_each_of_the_batch(shape):
    batched = jax.jit(jax.vmap(jax.vmap(jnp.dot)))
    assert count_operations(batched, jnp.ones((*shape, 4)), jnp.ones((*shape, 4))) == 2 * 4 * np.prod(shape)


def test_a_training_step_counts_the_products_of_its_gradients():
    experiment = make_experiment(SpeedConfig(batch_size=32, num_glimpses=2), 1)
    ram = make_ram(experiment.model, 28, 28, 1, 10)
    key = jax.random.key(0)
    shapes = jax.eval_shape(ram.model.init, key)
    images, labels = jnp.zeros((32, 28, 28, 1), jnp.uint8), jnp.zeros(32, jnp.int32)

    @jax.jit
    def step(params):
        step_input = StepInput(jnp.zeros(()), ram.model.hyper)
        return jax.grad(lambda params: ram.model.loss(params, key, images, labels, step_input)[0])(params)

    # Forward, and as much each for the gradients of weights and of inputs; glimpses, locations and the first state need
    # no gradients.
    forward = 32 * 2 * 2 * (576 * 128 + 2 * 128 + 2 * 128 * 256 + 512 * 1024 + 256 * 13)
    without = 32 * 2 * 2 * (576 * 128 + 2 * 128) + 32 * 2 * 256 * 1024
    # The rest, such as the LSTM's gates, is little.
    assert count_operations(step, shapes) == pytest.approx(3 * forward - without, rel=0.05)
