"""Evaluation on a fixed split: greedy, one sampled episode, and Monte Carlo averages, with confidence intervals."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats
from jaxtyping import Array, Float, Int, Key, PyTree, UInt8

# Images and labels may lie on the host or on the device.
AnyArray = Array | np.ndarray

METHODS = ("greedy", "sampled", "average_probability", "average_log_probability")


class Predictions(NamedTuple):
    """Predicted classes of N images by each method.

    Attributes:
      greedy: episode that follows the mean locations, ``[N]``.
      sampled: the first sampled episode, ``[N]``.
      average_probability: highest mean probability over the sampled episodes, ``[N]``.
      average_log_probability: highest mean log-probability over them (Ba et al. 2014, section 3), ``[N]``.
    """

    greedy: Int[AnyArray, "N"]
    sampled: Int[AnyArray, "N"]
    average_probability: Int[AnyArray, "N"]
    average_log_probability: Int[AnyArray, "N"]


def average_over_episodes(
    logits: Float[Array, "M B num_classes"],
) -> tuple[Int[Array, "B"], Int[Array, "B"]]:
    """Classes of the highest mean probability, and of the highest mean log-probability, over M episodes."""
    log_probs = jax.nn.log_softmax(logits)
    return jnp.exp(log_probs).mean(axis=0).argmax(-1), log_probs.mean(axis=0).argmax(-1)


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
      predict: the model's logits, see `common.training.Model`.
      num_episodes: sampled episodes to average over.
      batch_size: images in one compiled call.

    Returns:
      ``(params, key, images [N, H, W, C]) -> Predictions``; after them the model's hyperparameters may be given, in
      place of the configured ones.
    """

    @jax.jit
    def of_batch(params: PyTree, key: Key[Array, ""], images: Array, hyper: tuple[PyTree, ...]) -> Predictions:
        *_, greedy_key = keys = jax.random.split(key, num_episodes + 1)
        greedy = predict(params, greedy_key, images, "greedy", *hyper).argmax(-1)
        # One episode at a time bounds the memory whatever their number.
        logits = jax.lax.map(lambda k: predict(params, k, images, "sampled", *hyper), keys[:-1])
        return Predictions(greedy, logits[0].argmax(-1), *average_over_episodes(logits))

    def of_split(
        params: PyTree, key: Key[Array, ""], images: UInt8[AnyArray, "N H W C"], *hyper: PyTree
    ) -> Predictions:
        size = min(batch_size, len(images))
        return over_batches(lambda k, batch: of_batch(params, k, batch, hyper), key, images, size)

    return of_split


def error_interval(predictions: Int[AnyArray, "N"], labels: Int[AnyArray, "N"]) -> dict[str, Any]:
    """Error in per cent with its 95% Wilson interval: ``{error, low, high, n}``."""
    wrong, total = int(np.sum(predictions != labels)), len(labels)
    interval = scipy.stats.binomtest(wrong, total).proportion_ci(0.95, method="wilson")
    return {"error": 100 * wrong / total, "low": 100 * interval.low, "high": 100 * interval.high, "n": total}


def summarise(predictions: Predictions, labels: Int[AnyArray, "N"]) -> dict[str, dict[str, Any]]:
    """`error_interval` of each method."""
    return {name: error_interval(getattr(predictions, name), labels) for name in METHODS}
