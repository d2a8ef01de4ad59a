"""The pictures of trained networks with differentiable attention: what is drawn into ``plots/`` after training."""

from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from common.data import Dataset
from common.evaluation import over_batches, predicted
from experiments.pictures import draw_learning_curves
from experiments.plots import confusion_matrix
from experiments.plots_stn import attention_sheet, transformer_sheet
from experiments.plots_style import save_figure
from experiments.train import TEST_SEED
from stn.colocalisation import Colocaliser
from stn.models import StnModel
from stn.soft_attention import SoftModel

SHEET_IMAGES = 12


def _draw_common(logits: Callable[[jax.Array], jax.Array], dataset: Dataset, run_dir: Path, batch_size: int) -> None:
    """Draws the learning curves, and the confusion matrix where a label is one class."""
    images, labels = np.asarray(dataset.test.images), np.asarray(dataset.test.labels)

    @jax.jit
    def guess(key: jax.Array, batch: jax.Array) -> jax.Array:
        del key
        return predicted(logits(batch))

    draw_learning_curves(run_dir)
    if dataset.num_targets is None:
        guesses = over_batches(guess, jax.random.key(TEST_SEED), images, min(batch_size, len(images)))
        save_figure(confusion_matrix(labels, guesses, dataset.class_names), run_dir / "plots" / "confusion.png")


def draw_stn(stn: StnModel, params: object, dataset: Dataset, run_dir: Path, batch_size: int) -> None:
    """Draws what is known of every network, and what each transformer on the image did."""
    _draw_common(lambda batch: stn.look(params, batch).logits, dataset, run_dir, batch_size)
    shown = np.asarray(dataset.test.images)[:SHEET_IMAGES]
    done = jax.tree.map(np.asarray, jax.jit(stn.look)(params, shown).transformed)
    # Those on feature maps are not of the image.
    on_image = [one for one in done if one.images.shape[-1] == shown.shape[-1]]
    if on_image:
        figure = transformer_sheet(shown, [one.grids for one in on_image], [one.images for one in on_image])
        save_figure(figure, run_dir / "plots" / "transformers.png")


def draw_colocaliser(finder: Colocaliser, params: object, dataset: Dataset, run_dir: Path, batch_size: int) -> None:
    """Draws what is known of every network, and what is found in images."""

    def logits(batch: jax.Array) -> jax.Array:
        return finder.model.predict(params, jax.random.key(TEST_SEED), batch, "greedy")

    _draw_common(logits, dataset, run_dir, batch_size)
    shown = np.asarray(dataset.test.images)[:SHEET_IMAGES]
    found = jax.tree.map(np.asarray, jax.jit(finder.find)(params, shown))
    save_figure(transformer_sheet(shown, [found.grids], [found.images]), run_dir / "plots" / "transformers.png")


def draw_soft(soft: SoftModel, params: object, dataset: Dataset, run_dir: Path, batch_size: int) -> None:
    """Draws what is known of every network, and where each glimpse or head attends."""
    _draw_common(lambda batch: soft.attend(params, batch).logits[-1], dataset, run_dir, batch_size)
    shown = np.asarray(dataset.test.images)[:SHEET_IMAGES]
    maps = np.asarray(jax.jit(soft.attend)(params, shown).maps)
    save_figure(attention_sheet(shown, maps), run_dir / "plots" / "attention.png")
