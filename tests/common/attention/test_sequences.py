"""Targets, what counts, and rewards of sequences against loops over random labels."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common.attention.sequences import Sequence
from common.policy_gradient import REWARDS
from common.policy_gradient.advantages import returns_to_go
from common.symbols import all_before, whole_right, within

GLIMPSES, TARGETS, REPLICATES, BATCH, CLASSES = 2, 4, 3, 40, 5
END = CLASSES - 1
STEPS = GLIMPSES * TARGETS
SHAPE = (STEPS, REPLICATES, BATCH)


def _labels(seed=0):
    """Sequences of every length, from none to all symbols, padded with end symbols."""
    labels = np.random.default_rng(seed).integers(0, END, (BATCH, TARGETS))
    lengths = np.arange(BATCH) % (TARGETS + 1)
    return np.where(np.arange(TARGETS) < lengths[:, None], labels, END).astype(np.int32)


def _logits(labels, seed=0, right=0.7):
    """Random ones, whose belief after the last glimpse of a target is mostly right."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(*SHAPE, CLASSES)).astype(np.float32)
    for s, m, b in itertools.product(range(TARGETS), range(REPLICATES), range(BATCH)):
        if rng.uniform() < right:
            logits[(s + 1) * GLIMPSES - 1, m, b, labels[b, s]] = 4.0
    return logits


LABELS = _labels()
LOGITS = _logits(LABELS)


def _read(logits, target, m, b):
    return int(np.argmax(logits[(target + 1) * GLIMPSES - 1, m, b]))


def _counted(logits, labels, stop):
    """By going through each sequence until it ends, or until it is read wrong."""
    counted = np.zeros(SHAPE)
    for m, b in itertools.product(range(REPLICATES), range(BATCH)):
        for target in range(TARGETS):
            for glimpse in range(GLIMPSES):
                counted[target * GLIMPSES + glimpse, m, b] = 1
            if labels[b, target] == END or (stop and _read(logits, target, m, b) != labels[b, target]):
                break
    return counted


