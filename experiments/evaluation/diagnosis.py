"""Diagnosis of an agent: its error by glimpse, by place, by clutter, and by the way in which locations are chosen.

The classifier stays that of the trained agent; only the locations change. Random locations and locations at the centre
are a floor for the learned ones. An oracle that knows where the digit is gives a reference.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, PyTree, UInt8

from common.attention.locations import to_normalised, to_pixels
from common.attention.model import AttentionModel
from common.data import Dataset
from common.data.recipes.canvas import Canvas, Layout
from common.policy_gradient.episode import Episode
from common.training.evaluation import AnyArray, error_interval, interval, over_batches
from experiments.evaluation.errors import SPLIT_SEEDS
from experiments.evaluation.places import split_layouts, true_boxes

# The image is divided into PLACES x PLACES places, and the images into groups of equal size by their clutter.
PLACES, GROUPS = 3, 4
# The ways in which locations are chosen: kinds of `LocationChoice`, and an oracle. It samples all but the first around
# the digit's centre, with the configured sigma, or takes the centre itself if the location policy has no sigma.
WAYS = {
    "greedy": "learned, greedy",
    "sampled": "learned, sampled",
    "random": "uniform random",
    "centre": "image centre",
    "oracle": "digit's centre (oracle)",
}


class Truth(NamedTuple):
    """The true place of each digit of a split.

    Attributes:
      boxes: of the digit's image: left, top, right, bottom in pixels ``[N, 4]``.
      clutter: fraction of the pixels of its box that distractors were pasted on ``[N]``.
    """

    boxes: Float[np.ndarray, "N 4"]
    clutter: Float[np.ndarray, " N"]


class Watched(NamedTuple):
    """Facts about the episodes on N images, each a mean over the episodes.

    Attributes:
      probabilities: of the classes after each glimpse ``[N, T, num_classes]``.
      on_digit: fraction of the locations that lie in the digit's box ``[N, T]``.
      distance: from a location to the centre of that box in pixels ``[N, T]``.
    """

    probabilities: Float[AnyArray, "N T num_classes"]
    on_digit: Float[AnyArray, "N T"]
    distance: Float[AnyArray, "N T"]


def find_digits(dataset: Dataset, split: str) -> Truth | None:
    """Return where the digits of a fixed split are; None for a task that does not place one digit on a canvas."""
    canvas = dataset.recipe
    if not isinstance(canvas, Canvas):
        return None
    layouts, (high, wide) = split_layouts(dataset, split), dataset.train.images.shape[1:3]
    return Truth(true_boxes(dataset, layouts), covered_fraction(layouts, (high, wide), canvas.distractor_size))


def covered_fraction(layouts: Layout, size: tuple[int, int], distractor: int) -> Float[np.ndarray, " N"]:
    """Return the fraction of each digit's box that distractors cover.

    Args:
      layouts: of N images with D distractors.
      size: rows and columns of the box.
      distractor: side of a distractor in pixels.
    """
    corner, pasted = np.asarray(layouts.corner), np.asarray(layouts.paste_corner)
    rows, columns = (np.arange(side) for side in size)
    offset = pasted - corner[:, None]  # [N, D, 2]
    in_rows = (rows >= offset[..., :1]) & (rows < offset[..., :1] + distractor)
    in_columns = (columns >= offset[..., 1:]) & (columns < offset[..., 1:] + distractor)
    covered = np.zeros((len(corner), *size), bool)
    for each in range(pasted.shape[1]):
        covered |= in_rows[:, each, :, None] & in_columns[:, each, None, :]
    return covered.mean(axis=(1, 2))


def watch(
    attention: AttentionModel,
    params: PyTree,
    images: UInt8[np.ndarray, "N H W C"],
    truth: Truth | None,
    way: str,
    key: Key[Array, ""],
    num_episodes: int,
    batch_size: int,
) -> Watched:
    """Play the episodes of one way to choose locations (`WAYS`) on every image.

    Args:
      attention: the agent.
      params: its parameters.
      images: uint8 ``[N, H, W, C]``.
      truth: where the digits are; the oracle needs it, and without it nothing lies on a digit.
      way: how locations are chosen.
      key: random key.
      num_episodes: episodes on each image whose probabilities are averaged; the ways without chance have one.
      batch_size: images in one compiled call.
    """
    height, width = images.shape[1:3]
    boxes = jnp.zeros((len(images), 4)) if truth is None else jnp.asarray(truth.boxes)
    pixels = jnp.asarray(images)

    def play(key: Key[Array, ""], batch: Array, boxes: Array) -> Episode:
        if way != "oracle":
            return attention.play(params, key, batch, way)
        learned = attention.play(params, key, batch, "sampled").samples
        centre = to_normalised((boxes[:, :2] + boxes[:, 2:]) / 2, height, width)
        samples = jnp.broadcast_to(centre[None], learned.shape)
        if attention.sigma is not None:
            noise = jax.random.normal(jax.random.fold_in(key, 1), samples.shape)
            samples = samples + attention.sigma(jnp.ones(()))[None, None] * noise
        return attention.play(params, key, batch, "replayed", samples=samples.at[0].set(learned[0]))

    @jax.jit
    def over_episodes(key: Key[Array, ""], index: Int[Array, " B"]) -> Watched:
        batch, places = pixels[index], boxes[index]

        def one(key: Key[Array, ""]) -> Watched:
            episode = play(key, batch, places)
            where = to_pixels(episode.locations, height, width)
            middle = (places[:, :2] + places[:, 2:]) / 2
            kept = (
                jax.nn.softmax(episode.logits),
                _inside(where, places),
                jnp.linalg.norm(where - middle[None], axis=-1),
            )
            return Watched(*(jnp.swapaxes(leaf, 0, 1) for leaf in kept))

        count = 1 if way in ("greedy", "centre") else num_episodes
        # One episode at a time, so that memory does not grow with their number.
        episodes = jax.lax.map(one, jax.random.split(key, count))
        return jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), episodes)

    return over_batches(over_episodes, key, np.arange(len(images)), min(batch_size, len(images)))


def _inside(where: Float[Array, "T B 2"], boxes: Float[Array, "B 4"]) -> Bool[Array, "T B"]:
    return jnp.all((where >= boxes[None, :, :2]) & (where <= boxes[None, :, 2:]), axis=-1)


def diagnose(
    attention: AttentionModel, params: PyTree, dataset: Dataset, split: str, num_episodes: int, batch_size: int
) -> dict[str, Any]:
    """Measure where the error of an agent comes from. Errors are in per cent with 95% Wilson intervals.

    Args:
      attention: an agent that predicts one class.
      params: its parameters.
      dataset: its images.
      split: ``validation`` or ``test``.
      num_episodes: sampled episodes on each image, whose probabilities are averaged.
      batch_size: images in one compiled call.

    Returns:
      ``by_locations``: the error by the way locations are chosen (`WAYS`). ``by_glimpse``: a list over glimpses of the
      greedy error, the error of the mean over episodes, the share of sampled locations on the digit, and their mean
      distance from its centre in pixels. ``by_place``: rows of places of the digit in the image. ``by_clutter``: a list
      of groups of images. The last two have the error of the mean over episodes; without a `Truth` they are absent, and
      so are the entries on the digit.
    """
    source = getattr(dataset, split)
    images, labels = source.images, np.asarray(source.labels)
    truth, key = find_digits(dataset, split), jax.random.key(SPLIT_SEEDS[split])
    ways = [way for way in WAYS if truth is not None or way != "oracle"]
    watched = {
        way: watch(attention, params, images, truth, way, jax.random.fold_in(key, i), num_episodes, batch_size)
        for i, way in enumerate(ways)
    }
    guesses = {way: np.asarray(each.probabilities).argmax(axis=-1) for way, each in watched.items()}
    result: dict[str, Any] = {
        "split": split,
        "episodes": num_episodes,
        "by_locations": {way: error_interval(guess[:, -1], labels) for way, guess in guesses.items()},
        "by_glimpse": [
            {"greedy": error_interval(guesses["greedy"][:, t], labels)}
            | {"mean": error_interval(guesses["sampled"][:, t], labels)}
            | ({} if truth is None else _on_digit(watched["sampled"], t))
            for t in range(attention.num_glimpses)
        ],
    }
    if truth is None:
        return result
    wrong = guesses["sampled"][:, -1] != labels
    middle = (truth.boxes[:, :2] + truth.boxes[:, 2:]) / 2
    column, row = (np.minimum(middle * PLACES / [dataset.width, dataset.height], PLACES - 1)).astype(int).T
    result["by_place"] = [[_share(wrong[(row == i) & (column == j)]) for j in range(PLACES)] for i in range(PLACES)]
    if truth.clutter.any():
        result["by_clutter"] = [
            {"from": float(truth.clutter[group].min()), "to": float(truth.clutter[group].max())} | _share(wrong[group])
            for group in np.array_split(np.argsort(truth.clutter, kind="stable"), GROUPS)
        ]
    return result


def _on_digit(watched: Watched, glimpse: int) -> dict[str, float]:
    return {
        "on_digit": 100 * float(watched.on_digit[:, glimpse].mean()),
        "distance_px": float(watched.distance[:, glimpse].mean()),
    }


def _share(wrong: Bool[np.ndarray, " n"]) -> dict[str, Any]:
    """Return the error of some images; without an interval if there are none."""
    return interval(int(wrong.sum()), len(wrong)) if len(wrong) else {"error": None, "n": 0}
