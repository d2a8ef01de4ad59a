"""Averages, batches and intervals by hand; the predictor with a noisy model whose answers are known."""

import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common.training.evaluation import (
    Predictions,
    average_over_episodes,
    error_interval,
    log_votes,
    make_predictor,
    over_batches,
    predicted,
    sequence_errors,
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
    assert tuple(errors) == Predictions._fields


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
    """Return logits in favour of the class in the first pixel, with noise unless greedy."""
    noise = jax.random.normal(key, (images.shape[0], CLASSES))
    certain = params * jax.nn.one_hot(images[:, 0, 0, 0], CLASSES)
    return certain if kind == "greedy" else certain + noise


IMAGES = np.random.default_rng(1).integers(0, CLASSES, (50, 2, 2, 1), dtype=np.uint8)
TRUTH = IMAGES[:, 0, 0, 0]


def test_greedy_predictions_have_no_noise():
    predict = make_predictor(_predict, num_episodes=3, batch_size=16)
    first, second = (predict(jnp.float32(1e-3), jax.random.key(seed), IMAGES) for seed in (0, 1))
    np.testing.assert_array_equal(first.greedy, TRUTH)
    np.testing.assert_array_equal(second.greedy, TRUTH)
    for name in Predictions._fields[1:]:
        assert (getattr(first, name) != getattr(second, name)).any()


def test_predictions_depend_on_the_key_alone_and_are_compiled_once():
    """One trace for the greedy episode and one for the sampled ones, whatever the number of batches and calls."""
    predict = make_predictor(chex.assert_max_traces(_predict, n=2), num_episodes=3, batch_size=16)
    first, second = predict(jnp.float32(1.0), KEY, IMAGES), predict(jnp.float32(1.0), KEY, IMAGES)
    chex.assert_tree_shape_prefix(first, (50,))
    chex.assert_trees_all_equal(first, second, strict=True)


def test_a_deterministic_model_is_evaluated_once():
    kinds = []

    def predict(params, key, images, kind):
        kinds.append(kind)
        return jax.nn.one_hot(images[:, 0, 0, 0], CLASSES)

    predictions = make_predictor(predict, num_episodes=0, batch_size=16)(None, KEY, IMAGES)
    assert kinds == ["greedy"]
    for name in Predictions._fields:
        np.testing.assert_array_equal(getattr(predictions, name), TRUTH)


def test_a_batch_can_be_larger_than_the_split():
    predictions = make_predictor(_predict, num_episodes=2, batch_size=1_000)(jnp.float32(1.0), KEY, IMAGES)
    np.testing.assert_array_equal(predictions.greedy, TRUTH)


def test_more_episodes_average_the_noise_away():
    def errors(num_episodes):
        predictions = make_predictor(_predict, num_episodes, 50)(jnp.float32(1.0), KEY, IMAGES)
        return {name: np.mean(getattr(predictions, name) != TRUTH) for name in Predictions._fields}

    few, many = errors(1), errors(200)
    assert few["sampled"] == few["average_probability"] == few["average_log_probability"] > 0.2
    assert many["sampled"] > 0.2
    assert many["average_probability"] == many["average_log_probability"] == 0


def test_averaged_episodes_differ():
    predict = make_predictor(lambda p, key, images, kind: _predict(0.0, key, images, kind), 3, 50)
    predictions = predict(None, KEY, IMAGES)
    assert (predictions.sampled != predictions.average_probability).any()


# Sequences.

TARGETS, END = 4, CLASSES - 1


def _cut(symbols):
    """Replace all symbols after the first end symbol by end symbols."""
    kept = []
    for symbol in symbols:
        kept.append(END if END in kept else int(symbol))
    return kept


def _sequences(count, seed=0):
    rng = np.random.default_rng(seed)
    lengths = np.arange(count) % (TARGETS + 1)
    return np.where(np.arange(TARGETS) < lengths[:, None], rng.integers(0, END, (count, TARGETS)), END)


def _read(count, seed=1):
    """Make predictions that are often right, and else wrong, too long or too short."""
    rng, labels = np.random.default_rng(seed), _sequences(count)
    noisy = np.where(rng.uniform(size=labels.shape) < 0.85, labels, rng.integers(0, CLASSES, labels.shape))
    return np.array([_cut(row) for row in noisy])


def test_a_predicted_sequence_ends_at_its_first_end_symbol():
    scores = np.random.default_rng(0).normal(size=(200, TARGETS, CLASSES)).astype(np.float32)
    expected = [_cut(row.argmax(-1)) for row in scores]
    assert any(END in row[:-1] for row in expected) and any(END not in row for row in expected)
    np.testing.assert_array_equal(predicted(jnp.asarray(scores)), expected)
    # For labels of one class the last class is not special.
    np.testing.assert_array_equal(predicted(jnp.asarray(scores[:, 0])), scores[:, 0].argmax(-1))


def test_scores_after_the_end_do_not_change_predictions():
    scores = np.random.default_rng(0).normal(size=(50, TARGETS, CLASSES)).astype(np.float32)
    scores[:, 1, END] = 10.0
    changed = scores.copy()
    changed[:, 2:] = -changed[:, 2:]
    np.testing.assert_array_equal(predicted(jnp.asarray(changed)), predicted(jnp.asarray(scores)))


def test_averages_are_separate_for_each_target_up_to_each_episodes_end():
    logits = np.random.default_rng(0).normal(0, 3, (5, 60, TARGETS, CLASSES))
    probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    for episode in probabilities.reshape(-1, TARGETS, CLASSES):
        ends = [s for s in range(TARGETS) if episode[s].argmax() == END]
        episode[min(ends, default=TARGETS) + 1 :] = 1 / CLASSES
    by_probability, by_log = average_over_episodes(jnp.asarray(logits, jnp.float32))
    for b in range(60):
        means = [probabilities[:, b, s].mean(axis=0).argmax() for s in range(TARGETS)]
        geometric = [np.log(probabilities[:, b, s]).mean(axis=0).argmax() for s in range(TARGETS)]
        assert by_probability[b].tolist() == _cut(means) and by_log[b].tolist() == _cut(geometric)
    assert (np.asarray(by_probability) != np.asarray(by_log)).any()


def test_episodes_do_not_vote_after_their_own_end():
    def beliefs(*symbols, sure=0.95):
        return [[sure if symbol == each else (1 - sure) / 3 for each in range(4)] for symbol in symbols]

    # One reads 1, 2. The other reads 1 only, and would predict 2 after its end, where it was not trained.
    reads_on = [*beliefs(1), *beliefs(2, sure=0.6), *beliefs(3, sure=0.8), *beliefs(0, sure=0.99)]
    ends = [*beliefs(1), *beliefs(3, sure=0.4), *beliefs(2), *beliefs(2)]
    episodes = jnp.log(jnp.array([[reads_on], [ends]], jnp.float32))
    for read in average_over_episodes(episodes):
        assert read.tolist() == [[1, 2, 3, 3]]
    votes = np.exp(log_votes(episodes))
    np.testing.assert_allclose(votes[1, 0, 2:], 0.25)
    np.testing.assert_allclose(votes[:, 0, :2], np.exp(episodes)[:, 0, :2], rtol=1e-5)
    np.testing.assert_allclose(votes[0, 0, 3], 0.25)


def test_an_average_ends_no_later_than_its_longest_episode():
    logits = np.random.default_rng(5).normal(0, 2, (3, 500, 6, 4)).astype(np.float32)
    lengths = (np.asarray(predicted(jnp.asarray(logits.reshape(-1, 6, 4)))) != 3).sum(-1).reshape(3, 500)
    for read in average_over_episodes(jnp.asarray(logits)):
        assert ((np.asarray(read) != 3).sum(-1) <= lengths.max(axis=0)).all()


def test_errors_of_sequences_equal_loops():
    labels, predictions = _sequences(203), _read(203)
    symbols, ends, lengths = [], [], {}
    for label, prediction in zip(labels.tolist(), predictions.tolist(), strict=True):
        length = label.index(END) if END in label else TARGETS
        guessed = prediction.index(END) if END in prediction else TARGETS
        symbols += [label[place] != prediction[place] for place in range(length)]
        ends.append(length != guessed)
        lengths.setdefault(str(length), []).append(label != prediction)
    whole = sum(lengths.values(), [])
    errors = sequence_errors(predictions, labels, END)
    expected = {"symbol": symbols, "end": ends}
    assert tuple(errors) == ("symbol", "end", "by_length") and list(errors["by_length"]) == sorted(lengths)
    pairs = [(errors[name], wrong) for name, wrong in expected.items()]
    pairs += [(errors["by_length"][length], wrong) for length, wrong in lengths.items()]
    pairs.append((error_interval(predictions, labels), whole))
    for entry, wrong in pairs:
        low, high = _wilson(sum(wrong), len(wrong))
        assert 0 < sum(wrong) < len(wrong) and entry["n"] == len(wrong)
        assert entry["error"] == pytest.approx(100 * sum(wrong) / len(wrong))
        assert entry["low"] == pytest.approx(low, abs=1e-6) and entry["high"] == pytest.approx(high, abs=1e-6)


def test_errors_of_sequences_by_hand():
    labels = np.array([[0, 1, END, END], [2, 2, 2, END], [1, END, END, END], [0, 1, 2, 0]])
    # Right; one symbol wrong; too long; too short.
    predictions = np.array([[0, 1, END, END], [2, 0, 2, END], [1, 1, END, END], [0, 1, 2, END]])
    errors = sequence_errors(predictions, labels, END)
    assert error_interval(predictions, labels)["error"] == 75
    assert (errors["symbol"]["error"], errors["symbol"]["n"]) == (20, 2 + 3 + 1 + 4)
    assert (errors["end"]["error"], errors["end"]["n"]) == (50, 4)
    by_length = {length: (entry["error"], entry["n"]) for length, entry in errors["by_length"].items()}
    assert by_length == {"1": (100, 1), "2": (0, 1), "3": (100, 1), "4": (100, 1)}


def test_sequence_errors_do_not_depend_on_order_or_names_of_symbols():
    labels, predictions = _sequences(60), _read(60)
    errors = sequence_errors(predictions, labels, END)
    order, names = np.random.default_rng(3).permutation(60), np.array([2, 0, 1, END])
    assert sequence_errors(predictions[order], labels[order], END) == errors
    assert sequence_errors(names[predictions], names[labels], END) == errors
    # More room for longer sequences changes nothing.
    wider = [np.pad(part, ((0, 0), (0, 2)), constant_values=END) for part in (predictions, labels)]
    assert sequence_errors(*wider, END) == errors
    perfect = sequence_errors(labels, labels, END)
    assert perfect["symbol"]["error"] == perfect["end"]["error"] == 0
    assert {entry["error"] for entry in perfect["by_length"].values()} == {0}


def test_symbol_errors_are_absent_if_no_label_has_symbols():
    labels = np.full((3, 2), END)
    errors = sequence_errors(np.array([[END, END], [0, END], [0, 1]]), labels, END)
    assert "symbol" not in errors and errors["end"]["n"] == 3 and errors["by_length"]["0"]["n"] == 3


def test_summaries_of_sequences_include_detailed_errors():
    labels, predictions = _sequences(20), _read(20)
    summary = summarise(Predictions(predictions, labels, predictions, predictions), labels, END)
    assert tuple(summary) == Predictions._fields
    for name, entry in summary.items():
        guesses = labels if name == "sampled" else predictions
        assert entry == error_interval(guesses, labels) | sequence_errors(guesses, labels, END)


def test_the_predictor_predicts_sequences():
    def predict(params, key, images, kind):
        # The first two pixels as a sequence, and then the end; with noise unless greedy.
        symbols = jnp.concatenate([images[:, 0, :2, 0], jnp.full((len(images), 1), END)], axis=1)
        certain = params * jax.nn.one_hot(symbols, CLASSES)
        noise = jax.random.normal(key, certain.shape)
        return certain if kind == "greedy" else certain + noise

    truth = np.array([_cut([*image[0, :2, 0], END]) for image in IMAGES])
    predictions = make_predictor(predict, num_episodes=100, batch_size=16)(jnp.float32(1.0), KEY, IMAGES)
    assert all(getattr(predictions, name).shape == (50, 3) for name in Predictions._fields)
    np.testing.assert_array_equal(predictions.greedy, truth)
    errors = {name: entry["error"] for name, entry in summarise(predictions, truth, END).items()}
    assert errors["sampled"] > 50
    assert errors["average_probability"] <= 4 and errors["average_log_probability"] <= 4
