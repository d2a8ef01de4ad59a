"""Labels of one class and of sequences, against loops in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common.networks.targets import Head, accuracy, counted_symbols, cross_entropy

RNG = np.random.default_rng(0)
END = 10
SEQUENCES = np.array([[3, 1, END, END], [END, END, END, END], [0, 1, 2, 3], [9, END, END, END]])


def _log_probs(logits):
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def test_symbols_count_up_to_the_first_end_symbol():
    expected = [[1, 1, 1, 0], [1, 0, 0, 0], [1, 1, 1, 1], [1, 1, 0, 0]]
    np.testing.assert_array_equal(counted_symbols(jnp.asarray(SEQUENCES), 11), np.array(expected, bool))
    assert counted_symbols(jnp.array([0, 10]), 11).all()


def test_loss_of_sequences():
    logits = RNG.normal(size=(4, 4, 11)).astype(np.float32)
    total = 0.0
    for image, sequence in enumerate(SEQUENCES):
        for place, symbol in enumerate(sequence):
            total -= _log_probs(logits.astype(float))[image, place, symbol]
            if symbol == END:
                break
    assert float(cross_entropy(jnp.asarray(logits), jnp.asarray(SEQUENCES)).mean()) == pytest.approx(
        total / 4, rel=1e-5
    )


def test_loss_of_classes_is_the_mean_cross_entropy():
    logits, labels = RNG.normal(size=(5, 3)).astype(np.float32), np.array([0, 2, 1, 1, 0])
    expected = -_log_probs(logits.astype(float))[np.arange(5), labels].mean()
    assert float(cross_entropy(jnp.asarray(logits), jnp.asarray(labels)).mean()) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("labels", [np.array([0, 2, 10, 1]), SEQUENCES])
def test_smoothing_spreads_part_of_each_label_over_all_classes(labels):
    logits = RNG.normal(size=(*labels.shape, 11)).astype(np.float32)
    log_probs = _log_probs(logits.astype(float))
    right = np.take_along_axis(log_probs, labels[..., None], -1)[..., 0]
    each = -(0.7 * right + 0.3 * log_probs.mean(-1)) * np.asarray(counted_symbols(jnp.asarray(labels), 11))
    actual = cross_entropy(jnp.asarray(logits), jnp.asarray(labels), 0.3)
    np.testing.assert_allclose(actual, each.reshape(4, -1).sum(-1), rtol=1e-5)


def test_symbols_after_the_end_do_not_count():
    logits = jnp.asarray(RNG.normal(size=(4, 4, 11)), jnp.float32)
    other = jnp.where(counted_symbols(jnp.asarray(SEQUENCES), 11)[..., None], logits, 7.0)
    labels = jnp.asarray(SEQUENCES)
    np.testing.assert_array_equal(cross_entropy(logits, labels), cross_entropy(other, labels))
    assert accuracy(logits, labels) == accuracy(other, labels)
    gradient = jax.grad(lambda logits: cross_entropy(logits, labels).sum())(logits)
    assert (np.abs(gradient).sum(-1) > 0).tolist() == np.asarray(counted_symbols(labels, 11)).tolist()


def test_accuracy_counts_whole_sequences():
    predictions = np.array([[3, 1, END, 4], [END, 1, 1, 1], [0, 1, 2, END], [8, END, END, END]])
    logits = jax.nn.one_hot(predictions, 11)
    # The third lacks its last symbol, the fourth has a wrong digit.
    assert float(accuracy(logits, jnp.asarray(SEQUENCES))) == 0.5
    assert float(accuracy(jax.nn.one_hot(jnp.array([1, 2]), 3), jnp.array([1, 0]))) == 0.5


@pytest.mark.parametrize(("targets", "shape"), [(None, (2, 11)), (4, (2, 4, 11)), (1, (2, 1, 11))])
def test_the_head_has_an_output_for_each_symbol(targets, shape):
    head = Head(11, targets)
    params = head.init(jax.random.key(0), jnp.zeros((1, 6)))
    assert head.apply(params, jnp.ones((2, 6))).shape == shape
    assert params["params"]["logits"]["kernel"].shape == (6, 11 * (targets or 1))
