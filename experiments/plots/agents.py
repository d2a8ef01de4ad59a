"""Figures of a trained agent, drawn into `plots/` after training."""

import functools
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from common.attention.glimpse import glimpse_boxes, make_sensor, subtract_mean
from common.attention.model import AttentionModel
from common.data import Dataset
from common.symbols import within
from common.training.evaluation import error_interval, over_batches, predicted
from experiments.evaluation.errors import TEST_SEED
from experiments.plots.animation import episode_gif
from experiments.plots.arrays import Glimpses, Images, Locations
from experiments.plots.classifiers import symbol_drawings
from experiments.plots.confusions import confusion_matrix
from experiments.plots.curves import learning_curves
from experiments.plots.episode_files import write_episodes
from experiments.plots.episodes import episode_sheet, retina_sheet
from experiments.plots.errors import error_by_glimpse
from experiments.plots.history import SHOWN_IMAGES
from experiments.plots.locations import location_heatmaps
from experiments.plots.pictures import Drawing, draw_pictures
from experiments.training.metrics_file import read_metrics


class Played(NamedTuple):
    """Greedy episodes on N images."""

    locations: Any  # [N, T, 2], normalised
    logits: Any  # [N, T, num_classes]


def play_greedy(attention: AttentionModel, params: object, images: np.ndarray, batch_size: int) -> Played:
    """Play one greedy episode on every image."""

    @jax.jit
    def play(key: jax.Array, batch: jax.Array) -> Played:
        episode = attention.play(params, key, batch, "greedy")
        return Played(jnp.swapaxes(episode.locations, 0, 1), jnp.swapaxes(episode.logits, 0, 1))

    return over_batches(play, jax.random.key(TEST_SEED), images, min(batch_size, len(images)))


def take_glimpses(attention: AttentionModel, images: Images, locations: Locations) -> Glimpses:
    """Take glimpses with the sensor of an agent, in [0, 1]: the mean that a retina subtracts is added back.

    Args:
      attention: the agent.
      images: uint8 `[N, H, W, C]`.
      locations: `[T, N, 2]`, normalised (x, y).

    Returns:
      `[T, N, K, G, G, C]`.
    """

    @jax.jit
    def take(pixels: jax.Array, locations: jax.Array) -> jax.Array:
        sensor = make_sensor(pixels, attention.retina, differentiable=attention.estimator.pathwise)
        glimpses = jax.vmap(sensor)(locations)
        if attention.retina.subtract_mean:
            means = (pixels - subtract_mean(pixels))[None, :, :1, :1, :1, None]
            glimpses = glimpses + means / 255
        return glimpses

    return np.clip(np.asarray(take(jnp.asarray(images), jnp.asarray(locations))), 0, 1)


def draw_agent(attention: AttentionModel, params: object, dataset: Dataset, run_dir: Path, batch_size: int) -> None:
    """Draw the figures of an agent on the test images, and write the episodes for the report's viewer."""
    plots = run_dir / "plots"
    test_images, test_labels = np.asarray(dataset.test.images), np.asarray(dataset.test.labels)
    height, width, names = dataset.height, dataset.width, dataset.class_names
    played = play_greedy(attention, params, test_images, batch_size)

    images, labels = test_images[:SHOWN_IMAGES], test_labels[:SHOWN_IMAGES]
    locations = np.swapaxes(played.locations[:SHOWN_IMAGES], 0, 1)
    logits = jnp.swapaxes(played.logits[:SHOWN_IMAGES], 0, 1)
    probabilities = np.asarray(jax.nn.softmax(logits))
    rewards = np.asarray(attention.estimator.reward(logits[:, None], jnp.asarray(labels)), np.float64)[:, 0]
    glimpses = take_glimpses(attention, images, locations)
    boxes_at = functools.partial(glimpse_boxes, retina=attention.retina, height=height, width=width)
    boxes = np.asarray(jax.jit(jax.vmap(jax.vmap(boxes_at)))(jnp.asarray(locations)), np.float64)

    drawings: dict[str, Drawing] = {
        "learning_curves.png": functools.partial(learning_curves, read_metrics(run_dir)),
        "episodes.png": functools.partial(episode_sheet, images, labels, locations, boxes, probabilities, names),
        "retina.png": functools.partial(retina_sheet, glimpses, images, labels, boxes, probabilities, names),
        **(_class_drawings if attention.sequence is None else _sequence_drawings)(played, test_labels, dataset),
        "episodes.gif": functools.partial(
            episode_gif, images, labels, locations, boxes, glimpses, probabilities, names
        ),
    }
    draw_pictures(plots, drawings)
    write_episodes(plots / "episodes.json", images, labels, locations, boxes, glimpses, probabilities, names, rewards)


def _class_drawings(played: Played, labels: np.ndarray, dataset: Dataset) -> dict[str, Drawing]:
    """Return the drawings of all N test images whose labels `[N]` are single classes."""
    guesses = played.logits.argmax(-1)
    locations = np.swapaxes(played.locations, 0, 1)
    by_glimpse = [error_interval(guess, labels) for guess in guesses.T]
    return {
        "locations.png": functools.partial(location_heatmaps, locations, dataset.height, dataset.width),
        "confusion.png": functools.partial(
            confusion_matrix, labels, guesses[:, -1], dataset.class_names, path="Greedy path"
        ),
        "error_by_glimpse.png": _by_glimpse(by_glimpse),
    }


def _sequence_drawings(played: Played, labels: np.ndarray, dataset: Dataset) -> dict[str, Drawing]:
    """Return the drawings of all N test images whose labels `[N, S]` are sequences."""
    most, end = labels.shape[1], dataset.num_classes - 1
    each = played.logits.shape[1] // most
    logits = np.asarray(played.logits)
    guesses, counted = logits.argmax(-1), np.asarray(within(jnp.asarray(labels), dataset.num_classes))
    symbols = np.asarray(predicted(jnp.asarray(logits[:, each - 1 :: each])))
    by_glimpse = [
        error_interval(guesses[counted[:, step // each], step], labels[counted[:, step // each], step // each])
        for step in range(guesses.shape[1])
        if counted[:, step // each].any()
    ]
    taken = each * np.minimum((symbols != end).sum(axis=1) + 1, most)
    locations = np.swapaxes(played.locations, 0, 1)
    return {
        "locations.png": functools.partial(
            location_heatmaps, locations, dataset.height, dataset.width, taken=taken, glimpses_per_target=each
        ),
        "error_by_glimpse.png": _by_glimpse(by_glimpse, each),
        **symbol_drawings(symbols, labels, dataset.class_names, "Greedy path, symbols"),
    }


def _by_glimpse(entries: list[dict[str, Any]], glimpses_per_target: int | None = None) -> Drawing:
    errors, low, high = (np.array([entry[name] for entry in entries]) for name in ("error", "low", "high"))
    return functools.partial(error_by_glimpse, errors, low, high, glimpses_per_target)
