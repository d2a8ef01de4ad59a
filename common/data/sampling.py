"""Training batches and fixed splits, drawn by the recipe of a task.

Training images are drawn afresh at every step (`sample_batch`). Validation and test images are fixed (`fixed_split`):
one for each image of the split, in order, drawn from the seed of the task. Distractors of a split come from images of
the same split.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key, UInt8

from common.data.augmentation import Augmentation
from common.data.recipes.base import Plain, Recipe, sample_shapes
from common.data.recipes.canvas import Canvas, Layout, draw_layout
from common.data.source import SPLITS, Source
from common.data.tasks import Task

# Images that are drawn in one compiled call: bounds its memory, and splits of any length share one program.
_CHUNK = 256


def sample_batch(
    key: Key[Array, ""], train: Source, recipe: Recipe, batch_size: int, augment: Augmentation | None = None
) -> tuple[UInt8[Array, "B H W C"], Int[Array, " B *S"]]:
    """Draw a batch of training images, independently and with replacement.

    Under `jit`, make `recipe`, `batch_size` and `augment` static, and pass `train` as an argument: a captured constant
    would be copied into the program.

    Args:
        key: typed key `[]`.
        train: the training images, uint8 `[N, h, w, C]`, with labels int32 `[N]` or `[N, S]`.
        recipe: how each image and label is made.
        batch_size: B.
        augment: augmentation of the drawn images, which gets its own key (see `augmentation`); None for none.

    Returns:
        Images uint8 `[B, H, W, C]` and labels int32, `[B]` or `[B, S]`.

    Raises:
        ValueError: the images do not fit the recipe.
    """
    if augment is not None:
        draw_key, augment_key = jax.random.split(key)
        images, labels = sample_batch(draw_key, train, recipe, batch_size)
        return augment(augment_key, images), labels
    train = jax.tree.map(jnp.asarray, train)
    return jax.vmap(lambda one: recipe.draw(one, train))(jax.random.split(key, batch_size))


@functools.partial(jax.jit, static_argnames="recipe")
def _draw_chunk(key, indices, source, recipe):
    return jax.vmap(lambda index: recipe.draw_of(jax.random.fold_in(key, index), index, source))(indices)


def split_key(task: Task, split: str) -> Key[Array, ""]:
    """Return the key of a fixed split; image i is drawn with i folded into this key."""
    return jax.random.fold_in(jax.random.key(task.seed, impl="threefry2x32"), SPLITS.index(split))


def fixed_split(source: Source, task: Task, split: str) -> Source:
    """Make the fixed images of a split: image i shows image i of the source.

    Everything else on image i depends only on the seed of the task, the split and i, besides the number and sizes of
    the images. The threefry generator makes the same integers on every device.

    Args:
        source: images uint8 `[N, h, w, c]`, labels `[N]` or `[N, S]`.
        task: the task.
        split: train, validation or test.

    Returns:
        NumPy arrays: images uint8 `[N, H, W, C]`, labels int32 `[N]` or `[N, S]`.

    Raises:
        ValueError: the images do not fit the recipe.
    """
    count = len(source.images)
    image_shape, label_shape = sample_shapes(task.recipe, source)
    if task.recipe == Plain():
        return Source(np.asarray(source.images), np.asarray(source.labels, np.int32))
    key = split_key(task, split)
    on_device = jax.tree.map(jnp.asarray, source)
    images, labels = np.empty((count, *image_shape), np.uint8), np.empty((count, *label_shape), np.int32)
    size = min(_CHUNK, count)
    for start in range(0, count, size):
        # The last chunk repeats the last image up to the full length, so that it shares the compiled program.
        indices = np.minimum(np.arange(start, start + size, dtype=np.int32), count - 1)
        drawn, drawn_labels = _draw_chunk(key, indices, on_device, task.recipe)
        images[start : start + size] = np.asarray(drawn)[: count - start]
        labels[start : start + size] = np.asarray(drawn_labels)[: count - start]
    return Source(images, labels)


def fixed_layouts(source: Source, task: Task, split: str) -> Layout:
    """Return what lies where in the images of a fixed split.

    Args:
        source: images uint8 `[N, h, w, c]`, labels `[N]`; only shapes are used.
        task: a task whose recipe is a `Canvas`, with D distractors.
        split: train, validation or test.

    Returns:
        The layouts, with NumPy leaves `[N, ...]`.
    """
    canvas = task.recipe
    assert isinstance(canvas, Canvas)
    key = split_key(task, split)
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), source)

    def layout(index: Array) -> Layout:
        return draw_layout(jax.random.fold_in(key, index), index, shapes, canvas)

    return jax.tree.map(np.asarray, jax.jit(jax.vmap(layout))(np.arange(len(source.images), dtype=np.int32)))
