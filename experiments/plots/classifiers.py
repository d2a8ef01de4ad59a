"""Figures that every network has: learning curves, confusions and errors by length."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from common.data import Dataset
from common.symbols import within
from common.training.evaluation import make_predictor, sequence_errors
from common.training.step import Model
from experiments.evaluation.errors import TEST_SEED
from experiments.plots.confusions import confusion_matrix
from experiments.plots.curves import learning_curves
from experiments.plots.errors import error_by_length
from experiments.plots.pictures import Drawing, draw_pictures
from experiments.training.metrics_file import read_metrics


def symbol_drawings(symbols: np.ndarray, labels: np.ndarray, names: tuple[str, ...], path: str) -> dict[str, Drawing]:
    """Return drawings of predictions `[N, S]` against labels `[N, S]`: by symbol up to the true end, and by length."""
    counted = np.asarray(within(jnp.asarray(labels), len(names)))
    return {
        "confusion.png": functools.partial(confusion_matrix, labels[counted], symbols[counted], names, path=path),
        "error_by_length.png": functools.partial(
            error_by_length, sequence_errors(symbols, labels, len(names) - 1)["by_length"]
        ),
    }


def draw_classifier(model: Model, params: object, dataset: Dataset, run_dir: Path, batch_size: int) -> None:
    """Draw the learning curves and the confusion matrix of a network that reads the whole image.

    For sequences the confusions are of symbols, and the error by length is drawn too.
    """
    predict = make_predictor(model.predict, 0, batch_size)
    images, labels = np.asarray(dataset.test.images), np.asarray(dataset.test.labels)
    predictions = np.asarray(predict(params, jax.random.key(TEST_SEED), images).greedy)
    if dataset.end_symbol is None:
        drawings: dict[str, Drawing] = {
            "confusion.png": functools.partial(confusion_matrix, labels, predictions, dataset.class_names)
        }
    else:
        drawings = symbol_drawings(predictions, labels, dataset.class_names, "Symbols")
    curves: Drawing = functools.partial(learning_curves, read_metrics(run_dir))
    draw_pictures(run_dir / "plots", {"learning_curves.png": curves, **drawings})
