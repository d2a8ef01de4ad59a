"""Evaluation on a fixed split: greedy, one sampled episode, and Monte Carlo averages, with confidence intervals."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats
from jaxtyping import Array, Float, Int, Key, PyTree, UInt8

from common.attention.sequences import within

# Images and labels may lie on the host or on the device.
AnyArray = Array | np.ndarray

METHODS = ("greedy", "sampled", "average_probability", "average_log_probability")


class Predictions(NamedTuple):
    """Predictions for N images by each method: classes ``[N]``, or sequences of S symbols ``[N, S]``.

    Attributes:
      greedy: episode that follows the mean locations.
      sampled: the first sampled episode.
      average_probability: highest mean probability over the sampled episodes.
      average_log_probability: highest mean log-probability over them, of each target by itself (Ba et al. 2014,
        section 3).
    """

    greedy: Int[AnyArray, " N *S"]
    sampled: Int[AnyArray, " N *S"]
    average_probability: Int[AnyArray, " N *S"]
    average_log_probability: Int[AnyArray, " N *S"]


def predicted(scores: Float[Array, "B *S num_classes"]) -> Int[Array, " B *S"]:
    """The class of the highest score; of a sequence the symbols, all end symbols (the last class) from the first on."""
    best = scores.argmax(-1)
    if scores.ndim == 2:
        return best
    end = scores.shape[-1] - 1
    return jnp.where(jnp.cumsum(best == end, axis=-1) > 0, end, best)


def log_votes(logits: Float[Array, "M B *S num_classes"]) -> Float[Array, "M B *S num_classes"]:
    """Log-probabilities of M episodes, uniform past the first end symbol that an episode itself predicts.

    Nothing is learned about what is past the end, so nothing that an episode would say there counts in an average. An
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
    """Predictions of the highest mean probability, and of the highest mean log-probability, over M episodes."""
    votes = log_votes(logits)
    return predicted(jnp.exp(votes).mean(axis=0)), predicted(votes.mean(axis=0))