def test_each_glimpse_has_the_target_it_belongs_to():
    targets = Sequence(GLIMPSES).targets(jnp.asarray(LABELS))
    assert targets.shape == (STEPS, BATCH)
    for t, b in itertools.product(range(STEPS), range(BATCH)):
        assert targets[t, b] == LABELS[b, t // GLIMPSES]


def test_glimpses_are_grouped_by_target_in_order():
    values = np.random.default_rng(1).normal(size=(STEPS, REPLICATES, BATCH)).astype(np.float32)
    by_target = Sequence(GLIMPSES).by_target(jnp.asarray(values))
    assert by_target.shape == (TARGETS, GLIMPSES, REPLICATES, BATCH)
    for target, glimpse in itertools.product(range(TARGETS), range(GLIMPSES)):
        np.testing.assert_array_equal(by_target[target, glimpse], values[target * GLIMPSES + glimpse])


@pytest.mark.parametrize("glimpses", [1, 2, 4, 8])
def test_a_target_is_read_after_its_last_glimpse(glimpses):
    read = Sequence(glimpses).final_beliefs(jnp.asarray(LOGITS))
    assert read.shape == (STEPS // glimpses, REPLICATES, BATCH, CLASSES)
    for target in range(STEPS // glimpses):
        np.testing.assert_array_equal(read[target], LOGITS[target * glimpses + glimpses - 1])


@pytest.mark.parametrize("stop", [True, False])
def test_counted_glimpses_equal_loops(stop):
    counted = jax.jit(Sequence(GLIMPSES, stop).counted)(jnp.asarray(LOGITS), jnp.asarray(LABELS))
    expected = _counted(LOGITS, LABELS, stop)
    assert counted.dtype == jnp.float32 and 0 < expected.mean() < 1
    np.testing.assert_array_equal(counted, expected)


def test_stopping_by_hand():
    # Symbols 0 and 1 and the end 2; a glimpse a target. Read right, right, wrong; wrong at once; and past the end.
    labels, read = jnp.array([[0, 1, 2, 2], [1, 1, 0, 2], [2, 2, 2, 2]]), [[0, 1, 0, 2], [0, 1, 0, 2], [2, 0, 0, 0]]
    logits = jnp.moveaxis(jax.nn.one_hot(jnp.array(read), 3), 1, 0)[:, None]
    stopping, going = (Sequence(1, stop).counted(logits, labels)[:, 0].T for stop in (True, False))
    np.testing.assert_array_equal(stopping, [[1, 1, 1, 0], [1, 0, 0, 0], [1, 0, 0, 0]])
    np.testing.assert_array_equal(going, [[1, 1, 1, 0], [1, 1, 1, 1], [1, 0, 0, 0]])


def test_the_wrong_target_itself_counts():
    counted = np.asarray(Sequence(GLIMPSES).counted(jnp.asarray(LOGITS), jnp.asarray(LABELS)))
    wrong = Sequence(GLIMPSES).final_beliefs(jnp.asarray(LOGITS)).argmax(-1) != LABELS.T[:, None]
    assert wrong[0].any()
    np.testing.assert_array_equal(counted[:GLIMPSES], 1)
    np.testing.assert_array_equal(counted[GLIMPSES:, wrong[0]], 0)


@pytest.mark.parametrize("stop", [True, False])
@pytest.mark.parametrize("name", REWARDS)
def test_the_reward_of_a_target_is_that_of_its_own_glimpses(name, stop):
    rewards = jax.jit(Sequence(GLIMPSES, stop).reward(REWARDS[name]))(jnp.asarray(LOGITS), jnp.asarray(LABELS))
    expected = np.zeros(SHAPE)
    for target in range(TARGETS):
        part = slice(target * GLIMPSES, (target + 1) * GLIMPSES)
        expected[part] = REWARDS[name](jnp.asarray(LOGITS[part]), jnp.asarray(LABELS[:, target]))
    expected = expected * _counted(LOGITS, LABELS, stop)
    assert rewards.shape == SHAPE and np.abs(expected).max() > 0
    np.testing.assert_allclose(rewards, expected, rtol=1e-5, atol=1e-6)


def test_the_return_to_go_is_the_number_of_targets_read_right_from_there_on():
    sequence = Sequence(GLIMPSES)
    rewards = sequence.reward(REWARDS["correct"])(jnp.asarray(LOGITS), jnp.asarray(LABELS))
    returns = np.asarray(returns_to_go(rewards, 1.0))
    for m, b in itertools.product(range(REPLICATES), range(BATCH)):
        hits = []
        for target in range(TARGETS):
            hits.append(_read(LOGITS, target, m, b) == LABELS[b, target])
            if not hits[-1] or LABELS[b, target] == END:
                break
        for t in range(STEPS):
            assert returns[t, m, b] == sum(hits[t // GLIMPSES :])


def test_nothing_beyond_the_end_is_rewarded():
    garbage = np.random.default_rng(3).integers(0, CLASSES, LABELS.shape)
    ended = np.cumsum(LABELS == END, axis=1) > 1
    labels = np.where(ended, garbage, LABELS)
    logits = np.where(np.repeat(ended.T, GLIMPSES, axis=0)[:, None, :, None], -LOGITS[::-1], LOGITS)
    assert (labels != LABELS).any()
    for sequence, name in itertools.product((Sequence(GLIMPSES), Sequence(GLIMPSES, False)), REWARDS):
        reward = sequence.reward(REWARDS[name])
        before, after = (reward(jnp.asarray(x), jnp.asarray(y)) for x, y in ((LOGITS, LABELS), (logits, labels)))
        np.testing.assert_array_equal(before, after)


def test_positions_up_to_the_first_end_symbol():
    np.testing.assert_array_equal(within(jnp.array([2, 1, 2, 0]), 3), [True, False, False, False])
    np.testing.assert_array_equal(within(jnp.array([0, 1, 2, 0]), 3), [True, True, True, False])
    np.testing.assert_array_equal(within(jnp.array([0, 1, 1, 0]), 3), [True] * 4)
    np.testing.assert_array_equal(within(jnp.asarray(LABELS), CLASSES)[1], within(jnp.asarray(LABELS[1]), CLASSES))


def test_positions_whose_earlier_ones_are_all_true():
    right = np.random.default_rng(2).uniform(size=(5, 6, 7)) < 0.7
    expected = [[[right[:s, i, j].all() for j in range(7)] for i in range(6)] for s in range(5)]
    np.testing.assert_array_equal(all_before(jnp.asarray(right)), expected)


def test_a_sequence_is_right_if_all_of_it_is_up_to_its_end():
    read = np.asarray(Sequence(GLIMPSES).final_beliefs(jnp.asarray(LOGITS)).argmax(-1))[:, 0]
    right = whole_right(jnp.asarray(read), jnp.asarray(LABELS.T), CLASSES)
    expected = [
        all(read[s, b] == LABELS[b, s] for s in range(TARGETS) if END not in LABELS[b, :s]) for b in range(BATCH)
    ]
    assert 0 < sum(expected) < BATCH
    np.testing.assert_array_equal(right, expected)


def test_counting_does_not_depend_on_the_order_of_images():
    order, sequence = np.random.default_rng(4).permutation(BATCH), Sequence(GLIMPSES)
    before = sequence.counted(jnp.asarray(LOGITS), jnp.asarray(LABELS))
    after = sequence.counted(jnp.asarray(LOGITS[:, :, order]), jnp.asarray(LABELS[order]))
    np.testing.assert_array_equal(after, before[:, :, order])
