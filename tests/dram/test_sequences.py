"""DRAM on sequences: its glimpses, what it predicts and learns from, and whether it learns to read."""

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common.attention.config import LossConfig, PolicyConfig, RetinaConfig
from common.policy_gradient import EstimatorConfig
from common.training.evaluation import error_interval, make_predictor, sequence_errors
from common.training.optimizers import OptimizerConfig, make_optimizer, make_schedule
from common.training.step import Hyper, StepInput, init_state, make_chunk, train_step
from dram.agent import make_dram
from dram.config import AgentConfig, DramConfig

HEIGHT, WIDTH, CLASSES, BATCH, EACH, TARGETS = 10, 12, 4, 6, 2, 3
IMAGES = jnp.asarray(np.random.default_rng(0).integers(0, 256, (BATCH, HEIGHT, WIDTH, 1), dtype=np.uint8))
LABELS = jnp.array([[0, 3, 3], [1, 2, 3], [3, 3, 3], [2, 3, 3], [0, 1, 2], [1, 1, 3]])
KEY = jax.random.key(17)
SMALL = AgentConfig(
    EACH, glimpse_features=6, core="rnn", lower_hidden=7, upper_hidden=5, context_size=4, context_channels=3
)


def _config(agent=None, policy=None, loss=LossConfig(entropy_weight=0.1), **estimator):  # noqa: B008
    policy = PolicyConfig(**{"sigma": "0.5", "learned_sigma": "state"} | (policy or {}))
    estimator = EstimatorConfig(**{"reward": "gain", "replicates": 2} | estimator)
    return DramConfig(RetinaConfig(3, 2), replace(SMALL, **agent or {}), policy, loss, estimator)


def _make(config, targets=TARGETS):
    return make_dram(config, HEIGHT, WIDTH, 1, CLASSES, targets)


def _params(config):
    leaves, tree = jax.tree.flatten(jax.eval_shape(_make(config).model.init, KEY))
    rng = np.random.default_rng(2)
    return tree.unflatten([jnp.asarray(rng.normal(0, 0.5, leaf.shape), jnp.float32) for leaf in leaves])


@functools.cache
def _compiled(config):
    """Value and gradient of the loss: ``(params, key, images, labels, sigma) -> ...``."""
    model = _make(config).model

    def loss(params, key, images, labels, sigma):
        hyper = model.hyper._replace(sigma=jnp.broadcast_to(sigma, (2,)))
        return model.loss(params, key, images, labels, StepInput(jnp.zeros(()), hyper, model.estimator_state))

    return jax.value_and_grad(loss, has_aux=True)


@functools.cache
def _jitted(config):
    return jax.jit(_compiled(config))


@pytest.mark.parametrize(("each", "targets", "total"), [(2, 3, 6), (1, 4, 4), (3, None, 3), (3, 1, 3)])
def test_an_episode_has_the_glimpses_of_all_targets(each, targets, total):
    config = _config({"glimpses_per_target": each})
    dram = _make(config, targets)
    assert dram.num_glimpses == total
    params = jax.eval_shape(dram.model.init, KEY)
    episode = jax.eval_shape(lambda p: dram.play(p, KEY, IMAGES, "sampled"), params)
    logits = jax.eval_shape(lambda p: dram.model.predict(p, KEY, IMAGES, "sampled"), params)
    assert episode.logits.shape == (total, BATCH, CLASSES)
    assert logits.shape == ((BATCH, CLASSES) if targets is None else (BATCH, targets, CLASSES))


def test_a_target_is_predicted_after_its_last_glimpse():
    config = _config()
    dram = _make(config)

    @jax.jit
    def both(params):
        kinds = ("greedy", "sampled")
        return [(dram.model.predict(params, KEY, IMAGES, k), dram.play(params, KEY, IMAGES, k)) for k in kinds]

    for logits, episode in both(_params(config)):
        for target in range(TARGETS):
            last = episode.logits[EACH * target + EACH - 1]
            np.testing.assert_allclose(logits[:, target], last, rtol=1e-5, atol=1e-6)


def test_labels_after_the_end_change_nothing():
    loss, params = _jitted(_config()), _params(_config())
    before = loss(params, KEY, IMAGES, LABELS, 0.5)
    garbage = LABELS.at[0, 2].set(1).at[2, 1:].set(0).at[3, 2].set(0)
    jax.tree.map(np.testing.assert_array_equal, loss(params, KEY, IMAGES, garbage, 0.5), before)
    other = loss(params, KEY, IMAGES, LABELS.at[0, 0].set(1), 0.5)
    assert float(other[0][0]) != float(before[0][0])


def test_after_a_wrong_first_target_nothing_is_learned():
    config = _config()
    params = _params(config)
    # A bias so strong that symbol 1 is always read.
    params["action_network"]["logits"]["bias"] = jnp.array([0.0, 100.0, 0.0, 0.0])
    zeros, twos = (jnp.full((BATCH, TARGETS), symbol) for symbol in (0, 2))
    (before, _), _ = _jitted(config)(params, KEY, IMAGES, jnp.concatenate([zeros[:, :1], twos[:, 1:]], axis=1), 0.5)
    (after, _), _ = _jitted(config)(params, KEY, IMAGES, zeros, 0.5)
    assert float(before) == float(after)


def test_vmap_equals_one_by_one():
    config = _config()
    keys, params = jax.random.split(KEY, 2), _params(config)
    together = jax.jit(jax.vmap(_compiled(config), in_axes=(None, 0, None, None, 0)))
    found = together(params, keys, IMAGES, LABELS, jnp.array([0.5, 0.2]))
    for index, sigma in enumerate((0.5, 0.2)):
        alone = _jitted(config)(params, keys[index], IMAGES, LABELS, sigma)
        jax.tree.map(
            lambda many, one, index=index: np.testing.assert_allclose(many[index], one, rtol=1e-3, atol=1e-4),
            found,
            alone,
        )


