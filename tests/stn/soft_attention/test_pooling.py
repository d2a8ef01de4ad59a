"""Attention pooling against NumPy, and its invariances."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from stn.soft_attention.pooling import POOLINGS

RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(2, 7, 5)).astype(np.float32)
QUERY = RNG.normal(size=(2, 4)).astype(np.float32)


def _pool(name, heads=3, size=6, features=FEATURES, scale=1.0):
    module = POOLINGS[name](heads, size)
    params = jax.jit(module.init)(jax.random.key(1), jnp.asarray(FEATURES), jnp.asarray(QUERY))
    params = jax.tree.map(lambda leaf: scale * (leaf + 0.05), params)
    seen, weights = jax.jit(module.apply)(params, jnp.asarray(features), jnp.asarray(QUERY))
    return np.asarray(seen), np.asarray(weights), jax.tree.map(np.asarray, params["params"])


def _softmax(scores):
    scores = np.exp(scores - scores.max())
    return scores / scores.sum()


def _dense(params, x):
    return x @ params["kernel"] + params.get("bias", 0)


def test_additive_scores_by_hand():
    seen, weights, params = _pool("additive")
    for image in range(2):
        for head in range(3):
            columns = slice(6 * head, 6 * head + 6)
            hidden = _dense(params["feature"], FEATURES[image]) + _dense(params["query"], QUERY[image])
            expected = _softmax(np.tanh(hidden[:, columns]) @ params["vector"][:, head])
            np.testing.assert_allclose(weights[image, head], expected, rtol=1e-4)
            np.testing.assert_allclose(
                seen[image, 5 * head : 5 * head + 5], expected @ FEATURES[image], rtol=1e-3, atol=1e-5
            )


def test_scaled_dot_products_by_hand():
    seen, weights, params = _pool("dot_product")
    for image in range(2):
        for head in range(3):
            columns = slice(6 * head, 6 * head + 6)
            query, keys, values = (
                _dense(params[name], x)[..., columns]
                for name, x in (("query", QUERY[image]), ("key", FEATURES[image]), ("value", FEATURES[image]))
            )
            expected = _softmax(keys @ query / np.sqrt(6))
            np.testing.assert_allclose(weights[image, head], expected, rtol=1e-4)
            np.testing.assert_allclose(seen[image, columns], expected @ values, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", POOLINGS)
def test_gradients_equal_finite_differences(name, x64):
    module, inputs = POOLINGS[name](2, 3), (jnp.asarray(FEATURES, float), jnp.asarray(QUERY, float))
    params = jax.tree.map(lambda leaf: leaf.astype(float) + 0.05, jax.jit(module.init)(jax.random.key(1), *inputs))
    check_grads(jax.jit(module.apply), (params, *inputs), order=1, modes=["rev"], eps=1e-6)


@pytest.mark.parametrize("name", POOLINGS)
def test_the_order_of_the_places_does_not_matter(name):
    order = RNG.permutation(7)
    seen, weights, _ = _pool(name)
    reordered, moved, _ = _pool(name, features=FEATURES[:, order])
    np.testing.assert_allclose(reordered, seen, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(moved, weights[:, :, order], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", POOLINGS)
def test_weights_add_up_to_one_for_large_scores(name):
    _, weights, _ = _pool(name, scale=300.0)
    assert (weights >= 0).all() and np.isfinite(weights).all()
    np.testing.assert_allclose(weights.sum(axis=-1), 1, rtol=1e-5)
