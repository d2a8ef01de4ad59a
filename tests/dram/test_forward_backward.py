"""The rule that combines two readers of opposite directions, against a loop over images and numbers set by hand."""

import jax
import jax.numpy as jnp
import numpy as np

from dram.forward_backward import combine, lengths

SYMBOLS, END = 5, 4


def of_one_image(forward, backward):
    """The paper's rule as it is told, for log-probabilities ``[S][C]`` of one image."""

    def read(rows):
        symbols = []
        for row in rows:
            if row.argmax() == END:
                break
            symbols.append(row.argmax())
        return symbols

    k = min(len(read(forward)), len(read(backward)))
    flipped = list(backward[:k])[::-1] + list(backward[k:])
    symbols = read([one + other for one, other in zip(forward, flipped, strict=True)])
    return symbols + [END] * (len(forward) - len(symbols))


def log_probs(*rows, rest=0.02):
    """Log-probabilities of one image ``[1, S, 5]``: of each row the probabilities of some symbols."""
    table = np.full((len(rows), SYMBOLS), rest)
    for row, chances in zip(table, rows, strict=True):
        for symbol, chance in chances.items():
            row[symbol] = chance
    return jnp.log(table / table.sum(axis=1, keepdims=True))[None].astype(jnp.float32)


def test_equals_a_loop_over_images():
    rng = np.random.default_rng(0)
    scores = rng.normal(0, 2, (2, 400, 6, SYMBOLS)).astype(np.float32)
    scores[:, :, 3:, END] += 2  # Else hardly any of them would end.
    forward, backward = jax.nn.log_softmax(scores)
    expected = [of_one_image(*pair) for pair in zip(np.asarray(forward), np.asarray(backward), strict=True)]
    np.testing.assert_array_equal(jax.jit(combine)(forward, backward), expected)
    longer = np.asarray(lengths(forward)) - np.asarray(lengths(backward))
    assert min((longer < 0).sum(), (longer == 0).sum(), (longer > 0).sum()) > 40


def test_the_surer_reader_decides_where_both_have_the_same_length():
    forward = log_probs({1: 0.9}, {2: 0.5, 3: 0.4}, {END: 0.9})
    backward = log_probs({3: 0.8}, {0: 0.5, 1: 0.4}, {END: 0.9})  # Reads the second symbol first.
    assert combine(forward, backward).tolist() == [[1, 3, END]]


def test_a_reader_that_reads_on_is_stopped_by_a_surer_one():
    forward = log_probs({1: 0.9}, {2: 0.9}, {0: 0.5, END: 0.4})
    backward = log_probs({2: 0.9}, {1: 0.9}, {END: 0.9})
    # The first two of the backward reader are flipped, its end stays in the third place.
    assert combine(forward, backward).tolist() == [[1, 2, END]]
    assert combine(backward, forward).tolist() == [[2, 1, END]]


def test_a_reader_that_ends_early_is_overruled_by_a_surer_one():
    forward = log_probs({1: 0.9}, {END: 0.5, 2: 0.4}, {END: 0.9})
    backward = log_probs({1: 0.9}, {2: 0.9}, {END: 0.9})
    assert combine(forward, backward).tolist() == [[1, 2, END]]


def test_nothing_is_flipped_where_one_reads_nothing():
    forward = log_probs({END: 0.95}, {1: 0.9}, {2: 0.9})
    backward = log_probs({3: 0.9}, {2: 0.9}, {END: 0.9})
    assert (lengths(forward).tolist(), lengths(backward).tolist()) == ([0], [2])
    # All that follows an end symbol is one.
    assert combine(forward, backward).tolist() == [[END, END, END]]
    unsure = log_probs({END: 0.5, 3: 0.4}, {END: 0.95}, {END: 0.9})
    assert combine(unsure, backward).tolist() == [[3, END, END]]


def test_sequences_without_an_end_are_flipped_whole():
    forward = log_probs({1: 0.5, 0: 0.4}, {2: 0.9}, {3: 0.9})
    backward = log_probs({3: 0.9}, {2: 0.9}, {0: 0.9})
    assert lengths(backward).tolist() == [3]
    assert combine(forward, backward).tolist() == [[0, 2, 3]]


def test_exchanging_the_readers_reverses_what_they_read_where_lengths_agree():
    rng = np.random.default_rng(1)
    one, other = jax.nn.log_softmax(jnp.asarray(rng.normal(0, 2, (2, 300, 4, SYMBOLS)), jnp.float32))
    same = np.asarray(lengths(one) == lengths(other))
    right, left = np.asarray(combine(one, other))[same], np.asarray(combine(other, one))[same]
    k = np.asarray(lengths(one))[same]
    for to_right, to_left, length in zip(right, left, k, strict=True):
        if END not in to_right[:length]:
            assert to_right[:length].tolist() == to_left[:length][::-1].tolist()
