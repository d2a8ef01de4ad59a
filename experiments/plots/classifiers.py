"""Figures that every network has: learning curves, confusions and errors by length."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from common.attention.sequences import within
from common.data import Dataset
from common.training.evaluation import make_predictor, sequence_errors
from common.training.step import Model
from experiments.evaluation.errors import TEST_SEED
from experiments.plots.confusions import confusion_matrix
from experiments.plots.curves import learning_curves
from experiments.plots.errors import error_by_length
from experiments.plots.style import save_figure
from experiments.training.run_directory import read_metrics


def draw_learning_curves(run_dir: Path) -> None:
    """Draw `plots/learning_curves.png` from `metrics.jsonl`."""
    save_figure(learning_curves(read_metrics(run_dir)), run_dir / "plots" / "learning_curves.png")


def symbol_figures(symbols: np.ndarray, labels: np.ndarray, names: tuple[str, ...], path: str) -> dict[str, Figure]:
    """Return figures of predictions `[N, S]` against labels `[N, S]`: by symbol up to the true end, and by length."""
    counted = np.asarray(within(jnp.asarray(labels), len(names)))
    return {
        "confusion": confusion_matrix(labels[counted], symbols[counted], names, path=path),
        "error_by_length": error_by_length(sequence_errors(symbols, labels, len(names) - 1)["by_length"]),
    }


def draw_classifier(model: Model, params: object, dataset: Dataset, run_dir: Path, batch_size: int) -> None:
    """Draw the learning curves and the confusion matrix of a network that reads the whole image.

    For sequences the confusions are of symbols, and the error by length is drawn too.
    """
    draw_learning_curves(run_dir)
    predict = make_predictor(model.predict, 0, batch_size)
    images, labels = np.asarray(dataset.test.images), np.asarray(dataset.test.labels)
    predictions = np.asarray(predict(params, jax.random.key(TEST_SEED), images).greedy)
    if dataset.end_symbol is None:
        figures = {"confusion": confusion_matrix(labels, predictions, dataset.class_names)}
    else:
        figures = symbol_figures(predictions, labels, dataset.class_names, "Symbols")
    for name, figure in figures.items():
        save_figure(figure, run_dir / "plots" / f"{name}.png")
