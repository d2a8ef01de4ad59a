"""Evaluation on a fixed split: greedy, one sampled episode, and Monte Carlo averages, with confidence intervals."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy
from jaxtyping import Array, Float, Int, Key, PyTree, UInt8

from common.symbols import within

# An array on the device or on the host.
AnyArray = Array | np.ndarray


class Predictions(NamedTuple):
    """Predictions for N images by each read-out: classes ``[N]``, or sequences of S symbols ``[N, S]``.

    Attributes:
      greedy: from the episode at the modes of the location policy.
      sampled: from the first sampled episode.
      average_probability: by the highest mean probability over the sampled episodes.
      average_log_probability: by the highest mean log-probability over them, for each target separately (Ba et al.
        2014, section 3).
    """

    greedy: Int[AnyArray, " N *S"]
    sampled: Int[AnyArray, " N *S"]
    average_probability: Int[AnyArray, " N *S"]
    average_log_probability: Int[AnyArray, " N *S"]


def predicted(scores: Float[Array, "B *S num_classes"]) -> Int[Array, " B *S"]:
    """Return the class with the highest score, or the symbols of a sequence, with only end symbols after the first.

    The end symbol is the last class.
    """
    best, num_classes = scores.argmax(-1), scores.shape[-1]
    return best if scores.ndim == 2 else jnp.where(within(best, num_classes), best, num_classes - 1)


def log_votes(logits: Float[Array, "M B *S num_classes"]) -> Float[Array, "M B *S num_classes"]:
    """Compute log-probabilities of M episodes, uniform after the first end symbol that an episode predicts.

    Agents learn nothing about symbols after the end, so an episode's predictions there must not count in an average. An
    average ends no later than the longest of its episodes.
    """
    log_probs = jax.nn.log_softmax(logits)
    if logits.ndim == 3:
        return log_probs
    num_classes = logits.shape[-1]
    return jnp.where(within(log_probs.argmax(-1), num_classes)[..., None], log_probs, -jnp.log(num_classes))


def average_over_episodes(
    logits: Float[Array, "M B *S num_classes"],
) -> tuple[Int[Array, " B *S"], Int[Array, " B *S"]]:
    """Return the predictions by the highest mean probability and by the highest mean log-probability of M episodes."""
    votes = log_votes(logits)
    return predicted(jnp.exp(votes).mean(axis=0)), predicted(votes.mean(axis=0))


def over_batches(
    function: Callable[[Key[Array, ""], Array], PyTree], key: Key[Array, ""], images: AnyArray, batch_size: int
) -> PyTree:
    """Apply ``(key, images [B, ...]) -> tree of [B, ...]`` to any number of images, in batches of one size.

    The last batch is padded with copies of its first image, which are dropped from the result.

    Returns:
      The tree with NumPy leaves ``[N, ...]``.
    """
    results = []
    for index, start in enumerate(range(0, len(images), batch_size)):
        batch = np.asarray(images[start : start + batch_size])
        missing = batch_size - len(batch)
        if missing:
            batch = np.concatenate([batch, np.repeat(batch[:1], missing, axis=0)])
        result = function(jax.random.fold_in(key, index), jnp.asarray(batch))
        results.append(jax.tree.map(lambda x, keep=batch_size - missing: np.asarray(x)[:keep], result))
    return jax.tree.map(lambda *batches: np.concatenate(batches), *results)


def make_predictor(predict: Callable[..., Array], num_episodes: int, batch_size: int) -> Callable[..., Predictions]:
    """Make the evaluation by all read-outs, whose batches run as compiled calls.

    Args:
      predict: the model's logits, see `common.training.step.Model`.
      num_episodes: sampled episodes to average over; 0 for a model that samples nothing, which has one forward pass.
      batch_size: images in one compiled call.

    Returns:
      ``(params, key, images [N, H, W, C]) -> Predictions``. The model's hyperparameters may follow as a last argument;
      they replace the configured ones.
    """

    def combine(greedy: Array, sampled: Array) -> Predictions:
        return Predictions(predicted(greedy), predicted(sampled[0]), *average_over_episodes(sampled))

    return _over_episodes(combine, predict, num_episodes, batch_size)


class Scores(NamedTuple):
    """Log-probabilities of the classes, or of each symbol, for N images by the read-outs of `Predictions`."""

    greedy: Float[AnyArray, "N *S num_classes"]
    sampled: Float[AnyArray, "N *S num_classes"]
    average_probability: Float[AnyArray, "N *S num_classes"]
    average_log_probability: Float[AnyArray, "N *S num_classes"]


def make_scorer(predict: Callable[..., Array], num_episodes: int, batch_size: int) -> Callable[..., Scores]:
    """Make the evaluation of log-probabilities, by which the predictions of several models can be combined.

    Args:
      predict: the model's logits, see `common.training.step.Model`.
      num_episodes: sampled episodes to average over.
      batch_size: images in one compiled call.

    Returns:
      ``(params, key, images [N, H, W, C]) -> Scores``, from the same episodes as `make_predictor`, each up to its end
      symbol (`log_votes`). The mean of log-probabilities is not normalised.
    """

    def combine(greedy: Array, sampled: Array) -> Scores:
        votes = log_votes(sampled)
        mean = jax.nn.logsumexp(votes, axis=0) - jnp.log(num_episodes)
        return Scores(log_votes(greedy[None])[0], votes[0], mean, votes.mean(axis=0))

    return _over_episodes(combine, predict, num_episodes, batch_size)


def _over_episodes(
    combine: Callable[[Array, Array], PyTree], predict: Callable[..., Array], num_episodes: int, batch_size: int
) -> Callable[..., Any]:
    """Make a function that plays the episodes of a split and applies ``combine(greedy logits, sampled logits)``."""

    @jax.jit
    def evaluate_batch(params: PyTree, key: Key[Array, ""], images: Array, hyper: tuple[PyTree, ...]) -> PyTree:
        *_, greedy_key = keys = jax.random.split(key, num_episodes + 1)
        greedy = predict(params, greedy_key, images, "greedy", *hyper)
        if not num_episodes:
            return combine(greedy, greedy[None])
        # One episode at a time, so that memory does not grow with their number.
        sampled = jax.lax.map(lambda k: predict(params, k, images, "sampled", *hyper), keys[:-1])
        return combine(greedy, sampled)

    def evaluate(params: PyTree, key: Key[Array, ""], images: UInt8[AnyArray, "N H W C"], *hyper: PyTree) -> PyTree:
        size = min(batch_size, len(images))
        return over_batches(lambda k, batch: evaluate_batch(params, k, batch, hyper), key, images, size)

    return evaluate


def error_interval(predictions: Int[AnyArray, " N *S"], labels: Int[AnyArray, " N *S"]) -> dict[str, Any]:
    """Return the error in per cent with its 95% Wilson interval; for sequences the whole-sequence error.

    Returns:
      ``{error, low, high, n}``.
    """
    wrong = np.asarray(predictions != labels)
    return interval(int(wrong.reshape(len(wrong), -1).any(axis=1).sum()), len(wrong))


def interval(wrong: int, total: int) -> dict[str, Any]:
    """Return a fraction in per cent with its 95% Wilson interval: ``{error, low, high, n}``."""
    limits = scipy.stats.binomtest(wrong, total).proportion_ci(0.95, method="wilson")
    return {"error": 100 * wrong / total, "low": 100 * limits.low, "high": 100 * limits.high, "n": total}


def sequence_errors(predictions: Int[AnyArray, "N S"], labels: Int[AnyArray, "N S"], end: int) -> dict[str, Any]:
    """Compute detailed errors of sequences, each ``{error, low, high, n}``.

    Args:
      predictions: predicted symbols, padded with end symbols.
      labels: true symbols, padded with end symbols.
      end: the end symbol.

    Returns:
      ``symbol``: the error of symbols before the end of the labels, absent if there are none. ``end``: the fraction
      of sequences that are predicted too long or too short. ``by_length``: whole-sequence errors by the number of
      symbols.
    """
    predictions, labels = np.asarray(predictions), np.asarray(labels)
    inside = labels != end
    lengths, predicted_lengths = inside.sum(axis=1), (predictions != end).sum(axis=1)
    wrong = (predictions != labels).any(axis=1)
    by_length = {
        str(n): interval(int(wrong[lengths == n].sum()), int((lengths == n).sum())) for n in np.unique(lengths)
    }
    symbols = int(inside.sum())
    return {
        **({"symbol": interval(int((predictions != labels)[inside].sum()), symbols)} if symbols else {}),
        "end": interval(int((lengths != predicted_lengths).sum()), len(labels)),
        "by_length": by_length,
    }


def summarise(
    predictions: Predictions, labels: Int[AnyArray, " N *S"], end: int | None = None
) -> dict[str, dict[str, Any]]:
    """Return `error_interval` of each read-out, for sequences with `sequence_errors`; ``end`` is their end symbol."""
    summary = {name: error_interval(each, labels) for name, each in predictions._asdict().items()}
    if end is not None:
        for name, each in predictions._asdict().items():
            summary[name] |= sequence_errors(each, labels, end)
    return summary
