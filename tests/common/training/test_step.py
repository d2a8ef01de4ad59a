"""The training step against its formula; chunks of steps against single steps, to the last bit."""

import functools
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from common.training.optimizers import OptimizerConfig, make_optimizer, make_schedule
from common.training.step import Hyper, Model, StepInput, freeze, init_state, make_chunk, remember_best, train_step

RATE = 0.5


def test_a_step_follows_the_schedule():
    config = OptimizerConfig(optimizer="sgd", momentum=0.0, schedule="linear", warmup_steps=2, gradient_clip=0.0)
    model = Model(lambda key: jnp.zeros(()), lambda params, *_: (params, ({}, ())), lambda *args: None)
    optimizer, schedule = make_optimizer(config), functools.partial(make_schedule, config, 4, 1.0)
    step = train_step(model, optimizer, schedule, lambda key, source: (jnp.zeros(1), jnp.zeros(1)), 4)
    state, path = init_state(model, optimizer, 0), [0.0]
    for _ in range(5):
        state, _ = jax.jit(step)(state, None, Hyper(jnp.array(RATE), ()))
        path.append(float(state.params))
    np.testing.assert_allclose(np.diff(path), [0, -RATE / 2, -RATE, -RATE / 2, 0], atol=1e-7)


TOTAL = 8
SOURCE = jnp.arange(4, dtype=jnp.float32)


def _init(key):
    return {"weights": jax.random.normal(key, (6, 3)), "bias": jnp.zeros(3)}


def _sample_batch(key, source):
    images = jax.random.randint(key, (5, 2, 3, 1), 0, 256, jnp.int32).astype(jnp.uint8)
    return images, (images[:, 0, 0, 0] % 3 + source[0].astype(jnp.uint8)).astype(jnp.int32)


def _loss(params, key, images, labels, step_input):
    inputs = images.reshape(5, 6) / 255.0 + 0.1 * jax.random.normal(key, (5, 6))
    logits = jnp.tanh(inputs @ params["weights"]) + params["bias"][None]
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
    metrics = {
        "loss": loss,
        "progress": step_input.progress,
        "noise": jax.random.normal(key),
        "ink": images.sum() / 255.0,
    }
    return loss, (metrics, step_input.estimator_state)


MODEL = Model(_init, _loss, lambda *args: None)
OPTIMIZER, SCHEDULE = make_optimizer(OptimizerConfig()), functools.partial(make_schedule, OptimizerConfig(), TOTAL, 1.0)
STEP = functools.partial(train_step(MODEL, OPTIMIZER, SCHEDULE, _sample_batch, TOTAL), hyper=Hyper(jnp.array(0.1), ()))
CHUNK = make_chunk(STEP)


def _run(*lengths, seed=0):
    state, metrics = init_state(MODEL, OPTIMIZER, seed), []
    for length in lengths:
        state, of_chunk = CHUNK(state, SOURCE, length)
        metrics.append(of_chunk)
    return state, {name: np.concatenate([m[name] for m in metrics]) for name in metrics[0]}


def _on_host(tree):
    """Copy a tree to the host, so that donating its buffers does not change it; keys become their data."""

    def copy(leaf):
        return np.array(jax.random.key_data(leaf) if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf)

    return jax.tree.map(copy, tree)


def _assert_same_bits(first, second):
    chex.assert_trees_all_equal(_on_host(first), _on_host(second), strict=True)


@pytest.mark.parametrize("lengths", [(1,) * TOTAL, (4, 4), (2, 2, 4)])
def test_the_division_into_chunks_changes_no_bit(lengths):
    state, metrics = _run(*lengths)
    whole, whole_metrics = _run(TOTAL)
    _assert_same_bits(state, whole)
    _assert_same_bits(metrics, whole_metrics)
    assert int(state.step) == TOTAL


def test_a_step_equals_its_formula():
    state = init_state(MODEL, OPTIMIZER, 3)._replace(step=jnp.array(5, jnp.int32))
    after, metrics = jax.jit(STEP)(state, SOURCE)

    @jax.jit
    def expected(state):
        data_key, loss_key = jax.random.split(jax.random.fold_in(state.base_key, 5))
        images, labels = _sample_batch(data_key, SOURCE)
        step_input = StepInput(jnp.array(5 / TOTAL))
        loss, gradients = jax.value_and_grad(lambda p: _loss(p, loss_key, images, labels, step_input)[0])(state.params)
        updates, _ = OPTIMIZER.update(gradients, state.opt_state, state.params)
        rate = 0.1 * (1 + jnp.cos(jnp.pi * 5 / TOTAL)) / 2
        return loss, gradients, jax.tree.map(lambda p, update: p - rate * update, state.params, updates)

    loss, gradients, params = expected(state)
    for name, value in params.items():
        np.testing.assert_allclose(after.params[name], value, rtol=1e-4, atol=1e-6)
        assert np.abs(value - state.params[name]).max() > 1e-6
    norm = math.sqrt(sum(np.square(leaf).sum() for leaf in jax.tree.leaves(gradients)))
    assert float(metrics["loss"]) == pytest.approx(float(loss), rel=1e-5)
    assert float(metrics["grad_norm"]) == pytest.approx(norm, rel=1e-4)
    norm = math.sqrt(sum(np.square(leaf).sum() for leaf in jax.tree.leaves(after.params)))
    assert float(metrics["param_norm"]) == pytest.approx(norm, rel=1e-4)
    assert int(after.step) == 6


