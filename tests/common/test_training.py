"""Schedules and optimisers by hand; chunks of steps against single steps, to the last bit."""

import functools
import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from common.training import (
    Given,
    Hyper,
    Model,
    OptimizerConfig,
    freeze,
    init_state,
    keep_best,
    make_chunk,
    make_optimizer,
    make_schedule,
    train_step,
    validate_optimizer,
)

RATE = 0.5


def _rates(steps=10, steps_per_epoch=1.0, **fields):
    schedule = make_schedule(OptimizerConfig(learning_rate=RATE, **fields), steps, steps_per_epoch)
    return np.array([float(schedule(step)) for step in range(steps + 1)])


def test_constant_schedule():
    np.testing.assert_allclose(_rates(schedule="constant"), RATE)


def test_linear_schedule_ends_at_zero():
    np.testing.assert_allclose(_rates(schedule="linear"), RATE * (1 - np.arange(11) / 10), atol=1e-7)


def test_cosine_schedule_ends_at_zero():
    rates = _rates(schedule="cosine")
    np.testing.assert_allclose(rates, RATE * (1 + np.cos(np.pi * np.arange(11) / 10)) / 2, atol=1e-7)
    assert rates[0] == RATE and rates[5] == pytest.approx(RATE / 2) and rates[-1] == pytest.approx(0, abs=1e-7)