def test_finite_at_the_extremes():
    loss, params = _jitted(_config()), _params(_config())
    for images in (jnp.zeros_like(IMAGES), jnp.full_like(IMAGES, 255)):
        for sigma in (100.0, 1e-3):
            for labels in (LABELS, jnp.full_like(LABELS, CLASSES - 1)):
                results = loss(params, KEY, images, labels, sigma)
                assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(results))


def test_several_updates_on_the_same_episodes():
    config = _config(surrogate="ppo_clip", passes=2, minibatches=2)
    dram, params = _make(config), _params(config)
    step_input = StepInput(jnp.zeros(()), dram.model.hyper, dram.model.estimator_state)
    played, _ = jax.jit(dram.model.passes.play)(params, KEY, IMAGES, LABELS, step_input)
    assert played.counted.shape == played.advantages.shape == (EACH * TARGETS, 2, BATCH)
    np.testing.assert_array_equal(np.asarray(played.advantages)[np.asarray(played.counted) == 0], 0)
    again = jax.jit(dram.model.loss)(params, KEY, IMAGES, LABELS, step_input._replace(played=played))
    fresh = jax.jit(dram.model.loss)(params, KEY, IMAGES, LABELS, step_input)
    assert float(again[1][0].pop("kl")) == pytest.approx(0, abs=1e-6)
    # The replicates of the same key play the same episodes; only ppo's own loss has another value.
    for name in ("classification_loss", "value_loss", "entropy", "reward", "accuracy"):
        assert float(again[1][0][name]) == pytest.approx(float(fresh[1][0][name]), rel=1e-3), name
    optimizer = make_optimizer(OptimizerConfig())
    schedule = functools.partial(make_schedule, OptimizerConfig(), 10, 1.0)
    step = train_step(dram.model, optimizer, schedule, lambda key, source: (IMAGES, LABELS), 10)
    state = jax.eval_shape(lambda: init_state(dram.model, optimizer, 0))
    after, metrics = jax.eval_shape(step, state, None, Hyper(jnp.float32(0.01), dram.model.hyper))
    assert jax.tree.map(jnp.shape, after.params) == jax.tree.map(jnp.shape, params) and "updates" in metrics


# Learning.

# Symbols drawn with a few strokes, 5x5 pixels; the last index is the end.
STROKES = np.zeros((3, 5, 5), np.uint8)
STROKES[0, :, 2] = STROKES[1, 2] = 255
STROKES[2, [0, 1, 2, 3, 4], [0, 1, 2, 3, 4]] = 255
SIDE, READ = 20, 2


def _draw(key, source, batch=64):
    """One or two symbols on 20x20 pixels, from left to right, and how they are read."""
    symbol_key, length_key, row_key, column_key = jax.random.split(key, 4)
    symbols = jax.random.randint(symbol_key, (batch, READ), 0, len(STROKES))
    lengths = jax.random.randint(length_key, (batch,), 1, READ + 1)
    rows = jax.random.randint(row_key, (batch, READ), 0, SIDE - 4)
    columns = jax.random.randint(column_key, (batch, READ), 0, SIDE // 2 - 4) + jnp.array([[0, SIDE // 2]])

    def paint(symbols, length, rows, columns):
        image = jnp.zeros((SIDE, SIDE), jnp.uint8)
        for place in range(READ):
            stroke = jnp.asarray(STROKES)[symbols[place]] * (place < length)
            image = jax.lax.dynamic_update_slice(image, stroke.astype(jnp.uint8), (rows[place], columns[place]))
        return image[..., None]

    labels = jnp.where(jnp.arange(READ)[None] < lengths[:, None], symbols, len(STROKES))
    end = jnp.full((batch, 1), len(STROKES))
    return jax.vmap(paint)(symbols, lengths, rows, columns), jnp.concatenate([labels, end], axis=1).astype(jnp.int32)


@pytest.mark.slow
def test_the_agent_learns_to_read():
    agent = AgentConfig(2, glimpse_features=64, lower_hidden=64, upper_hidden=64, context_size=10, context_channels=8)
    policy = PolicyConfig(sigma="0.3", sigma_final="0.1", sigma_schedule="exponential")
    estimator = EstimatorConfig(reward="gain", discount=0.3)
    config = DramConfig(RetinaConfig(6, 2), agent, policy, LossConfig(policy_weight=0.05), estimator)
    dram, steps = make_dram(config, SIDE, SIDE, 1, len(STROKES) + 1, READ + 1), 3000
    optimizer = make_optimizer(OptimizerConfig())
    schedule = functools.partial(make_schedule, OptimizerConfig(), steps, 1.0)
    step, hyper = train_step(dram.model, optimizer, schedule, _draw, steps), Hyper(jnp.float32(3e-3), dram.model.hyper)
    chunk = make_chunk(lambda state, source: step(state, source, hyper))
    state, metrics = chunk(init_state(dram.model, optimizer, 0), None, steps)
    images, labels = _draw(jax.random.key(1), None, 1000)
    predictions = make_predictor(dram.model.predict, 4, 1000)(state.params, KEY, np.asarray(images))
    # A guess is right in a sixth of the short sequences, and an eighteenth of the long ones, at best.
    whole = error_interval(predictions.average_log_probability, np.asarray(labels))["error"]
    ends = sequence_errors(predictions.average_log_probability, np.asarray(labels), len(STROKES))["end"]["error"]
    assert whole < 15 and ends < 5, (whole, ends, float(metrics["accuracy"][-100:].mean()))
