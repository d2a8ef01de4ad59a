"""The pictures of a trained spatial transformer network: what is drawn into ``plots/`` after training."""

from pathlib import Path

import jax
import numpy as np

from common.data import Dataset
from common.evaluation import over_batches, predicted
from experiments.pictures import draw_learning_curves
from experiments.plots import confusion_matrix
from experiments.plots_stn import transformer_sheet
from experiments.plots_style import save_figure
from experiments.train import TEST_SEED
from stn.models import StnModel

SHEET_IMAGES = 12


def draw_stn(stn: StnModel, params: object, dataset: Dataset, run_dir: Path, batch_size: int) -> None:
    """Draws the learning curves, the confusion matrix of classes, and what each transformer on the image did."""
    plots = run_dir / "plots"
    images, labels = np.asarray(dataset.test.images), np.asarray(dataset.test.labels)

    @jax.jit
    def guess(key: jax.Array, batch: jax.Array) -> jax.Array:
        del key
        return predicted(stn.look(params, batch).logits)

    guesses = over_batches(guess, jax.random.key(TEST_SEED), images, min(batch_size, len(images)))
    draw_learning_curves(run_dir)
    if dataset.num_targets is None:
        save_figure(confusion_matrix(labels, guesses, dataset.class_names), plots / "confusion.png")
    shown = images[:SHEET_IMAGES]
    done = jax.tree.map(np.asarray, jax.jit(stn.look)(params, shown).transformed)
    # Those on feature maps are not of the image.
    on_image = [one for one in done if one.images.shape[-1] == images.shape[-1]]
    if on_image:
        figure = transformer_sheet(shown, [one.grids for one in on_image], [one.images for one in on_image])
        save_figure(figure, plots / "transformers.png")
