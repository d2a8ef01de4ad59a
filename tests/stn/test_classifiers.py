"""Dropout of the classification networks."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common.networks.multi_digit import LAYOUTS, MultiDigitCnn
from stn.classifiers import Cnn, Fcn

IMAGES = jnp.asarray(np.random.default_rng(0).uniform(size=(3, 24, 24, 1)), jnp.float32)
DROPPED = {"fcn": Fcn(40, 0.5), "cnn": Cnn(20, 0.5), "cnn11": MultiDigitCnn(LAYOUTS["cnn11"], None, 0.05, 0.5)}
KEPT = {"fcn": Fcn(40), "cnn": Cnn(20), "cnn11": MultiDigitCnn(LAYOUTS["cnn11"], None, 0.05, 0.0)}


@functools.partial(jax.jit, static_argnums=(0, 1))
def compute(network, train, key):
    params = network.init(jax.random.key(0), IMAGES, False)
    return network.apply(params, IMAGES, train, rngs={"dropout": key})


def features(network, train, key=1):
    return np.asarray(compute(network, train, jax.random.key(key)))


@pytest.mark.parametrize("name", DROPPED)
def test_dropout_acts_in_training_only(name):
    np.testing.assert_array_equal(features(DROPPED[name], False), features(KEPT[name], True))
    assert (features(DROPPED[name], True) != features(DROPPED[name], True, key=2)).any()


def test_dropout_of_one_half_drops_half_the_features_and_doubles_the_others():
    whole, part = features(KEPT["cnn"], True), features(DROPPED["cnn"], True)
    seen = whole > 0
    kept = part[seen] != 0
    assert 0.35 < kept.mean() < 0.65
    np.testing.assert_allclose(part[seen][kept], 2 * whole[seen][kept], rtol=1e-6)
