"""The hybrid loss of sequences: against loops, by hand, and blind to what comes after the end."""

import functools
import itertools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common.attention.config import LossConfig
from common.attention.objective import hybrid_loss, make_weights
from common.attention.sequences import Sequence
from common.policy_gradient import REWARDS, EstimatorConfig, PlayedEpisodes, make_estimator, policy_loss
from common.policy_gradient.episode import Episode

GLIMPSES, TARGETS, REPLICATES, BATCH, CLASSES = 2, 3, 2, 12, 4
STEPS, END = GLIMPSES * TARGETS, CLASSES - 1
STOPPING, GOING = Sequence(GLIMPSES), Sequence(GLIMPSES, stop_at_wrong=False)
WEIGHTS = make_weights(LossConfig(0.7, policy_weight=0.3, value_weight=2.0, entropy_weight=0.11))


def _labels():
    labels = np.random.default_rng(0).integers(0, END, (BATCH, TARGETS))
    lengths = np.arange(BATCH) % (TARGETS + 1)
    return np.where(np.arange(TARGETS) < lengths[:, None], labels, END).astype(np.int32)


LABELS = _labels()


def _episode(seed=1, steps=STEPS, labels=LABELS):
    """A made-up episode, which reads the first targets mostly right."""
    rng = np.random.default_rng(seed)

    def draw(*shape):
        return rng.normal(size=(steps, REPLICATES, BATCH, *shape)).astype(np.float32)

    logits = draw(CLASSES)
    for s, m, b in itertools.product(range(labels.shape[1]), range(REPLICATES), range(BATCH)):
        if rng.uniform() < 0.7:
            logits[(s + 1) * (steps // labels.shape[1]) - 1, m, b, labels[b, s]] = 3.0
    fields = (draw(2), draw(2), draw(2), draw(2), draw(), draw(), draw(), logits)
    return Episode(*map(jnp.asarray, fields))


@functools.cache
def _compiled(sequence, classify_at, weights, first_drawn, label_smoothing, config):
    estimator = make_estimator(EstimatorConfig(**{"reward": "gain", "discount": 0.5} | dict(config)))
    if sequence is not None:
        estimator = estimator._replace(reward=sequence.reward(estimator.reward))

    def loss(episode, labels, played):
        state = estimator.init_state(len(episode.logits))
        inputs = {"estimator_state": state, "played": played, "sequence": sequence, "first_drawn": first_drawn}
        settings = LossConfig(classify_at=classify_at, label_smoothing=label_smoothing)
        return hybrid_loss(settings, weights, estimator, episode, labels, **inputs)

    return jax.jit(jax.value_and_grad(loss, has_aux=True))


def _loss(
    episode,
    labels=LABELS,
    sequence=STOPPING,
    classify_at="every",
    weights=WEIGHTS,
    first_drawn=0,
    played=None,
    label_smoothing=0.0,
    **config,
):
    """The loss with its metrics, and its gradient in every field of the episode."""
    compiled = _compiled(sequence, classify_at, weights, first_drawn, label_smoothing, tuple(sorted(config.items())))
    return compiled(jax.tree.map(jnp.asarray, episode), jnp.asarray(labels), played)


def _by_loops(episode, labels, stop, classify_at, first_drawn, smoothing, discount=0.5):
    """Every term, one replicate of one image after the other."""
    sums = dict.fromkeys(("classification_loss", "policy_loss", "entropy", "reward", "accuracy"), 0.0)
    squares, parts = [], {name: np.asarray(value, np.float64) for name, value in episode._asdict().items()}
    for m, b in itertools.product(range(REPLICATES), range(BATCH)):
        logits = parts["logits"][:, m, b]
        beliefs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        rewards, counted, right = np.zeros(STEPS), [], True
        for target, label in enumerate(labels[b]):
            times = list(range(target * GLIMPSES, (target + 1) * GLIMPSES))
            losses = [-(1 - smoothing) * beliefs[t, label] - smoothing * beliefs[t].mean() for t in times]
            sums["classification_loss"] += losses[-1] if classify_at == "last" else np.mean(losses)
            rewards[times] = np.diff(beliefs[times, label], prepend=-np.log(CLASSES))
            counted += times
            right = right and logits[times[-1]].argmax() == label
            if label == END or (stop and not right):
                break
        sums["reward"] += rewards.sum()
        sums["accuracy"] += right
        for t in counted:
            sums["entropy"] += parts["entropies"][t, m, b]
            error = sum(discount ** (k - t) * rewards[k] for k in range(t, STEPS)) - parts["values"][t, m, b]
            sums["policy_loss"] -= parts["log_probs"][t, m, b] * error
            if t >= first_drawn:
                squares.append(error**2)
    terms = {name: value / (REPLICATES * BATCH) for name, value in sums.items()} | {"value_loss": np.mean(squares)}
    signed = {"classification": 1, "policy": 1, "value": 1, "entropy": -1}
    values = {name: terms[name if name == "entropy" else f"{name}_loss"] for name in signed}
    return terms | {"loss": sum(getattr(WEIGHTS, name) * sign * values[name] for name, sign in signed.items())}


@pytest.mark.parametrize(("classify_at", "first_drawn", "smoothing"), [("every", 0, 0.0), ("last", 1, 0.2)])
@pytest.mark.parametrize("sequence", [STOPPING, GOING], ids=["stopping", "going"])
def test_every_term_equals_loops(sequence, classify_at, first_drawn, smoothing):
    episode, settings = _episode(), {"first_drawn": first_drawn, "label_smoothing": smoothing}
    (loss, (metrics, _)), _ = _loss(episode, LABELS, sequence, classify_at, **settings)
    expected = _by_loops(episode, LABELS, sequence.stop_at_wrong, classify_at, first_drawn, smoothing)
    assert 0 < expected["accuracy"] < 1 and metrics.keys() == expected.keys()
    for name, value in expected.items():
        assert float(metrics[name]) == pytest.approx(float(value), rel=1e-4, abs=1e-6), name
    assert float(loss) == float(metrics["loss"])


def _of_one(logits, log_probs, baselines):
    """An episode of one image and one replicate."""
    each = np.asarray(log_probs, np.float32)[:, None, None]
    place = np.zeros((*each.shape, 2), np.float32)
    fields = (place, place, place, place, each, each, np.asarray(baselines, np.float32)[:, None, None], logits)
    return Episode(*map(jnp.asarray, fields))


def test_a_sequence_by_hand():
    # Symbols 0 and 1, and the end 2; a glimpse a target.
    beliefs = np.array([[0.5, 0.25, 0.25], [0.1, 0.2, 0.7]], np.float32)
    episode = _of_one(np.log(beliefs)[:, None, None], [-1.0, -2.0], [0.5, 0.25])
    weights = make_weights(LossConfig())

    def terms(labels, first_drawn=0):
        arguments = {"reward": "correct", "discount": 1.0, "weights": weights, "first_drawn": first_drawn}
        metrics = _loss(episode, np.array([labels]), Sequence(1), **arguments)[0][1][0]
        names = ("classification_loss", "reward", "policy_loss", "value_loss", "entropy", "accuracy")
        return [pytest.approx(float(metrics[name]), rel=1e-5) for name in names]

    # Both read right: returns 2 and 1, so advantages 1.5 and 0.75.
    assert terms([0, 2]) == [np.log(2) - np.log(0.7), 2, 1 * 1.5 + 2 * 0.75, (1.5**2 + 0.75**2) / 2, -3, 1]
    assert terms([0, 2], first_drawn=1)[3] == 0.75**2
    # The first is read wrong, and nothing after it counts, though it is read right.
    assert terms([1, 2]) == [np.log(4), 0, -0.5, 0.25, -1, 0]
    # The end comes at once; it is read wrong, and after it nothing counts anyway.
    assert terms([2, 2]) == [np.log(4), 0, -0.5, 0.25, -1, 0]


@pytest.mark.parametrize(("classify_at", "reward"), [*(("every", name) for name in REWARDS), ("last", "gain")])
def test_a_sequence_of_one_target_is_a_class(classify_at, reward):
    # None of the labels is the end symbol, so that the loss knows of none.
    episode, labels = _episode(steps=4, labels=LABELS[:, :1]), (np.arange(BATCH) % END).astype(np.int32)
    as_class = _loss(episode, labels, None, classify_at, reward=reward)
    as_sequence = _loss(episode, labels[:, None], Sequence(4), classify_at, reward=reward)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), as_sequence, as_class)


