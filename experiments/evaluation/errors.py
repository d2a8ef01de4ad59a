"""Error rates of a model on the fixed validation and test splits."""

from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import PyTree

from common.data import Dataset
from common.training.evaluation import Predictions, summarise
from common.training.step import Model

# Evaluations draw from keys of their own, so that the number of validations does not change what a run learns.
VALIDATION_SEED, TEST_SEED = 1_000_003, 1_000_033
SPLIT_SEEDS = {"validation": VALIDATION_SEED, "test": TEST_SEED}


def validation_errors(
    model: Model, predict: Callable[..., Predictions], params: PyTree, dataset: Dataset
) -> dict[str, float]:
    """Return the validation errors in per cent; the one that selects parameters is the mean of sampled episodes."""
    split = dataset.validation
    errors = summarise(predict(params, jax.random.key(VALIDATION_SEED), split.images), split.labels, dataset.end_symbol)
    record = {"validation_error": errors["average_probability"]["error"]}
    if model.stochastic:
        record["validation_greedy_error"] = errors["greedy"]["error"]
        record["validation_sampled_error"] = errors["sampled"]["error"]
    return record


def evaluate(
    model: Model, predict: Callable[..., Predictions], params: PyTree, dataset: Dataset
) -> dict[str, dict[str, dict[str, Any]]]:
    """Measure errors on the validation and the test split: ``{split: {read-out: {error, low, high, n}}}``.

    Args:
      model: one without random episodes has the read-out ``greedy`` alone.
      predict: ``(params, key, images) -> Predictions``.
      params: of the model.
      dataset: the images.
    """
    results = {}
    for name, seed in SPLIT_SEEDS.items():
        split = getattr(dataset, name)
        errors = summarise(predict(params, jax.random.key(seed), split.images), split.labels, dataset.end_symbol)
        results[name] = errors if model.stochastic else {"greedy": errors["greedy"]}
    return results
