"""Figures of networks with differentiable attention, drawn into `plots/` after training."""

import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from common.data import Dataset
from common.training.step import Model
from experiments.evaluation.errors import TEST_SEED
from experiments.evaluation.places import split_layouts, true_boxes
from experiments.evaluation.reading import read_episode
from experiments.plots.animation import figures_gif
from experiments.plots.attention_sheets import attention_sheet, transformer_sheet
from experiments.plots.classifiers import draw_classifier
from experiments.plots.episodes import verdict
from experiments.plots.history import SHOWN_IMAGES, Viewer, read_history
from experiments.plots.names import shown_names
from experiments.plots.pictures import Drawing, draw_picture, draw_pictures
from stn.colocalisation import Colocaliser
from stn.models import StnModel
from stn.soft_attention.model import SoftModel

MOVING_IMAGES = 8


def _verdicts(model: Model, params: Any, dataset: Dataset) -> list[tuple[str, str]]:
    """Return the title and its colour for each shown image: the prediction, and if it is correct."""
    shown, labels = (np.asarray(part[:SHOWN_IMAGES]) for part in (dataset.test.images, dataset.test.labels))
    predict = jax.jit(model.predict, static_argnums=3)
    scores = np.asarray(predict(params, jax.random.key(TEST_SEED), jnp.asarray(shown), "greedy"))
    episodes = [read_episode(np.asarray(labels[index]), np.atleast_2d(belief)) for index, belief in enumerate(scores)]
    names = shown_names(dataset.class_names, dataset.num_classes)
    return [verdict(episode, names) for episode in episodes]


def _sheet(arrays: dict[str, np.ndarray], images: int, title: str = "", **marks: Any) -> Figure:
    number = sum(name.startswith("grid_") for name in arrays)
    origins, outputs = ([arrays[f"{name}_{i}"][:images] for i in range(number)] for name in ("grid", "output"))
    return transformer_sheet(arrays["images"][:images], origins, outputs, title, **marks)


def _draw_transformers(view: Viewer, params: Any, run_dir: Path, **marks: Any) -> None:
    """Draw the transformers at work, with marks, and an animation of the same at each validation."""
    if not (arrays := view(params)):
        return
    drawings: dict[str, Drawing] = {"transformers.png": functools.partial(_sheet, arrays, SHOWN_IMAGES, **marks)}
    if history := list(read_history(run_dir)):
        drawings["training.gif"] = lambda: figures_gif(
            _sheet(earlier, MOVING_IMAGES, f"step {step:,}") for step, earlier in history
        )
    draw_pictures(run_dir / "plots", drawings)


def draw_stn(stn: StnModel, params: Any, dataset: Dataset, run_dir: Path, batch_size: int, view: Viewer) -> None:
    """Draw the figures of every network, and the transformers at work."""
    draw_classifier(stn.model, params, dataset, run_dir, batch_size)
    _draw_transformers(view, params, run_dir, verdicts=_verdicts(stn.model, params, dataset))


def draw_colocaliser(
    finder: Colocaliser, params: Any, dataset: Dataset, run_dir: Path, batch_size: int, view: Viewer
) -> None:
    """Draw the figures of every network, and the boxes found in the test images."""
    draw_classifier(finder.model, params, dataset, run_dir, batch_size)
    boxes = true_boxes(dataset, split_layouts(dataset, "test"))[:SHOWN_IMAGES]
    _draw_transformers(view, params, run_dir, verdicts=_verdicts(finder.model, params, dataset), boxes=boxes)


def draw_soft(soft: SoftModel, params: Any, dataset: Dataset, run_dir: Path, batch_size: int) -> None:
    """Draw the figures of every network, and the attention weights of each glimpse or head."""
    draw_classifier(soft.model, params, dataset, run_dir, batch_size)
    shown = np.asarray(dataset.test.images)[:SHOWN_IMAGES]
    attended = jax.tree.map(np.asarray, jax.jit(soft.attend)(params, shown))
    verdicts = _verdicts(soft.model, params, dataset)
    sheet = functools.partial(attention_sheet, shown, attended.maps, soft.cell, attended.patches, verdicts)
    draw_picture(run_dir / "plots" / "attention.png", sheet)