def over_batches(
    function: Callable[[Key[Array, ""], Array], PyTree], key: Key[Array, ""], images: AnyArray, batch_size: int
) -> PyTree:
    """Applies ``(key, images [B, ...]) -> tree of [B, ...]`` to any number of images, in batches of one size.

    The last batch is filled up with copies of its first image, which are dropped from the result.

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
    return jax.tree.map(lambda *parts: np.concatenate(parts), *results)


def make_predictor(predict: Callable[..., Array], num_episodes: int, batch_size: int) -> Callable[..., Predictions]:
    """Compiles the evaluation of all methods.

    Args:
      predict: the model's logits, see `common.training.step.Model`.
      num_episodes: sampled episodes to average over; 0 for a model that draws nothing, whose one pass is all there is.
      batch_size: images in one compiled call.

    Returns:
      ``(params, key, images [N, H, W, C]) -> Predictions``; after them the model's hyperparameters may be given, in
      place of the configured ones.
    """

    def of_logits(greedy: Array, sampled: Array) -> Predictions:
        return Predictions(predicted(greedy), predicted(sampled[0]), *average_over_episodes(sampled))

    return _over_episodes(of_logits, predict, num_episodes, batch_size)


class Scores(NamedTuple):
    """Log-probabilities for N images, of classes or of each symbol, by the methods of `Predictions`."""

    greedy: Float[AnyArray, "N *S num_classes"]
    sampled: Float[AnyArray, "N *S num_classes"]
    average_probability: Float[AnyArray, "N *S num_classes"]
    average_log_probability: Float[AnyArray, "N *S num_classes"]


def make_scorer(predict: Callable[..., Array], num_episodes: int, batch_size: int) -> Callable[..., Scores]:
    """`make_predictor` of what the predictions are the highest of: log-probabilities, which models can be combined by.

    Args:
      predict: the model's logits, see `common.training.step.Model`.
      num_episodes: sampled episodes to average over.
      batch_size: images in one compiled call.

    Returns:
      ``(params, key, images [N, H, W, C]) -> Scores``, of the same episodes as those of `make_predictor`, and of each
      up to its end (`log_votes`). The mean of log-probabilities is not normalised.
    """

    def of_logits(greedy: Array, sampled: Array) -> Scores:
        votes = log_votes(sampled)
        mean = jax.nn.logsumexp(votes, axis=0) - jnp.log(num_episodes)
        return Scores(log_votes(greedy[None])[0], votes[0], mean, votes.mean(axis=0))

    return _over_episodes(of_logits, predict, num_episodes, batch_size)


def _over_episodes(
    of_logits: Callable[[Array, Array], PyTree], predict: Callable[..., Array], num_episodes: int, batch_size: int
) -> Callable[..., Any]:
    """Applies ``(greedy logits, sampled logits of num_episodes) -> tree`` to the images of a split."""

    @jax.jit
    def of_batch(params: PyTree, key: Key[Array, ""], images: Array, hyper: tuple[PyTree, ...]) -> PyTree:
        *_, greedy_key = keys = jax.random.split(key, num_episodes + 1)
        greedy = predict(params, greedy_key, images, "greedy", *hyper)
        if not num_episodes:
            return of_logits(greedy, greedy[None])
        # One episode at a time bounds the memory whatever their number.
        sampled = jax.lax.map(lambda k: predict(params, k, images, "sampled", *hyper), keys[:-1])
        return of_logits(greedy, sampled)

    def of_split(params: PyTree, key: Key[Array, ""], images: UInt8[AnyArray, "N H W C"], *hyper: PyTree) -> PyTree:
        size = min(batch_size, len(images))
        return over_batches(lambda k, batch: of_batch(params, k, batch, hyper), key, images, size)

    return of_split


def error_interval(predictions: Int[AnyArray, " N *S"], labels: Int[AnyArray, " N *S"]) -> dict[str, Any]:
    """Error in per cent with its 95% Wilson interval: ``{error, low, high, n}``; of sequences that of whole ones."""
    wrong = np.asarray(predictions != labels)
    return interval(int(wrong.reshape(len(wrong), -1).any(axis=1).sum()), len(wrong))


def interval(wrong: int, total: int) -> dict[str, Any]:
    """A share in per cent with its 95% Wilson interval: ``{error, low, high, n}``."""
    found = scipy.stats.binomtest(wrong, total).proportion_ci(0.95, method="wilson")
    return {"error": 100 * wrong / total, "low": 100 * found.low, "high": 100 * found.high, "n": total}


def sequence_errors(predictions: Int[AnyArray, "N S"], labels: Int[AnyArray, "N S"], end: int) -> dict[str, Any]:
    """Errors of sequences in detail, each ``{error, low, high, n}``.

    Args:
      predictions: symbols, end symbols from the first on.
      labels: likewise.
      end: the end symbol.

    Returns:
      ``symbol``: of the symbols before the end of the labels, if there are any, those predicted otherwise at their
      place. ``end``: of the sequences, those predicted too long or too short. ``by_length``: whole-sequence errors by
      the number of symbols.
    """
    predictions, labels = np.asarray(predictions), np.asarray(labels)
    inside = labels != end
    lengths, guessed = inside.sum(axis=1), (predictions != end).sum(axis=1)
    wrong = (predictions != labels).any(axis=1)
    by_length = {
        str(n): interval(int(wrong[lengths == n].sum()), int((lengths == n).sum())) for n in np.unique(lengths)
    }
    symbols = int(inside.sum())
    return {
        **({"symbol": interval(int((predictions != labels)[inside].sum()), symbols)} if symbols else {}),
        "end": interval(int((lengths != guessed).sum()), len(labels)),
        "by_length": by_length,
    }


def summarise(
    predictions: Predictions, labels: Int[AnyArray, " N *S"], end: int | None = None
) -> dict[str, dict[str, Any]]:
    """`error_interval` of each method; of sequences, with the end symbol, together with `sequence_errors`."""
    summary = {name: error_interval(getattr(predictions, name), labels) for name in METHODS}
    if end is not None:
        for name in METHODS:
            summary[name] |= sequence_errors(getattr(predictions, name), labels, end)
    return summary
