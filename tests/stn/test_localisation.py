"""Localisation networks: the identity at the start, their sizes, their learning rate."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common.training.optimizers import OptimizerConfig, make_optimizer
from common.training.step import Hyper, Model, init_state, train_step
from stn.localisation import ConvolutionalLocalisation, DenseLocalisation, average_pool, rate_factors

IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
NETWORKS = [DenseLocalisation(IDENTITY), ConvolutionalLocalisation(IDENTITY)]


def _init(network, images):
    return jax.jit(network.init)(jax.random.key(0), images)["params"]


@pytest.mark.parametrize("network", NETWORKS, ids=["dense", "convolutional"])
def test_localisation_starts_at_the_identity_for_every_image(network):
    images = jax.random.uniform(jax.random.key(1), (5, 28, 28, 2))
    params = _init(network, images)
    np.testing.assert_array_equal(jax.jit(network.apply)({"params": params}, images), np.tile(IDENTITY, (5, 1)))


def test_localisation_depends_on_the_image_once_its_last_layer_is_not_zero():
    images = jax.random.uniform(jax.random.key(1), (2, 28, 28, 1))
    for network in NETWORKS:
        params = _init(network, images)
        kernel = params["regression"]["parameters"]["kernel"]
        params["regression"]["parameters"]["kernel"] = jnp.ones_like(kernel)
        first, second = jax.jit(network.apply)({"params": params}, images)
        assert (first != jnp.array(IDENTITY)).all() and (first != second).any()


def test_parameter_counts_of_the_paper():
    """Appendix A.4: three layers of 32; two convolutions of 20 5x5 filters on half the resolution, a layer of 20."""
    counts = []
    for network in NETWORKS:
        params = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 28, 28, 1)))["params"]
        counts.append(sum(leaf.size for leaf in jax.tree.leaves(params)))
    last = 32 * 6 + 6
    assert counts[0] == (784 * 32 + 32) + 2 * (32 * 32 + 32) + last
    # 28 -> 14 -> 10 -> 5 -> 1 pixels a side.
    assert counts[1] == (25 * 20 + 20) + (25 * 20 * 20 + 20) + (20 * 20 + 20) + (20 * 6 + 6)


def test_average_pool_by_hand():
    image = jnp.arange(15.0).reshape(1, 3, 5, 1)
    actual = average_pool(image, 2)[0, ..., 0]
    np.testing.assert_allclose(actual, [[3, 5, 6.5], [10.5, 12.5, 14]])
    np.testing.assert_array_equal(average_pool(image, 1), image)


def test_rate_factors_scale_only_localisation_networks():
    params = {"transformer_0_0": {"localisation": {"Conv_0": {"bias": 1.0}}}, "classifier": {"bias": 2.0}}
    expected = {"transformer_0_0": {"localisation": {"Conv_0": {"bias": 0.1}}}, "classifier": {"bias": 1.0}}
    assert rate_factors(params, 0.1) == expected


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_rate_factors_act_after_the_optimiser(optimizer):
    """They must scale the learning rate of Adam too, whose updates do not shrink with the gradient."""
    params = {"localisation": jnp.ones(3), "rest": jnp.ones(3)}

    def loss(params, key, images, labels, step_input):
        value = sum(jnp.sum(leaf * jnp.arange(1.0, 4.0)) for leaf in jax.tree.leaves(params))
        return value, ({}, step_input.estimator_state)

    moved = []
    for factors in (None, lambda tree: rate_factors(tree, 0.1)):
        model = Model(lambda key: params, loss, lambda *_: None, rate_factors=factors)
        updates = make_optimizer(OptimizerConfig(optimizer=optimizer, gradient_clip=0.0))
        step = train_step(
            model, updates, lambda rate: lambda step: rate, lambda key, _: (jnp.zeros(1), jnp.zeros(1)), 10
        )
        state, _ = jax.jit(step)(init_state(model, updates, 0), None, Hyper(jnp.array(0.01), ()))
        moved.append(jax.tree.map(lambda new: np.asarray(new) - 1, state.params))
    np.testing.assert_allclose(moved[1]["localisation"], 0.1 * moved[0]["localisation"], rtol=1e-4)
    np.testing.assert_allclose(moved[1]["rest"], moved[0]["rest"])
    assert np.abs(moved[0]["rest"]).min() > 1e-3
