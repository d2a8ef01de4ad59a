"""Schedules and optimisers against their formulas."""

import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common.training.optimizers import OptimizerConfig, check_optimizer, make_optimizer, make_schedule

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


def test_the_exponential_schedule_falls_once_per_epoch():
    rates = _rates(schedule="exponential", decay=0.9, steps_per_epoch=3.9)
    np.testing.assert_allclose(rates, RATE * 0.9 ** (np.arange(11) // 4), rtol=1e-6)


def test_the_exponential_schedule_with_epochs_shorter_than_a_step():
    rates = _rates(schedule="exponential", decay=0.9, steps_per_epoch=0.2)
    np.testing.assert_allclose(rates, RATE * 0.9 ** np.arange(11), rtol=1e-6)


def test_the_step_schedule_divides_by_ten_twice():
    expected = RATE * np.repeat([1, 0.1, 0.01], [3, 3, 4])
    np.testing.assert_allclose(_rates(steps=9, schedule="step"), expected, rtol=1e-6)


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine", "exponential", "step"])
def test_warmup_rises_from_zero_and_the_schedule_follows(schedule):
    rates = _rates(steps=12, schedule=schedule, warmup_steps=4, decay=0.9)
    np.testing.assert_allclose(rates[:5], RATE * np.arange(5) / 4, atol=1e-7)
    np.testing.assert_allclose(rates[4:], _rates(steps=8, schedule=schedule, decay=0.9), atol=1e-7)


GRADIENTS = [np.array([0.3, -0.4, 1.2]), np.array([-0.1, 0.2, 0.5]), np.array([0.7, 0.0, -0.6])]
START = np.array([1.0, -2.0, 0.5])


def _trajectory(**fields):
    """Return the parameters after each of the gradients, from `START`."""
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


def test_sgd_has_the_configured_momentum():
    expected = START - RATE * np.cumsum(list(_sgd(0.5)), axis=0)
    np.testing.assert_allclose(_trajectory(optimizer="sgd", momentum=0.5, gradient_clip=0.0), expected, rtol=1e-5)


def test_nesterov_momentum_looks_ahead():
    """Sutskever et al. (2013) as Bengio et al. (2012) rewrite it: the gradient plus the decayed trace."""
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
def test_bad_optimizer_settings_are_quoted(field, value):
    with pytest.raises(ValueError) as error:
        check_optimizer(replace(GOOD, **{field: value}), 100)
    assert f"{field} {value}" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "fields",
    [{}, {"gradient_clip": 0.0}, {"momentum": 0.0}, {"decay": 1.0}, {"warmup_steps": 99}, {"weight_decay": 0.1}],
)
def test_good_optimizer_settings_pass(fields):
    check_optimizer(replace(GOOD, **fields), 100)