def test_exponential_schedule_falls_once_an_epoch():
    rates = _rates(schedule="exponential", decay=0.9, steps_per_epoch=3.9)
    np.testing.assert_allclose(rates, RATE * 0.9 ** (np.arange(11) // 4), rtol=1e-6)


def test_exponential_schedule_of_an_epoch_shorter_than_a_step():
    rates = _rates(schedule="exponential", decay=0.9, steps_per_epoch=0.2)
    np.testing.assert_allclose(rates, RATE * 0.9 ** np.arange(11), rtol=1e-6)


def test_step_schedule_falls_twice_by_ten():
    expected = RATE * np.repeat([1, 0.1, 0.01], [3, 3, 4])
    np.testing.assert_allclose(_rates(steps=9, schedule="step"), expected, rtol=1e-6)


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine", "exponential", "step"])
def test_warmup_rises_from_zero_and_the_rest_follows(schedule):
    rates = _rates(steps=12, schedule=schedule, warmup_steps=4, decay=0.9)
    np.testing.assert_allclose(rates[:5], RATE * np.arange(5) / 4, atol=1e-7)
    np.testing.assert_allclose(rates[4:], _rates(steps=8, schedule=schedule, decay=0.9), atol=1e-7)


GRADIENTS = [np.array([0.3, -0.4, 1.2]), np.array([-0.1, 0.2, 0.5]), np.array([0.7, 0.0, -0.6])]
START = np.array([1.0, -2.0, 0.5])


def _trajectory(**fields):
    """Parameters after each of the gradients, from `START`."""
    optimizer = make_optimizer(OptimizerConfig(**fields))
    params, path = jnp.asarray(START, jnp.float32), []
    state = optimizer.init(params)
    for gradient in GRADIENTS:
        updates, state = optimizer.update(jnp.asarray(gradient, jnp.float32), state, params)
        params = params - RATE * updates
        path.append(np.asarray(params))
    return np.stack(path)


def _sgd(momentum=0.9):
    trace = np.zeros(3)
    for gradient in GRADIENTS:
        trace = gradient + momentum * trace
        yield trace


def _adam():
    """Kingma and Ba (2015), algorithm 1, with its default constants."""
    first, second = np.zeros(3), np.zeros(3)
    for t, gradient in enumerate(GRADIENTS, start=1):
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        yield first / (1 - 0.9**t) / (np.sqrt(second / (1 - 0.999**t)) + 1e-8)


def _adadelta():
    """Zeiler (2012), algorithm 1, with decay 0.9 and epsilon 1e-6."""
    of_gradients, of_updates = np.zeros(3), np.zeros(3)
    for gradient in GRADIENTS:
        of_gradients = 0.9 * of_gradients + 0.1 * gradient**2
        update = np.sqrt(of_updates + 1e-6) / np.sqrt(of_gradients + 1e-6) * gradient
        of_updates = 0.9 * of_updates + 0.1 * update**2
        yield update


@pytest.mark.parametrize(("name", "directions"), [("sgd", _sgd), ("adam", _adam), ("adadelta", _adadelta)])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_optimizer_equals_its_formula(name, directions, weight_decay):
    params, expected = START, []
    for direction in directions():
        # Decoupled: the decay is not seen by the moments.
        params = params - RATE * (direction + weight_decay * params)
        expected.append(params)
    path = _trajectory(optimizer=name, weight_decay=weight_decay, gradient_clip=0.0)
    np.testing.assert_allclose(path, expected, rtol=1e-4, atol=2e-5)


def _orthogonalised(momentum):
    """Jordan et al. (2024): five steps of a quintic whose iterates have singular values near 1."""
    matrix = momentum.reshape(-1, momentum.shape[-1])
    matrix = matrix / np.linalg.norm(matrix)
    for _ in range(5):
        square = matrix @ matrix.T
        matrix = 3.4445 * matrix + (-4.7750 * square + 2.0315 * square @ square) @ matrix
    return matrix.reshape(momentum.shape)


@pytest.mark.parametrize("shape", [(4, 6), (6, 4), (3, 3, 2, 5)])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_muon_orthogonalises_the_momentum_of_kernels(shape, weight_decay):
    rng = np.random.default_rng(0)
    gradients, params = rng.normal(size=(3, *shape)), rng.normal(size=shape)
    optimizer = make_optimizer(OptimizerConfig(optimizer="muon", weight_decay=weight_decay, gradient_clip=0.0))
    ours = {"kernel": jnp.asarray(params, jnp.float32)}
    state, momentum = optimizer.init(ours), np.zeros(shape)
    for t, gradient in enumerate(gradients, start=1):
        updates, state = optimizer.update({"kernel": jnp.asarray(gradient, jnp.float32)}, state, ours)
        ours = jax.tree.map(lambda leaf, update: leaf - RATE * update, ours, updates)
        momentum = 0.95 * momentum + 0.05 * gradient
        ahead = 0.95 * momentum / (1 - 0.95 ** (t + 1)) + 0.05 * gradient / (1 - 0.95**t)
        size = 0.2 * math.sqrt(max(math.prod(shape[:-1]), shape[-1]))
        params = params - RATE * (size * _orthogonalised(ahead) + weight_decay * params)
        np.testing.assert_allclose(ours["kernel"], params, rtol=1e-4, atol=1e-4)


def test_muon_is_nearly_the_nearest_orthogonal_matrix():
    gradient = np.random.default_rng(1).normal(size=(8, 3))
    optimizer = make_optimizer(OptimizerConfig(optimizer="muon", gradient_clip=0.0))
    params = {"kernel": jnp.zeros((8, 3)), "bias": jnp.zeros(3)}
    updates, _ = optimizer.update(
        {"kernel": jnp.asarray(gradient, jnp.float32), "bias": jnp.array([2.0, -3.0, 0.5])},
        optimizer.init(params),
        params,
    )
    left, _, right = np.linalg.svd(gradient, full_matrices=False)
    in_its_axes = left.T @ (np.asarray(updates["kernel"]) / (0.2 * math.sqrt(8))) @ right.T
    np.testing.assert_allclose(np.diag(in_its_axes), 1.0, atol=0.35)
    np.testing.assert_allclose(in_its_axes - np.diag(np.diag(in_its_axes)), 0.0, atol=1e-4)
    # Vectors go by Adam, whose first step has the size of the rate (with Nesterov's momentum, a little more).
    np.testing.assert_array_equal(np.sign(updates["bias"]), [1, -1, 1])
    np.testing.assert_allclose(np.abs(updates["bias"]), np.abs(updates["bias"][0]), rtol=1e-5)


def test_momentum_is_that_of_the_configuration():
    expected = START - RATE * np.cumsum(list(_sgd(0.5)), axis=0)
    np.testing.assert_allclose(_trajectory(optimizer="sgd", momentum=0.5, gradient_clip=0.0), expected, rtol=1e-5)


def test_nesterov_momentum_looks_ahead():
    """Sutskever et al. (2013) as Bengio et al. (2012) rewrite it: the gradient and the trace it leaves behind."""
    ahead = np.asarray(GRADIENTS) + 0.5 * np.asarray(list(_sgd(0.5)))
    expected = START - RATE * np.cumsum(ahead, axis=0)
    path = _trajectory(optimizer="sgd", momentum=0.5, nesterov=True, gradient_clip=0.0)
    np.testing.assert_allclose(path, expected, rtol=1e-5)


def test_gradients_are_clipped_by_their_global_norm():
    config = OptimizerConfig(optimizer="sgd", momentum=0.0, gradient_clip=2.0)
    optimizer = make_optimizer(config)
    params = {"a": jnp.zeros(1), "b": jnp.zeros(2)}
    for scale, factor in [(1.0, 2 / 13), (0.1, 1.0)]:
        gradients = {"a": jnp.array([3.0 * scale]), "b": jnp.array([4.0, 12.0]) * scale}
        updates, _ = optimizer.update(gradients, optimizer.init(params), params)
        np.testing.assert_allclose(updates["a"], [3 * scale * factor], rtol=1e-6)
        np.testing.assert_allclose(updates["b"], np.array([4, 12]) * scale * factor, rtol=1e-6)


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


GOOD = OptimizerConfig()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("learning_rate", 0.0),
        ("learning_rate", -1e-3),
        ("learning_rate", math.inf),
        ("learning_rate", math.nan),
        ("momentum", 1.0),
        ("momentum", -0.1),
        ("momentum", math.nan),
        ("decay", 0.0),
        ("decay", 1.1),
        ("gradient_clip", -1.0),
        ("gradient_clip", math.inf),
        ("weight_decay", -0.1),
        ("weight_decay", math.nan),
        ("warmup_steps", -1),
        ("warmup_steps", 100),
    ],
)
def test_a_bad_optimizer_is_quoted(field, value):
    with pytest.raises(ValueError) as error:
        validate_optimizer(replace(GOOD, **{field: value}), 100)
    assert f"{field} {value}" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "fields",
    [{}, {"gradient_clip": 0.0}, {"momentum": 0.0}, {"decay": 1.0}, {"warmup_steps": 99}, {"weight_decay": 0.1}],
)
def test_a_good_optimizer_passes(fields):
    validate_optimizer(replace(GOOD, **fields), 100)