@pytest.mark.parametrize("rate_factor", [None, 0.5])
def test_gradients_and_weight_decay_do_not_change_frozen_parameters(rate_factor):
    optimizer = make_optimizer(OptimizerConfig(gradient_clip=0.0, weight_decay=0.3))

    def after(model):
        step = train_step(model, optimizer, SCHEDULE, _sample_batch, TOTAL)
        state, _ = jax.jit(step)(init_state(model, optimizer, 0), SOURCE, Hyper(jnp.array(0.1), ()))
        return state.params

    factors = None if rate_factor is None else lambda params: jax.tree.map(lambda _: rate_factor, params)
    model = MODEL._replace(rate_factors=factors)
    start, free, held = init_state(model, optimizer, 0).params, after(model), after(freeze(model, "weights"))
    _assert_same_bits(held["weights"], start["weights"])
    assert np.abs(free["weights"] - start["weights"]).min() > 1e-3
    # Gradients are not clipped here, so the others do not depend on the frozen ones.
    np.testing.assert_allclose(held["bias"], free["bias"], rtol=1e-6)
    assert np.abs(free["bias"]).min() > 1e-3


def test_every_step_has_its_own_images_noise_and_progress():
    _, metrics = _run(TOTAL)
    np.testing.assert_allclose(metrics["progress"], np.arange(TOTAL) / TOTAL)
    assert len(np.unique(metrics["noise"])) == len(np.unique(metrics["ink"])) == TOTAL
    assert all(values.shape == (TOTAL,) for values in metrics.values())


def test_the_gradient_norm_is_before_clipping():
    config = OptimizerConfig(optimizer="sgd", gradient_clip=1e-3, momentum=0.0)
    optimizer = make_optimizer(config)
    before = init_state(MODEL, optimizer, 0)
    step = train_step(MODEL, optimizer, optax.constant_schedule, _sample_batch, TOTAL)
    after, metrics = jax.jit(step)(before, SOURCE, Hyper(jnp.array(1.0), ()))
    moved = jax.tree.map(lambda a, b: a - b, after.params, before.params)
    assert float(metrics["grad_norm"]) > 0.01
    assert float(optax.tree.norm(moved)) == pytest.approx(1e-3, rel=1e-2)


def test_seeds_differ_and_repeat():
    _assert_same_bits(_run(2, seed=1)[0], _run(2, seed=1)[0])
    first, second = _run(2, seed=1)[0], _run(2, seed=2)[0]
    assert (np.asarray(first.params["weights"]) != np.asarray(second.params["weights"])).all()


def test_a_fresh_state_has_no_best_error():
    state = init_state(MODEL, OPTIMIZER, 0)
    assert float(state.best_error) == math.inf and int(state.best_step) == int(state.step) == 0
    _assert_same_bits(state.best_params, state.params)


def test_keep_best_keeps_the_lowest_error():
    state, _ = _run(2)
    state = remember_best(state, 30.0)
    first = _on_host(state.params)
    _assert_same_bits(state.best_params, state.params)
    # The chunk donates its state: what is kept must not share its buffers.
    state, _ = CHUNK(state, SOURCE, 2)
    _assert_same_bits(state.best_params, first)
    for error in (30.0, 31.0, math.nan, math.inf):
        kept = remember_best(state, error)
        assert float(kept.best_error) == 30 and int(kept.best_step) == 2
        _assert_same_bits(kept.best_params, first)
    state = remember_best(state, 29.0)
    assert float(state.best_error) == 29 and int(state.best_step) == 4
    _assert_same_bits(state.best_params, state.params)
    state, _ = CHUNK(state, SOURCE, 2)
    assert int(state.best_step) == 4 and int(state.step) == 6


def test_keeping_the_best_parameters_does_not_change_training():
    state, _ = _run(4)
    state, _ = CHUNK(remember_best(state, 1.0), SOURCE, 4)
    _assert_same_bits((state.params, state.opt_state), (lambda s: (s.params, s.opt_state))(_run(TOTAL)[0]))


def test_a_chunk_traces_its_step_once_for_each_length():
    @chex.assert_max_traces(n=2)
    def step(state, source):
        return STEP(state, source)

    chunk, state = make_chunk(step), init_state(MODEL, OPTIMIZER, 0)
    for length in (2, 2, 2, 1, 1):
        state, _ = chunk(state, SOURCE, length)
    assert int(state.step) == TOTAL


def test_a_chunk_donates_its_state():
    state = init_state(MODEL, OPTIMIZER, 0)
    CHUNK(state, SOURCE, 1)
    assert state.params["weights"].is_deleted()


def test_an_equal_error_is_not_lower_after_rounding_to_float32():
    error = 100 * 260 / 6000
    state = remember_best(init_state(MODEL, OPTIMIZER, 3)._replace(step=jnp.int32(1)), error)
    assert int(remember_best(state._replace(step=jnp.int32(2)), error).best_step) == 1
