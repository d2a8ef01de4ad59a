"""Cores against the published formulas in NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common.networks.cores import CORES, GatedCore, TransformerCore, make_core

HIDDEN, FEATURES, STEPS, HEADS = 8, 5, 4, 2


@functools.cache
def _core(name):
    core = CORES[name](hidden=HIDDEN, num_glimpses=STEPS, **({"num_heads": HEADS} if name == "transformer" else {}))
    params = jax.jit(core.init)(jax.random.key(0), core.initial_state((1,)), jnp.zeros((1, FEATURES)))["params"]
    # Random biases and norms, since those of a fresh core are zeros and ones.
    leaves, tree = jax.tree.flatten(params)
    rng = np.random.default_rng(0)
    return core, tree.unflatten([jnp.asarray(rng.normal(0, 0.5, leaf.shape), jnp.float32) for leaf in leaves])


def _features(*batch, seed=1):
    return np.random.default_rng(seed).normal(size=(STEPS, *batch, FEATURES)).astype(np.float32)


@functools.partial(jax.jit, static_argnums=(0, 3))
def _run_jit(name, params, features, batch):
    core = _core(name)[0]
    state, outputs = core.initial_state(batch), []
    for step in features:
        state, output = core.apply({"params": params}, state, step)
        outputs.append(output)
    return jnp.stack(outputs)


def _run(name, features):
    """Outputs ``[T, *batch, hidden]`` of features ``[T, *batch, F]``."""
    return np.asarray(_run_jit(name, _core(name)[1], jnp.asarray(features), features.shape[1:-1]))


def _dense(params, x):
    y = x @ np.asarray(params["kernel"], np.float64)
    return y + np.asarray(params["bias"], np.float64) if "bias" in params else y


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def _rnn(params, features):
    hidden, outputs = np.zeros((*features.shape[1:-1], HIDDEN)), []
    for step in features:
        hidden = np.maximum(_dense(params["recurrent"], hidden) + _dense(params["input"], step), 0)
        outputs.append(hidden)
    return outputs


def _lstm(params, features):
    params, outputs = params["cell"], []
    hidden = cell = np.zeros((*features.shape[1:-1], HIDDEN))
    for step in features:
        i, f, g, o = (_dense(params["i" + gate], step) + _dense(params["h" + gate], hidden) for gate in "ifgo")
        cell = _sigmoid(f) * cell + _sigmoid(i) * np.tanh(g)
        hidden = _sigmoid(o) * np.tanh(cell)
        outputs.append(hidden)
    return outputs


def _gru(params, features):
    params, outputs = params["cell"], []
    hidden = np.zeros((*features.shape[1:-1], HIDDEN))
    for step in features:
        r, z = (_sigmoid(_dense(params["i" + g], step) + _dense(params["h" + g], hidden)) for g in "rz")
        new = np.tanh(_dense(params["in"], step) + r * _dense(params["hn"], hidden))
        hidden = (1 - z) * new + z * hidden
        outputs.append(hidden)
    return outputs


def _layer_norm(params, x):
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
    return x * np.asarray(params["scale"], np.float64) + np.asarray(params["bias"], np.float64)


def _transformer(params, features):
    """The whole sequence at once, under a causal mask."""
    tokens = _dense(params["input"], np.moveaxis(features, 0, -2)) + np.asarray(params["position"])
    normed = _layer_norm(params["attention_norm"], tokens)
    query, key, value = (_dense(params[name], normed) for name in ("query", "key", "value"))
    attended, width = [], HIDDEN // HEADS
    for head in range(HEADS):
        part = slice(head * width, (head + 1) * width)
        scores = query[..., part] @ np.swapaxes(key[..., part], -1, -2) / np.sqrt(width)
        scores = np.where(np.tri(STEPS, dtype=bool), scores, -np.inf)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        attended.append(weights / weights.sum(-1, keepdims=True) @ value[..., part])
    tokens = tokens + _dense(params["attention_output"], np.concatenate(attended, -1))
    widened = np.maximum(_dense(params["widen"], _layer_norm(params["feed_forward_norm"], tokens)), 0)
    outputs = _layer_norm(params["output_norm"], tokens + _dense(params["narrow"], widened))
    return np.moveaxis(outputs, -2, 0)


REFERENCES = {"rnn": _rnn, "lstm": _lstm, "gru": _gru, "transformer": _transformer}


def test_a_core_is_built_by_name_with_the_options_that_it_has_a_field_for():
    assert make_core("transformer", 8, 4, num_heads=2) == TransformerCore(8, 4, 2)
    assert isinstance(make_core("gru", 8, 4, num_heads=2), GatedCore)
    mine = make_core("common.networks.cores:TransformerCore", 8, 4)
    assert mine == TransformerCore(hidden=8, num_glimpses=4)


def test_every_core_has_a_reference():
    assert REFERENCES.keys() == CORES.keys()


@pytest.mark.parametrize("name", CORES)
@pytest.mark.parametrize("batch", [(3,), (2, 3)])
def test_core_equals_its_formula(name, batch):
    features = _features(*batch)
    expected = np.stack(REFERENCES[name](_core(name)[1], features.astype(np.float64)))
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(_run(name, features), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", CORES)
def test_a_later_glimpse_changes_later_outputs_only(name):
    features = _features(3)
    changed = features.copy()
    changed[2] += 1
    before, after = _run(name, features), _run(name, changed)
    np.testing.assert_array_equal(after[:2], before[:2])
    assert (np.abs(after[2:] - before[2:]).max(axis=(1, 2)) > 1e-4).all()


@pytest.mark.parametrize("name", CORES)
def test_images_of_a_batch_do_not_mix(name):
    features = _features(3)
    changed = features.copy()
    changed[:, 1] += 1
    np.testing.assert_allclose(_run(name, changed)[:, ::2], _run(name, features)[:, ::2], atol=1e-6)


@pytest.mark.parametrize("name", CORES)
@pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
def test_initial_state_is_zero_and_keeps_its_shape(name, batch):
    core, params = _core(name)
    state = core.initial_state(batch)
    assert all(not np.asarray(leaf).any() for leaf in jax.tree.leaves(state))
    after, output = jax.eval_shape(core.apply, {"params": params}, state, jnp.zeros((*batch, FEATURES)))
    assert output.shape == (*batch, HIDDEN)
    assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, state)
    assert jax.tree.map(jnp.result_type, after) == jax.tree.map(jnp.result_type, state)


def test_the_transformers_history_holds_every_glimpse():
    step, keys, values = CORES["transformer"](hidden=HIDDEN, num_glimpses=STEPS).initial_state((2, 3))
    assert step.shape == () and step.dtype == jnp.int32
    assert keys.shape == values.shape == (2, 3, STEPS, HIDDEN)


@pytest.mark.parametrize("name", CORES)
def test_finite_gradients_of_zero_and_of_large_features(name):
    core, params = _core(name)

    @jax.jit
    def gradient(features):
        return jax.grad(lambda p: _run_jit(name, p, features, (2,)).sum())(params)

    for size in (0.0, 1e4):
        leaves = jax.tree.leaves(gradient(jnp.asarray(size * np.sign(_features(2)))))
        assert all(np.isfinite(leaf).all() for leaf in leaves)