# A noisy linear classifier, of images made from the step's key.

TOTAL = 8
SOURCE = jnp.arange(4, dtype=jnp.float32)


def _init(key):
    return {"weights": jax.random.normal(key, (6, 3)), "bias": jnp.zeros(3)}


def _sample_batch(key, source):
    images = jax.random.randint(key, (5, 2, 3, 1), 0, 256, jnp.int32).astype(jnp.uint8)
    return images, (images[:, 0, 0, 0] % 3 + source[0].astype(jnp.uint8)).astype(jnp.int32)


def _loss(params, key, images, labels, given):
    inputs = images.reshape(5, 6) / 255.0 + 0.1 * jax.random.normal(key, (5, 6))
    logits = jnp.tanh(inputs @ params["weights"]) + params["bias"][None]
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
    metrics = {"loss": loss, "progress": given.progress, "noise": jax.random.normal(key), "ink": images.sum() / 255.0}
    return loss, (metrics, given.memory)


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


def _leaves(tree):
    is_key = lambda leaf: jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)  # noqa: E731
    return [np.asarray(jax.random.key_data(leaf) if is_key(leaf) else leaf) for leaf in jax.tree.leaves(tree)]


def _assert_same_bits(first, second):
    for a, b in zip(_leaves(first), _leaves(second), strict=True):
        np.testing.assert_array_equal(a, b)


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
        given = Given(jnp.array(5 / TOTAL))
        loss, gradients = jax.value_and_grad(lambda p: _loss(p, loss_key, images, labels, given)[0])(state.params)
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


@pytest.mark.parametrize("of_others", [None, 0.5])
def test_neither_gradients_nor_weight_decay_change_what_is_frozen(of_others):
    optimizer = make_optimizer(OptimizerConfig(gradient_clip=0.0, weight_decay=0.3))

    def after(model):
        step = train_step(model, optimizer, SCHEDULE, _sample_batch, TOTAL)
        state, _ = jax.jit(step)(init_state(model, optimizer, 0), SOURCE, Hyper(jnp.array(0.1), ()))
        return state.params

    factors = None if of_others is None else lambda params: jax.tree.map(lambda _: of_others, params)
    model = MODEL._replace(rate_factors=factors)
    start, free, held = init_state(model, optimizer, 0).params, after(model), after(freeze(model, "weights"))
    _assert_same_bits(held["weights"], start["weights"])
    assert np.abs(free["weights"] - start["weights"]).min() > 1e-3
    # Gradients are not clipped here, so that of the rest is what it would be.
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


def test_a_fresh_state_has_no_best():
    state = init_state(MODEL, OPTIMIZER, 0)
    assert float(state.best_error) == math.inf and int(state.best_step) == int(state.step) == 0
    _assert_same_bits(state.best_params, state.params)


def test_keep_best_keeps_the_lowest_error():
    state, _ = _run(2)
    state = keep_best(state, 30.0)
    first = _leaves(state.params)
    _assert_same_bits(state.best_params, state.params)
    # The chunk donates its state: what is kept must not share its buffers.
    state, _ = CHUNK(state, SOURCE, 2)
    _assert_same_bits(state.best_params, first)
    for error in (30.0, 31.0, math.nan, math.inf):
        kept = keep_best(state, error)
        assert float(kept.best_error) == 30 and int(kept.best_step) == 2
        _assert_same_bits(kept.best_params, first)
    state = keep_best(state, 29.0)
    assert float(state.best_error) == 29 and int(state.best_step) == 4
    _assert_same_bits(state.best_params, state.params)
    state, _ = CHUNK(state, SOURCE, 2)
    assert int(state.best_step) == 4 and int(state.step) == 6


def test_keeping_the_best_does_not_change_the_training():
    state, _ = _run(4)
    state, _ = CHUNK(keep_best(state, 1.0), SOURCE, 4)
    _assert_same_bits((state.params, state.opt_state), (lambda s: (s.params, s.opt_state))(_run(TOTAL)[0]))


def test_a_chunk_donates_its_state():
    state = init_state(MODEL, OPTIMIZER, 0)
    CHUNK(state, SOURCE, 1)
    assert state.params["weights"].is_deleted()


def test_an_equal_error_is_not_lower_whatever_float32_makes_of_it():
    error = 100 * 260 / 6000
    state = keep_best(init_state(MODEL, OPTIMIZER, 3)._replace(step=jnp.int32(1)), error)
    assert int(keep_best(state._replace(step=jnp.int32(2)), error).best_step) == 1