# What is not counted changes nothing.


def _blind(labels, counted, seed=9):
    """Another episode and other labels, that differ where nothing counts alone."""
    episode, other, rng = _episode(), _episode(seed), np.random.default_rng(seed)
    mixed = jax.tree.map(
        lambda one, two: np.where(counted.reshape(*counted.shape, *[1] * (one.ndim - 3)) > 0, one, two), episode, other
    )
    after = np.cumsum(labels == END, axis=1) - (labels == END) > 0
    return mixed, np.where(after, rng.integers(0, CLASSES, labels.shape), labels).astype(np.int32)


CONFIGS = {
    "learned_baseline": {"advantage": "learned_baseline", "classify_at": "last"},
    "moving_average": {"advantage": "moving_average", "reward": "correct"},
    "leave_one_out": {"advantage": "leave_one_out"},
    "gae": {"advantage": "gae"},
    "vimco": {"advantage": "vimco", "surrogate": "multi_sample", "reward": "log_probability", "discount": 1.0},
    "normalised": {"normalise_advantages": True, "surrogate": "ppo_clip"},
}


@pytest.mark.parametrize("sequence", [STOPPING, GOING], ids=["stopping", "going"])
def test_glimpses_that_do_not_count_change_nothing(sequence):
    episode = _episode()
    counted = np.asarray(sequence.counted(episode.logits, jnp.asarray(LABELS)))
    other, labels = _blind(LABELS, counted)
    assert 0 < counted.mean() < 0.8 and (labels != LABELS).any()
    for name, config in CONFIGS.items() if sequence.stop_at_wrong else [("gae", CONFIGS["gae"])]:
        before, gradient = _loss(episode, LABELS, sequence, **config)
        after, moved = _loss(other, labels, sequence, **config)
        np.testing.assert_allclose(after[0], before[0], rtol=1e-5, err_msg=name)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), after[1], before[1])
        for field in Episode._fields:
            one, two = np.asarray(getattr(gradient, field)), np.asarray(getattr(moved, field))
            np.testing.assert_allclose(two, one, rtol=1e-4, atol=1e-6, err_msg=f"{name} {field}")
            np.testing.assert_array_equal(one[counted == 0], 0, err_msg=f"{name} {field}")
        assert all(np.any(getattr(gradient, field)) for field in ("logits", "log_probs", "values", "entropies"))


