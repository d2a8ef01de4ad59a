"""The pictures of a trained agent: what is drawn into ``plots/`` after training."""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from common.attention.model import AttentionModel
from common.attention.sequences import within
from common.data import Dataset
from common.evaluation import error_interval, make_predictor, over_batches, sequence_errors
from common.glimpse import glimpse, glimpse_boxes, summed_area_table
from common.training import Model
from experiments.plots import confusion_matrix, location_heatmaps
from experiments.plots_animation import episode_gif
from experiments.plots_curves import accuracy_by_glimpse, learning_curves
from experiments.plots_episodes import episode_sheet, retina_sheet
from experiments.plots_sequences import error_by_length
from experiments.plots_style import save_figure
from experiments.report import write_episodes
from experiments.run_directory import read_metrics
from experiments.train import TEST_SEED

SHEET_IMAGES = 12


class Played(NamedTuple):
    """Greedy episodes on N images, as the plots take them."""

    locations: Any  # [N, T, 2], normalised
    logits: Any  # [N, T, num_classes]


def play_greedy(agent: AttentionModel, params: object, images: np.ndarray, batch_size: int) -> Played:
    """Plays the greedy policy on every image."""

    @jax.jit
    def play(key: jax.Array, batch: jax.Array) -> Played:
        episode = agent.play(params, key, batch, "greedy")
        return Played(jnp.swapaxes(episode.locations, 0, 1), jnp.swapaxes(episode.logits, 0, 1))

    return over_batches(play, jax.random.key(TEST_SEED), images, min(batch_size, len(images)))


def draw_learning_curves(run_dir: Path) -> None:
    """Draws ``plots/learning_curves.png`` from ``metrics.jsonl``."""
    save_figure(learning_curves(read_metrics(run_dir)), run_dir / "plots" / "learning_curves.png")


def draw_agent(agent: AttentionModel, params: object, dataset: Dataset, run_dir: Path, batch_size: int) -> None:
    """Draws everything there is to see of an agent on the test images, and the data of the report's viewer."""
    plots = run_dir / "plots"
    test_images, test_labels = np.asarray(dataset.test.images), np.asarray(dataset.test.labels)
    height, width, names = dataset.height, dataset.width, dataset.class_names
    played = play_greedy(agent, params, test_images, batch_size)
    guesses = played.logits.argmax(-1)
    by_glimpse = [error_interval(guess, test_labels) for guess in guesses.T]

    images, labels = test_images[:SHEET_IMAGES], test_labels[:SHEET_IMAGES]
    locations = np.swapaxes(played.locations[:SHEET_IMAGES], 0, 1)
    logits = jnp.swapaxes(played.logits[:SHEET_IMAGES], 0, 1)
    probabilities = np.asarray(jax.nn.softmax(logits))
    rewards = np.asarray(agent.estimator.reward(logits[:, None], jnp.asarray(labels)), np.float64)[:, 0]
    over_images = jax.vmap(glimpse, in_axes=(0, 0, None))
    tables = jax.vmap(summed_area_table)(jnp.asarray(images))
    glimpses = np.asarray(jax.vmap(over_images, in_axes=(None, 0, None))(tables, jnp.asarray(locations), agent.retina))
    over_locations = jax.vmap(jax.vmap(glimpse_boxes, in_axes=(0, None, None, None)), in_axes=(0, None, None, None))
    boxes = np.asarray(over_locations(jnp.asarray(locations), agent.retina, height, width), np.float64)

    draw_learning_curves(run_dir)
    figures = {
        "episodes": episode_sheet(images, labels, locations, boxes, probabilities, names),
        "retina": retina_sheet(glimpses, images, labels, boxes, names),
        "locations": location_heatmaps(np.swapaxes(played.locations, 0, 1), height, width),
        "confusion": confusion_matrix(test_labels, guesses[:, -1], names, path="Greedy path"),
        "error_by_glimpse": accuracy_by_glimpse(
            *(np.array([entry[name] for entry in by_glimpse]) for name in ("error", "low", "high"))
        ),
    }
    for name, figure in figures.items():
        save_figure(figure, plots / f"{name}.png")
    episode_gif(images, labels, locations, boxes, glimpses, probabilities, names, plots / "episodes.gif")
    write_episodes(plots / "episodes.json", images, labels, locations, boxes, glimpses, probabilities, names, rewards)


def draw_baseline(model: Model, params: object, dataset: Dataset, run_dir: Path, batch_size: int) -> None:
    """Draws what there is to see of a network that sees the whole image.

    That is the learning curves and the confusion matrix; of sequences the confusions of symbols, up to the end of each
    label, and the error by length.
    """
    draw_learning_curves(run_dir)
    predict = make_predictor(model.predict, 1, batch_size)
    images, labels = np.asarray(dataset.test.images), np.asarray(dataset.test.labels)
    predictions = np.asarray(predict(params, jax.random.key(TEST_SEED), images).greedy)
    figures = {}
    if dataset.end_symbol is None:
        figures["confusion"] = confusion_matrix(labels, predictions, dataset.class_names)
    else:
        counted = np.asarray(within(jnp.asarray(labels), dataset.num_classes))
        figures["confusion"] = confusion_matrix(
            labels[counted], predictions[counted], dataset.class_names, path="Symbols"
        )
        errors = sequence_errors(predictions, labels, dataset.end_symbol)
        figures["error_by_length"] = error_by_length(errors["by_length"])
    for name, figure in figures.items():
        save_figure(figure, run_dir / "plots" / f"{name}.png")
