"""Averages, batches and intervals by hand; the predictor with a noisy model of known answers."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common.evaluation import (
    METHODS,
    Predictions,
    average_over_episodes,
    error_interval,
    make_predictor,
    over_batches,
    summarise,
)

KEY = jax.random.key(23)
CLASSES = 4


def _wilson(wrong, total):
    """Wilson (1927), equation 4, with the normal quantile of 97.5%."""
    z, p = 1.959963984540054, wrong / total
    centre = (p + z * z / (2 * total)) / (1 + z * z / total)
    half = z * math.sqrt(p * (1 - p) / total + z * z / (4 * total * total)) / (1 + z * z / total)
    return 100 * max(centre - half, 0), 100 * min(centre + half, 1)


@pytest.mark.parametrize(("wrong", "total"), [(0, 1), (1, 1), (1, 2), (0, 30), (7, 30), (30, 30), (123, 10_000)])
def test_error_interval_equals_wilsons_formula(wrong, total):
    labels = np.arange(total) % 10
    predictions = np.where(np.arange(total) < wrong, labels + 1, labels)
    result = error_interval(predictions, labels)
    low, high = _wilson(wrong, total)
    assert result["error"] == pytest.approx(100 * wrong / total) and result["n"] == total
    assert result["low"] == pytest.approx(low, abs=1e-6) and result["high"] == pytest.approx(high, abs=1e-6)
    assert 0 <= result["low"] <= result["error"] + 1e-9 and result["error"] - 1e-9 <= result["high"] <= 100


def test_error_interval_by_hand():
    # 5 of 10: symmetric about one half; the half width is z sqrt(1 + z^2 / 10) / (2 sqrt(10) (1 + z^2 / 10)).
    result = error_interval(np.array([0] * 5 + [1] * 5), np.zeros(10, int))
    assert result["error"] == 50
    assert (result["low"], result["high"]) == (pytest.approx(23.659, abs=1e-3), pytest.approx(76.341, abs=1e-3))


def test_summarise_has_every_method():
    labels = np.array([0, 1, 2, 3])
    predictions = Predictions(labels, labels + 1, np.array([0, 1, 2, 0]), np.array([0, 1, 0, 0]))
    errors = {name: result["error"] for name, result in summarise(predictions, labels).items()}
    assert errors == {
        "greedy": 0,
        "sampled": 100,
        "average_probability": 25,
        "average_log_probability": 50,
    }
    assert tuple(errors) == METHODS


def test_averages_equal_numpy():
    logits = np.random.default_rng(0).normal(0, 3, (5, 200, CLASSES))
    probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    by_probability, by_log = average_over_episodes(jnp.asarray(logits, jnp.float32))
    np.testing.assert_array_equal(by_probability, probabilities.mean(0).argmax(-1))
    np.testing.assert_array_equal(by_log, np.log(probabilities).mean(0).argmax(-1))
    assert (np.asarray(by_probability) != np.asarray(by_log)).any()


def test_averages_by_hand():
    # Means 0.375, 0.395 and 0.23; geometric means 0.37, 0.26 and 0.07.
    beliefs = np.array([[[0.45, 0.10, 0.45]], [[0.30, 0.69, 0.01]]])
    by_probability, by_log = average_over_episodes(jnp.asarray(np.log(beliefs), jnp.float32))
    assert (int(by_probability[0]), int(by_log[0])) == (1, 0)


def test_average_of_certain_episodes_is_finite():
    logits = jnp.array([[[1e4, 0.0, -1e4]], [[1e4, -1e4, 0.0]]])
    assert [int(value[0]) for value in average_over_episodes(logits)] == [0, 0]


@pytest.mark.parametrize("batch_size", [1, 3, 7, 10])
def test_batches_with_a_remainder_equal_one_batch(batch_size):
    images = np.random.default_rng(0).integers(0, 256, (10, 3, 2, 1), dtype=np.uint8)
    sizes = []

    def function(key, batch):
        sizes.append(len(batch))
        return {"double": 2 * batch.astype(jnp.int32), "sum": batch.sum(axis=(1, 2, 3))}

    result = over_batches(function, KEY, images, batch_size)
    assert set(sizes) == {batch_size} and len(sizes) == math.ceil(10 / batch_size)
    np.testing.assert_array_equal(result["double"], 2 * images.astype(int))
    np.testing.assert_array_equal(result["sum"], images.sum(axis=(1, 2, 3)))
    assert all(isinstance(leaf, np.ndarray) for leaf in result.values())


def test_each_batch_has_its_own_key():
    result = over_batches(lambda key, batch: jax.random.normal(key, (len(batch),)), KEY, np.zeros((6, 1)), 2)
    assert len(np.unique(result)) == 6


def _predict(params, key, images, kind):
    """Logits in favour of the first pixel, with noise unless greedy."""
    noise = jax.random.normal(key, (images.shape[0], CLASSES))
    certain = params * jax.nn.one_hot(images[:, 0, 0, 0], CLASSES)
    return certain if kind == "greedy" else certain + noise


IMAGES = np.random.default_rng(1).integers(0, CLASSES, (50, 2, 2, 1), dtype=np.uint8)
TRUTH = IMAGES[:, 0, 0, 0]


def test_greedy_is_asked_for_by_its_kind_and_has_no_noise():
    predict = make_predictor(_predict, num_episodes=3, batch_size=16)
    first, second = (predict(jnp.float32(1e-3), jax.random.key(seed), IMAGES) for seed in (0, 1))
    np.testing.assert_array_equal(first.greedy, TRUTH)
    np.testing.assert_array_equal(second.greedy, TRUTH)
    for name in METHODS[1:]:
        assert (getattr(first, name) != getattr(second, name)).any()


def test_predictions_depend_on_the_key_alone():
    predict = make_predictor(_predict, num_episodes=3, batch_size=16)
    first, again = predict(jnp.float32(1.0), KEY, IMAGES), predict(jnp.float32(1.0), KEY, IMAGES)
    for name in METHODS:
        assert getattr(first, name).shape == (50,)
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))


def test_a_batch_larger_than_the_split_will_do():
    predictions = make_predictor(_predict, num_episodes=2, batch_size=1_000)(jnp.float32(1.0), KEY, IMAGES)
    np.testing.assert_array_equal(predictions.greedy, TRUTH)


def test_more_episodes_average_the_noise_away():
    def errors(num_episodes):
        predictions = make_predictor(_predict, num_episodes, 50)(jnp.float32(1.0), KEY, IMAGES)
        return {name: np.mean(getattr(predictions, name) != TRUTH) for name in METHODS}

    few, many = errors(1), errors(200)
    assert few["sampled"] == few["average_probability"] == few["average_log_probability"] > 0.2
    assert many["sampled"] > 0.2
    assert many["average_probability"] == many["average_log_probability"] == 0


def test_episodes_of_the_average_are_different():
    predict = make_predictor(lambda p, key, images, kind: _predict(0.0, key, images, kind), 3, 50)
    predictions = predict(None, KEY, IMAGES)
    assert (predictions.sampled != predictions.average_probability).any()