def test_glimpses_that_count_have_gradients():
    # The test above would pass of a loss that looks at nothing.
    episode = _episode()
    counted = np.asarray(STOPPING.counted(episode.logits, jnp.asarray(LABELS)))
    _, gradient = _loss(episode)
    for field in ("logits", "log_probs", "values", "entropies"):
        assert np.asarray(getattr(gradient, field))[counted > 0].all()


def _policy(config, sequence, episode, labels=LABELS, firsts=(0,)):
    """Return which glimpses count, and the policy loss for each of these first learned glimpses."""
    estimator, labels = make_estimator(config), jnp.asarray(labels)
    estimator = estimator._replace(reward=sequence.reward(estimator.reward))

    @jax.jit
    def compute(episode):
        counted = sequence.counted(episode.logits, labels)
        loss = functools.partial(policy_loss, estimator, episode, labels, counted=counted)
        return counted, [loss(first_drawn=first) for first in firsts]

    counted, found = compute(episode)
    return np.asarray(counted), found


def test_only_counted_advantages_are_normalised():
    firsts, config = (0, 1, 2), EstimatorConfig("gain", "plain_return")
    counted, plain = _policy(config, STOPPING, _episode(), firsts=firsts)
    _, normalised = _policy(replace(config, normalise_advantages=True), STOPPING, _episode(), firsts=firsts)
    for first, before, after in zip(firsts, plain, normalised, strict=True):
        before, after = np.asarray(before.advantages), np.asarray(after.advantages)
        learned = (counted > 0) & (np.arange(STEPS)[:, None, None] >= first)
        mean, deviation = before[learned].mean(), before[learned].std()
        np.testing.assert_allclose(after[learned], (before[learned] - mean) / deviation, rtol=1e-3, atol=1e-4)
        np.testing.assert_array_equal(after[counted == 0], 0)


def _entropy_like(log_probs, behaviour_log_probs, advantages):
    """A surrogate with a gradient at advantage 0."""
    return (log_probs * jnp.exp(advantages)).sum(axis=0).mean()


def _imitate(log_probs, behaviour_log_probs, advantages, *, counted):
    return -(jnp.exp(advantages) * counted * log_probs).sum(axis=0).mean()


@pytest.mark.parametrize("updates", ["first", "later"])
@pytest.mark.parametrize("surrogate", [_entropy_like, _imitate])
def test_a_surrogate_learns_nothing_from_glimpses_that_do_not_count_even_with_a_gradient_at_advantage_zero(
    surrogate, updates
):
    episode, labels = jax.tree.map(jnp.asarray, _episode()), jnp.asarray(LABELS)
    counted = STOPPING.counted(episode.logits, labels)
    estimator = make_estimator(EstimatorConfig("gain", "plain_return"))._replace(surrogate=surrogate)
    estimator = estimator._replace(reward=STOPPING.reward(estimator.reward))
    first = policy_loss(estimator, episode, labels, counted=counted)
    fields = (episode.samples, episode.log_probs, first.rewards, first.advantages, counted)
    played = PlayedEpisodes(*fields) if updates == "later" else None

    def loss(log_probs):
        moved = episode._replace(log_probs=log_probs)
        return policy_loss(estimator, moved, labels, played=played, counted=counted).loss

    gradient, counted = np.asarray(jax.grad(loss)(episode.log_probs)), np.asarray(counted)
    np.testing.assert_array_equal(gradient[counted == 0], 0)
    learned = (counted > 0) & (np.arange(STEPS)[:, None, None] >= 1)
    assert gradient[learned].all()
    if surrogate is _imitate:  # It is told that the policy does not draw the first location.
        np.testing.assert_array_equal(gradient[0], 0)


def test_later_updates_count_the_same_glimpses_as_the_first():
    episode, labels = _episode(), jnp.asarray(LABELS)
    config = EstimatorConfig("gain", surrogate="ppo_clip", discount=0.5)
    counted, (found,) = _policy(config, STOPPING, episode)
    played = PlayedEpisodes(episode.samples, episode.log_probs, found.rewards, found.advantages, jnp.asarray(counted))
    # By now all of it is read right, and the locations have other probabilities where nothing counted.
    right = jnp.repeat(10 * jax.nn.one_hot(labels.T[:, None], CLASSES), GLIMPSES, axis=0)
    moved = jnp.where(counted > 0, episode.log_probs, episode.log_probs + 1)
    later = episode._replace(logits=jnp.broadcast_to(right, episode.logits.shape), log_probs=moved)
    (_, (metrics, _)), gradient = _loss(later, played=played, surrogate="ppo_clip")
    assert np.asarray(STOPPING.counted(later.logits, labels)).sum() > counted.sum()
    for field in ("logits", "log_probs", "values", "entropies"):
        np.testing.assert_array_equal(np.asarray(getattr(gradient, field))[counted == 0], 0)
    assert float(metrics["kl"]) == 0 and float(metrics["accuracy"]) == 1


def test_a_generalised_advantage_expects_nothing_after_the_end():
    # One target that is read wrong, and a large baseline where nothing counts: the return is 0 from the second glimpse.
    logits = np.zeros((4, 1, 1, 3), np.float32)
    logits[:, ..., 1] = 5.0
    episode, config = _of_one(logits, [0.0] * 4, [0.0, 0.5, 100.0, 100.0]), EstimatorConfig("correct", "gae")
    counted, (found,) = _policy(replace(config, gae_lambda=0.5), Sequence(2), episode, [[0, 2]])
    np.testing.assert_array_equal(counted[:, 0, 0], [1, 1, 0, 0])
    np.testing.assert_allclose(found.advantages[:, 0, 0], [0.5 + 0.5 * -0.5, -0.5, 0, 0], atol=1e-6)


def test_finite_at_the_extremes():
    for scale in (0.0, 1e4):
        episode = jax.tree.map(lambda leaf, scale=scale: scale * leaf, _episode())
        for config in (CONFIGS["normalised"], CONFIGS["gae"]):
            results = _loss(episode, **config)
            assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(results))
